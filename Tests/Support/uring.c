// SPDX-License-Identifier: BSD-2-Clause
/* Requests of io_uring, one by one, by the kernel's own interface: what a test needs to know of a ring is too little for liburing. */
#define _GNU_SOURCE
#include "CTestSupport.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

/* What a ring is to have besides its entries. */
struct ring_options {
	bool by_kernel_thread;
	bool has_files;             /* a table of files, of one place that is free */
	const struct iovec *buffer; /* a registered one */
};

/* A ring of four entries each way, for requests whose last alone has a completion. Returns its result. */
static long io_uring_chain(const struct io_uring_sqe *requests, unsigned count, const struct ring_options *options)
{
	struct io_uring_params p = {
	    .flags = options->by_kernel_thread ? IORING_SETUP_SQPOLL : 0, .sq_thread_idle = 1000};
	int ring = (int)syscall(SYS_io_uring_setup, 4, &p);
	size_t sq_size, cq_size;
	long result = -1;
	int none = -1;
	char *sq, *cq;
	struct io_uring_sqe *sqes;
	unsigned *tail, i;

	if (ring < 0)
		return -errno;
	if ((options->has_files && syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, &none, 1)) ||
	    (options->buffer && syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, options->buffer, 1))) {
		result = -errno;
		close(ring);
		return result;
	}
	sq_size = p.sq_off.array + p.sq_entries * sizeof(unsigned);
	cq_size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	sq = mmap(NULL, sq_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	cq = mmap(NULL, cq_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	sqes = mmap(NULL, p.sq_entries * sizeof(*sqes), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (sq != MAP_FAILED && cq != MAP_FAILED && sqes != MAP_FAILED) {
		bool polled = options->by_kernel_thread;
		unsigned wait = IORING_ENTER_GETEVENTS | (polled ? IORING_ENTER_SQ_WAKEUP : 0);

		for (i = 0; i < count; i++) {
			sqes[i] = requests[i];
			((unsigned *)(sq + p.sq_off.array))[i] = i;
		}
		tail = (unsigned *)(sq + p.sq_off.tail);
		__atomic_store_n(tail, *tail + count, __ATOMIC_RELEASE);
		do
			result = syscall(SYS_io_uring_enter, ring, polled ? 0 : count, 1, wait, NULL, 0);
		while (result < 0 && errno == EINTR);
		result = result < 0 ? -errno : ((struct io_uring_cqe *)(cq + p.cq_off.cqes))[0].res;
	} else {
		result = -errno;
	}
	if (sqes != MAP_FAILED)
		munmap(sqes, p.sq_entries * sizeof(*sqes));
	if (cq != MAP_FAILED)
		munmap(cq, cq_size);
	if (sq != MAP_FAILED)
		munmap(sq, sq_size);
	close(ring);
	return result;
}

static long io_uring_once(struct io_uring_sqe *request, bool by_kernel_thread)
{
	struct ring_options options = {.by_kernel_thread = by_kernel_thread};

	return io_uring_chain(request, 1, &options);
}

long support_io_uring_write(int fd, const void *bytes, unsigned size, bool by_kernel_thread)
{
	struct io_uring_sqe request = {.opcode = IORING_OP_WRITE, .fd = fd, .addr = (uintptr_t)bytes, .len = size};

	return io_uring_once(&request, by_kernel_thread);
}

long support_io_uring_unlink(const char *path)
{
	struct io_uring_sqe request = {.opcode = IORING_OP_UNLINKAT, .fd = AT_FDCWD, .addr = (uintptr_t)path};

	return io_uring_once(&request, false);
}

long support_io_uring_silent_write(int fd, const void *bytes, unsigned size)
{
	struct io_uring_sqe requests[] = {
	    {
	        .opcode = IORING_OP_WRITE,
	        .flags = IOSQE_CQE_SKIP_SUCCESS | IOSQE_IO_LINK,
	        .fd = fd,
	        .addr = (uintptr_t)bytes,
	        .len = size,
	    },
	    {.opcode = IORING_OP_NOP},
	};
	struct ring_options options = {};

	return io_uring_chain(requests, 2, &options);
}

long support_io_uring_fixed_writev(int fd, const void *bytes, unsigned size)
{
	struct iovec buffer = {.iov_base = (void *)bytes, .iov_len = size};
	/* IORING_OP_WRITEV_FIXED, which the headers may not have. */
	struct io_uring_sqe request = {.opcode = 61, .fd = fd, .addr = (uintptr_t)&buffer, .len = 1};
	struct ring_options options = {.buffer = &buffer};

	return io_uring_chain(&request, 1, &options);
}

long support_io_uring_open(const char *path, int flags, unsigned mode, bool direct)
{
	struct io_uring_sqe request = {
	    .opcode = IORING_OP_OPENAT,
	    .fd = AT_FDCWD,
	    .addr = (uintptr_t)path,
	    .len = mode,
	    .open_flags = (unsigned)flags,
	    .file_index = direct ? 1 : 0,
	};
	struct ring_options options = {.has_files = direct};
	long result = io_uring_chain(&request, 1, &options);

	if (result < 0 || direct)
		return result;
	close((int)result);
	return 0;
}

long support_bind_socket(const char *path, bool by_io_uring, bool bare)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	long result;

	if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	/* The file's mode, whatever the umask. */
	fchmod(fd, 0600);
	/* What is behind the length is not part of the name. */
	memset(address.sun_path, bare ? 'x' : 0, sizeof(address.sun_path));
	memcpy(address.sun_path, path, strlen(path));
	if (by_io_uring) {
		/* IORING_OP_BIND, which the headers may not have. */
		struct io_uring_sqe request = {.opcode = 56, .fd = fd, .addr = (uintptr_t)&address, .addr2 = size};

		result = io_uring_once(&request, false);
	} else {
		result = bind(fd, (struct sockaddr *)&address, size) ? -errno : 0;
	}
	close(fd);
	return result;
}
