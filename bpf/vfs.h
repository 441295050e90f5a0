/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Probe set `vfs`: programs on functions of the kernel itself, at their ends (fexit), by what they returned. They see
 * inodes and dentries where system calls show strings, whoever comes there: io_uring, aio, the NFS server, 32-bit
 * programs, overlays. They cost other system calls nothing.
 *
 * Kernels differ in the arguments of these functions. Where an argument stands is looked up in the kernel's BTF by its
 * type and set before load: the `at_...` constants. See Sources/Tracing/FunctionTable.swift.
 */
#ifndef KAIROS_VFS_H
#define KAIROS_VFS_H

#include "change.h"

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */
#define IOCB_WRITE (1 << 18)  /* include/linux/fs.h, since 6.1 and before */
#define ATTR_SIZE (1 << 3)    /* include/linux/fs.h */
#define MAX_ERRNO 4095

/* Which argument is the dentry; of vfs_link() the new one. */
const volatile u32 at_vfs_create = 2, at_vfs_mkdir = 2, at_vfs_mknod = 2, at_vfs_symlink = 2, at_vfs_link = 3,
		   at_vfs_unlink = 2, at_vfs_rmdir = 2, at_notify_change = 1, at_vfs_setxattr = 1,
		   at_vfs_removexattr = 1, at_vfs_set_acl = 1, at_vfs_remove_acl = 1, at_vfs_fileattr_set = 1;
/* Which argument is the `struct iattr *`. */
const volatile u32 at_notify_change_attr = 2;
/* Which one is the `struct renamedata *`. */
const volatile u32 at_vfs_rename = 0;

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
	if (!ctl->self && ctl->file && ino == ctl->file) {
		ctl->self = pid;
		ctl->pid_level = task__level();
	}
	if (ctl->self == pid)
		__sync_fetch_and_or(&ctl->fired, 1ULL << probe);
	return true;
}

/* What was done: as in a record. */
struct deed {
	u32 op;
	u32 probe;
	s64 offset;
	u64 bytes;
	bool early;
};

