/* SPDX-License-Identifier: BSD-2-Clause */
/* Operations that write, by system calls and by io_uring (without its library). */
#include "operations.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/falloc.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char buffer[MAX_WRITE] __attribute__((aligned(4096)));

size_t random_size(struct worker *worker)
{
	switch (random_below(worker, 8)) {
	case 0:
		return 1;
	case 1:
		return 1 + random_below(worker, MAX_WRITE);
	case 2:
	case 3:
		return 1 + random_below(worker, 16384);
	default:
		return 1 + random_below(worker, 2000);
	}
}

off_t size_of(int file)
{
	struct stat status;

	return fstat(file, &status) ? 0 : status.st_size;
}

off_t random_offset(struct worker *worker, int file)
{
	off_t size = size_of(file), offset;

	if (!random_below(worker, 3))
		offset = size;
	else
		offset = random_below(worker, (unsigned)size + (random_below(worker, 6) ? 1 : 20000));
	return offset > MAX_FILE ? random_below(worker, MAX_FILE) : offset;
}

long write_to(struct worker *worker, int file, enum writing how)
{
	size_t size = random_size(worker), part = random_below(worker, (unsigned)size);
	off_t offset = random_offset(worker, file);
	struct iovec parts[2] = {{buffer, part}, {buffer + part, size - part}};

	worker_note(worker, "%zu@%ld", size, (long)offset);
	worker_fill(worker, buffer, size);
	switch (how) {
	case PWRITE:
	case SYNCED:
		return pwrite(file, buffer, size, offset);
	case PWRITEV:
		return pwritev(file, parts, 2, offset);
	case PWRITEV2:
		return pwritev2(file, parts, 2, offset, 0);
	case WRITE:
	case WRITEV:
		break;
	}
	if (lseek(file, offset, SEEK_SET) < 0)
		return -1;
	return how == WRITE ? write(file, buffer, size) : writev(file, parts, 2);
}

int open_some(struct worker *worker, int flags, enum outcome *outcome)
{
	char path[64];
	struct stat status;
	int file;

	*outcome = SKIPPED;
	if (!worker_pick(worker, FILES, path))
		return -1;
	file = worker_open(worker, path, flags);
	if (file < 0) {
		*outcome = worker_outcome(worker, -1);
		return -1;
	}
	/* Another worker may have put something else there. */
	if (fstat(file, &status) || !S_ISREG(status.st_mode)) {
		close(file);
		return -1;
	}
	return file;
}

static enum outcome write_some(struct worker *worker, enum writing how, int flags)
{
	enum outcome outcome;
	int file = open_some(worker, flags, &outcome);

	if (file < 0)
		return outcome;
	outcome = worker_outcome(worker, write_to(worker, file, how));
	close(file);
	return outcome;
}

enum outcome act_write(struct worker *worker)
{
	return write_some(worker, WRITE, O_WRONLY);
}

enum outcome act_append(struct worker *worker)
{
	return write_some(worker, WRITE, O_WRONLY | O_APPEND);
}

enum outcome act_pwrite(struct worker *worker)
{
	return write_some(worker, PWRITE, O_RDWR);
}

enum outcome act_writev(struct worker *worker)
{
	return write_some(worker, WRITEV, O_WRONLY);
}

enum outcome act_pwritev(struct worker *worker)
{
	return write_some(worker, PWRITEV, O_WRONLY);
}

enum outcome act_pwritev2(struct worker *worker)
{
	return write_some(worker, PWRITEV2, O_WRONLY);
}

enum outcome act_write_sync(struct worker *worker)
{
	return write_some(worker, SYNCED, O_WRONLY | O_SYNC);
}

enum outcome act_direct(struct worker *worker)
{
	size_t size = 4096u * (1 + random_below(worker, 8));
	off_t offset = 4096 * (off_t)random_below(worker, 16);
	enum outcome outcome;
	int file = open_some(worker, O_WRONLY | O_DIRECT, &outcome);

	if (file < 0)
		return outcome;
	worker_note(worker, "%zu@%ld", size, (long)offset);
	worker_fill(worker, buffer, size);
	outcome = worker_outcome(worker, pwrite(file, buffer, size, offset));
	close(file);
	return outcome;
}

