/* SPDX-License-Identifier: BSD-2-Clause */
/* System calls that Swift's Glibc module leaves out, or that are variadic in C. All return -1 with errno on failure. */
#ifndef KAIROS_CLINUX_H
#define KAIROS_CLINUX_H

#include <pthread.h>
#include <semaphore.h>
#include <spawn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int kairos_epoll_create(void);
/* Watch for input, or with `priority` for POLLPRI (what mountinfo reports a change with). `token` comes back. */
int kairos_epoll_add(int epoll, int fd, bool priority, uint64_t token);
/* Wait without limit; fills `tokens`, returns how many. EINTR is retried. */
int kairos_epoll_wait(int epoll, uint64_t *tokens, int capacity);

int kairos_eventfd(void);
int kairos_eventfd_signal(int fd);
void kairos_eventfd_clear(int fd);

/* CLOCK_MONOTONIC timer. */
int kairos_timerfd(void);
/* One shot at an absolute time in nanoseconds; 0 disarms it. A time that has passed fires at once. */
int kairos_timerfd_set(int fd, uint64_t deadline_ns);
void kairos_timerfd_clear(int fd);

/*
 * Catches the signals from now on, whatever thread they reach, and returns a descriptor that tells of them. One for the
 * process: a second call adds its signals to the first one's descriptor. (Not a signalfd: that needs the signals blocked
 * in every thread, and libraries make threads that unblock them.)
 */
int kairos_signals_catch(const int *signals, size_t count);
/* The next signal that was caught, or 0 when none waits. */
int kairos_signals_next(int fd);

/* What the parent of a worker does after its wait. */
struct kairos_worker_end {
	pid_t running; /* 0: the worker has ended; else it is this process, and still cleans up */
	int status;    /* to exit with */
};
/*
 * The caller goes on in a child, the worker, which has a session of its own, so that it can clean up for longer than the
 * command lasts. The parent waits, and passes SIGINT, SIGTERM and SIGHUP on; `patience_ms` after the first of them it
 * stops waiting and exits. When it is gone, the worker's stdout and stderr lead nowhere. If it dies, the worker gets SIGTERM.
 *
 * Call it while there is one thread. Returns 0 in the worker, 1 in the parent with `end` set.
 */
int kairos_worker_start(int patience_ms, struct kairos_worker_end *end);

/* For the benchmark: one byte at the file's beginning, and a call that does nothing, so many times. */
int kairos_pwrite_again(int fd, uint64_t count);
void kairos_getppid_again(uint64_t count);

/* Sends this process SIGTERM when its parent's thread that made it ends. */
void kairos_end_with_parent(void);
uint64_t kairos_monotonic_ns(void);
/* CLOCK_BOOTTIME: goes on while the machine sleeps, and nobody sets it. */
uint64_t kairos_boottime_ns(void);
/* CLOCK_REALTIME: seconds, and nanoseconds of the second. */
void kairos_wall_clock(int64_t *seconds, int64_t *nanoseconds);

/* openat2(2). */
int kairos_openat2(int directory, const char *path, uint64_t flags, uint64_t resolve);
/* O_PATH, which Swift does not see. */
extern const int kairos_open_only_path;
/*
 * What tells one content of a file from another: inode, mode, size, and the times of its modification and of its change, in
 * nanoseconds. 0, or -1 with errno.
 */
int kairos_file_version(int fd, int64_t version[5]);
extern const uint64_t kairos_resolve_in_root;
extern const uint64_t kairos_resolve_no_magiclinks;
extern const uint64_t kairos_resolve_beneath;
extern const uint64_t kairos_resolve_no_symlinks;
/* O_PATH | O_CLOEXEC | O_NONBLOCK, with O_DIRECTORY. */
extern const uint64_t kairos_open_path_directory;
extern const uint64_t kairos_open_path;

int kairos_syncfs(int fd);
/* sync_file_range(2) of a whole file or block device: its dirty pages are written, and waited for. */
int kairos_write_back(int fd);
/* The name of the dataset behind a volume's block device (OpenZFS's BLKZNAME), with its NUL; fails on other devices. */
int kairos_volume_name(int fd, char *name);
extern const size_t kairos_volume_name_size;

/* A lock on a file for as long as the descriptor lives (flock LOCK_EX | LOCK_NB): -1 with EWOULDBLOCK if it is taken. */
int kairos_lock(int fd);

bool kairos_is_regular_file(int fd);

/* A descriptor of its own for what `fd` is open on, for writing, without waiting; -1 where that cannot be, as for sockets. */
int kairos_reopen_writing(int fd);

/* What is opened first must not become stdin, stdout or stderr, if they were closed by who started this. */
void kairos_keep_standard_descriptors(void);

/* The columns of a terminal, 0 if it is none. */
int kairos_terminal_columns(int fd);

/* mount(2) of a pseudo file system such as tracefs or bpf. */
int kairos_mount(const char *type, const char *target);

/* A system call by number, for tests that must make exactly this one. */
long kairos_syscall(long number, long a, long b, long c, long d, long e, long f);

int kairos_pidfd_open(pid_t pid);
/* memfd_create(2), closed on exec. */
int kairos_anonymous_file(const char *name);
/* fallocate(2) of the first bytes, keeping the size. */
int kairos_fallocate(int fd, off_t length);
/* fsetxattr(2) to one byte. */
int kairos_set_attribute(int fd, const char *name);
int kairos_remove_attribute(int fd, const char *name);
/* sendfile(2) from the start of `from`. */
ssize_t kairos_sendfile(int to, int from, size_t count);
/* A pipe that no child inherits: the reading end first. */
int kairos_pipe(int ends[2]);

void kairos_thread_name(pthread_t thread, const char *name);
/* Waits until a CLOCK_MONOTONIC time in nanoseconds: -1 with ETIMEDOUT then. EINTR is retried. */
int kairos_semaphore_wait(sem_t *semaphore, uint64_t deadline_ns);

/* POSIX_SPAWN_SETSID, of glibc 2.26 and later. */
extern const short kairos_spawn_setsid;
/* The child starts in the directory and with no descriptor but the first three. Returns an error number; glibc 2.34. */
int kairos_spawn_clean(posix_spawn_file_actions_t *actions, const char *directory);

int kairos_errno_value(void);

/* The word for an error number, such as "ENOENT"; NULL for none that glibc knows. */
const char *kairos_errno_name(int number);

/* The CRC-32 of zlib, gzip and PNG. */
uint32_t kairos_crc32(const uint8_t *bytes, size_t count);

/*
 * Waits until `out` takes bytes, for `timeout_ms` at most, -1: for ever. 1: it does, or fails at once; 0: not in time; -1:
 * `interrupt` (-1: none) can be read.
 */
int kairos_wait_writable(int out, int interrupt, int timeout_ms);
/* 1 when there is something to read, or an end or an error; 0 after the time. */
int kairos_wait_readable(int in, int timeout_ms);

#endif
