/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

const int kairos_open_only_path = O_PATH;

int kairos_file_version(int fd, int64_t version[5])
{
	struct stat status;

	if (fstat(fd, &status) != 0)
		return -1;
	version[0] = (int64_t)status.st_ino;
	version[1] = status.st_mode;
	version[2] = status.st_size;
	version[3] = (int64_t)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec;
	version[4] = (int64_t)status.st_ctim.tv_sec * 1000000000 + status.st_ctim.tv_nsec;
	return 0;
}

const uint64_t kairos_resolve_in_root = RESOLVE_IN_ROOT;
const uint64_t kairos_resolve_no_magiclinks = RESOLVE_NO_MAGICLINKS;
const uint64_t kairos_resolve_beneath = RESOLVE_BENEATH;
const uint64_t kairos_resolve_no_symlinks = RESOLVE_NO_SYMLINKS;
const uint64_t kairos_open_path_directory = O_PATH | O_CLOEXEC | O_DIRECTORY;
const uint64_t kairos_open_path = O_PATH | O_CLOEXEC;

const short kairos_spawn_setsid = POSIX_SPAWN_SETSID;

int kairos_spawn_clean(posix_spawn_file_actions_t *actions, const char *directory)
{
	int error = posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);

	return error ? error : posix_spawn_file_actions_addchdir_np(actions, directory);
}

