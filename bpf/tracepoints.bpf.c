// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Tracepoints of the kernel's other than those on system calls: the ends of io_uring's requests, pages that get dirty, processes
 * that end. The first belongs to the probe set `syscalls`, the others to every set.
 */
#include "names.h"

/* include/uapi/linux/io_uring.h: enum io_uring_op, whose numbers are the kernel's interface. */
enum {
	URING_WRITEV = 2,
	URING_WRITE_FIXED = 5,
	URING_FALLOCATE = 17,
	URING_OPENAT = 18,
	URING_WRITE = 23,
	URING_MADVISE = 25,
	URING_OPENAT2 = 28,
	URING_SPLICE = 30,
	URING_RENAMEAT = 35,
	URING_UNLINKAT = 36,
	URING_MKDIRAT = 37,
	URING_SYMLINKAT = 38,
	URING_LINKAT = 39,
	URING_FSETXATTR = 41,
	URING_SETXATTR = 42,
	URING_FTRUNCATE = 55,
	URING_BIND = 56,
	URING_WRITEV_FIXED = 61,
};

#define URING_FIXED_FILE (1U << 0) /* IOSQE_FIXED_FILE, in a request's flags as in the caller's */
#define URING_SKIP (1U << 6)       /* IOSQE_CQE_SKIP_SUCCESS */

/* Whether it may have made a file: one on a socket of the UNIX family. */
static __always_inline bool file__is_unix_socket(struct file *file)
{
	struct socket *socket = (void *)BPF_CORE_READ(file, private_data);

	return BPF_CORE_READ(socket, sk, __sk_common.skc_family) == AF_UNIX;
}

/* What an open of io_uring's did, by what it was asked for. */
static __always_inline int uring__open(struct io_kiocb *request, struct call_args *args)
{
	struct io_open *asked = (void *)request;
	u64 flags, address;

	if (!io_open__flags(asked, &flags))
		return call__unknown(KAIROS_OP_CREATE, args);
	if (flags & O_PATH || !(flags & (O_CREAT | O_TRUNC | O_TMPFILE_BIT)))
		return 0;
	/* The file is in the ring's own table, or not open yet: the result is no descriptor of the caller's. */
	if (args->early || BPF_CORE_READ(asked, file_slot))
		return call__unknown(KAIROS_OP_CREATE, args);
	address = file__address(args->result);
	if (!address)
		return call__unknown(KAIROS_OP_CREATE, args);
	if (FIELD(file__cast(address), f_mode) & FMODE_CREATED || flags & O_TMPFILE_BIT)
		return change__file(address, -1, KAIROS_OP_CREATE, args);
	return flags & O_TRUNC ? change__file(address, -1, KAIROS_OP_TRUNCATE, args) : 0;
}

/*
 * A request of io_uring, in whatever thread does it. One on a file has it at hand; the paths of the others are gone by its end, so
 * every dataset is checked.
 */
static __always_inline int uring__request(struct io_kiocb *request, struct call_args *args)
{
	u32 op = KAIROS_OP_WRITE;
	u64 address;

	switch (BPF_CORE_READ(request, opcode)) {
	case URING_WRITEV:
	case URING_WRITE_FIXED:
	case URING_WRITE:
	case URING_WRITEV_FIXED:
	case URING_SPLICE:
		if (!args->early && !args->result)
			return 0;
		args->bytes = args->result;
		break;
	case URING_FALLOCATE:
		break;
	case URING_FTRUNCATE:
		op = KAIROS_OP_TRUNCATE;
		break;
	case URING_FSETXATTR:
		op = KAIROS_OP_ATTR;
		break;
	case URING_BIND:
		op = KAIROS_OP_CREATE;
		break;
	case URING_OPENAT:
	case URING_OPENAT2:
		return uring__open(request, args);
	case URING_MADVISE:
		if (!io_madvise__may_be(request, MADV_REMOVE))
			return 0;
		return call__unknown(op, args);
	case URING_RENAMEAT:
	case URING_UNLINKAT:
	case URING_MKDIRAT:
	case URING_SYMLINKAT:
	case URING_LINKAT:
	case URING_SETXATTR:
		return call__unknown(op, args);
	default:
		return 0;
	}
	address = (u64)BPF_CORE_READ(request, file);
	if (args->early) /* not looked up yet */
		address = BPF_CORE_READ(request, flags) & URING_FIXED_FILE ? 0 : file__address(BPF_CORE_READ(request, cqe.fd));
	if (!address)
		return call__unknown(op, args);
	if (op == KAIROS_OP_CREATE)
		return file__is_unix_socket(file__cast(address)) ? call__unknown(op, args) : 0;
	return change__file(address, -1, op, args);
}

/* The end of a request. The arguments behind the second differ between kernels, and the result is in the request. */
SEC("tp_btf/io_uring_complete")
int kairos_syscalls_io_uring(u64 *ctx)
{
	struct io_kiocb *request = (void *)ctx[1];
	struct kairos_control *ctl = control__get();
	struct call_args args = {
	    .number = KAIROS_NO_SYSCALL, .probe = KAIROS_PROBE_IO_URING_COMPLETE, .offset = KAIROS_NO_OFFSET};

	/* What a request leaves behind it besides its end has none. */
	if (!ctl || !READ_ONCE(ctl->ready) || !request)
		return 0;
	args.result = BPF_CORE_READ(request, cqe.res);
	return args.result < 0 ? 0 : uring__request(request, &args);
}