enum outcome act_aio(struct worker *worker)
{
	size_t size = random_size(worker);
	struct iocb block = {.aio_lio_opcode = IOCB_CMD_PWRITE, .aio_buf = (uintptr_t)buffer, .aio_nbytes = size};
	struct iocb *blocks[] = {&block};
	struct io_event event = {0};
	enum outcome outcome;
	int file = open_some(worker, O_WRONLY, &outcome);

	if (file < 0)
		return outcome;
	if (!worker->aio && syscall(SYS_io_setup, 4, &worker->aio)) {
		outcome = worker_outcome(worker, -1);
	} else {
		worker_fill(worker, buffer, size);
		block.aio_fildes = file;
		block.aio_offset = random_offset(worker, file);
		worker_note(worker, "%zu@%ld", size, (long)block.aio_offset);
		if (syscall(SYS_io_submit, worker->aio, 1, blocks) != 1 ||
		    syscall(SYS_io_getevents, worker->aio, 1, 1, &event, NULL) != 1) {
			outcome = worker_outcome(worker, -1);
		} else {
			errno = event.res < 0 ? (int)-event.res : 0;
			outcome = worker_outcome(worker, event.res < 0 ? -1 : 0);
		}
	}
	close(file);
	return outcome;
}

/* A descriptor that was opened some time ago, whatever became of the file's name. */
enum outcome act_held(struct worker *worker)
{
	struct held *held = &worker->held[random_below(worker, HELD)];
	enum outcome outcome;
	struct stat status;

	if (held->file >= 0 && !random_below(worker, 12)) {
		close(held->file);
		held->file = -1;
	}
	if (held->file >= 0 && held->dataset != worker->dataset)
		return SKIPPED;
	if (held->file < 0) {
		held->file = open_some(worker, O_RDWR, &outcome);
		if (held->file < 0)
			return outcome;
		held->dataset = worker->dataset;
		snprintf(held->path, sizeof(held->path), "%.*s", (int)strcspn(worker->detail, " "), worker->detail);
	} else {
		worker_note(worker, "%s (held) ", held->path);
	}
	/* Once its last name is gone nobody sees a change. */
	if (fstat(held->file, &status) || !status.st_nlink) {
		close(held->file);
		held->file = -1;
		return SKIPPED;
	}
	if (!random_below(worker, 5)) {
		worker_note(worker, "ftruncate");
		return worker_outcome(worker, ftruncate(held->file, random_below(worker, 30000)));
	}
	return worker_outcome(worker, write_to(worker, held->file, PWRITE));
}

/* ---- io_uring ---- */

static bool ring_open(struct worker *worker, struct ring *ring)
{
	struct io_uring_params params = {.flags = ring->sqpoll ? IORING_SETUP_SQPOLL : 0, .sq_thread_idle = 20};
	char *sq, *cq;

	if (ring->tried)
		return ring->fd >= 0;
	ring->tried = true;
	ring->fd = (int)syscall(SYS_io_uring_setup, 4, &params);
	if (ring->fd < 0)
		return false;
	sq = mmap(NULL, params.sq_off.array + params.sq_entries * sizeof(unsigned), PROT_READ | PROT_WRITE, MAP_SHARED,
		  ring->fd, IORING_OFF_SQ_RING);
	cq = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE,
		  MAP_SHARED, ring->fd, IORING_OFF_CQ_RING);
	ring->sqes = mmap(NULL, params.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED,
			  ring->fd, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || ring->sqes == MAP_FAILED) {
		close(ring->fd);
		ring->fd = -1;
		return false;
	}
	ring->sq_tail = (unsigned *)(sq + params.sq_off.tail);
	ring->sq_mask = (unsigned *)(sq + params.sq_off.ring_mask);
	ring->sq_array = (unsigned *)(sq + params.sq_off.array);
	ring->sq_flags = (unsigned *)(sq + params.sq_off.flags);
	ring->cq_head = (unsigned *)(cq + params.cq_off.head);
	ring->cq_tail = (unsigned *)(cq + params.cq_off.tail);
	ring->cq_mask = (unsigned *)(cq + params.cq_off.ring_mask);
	ring->cqes = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
	(void)worker;
	return true;
}

