/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "CTestSupport.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
	const char *name;
	long number;
} numbers[] = {
#ifdef SYS_open /* arm64 has only the *at calls */
    {"open", SYS_open},
    {"creat", SYS_creat},
    {"mkdir", SYS_mkdir},
    {"unlink", SYS_unlink},
    {"rmdir", SYS_rmdir},
    {"rename", SYS_rename},
    {"stat", SYS_stat},
    {"access", SYS_access},
    {"link", SYS_link},
    {"symlink", SYS_symlink},
    {"mknod", SYS_mknod},
    {"chmod", SYS_chmod},
    {"chown", SYS_chown},
    {"lchown", SYS_lchown},
    {"utimes", SYS_utimes},
#endif
#ifdef SYS_renameat
    {"renameat", SYS_renameat},
#endif
    {"gettid", SYS_gettid},
    {"openat", SYS_openat},
    {"ioctl", SYS_ioctl},
    {"openat2", SYS_openat2},
    {"write", SYS_write},
    {"pwrite64", SYS_pwrite64},
    {"writev", SYS_writev},
    {"pwritev", SYS_pwritev},
    {"pwritev2", SYS_pwritev2},
    {"truncate", SYS_truncate},
    {"ftruncate", SYS_ftruncate},
    {"mkdirat", SYS_mkdirat},
    {"unlinkat", SYS_unlinkat},
    {"renameat2", SYS_renameat2},
    {"linkat", SYS_linkat},
    {"symlinkat", SYS_symlinkat},
    {"mknodat", SYS_mknodat},
    {"fchmod", SYS_fchmod},
    {"fchmodat", SYS_fchmodat},
    {"fchown", SYS_fchown},
    {"fchownat", SYS_fchownat},
    {"utimensat", SYS_utimensat},
    {"setxattr", SYS_setxattr},
    {"lsetxattr", SYS_lsetxattr},
    {"fsetxattr", SYS_fsetxattr},
    {"removexattr", SYS_removexattr},
    {"setxattrat", 463},
    {"removexattrat", 466},
    {"file_setattr", 469},
    {"sendfile", SYS_sendfile},
    {"splice", SYS_splice},
    {"copy_file_range", SYS_copy_file_range},
    {"fallocate", SYS_fallocate},
    {"mmap", SYS_mmap},
    {"munmap", SYS_munmap},
    {"close", SYS_close},
    {"fsync", SYS_fsync},
    {"fdatasync", SYS_fdatasync},
    {"sync_file_range", SYS_sync_file_range},
    {"read", SYS_read},
    {"pread64", SYS_pread64},
    {"lseek", SYS_lseek},
    {"newfstatat", SYS_newfstatat},
    {"statx", SYS_statx},
    {"readlinkat", SYS_readlinkat},
    {"getdents64", SYS_getdents64},
    {"getppid", SYS_getppid},
};

long support_number(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (!strcmp(numbers[i].name, name))
			return numbers[i].number;
	return -1;
}

long support_call(long number, const long a[6])
{
	long result = syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);

	return result == -1 ? -errno : result;
}

static int go(const struct support_place *place)
{
	if (place->own_mounts &&
	    (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)))
		return -1;
	if (place->bind_from && support_bind(place->bind_from, place->bind_to))
		return -1;
	if (place->root && (chroot(place->root) || chdir("/")))
		return -1;
	if (place->directory && chdir(place->directory))
		return -1;
	if (place->removed && rmdir(place->removed))
		return -1;
	if (place->title && prctl(PR_SET_NAME, place->title))
		return -1;
	/* By number: glibc's setuid() would tell the other threads, which are not here. */
	if (place->user && syscall(SYS_setuid, place->user))
		return -1;
	return 0;
}

