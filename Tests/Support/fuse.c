/* SPDX-License-Identifier: BSD-2-Clause */
/* A FUSE file system that pretends to be a dataset. */
#define _GNU_SOURCE
#include "CTestSupport.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define USER 65534

struct support_fuse {
	pthread_t thread;
	int fd;
	int stop[2];
	char *directory;
	atomic_uint requests;
	atomic_bool hangs;
};

/* Whether the thread that waits for the answer is one of Kairos's. */
static bool is_kairos(unsigned pid)
{
	char link[64], path[4096];
	const char *name;
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/%u/exe", pid);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return false;
	path[length] = '\0';
	name = strrchr(path, '/');
	return name && !strcmp(name + 1, "kairos");
}

static void answer(struct support_fuse *fuse, const struct fuse_in_header *in)
{
	struct {
		struct fuse_out_header header;
		struct fuse_init_out init;
	} reply = {.header = {.len = sizeof(struct fuse_out_header), .unique = in->unique}};

	switch (in->opcode) {
	case FUSE_INIT:
		reply.header.len = sizeof(reply);
		reply.init = (struct fuse_init_out){
		    .major = FUSE_KERNEL_VERSION,
		    .minor = FUSE_KERNEL_MINOR_VERSION,
		    .max_readahead = 1 << 16,
		    .max_background = 12,
		    .congestion_threshold = 9,
		    .max_write = 1 << 16,
		    .time_gran = 1,
		};
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		return;
	default:
		if (in->opcode != FUSE_INTERRUPT && is_kairos(in->pid)) {
			atomic_fetch_add(&fuse->requests, 1);
			if (atomic_load(&fuse->hangs))
				return;
		}
		/* No silence towards other programs on this machine that may ask, such as df. */
		reply.header.error = -ENOENT;
	}
	/* A request that was given up meanwhile is unknown by now. */
	if (write(fuse->fd, &reply, reply.header.len) < 0)
		return;
}

static void *serve(void *argument)
{
	/* FUSE_MIN_READ_BUFFER is 8192, and a write of max_write has to fit. */
	static const size_t size = (1 << 16) + 4096;
	struct support_fuse *fuse = argument;
	struct pollfd polled[] = {{.fd = fuse->fd, .events = POLLIN}, {.fd = fuse->stop[0], .events = POLLIN}};
	char *buffer = malloc(size);
	ssize_t length;

	while (buffer && poll(polled, 2, -1) >= 0 && !polled[1].revents) {
		length = read(fuse->fd, buffer, size);
		if (length < 0 && errno != EINTR && errno != EAGAIN && errno != ENOENT)
			break;
		if (length >= (ssize_t)sizeof(struct fuse_in_header))
			answer(fuse, (const struct fuse_in_header *)buffer);
	}
	free(buffer);
	return NULL;
}

/* The descriptor of the mount that fusermount sends. */
static int receive(int from)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec part = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {
	    .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *header;
	int fd = -1;

	if (recvmsg(from, &message, MSG_CMSG_CLOEXEC) <= 0)
		return -1;
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

static const char *const fusermounts[] = {"/usr/bin/fusermount3", "/usr/bin/fusermount"};

bool support_has_fusermount(void)
{
	return !access(fusermounts[0], X_OK) || !access(fusermounts[1], X_OK);
}

static int mount_as_user(const char *name, const char *directory)
{
	char options[512];
	struct stat device;
	int ends[2], fd = -1, status;
	pid_t child;

	/* fusermount opens it as the user. Everywhere but in some containers it is everybody's. */
	if (stat("/dev/fuse", &device) || chmod("/dev/fuse", 0666))
		return -1;

	snprintf(options, sizeof(options), "fsname=%s,subtype=zfs", name);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) {
		chmod("/dev/fuse", device.st_mode & 07777);
		return -1;
	}
	child = fork();
	if (!child) {
		/* Only what may be done in the child of a program with threads. */
		char *environment[] = {"_FUSE_COMMFD=100", "PATH=/usr/bin:/bin", NULL};
		char *arguments[] = {"fusermount", "-o", options, "--", (char *)directory, NULL};

		if (dup2(ends[1], 100) < 0 || setgroups(0, NULL) || setgid(USER) || setuid(USER))
			_exit(1);
		execve(fusermounts[0], arguments, environment);
		execve(fusermounts[1], arguments, environment);
		_exit(1);
	}
	close(ends[1]);
	if (child > 0) {
		fd = receive(ends[0]);
		if (waitpid(child, &status, 0) == child && status && fd >= 0) {
			close(fd);
			fd = -1;
		}
	}
	close(ends[0]);
	chmod("/dev/fuse", device.st_mode & 07777);
	if (fd < 0)
		errno = EPERM;
	return fd;
}

static int mount_as_root(const char *name, const char *directory, unsigned user)
{
	char options[128];
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -1;
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=%u,group_id=%u,allow_other", fd, user, user);
	if (!mount(name, directory, "fuse.zfs", MS_NOSUID | MS_NODEV, options))
		return fd;
	close(fd);
	return -1;
}

struct support_fuse *support_fuse_mount(const char *name, const char *directory, enum support_fuse_mounter mounter)
{
	struct support_fuse *fuse = calloc(1, sizeof(*fuse));

	if (!fuse)
		return NULL;
	fuse->directory = strdup(directory);
	fuse->fd = mounter == SUPPORT_FUSE_USER ? mount_as_user(name, directory)
						: mount_as_root(name, directory, mounter == SUPPORT_FUSE_ROOT ? 0 : USER);
	if (fuse->fd >= 0 && fuse->directory && !pipe2(fuse->stop, O_CLOEXEC)) {
		if (!pthread_create(&fuse->thread, NULL, serve, fuse))
			return fuse;
		close(fuse->stop[0]);
		close(fuse->stop[1]);
	}
	if (fuse->fd >= 0) {
		umount2(directory, MNT_DETACH);
		close(fuse->fd);
	}
	free(fuse->directory);
	free(fuse);
	return NULL;
}

unsigned support_fuse_requests(const struct support_fuse *fuse)
{
	return atomic_load(&fuse->requests);
}

void support_fuse_hang(struct support_fuse *fuse)
{
	atomic_store(&fuse->hangs, true);
}

void support_fuse_end(struct support_fuse *fuse)
{
	close(fuse->stop[1]);
	pthread_join(fuse->thread, NULL);
	/* The end of the server: who still waits for an answer fails. */
	close(fuse->fd);
	umount2(fuse->directory, MNT_DETACH);
	close(fuse->stop[0]);
	free(fuse->directory);
	free(fuse);
}