#define DEED(what, by) \
	(struct deed) { .op = KAIROS_OP_##what, .probe = KAIROS_PROBE_##by, .offset = KAIROS_NO_OFFSET }
#define WRITTEN(by, n, at) \
	(struct deed) { .op = KAIROS_OP_WRITE, .probe = KAIROS_PROBE_##by, .offset = (at), .bytes = (n) }

/* A change of the inode that has this dentry. */
static __always_inline int vfs__changed(struct inode *inode, u64 dentry, u64 mnt, const struct deed *deed)
{
	struct kairos_control *ctl = control__get();
	u32 dev = FIELD(inode, i_sb, s_dev);
	struct change c = {
	    .key.device = dev,
	    .slot = device__slot(dev),
	    .op = deed->op,
	    .probe = deed->probe,
	    .mnt = mnt,
	    .dentry = dentry,
	    .result = deed->op == KAIROS_OP_WRITE ? (s64)deed->bytes : 0,
	    .offset = deed->offset,
	    .bytes = deed->bytes,
	    .syscall = KAIROS_NO_SYSCALL,
	    .fd = -1,
	    .early = deed->early,
	};
	u32 type;

	if (!ctl)
		return 0;
	if (!READ_ONCE(ctl->ready)) {
		vfs__calibrating(ctl, FIELD(inode, i_ino), deed->probe);
		return 0;
	}
	if (!tracing && c.slot == KAIROS_NO_SLOT)
		return 0;
	type = FIELD(inode, i_mode) & S_IFMT;
	if (deed->op & (KAIROS_OP_WRITE | KAIROS_OP_TRUNCATE) && type != S_IFREG)
		return 0;
	if (tracing && type == S_IFDIR)
		c.flags = KAIROS_F_DIRECTORY;
	c.key.inode = FIELD(inode, i_ino);
	c.key.generation = FIELD(inode, i_generation);
	c.hidden = !FIELD(inode, i_nlink);
	return change__tell(&c);
}

static __always_inline struct inode *inode__cast(u64 inode)
{
	if (bpf_rdonly_cast)
		return bpf_rdonly_cast((void *)inode, bpf_core_type_id_kernel(struct inode));
	return (void *)inode;
}

static __always_inline int vfs__file(u64 pointer, const struct deed *deed)
{
	struct file *file = file__cast(pointer);

	return vfs__changed(inode__cast((u64)FIELD(file, f_inode)), (u64)FIELD(file, f_path.dentry),
	                    (u64)FIELD(file, f_path.mnt), deed);
}

static __always_inline int vfs__dentry(u64 pointer, const struct deed *deed)
{
	struct dentry *dentry = (void *)pointer;
	u64 inode = (u64)BPF_CORE_READ(dentry, d_inode);

	/* A name that the file system took without an inode to show for it: its directory is what changed. */
	if (!inode)
		inode = (u64)BPF_CORE_READ(dentry, d_parent, d_inode);
	return vfs__changed(inode__cast(inode), pointer, 0, deed);
}

/* The end of a function that returns 0 or an error, and has the dentry in this place. */
static __always_inline int vfs__ended(u64 *ctx, u32 place, const struct deed *deed)
{
	return (s32)returned(ctx) ? 0 : vfs__dentry(arg(ctx, place), deed);
}

/* Writes: by who calls the file system, and how many bytes it took. */

/* Of one whose position has moved on by what was written. */
static __always_inline int vfs__written(u64 file, u32 probe, s64 n, s64 position)
{
	struct deed deed = {.op = KAIROS_OP_WRITE, .probe = probe, .offset = position - n, .bytes = n};

	return n > 0 ? vfs__file(file, &deed) : 0;
}

static __always_inline int vfs__written_by(u64 *ctx, u32 file, u32 probe, u32 position)
{
	s64 n = returned(ctx), at = n + KAIROS_NO_OFFSET;

	/* Only a trace tells where. */
	if (tracing)
		bpf_probe_read_kernel(&at, sizeof(at), (void *)arg(ctx, position));
	return vfs__written(arg(ctx, file), probe, n, at);
}

/*
 * Trace: functions that write by others of those here, which are silent meanwhile, by thread. (When a change is only
 * marked, seeing it twice does no harm.)
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64); /* the thread, as bpf_get_current_pid_tgid() says */
	__type(value, u32);
} within SEC(".maps");

static __always_inline int within__begin(u32 probe)
{
	u64 id = bpf_get_current_pid_tgid();

	bpf_map_update_elem(&within, &id, &probe, BPF_NOEXIST);
	return 0;
}

/* Whether it is for the one that asks to tell: nothing around it does. */
static __always_inline bool within__ends(u32 probe)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 *outer;

	if (!tracing)
		return true;
	outer = bpf_map_lookup_elem(&within, &id);
	if (!outer)
		return true;
	if (*outer != probe)
		return false;
	bpf_map_delete_elem(&within, &id);
	return true;
}

SEC("fentry/iter_file_splice_write")
int vfs__splice_entry(u64 *ctx)
{
	return within__begin(KAIROS_PROBE_SPLICE);
}

SEC("fentry/vfs_copy_file_range")
int vfs__copy_entry(u64 *ctx)
{
	return within__begin(KAIROS_PROBE_COPY);
}

/* (file, buffer, count, position) */
SEC("fexit/vfs_write")
int vfs__write(u64 *ctx)
{
	return vfs__written_by(ctx, 0, KAIROS_PROBE_WRITE, 3);
}

/* (file, vector, length, position, flags) */
SEC("fexit/vfs_writev")
int vfs__writev(u64 *ctx)
{
	return vfs__written_by(ctx, 0, KAIROS_PROBE_WRITEV, 3);
}

/* (file, iterator, position, flags) */
SEC("fexit/vfs_iter_write")
int vfs__iter_write(u64 *ctx)
{
	return within__ends(KAIROS_PROBE_ITER_WRITE) ? vfs__written_by(ctx, 0, KAIROS_PROBE_ITER_WRITE, 2) : 0;
}

/* (file, iocb, iterator) */
SEC("fexit/vfs_iocb_iter_write")
int vfs__iocb_write(u64 *ctx)
{
	struct kiocb *iocb = (void *)arg(ctx, 1);

	return vfs__written(arg(ctx, 0), KAIROS_PROBE_IOCB_WRITE, returned(ctx), BPF_CORE_READ(iocb, ki_pos));
}

/* (file, iterator, position) */
SEC("fexit/__kernel_write_iter")
int vfs__kernel_write(u64 *ctx)
{
	return vfs__written_by(ctx, 0, KAIROS_PROBE_KERNEL_WRITE, 2);
}

