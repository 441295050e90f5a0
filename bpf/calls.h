/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which system calls change a file, and which arguments say what file: tables from a call's number to its class. The tests read them too: each
 * number that the headers have is in one, or known to change nothing (Tests/Tracing/SystemCallTests.swift).
 */
#ifndef KAIROS_CALLS_H
#define KAIROS_CALLS_H

#include <asm/unistd.h>
#include <linux/types.h>

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
	CALL_CHMODAT,   /* (dirfd, path, mode, flags): fchmodat2 */
	CALL_UTIMESAT,  /* (dirfd, path or NULL, times, flags) */
	CALL_LINK,      /* (old, new) */
	CALL_LINKAT,    /* (olddirfd, old, newdirfd, new, flags) */
	CALL_SYMLINK,   /* (target, new) */
	CALL_SYMLINKAT, /* (target, newdirfd, new) */
	CALL_MKNOD,     /* (path, ...) */
	CALL_MKNODAT,   /* (dirfd, path, ...) */
	CALL_SUBMIT,    /* (context, n, iocbs): io_submit */
	CALL_HANDLE,    /* (mount_fd, handle, flags): open_by_handle_at, a descriptor comes back */
	CALL_XATTRAT,   /* (dirfd, path or NULL, flags, ...) */
	CALL_BIND,      /* (fd, address, length): a UNIX socket's is a new file */
	CALL_SOCKET,    /* (function, arguments): socketcall of 32-bit programs */
	CALL_MADVISE,   /* (addr, len, advice) */
	CALL_PMADVISE,  /* (pidfd, iov, n, advice, flags) */
};

#define CALLS 1024

/* One number for all architectures; headers may be older than the kernel that the programs run on. */
#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452 /* 6.6 */
#endif
#ifndef __NR_setxattrat
#define __NR_setxattrat 463 /* 6.13 */
#define __NR_removexattrat 466
#endif
#ifndef __NR_file_setattr
#define __NR_file_setattr 469 /* 6.17 */
#endif

#if defined(__TARGET_ARCH_x86)
/* x32: the native calls with this bit in their numbers, and from 512 on those whose arguments point to narrow structures. */
#define X32_BIT 0x40000000U
#define X32_IOCTL 514
#define X32_WRITEV 516
#define X32_PWRITEV 535
#define X32_SUBMIT 544
#define X32_PWRITEV2 547
#endif

static const __u8 calls[CALLS] = {
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
	[__NR_fchmodat2] = CALL_CHMODAT,
	[__NR_setxattrat] = CALL_XATTRAT,
	[__NR_removexattrat] = CALL_XATTRAT,
	[__NR_file_setattr] = CALL_CHOWNAT, /* (dirfd, path or NULL, attributes, size, flags) */
	[__NR_open_by_handle_at] = CALL_HANDLE,
	[__NR_bind] = CALL_BIND,
	[__NR_madvise] = CALL_MADVISE,
	[__NR_process_madvise] = CALL_PMADVISE,
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
#if defined(__TARGET_ARCH_x86)
	[X32_IOCTL] = CALL_IOCTL,
	[X32_WRITEV] = CALL_WRITE,
	[X32_PWRITEV] = CALL_PWRITE,
	[X32_SUBMIT] = CALL_SUBMIT,
	[X32_PWRITEV2] = CALL_PWRITE,
#endif
};

/*
 * The numbers of 32-bit programs (and of `int 0x80` in any): of i386 by arch/x86/entry/syscalls/syscall_32.tbl, of ARM's EABI by
 * arch/arm/tools/syscall.tbl. They agree up to 242, and again from 403 on.
 */
