// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Probe set `syscalls`: one raw tracepoint, sys_exit, which sees every system call with its arguments and its result.
 * A failed call is no change and costs two loads. Why not one tracepoint a call: docs/design.md, "One program for all
 * calls".
 *
 * What a raw tracepoint cannot know is the file behind a path: names.h.
 */
#include "names.h"

#define MAP_ANONYMOUS 0x20
#define EBADF 9
#define ERESTART 512 /* include/linux/errno.h: those from here on are the kernel's own */
#define TS_COMPAT 0x0002     /* arch/x86/include/asm/thread_info.h */
#define TIF_32BIT (1UL << 22) /* arch/arm64/include/asm/thread_info.h */

static __always_inline u32 regs__number(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return regs->orig_ax;
#else
	return regs->syscallno;
#endif
}

static __always_inline bool task__compat(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

#if defined(__TARGET_ARCH_x86)
	return task->thread_info.status & TS_COMPAT;
#else
	return task->thread_info.flags & TIF_32BIT;
#endif
}

static __always_inline void regs__args(struct pt_regs *regs, bool compat, struct call_args *args)
{
#if defined(__TARGET_ARCH_x86)
	if (compat) {
		args->a[0] = (u32)regs->bx;
		args->a[1] = (u32)regs->cx;
		args->a[2] = (u32)regs->dx;
		args->a[3] = (u32)regs->si;
		args->a[4] = (u32)regs->di;
		args->a[5] = (u32)regs->bp;
	} else {
		args->a[0] = regs->di;
		args->a[1] = regs->si;
		args->a[2] = regs->dx;
		args->a[3] = regs->r10;
		args->a[4] = regs->r8;
		args->a[5] = regs->r9;
	}
#else
	args->a[0] = regs->orig_x0;
	args->a[1] = regs->regs[1];
	args->a[2] = regs->regs[2];
	args->a[3] = regs->regs[3];
	args->a[4] = regs->regs[4];
	args->a[5] = regs->regs[5];
#endif
}

/* What a call is, by its number: the table goes by the caller's mode. `narrow`: as in struct call_args. */
static __always_inline u32 call__class(u32 *index, bool *compat, bool *narrow)
{
	u32 number = *index;

	*compat = task__compat();
	*narrow = *compat;
#if defined(__TARGET_ARCH_x86)
	if (!*compat && number & X32_BIT) {
		number &= ~X32_BIT;
		*narrow = number >= 512;
	}
#endif
	/* What is compared is to be what is used: the compiler likes to compare a copy. */
	barrier_var(number);
	if (number >= CALLS)
		return CALL_NONE;
	*index = number;
	return *compat ? compat_calls[number] : calls[number];
}

/*
 * Trace: how many bytes, and where. Of what the caller passed, so it can only be read here; pwritev(2) with the offset -1
 * writes at the file's position.
 */
static __always_inline void call__measure(u32 call, bool compat, struct call_args *args)
{
	s64 position = 0;

	switch (call) {
	case CALL_WRITE:
		args->offset = AT_POSITION;
		args->bytes = args->result > 0 ? args->result : 0;
		return;
	case CALL_PWRITE:
		args->offset = compat ? KAIROS_NO_OFFSET : (s64)args->a[3] == -1 ? AT_POSITION : (s64)args->a[3];
		args->bytes = args->result > 0 ? args->result : 0;
		return;
	case CALL_SPLICE: /* the offset that was passed has moved on, as the position would have */
		args->bytes = args->result > 0 ? args->result : 0;
		if (!args->a[3])
			args->offset = AT_POSITION;
		else if (args->result >= 0 && !bpf_probe_read_user(&position, sizeof(position), (void *)args->a[3]))
			args->offset = position - args->result;
		return;
	case CALL_FTRUNCATE:
	case CALL_TRUNCATE:
		args->offset = compat ? KAIROS_NO_OFFSET : (s64)args->a[1];
		return;
	case CALL_FALLOCATE:
		args->offset = args->a[2];
		args->bytes = args->a[3];
		return;
	case CALL_MMAP:
		/* mmap2() of 32-bit programs counts in pages. */
		args->offset = compat ? (s64)args->a[5] * 4096 : (s64)args->a[5];
		args->bytes = args->a[1];
		return;
	case CALL_OPEN:
	case CALL_OPENAT:
	case CALL_OPENAT2:
	case CALL_CREAT:
	case CALL_HANDLE:
		/* Of one that truncates: the new size. */
		args->offset = 0;
	}
}