/* The submission of a request that has a completion only if it fails. */
SEC("tp_btf/io_uring_submit_req")
int kairos_syscalls_io_uring_submit(u64 *ctx)
{
	struct io_kiocb *request = (void *)ctx[0];
	struct kairos_control *ctl = control__get();
	struct call_args args = {
	    .number = KAIROS_NO_SYSCALL,
	    .probe = KAIROS_PROBE_IO_URING_SUBMIT,
	    .offset = KAIROS_NO_OFFSET,
	    .early = true,
	};

	if (!ctl || !READ_ONCE(ctl->ready) || !request || !(BPF_CORE_READ(request, flags) & URING_SKIP))
		return 0;
	return uring__request(request, &args);
}

/*
 * Stores through a mapping. The kernel tells of a page when it goes from clean to dirty, in the fault just before the
 * first store; that is *before* the change. It is safe all the same: user space writes back dirty pages after it has
 * moved the epoch on, so either this store is written back with them, or it faults again and marks the new epoch.
 */
static __always_inline int change__folio(struct address_space *mapping)
{
	struct kairos_control *ctl = control__get();
	struct hlist_node *alias;
	struct inode *inode;
	struct change c;

	/* The tracepoint's BTF says that the mapping may be NULL (6.14 and later ask for the check). */
	if (!ctl || !READ_ONCE(ctl->ready) || !mapping)
		return 0;
	inode = mapping->host;
	if (!inode)
		return 0;
	c = change__new(inode->i_sb->s_dev, KAIROS_OP_STORE, KAIROS_PROBE_FOLIO);
	if (!change__is_wanted(&c))
		return 0;
	c.key.inode = inode->i_ino;
	c.key.generation = inode->i_generation;
	c.hidden = !inode->i_nlink;
	alias = inode->i_dentry.first;
	if (alias)
		c.dentry = alias__dentry(alias);
	return change__tell(&c);
}

SEC("tp_btf/writeback_dirty_folio")
int BPF_PROG(kairos_syscalls_dirty_folio, struct folio *folio, struct address_space *mapping)
{
	/* In a trace, write(2) is shown as such; a store faults from user mode, where no system call is under way. */
	if (tracing) {
		struct task_struct *task = bpf_get_current_task_btf();
		struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

#if defined(__TARGET_ARCH_x86)
		if ((long)regs->orig_ax >= 0)
			return 0;
#else
		if (regs->syscallno >= 0)
			return 0;
#endif
	}
	return change__folio(mapping);
}

/* "zfs" or "zpool". */
static __always_inline bool task__is_zfs_command(struct task_struct *task)
{
	return task->comm[0] == 'z' &&
	       ((task->comm[1] == 'f' && task->comm[2] == 's' && !task->comm[3]) ||
		(task->comm[1] == 'p' && task->comm[2] == 'o' && task->comm[3] == 'o' && task->comm[4] == 'l' &&
		 !task->comm[5]));
}

/* The arguments of a zfs or zpool command. */
struct zfs_command {
	u32 size; /* 0: not known */
	char args[KAIROS_ARGS_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct zfs_command);
} zfs_commands SEC(".maps");

/*
 * Arguments are noted when a command begins. At its end they are gone on most kernels: before Linux 6.16 (the move of
 * trace_sched_process_exit() in do_exit()) a process drops its memory before the tracepoint fires.
 */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(kairos_syscalls_process_exec, struct task_struct *task)
{
	struct kairos_control *ctl = control__get();
	struct zfs_command *command;
	u64 start, size;

	if (tracing || !ctl || !READ_ONCE(ctl->ready) || !task__is_zfs_command(task))
		return 0;
	command = bpf_task_storage_get(&zfs_commands, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!command)
		return 0;
	command->size = 0;
	start = BPF_CORE_READ(task, mm, arg_start);
	size = BPF_CORE_READ(task, mm, arg_end) - start;
	if (!size || size > KAIROS_ARGS_MAX)
		return 0;
	if (!bpf_probe_read_user(command->args, size, (const void *)start))
		command->size = size;
	return 0;
}

#define CORE_DUMPED 0x80 /* in the status of a process, as wait(2) has it */

/* The kernel has written a process's memory to a file, by no call of anybody's. Where it is, its core_pattern says. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(kairos_syscalls_core, struct task_struct *task)
{
	struct kairos_control *ctl = control__get();
	struct call_args args = {
	    .number = KAIROS_NO_SYSCALL, .probe = KAIROS_PROBE_EXIT, .offset = KAIROS_NO_OFFSET};

	if (!ctl || !READ_ONCE(ctl->ready) || !(task->signal->group_exit_code & CORE_DUMPED) || task->pid != task->tgid)
		return 0;
	return call__unknown(KAIROS_OP_WRITE, &args);
}

/* The end of a zfs or zpool command. User space decides by its arguments what it may have done. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(kairos_syscalls_process_exit, struct task_struct *task)
{
	struct kairos_control *ctl = control__get();
	struct zfs_command *command;
	u32 tid = bpf_get_current_pid_tgid(), size = 0;
	struct scratch *sc;

	if (tracing || !ctl || !READ_ONCE(ctl->ready))
		return 0;
	/* The leader's end alone; and Kairos's own children report to it anyway. */
	if (tid != bpf_get_current_pid_tgid() >> 32 || !task__is_zfs_command(task) ||
	    (u32)BPF_CORE_READ(task, real_parent, tgid) == ctl->own_pid)
		return 0;
	sc = scratch__begin(KAIROS_PROBE_EXIT, KAIROS_RECORD_ZFS_COMMAND, 0, bpf_ktime_get_ns());
	if (!sc)
		return 0;
	command = bpf_task_storage_get(&zfs_commands, task, NULL, 0);
	if (command) {
		size = command->size;
		if (!size || size > KAIROS_ARGS_MAX || bpf_probe_read_kernel(sc->data, size, command->args))
			size = 0;
	}
	sc->record.name_len = size;
	scratch__send(sc, size, true);
	return 0;
}
