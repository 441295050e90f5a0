/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the BPF programs and user space share: slots, records, control block. The one header that BPF, C and Swift read;
 * every size is asserted, since the three must agree to the byte.
 */
#ifndef KAIROS_H
#define KAIROS_H

#include "layout.h"

#include <linux/types.h>

#define KAIROS_SLOTS 1024U      /* datasets watched at once */
#define KAIROS_DEVICES 4096U    /* entries of the device table; a power of two */
#define KAIROS_DEVICE_PROBES 8U /* how far from its hash an entry may stand */
#define KAIROS_NO_SLOT 0xffffffffU
#define KAIROS_COMM 16
#define KAIROS_NAME_MAX 256U    /* one component and its NUL */
#define KAIROS_PATH_MAX 4096U   /* the kernel's PATH_MAX */
#define KAIROS_DEPTH_MAX 128    /* directories walked upwards for one path */
#define KAIROS_ARGS_MAX 4096U   /* the arguments of a `zfs` command; longer ones are not passed on */
#define KAIROS_PREFIX 32        /* the beginning of the names of Kairos's snapshots, with its NUL */
#define KAIROS_DATA_MAX 16384U  /* the tail of a record: two walked paths and two strings */

/*
 * What happened. The values are bits, so that the ops seen of an inode in an epoch fit one word.
 */
enum kairos_op {
	KAIROS_OP_CREATE = 1 << 0,
	KAIROS_OP_WRITE = 1 << 1,
	KAIROS_OP_TRUNCATE = 1 << 2,
	KAIROS_OP_STORE = 1 << 3, /* first store to a clean page of a shared mapping */
	KAIROS_OP_MKDIR = 1 << 4,
	KAIROS_OP_UNLINK = 1 << 5,
	KAIROS_OP_RMDIR = 1 << 6,
	KAIROS_OP_RENAME = 1 << 7,
	KAIROS_OP_LINK = 1 << 8, /* a further name for a file */
	KAIROS_OP_ATTR = 1 << 9, /* mode, owner, times, extended attributes, flags */
	/* No change by themselves: */
	KAIROS_OP_MAP = 1 << 10,   /* mapped shared and writable */
	KAIROS_OP_CLOSE = 1 << 11, /* a written file was closed */
	KAIROS_OP_SYNC = 1 << 12,  /* fsync, fdatasync */
};

#define KAIROS_OPS_CHANGE 0x3ffU

/*
 * At a commit point a version is complete: the file's writer closed or synced it, or a name went over to another file.
 */
#define KAIROS_OPS_COMMIT (KAIROS_OP_CLOSE | KAIROS_OP_SYNC | KAIROS_OP_UNLINK | KAIROS_OP_RENAME)

enum kairos_record_kind {
	/* The dataset is known in the kernel, its slot is marked. Losing the record costs detail. */
	KAIROS_RECORD_CHANGE = 1,
	/* A path that only user space can resolve. The record is the mark: losing it means checking every dataset. */
	KAIROS_RECORD_CANDIDATE = 2,
	/*
	 * A `zfs` or `zpool` command ended: properties may have changed, or a snapshot been taken. `name` holds its arguments,
	 * each ended by a NUL; nothing where they are not known.
	 */
	KAIROS_RECORD_ZFS_COMMAND = 3,
	/* ZFS dirtied a dataset that was clean: no detail, just a word to wake by. */
	KAIROS_RECORD_DIRTY = 4,
	/* Trace: as the record before it from the same CPU, but for what struct kairos_repeat has. */
	KAIROS_RECORD_REPEAT = 5,
};

enum kairos_record_flag {
	KAIROS_F_TRUNCATED = 1 << 0,     /* a walked path was longer than its bounds */
	KAIROS_F_FAULT = 1 << 1,         /* a string of the caller's could not be read */
	KAIROS_F_ABSOLUTE = 1 << 2,      /* `name` starts with a slash: resolve it in the caller's root, the start */
	KAIROS_F_ABSOLUTE2 = 1 << 3,     /* as above, of `name2` */
	KAIROS_F_WHOLE = 1 << 4,         /* the file itself was changed, not the directory that holds its name */
	KAIROS_F_FOLLOW = 1 << 5,        /* with WHOLE: a symbolic link in the last component is followed */
	KAIROS_F_DIRTIED = 1 << 6,       /* this change took its slot from clean to dirty */
	KAIROS_F_OTHER_ROOT = 1 << 7,    /* the caller's root directory is not Kairos's: `..` and links mean other things */
	KAIROS_F_BELOW = 1 << 8,         /* trace: it lies below one of the trees that are asked for */
	KAIROS_F_DIRECTORY = 1 << 9,     /* the file is a directory */
	KAIROS_F_UNLINKED = 1 << 10,     /* the file had no name any more */
	KAIROS_F_EARLY = 1 << 11,        /* seen before it was done */
};

