// SPDX-License-Identifier: BSD-2-Clause
/*
 * Whether each field that the BPF object reads is in the types of another kernel: relocations KERNEL-IMAGE OBJECT. The image is one that
 * is not compressed, as arm64 kernels are. libbpf relocates the object against the types in there; nothing is loaded.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST 1024

/* A field, as libbpf prints what it looks for: "<byte_off> [7] struct file.f_path.dentry (0:0:1 @ offset 8)". */
struct field {
	char text[200];
	char type[64]; /* without its flavour, what follows ___ */
	bool has_flavour;
	bool is_found;
	bool is_question; /* whether it is there: a no is as good as a yes */
};

static struct field fields[MOST];
static int n_fields;
static struct field *current;
static unsigned relocations;

static struct field *find(const char *text)
{
	const char *bracket = strchr(text, ']'), *at = strstr(text, " (0");
	struct field field = {};
	char *end;
	int i;

	if (!bracket)
		return NULL;
	/* The number of the type is the object's own affair. */
	snprintf(field.text, sizeof(field.text), "%.*s%.*s", (int)strcspn(text, "["), text,
		 at ? (int)(at - bracket - 2) : 150, bracket + 2);
	field.is_question = strstr(text, "_exists>");
	bracket += strncmp(bracket, "] struct ", 9) ? 2 : 9;
	snprintf(field.type, sizeof(field.type), "%.*s", (int)strcspn(bracket, ". \n"), bracket);
	end = strstr(field.type, "___");
	if (end)
		*end = 0;
	field.has_flavour = end;
	for (i = 0; i < n_fields; i++)
		if (!strcmp(fields[i].text, field.text))
			return &fields[i];
	if (n_fields == MOST)
		return NULL;
	fields[n_fields] = field;
	return &fields[n_fields++];
}

static int listen(enum libbpf_print_level level, const char *format, va_list arguments)
{
	char line[4096], *relocation;

	(void)level;
	vsnprintf(line, sizeof(line), format, arguments);
	relocation = strstr(line, "': relo #");
	if (!relocation)
		return 0;
	relocation = strchr(relocation + 9, ':');
	if (!relocation)
		return 0;
	relocation += 2;
	if (*relocation == '<') {
		current = find(relocation);
		relocations++;
	} else if (!strncmp(relocation, "matching candidate #", 20) && current) {
		current->is_found = true;
	}
	return 0;
}

/* The next step would be the kernel's. */
static int refuse(struct bpf_program *program, struct bpf_prog_load_opts *options, long cookie)
{
	(void)program, (void)options, (void)cookie;
	return -1;
}

/* The types in the image: its only place with this header whose parts lie behind one another. Returns a file with them. */
static const char *types_of(const char *image)
{
	static char path[] = "/tmp/kairos-types-XXXXXX";
	static const struct btf_header first = {.magic = 0xeB9F, .version = 1, .hdr_len = sizeof(first)};
	FILE *file = fopen(image, "rb");
	char *bytes, *found, *from;
	struct btf_header header;
	long size;
	int out;

	if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < 0 || !(bytes = malloc(size)))
		return NULL;
	rewind(file);
	if (fread(bytes, 1, size, file) != (size_t)size)
		return NULL;
	fclose(file);
	for (from = bytes; (found = memmem(from, bytes + size - from, &first, 8)); from = found + 8) {
		if (bytes + size - found < (long)sizeof(header))
			break;
		memcpy(&header, found, sizeof(header));
		if (header.type_off || header.str_off != header.type_len || header.type_len < 1 << 20 ||
		    (long)sizeof(header) + header.str_off + header.str_len > bytes + size - found)
			continue;
		out = mkstemp(path);
		size = sizeof(header) + header.str_off + header.str_len;
		if (out < 0 || write(out, found, size) != size)
			return NULL;
		close(out);
		return path;
	}
	return NULL;
}

/* Whether one of the two is there of which a kernel has one: the field itself, or as another kernel has it. */
static bool has_other(const struct field *field)
{
	int i;

	for (i = 0; i < n_fields; i++)
		if (fields[i].is_found && !strcmp(fields[i].type, field->type) &&
		    (fields[i].has_flavour || field->has_flavour))
			return true;
	return false;
}

int main(int count, char **arguments)
{
	static const struct {
		const char *section;
		enum bpf_attach_type type;
	} kinds[] = {{"tp_btf+", BPF_TRACE_RAW_TP}, {"fentry+", BPF_TRACE_FENTRY}, {"fexit+", BPF_TRACE_FEXIT}};
	LIBBPF_OPTS(libbpf_prog_handler_opts, handler, .prog_prepare_load_fn = refuse);
	LIBBPF_OPTS(bpf_object_open_opts, options);
	struct bpf_program *program;
	struct bpf_object *object;
	unsigned absent = 0;
	size_t i;

	if (count != 3) {
		fprintf(stderr, "usage: relocations KERNEL-IMAGE OBJECT\n");
		return 2;
	}
	options.btf_custom_path = types_of(arguments[1]);
	if (!options.btf_custom_path) {
		fprintf(stderr, "kairos: there are no types (BTF) in %s: is it compressed?\n", arguments[1]);
		return 1;
	}
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		libbpf_register_prog_handler(kinds[i].section, BPF_PROG_TYPE_TRACING, kinds[i].type, &handler);
	libbpf_set_print(listen);
	object = bpf_object__open_file(arguments[2], &options);
	if (!object) {
		fprintf(stderr, "kairos: cannot read %s\n", arguments[2]);
		return 1;
	}
	/* Those of the set zfs read the types of the module. */
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, strncmp(bpf_program__name(program), "kairos_zfs_", 11));
	/* It fails at the first program, and has relocated all of them. */
	bpf_object__load(object);
	bpf_object__close(object);
	unlink(options.btf_custom_path);

	for (i = 0; i < (size_t)n_fields; i++) {
		if (fields[i].is_found || fields[i].is_question)
			continue;
		if (has_other(&fields[i])) {
			printf("another kernel's: %s\n", fields[i].text);
		} else {
			printf("absent: %s\n", fields[i].text);
			absent++;
		}
	}
	printf("%u relocations of %d fields, %u absent\n", relocations, n_fields, absent);
	return absent || n_fields < 50;
}
