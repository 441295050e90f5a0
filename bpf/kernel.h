/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel types that the programs read, and of each only the fields that they read. CO-RE relocates every access
 * against the running kernel's BTF, so neither order nor size matters here, and no 3 MB vmlinux.h is needed.
 */
#ifndef KAIROS_KERNEL_H
#define KAIROS_KERNEL_H

#include <linux/bpf.h>
#include <linux/types.h>

typedef _Bool bool;
enum { false, true };
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r10, r9, r8, bx, bp, cx, dx, si, di, ax, orig_ax;
};
struct thread_info {
	u32 status;
};
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	u64 regs[31];
	u64 orig_x0;
	s32 syscallno;
};
struct thread_info {
	unsigned long flags;
};
#else
#error "Kairos knows the system call registers of x86-64 and arm64 only"
#endif

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct qstr {
	union {
		struct {
			u32 hash;
			u32 len;
		};
		u64 hash_len;
	};
	const unsigned char *name;
};

struct super_block {
	u32 s_dev;
};

struct inode_operations {
	int (*fileattr_set)(void);
};

struct inode {
	u16 i_mode;
	struct inode_operations *i_op;
	struct super_block *i_sb;
	unsigned long i_ino;
	s64 i_size;
	unsigned int i_nlink;
	u32 i_generation;
	struct hlist_head i_dentry;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	union {
		struct hlist_node d_alias;
	} d_u;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct vfsmount mnt;
	int mnt_id;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	s64 f_pos;
	unsigned int f_mode;
	unsigned int f_flags;
	void *private_data;
};

struct kiocb {
	struct file *ki_filp;
	s64 ki_pos;
	int ki_flags;
};

struct io_cqe {
	s32 res;
	int fd; /* of a request whose file was not looked up yet */
};

struct io_kiocb {
	struct file *file;
	u8 opcode;
	unsigned int flags; /* since 6.8 of 64 bits, whose lower half this is */
	struct io_cqe cqe;
};

struct open_how {
	u64 flags;
};

/* What io_uring keeps of a request, from its beginning on. */
struct io_open {
	u32 file_slot;
	struct open_how how;
};

struct io_madvise {
	u32 advice;
};

struct sock_common {
	unsigned short skc_family;
};

struct sock {
	struct sock_common __sk_common;
};

struct socket {
	struct sock *sk;
};

struct vm_area_struct {
	unsigned long vm_end;
	struct file *vm_file;
};

struct iattr {
	unsigned int ia_valid;
	s64 ia_size;
};

struct renamedata {
	struct dentry *old_dentry;
	struct dentry *new_dentry;
};

struct address_space {
	struct inode *host;
};

struct folio;

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct {
		int counter;
	} count;
	struct fdtable *fdt;
};

struct fs_struct {
	struct path root;
	struct path pwd;
};

struct ns_common {
	unsigned int inum;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
};

struct upid {
	int nr;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
};

struct signal_struct {
	int group_exit_code;
};

struct task_struct {
	struct thread_info thread_info;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct mm_struct *mm;
	struct pid *thread_pid;
	struct signal_struct *signal;
	const void *cred;
	u64 start_time;
	struct files_struct *files;
	struct fs_struct *fs;
	struct nsproxy *nsproxy;
	int pid;
	int tgid;
	unsigned int flags;
	int exit_code;
	char comm[16];
};

#pragma clang attribute pop

#endif