#define LAST 1 /* user_data of the request whose completion ends a chain */

/* Submits requests and waits for the completion of the last one. Returns as a system call does: the first failure, else its result. */
static long ring_chain(struct worker *worker, struct ring *ring, const struct io_uring_sqe *wanted, unsigned count)
{
	unsigned tail, head, i, flags = IORING_ENTER_GETEVENTS;
	struct io_uring_cqe cqe = {0};
	long result, failure = 0;

	if (!ring_open(worker, ring)) {
		errno = EOPNOTSUPP;
		return -1;
	}
	tail = *ring->sq_tail;
	for (i = 0; i < count; i++) {
		unsigned place = (tail + i) & *ring->sq_mask;

		ring->sqes[place] = wanted[i];
		ring->sqes[place].user_data = i == count - 1 ? LAST : 0;
		ring->sq_array[place] = place;
	}
	__atomic_store_n(ring->sq_tail, tail + count, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (ring->sqpoll && __atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) & IORING_SQ_NEED_WAKEUP)
		flags |= IORING_ENTER_SQ_WAKEUP;
	do
		result = syscall(SYS_io_uring_enter, ring->fd, ring->sqpoll ? 0 : count, 1, flags, NULL, 0);
	while (result < 0 && errno == EINTR);
	if (result < 0)
		return -1;
	while (cqe.user_data != LAST) {
		head = *ring->cq_head;
		while (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE))
			usleep(100);
		cqe = ring->cqes[head & *ring->cq_mask];
		__atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
		if (cqe.res < 0 && !failure)
			failure = cqe.res;
	}
	if (!failure)
		return cqe.res;
	errno = (int)-failure;
	return -1;
}

static long ring_do(struct worker *worker, struct ring *ring, const struct io_uring_sqe *wanted)
{
	return ring_chain(worker, ring, wanted, 1);
}

static enum outcome ring_write(struct worker *worker, struct ring *ring)
{
	struct io_uring_sqe wanted = {.opcode = IORING_OP_WRITE, .addr = (uintptr_t)buffer};
	enum outcome outcome;
	int file = open_some(worker, O_WRONLY, &outcome);

	if (file < 0)
		return outcome;
	wanted.len = (unsigned)random_size(worker);
	wanted.off = (uint64_t)random_offset(worker, file);
	wanted.fd = file;
	/* Half of them in a worker thread of the kernel's. */
	if (random_below(worker, 2))
		wanted.flags = IOSQE_ASYNC;
	worker_fill(worker, buffer, wanted.len);
	worker_note(worker, "%u@%lu%s", wanted.len, (long)wanted.off, wanted.flags ? " async" : "");
	outcome = worker_outcome(worker, ring_do(worker, ring, &wanted));
	close(file);
	return outcome;
}

enum outcome act_uring_write(struct worker *worker)
{
	return ring_write(worker, &worker->rings[0]);
}

enum outcome act_uring_sqpoll(struct worker *worker)
{
	return ring_write(worker, &worker->rings[1]);
}

enum outcome act_uring_fallocate(struct worker *worker)
{
	struct io_uring_sqe wanted = {.opcode = IORING_OP_FALLOCATE, .off = 0};
	enum outcome outcome;
	int file = open_some(worker, O_WRONLY, &outcome);

	if (file < 0)
		return outcome;
	wanted.fd = file;
	wanted.len = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	wanted.addr = 1 + random_below(worker, 5000);
	/* Where there is no content left to punch out, nothing would change. */
	outcome = size_of(file) ? worker_outcome(worker, ring_do(worker, &worker->rings[0], &wanted)) : SKIPPED;
	close(file);
	return outcome;
}

