// SPDX-License-Identifier: BSD-2-Clause
/*
 * The only process of the arm64 guest: loads the BPF object with libbpf alone, as Sources/Tracing does, changes files on tmpfs and on
 * ext4, and compares the records with what it did. Prints the rows of docs/kernels.md, and at last a line "kairos: STATUS".
 */
#include "deeds.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

#define STAND_IN "kairos_vfs_fsync_call" /* for kairos_vfs_fsync, where that is not called */
#define PATIENCE 8 /* programs that the kernel may refuse: each costs another pass through the verifier */

static struct utsname kernel;
static struct btf *types;
static unsigned faults;
static char refused[64];

static void fault(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	printf("fault: ");
	vprintf(format, arguments);
	printf("\n");
	va_end(arguments);
	faults++;
}

static void row(const char *set, const char *kind, const char *name, const char *state, const char *detail)
{
	printf("row: %s\t%s\t%s\t%s\t%s\t%s\n", kernel.release, set, kind, name, state, detail);
}

/* libbpf's last word on a program that the kernel refused names it: "prog 'kairos_vfs_open': failed to load: -22". */
static int listen(enum libbpf_print_level level, const char *format, va_list arguments)
{
	char line[4096], *end;

	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(line, sizeof(line), format, arguments);
	if (!strncmp(line, "libbpf: prog '", 14) && strstr(line, "': failed to ")) {
		snprintf(refused, sizeof(refused), "%.63s", line + 14);
		end = strchr(refused, '\'');
		if (end)
			*end = 0;
	}
	printf("%s", line);
	return 0;
}

static const struct btf_type *prototype(const char *function)
{
	int id = btf__find_by_name_kind(types, function, BTF_KIND_FUNC);

	return id < 0 ? NULL : btf__type_by_id(types, btf__type_by_id(types, id)->type);
}

/* Which parameter is the nth pointer to the structure, or -1. */
static int parameter(const char *function, const char *structure, int nth)
{
	const struct btf_type *t = prototype(function);
	int i, count = t ? btf_vlen(t) : 0;

	for (i = 0; i < count; i++) {
		const struct btf_type *p = btf__type_by_id(types, btf_params(t)[i].type);

		if (!p || !btf_is_ptr(p))
			continue;
		p = btf__type_by_id(types, p->type);
		while (p && btf_is_mod(p))
			p = btf__type_by_id(types, p->type);
		if (p && btf_is_struct(p) && !strcmp(btf__name_by_offset(types, p->name_off), structure) && !nth--)
			return i;
	}
	return -1;
}

static const char *hook_of(const struct bpf_program *program)
{
	const char *slash = strchr(bpf_program__section_name(program), '/');

	return slash ? slash + 1 : "";
}

static bool has_hook(const struct bpf_program *program, const char *hook)
{
	char name[128];

	if (bpf_program__section_name(program)[0] != 't')
		return btf__find_by_name_kind(types, hook, BTF_KIND_FUNC) > 0;
	snprintf(name, sizeof(name), "btf_trace_%s", hook);
	return btf__find_by_name_kind(types, name, BTF_KIND_TYPEDEF) > 0;
}

/* As ProbeSet chooses them: for `kairos run`, or all that a trace may want. */
static bool belongs(const char *set, bool tracing, const char *name)
{
	static const char *always[] = {"kairos_syscalls_dirty_folio", "kairos_syscalls_process_exec", "kairos_syscalls_process_exit"};
	static const char *calls[] = {"kairos_syscalls_exit", "kairos_syscalls_io_uring"};
	static const char *traced[] = {"kairos_vfs_splice_entry", "kairos_vfs_copy_entry", "kairos_vfs_mmap"};
	size_t i;

	for (i = 0; i < (tracing ? 1 : 3); i++)
		if (!strcmp(name, always[i]))
			return true;
	if (!strncmp(name, "kairos_trace_", 13))
		return tracing;
	if (!strcmp(set, "syscalls")) {
		for (i = 0; i < 2; i++)
			if (!strcmp(name, calls[i]))
				return true;
		return !strcmp(name, tracing ? "kairos_syscalls_enter" : "kairos_syscalls_begin");
	}
	if (strncmp(name, "kairos_vfs_", 11))
		return false;
	for (i = 0; !tracing && i < 3; i++)
		if (!strcmp(name, traced[i]))
			return false;
	return true;
}

