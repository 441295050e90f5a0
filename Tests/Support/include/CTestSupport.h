/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests need and Swift cannot say: system calls by name, a child that makes one of them elsewhere. */
#ifndef KAIROS_CTESTSUPPORT_H
#define KAIROS_CTESTSUPPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The number of a system call, or -1 where this architecture has none of that name. */
long support_number(const char *name);

/* What bpf/calls.h says of a system call by its number: 0 for nothing. */
int support_class(long number);
int support_class_compat(long number);
int support_class_arm64(long number);
int support_class_arm64_compat(long number);

/* Makes the call. A failure comes back as -errno. */
long support_call(long number, const long arguments[6]);

/* Where and as whom a child makes its call; what is NULL, 0 or false is left as it is. The order is that of the steps. */
struct support_place {
	bool own_mounts;       /* a mount namespace of its own, from which nothing spreads */
	const char *bind_from; /* a bind mount of this directory ... */
	const char *bind_to;   /* ... here: in the namespace of its own */
	const char *root;      /* chroot */
	const char *directory; /* chdir, within the root */
	const char *removed;   /* a directory to remove then: the one it is in */
	const char *title;     /* what the process calls itself: 15 bytes count */
	uid_t user;
};

/*
 * Forks a child that goes to the place, makes the call and ends at once. Returns as support_call() does;
 * SUPPORT_NOT_THERE when the child did not get that far, with errno of the step that failed.
 */
long support_call_in(const struct support_place *place, long number, const long arguments[6]);
#define SUPPORT_NOT_THERE (-4096L)

/*
 * Ways to write that are no write(2): each writes `size` bytes at the start of the file and waits until it is done.
 * Returns the bytes written, or -errno; -ENOSYS where the kernel or the architecture has none.
 */
long support_io_uring_write(int fd, const void *bytes, unsigned size, bool by_kernel_thread);
long support_aio_write(int fd, const void *bytes, unsigned size);
/* One io_submit(2) of so many requests of a byte, the last of them writes, and their ends. Returns how many were taken, or -errno. */
long support_aio_many(int fd, int count, int writes);
/* An anonymous file in memory, or -1. */
int support_memory_file(void);
/* By the system call gate of 32-bit programs. */
long support_compat_write(int fd, const void *bytes, unsigned size);
/* A call by that gate, by its number for i386, on a path and two numbers. */
long support_compat_path(long number, const char *path, long second, long third);
/* By that gate: bind(2) of a new UNIX socket to a path, by socketcall(2). */
long support_compat_bind(const char *path);
/* What happens by io_uring to names: unlinks one. */
long support_io_uring_unlink(const char *path);
/* Writes without a completion, and waits for one of the request behind it. */
long support_io_uring_silent_write(int fd, const void *bytes, unsigned size);
/* From a registered buffer (opcode 61). */
long support_io_uring_fixed_writev(int fd, const void *bytes, unsigned size);
/* Opens by io_uring, into a place of the ring's own table of files where `direct`. Returns 0 or -errno; nothing stays open. */
long support_io_uring_open(const char *path, int flags, unsigned mode, bool direct);
/* Binds a new UNIX socket to a path, by bind(2) or by io_uring. Without a NUL behind the path where `bare`. */
long support_bind_socket(const char *path, bool by_io_uring, bool bare);
/* Opens a file by its handle with these flags, and closes it. */
long support_open_by_handle(const char *path, int flags);
/* Punches the first page out of a file by madvise(MADV_REMOVE). */
long support_remove_page(int fd);
/* Has the kernel append one process's accounting record, or more, to a file (acct(2)). */
long support_account(const char *path);
/*
 * splice(2) from a pipe to `fd` in a thread of its own; while it waits for data, `fd` is closed and opened anew as `other` is.
 * The number of bytes that went to the file that `fd` was.
 */
long support_swapped_splice(int fd, int other);

/* O_DIRECT, which Swift does not know. */
extern const int support_o_direct;

/* Has the kernel count how often each BPF program runs, until the descriptor is closed. Or -errno. */
int support_count_runs(void);
/*
 * The next BPF program in the kernel after the one of that number: its own number, its function's name, and how often it ran. -ENOENT after the last one, or another -errno.
 */
long support_next_program(uint32_t after, char name[64], uint64_t *runs);

/* One store of one byte. */
void support_store(long address, uint8_t byte);

/*
 * A process that outlives this one by a moment: when this one has ended, however it did, it ends those that it was told
 * of by SIGKILL. Without it a run of the tests that is killed would leave a Kairos running for good. Starts at the first
 * call. Returns 0, or -1 with errno.
 */
int support_guard(pid_t pid);

int support_bind(const char *from, const char *to);
/* At once, even if it is in use. */
int support_unmount(const char *target);

/* A terminal of 80 columns: its master, non-blocking, and the path of what a program opens. -1 with errno on failure. */
int support_terminal(char *path, size_t size);

/* A FUSE file system that answers nothing but its mount, and whose mount says that it is a dataset of zfs-fuse. */
struct support_fuse;
enum support_fuse_mounter {
	/* The user 65534 by the setuid fusermount: root cannot look into it. */
	SUPPORT_FUSE_USER,
	/* The same as fusermount makes it where /etc/fuse.conf has user_allow_other: requests of root come to the server. */
	SUPPORT_FUSE_USER_FOR_ALL,
	/* Root, as zfs-fuse itself. */
	SUPPORT_FUSE_ROOT,
};
bool support_has_fusermount(void);
/* NULL with errno when there is none. The directory has to belong to the mounter. */
struct support_fuse *support_fuse_mount(const char *name, const char *directory, enum support_fuse_mounter mounter);
/* How many requests of processes whose executable is called kairos came to it. */
unsigned support_fuse_requests(const struct support_fuse *fuse);
/* From now on requests of Kairos get no answer, until the end. */
void support_fuse_hang(struct support_fuse *fuse);
/* Unmounts it and ends the server. */
void support_fuse_end(struct support_fuse *fuse);

#endif
