/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which system calls change a file, and which arguments say what file: tables from a call's number to its class.
 */
#ifndef KAIROS_CALLS_H
#define KAIROS_CALLS_H

#include "kernel.h"

#include <asm/unistd.h>

/* What a call does, which is all that the program below tells apart. */
enum call {
	CALL_NONE = 0,
	CALL_OPEN,      /* (path, flags, mode): a descriptor comes back */
	CALL_OPENAT,    /* (dirfd, path, flags, mode) */
	CALL_OPENAT2,   /* (dirfd, path, how, size) */
	CALL_CREAT,     /* (path, mode) */
	CALL_WRITE,     /* (fd, ...), at the file's position */
	CALL_PWRITE,    /* (fd, ..., ..., offset) */
	CALL_FTRUNCATE, /* (fd, ...) */
	CALL_SYNC,      /* (fd) */
	CALL_CLOSE,     /* (fd) */
	CALL_DUP,       /* (old, new): closes what `new` was, as every redirection of a shell does */
	CALL_MMAP,      /* (addr, len, prot, flags, fd, offset) */
	CALL_UNLINK,    /* (path) */
	CALL_UNLINKAT,  /* (dirfd, path, flags) */
	CALL_RMDIR,     /* (path) */
	CALL_MKDIR,     /* (path, mode) */
	CALL_MKDIRAT,   /* (dirfd, path, mode) */
	CALL_RENAME,    /* (old, new) */
	CALL_RENAMEAT,  /* (olddirfd, old, newdirfd, new, [flags]) */
	CALL_TRUNCATE,  /* (path, len) */
	CALL_SPLICE,    /* (fd_in, off_in, fd_out, ...): splice, copy_file_range */
	CALL_FALLOCATE, /* (fd, mode, offset, len) */
	CALL_IOCTL,     /* (fd, request, ...) */
	CALL_FATTR,     /* (fd, ...) */
	CALL_ATTR,      /* (path, ...), followed */
	CALL_LATTR,     /* (path, ...), not followed */
	CALL_ATTRAT,    /* (dirfd, path, ...), followed */
	CALL_CHOWNAT,   /* (dirfd, path, uid, gid, flags) */
	CALL_UTIMESAT,  /* (dirfd, path or NULL, times, flags) */
	CALL_LINK,      /* (old, new) */
	CALL_LINKAT,    /* (olddirfd, old, newdirfd, new, flags) */
	CALL_SYMLINK,   /* (target, new) */
	CALL_SYMLINKAT, /* (target, newdirfd, new) */
	CALL_MKNOD,     /* (path, ...) */
	CALL_MKNODAT,   /* (dirfd, path, ...) */
	CALL_SUBMIT,    /* (context, n, iocbs): io_submit */
};

#define CALLS 512