long support_call_in(const struct support_place *place, long number, const long arguments[6])
{
	/* Result and errno. Shared memory, since a pipe would be one more write, and a status has only eight bits. */
	long *answer = mmap(NULL, 2 * sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long result;
	pid_t child;
	int status;

	if (answer == MAP_FAILED)
		return SUPPORT_NOT_THERE;
	answer[0] = SUPPORT_NOT_THERE;
	child = fork();
	if (!child) {
		/* The parent has threads: nothing from here on may take a lock. */
		if (go(place))
			answer[1] = errno;
		else
			answer[0] = support_call(number, arguments);
		_exit(0);
	}
	if (child < 0)
		answer[1] = errno;
	else
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			;
	result = answer[0];
	errno = answer[1];
	munmap(answer, 2 * sizeof(long));
	return result;
}

void support_store(long address, uint8_t byte)
{
	*(volatile uint8_t *)address = byte;
}

#define GUARDED 4096

static void guard(int told)
{
	static int guarded[GUARDED];
	int n = 0, i;
	pid_t pid;

	/* Ctrl-C on the terminal is not for this one, and no pipe of the tests may be held open by it. */
	setsid();
	dup2(told, 0);
	close_range(1, ~0U, 0);
	while (read(0, &pid, sizeof(pid)) == sizeof(pid)) {
		/* A descriptor, since a PID may be another process's by the time it is needed. */
		if (n < GUARDED && (guarded[n] = (int)syscall(SYS_pidfd_open, pid, 0)) >= 0)
			n++;
	}
	for (i = 0; i < n; i++)
		syscall(SYS_pidfd_send_signal, guarded[i], SIGKILL, NULL, 0);
	_exit(0);
}

static pthread_mutex_t guard_lock = PTHREAD_MUTEX_INITIALIZER;
static int guard_tell = -1;

int support_guard(pid_t pid)
{
	int ends[2], result = -1;
	pid_t child;

	pthread_mutex_lock(&guard_lock);
	if (guard_tell < 0 && !pipe2(ends, O_CLOEXEC)) {
		child = fork();
		if (!child)
			guard(ends[0]);
		close(ends[0]);
		if (child > 0)
			guard_tell = ends[1];
		else
			close(ends[1]);
	}
	if (guard_tell >= 0)
		result = write(guard_tell, &pid, sizeof(pid)) == sizeof(pid) ? 0 : -1;
	pthread_mutex_unlock(&guard_lock);
	return result;
}

int support_bind(const char *from, const char *to)
{
	return mount(from, to, NULL, MS_BIND, NULL);
}

int support_unmount(const char *target)
{
	return umount2(target, MNT_DETACH);
}

const int support_o_direct = O_DIRECT;

long support_open_by_handle(const char *path, int flags)
{
	struct {
		struct file_handle head;
		unsigned char bytes[MAX_HANDLE_SZ];
	} handle = {.head.handle_bytes = MAX_HANDLE_SZ};
	int mount_id, mount, fd;
	long result;

	if (name_to_handle_at(AT_FDCWD, path, &handle.head, &mount_id, 0))
		return -errno;
	mount = open(path, O_RDONLY | O_CLOEXEC);
	fd = open_by_handle_at(mount, &handle.head, flags | O_CLOEXEC);
	result = fd < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	if (mount >= 0)
		close(mount);
	return result;
}

long support_remove_page(int fd)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	long result;

	if (page == MAP_FAILED)
		return -errno;
	result = madvise(page, 4096, MADV_REMOVE) ? -errno : 0;
	munmap(page, 4096);
	return result;
}

long support_account(const char *path)
{
	int status;
	pid_t child;

	if (acct(path))
		return -errno;
	child = fork();
	if (!child)
		_exit(0);
	if (child > 0)
		waitpid(child, &status, 0);
	return acct(NULL) ? -errno : 0;
}

struct splicer {
	int pipe, file;
	_Atomic pid_t tid;
	long result;
};

static void *splicing(void *context)
{
	struct splicer *s = context;
	loff_t start = 0;

	s->tid = gettid();
	s->result = splice(s->pipe, NULL, s->file, &start, 5, 0);
	if (s->result < 0)
		s->result = -errno;
	return NULL;
}

/* Whether a thread of this process sleeps in this system call. */
static bool sleeps_in(pid_t thread, long number)
{
	char path[64], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", thread);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, text, sizeof(text) - 1) <= 0)
		text[0] = 0;
	close(fd);
	/* Of one that runs it says so. */
	return text[0] >= '0' && text[0] <= '9' && strtol(text, NULL, 10) == number;
}

long support_swapped_splice(int fd, int other)
{
	int ends[2];
	pthread_t thread;
	struct splicer s = {.file = fd};

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	s.pipe = ends[0];
	if (pthread_create(&thread, NULL, splicing, &s))
		return -EAGAIN;
	while (!sleeps_in(s.tid, SYS_splice))
		usleep(1000);
	dup2(other, fd);
	if (write(ends[1], "after", 5) != 5)
		s.result = -EIO;
	pthread_join(thread, NULL);
	close(ends[0]);
	close(ends[1]);
	return s.result;
}

