/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Probe set `vfs`: what the programs in vfs_contents.bpf.c and vfs_names.bpf.c share. They are on functions of the kernel
 * itself, at their ends (fexit), by what they returned. They see inodes and dentries where system calls show strings,
 * whoever comes there: io_uring, aio, the NFS server, 32-bit
 * programs, overlays. They cost other system calls nothing.
 */
#ifndef KAIROS_VFS_H
#define KAIROS_VFS_H

#include "change.h"

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */
#define IOCB_WRITE (1 << 18)  /* include/linux/fs.h, since 6.1 and before */
#define ATTR_SIZE (1 << 3)    /* include/linux/fs.h */
#define MAX_ERRNO 4095

static __always_inline u64 arg(void *ctx, u32 n)
{
	u64 value = 0;

	bpf_get_func_arg(ctx, n, &value);
	return value;
}

static __always_inline s64 returned(void *ctx)
{
	u64 value = 0;

	bpf_get_func_ret(ctx, &value);
	return value;
}

/*
 * At start, user space does one of each thing that can be done without harm and looks which programs answered. The first
 * is a write to an anonymous file that has the number told; whoever does it is Kairos.
 */
static __always_inline bool vfs__calibrating(struct kairos_control *ctl, u64 ino, u32 probe)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;

	if (READ_ONCE(ctl->ready))
		return false;
	if (!ctl->own_pid && ctl->file && ino == ctl->file) {
		ctl->own_pid = pid;
		ctl->pid_level = task__level();
	}
	if (ctl->own_pid == pid)
		__sync_fetch_and_or(&ctl->fired, 1ULL << probe);
	return true;
}

/* What was done: as in a record. */
struct event {
	u32 op;
	u32 probe;
	s64 offset;
	u64 bytes;
	bool early;
};

#define EVENT(what, by) \
	(struct event) { .op = KAIROS_OP_##what, .probe = KAIROS_PROBE_##by, .offset = KAIROS_NO_OFFSET }
#define WRITTEN(by, n, at) \
	(struct event) { .op = KAIROS_OP_WRITE, .probe = KAIROS_PROBE_##by, .offset = (at), .bytes = (n) }

/* A change of the inode that has this dentry. */
static __always_inline int vfs__changed(struct inode *inode, u64 dentry, u64 mnt, const struct event *event)
{
	struct kairos_control *ctl = control__get();
	struct change c = change__new(FIELD(inode, i_sb, s_dev), event->op, event->probe);
	u32 type;

	if (!ctl)
		return 0;
	if (!READ_ONCE(ctl->ready)) {
		vfs__calibrating(ctl, FIELD(inode, i_ino), event->probe);
		return 0;
	}
	if (!change__is_wanted(&c))
		return 0;
	c.mnt = mnt;
	c.dentry = dentry;
	c.result = event->op == KAIROS_OP_WRITE ? (s64)event->bytes : 0;
	c.offset = event->offset;
	c.bytes = event->bytes;
	c.early = event->early;
	type = FIELD(inode, i_mode) & S_IFMT;
	if (event->op & (KAIROS_OP_WRITE | KAIROS_OP_TRUNCATE) && type != S_IFREG)
		return 0;
	if (tracing && type == S_IFDIR)
		c.flags = KAIROS_F_DIRECTORY;
	change__inode(&c, inode);
	return change__tell(&c);
}

static __always_inline int vfs__file(u64 pointer, const struct event *event)
{
	struct file *file = file__cast(pointer);

	return vfs__changed(inode__cast((u64)FIELD(file, f_inode)), (u64)FIELD(file, f_path.dentry),
	                    (u64)FIELD(file, f_path.mnt), event);
}

static __always_inline int vfs__dentry(u64 pointer, const struct event *event)
{
	struct dentry *dentry = (void *)pointer;
	u64 inode = (u64)BPF_CORE_READ(dentry, d_inode);

	/* A name that the file system took without an inode to show for it: its directory is what changed. */
	if (!inode)
		inode = (u64)BPF_CORE_READ(dentry, d_parent, d_inode);
	return vfs__changed(inode__cast(inode), pointer, 0, event);
}

/* The end of a function that returns 0 or an error, and has the dentry in this place. */
static __always_inline int vfs__ended(u64 *ctx, u32 place, const struct event *event)
{
	return (s32)returned(ctx) ? 0 : vfs__dentry(arg(ctx, place), event);
}

#endif