/*
 * The truth about one dataset: is it dirty? Two cache lines in an mmapped array, read by user space with plain loads.
 *
 * `epoch` and `flags` belong to user space, the rest to the programs. In the protocol of epochs a dataset is dirty iff
 * `marked == epoch`. Programs mark after the change is done, with the epoch that they read then, and `marked` only ever
 * grows: a mark that arrives late, for an epoch that is over, changes nothing, because its change was done before the
 * snapshot that ended the epoch began. See docs/design.md, "Why epochs".
 *
 * With KAIROS_SLOT_TXG OpenZFS itself tells: a dataset is dirty iff `dirty_txg > captured_txg`. Only stores to mappings,
 * which ZFS has not seen yet, mark then. See docs/design.md, "Transaction groups".
 */
struct kairos_slot {
	__u64 epoch;
	__u64 marked;         /* the newest epoch in which a change was seen */
	__u64 first_ns;       /* CLOCK_MONOTONIC of the change that made the slot dirty; stored just after `marked` */
	__u64 last_ns;        /* of the newest change */
	__u64 last_commit_ns; /* of the newest commit point */
	__u64 changes;        /* changes seen, coalesced or not, ever */
	__u32 lost;           /* records of this slot that found the ring full */
	__u32 flags;          /* enum kairos_slot_flag */
	__u64 early_ns;       /* of the newest change that was marked before it was done */
	/* Transaction groups. Each only grows. */
	__u64 dirty_txg;      /* the newest that holds a change */
	__u64 captured_txg;   /* of Kairos's newest snapshot; user space raises it where ZFS says that there is no change */
	__u64 side_effect_txg;      /* the newest that holds something that is no change: an access time, a freed file */
	__u64 dirtied_ns;     /* of the change that made `dirty_txg` pass `captured_txg` */
	__u64 hidden;         /* changes of files without a name, which no snapshot shows */
	__u64 foreign_txg;    /* of the newest snapshot by somebody else, who may destroy it again */
	__u64 begun_ns;       /* of all changes the newest beginning of a call: it was done after that */
	__u64 upkeep_txg;     /* the newest that holds ZFS's own upkeep, the intent log's say: no object is touched by it */
};

enum kairos_slot_flag {
	KAIROS_SLOT_WAKE_COMMIT = 1 << 0, /* follow closes and wake user space at commit points */
	KAIROS_SLOT_WAKE_RECORD = 1 << 1, /* wake for each record: ignore rules need to see every path */
	KAIROS_SLOT_TXG = 1 << 2,         /* transaction groups tell; set when the probe of them has been seen to fire */
	KAIROS_SLOT_MARK = 1 << 3,        /* ... but mark all the same: they are dirty with what no snapshot shows */
};

/*
 * Which slot a superblock's device has: an open-addressed table that user space alone writes, one 64-bit store an entry,
 * so that a program never sees half of one. An entry is (slot + 1) << 32 | s_dev; 0 is free.
 */
struct kairos_devices {
	__u64 entry[KAIROS_DEVICES];
};

#define KAIROS_DEVICE_HASH(dev) (((__u32)(dev) * 0x9E3779B1U) >> 20) /* 12 bits: KAIROS_DEVICES */

/*
 * One for all programs. `ready` and `cookie` are set by user space before and after it has seen the probes fire.
 */