static const __u8 compat_calls[CALLS] = {
	[4] = CALL_WRITE,       /* write */
	[5] = CALL_OPEN,        /* open */
	[6] = CALL_CLOSE,       /* close */
	[8] = CALL_CREAT,       /* creat */
	[9] = CALL_LINK,        /* link */
	[10] = CALL_UNLINK,     /* unlink */
	[14] = CALL_MKNOD,      /* mknod */
	[15] = CALL_ATTR,       /* chmod */
	[16] = CALL_LATTR,      /* lchown, with IDs of 16 bits */
	[30] = CALL_ATTR,       /* utime */
	[38] = CALL_RENAME,     /* rename */
	[39] = CALL_MKDIR,      /* mkdir */
	[40] = CALL_RMDIR,      /* rmdir */
	[54] = CALL_IOCTL,      /* ioctl */
	[63] = CALL_DUP,        /* dup2 */
	[83] = CALL_SYMLINK,    /* symlink */
	[92] = CALL_TRUNCATE,   /* truncate */
	[93] = CALL_FTRUNCATE,  /* ftruncate */
	[94] = CALL_FATTR,      /* fchmod */
	[95] = CALL_FATTR,      /* fchown, with IDs of 16 bits */
	[118] = CALL_SYNC,      /* fsync */
	[146] = CALL_WRITE,     /* writev */
	[148] = CALL_SYNC,      /* fdatasync */
	[181] = CALL_WRITE,     /* pwrite64 */
	[182] = CALL_ATTR,      /* chown, with IDs of 16 bits */
	[187] = CALL_WRITE,     /* sendfile */
	[192] = CALL_MMAP,      /* mmap2 */
	[193] = CALL_TRUNCATE,  /* truncate64 */
	[194] = CALL_FTRUNCATE, /* ftruncate64 */
	[198] = CALL_LATTR,     /* lchown32 */
	[207] = CALL_FATTR,     /* fchown32 */
	[212] = CALL_ATTR,      /* chown32 */
	[226] = CALL_ATTR,      /* setxattr */
	[227] = CALL_LATTR,     /* lsetxattr */
	[228] = CALL_FATTR,     /* fsetxattr */
	[235] = CALL_ATTR,      /* removexattr */
	[236] = CALL_LATTR,     /* lremovexattr */
	[237] = CALL_FATTR,     /* fremovexattr */
	[239] = CALL_WRITE,     /* sendfile64 */
#if defined(__TARGET_ARCH_x86)
	[102] = CALL_SOCKET,   /* socketcall */
	[219] = CALL_MADVISE,  /* madvise */
	[248] = CALL_SUBMIT,   /* io_submit */
	[271] = CALL_ATTR,     /* utimes */
	[295] = CALL_OPENAT,   /* openat */
	[296] = CALL_MKDIRAT,  /* mkdirat */
	[297] = CALL_MKNODAT,  /* mknodat */
	[298] = CALL_CHOWNAT,  /* fchownat */
	[299] = CALL_ATTRAT,   /* futimesat */
	[301] = CALL_UNLINKAT, /* unlinkat */
	[302] = CALL_RENAMEAT, /* renameat */
	[303] = CALL_LINKAT,   /* linkat */
	[304] = CALL_SYMLINKAT,/* symlinkat */
	[306] = CALL_ATTRAT,   /* fchmodat */
	[313] = CALL_SPLICE,   /* splice */
	[320] = CALL_UTIMESAT, /* utimensat */
	[324] = CALL_FALLOCATE,/* fallocate */
	[330] = CALL_DUP,      /* dup3 */
	[334] = CALL_WRITE,    /* pwritev */
	[342] = CALL_HANDLE,   /* open_by_handle_at */
	[353] = CALL_RENAMEAT, /* renameat2 */
	[361] = CALL_BIND,     /* bind */
	[377] = CALL_SPLICE,   /* copy_file_range */
	[379] = CALL_WRITE,    /* pwritev2 */
#else
	[220] = CALL_MADVISE,  /* madvise */
	[246] = CALL_SUBMIT,   /* io_submit */
	[269] = CALL_ATTR,     /* utimes */
	[282] = CALL_BIND,     /* bind */
	[322] = CALL_OPENAT,   /* openat */
	[323] = CALL_MKDIRAT,  /* mkdirat */
	[324] = CALL_MKNODAT,  /* mknodat */
	[325] = CALL_CHOWNAT,  /* fchownat */
	[326] = CALL_ATTRAT,   /* futimesat */
	[328] = CALL_UNLINKAT, /* unlinkat */
	[329] = CALL_RENAMEAT, /* renameat */
	[330] = CALL_LINKAT,   /* linkat */
	[331] = CALL_SYMLINKAT,/* symlinkat */
	[333] = CALL_ATTRAT,   /* fchmodat */
	[340] = CALL_SPLICE,   /* splice */
	[348] = CALL_UTIMESAT, /* utimensat */
	[352] = CALL_FALLOCATE,/* fallocate */
	[358] = CALL_DUP,      /* dup3 */
	[362] = CALL_WRITE,    /* pwritev */
	[371] = CALL_HANDLE,   /* open_by_handle_at */
	[382] = CALL_RENAMEAT, /* renameat2 */
	[391] = CALL_SPLICE,   /* copy_file_range */
	[393] = CALL_WRITE,    /* pwritev2 */
#endif
	[412] = CALL_UTIMESAT, /* utimensat_time64 */
	[437] = CALL_OPENAT2,  /* openat2 */
	[440] = CALL_PMADVISE, /* process_madvise */
	[452] = CALL_CHMODAT,  /* fchmodat2 */
	[463] = CALL_XATTRAT,  /* setxattrat */
	[466] = CALL_XATTRAT,  /* removexattrat */
	[469] = CALL_CHOWNAT,  /* file_setattr */
};

#endif