/* A write without a completion of its own. The request behind it tells when it is done. */
enum outcome act_uring_silent(struct worker *worker)
{
	struct io_uring_sqe wanted[] = {
	    {
	        .opcode = IORING_OP_WRITE,
	        .flags = IOSQE_CQE_SKIP_SUCCESS | IOSQE_IO_LINK,
	        .addr = (uintptr_t)buffer,
	    },
	    {.opcode = IORING_OP_NOP},
	};
	enum outcome outcome;
	int file = open_some(worker, O_WRONLY, &outcome);

	if (file < 0)
		return outcome;
	wanted[0].len = (unsigned)random_size(worker);
	wanted[0].off = (uint64_t)random_offset(worker, file);
	wanted[0].fd = file;
	if (random_below(worker, 2))
		wanted[0].flags |= IOSQE_ASYNC;
	worker_fill(worker, buffer, wanted[0].len);
	worker_note(worker, "%u@%lu", wanted[0].len, (long)wanted[0].off);
	outcome = worker_outcome(worker, ring_chain(worker, &worker->rings[0], wanted, 2));
	close(file);
	return outcome;
}

enum outcome act_uring_truncate(struct worker *worker)
{
	struct io_uring_sqe wanted = {.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .open_flags = O_WRONLY | O_TRUNC};
	char path[64], whole[PATH_MAX];
	long result;

	if (!worker_pick_filled(worker, path, whole))
		return SKIPPED;
	wanted.addr = (uintptr_t)whole;
	result = ring_do(worker, &worker->rings[0], &wanted);
	if (result >= 0)
		close((int)result);
	return worker_outcome(worker, result);
}

/* Names are made, changed and removed without a system call for it, too. */
enum outcome act_uring_names(struct worker *worker)
{
	struct io_uring_sqe wanted = {0};
	char from[64], to[64];
	struct place old = {.close = -1}, new = {.close = -1};
	enum outcome outcome;

	switch (random_below(worker, 5)) {
	case 0:
		if (!worker_pick(worker, FILES, from))
			return SKIPPED;
		worker_place(worker, from, &old);
		wanted = (struct io_uring_sqe){.opcode = IORING_OP_UNLINKAT, .addr = (uintptr_t)old.name};
		wanted.fd = old.dirfd;
		break;
	case 1:
		if (!worker_pick(worker, FILES, from) || !worker_pick_free(worker, to))
			return SKIPPED;
		/* Only one may change the working directory. */
		worker_place(worker, from, &old);
		new.dirfd = AT_FDCWD;
		worker_absolute(worker, worker->dataset, to, new.name);
		wanted = (struct io_uring_sqe){.opcode = IORING_OP_RENAMEAT, .addr = (uintptr_t)old.name};
		wanted.fd = old.dirfd;
		wanted.len = (unsigned)new.dirfd;
		wanted.addr2 = (uintptr_t)new.name;
		break;
	case 2:
		if (!worker_pick_free(worker, to))
			return SKIPPED;
		worker_place(worker, to, &new);
		wanted = (struct io_uring_sqe){.opcode = IORING_OP_MKDIRAT, .addr = (uintptr_t)new.name, .len = 0755};
		wanted.fd = new.dirfd;
		break;
	case 3:
		if (!worker_pick_free(worker, to))
			return SKIPPED;
		worker_place(worker, to, &new);
		wanted = (struct io_uring_sqe){.opcode = IORING_OP_OPENAT, .addr = (uintptr_t)new.name, .len = 0644};
		wanted.fd = new.dirfd;
		wanted.open_flags = O_CREAT | O_EXCL | O_WRONLY;
		break;
	default:
		if (!worker_pick_free(worker, to))
			return SKIPPED;
		worker_place(worker, to, &new);
		wanted = (struct io_uring_sqe){.opcode = IORING_OP_SYMLINKAT, .addr = (uintptr_t) "made/by/a/ring"};
		wanted.fd = new.dirfd;
		wanted.addr2 = (uintptr_t)new.name;
	}
	worker_note(worker, "opcode %d", wanted.opcode);
	{
		long result = ring_do(worker, &worker->rings[0], &wanted);

		outcome = worker_outcome(worker, result);
		if (wanted.opcode == IORING_OP_OPENAT && result >= 0)
			close((int)result);
	}
	worker_leave(&old);
	worker_leave(&new);
	return outcome;
}