struct kairos_control {
	__u32 ready;     /* 0: only the calibration below is answered */
	__s32 cookie;    /* calibration: a close(cookie) by user space, a descriptor that cannot be */
	__u32 own_pid;   /* its own process, as the kernel numbers it in the first PID namespace */
	__u32 pending;   /* 1: user space was woken for records that ask for it only once; it clears this */
	__u32 commits;   /* 1: some slot has KAIROS_SLOT_WAKE_COMMIT, so closes are looked at */
	__u32 root_device; /* calibration: Kairos's own root directory, and the ID of the mount by which it has it */
	__u64 root_inode;
	__u32 root_mount;
	__u32 pid_level; /* trace: how deep Kairos's PID namespace lies, 0 for the first */
	__u64 fired;     /* a bit for each enum kairos_probe: the programs that answered */
	__u64 file;      /* calibration: the inode number of an anonymous file that user space writes to */
	__u64 sent;      /* records */
	__u64 lost;      /* records that found the ring full; those of kind change */
	__u64 candidates_lost; /* those of kind candidate: marks are lost with them */
	__u64 truncated; /* paths cut short */
	__u64 faults;    /* strings that could not be read */
	__u64 unmatched; /* descriptors that were gone when their call was looked at */
	__u64 zfs_lost;  /* notes of zfs commands that found the ring full */
	__u64 filtered;  /* trace: what was left out by choice */
	__u64 trees;     /* trace: a bit for each inode number in `trace_trees`, KAIROS_TREE_BIT; most others need no look-up */
};

enum kairos_probe {
	KAIROS_PROBE_SYSCALLS,
	KAIROS_PROBE_FOLIO,
	KAIROS_PROBE_EXIT,
	KAIROS_PROBE_IO_URING_COMPLETE,
	KAIROS_PROBE_CLOSE,
	/* Probe set `vfs`, by the kernel's functions. */
	KAIROS_PROBE_WRITE,
	KAIROS_PROBE_WRITEV,
	KAIROS_PROBE_ITER_WRITE,
	KAIROS_PROBE_IOCB_WRITE,
	KAIROS_PROBE_KERNEL_WRITE,
	KAIROS_PROBE_KERNEL_THREAD,
	KAIROS_PROBE_SPLICE,
	KAIROS_PROBE_IO_URING,
	KAIROS_PROBE_AIO,
	KAIROS_PROBE_COPY,
	KAIROS_PROBE_CLONE,
	KAIROS_PROBE_FALLOCATE,
	KAIROS_PROBE_SETATTR,
	KAIROS_PROBE_OPEN,
	KAIROS_PROBE_CREATE,
	KAIROS_PROBE_MKDIR,
	KAIROS_PROBE_MKNOD,
	KAIROS_PROBE_SYMLINK,
	KAIROS_PROBE_LINK,
	KAIROS_PROBE_UNLINK,
	KAIROS_PROBE_RMDIR,
	KAIROS_PROBE_RENAME,
	KAIROS_PROBE_XATTR,
	KAIROS_PROBE_ACL,
	KAIROS_PROBE_FILEATTR,
	KAIROS_PROBE_IOCTL,
	KAIROS_PROBE_FPUT,
	KAIROS_PROBE_FSYNC,
	KAIROS_PROBE_MMAP,
	/* Probe set `zfs`. */
	KAIROS_PROBE_ZFS_DIRTY,
	KAIROS_PROBE_ZFS_SNAPSHOT,
	/* Recordings hold these numbers: further ones come last. */
	KAIROS_PROBE_IO_URING_SUBMIT,
	KAIROS_PROBES
};

/*
 * The detail of one change. Behind it follow, in this order and back to back, as far as their lengths are not 0:
 *   name    the string that the caller passed, ended by a NUL
 *   path    components of the file, or of the directory where `name` starts, the last one first, each ended by a NUL, up
 *           to the root of the superblock
 *   name2, path2  the same for the new name of a rename; without a name2, where a rename led to
 */