/* splice(2) and sendfile(2): (pipe, out, position, length, flags). */
SEC("fexit/iter_file_splice_write")
int vfs__splice(u64 *ctx)
{
	return within__ends(KAIROS_PROBE_SPLICE) ? vfs__written_by(ctx, 1, KAIROS_PROBE_SPLICE, 2) : 0;
}

/* In whatever thread it runs. When it would block it returns -EAGAIN, and is called again in a worker. */
SEC("fexit/io_write")
int vfs__io_uring(u64 *ctx)
{
	struct io_kiocb *request = (void *)arg(ctx, 0);
	s32 status = (s32)returned(ctx);
	s32 n;

	if (status < 0 && status != -529 /* EIOCBQUEUED: done, the result is told already */)
		return 0;
	n = BPF_CORE_READ(request, cqe.res);
	return vfs__written((u64)BPF_CORE_READ(request, file), KAIROS_PROBE_IO_URING, n, n + KAIROS_NO_OFFSET);
}

static __always_inline int kiocb__done(struct kiocb *iocb, long n, u32 probe)
{
	if (!(BPF_CORE_READ(iocb, ki_flags) & IOCB_WRITE))
		return 0;
	return vfs__written((u64)BPF_CORE_READ(iocb, ki_filp), probe, n, BPF_CORE_READ(iocb, ki_pos));
}

/* The end of a write of io_submit(2), at once or later. */
SEC("fentry/aio_complete_rw")
int BPF_PROG(vfs__aio, struct kiocb *iocb, long n)
{
	return kiocb__done(iocb, n, KAIROS_PROBE_AIO);
}

/* Of io_uring, when the file system finished later. */
SEC("fentry/io_complete_rw")
int BPF_PROG(vfs__io_uring_late, struct kiocb *iocb, long n)
{
	return kiocb__done(iocb, n, KAIROS_PROBE_IO_URING);
}

/*
 * A thread of the kernel's own, such as a loop device's, may call the file system by none of the above. This is before
 * the write, so it is marked as early, and a check follows the snapshot.
 */
SEC("fentry/generic_write_checks")
int BPF_PROG(vfs__kernel_thread, struct kiocb *iocb)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct deed deed = DEED(WRITE, KERNEL_THREAD);

	if (!(task->flags & PF_KTHREAD))
		return 0;
	deed.offset = BPF_CORE_READ(iocb, ki_pos);
	deed.early = true;
	return vfs__file((u64)BPF_CORE_READ(iocb, ki_filp), &deed);
}

/* (in, position, out, position, length, flags) */
SEC("fexit/vfs_copy_file_range")
int vfs__copy(u64 *ctx)
{
	s64 n = returned(ctx);

	return within__ends(KAIROS_PROBE_COPY) ? vfs__written(arg(ctx, 2), KAIROS_PROBE_COPY, n, arg(ctx, 3) + n) : 0;
}

/* (in, position, out, position, length, flags) */
SEC("fexit/vfs_clone_file_range")
int vfs__clone(u64 *ctx)
{
	s64 n = returned(ctx);

	return vfs__written(arg(ctx, 2), KAIROS_PROBE_CLONE, n, arg(ctx, 3) + n);
}

/* How long a file was when the thread's fallocate(2) began, as bpf_get_current_pid_tgid() says. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, s64);
} sizes SEC(".maps");

static __always_inline s64 file__size(u64 pointer)
{
	struct inode *inode = inode__cast((u64)FIELD(file__cast(pointer), f_inode));

	return FIELD(inode, i_size);
}

/* (file, mode, offset, length) */
SEC("fentry/vfs_fallocate")
int vfs__fallocate_entry(u64 *ctx)
{
	u64 id = bpf_get_current_pid_tgid();
	s64 size;

	if (!fallocate__is_room(arg(ctx, 1)))
		return 0;
	size = file__size(arg(ctx, 0));
	bpf_map_update_elem(&sizes, &id, &size, BPF_ANY);
	return 0;
}