static const u8 calls[CALLS] = {
#ifdef __NR_open
	[__NR_open] = CALL_OPEN,
	[__NR_creat] = CALL_CREAT,
	[__NR_unlink] = CALL_UNLINK,
	[__NR_rmdir] = CALL_RMDIR,
	[__NR_mkdir] = CALL_MKDIR,
	[__NR_rename] = CALL_RENAME,
	[__NR_dup2] = CALL_DUP,
	[__NR_link] = CALL_LINK,
	[__NR_symlink] = CALL_SYMLINK,
	[__NR_mknod] = CALL_MKNOD,
	[__NR_chmod] = CALL_ATTR,
	[__NR_chown] = CALL_ATTR,
	[__NR_lchown] = CALL_LATTR,
	[__NR_utime] = CALL_ATTR,
	[__NR_utimes] = CALL_ATTR,
	[__NR_futimesat] = CALL_ATTRAT,
#endif
#ifdef __NR_fchmodat2
	[__NR_fchmodat2] = CALL_UTIMESAT, /* (dirfd, path, mode, flags): its flags are where those of utimensat are */
#endif
#ifdef __NR_renameat
	[__NR_renameat] = CALL_RENAMEAT,
#endif
	[__NR_openat] = CALL_OPENAT,
	[__NR_openat2] = CALL_OPENAT2,
	[__NR_unlinkat] = CALL_UNLINKAT,
	[__NR_mkdirat] = CALL_MKDIRAT,
	[__NR_renameat2] = CALL_RENAMEAT,
	[__NR_write] = CALL_WRITE,
	[__NR_pwrite64] = CALL_PWRITE,
	[__NR_writev] = CALL_WRITE,
	[__NR_pwritev] = CALL_PWRITE,
	[__NR_pwritev2] = CALL_PWRITE,
	[__NR_mmap] = CALL_MMAP,
	[__NR_truncate] = CALL_TRUNCATE,
	[__NR_ftruncate] = CALL_FTRUNCATE,
	[__NR_close] = CALL_CLOSE,
	[__NR_dup3] = CALL_DUP,
	[__NR_fsync] = CALL_SYNC,
	[__NR_fdatasync] = CALL_SYNC,
	[__NR_sendfile] = CALL_WRITE,
	[__NR_splice] = CALL_SPLICE,
	[__NR_copy_file_range] = CALL_SPLICE,
	[__NR_fallocate] = CALL_FALLOCATE,
	[__NR_ioctl] = CALL_IOCTL,
	[__NR_fchmod] = CALL_FATTR,
	[__NR_fchown] = CALL_FATTR,
	[__NR_fsetxattr] = CALL_FATTR,
	[__NR_fremovexattr] = CALL_FATTR,
	[__NR_setxattr] = CALL_ATTR,
	[__NR_lsetxattr] = CALL_LATTR,
	[__NR_removexattr] = CALL_ATTR,
	[__NR_lremovexattr] = CALL_LATTR,
	[__NR_fchmodat] = CALL_ATTRAT,
	[__NR_fchownat] = CALL_CHOWNAT,
	[__NR_utimensat] = CALL_UTIMESAT,
	[__NR_linkat] = CALL_LINKAT,
	[__NR_symlinkat] = CALL_SYMLINKAT,
	[__NR_mknodat] = CALL_MKNODAT,
	[__NR_io_submit] = CALL_SUBMIT,
};

#if defined(__TARGET_ARCH_x86)
/* The i386 numbers of the commonest calls: 32-bit programs, and `int 0x80` in any (arch/x86/entry/syscalls/syscall_32.tbl). */
static const u8 compat_calls[CALLS] = {
	[4] = CALL_WRITE,      /* write */
	[5] = CALL_OPEN,       /* open */
	[6] = CALL_CLOSE,      /* close */
	[8] = CALL_CREAT,      /* creat */
	[10] = CALL_UNLINK,    /* unlink */
	[38] = CALL_RENAME,    /* rename */
	[39] = CALL_MKDIR,     /* mkdir */
	[40] = CALL_RMDIR,     /* rmdir */
	[92] = CALL_TRUNCATE,  /* truncate */
	[93] = CALL_FTRUNCATE, /* ftruncate */
	[118] = CALL_SYNC,     /* fsync */
	[146] = CALL_WRITE,    /* writev */
	[148] = CALL_SYNC,     /* fdatasync */
	[181] = CALL_WRITE,    /* pwrite64 */
	[192] = CALL_MMAP,     /* mmap2 */
	[193] = CALL_TRUNCATE, /* truncate64 */
	[194] = CALL_FTRUNCATE, /* ftruncate64 */
	[295] = CALL_OPENAT,   /* openat */
	[296] = CALL_MKDIRAT,  /* mkdirat */
	[301] = CALL_UNLINKAT, /* unlinkat */
	[302] = CALL_RENAMEAT, /* renameat */
	[334] = CALL_WRITE,    /* pwritev */
	[353] = CALL_RENAMEAT, /* renameat2 */
	[379] = CALL_WRITE,    /* pwritev2 */
	[437] = CALL_OPENAT2,  /* openat2 */
};
#endif

#endif