/* Sets a constant of the programs, of one or four bytes. */
static void set_constant(struct bpf_object *object, const char *name, __u32 value)
{
	const struct btf *own = bpf_object__btf(object);
	int id = btf__find_by_name_kind(own, ".rodata", BTF_KIND_DATASEC), i;
	const struct btf_type *section = btf__type_by_id(own, id);
	struct bpf_map *map;
	size_t size;

	bpf_object__for_each_map(map, object) {
		char *data = bpf_map__is_internal(map) && strstr(bpf_map__name(map), ".rodata")
				     ? (char *)bpf_map__initial_value(map, &size)
				     : NULL;

		for (i = 0; data && i < btf_vlen(section); i++) {
			const struct btf_var_secinfo *info = btf_var_secinfos(section) + i;
			const struct btf_type *variable = btf__type_by_id(own, info->type);

			if (!strcmp(btf__name_by_offset(own, variable->name_off), name)) {
				memcpy(data + info->offset, &value, info->size < 4 ? info->size : 4);
				return;
			}
		}
	}
	fault("no constant %s", name);
}

/* Where the functions of this kernel have the arguments that the programs read. */
static void set_places(struct bpf_object *object)
{
	static const char *functions[] = {"vfs_create", "vfs_mkdir",	"vfs_mknod",	   "vfs_symlink", "vfs_unlink",
					  "vfs_rmdir",	"notify_change", "vfs_setxattr",   "vfs_link",	  "vfs_removexattr",
					  "vfs_set_acl", "vfs_remove_acl", "vfs_fileattr_set"};
	const struct btf_type *mkdir = prototype("vfs_mkdir");
	char constant[64];
	size_t i;

	for (i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		/* Of the two dentries of a link the second is the new one. */
		int place = parameter(functions[i], "dentry", !strcmp(functions[i], "vfs_link"));

		snprintf(constant, sizeof(constant), "at_%s", functions[i]);
		if (place >= 0)
			set_constant(object, constant, place);
	}
	set_constant(object, "at_notify_change_attr", parameter("notify_change", "iattr", 0));
	set_constant(object, "at_vfs_rename", parameter("vfs_rename", "renamedata", 0));
	if (mkdir && btf_is_ptr(btf__type_by_id(types, mkdir->type)))
		set_constant(object, "vfs_mkdir_gives_dentry", 1);
}

/* Opens and loads the programs of the set, without those that the kernel refuses. */
static struct bpf_object *load(const char *set, bool tracing, char dropped[PATIENCE][64], int *n_dropped)
{
	for (*n_dropped = 0;; (*n_dropped)++) {
		struct bpf_object *object = bpf_object__open_file("/kairos.bpf.o", NULL);
		struct bpf_program *program;
		int i;

		if (!object)
			return NULL;
		bpf_object__for_each_program(program, object) {
			const char *name = bpf_program__name(program), *hook = hook_of(program);
			bool wanted = belongs(set, tracing, name);

			if (wanted && !strcmp(hook, "do_filp_open") && !has_hook(program, hook)) {
				hook = "do_file_open";
				bpf_program__set_attach_target(program, 0, hook);
			}
			wanted = wanted && has_hook(program, hook);
			for (i = 0; i < *n_dropped; i++)
				if (!strcmp(dropped[i], name))
					wanted = false;
			bpf_program__set_autoload(program, wanted);
		}
		set_constant(object, "tracing", tracing);
		set_places(object);
		bpf_map__set_max_entries(bpf_object__find_map_by_name(object, "ring"), 1 << 20);
		refused[0] = 0;
		if (!bpf_object__load(object))
			return object;
		bpf_object__close(object);
		if (!refused[0] || *n_dropped == PATIENCE)
			return NULL;
		snprintf(dropped[*n_dropped], 64, "%s", refused);
	}
}

