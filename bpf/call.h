/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One system call at its end: its arguments, when it began, and the record that tells of it.
 */
#ifndef KAIROS_CALL_H
#define KAIROS_CALL_H

#include "calls.h"
#include "change.h"

struct call_args {
	unsigned long a[6];
	long result;
	s64 offset; /* trace: as in a record */
	u64 bytes;
	u32 number; /* with KAIROS_COMPAT */
	u32 probe;
	bool early;  /* the change may not be done yet */
	bool narrow; /* what the arguments point to has pointers and numbers of 32 bits */
};

/* The task's root directory, as it is noted in the control block. */
struct root {
	u64 inode;
	u32 device;
	u32 mount;
};

static __always_inline bool root__find(struct root *root)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fs_struct *fs = task->fs;
	struct inode *inode;

	if (!fs)
		return false;
	inode = fs->root.dentry->d_inode;
	root->inode = inode->i_ino;
	root->device = inode->i_sb->s_dev;
	root->mount = mount__id(fs->root.mnt);
	return true;
}

/* Whether the caller's paths are walked from another root directory than Kairos's, as in a chroot or a container. */
static __always_inline bool root__differs(const struct kairos_control *ctl)
{
	struct root root = {};

	return !root__find(&root) || root.inode != ctl->root_inode || root.device != ctl->root_device ||
	       root.mount != ctl->root_mount;
}

/* The beginning of a thread's call. */
struct beginning {
	/*
	 * The change was done some time before the call ends: on FUSE by another process, and on a busy machine the caller may
	 * sleep for long before it gets the answer. A snapshot in between contains the change.
	 */
	u64 ns;
	/*
	 * What the descriptor stood for, by the inode's address, where other threads have the same descriptors: one of them may
	 * close it during the call, and open another file that gets its number. 0: not noted.
	 */
	u64 inode;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct beginning);
} begun SEC(".maps");

/* A time of this CPU that was read, and the kernel's count of ticks then. */
struct tick {
	u64 jiffies;
	u64 ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct tick);
} ticks SEC(".maps");

/*
 * Not later than now, and not a tick earlier: the clock is read once in each tick (1 to 10 ms). A bound that is a little too early
 * costs a check at worst, the exact one every call that a program here makes. Whatever a preempted caller reads was a time
 * already, so it is a bound still. (bpf_ktime_get_coarse_ns() is not for tracing programs.)
 */
static __always_inline u64 tick__now(void)
{
	u64 jiffies = bpf_jiffies64();
	u32 zero = 0;
	struct tick *tick = bpf_map_lookup_elem(&ticks, &zero);

	if (!tick)
		return 1;
	if (READ_ONCE(tick->jiffies) != jiffies) {
		WRITE_ONCE(tick->ns, bpf_ktime_get_ns());
		WRITE_ONCE(tick->jiffies, jiffies);
	}
	return READ_ONCE(tick->ns);
}

/* When the caller's system call began; 0 where it is none's. */
static __always_inline u64 call__begun(const struct call_args *args)
{
	struct beginning *start;

	if (tracing || args->probe != KAIROS_PROBE_SYSCALLS)
		return 0;
	start = bpf_task_storage_get(&begun, bpf_get_current_task_btf(), NULL, 0);
	/* Not known: begun before the programs were there. 1 is long ago. */
	return start && start->ns ? start->ns : 1;
}

#define AT_POSITION (-2LL) /* as an offset: it was done where the file's position was, which has moved on since */

static __always_inline u32 send_call(struct scratch *sc, u32 at, const struct call_args *args, bool wake)
{
	sc->record.syscall = args->number;
	sc->record.result = args->result;
	if (!tracing)
		sc->record.begun_ns = call__begun(args) ?: sc->record.time_ns;
	if (tracing) {
		sc->record.offset = args->offset;
		sc->record.bytes = args->bytes;
	}
	return scratch__send(sc, at, wake);
}

#endif