SEC("fexit/vfs_fallocate")
int vfs__fallocate(u64 *ctx)
{
	struct deed deed = WRITTEN(FALLOCATE, arg(ctx, 3), arg(ctx, 2));
	struct kairos_control *ctl = control__get();
	u64 id = bpf_get_current_pid_tgid();
	bool changed = true;
	s64 *before;

	if (fallocate__is_room(arg(ctx, 1))) {
		before = bpf_map_lookup_elem(&sizes, &id);
		if (before) {
			changed = *before != file__size(arg(ctx, 0));
			bpf_map_delete_elem(&sizes, &id);
		}
	}
	/* The call that is made to see whether this program runs changes nothing. */
	if ((s32)returned(ctx) || !ctl || (!changed && READ_ONCE(ctl->ready)))
		return 0;
	return vfs__file(arg(ctx, 0), &deed);
}

/* Trace: (file, address, length, protection, flags, page offset in bytes). */
SEC("fexit/vm_mmap_pgoff")
int vfs__mmap(u64 *ctx)
{
	struct deed deed = DEED(MAP, MMAP);
	s64 address = returned(ctx);
	u64 file = arg(ctx, 0);

	if (!file || (address < 0 && address >= -MAX_ERRNO))
		return 0;
	if (!(arg(ctx, 4) & MAP_SHARED_MASK) || !(arg(ctx, 3) & PROT_WRITE))
		return 0;
	deed.bytes = arg(ctx, 2);
	deed.offset = arg(ctx, 5) << 12;
	return vfs__file(file, &deed);
}

/* Mode, owner, times, and size: truncate(2), and O_TRUNC. */
SEC("fexit/notify_change")
int vfs__setattr(u64 *ctx)
{
	struct iattr *attr = (void *)arg(ctx, at_notify_change_attr);
	struct deed deed = DEED(ATTR, SETATTR);

	if (BPF_CORE_READ(attr, ia_valid) & ATTR_SIZE) {
		deed.op = KAIROS_OP_TRUNCATE;
		deed.offset = BPF_CORE_READ(attr, ia_size);
	}
	return vfs__ended(ctx, at_notify_change, &deed);
}

/* A file that open(2) made. The function gives the open file, or an error in its place. */
SEC("fexit/do_filp_open")
int vfs__open(u64 *ctx)
{
	struct deed deed = DEED(CREATE, OPEN);
	s64 value = returned(ctx);
	struct file *file;

	if (!value || (value < 0 && value >= -MAX_ERRNO))
		return 0;
	file = file__cast(value);
	if (!(FIELD(file, f_mode) & FMODE_CREATED) && !(FIELD(file, f_flags) & O_TMPFILE_BIT))
		return 0;
	return vfs__file(value, &deed);
}

/* The kernel's own creations, of the NFS server say. */
SEC("fexit/vfs_create")
int vfs__create(u64 *ctx)
{
	struct deed deed = DEED(CREATE, CREATE);

	return vfs__ended(ctx, at_vfs_create, &deed);
}

/* An error, or 0; since 6.15 a dentry, which may be another one than was given. */
SEC("fexit/vfs_mkdir")
int vfs__mkdir(u64 *ctx)
{
	struct deed deed = DEED(MKDIR, MKDIR);
	s64 value = returned(ctx);

	if ((s32)value < 0 && (s32)value >= -MAX_ERRNO)
		return 0;
	return vfs__dentry(arg(ctx, at_vfs_mkdir), &deed);
}

SEC("fexit/vfs_mknod")
int vfs__mknod(u64 *ctx)
{
	struct deed deed = DEED(CREATE, MKNOD);

	return vfs__ended(ctx, at_vfs_mknod, &deed);
}

SEC("fexit/vfs_symlink")
int vfs__symlink(u64 *ctx)
{
	struct deed deed = DEED(CREATE, SYMLINK);

	return vfs__ended(ctx, at_vfs_symlink, &deed);
}

SEC("fexit/vfs_link")
int vfs__link(u64 *ctx)
{
	struct deed deed = DEED(LINK, LINK);

	return vfs__ended(ctx, at_vfs_link, &deed);
}