static __u64 runs(const struct bpf_program *program)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	return bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size) ? 0 : info.run_cnt;
}

static void attach(const struct bpf_program *program)
{
	if (!bpf_program__attach(program))
		fault("%s does not attach: %s", bpf_program__name(program), strerror(errno));
}

/* Records of this process, and those of them that are as they have to be, in their order. */
struct seen {
	const struct deeds *deeds;
	__u32 device;
	unsigned count, right;
};

/* Whether the tail of a record, of strings back to back, has the name as a component. */
static bool names(const char *tail, size_t size, const char *name)
{
	size_t length = strlen(name), i;

	for (i = 0; i + length < size; i++)
		if ((!i || !tail[i - 1] || tail[i - 1] == '/') && !memcmp(tail + i, name, length + 1))
			return true;
	return false;
}

static int take(void *context, void *data, size_t size)
{
	const struct kairos_record *record = data;
	const struct kairos_repeat *repeat = data;
	bool is_repeat = record->kind == KAIROS_RECORD_REPEAT;
	struct seen *seen = context;
	const struct deed *deed;

	if (!seen->device || (!is_repeat && record->device != seen->device))
		return 0;
	if (!is_repeat && record->pid != (__u32)getpid())
		return 0;
	if (seen->count >= seen->deeds->count) {
		fault("a record too many, op %x", record->op);
		return 0;
	}
	deed = &seen->deeds->done[seen->count++];
	if (record->op == deed->op &&
	    (is_repeat ? repeat->result >= 0
		       : names((const char *)data + sizeof(*record), size - sizeof(*record), deed->name)))
		seen->right++;
	else
		fault("operation %u: op %x of %s was told as %x", seen->count, deed->op, deed->name, record->op);
	return 0;
}

/* Makes the directory of the deeds on that file system. */
static int enter(const char *parent, char path[64], __u32 *device)
{
	struct stat status = {};
	int at;

	snprintf(path, 64, "%s/deeds", parent);
	mkdir(path, 0755);
	at = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (at < 0 || fstat(at, &status))
		fault("%s: %s", path, strerror(errno));
	*device = major(status.st_dev) << 20 | minor(status.st_dev);
	return at;
}

static void report(struct bpf_object *object, const char *set, bool tracing, bool stands_in, char dropped[PATIENCE][64], int n_dropped)
{
	char label[32];
	struct bpf_program *program;
	int i;

	snprintf(label, sizeof(label), "%s%s", set, tracing ? ", trace" : "");
	bpf_object__for_each_program(program, object) {
		const char *name = bpf_program__name(program), *hook = hook_of(program);
		bool is_dropped = false, is_sibling = !strcmp(hook, "do_filp_open") && !has_hook(program, hook);

		if (!belongs(set, tracing, name) || (tracing && belongs(set, false, name)))
			continue;
		if (is_sibling)
			hook = "do_file_open";
		for (i = 0; i < n_dropped; i++)
			is_dropped |= !strcmp(dropped[i], name);
		if (is_dropped)
			row(label, "program", name, "refused", "the kernel's log is in the test's output");
		else if (!has_hook(program, hook))
			row(label, "program", name, "no hook", hook);
		else if (!strcmp(name, STAND_IN) && !stands_in)
			row(label, "program", name, "not needed", "stands in for kairos_vfs_fsync, which runs");
		else
			row(label, "program", name, runs(program) ? "ran" : "attached", is_sibling ? hook : "");
	}
}