struct kairos_record {
	__u32 kind;       /* enum kairos_record_kind */
	__u32 op;         /* enum kairos_op */
	__u64 time_ns;    /* CLOCK_MONOTONIC */
	__u64 begun_ns;   /* when its call began, `time_ns` where that is not known */
	__u64 epoch;      /* of the slot, 0 without one */
	__u64 inode;      /* of the file, or of the starting directory when `name` is there */
	__u64 inode2;
	__s64 result;     /* what the call returned: bytes, a descriptor, 0; negative: an error number */
	__s64 offset;     /* trace: where in the file, KAIROS_NO_OFFSET where it is not known; of a truncation the new size */
	__u64 bytes;      /* trace: how many were written, allocated or mapped */
	__u32 device;     /* s_dev of `inode` */
	__u32 device2;
	__u32 slot;       /* KAIROS_NO_SLOT without one */
	__u32 generation;
	__u32 mount;      /* mount IDs of the starting directories, as in mountinfo */
	__u32 mount2;
	__u32 mount_ns;   /* the caller's mount namespace: its inode under /proc/PID/ns/mnt */
	__u32 flags;      /* enum kairos_record_flag */
	__u32 pid;        /* what user space calls a PID; `tid` is the thread's */
	__u32 tid;
	__u32 ppid;
	__u32 uid;
	__u32 syscall;    /* number, with KAIROS_COMPAT for a 32-bit call; KAIROS_NO_SYSCALL where it is not known */
	__u16 name_len;
	__u16 path_len;
	__u16 name2_len;
	__u16 path2_len;
	__u32 probe;      /* enum kairos_probe */
	__u32 cpu;        /* trace: where it was seen, with a serial number; 0: no repeat will refer to it */
	__u32 serial;
	char comm[KAIROS_COMM];
};

/*
 * Trace: a further operation of the same thread on the same file, moments after one that was told in full: as one write
 * follows the other. Most of what a record costs is who and where, and that is known.
 */
struct kairos_repeat {
	__u32 kind;
	__u32 op;
	__u64 time_ns;
	__s64 result;
	__s64 offset;
	__u64 bytes;
	__u32 cpu;
	__u32 serial;     /* of the full record, from the same CPU */
	__u32 syscall;
	__u32 probe;
	__u32 flags;
	__u32 reserved;
};

#define KAIROS_REPEAT_NS 1000000ULL /* within a millisecond; a directory above may be renamed meanwhile */

#define KAIROS_COMPAT 0x40000000U
#define KAIROS_NO_SYSCALL 0xffffffffU
#define KAIROS_NO_OFFSET (-1LL)

/* Trace: by what the programs choose; with none of them everything is shown. */
enum kairos_choice {
	KAIROS_BY_PID = 1 << 0,  /* `trace_pids` */
	KAIROS_BY_USER = 1 << 1, /* `trace_users` */
	KAIROS_BY_COMM = 1 << 2, /* `trace_comms` */
	KAIROS_BY_TREE = 1 << 3, /* `trace_trees`; `devices` has a KAIROS_DEVICE_... for a slot */
};

enum kairos_failures {
	KAIROS_FAILURES_NONE,
	KAIROS_FAILURES_TOO,
	KAIROS_FAILURES_ALONE, /* beside the probe set `vfs`, which tells what succeeded */
};

/* Trace by trees: what the device table says of a superblock in the place of a slot. */
#define KAIROS_DEVICE_CHECKED 0U /* only what lies below one of the trees */
#define KAIROS_DEVICE_UNSURE 1U  /* its inode numbers tell nothing: user space looks at each path */
#define KAIROS_DEVICE_WHOLE 2U   /* all of it */

/* What `trace_trees` says of a directory: its tree is traced, or it holds the name of one that is. */
#define KAIROS_TREE_ROOT 1
#define KAIROS_TREE_PARENT 2
#define KAIROS_TREE_BIT(inode) (1ULL << (((inode) ^ (inode) >> 6 ^ (inode) >> 12) & 63))

/* A directory whose tree is traced, or a file. */
struct kairos_tree {
	__u64 inode;
	__u32 device;
	__u32 reserved;
};

_Static_assert(sizeof(struct kairos_slot) == 128, "a slot is two cache lines");
_Static_assert(sizeof(struct kairos_devices) == 32768, "shared with user space");
_Static_assert(sizeof(struct kairos_control) == 128, "shared with user space");
_Static_assert(sizeof(struct kairos_record) == 160, "shared with user space");
_Static_assert(sizeof(struct kairos_repeat) == 64, "shared with user space");
_Static_assert(sizeof(((struct kairos_layout *)0)->unreported) == KAIROS_SLOTS * sizeof(__u64), "one for each slot");
_Static_assert(KAIROS_PROBES <= 64, "a bit each in `fired`");

#endif