/* Too large for the stack; the same care as with scratch is not needed: it is copied at once, with no call between. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct before);
} before_blank SEC(".maps");

static __always_inline int before__note(u64 pointer, bool named)
{
	struct dentry *dentry = (void *)pointer;
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);
	u64 id = bpf_get_current_pid_tgid();
	u32 dev = BPF_CORE_READ(inode, i_sb, s_dev), zero = 0;
	struct before *b = bpf_map_lookup_elem(&before_blank, &zero);

	if (!b || (!tracing && device__slot(dev) == KAIROS_NO_SLOT))
		return 0;
	/* The entry first, then its contents: it is this thread's alone. */
	bpf_map_update_elem(&befores, &id, b, BPF_ANY);
	b = bpf_map_lookup_elem(&befores, &id);
	if (!b)
		return 0;
	b->inode = BPF_CORE_READ(inode, i_ino);
	b->generation = BPF_CORE_READ(inode, i_generation);
	b->length = 0;
	if (named) {
		long n = bpf_probe_read_kernel_str(b->name, sizeof(b->name), BPF_CORE_READ(dentry, d_name.name));

		b->parent = (u64)BPF_CORE_READ(dentry, d_parent);
		b->length = n > 0 ? n : 0;
	}
	return 0;
}

/* The end of an unlink, rmdir or rename of a dentry, whose name is where it was, or for a rename where it is now. */
static __always_inline int before__tell(u64 pointer, u32 op, u32 probe)
{
	struct kairos_control *ctl = control__get();
	struct dentry *dentry = (void *)pointer;
	u64 id = bpf_get_current_pid_tgid();
	struct inode *dir = BPF_CORE_READ(dentry, d_parent, d_inode);
	u32 dev = BPF_CORE_READ(dir, i_sb, s_dev);
	struct before *b;
	struct change c = {
	    .key.device = dev,
	    .slot = device__slot(dev),
	    .op = op,
	    .probe = probe,
	    .dentry = pointer,
	    .offset = KAIROS_NO_OFFSET,
	    .syscall = KAIROS_NO_SYSCALL,
	    .fd = -1,
	};

	if (!ctl || vfs__calibrating(ctl, 0, probe))
		return 0;
	if (!tracing && c.slot == KAIROS_NO_SLOT)
		return 0;
	b = bpf_map_lookup_elem(&befores, &id);
	if (b) {
		c.key.inode = b->inode;
		c.key.generation = b->generation;
		c.moved = b->length > 0;
	} else {
		/* The table was too small for so many at once: its directory is known at least. */
		c.key.inode = BPF_CORE_READ(dir, i_ino);
		c.key.generation = BPF_CORE_READ(dir, i_generation);
	}
	change__tell(&c);
	if (b)
		bpf_map_delete_elem(&befores, &id);
	return 0;
}

SEC("fentry/vfs_unlink")
int vfs__unlink_entry(u64 *ctx)
{
	return before__note(arg(ctx, at_vfs_unlink), false);
}

SEC("fexit/vfs_unlink")
int vfs__unlink(u64 *ctx)
{
	return (s32)returned(ctx) ? 0 : before__tell(arg(ctx, at_vfs_unlink), KAIROS_OP_UNLINK, KAIROS_PROBE_UNLINK);
}

SEC("fentry/vfs_rmdir")
int vfs__rmdir_entry(u64 *ctx)
{
	return before__note(arg(ctx, at_vfs_rmdir), false);
}

SEC("fexit/vfs_rmdir")
int vfs__rmdir(u64 *ctx)
{
	return (s32)returned(ctx) ? 0 : before__tell(arg(ctx, at_vfs_rmdir), KAIROS_OP_RMDIR, KAIROS_PROBE_RMDIR);
}

SEC("fentry/vfs_rename")
int vfs__rename_entry(u64 *ctx)
{
	struct renamedata *rd = (void *)arg(ctx, at_vfs_rename);

	return before__note((u64)BPF_CORE_READ(rd, old_dentry), true);
}

SEC("fexit/vfs_rename")
int vfs__rename(u64 *ctx)
{
	struct renamedata *rd = (void *)arg(ctx, at_vfs_rename);

	if ((s32)returned(ctx))
		return 0;
	/* Two names of one file: that is no rename, says POSIX, and succeeds. */
	if (BPF_CORE_READ(rd, old_dentry, d_inode) == BPF_CORE_READ(rd, new_dentry, d_inode))
		return 0;
	/* The kernel has moved the old dentry to its new place by now. */
	return before__tell((u64)BPF_CORE_READ(rd, old_dentry), KAIROS_OP_RENAME, KAIROS_PROBE_RENAME);
}