long support_aio_write(int fd, const void *bytes, unsigned size)
{
	struct iocb request = {
	    .aio_lio_opcode = IOCB_CMD_PWRITE,
	    .aio_fildes = (unsigned)fd,
	    .aio_buf = (uintptr_t)bytes,
	    .aio_nbytes = size,
	};
	struct iocb *requests[] = {&request};
	aio_context_t context = 0;
	struct io_event event;
	long result = -1;

	if (syscall(SYS_io_setup, 1, &context))
		return -errno;
	if (syscall(SYS_io_submit, context, 1, requests) == 1 && syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1)
		result = (long)event.res;
	else
		result = -errno;
	syscall(SYS_io_destroy, context);
	return result;
}

long support_aio_many(int fd, int count, int writes)
{
	struct iocb *blocks = calloc(count, sizeof(*blocks)), **requests = calloc(count, sizeof(*requests));
	struct io_event *events = calloc(count, sizeof(*events));
	aio_context_t context = 0;
	static char byte;
	long result = -ENOMEM;
	int i;

	if (blocks && requests && events) {
		for (i = 0; i < count; i++) {
			blocks[i] = (struct iocb){
			    /* The writes last. */
			    .aio_lio_opcode = i < count - writes ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE,
			    .aio_fildes = (unsigned)fd,
			    .aio_buf = (uintptr_t)&byte,
			    .aio_nbytes = 1,
			};
			requests[i] = &blocks[i];
		}
		result = syscall(SYS_io_setup, count, &context) ? -errno : 0;
	}
	if (!result) {
		result = syscall(SYS_io_submit, context, count, requests);
		if (result > 0)
			syscall(SYS_io_getevents, context, result, result, events, NULL);
		else
			result = -errno;
		syscall(SYS_io_destroy, context);
	}
	free(events);
	free(requests);
	free(blocks);
	return result;
}

int support_memory_file(void)
{
	return memfd_create("kairos-test", MFD_CLOEXEC);
}

/* A call by the gate of 32-bit programs, whose addresses end at 4 GB: `bytes` are put there and passed as `place`. */
static long compat_call(long number, const void *bytes, size_t size, long a, long b, long c, int place)
{
#ifdef __x86_64__
	char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long arguments[] = {a, b, c}, result;

	if (low == MAP_FAILED || size > 4096)
		return -ENOSYS;
	memcpy(low, bytes, size);
	arguments[place] = (long)low;
	asm volatile("int $0x80"
		     : "=a"(result)
		     : "a"(number), "b"(arguments[0]), "c"(arguments[1]), "d"(arguments[2])
		     : "memory", "r8", "r9", "r10", "r11");
	munmap(low, 4096);
	return (int)result;
#else
	return -ENOSYS;
#endif
}

long support_compat_write(int fd, const void *bytes, unsigned size)
{
	return compat_call(4, bytes, size, fd, 0, size, 1);
}

long support_compat_path(long number, const char *path, long second, long third)
{
	return compat_call(number, path, strlen(path) + 1, 0, second, third, 0);
}

long support_compat_bind(const char *path)
{
#ifdef __x86_64__
	struct {
		unsigned arguments[3];
		struct sockaddr_un address;
	} *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	long result;

	if (low == MAP_FAILED || fd < 0 || strlen(path) >= sizeof(low->address.sun_path))
		return -ENAMETOOLONG;
	fchmod(fd, 0600);
	low->address.sun_family = AF_UNIX;
	strcpy(low->address.sun_path, path);
	low->arguments[0] = (unsigned)fd;
	low->arguments[1] = (unsigned)(uintptr_t)&low->address;
	low->arguments[2] = sizeof(low->address);
	/* socketcall(SYS_BIND, ...) */
	asm volatile("int $0x80"
		     : "=a"(result)
		     : "a"(102), "b"(2), "c"(low->arguments)
		     : "memory", "r8", "r9", "r10", "r11");
	close(fd);
	munmap(low, 4096);
	return (int)result;
#else
	return -ENOSYS;
#endif
}