/* What the set sees of the deeds, where it traces; else only that it loads, attaches and runs. */
static void try_set(const char *set, bool tracing)
{
	static const struct place {
		const char *type, *parent;
		bool has_writeback;
	} places[] = {{"tmpfs", "/tmp", false}, {"ext4", "/disk", true}};
	int counting = bpf_enable_stats(BPF_STATS_RUN_TIME), n_dropped, i, own;
	char dropped[PATIENCE][64];
	struct bpf_object *object = load(set, tracing, dropped, &n_dropped);
	struct kairos_control *control;
	struct bpf_program *program;
	struct ring_buffer *ring;
	struct seen seen = {};
	bool stands_in = false;
	char count[32];

	if (!object) {
		fault("the set %s does not load", set);
		row(set, "set", "-", "refused", "the kernel's log is in the test's output");
		return;
	}
	for (i = 0; i < n_dropped; i++)
		fault("the kernel refuses %s", dropped[i]);
	bpf_object__for_each_program(program, object)
		if (bpf_program__autoload(program) && strcmp(bpf_program__name(program), STAND_IN))
			attach(program);
	own = bpf_map__fd(bpf_object__find_map_by_name(object, "control"));
	control = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);
	ring = ring_buffer__new(bpf_map__fd(bpf_object__find_map_by_name(object, "ring")), take, &seen, NULL);
	if (control == MAP_FAILED || !ring) {
		fault("%s: no control block or no ring", set);
		return;
	}
	if (!strcmp(set, "syscalls")) {
		control->cookie = -1234567;
		close(control->cookie);
		if (!(control->fired & 1ULL << KAIROS_PROBE_SYSCALLS))
			fault("kairos_syscalls_exit is attached and does not fire");
	} else {
		int file = memfd_create("kairos", MFD_CLOEXEC);
		struct stat status;

		fstat(file, &status);
		control->file = status.st_ino;
		if (write(file, "k", 1) != 1 || !(control->fired & 1ULL << KAIROS_PROBE_WRITE))
			fault("kairos_vfs_write is attached and does not fire");
		/* The compiler may have put the one function into the other. */
		fsync(file);
		stands_in = !(control->fired & 1ULL << KAIROS_PROBE_FSYNC);
		if (stands_in)
			attach(bpf_object__find_program_by_name(object, STAND_IN));
		close(file);
	}
	/* In a trace Kairos does not show itself. */
	control->own_pid = 0;
	control->ready = 1;
	for (i = 0; i < 2; i++) {
		struct deeds deeds = {};
		char path[64];
		__u32 device;
		int at = enter(places[i].parent, path, &device);

		/* That the directory itself comes is of no device that is asked for, and that it goes is not read any more. */
		ring_buffer__consume(ring);
		seen = (struct seen){.deeds = &deeds, .device = tracing ? device : 0};
		deeds__do(&deeds, at, places[i].has_writeback);
		ring_buffer__consume(ring);
		seen.device = 0;
		chdir("/");
		close(at);
		rmdir(path);
		if (deeds.failed)
			fault("%s: %s: %s", path, deeds.failed, strerror(deeds.error));
		if (!tracing)
			continue;
		snprintf(count, sizeof(count), "%u of %u", seen.right, deeds.count);
		row(set, "operations", places[i].type, count, "");
		if (seen.right != deeds.count || deeds.count < 20)
			fault("%s on %s: %s", set, places[i].type, count);
	}
	report(object, set, tracing, stands_in, dropped, n_dropped);
	ring_buffer__free(ring);
	bpf_object__close(object);
	close(counting);
}

int main(void)
{
	unsigned seconds;
	int console;

	setvbuf(stdout, NULL, _IOLBF, 0);
	mount("none", "/dev", "devtmpfs", 0, NULL);
	console = open("/dev/console", O_RDWR);
	dup2(console, 1);
	dup2(console, 2);
	mount("none", "/proc", "proc", 0, NULL);
	mount("none", "/sys", "sysfs", 0, NULL);
	mount("none", "/tmp", "tmpfs", 0, NULL);
	for (seconds = 0; access("/dev/nvme0n1", F_OK) && seconds < 60; seconds++)
		sleep(1);
	if (mount("/dev/nvme0n1", "/disk", "ext4", 0, NULL))
		fault("no ext4: %s", strerror(errno));
	uname(&kernel);
	libbpf_set_print(listen);
	types = btf__load_vmlinux_btf();
	if (!types) {
		fault("the kernel has no BTF");
	} else {
		try_set("syscalls", false);
		try_set("syscalls", true);
		try_set("vfs", false);
		try_set("vfs", true);
	}
	printf("kairos: %s\n", faults ? "failed" : "passed");
	sync();
	reboot(RB_POWER_OFF);
	return 1;
}