SEC("fexit/vfs_setxattr")
int vfs__setxattr(u64 *ctx)
{
	struct deed deed = DEED(ATTR, XATTR);

	return vfs__ended(ctx, at_vfs_setxattr, &deed);
}

SEC("fexit/vfs_removexattr")
int vfs__removexattr(u64 *ctx)
{
	struct deed deed = DEED(ATTR, XATTR);

	return vfs__ended(ctx, at_vfs_removexattr, &deed);
}

/* Since 6.2; before, POSIX ACLs were extended attributes like others. */
SEC("fexit/vfs_set_acl")
int vfs__set_acl(u64 *ctx)
{
	struct deed deed = DEED(ATTR, ACL);

	return vfs__ended(ctx, at_vfs_set_acl, &deed);
}

SEC("fexit/vfs_remove_acl")
int vfs__remove_acl(u64 *ctx)
{
	struct deed deed = DEED(ATTR, ACL);

	return vfs__ended(ctx, at_vfs_remove_acl, &deed);
}

SEC("fexit/vfs_fileattr_set")
int vfs__fileattr(u64 *ctx)
{
	struct deed deed = DEED(ATTR, FILEATTR);

	return vfs__ended(ctx, at_vfs_fileattr_set, &deed);
}

/* chattr(1) on a file system that knows the request itself, as OpenZFS does. */
static __always_inline int vfs__request(u32 fd, u32 request, s64 result)
{
	struct deed deed = DEED(ATTR, IOCTL);
	struct file *file;

	if (result)
		return 0;
	switch (request) {
	case FS_IOC_SETFLAGS:
	case FS_IOC32_SETFLAGS:
	case FS_IOC_FSSETXATTR:
		break;
	default:
		return 0;
	}
	file = file__of(fd);
	/* Others come by vfs_fileattr_set(). */
	if (!file || (tracing && BPF_CORE_READ(file, f_inode, i_op, fileattr_set)))
		return 0;
	return vfs__file((u64)file, &deed);
}

#if defined(__TARGET_ARCH_x86)
SEC("fexit/__x64_sys_ioctl")
int BPF_PROG(vfs__ioctl, struct pt_regs *regs, long result)
{
	return vfs__request(regs->di, regs->si, result);
}

SEC("fexit/__ia32_compat_sys_ioctl")
int BPF_PROG(vfs__ioctl_compat, struct pt_regs *regs, long result)
{
	return vfs__request(regs->bx, regs->cx, result);
}
#else
SEC("fexit/__arm64_sys_ioctl")
int BPF_PROG(vfs__ioctl, struct pt_regs *regs, long result)
{
	return vfs__request(regs->regs[0], regs->regs[1], result);
}

SEC("fexit/__arm64_compat_sys_ioctl")
int BPF_PROG(vfs__ioctl_compat, struct pt_regs *regs, long result)
{
	return vfs__request(regs->regs[0], regs->regs[1], result);
}
#endif

/* The last close of a file that was changed in this epoch: a version is complete. In a trace: that was open for writing. */
SEC("fentry/__fput")
int BPF_PROG(vfs__fput, struct file *file)
{
	struct kairos_control *ctl = control__get();
	struct deed deed = DEED(CLOSE, FPUT);
	struct seen_key key = {};
	struct inode *inode;
	struct seen *known;

	if (!ctl || !(tracing || READ_ONCE(ctl->commits)) || !(file->f_mode & FMODE_WRITE))
		return 0;
	inode = file->f_inode;
	if (tracing)
		return (inode->i_mode & S_IFMT) == S_IFREG ? vfs__file((u64)file, &deed) : 0;
	key.device = inode->i_sb->s_dev;
	key.inode = inode->i_ino;
	key.generation = inode->i_generation;
	if (device__slot(key.device) == KAIROS_NO_SLOT)
		return 0;
	known = bpf_map_lookup_elem(&seen, &key);
	if (!known || !(known->ops & (KAIROS_OP_CREATE | KAIROS_OP_WRITE | KAIROS_OP_TRUNCATE | KAIROS_OP_STORE)))
		return 0;
	return vfs__file((u64)file, &deed);
}

SEC("fexit/vfs_fsync_range")
int vfs__fsync(u64 *ctx)
{
	struct deed deed = DEED(SYNC, FSYNC);

	return (s32)returned(ctx) ? 0 : vfs__file(arg(ctx, 0), &deed);
}

#endif
