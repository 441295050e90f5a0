/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How kernels differ, in one place: each difference is found by a type, a field or a function that is there or not, never
 * by a version. Programs call what stands here and know of none.
 *
 * Not here: what a function or tracepoint is called. A program has several hooks in ProbeSet.swift where kernels name it
 * differently (do_filp_open(), since 7.0 do_file_open(); io_uring_submit_req, in 6.1 io_uring_submit_sqe).
 */
#ifndef KAIROS_COMPAT_H
#define KAIROS_COMPAT_H

#include "kernel.h"

#include <bpf/bpf_helpers.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

/*
 * Typed, read-only access to a kernel object by a plain pointer: since 6.2 (a35b9af4ec2c, "bpf: Add a kfunc for generic
 * type cast"). Without it: probe reads.
 */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;

/* Loads of a field through a pointer that a cast gave. */
#define FIELD(ptr, ...) (bpf_rdonly_cast ? ___arrow_direct(ptr, __VA_ARGS__) : BPF_CORE_READ(ptr, __VA_ARGS__))
#define ___arrow_direct(ptr, ...) ___arrow(ptr, __VA_ARGS__)

static __always_inline struct dentry *dentry__cast(u64 dentry)
{
	if (bpf_rdonly_cast)
		return bpf_rdonly_cast((void *)dentry, bpf_core_type_id_kernel(struct dentry));
	return (void *)dentry;
}

static __always_inline struct file *file__cast(u64 file)
{
	if (bpf_rdonly_cast)
		return bpf_rdonly_cast((void *)file, bpf_core_type_id_kernel(struct file));
	return (void *)file;
}

static __always_inline struct inode *inode__cast(u64 inode)
{
	if (bpf_rdonly_cast)
		return bpf_rdonly_cast((void *)inode, bpf_core_type_id_kernel(struct inode));
	return (void *)inode;
}

static __always_inline u32 mount__id(struct vfsmount *mnt)
{
	struct mount *m = (void *)mnt - bpf_core_field_offset(struct mount, mnt);

	if (bpf_rdonly_cast)
		m = bpf_rdonly_cast(m, bpf_core_type_id_kernel(struct mount));
	return FIELD(m, mnt_id);
}

/*
 * Not a trusted pointer where that can be had: for each pointer that is loaded through one Linux 6.12's verifier looks
 * for a name among all the kernel's types, up to four times, on every path that comes by.
 */
static __always_inline struct task_struct *task__current(void)
{
	if (bpf_rdonly_cast)
		return bpf_rdonly_cast(bpf_get_current_task_btf(), bpf_core_type_id_kernel(struct task_struct));
	return bpf_get_current_task_btf();
}

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* Since 7.1 the union of d_alias has no name (2420067cecac). */
struct dentry___anonymous {
	struct hlist_node d_alias;
};

/*
 * Until 6.12 the references of a file are counted in f_count, from 1; then in f_ref, from 0 (90ee6ed776c0, "fs: port
 * files to file_ref").
 */
struct file___count {
	struct {
		s64 counter;
	} f_count;
};

struct file___ref {
	struct {
		struct {
			s64 counter;
		} refcnt;
	} f_ref;
};

#pragma clang attribute pop

/* The dentry that this member of an inode's list of names lies in. */
static __always_inline u64 alias__dentry(struct hlist_node *alias)
{
	if (bpf_core_field_exists(struct dentry___anonymous, d_alias))
		return (u64)alias - bpf_core_field_offset(struct dentry___anonymous, d_alias);
	return (u64)alias - bpf_core_field_offset(struct dentry, d_u.d_alias);
}

/* Whether a file has but one reference: a descriptor's. */
static __always_inline bool file__is_last(struct file *file)
{
	struct file___count *count = (void *)file;
	struct file___ref *ref = (void *)file;

	if (bpf_core_field_exists(ref->f_ref))
		return BPF_CORE_READ(ref, f_ref.refcnt.counter) == 0;
	return BPF_CORE_READ(count, f_count.counter) == 1;
}

/* What an open of io_uring's was asked for. False: this kernel keeps it elsewhere, and it is not known. */
static __always_inline bool io_open__flags(struct io_open *asked, u64 *flags)
{
	if (!bpf_core_field_exists(asked->how.flags))
		return false;
	*flags = BPF_CORE_READ(asked, how.flags);
	return true;
}

/* Whether a request of io_uring's may be this madvise(2); true where this kernel keeps it elsewhere. */
static __always_inline bool io_madvise__may_be(struct io_kiocb *request, u32 advice)
{
	return !bpf_core_type_exists(struct io_madvise) ||
	       BPF_CORE_READ((struct io_madvise *)request, advice) == advice;
}

/*
 * Which argument of a function of the kernel's is the dentry; of vfs_link() the new one. User space looks it up by type in
 * the kernel's BTF and sets it before load (Sources/Tracing/ProbeSet.swift): 6.3 put a mnt_idmap where a user_namespace
 * was (abf08576afe3, "fs: port vfs_*() helpers to struct mnt_idmap"), and others came and went.
 */
const volatile u32 at_vfs_create = 2, at_vfs_mkdir = 2, at_vfs_mknod = 2, at_vfs_symlink = 2, at_vfs_link = 3,
		   at_vfs_unlink = 2, at_vfs_rmdir = 2, at_notify_change = 1, at_vfs_setxattr = 1,
		   at_vfs_setxattr_call = 1, at_vfs_removexattr = 1, at_vfs_removexattr_call = 1,
		   at_vfs_set_acl = 1, at_vfs_remove_acl = 1, at_vfs_fileattr_set = 1;
/* Which argument is the `struct iattr *`. */
const volatile u32 at_notify_change_attr = 2;
/* Which one is the `struct renamedata *`. */
const volatile u32 at_vfs_rename = 0;

/*
 * Whether vfs_mkdir() returns a dentry, and not an int whose upper half means nothing: since 6.15 (c54b386969a5, "VFS:
 * Change vfs_mkdir() to return the dentry"). User space looks it up and sets it before load.
 */
const volatile u32 vfs_mkdir_gives_dentry = 0;

#endif
