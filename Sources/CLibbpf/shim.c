/* SPDX-License-Identifier: BSD-2-Clause */
#include "CLibbpf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A verifier log can be megabytes; its end holds the reason. Keep the first part of the first message and the last part. */
static _Thread_local char collected[64 * 1024];
static _Thread_local size_t used;
/* Where all of it goes as well, with what becomes of each access to a kernel's type; -1: nowhere. */
static _Thread_local int report = -1;

static int collect(enum libbpf_print_level level, const char *format, va_list arguments)
{
	int n;

	/* A relocation: "prog '%s': relo #%d: ..." */
	if (report >= 0 && (level != LIBBPF_DEBUG || strstr(format, "relo #"))) {
		va_list again;

		va_copy(again, arguments);
		vdprintf(report, format, again);
		va_end(again);
	}
	if (level == LIBBPF_DEBUG)
		return 0;
	if (used > sizeof(collected) / 2) {
		size_t keep = sizeof(collected) / 4;

		memmove(collected, collected + used - keep, keep);
		used = keep;
	}
	n = vsnprintf(collected + used, sizeof(collected) - used, format, arguments);
	if (n > 0)
		used += (size_t)n < sizeof(collected) - used ? (size_t)n : sizeof(collected) - used - 1;
	return 0;
}

void kairos_libbpf_capture(void)
{
	libbpf_set_print(collect);
}

void kairos_libbpf_report(int fd)
{
	report = fd;
}

const char *kairos_libbpf_log(void)
{
	collected[used] = 0;
	return collected;
}

void kairos_libbpf_log_clear(void)
{
	used = 0;
	collected[0] = 0;
}

int kairos_bpf_poison(struct bpf_program *program)
{
	size_t count = bpf_program__insn_cnt(program), i;
	struct bpf_insn *insns = malloc(count * sizeof(*insns));
	int result;

	if (!insns)
		return -ENOMEM;
	memcpy(insns, bpf_program__insns(program), count * sizeof(*insns));
	/* In the place of one that libbpf does not relocate: of others it knows what they are to be. */
	for (i = 0; i < count && insns[i].code != (BPF_JMP | BPF_EXIT); i++)
		;
	if (i < count)
		insns[i] = (struct bpf_insn){.code = BPF_JMP | BPF_CALL, .imm = 0xbad2310}; /* as bpf_core_poison_insn() */
	result = i < count ? bpf_program__set_insns(program, insns, count) : -ENOENT;
	free(insns);
	return result;
}

void *kairos_bpf_global(struct bpf_object *object, const char *section, const char *name, size_t size)
{
	const struct btf *btf = bpf_object__btf(object);
	const struct btf_var_secinfo *info;
	const struct btf_type *datasec;
	struct bpf_map *map;
	size_t length = 0;
	char *data;
	int id, i;

	if (!btf)
		return NULL;
	id = btf__find_by_name_kind(btf, section, BTF_KIND_DATASEC);
	if (id < 0)
		return NULL;
	datasec = btf__type_by_id(btf, id);
	bpf_object__for_each_map(map, object) {
		const char *dot = strrchr(bpf_map__name(map), '.');

		if (bpf_map__is_internal(map) && dot && !strcmp(dot, section))
			break;
	}
	if (!map)
		return NULL;
	data = (char *)bpf_map__initial_value(map, &length); /* const before libbpf 1.4 */
	if (!data)
		return NULL;
	info = btf_var_secinfos(datasec);
	for (i = 0; i < btf_vlen(datasec); i++, info++) {
		const struct btf_type *var = btf__type_by_id(btf, info->type);
		const char *called = btf__name_by_offset(btf, var->name_off);

		if (called && !strcmp(called, name))
			return info->size == size && info->offset + size <= length ? data + info->offset : NULL;
	}
	return NULL;
}

int kairos_btf_has_function(const struct btf *btf, const char *function)
{
	return btf__find_by_name_kind(btf, function, BTF_KIND_FUNC) > 0;
}

int kairos_btf_parameter(const struct btf *btf, const char *function, const char *type, int nth)
{
	int id = btf__find_by_name_kind(btf, function, BTF_KIND_FUNC);
	const struct btf_type *prototype;
	const struct btf_param *parameter;
	int i;

	if (id < 0)
		return -ENOENT;
	prototype = btf__type_by_id(btf, btf__type_by_id(btf, id)->type);
	if (!prototype || !btf_is_func_proto(prototype))
		return -ENOENT;
	parameter = btf_params(prototype);
	for (i = 0; i < btf_vlen(prototype); i++, parameter++) {
		const struct btf_type *t = btf__type_by_id(btf, parameter->type);

		if (!t || !btf_is_ptr(t))
			continue;
		t = btf__type_by_id(btf, t->type);
		while (t && btf_is_mod(t))
			t = btf__type_by_id(btf, t->type);
		if (t && btf_is_struct(t) && !strcmp(btf__name_by_offset(btf, t->name_off), type) && !nth--)
			return i;
	}
	return -ESRCH;
}

int kairos_btf_returns_pointer(const struct btf *btf, const char *function)
{
	int id = btf__find_by_name_kind(btf, function, BTF_KIND_FUNC);
	const struct btf_type *prototype, *result;

	if (id < 0)
		return 0;
	prototype = btf__type_by_id(btf, btf__type_by_id(btf, id)->type);
	if (!prototype || !btf_is_func_proto(prototype))
		return 0;
	result = btf__type_by_id(btf, prototype->type);
	return result && btf_is_ptr(result);
}

int64_t kairos_bpf_recursion_misses(int program_fd)
{
	struct bpf_prog_info info = {};
	__u32 length = sizeof(info);

	if (bpf_obj_get_info_by_fd(program_fd, &info, &length))
		return -errno;
	return (int64_t)info.recursion_misses;
}

void *kairos_map_shared(int fd, size_t size)
{
	void *address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return address == MAP_FAILED ? NULL : address;
}

void kairos_unmap(void *address, size_t size)
{
	munmap(address, size);
}

long kairos_page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

int kairos_errno(void)
{
	return errno;
}
