/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "CTestSupport.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
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
    {"openat", SYS_openat},
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
    {"sendfile", SYS_sendfile},
    {"splice", SYS_splice},
    {"copy_file_range", SYS_copy_file_range},
    {"fallocate", SYS_fallocate},
    {"mmap", SYS_mmap},
    {"munmap", SYS_munmap},
    {"close", SYS_close},
    {"fsync", SYS_fsync},
    {"fdatasync", SYS_fdatasync},
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