int kairos_epoll_create(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

int kairos_epoll_add(int epoll, int fd, bool priority, uint64_t token)
{
	struct epoll_event event = {.events = priority ? EPOLLPRI : EPOLLIN, .data.u64 = token};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

int kairos_epoll_wait(int epoll, uint64_t *tokens, int capacity)
{
	struct epoll_event events[16];
	int i, n;

	if (capacity > 16)
		capacity = 16;
	do
		n = epoll_wait(epoll, events, capacity, -1);
	while (n < 0 && errno == EINTR);
	for (i = 0; i < n; i++)
		tokens[i] = events[i].data.u64;
	return n;
}

int kairos_eventfd(void)
{
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

int kairos_eventfd_signal(int fd)
{
	uint64_t one = 1;

	/* EAGAIN: the counter is full, so the reader is woken anyway. */
	return write(fd, &one, sizeof(one)) == sizeof(one) || errno == EAGAIN ? 0 : -1;
}

void kairos_eventfd_clear(int fd)
{
	uint64_t count;

	(void)!read(fd, &count, sizeof(count));
}

int kairos_timerfd(void)
{
	return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
}

int kairos_timerfd_set(int fd, uint64_t deadline_ns)
{
	struct itimerspec spec = {
	    .it_value = {.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000},
	};

	return timerfd_settime(fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

void kairos_timerfd_clear(int fd)
{
	kairos_eventfd_clear(fd);
}

static int signal_pipe[2] = {-1, -1};

static void signal_caught(int number)
{
	int saved = errno;
	unsigned char byte = number;

	/* A full pipe holds thousands of signals that nobody has read: one more tells nothing. */
	(void)!write(signal_pipe[1], &byte, 1);
	errno = saved;
}

int kairos_signals_catch(const int *signals, size_t count)
{
	struct sigaction action = {.sa_handler = signal_caught, .sa_flags = SA_RESTART};
	size_t i;

	if (signal_pipe[0] < 0 && pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK))
		return -1;
	for (i = 0; i < count; i++) {
		struct sigaction before;

		/* nohup(1) wants it to go on. */
		if (signals[i] == SIGHUP && !sigaction(SIGHUP, NULL, &before) && before.sa_handler == SIG_IGN)
			continue;
		if (sigaction(signals[i], &action, NULL))
			return -1;
	}
	return signal_pipe[0];
}

int kairos_signals_next(int fd)
{
	unsigned char byte;

	return read(fd, &byte, 1) == 1 ? byte : 0;
}

int kairos_pwrite_again(int fd, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		if (pwrite(fd, "x", 1, 0) != 1)
			return -1;
	return 0;
}

void kairos_getppid_again(uint64_t count)
{
	/* Not by the library, which may remember. */
	for (uint64_t i = 0; i < count; i++)
		syscall(SYS_getppid);
}

uint64_t kairos_monotonic_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void kairos_end_with_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM);
}

uint64_t kairos_boottime_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void kairos_wall_clock(int64_t *seconds, int64_t *nanoseconds)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	*seconds = t.tv_sec;
	*nanoseconds = t.tv_nsec;
}

int kairos_openat2(int directory, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = {.flags = flags, .resolve = resolve};

	return (int)syscall(SYS_openat2, directory, path, &how, sizeof(how));
}

int kairos_syncfs(int fd)
{
	return syncfs(fd);
}

int kairos_write_back(int fd)
{
	return sync_file_range(fd, 0, 0,
	                       SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
}

/* include/sys/fs/zfs.h of OpenZFS: BLKZNAME. */
const size_t kairos_volume_name_size = 256;

int kairos_volume_name(int fd, char *name)
{
	int result = ioctl(fd, _IOR(0x12, 125, char[256]), name);

	name[255] = '\0';
	return result;
}

int kairos_lock(int fd)
{
	return flock(fd, LOCK_EX | LOCK_NB);
}

int kairos_terminal_columns(int fd)
{
	struct winsize size;

	if (!isatty(fd))
		return 0;
	if (ioctl(fd, TIOCGWINSZ, &size) || !size.ws_col)
		return 80;
	return size.ws_col;
}

int kairos_mount(const char *type, const char *target)
{
	return mount(type, target, type, MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

int kairos_anonymous_file(const char *name)
{
	return memfd_create(name, MFD_CLOEXEC);
}

int kairos_fallocate(int fd, off_t length)
{
	return fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, length);
}

int kairos_set_attribute(int fd, const char *name)
{
	return fsetxattr(fd, name, "k", 1, 0);
}

int kairos_remove_attribute(int fd, const char *name)
{
	return fremovexattr(fd, name);
}

ssize_t kairos_sendfile(int to, int from, size_t count)
{
	off_t start = 0;

	return sendfile(to, from, &start, count);
}

int kairos_pidfd_open(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

int kairos_pipe(int ends[2])
{
	return pipe2(ends, O_CLOEXEC);
}

void kairos_thread_name(pthread_t thread, const char *name)
{
	pthread_setname_np(thread, name);
}

int kairos_semaphore_wait(sem_t *semaphore, uint64_t deadline_ns)
{
	struct timespec deadline = {.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000};
	int result;

	do
		result = sem_clockwait(semaphore, CLOCK_MONOTONIC, &deadline);
	while (result && errno == EINTR);
	return result;
}

long kairos_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	return syscall(number, a, b, c, d, e, f);
}

int kairos_errno_value(void)
{
	return errno;
}

const char *kairos_errno_name(int number)
{
	return strerrorname_np(number);
}

uint32_t kairos_crc32(const uint8_t *bytes, size_t count)
{
	return crc32(crc32(0, NULL, 0), bytes, count);
}

int kairos_wait_writable(int out, int interrupt, int timeout_ms)
{
	struct pollfd fds[] = {{.fd = out, .events = POLLOUT}, {.fd = interrupt, .events = POLLIN}};
	int n;

	do
		n = poll(fds, 2, timeout_ms);
	while (n < 0 && errno == EINTR);
	if (n < 0 || fds[0].revents)
		return 1;
	return fds[1].revents ? -1 : 0;
}

bool kairos_is_regular_file(int fd)
{
	struct stat status;

	return !fstat(fd, &status) && S_ISREG(status.st_mode);
}

int kairos_reopen_writing(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

void kairos_keep_standard_descriptors(void)
{
	int fd;

	while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
		;
	if (fd > STDERR_FILENO)
		close(fd);
}

int kairos_wait_readable(int in, int timeout_ms)
{
	struct pollfd fd = {.fd = in, .events = POLLIN};
	int n;

	do
		n = poll(&fd, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	return n < 0 || fd.revents;
}