/* User space closes a descriptor that cannot be, and so learns that the program fires, and its own number here. */
static __noinline int calibrate(struct kairos_control *ctl, u32 call, long result, int fd, u32 probe)
{
	if (!ctl)
		return 0;
	if (call == CALL_CLOSE && result == -EBADF && ctl->cookie && fd == ctl->cookie) {
		struct root root = {};

		ctl->own_pid = bpf_get_current_pid_tgid() >> 32;
		ctl->pid_level = task__level();
		if (root__find(&root)) {
			ctl->root_inode = root.inode;
			ctl->root_device = root.device;
			ctl->root_mount = root.mount;
		}
		__sync_fetch_and_or(&ctl->fired, 1ULL << probe);
	}
	return 0;
}

/* The argument that is the descriptor of the file that a call changes; -1: none is. */
static __always_inline int call__descriptor(u32 call)
{
	switch (call) {
	case CALL_WRITE:
	case CALL_PWRITE:
	case CALL_FTRUNCATE:
	case CALL_FALLOCATE:
	case CALL_FATTR:
	case CALL_IOCTL:
		return 0;
	case CALL_SPLICE:
		return 2;
	}
	return -1;
}

/* Where other threads have the same descriptors: the inode of the one that a call changes, by its address. 0: nothing to note. */
static __noinline u64 call__inode(struct pt_regs *regs, u32 call, bool compat)
{
	struct files_struct *files = bpf_get_current_task_btf()->files;
	int place = call__descriptor(call);
	struct call_args args = {};
	struct file *file;

	if (place < 0 || !files || files->count.counter < 2)
		return 0;
	regs__args(regs, compat, &args);
	file = file__of(place ? args.a[2] : args.a[0]);
	return file ? (u64)FIELD(file, f_inode) : 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(kairos_syscalls_begin, struct pt_regs *regs, long number)
{
	u32 index = number, call;
	bool compat, narrow;
	struct beginning *start;

	call = call__class(&index, &compat, &narrow);
	/* Closes are many, and change nothing. */
	if (call == CALL_NONE || call == CALL_CLOSE)
		return 0;
	start = bpf_task_storage_get(&begun, bpf_get_current_task_btf(), NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (start) {
		start->ns = tick__now();
		start->inode = call__inode(regs, call, compat);
	}
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(kairos_syscalls_exit, struct pt_regs *regs, long result)
{
	u32 index = regs__number(regs), call, op;
	struct kairos_control *ctl;
	bool compat, narrow;

	call = call__class(&index, &compat, &narrow);
	if (call == CALL_NONE)
		return 0;
	/* mmap() returns addresses, and no address of user space is negative as a long. */
	if (result < 0 && result != -EBADF && !(tracing && trace_failures))
		return 0;
	ctl = control__get();
	if (!ctl)
		return 0;

	struct call_args args = {
	    .number = compat ? index | KAIROS_COMPAT : index,
	    .result = result,
	    .offset = KAIROS_NO_OFFSET,
	    .narrow = narrow,
	};

	regs__args(regs, compat, &args);
	if (compat && call == CALL_FALLOCATE) {
		/* Two registers make a number of 64 bits. */
		args.a[2] |= args.a[3] << 32;
		args.a[3] = args.a[4] | args.a[5] << 32;
	}
	if (!READ_ONCE(ctl->ready))
		return calibrate(ctl, call, result, args.a[0], KAIROS_PROBE_SYSCALLS);
	if (tracing) {
		/* What the kernel will do again after a signal has not failed: -ERESTARTSYS and the like. */
		if (result < 0 ? !trace_failures || result <= -ERESTART : trace_failures == KAIROS_FAILURES_ALONE)
			return 0;
		call__measure(call, compat, &args);
	} else if (result < 0) {
		return 0;
	}

	switch (call) {
	case CALL_WRITE:
	case CALL_PWRITE:
		return result ? call__file(args.a[0], KAIROS_OP_WRITE, &args) : 0;
	case CALL_OPEN:
	case CALL_OPENAT:
	case CALL_OPENAT2:
	case CALL_CREAT:
	case CALL_HANDLE:
		return tracing && result < 0 ? open__failed(call, &args) : call__open(result, call, &args);
	case CALL_CLOSE:
		return !tracing && READ_ONCE(ctl->commits) ? call__close(args.a[0], &args) : 0;
	case CALL_DUP:
		return !tracing && READ_ONCE(ctl->commits) && args.a[0] != args.a[1] ? call__close(args.a[1], &args) : 0;
	case CALL_FTRUNCATE:
		return call__file(args.a[0], KAIROS_OP_TRUNCATE, &args);
	case CALL_SYNC:
		return call__file(args.a[0], KAIROS_OP_SYNC, &args);
	case CALL_SPLICE:
		return result ? call__file(args.a[2], KAIROS_OP_WRITE, &args) : 0;
	case CALL_FALLOCATE:
		return fallocate__is_idle(&args) ? 0 : call__file(args.a[0], KAIROS_OP_WRITE, &args);
	case CALL_SUBMIT:
		return result > 0 ? call__submit(&args) : 0;
	case CALL_FATTR:
		return call__file(args.a[0], KAIROS_OP_ATTR, &args);
	case CALL_IOCTL:
		op = ioctl__op(args.a[1]);
		return op ? call__file(args.a[0], op, &args) : 0;
	case CALL_BIND:
		return call__bind(&args);
	case CALL_SOCKET:
		return socketcall__unpack(&args) ? call__bind(&args) : 0;
	case CALL_ATTRAT:
	case CALL_CHOWNAT:
	case CALL_CHMODAT:
	case CALL_UTIMESAT:
	case CALL_XATTRAT:
		if (!args.a[1])
			return call__no_name(call, &args);
		break;
	case CALL_MADVISE:
		return args.a[2] == MADV_REMOVE ? call__unmapped(&args) : 0;
	case CALL_PMADVISE:
		return args.a[3] == MADV_REMOVE ? call__unknown(KAIROS_OP_WRITE, &args) : 0;
	case CALL_MMAP:
		if (!(args.a[3] & MAP_SHARED_MASK) || args.a[3] & MAP_ANONYMOUS || !(args.a[2] & PROT_WRITE))
			return 0;
		return call__file(args.a[4], KAIROS_OP_MAP, &args);
	default:
		break;
	}
	return call__by_names(call, &args);
}

/*
 * Trace: the last descriptor of a file that was open for writing is closed. At the beginning of the call: at its end the
 * file is gone. Not seen so: what a process that ends leaves open, close_range(2), and a mapping that outlives its
 * descriptor.
 */
static __noinline int call__closing(struct pt_regs *regs, u32 call, u32 number)
{
	struct call_args args = {
	    .number = number, .probe = KAIROS_PROBE_CLOSE, .offset = KAIROS_NO_OFFSET, .early = true};
	struct kairos_control *ctl = control__get();
	struct file *file;
	u64 address;

	if (!ctl || !READ_ONCE(ctl->ready))
		return 0;
	regs__args(regs, number & KAIROS_COMPAT, &args);
	if (call == CALL_DUP && args.a[0] == args.a[1])
		return 0;
	address = file__address(call == CALL_DUP ? args.a[1] : args.a[0]);
	file = file__cast(address);
	if (!address || !(FIELD(file, f_mode) & FMODE_WRITE) || (FIELD(file, f_inode, i_mode) & S_IFMT) != S_IFREG)
		return 0;
	if (!file__is_last(file))
		return 0;
	return change__file(address, -1, KAIROS_OP_CLOSE, &args);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(kairos_syscalls_enter, struct pt_regs *regs, long number)
{
	u32 index = number, call;
	bool compat, narrow;

	call = call__class(&index, &compat, &narrow);
	/* Most calls are neither, and end here. */
	if (call != CALL_CLOSE && call != CALL_DUP)
		return 0;
	return call__closing(regs, call, compat ? index | KAIROS_COMPAT : index);
}
