// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Probe set `vfs`: names and attributes. What makes, moves and deletes them, and modes, owners, times, sizes.
 */
#include "vfs.h"

/* Mode, owner, times, and size: truncate(2), and O_TRUNC. */
SEC("fexit/notify_change")
int kairos_vfs_setattr(u64 *ctx)
{
	struct iattr *attr = (void *)arg(ctx, at_notify_change_attr);
	struct event event = EVENT(ATTR, SETATTR);

	if (BPF_CORE_READ(attr, ia_valid) & ATTR_SIZE) {
		event.op = KAIROS_OP_TRUNCATE;
		event.offset = BPF_CORE_READ(attr, ia_size);
	}
	return vfs__ended(ctx, at_notify_change, &event);
}

/* A file that open(2) made. The function gives the open file, or an error. */
SEC("fexit/do_filp_open")
int kairos_vfs_open(u64 *ctx)
{
	struct event event = EVENT(CREATE, OPEN);
	s64 value = returned(ctx);
	struct file *file;

	if (!value || (value < 0 && value >= -MAX_ERRNO))
		return 0;
	file = file__cast(value);
	if (!(FIELD(file, f_mode) & FMODE_CREATED) && !(FIELD(file, f_flags) & O_TMPFILE_BIT))
		return 0;
	return vfs__file(value, &event);
}

/* The kernel's own creations, of the NFS server say. */
SEC("fexit/vfs_create")
int kairos_vfs_create(u64 *ctx)
{
	struct event event = EVENT(CREATE, CREATE);

	return vfs__ended(ctx, at_vfs_create, &event);
}

/* An error, or 0, or a dentry, which may be another one than was given: `vfs_mkdir_gives_dentry`. */
SEC("fexit/vfs_mkdir")
int kairos_vfs_mkdir(u64 *ctx)
{
	struct event event = EVENT(MKDIR, MKDIR);
	s64 value = returned(ctx);

	/* The lower half of a pointer may look like an error. */
	if (vfs_mkdir_gives_dentry ? value < 0 && value >= -MAX_ERRNO : (s32)value)
		return 0;
	return vfs__dentry(arg(ctx, at_vfs_mkdir), &event);
}

SEC("fexit/vfs_mknod")
int kairos_vfs_mknod(u64 *ctx)
{
	struct event event = EVENT(CREATE, MKNOD);

	return vfs__ended(ctx, at_vfs_mknod, &event);
}

SEC("fexit/vfs_symlink")
int kairos_vfs_symlink(u64 *ctx)
{
	struct event event = EVENT(CREATE, SYMLINK);

	return vfs__ended(ctx, at_vfs_symlink, &event);
}

SEC("fexit/vfs_link")
int kairos_vfs_link(u64 *ctx)
{
	struct event event = EVENT(LINK, LINK);

	return vfs__ended(ctx, at_vfs_link, &event);
}

/* Too large for the stack; the same care as with scratch is not needed: it is copied at once, with no call between. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct old_name);
} old_name_blank SEC(".maps");

static __always_inline int old_name__note(u64 pointer, bool named)
{
	struct dentry *dentry = (void *)pointer;
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);
	u64 id = bpf_get_current_pid_tgid();
	u32 dev = BPF_CORE_READ(inode, i_sb, s_dev), zero = 0;
	struct old_name *b = bpf_map_lookup_elem(&old_name_blank, &zero);

	if (!b || (!tracing && device__slot(dev) == KAIROS_NO_SLOT))
		return 0;
	/* The entry first, then its contents: it is this thread's alone. */
	bpf_map_update_elem(&old_names, &id, b, BPF_ANY);
	b = bpf_map_lookup_elem(&old_names, &id);
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
static __always_inline int old_name__tell(u64 pointer, u32 op, u32 probe)
{
	struct kairos_control *ctl = control__get();
	struct dentry *dentry = (void *)pointer;
	u64 id = bpf_get_current_pid_tgid();
	struct inode *dir = BPF_CORE_READ(dentry, d_parent, d_inode);
	struct change c = change__new(BPF_CORE_READ(dir, i_sb, s_dev), op, probe);
	struct old_name *b;

	if (!ctl || vfs__calibrating(ctl, 0, probe))
		return 0;
	if (!change__is_wanted(&c))
		return 0;
	c.dentry = pointer;
	b = bpf_map_lookup_elem(&old_names, &id);
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
		bpf_map_delete_elem(&old_names, &id);
	return 0;
}

SEC("fentry/vfs_unlink")
int kairos_vfs_unlink_entry(u64 *ctx)
{
	return old_name__note(arg(ctx, at_vfs_unlink), false);
}

SEC("fexit/vfs_unlink")
int kairos_vfs_unlink(u64 *ctx)
{
	return (s32)returned(ctx) ? 0 : old_name__tell(arg(ctx, at_vfs_unlink), KAIROS_OP_UNLINK, KAIROS_PROBE_UNLINK);
}

SEC("fentry/vfs_rmdir")
int kairos_vfs_rmdir_entry(u64 *ctx)
{
	return old_name__note(arg(ctx, at_vfs_rmdir), false);
}

SEC("fexit/vfs_rmdir")
int kairos_vfs_rmdir(u64 *ctx)
{
	return (s32)returned(ctx) ? 0 : old_name__tell(arg(ctx, at_vfs_rmdir), KAIROS_OP_RMDIR, KAIROS_PROBE_RMDIR);
}

SEC("fentry/vfs_rename")
int kairos_vfs_rename_entry(u64 *ctx)
{
	struct renamedata *rd = (void *)arg(ctx, at_vfs_rename);

	return old_name__note((u64)BPF_CORE_READ(rd, old_dentry), true);
}

SEC("fexit/vfs_rename")
int kairos_vfs_rename(u64 *ctx)
{
	struct renamedata *rd = (void *)arg(ctx, at_vfs_rename);

	if ((s32)returned(ctx))
		return 0;
	/* Two names of one file: that is no rename, says POSIX, and succeeds. */
	if (BPF_CORE_READ(rd, old_dentry, d_inode) == BPF_CORE_READ(rd, new_dentry, d_inode))
		return 0;
	/* The kernel has moved the old dentry to its new place by now. */
	return old_name__tell((u64)BPF_CORE_READ(rd, old_dentry), KAIROS_OP_RENAME, KAIROS_PROBE_RENAME);
}

static __always_inline int vfs__attributed(u64 *ctx, u32 place)
{
	struct event event = EVENT(ATTR, XATTR);

	return vfs__ended(ctx, place, &event);
}

/* What calls of programs and the NFS server have in common. */
SEC("fexit/__vfs_setxattr_locked")
int kairos_vfs_setxattr(u64 *ctx)
{
	return vfs__attributed(ctx, at_vfs_setxattr);
}

SEC("fexit/__vfs_removexattr_locked")
int kairos_vfs_removexattr(u64 *ctx)
{
	return vfs__attributed(ctx, at_vfs_removexattr);
}

/* In their place where the kernel takes no program there. */
SEC("fexit/vfs_setxattr")
int kairos_vfs_setxattr_call(u64 *ctx)
{
	return vfs__attributed(ctx, at_vfs_setxattr_call);
}

SEC("fexit/vfs_removexattr")
int kairos_vfs_removexattr_call(u64 *ctx)
{
	return vfs__attributed(ctx, at_vfs_removexattr_call);
}

/* Since 6.2; before, POSIX ACLs were extended attributes like others. */
SEC("fexit/vfs_set_acl")
int kairos_vfs_set_acl(u64 *ctx)
{
	struct event event = EVENT(ATTR, ACL);

	return vfs__ended(ctx, at_vfs_set_acl, &event);
}

SEC("fexit/vfs_remove_acl")
int kairos_vfs_remove_acl(u64 *ctx)
{
	struct event event = EVENT(ATTR, ACL);

	return vfs__ended(ctx, at_vfs_remove_acl, &event);
}

SEC("fexit/vfs_fileattr_set")
int kairos_vfs_fileattr(u64 *ctx)
{
	struct event event = EVENT(ATTR, FILEATTR);

	return vfs__ended(ctx, at_vfs_fileattr_set, &event);
}

/* chattr(1) on a file system that knows the request itself, as OpenZFS does. */
static __always_inline int vfs__request(u32 fd, u32 request, s64 result)
{
	struct event event = EVENT(ATTR, IOCTL);
	struct file *file;

	/* What is written has functions of its own. */
	if (result || ioctl__op(request) != KAIROS_OP_ATTR)
		return 0;
	file = file__of(fd);
	/* Others come by vfs_fileattr_set(). */
	if (!file || (tracing && BPF_CORE_READ(file, f_inode, i_op, fileattr_set)))
		return 0;
	return vfs__file((u64)file, &event);
}

#if defined(__TARGET_ARCH_x86)
SEC("fexit/__x64_sys_ioctl")
int BPF_PROG(kairos_vfs_ioctl, struct pt_regs *regs, long result)
{
	return vfs__request(regs->di, regs->si, result);
}

SEC("fexit/__ia32_compat_sys_ioctl")
int BPF_PROG(kairos_vfs_ioctl_compat, struct pt_regs *regs, long result)
{
	return vfs__request(regs->bx, regs->cx, result);
}
#else
SEC("fexit/__arm64_sys_ioctl")
int BPF_PROG(kairos_vfs_ioctl, struct pt_regs *regs, long result)
{
	return vfs__request(regs->regs[0], regs->regs[1], result);
}

SEC("fexit/__arm64_compat_sys_ioctl")
int BPF_PROG(kairos_vfs_ioctl_compat, struct pt_regs *regs, long result)
{
	return vfs__request(regs->regs[0], regs->regs[1], result);
}
#endif
