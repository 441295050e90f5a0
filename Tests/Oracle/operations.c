/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of operations. Each does one thing to one dataset, or finds nothing to do it to. */
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#define FILES EXISTING(S_IFREG)
#define DIRECTORIES EXISTING(S_IFDIR)
#define NOT_LINKS (ANY_TYPE & ~EXISTING(S_IFLNK))
#define MAX_WRITE (96 << 10)

static char buffer[MAX_WRITE] __attribute__((aligned(4096)));

/* ---- Writing ---- */

static size_t random_size(struct worker *worker)
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

static off_t size_of(int file)
{
	struct stat status;

	return fstat(file, &status) ? 0 : status.st_size;
}

/* Where to write: mostly in what is there or at its end, now and then behind it, which makes a hole. */
static off_t random_offset(struct worker *worker, int file)
{
	off_t size = size_of(file), offset;

	if (!random_below(worker, 3))
		offset = size;
	else
		offset = random_below(worker, (unsigned)size + (random_below(worker, 6) ? 1 : 20000));
	return offset > MAX_FILE ? random_below(worker, MAX_FILE) : offset;
}

enum writing { WRITE, PWRITE, WRITEV, PWRITEV, PWRITEV2, SYNCED };

static long write_to(struct worker *worker, int file, enum writing how)
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

/* Opens an existing file, or -1 with the outcome. */
static int open_some(struct worker *worker, int flags, enum outcome *outcome)
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

static enum outcome act_write(struct worker *worker)
{
	return write_some(worker, WRITE, O_WRONLY);
}

static enum outcome act_append(struct worker *worker)
{
	return write_some(worker, WRITE, O_WRONLY | O_APPEND);
}

static enum outcome act_pwrite(struct worker *worker)
{
	return write_some(worker, PWRITE, O_RDWR);
}

static enum outcome act_writev(struct worker *worker)
{
	return write_some(worker, WRITEV, O_WRONLY);
}

static enum outcome act_pwritev(struct worker *worker)
{
	return write_some(worker, PWRITEV, O_WRONLY);
}

static enum outcome act_pwritev2(struct worker *worker)
{
	return write_some(worker, PWRITEV2, O_WRONLY);
}

static enum outcome act_write_sync(struct worker *worker)
{
	return write_some(worker, SYNCED, O_WRONLY | O_SYNC);
}

static enum outcome act_direct(struct worker *worker)
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

static enum outcome act_aio(struct worker *worker)
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
static enum outcome act_held(struct worker *worker)
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

/* ---- io_uring, without its library ---- */

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

/* Has one thing done, and waits for its end. As a system call returns. */
static long ring_do(struct worker *worker, struct ring *ring, const struct io_uring_sqe *wanted)
{
	unsigned tail, head, flags = IORING_ENTER_GETEVENTS;
	struct io_uring_cqe *cqe;
	long result;

	if (!ring_open(worker, ring)) {
		errno = EOPNOTSUPP;
		return -1;
	}
	tail = *ring->sq_tail;
	ring->sqes[tail & *ring->sq_mask] = *wanted;
	ring->sq_array[tail & *ring->sq_mask] = tail & *ring->sq_mask;
	__atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (ring->sqpoll && __atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) & IORING_SQ_NEED_WAKEUP)
		flags |= IORING_ENTER_SQ_WAKEUP;
	do
		result = syscall(SYS_io_uring_enter, ring->fd, ring->sqpoll ? 0 : 1, 1, flags, NULL, 0);
	while (result < 0 && errno == EINTR);
	if (result < 0)
		return -1;
	head = *ring->cq_head;
	while (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE))
		usleep(100);
	cqe = &ring->cqes[head & *ring->cq_mask];
	result = cqe->res;
	__atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
	if (result >= 0)
		return result;
	errno = (int)-result;
	return -1;
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

static enum outcome act_uring_write(struct worker *worker)
{
	return ring_write(worker, &worker->rings[0]);
}

static enum outcome act_uring_sqpoll(struct worker *worker)
{
	return ring_write(worker, &worker->rings[1]);
}

static enum outcome act_uring_fallocate(struct worker *worker)
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

/* Names are made, changed and removed without a system call for it, too. */
static enum outcome act_uring_names(struct worker *worker)
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

/* ---- Copying ---- */

/* A file to read from, of any dataset. */
static int open_source(struct worker *worker, bool same)
{
	int dataset = worker->dataset, file;
	enum outcome outcome;

	if (!same)
		worker->dataset = (int)random_below(worker, worker->plan->n_datasets);
	worker_note(worker, "from %d:", worker->dataset);
	file = open_some(worker, O_RDONLY, &outcome);
	worker->dataset = dataset;
	if (file >= 0 && !size_of(file)) {
		close(file);
		return -1;
	}
	return file;
}

static bool is_same_file(int a, int b)
{
	struct stat sa, sb;

	return !fstat(a, &sa) && !fstat(b, &sb) && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

enum copying { SENDFILE, SPLICE, COPY_RANGE, CLONE, CLONE_RANGE };

static enum outcome copy(struct worker *worker, enum copying how)
{
	int from = open_source(worker, how == CLONE || how == CLONE_RANGE), to, ends[2];
	enum outcome outcome;
	off_t out;
	long result = -1;

	if (from < 0)
		return SKIPPED;
	to = open_some(worker, O_WRONLY, &outcome);
	if (to < 0) {
		close(from);
		return outcome;
	}
	/* Within one file OpenZFS 2.3.2 waits for its own lock, for ever (zfs_clone_range() in zfs_rangelock_enter_impl()). */
	if (how >= COPY_RANGE && is_same_file(from, to)) {
		close(from);
		close(to);
		return SKIPPED;
	}
	out = random_offset(worker, to);
	switch (how) {
	case SENDFILE:
		if (lseek(to, out, SEEK_SET) >= 0)
			result = sendfile(to, from, NULL, random_size(worker));
		break;
	case SPLICE:
		/* The pipe's content is what changes the file. */
		if (pipe2(ends, O_CLOEXEC))
			break;
		worker_fill(worker, buffer, 4096);
		result = write(ends[1], buffer, 1 + random_below(worker, 4096));
		if (result > 0)
			result = splice(ends[0], NULL, to, &out, (size_t)result, 0);
		close(ends[0]);
		close(ends[1]);
		break;
	case COPY_RANGE:
		result = syscall(SYS_copy_file_range, from, NULL, to, &out, random_size(worker), 0);
		break;
	case CLONE:
		result = ioctl(to, FICLONE, from);
		break;
	case CLONE_RANGE: {
		struct file_clone_range range = {.src_fd = from, .src_length = 0};

		result = ioctl(to, FICLONERANGE, &range);
		break;
	}
	}
	outcome = worker_outcome(worker, result);
	if (outcome == DONE && result == 0 && how < CLONE)
		outcome = FAILED;
	close(from);
	close(to);
	return outcome;
}

static enum outcome act_sendfile(struct worker *worker)
{
	return copy(worker, SENDFILE);
}

static enum outcome act_splice(struct worker *worker)
{
	return copy(worker, SPLICE);
}

static enum outcome act_copy_file_range(struct worker *worker)
{
	return copy(worker, COPY_RANGE);
}

static enum outcome act_clone(struct worker *worker)
{
	return copy(worker, CLONE);
}

static enum outcome act_clone_range(struct worker *worker)
{
	return copy(worker, CLONE_RANGE);
}

/* ---- Mapped memory ---- */

static sigjmp_buf beyond_end;

static void on_bus_error(int signal)
{
	siglongjmp(beyond_end, signal);
}

/* One changed byte at an address; false when no file is there any more. */
static bool store(volatile char *at, char byte)
{
	static bool prepared;

	if (!prepared) {
		struct sigaction action = {.sa_handler = on_bus_error};

		sigaction(SIGBUS, &action, NULL);
		prepared = true;
	}
	if (sigsetjmp(beyond_end, 1))
		return false;
	*at ^= byte;
	return true;
}

static void drop(struct mapping *mapping)
{
	if (mapping->address)
		munmap(mapping->address, mapping->length);
	if (mapping->file >= 0)
		close(mapping->file);
	*mapping = (struct mapping){.file = -1};
}

static enum outcome store_some(struct worker *worker, struct mapping *mapping)
{
	size_t length = mapping->length, at;
	struct stat status;
	int i, n = 1 + (int)random_below(worker, 3);

	if (mapping->file >= 0) {
		if (fstat(mapping->file, &status) || !status.st_nlink || !status.st_size) {
			drop(mapping);
			return SKIPPED;
		}
		if ((size_t)status.st_size < length)
			length = (size_t)status.st_size;
	}
	for (i = 0; i < n; i++) {
		at = random_below(worker, (unsigned)length);
		worker_note(worker, "@%zu", at);
		if (!store(mapping->address + at, (char)(1 + random_below(worker, 255)))) {
			worker->error = EFAULT;
			return i ? DONE : FAILED;
		}
	}
	return DONE;
}

/* Maps a file anew, changes it through the mapping, and keeps that for later. */
static enum outcome act_map_store(struct worker *worker)
{
	struct mapping *mapping = &worker->mappings[random_below(worker, HELD)];
	enum outcome outcome;
	int file = open_some(worker, O_RDWR, &outcome);
	off_t size;

	if (file < 0)
		return outcome;
	size = size_of(file);
	if (!size) {
		close(file);
		return SKIPPED;
	}
	drop(mapping);
	mapping->length = (size_t)size;
	mapping->dataset = worker->dataset;
	snprintf(mapping->path, sizeof(mapping->path), "%.*s", (int)strcspn(worker->detail, " "), worker->detail);
	mapping->address = mmap(NULL, mapping->length, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (mapping->address == MAP_FAILED) {
		mapping->address = NULL;
		outcome = worker_outcome(worker, -1);
		close(file);
		return outcome;
	}
	/* Half of the mappings have no descriptor left: only the mapping holds the file then. */
	mapping->file = file;
	outcome = store_some(worker, mapping);
	if (outcome == DONE && random_below(worker, 2)) {
		worker_note(worker, " closed");
		close(file);
		mapping->file = -1;
	}
	return outcome;
}

static struct mapping *some_mapping(struct worker *worker, bool sure)
{
	int i, first = (int)random_below(worker, HELD);

	for (i = 0; i < HELD; i++) {
		struct mapping *mapping = &worker->mappings[(first + i) % HELD];

		if (mapping->address && mapping->dataset == worker->dataset && (!sure || mapping->file >= 0)) {
			worker_note(worker, "%s (held) ", mapping->path);
			return mapping;
		}
	}
	return NULL;
}

/* Through a mapping that has been there for a while: to pages that are clean again, or dirty still. */
static enum outcome act_map_again(struct worker *worker)
{
	struct mapping *mapping = some_mapping(worker, false);

	return mapping ? store_some(worker, mapping) : SKIPPED;
}

static enum outcome act_map_sync(struct worker *worker)
{
	struct mapping *mapping = some_mapping(worker, true);
	enum outcome outcome = mapping ? store_some(worker, mapping) : SKIPPED;

	if (outcome == DONE)
		msync(mapping->address, mapping->length, random_below(worker, 2) ? MS_SYNC : MS_ASYNC);
	return outcome;
}

static enum outcome act_map_unmap(struct worker *worker)
{
	struct mapping *mapping = some_mapping(worker, true);
	enum outcome outcome = mapping ? store_some(worker, mapping) : SKIPPED;

	if (mapping)
		drop(mapping);
	return outcome;
}

/* ---- Sizes and space ---- */

static enum outcome act_truncate(struct worker *worker)
{
	char path[64], whole[PATH_MAX];
	struct stat status;
	off_t length = random_below(worker, 40000);

	if (!worker_pick(worker, FILES, path))
		return SKIPPED;
	worker_absolute(worker, worker->dataset, path, whole);
	/* Of the same size it is no change. */
	if (stat(whole, &status) || status.st_size == length)
		return SKIPPED;
	worker_note(worker, "%ld", (long)length);
	if (random_below(worker, 2) && !chdir(worker->plan->datasets[worker->dataset].mount))
		return worker_outcome(worker, truncate(path, length));
	return worker_outcome(worker, truncate(whole, length));
}

static enum outcome act_ftruncate(struct worker *worker)
{
	enum outcome outcome;
	int file = open_some(worker, O_RDWR, &outcome);
	off_t length = random_below(worker, 40000);

	if (file < 0)
		return outcome;
	worker_note(worker, "%ld", (long)length);
	outcome = size_of(file) == length ? SKIPPED : worker_outcome(worker, ftruncate(file, length));
	close(file);
	return outcome;
}

static enum outcome act_open_truncate(struct worker *worker)
{
	char path[64], whole[PATH_MAX];
	struct stat status;
	int file;

	if (!worker_pick(worker, FILES, path) ||
	    stat(worker_absolute(worker, worker->dataset, path, whole), &status) || !status.st_size)
		return SKIPPED;
	file = worker_open(worker, path, O_WRONLY | O_TRUNC);
	if (file < 0)
		return worker_outcome(worker, -1);
	close(file);
	return DONE;
}

static enum outcome allocate(struct worker *worker, int mode)
{
	enum outcome outcome;
	int file = open_some(worker, O_RDWR, &outcome);
	off_t size, at;

	if (file < 0)
		return outcome;
	size = size_of(file);
	at = mode ? random_below(worker, (unsigned)size) : size;
	worker_note(worker, "mode %d @%ld", mode, (long)at);
	if (size > MAX_FILE || (mode && !size))
		outcome = SKIPPED;
	else
		outcome = worker_outcome(worker, fallocate(file, mode, at, 1 + random_below(worker, 8000)));
	close(file);
	return outcome;
}

static enum outcome act_fallocate(struct worker *worker)
{
	return allocate(worker, 0);
}

static enum outcome act_punch(struct worker *worker)
{
	return allocate(worker, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}

static enum outcome act_zero_range(struct worker *worker)
{
	return allocate(worker, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
}

/* ---- Names ---- */

static enum outcome act_create(struct worker *worker)
{
	char path[64];
	struct place place;
	int file;

	if (!worker_pick_free(worker, path))
		return SKIPPED;
	worker_place(worker, path, &place);
	switch (random_below(worker, 3)) {
#ifdef SYS_creat
	case 0:
		if (place.dirfd == AT_FDCWD) {
			file = (int)syscall(SYS_creat, place.name, 0640);
			break;
		}
		/* fall through */
#endif
	case 1: {
		/* struct open_how: its header contradicts fcntl.h in some versions. */
		uint64_t how[3] = {O_CREAT | O_RDWR | O_CLOEXEC, 0600, 0};

		file = (int)syscall(SYS_openat2, place.dirfd, place.name, how, sizeof(how));
		break;
	}
	default:
		file = openat(place.dirfd, place.name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
	}
	worker_leave(&place);
	if (file < 0)
		return worker_outcome(worker, -1);
	close(file);
	return DONE;
}

/* A file with its content: most files come to be like that. */
static enum outcome act_create_write(struct worker *worker)
{
	char path[64];
	enum outcome outcome;
	int file;

	if (!worker_pick_free(worker, path))
		return SKIPPED;
	file = worker_open(worker, path, O_CREAT | O_EXCL | O_WRONLY);
	if (file < 0)
		return worker_outcome(worker, -1);
	outcome = worker_outcome(worker, write_to(worker, file, WRITE));
	close(file);
	return outcome;
}

static enum outcome act_mkdir(struct worker *worker)
{
	char path[64];
	struct place place;
	long result;

	if (!worker_pick_free(worker, path))
		return SKIPPED;
	worker_place(worker, path, &place);
	result = place.dirfd == AT_FDCWD && random_below(worker, 2) ? mkdir(place.name, 0750)
								     : mkdirat(place.dirfd, place.name, 0755);
	worker_leave(&place);
	return worker_outcome(worker, result);
}

static enum outcome act_mknod(struct worker *worker)
{
	static const mode_t modes[] = {S_IFIFO | 0600, S_IFSOCK | 0600, S_IFCHR | 0600, S_IFREG | 0644};
	mode_t mode = modes[random_below(worker, 4)];
	char path[64];
	struct place place;
	long result;

	if (!worker_pick_free(worker, path))
		return SKIPPED;
	worker_note(worker, "%o", mode);
	worker_place(worker, path, &place);
	result = mknodat(place.dirfd, place.name, mode, S_ISCHR(mode) ? makedev(1, 3) : 0);
	worker_leave(&place);
	return worker_outcome(worker, result);
}

static enum outcome act_symlink(struct worker *worker)
{
	char path[64];
	struct place place;
	long result;

	if (!worker_pick_free(worker, path))
		return SKIPPED;
	worker_place(worker, path, &place);
	result = symlinkat(random_below(worker, 2) ? "../n3" : "n1", place.dirfd, place.name);
	worker_leave(&place);
	return worker_outcome(worker, result);
}

static enum outcome act_link(struct worker *worker)
{
	char from[64], to[64], whole[PATH_MAX], magic[32];
	struct place place;
	long result;

	if (!worker_pick(worker, FILES, from) || !worker_pick_free(worker, to))
		return SKIPPED;
	worker_absolute(worker, worker->dataset, from, whole);
	worker_place(worker, to, &place);
	if (random_below(worker, 2)) {
		result = linkat(AT_FDCWD, whole, place.dirfd, place.name, 0);
	} else {
		int file = open(whole, O_PATH | O_CLOEXEC);

		snprintf(magic, sizeof(magic), "/proc/self/fd/%d", file);
		result = file < 0 ? -1 : linkat(AT_FDCWD, magic, place.dirfd, place.name, AT_SYMLINK_FOLLOW);
		if (file >= 0)
			close(file);
	}
	worker_leave(&place);
	return worker_outcome(worker, result);
}

static enum outcome act_unlink(struct worker *worker)
{
	char path[64];
	struct place place;
	long result;

	if (!worker_pick(worker, ANY_TYPE & ~DIRECTORIES, path))
		return SKIPPED;
	worker_place(worker, path, &place);
	result = place.dirfd == AT_FDCWD && random_below(worker, 2) ? unlink(place.name)
								     : unlinkat(place.dirfd, place.name, 0);
	worker_leave(&place);
	return worker_outcome(worker, result);
}

static enum outcome act_rmdir(struct worker *worker)
{
	char path[64];
	struct place place;
	long result = -1;
	int i;

	/* Full ones are many. */
	for (i = 0; i < 5; i++) {
		worker->detail[0] = 0;
		if (!worker_pick(worker, DIRECTORIES, path))
			return SKIPPED;
		worker_place(worker, path, &place);
		result = place.dirfd == AT_FDCWD && random_below(worker, 2)
			     ? rmdir(place.name)
			     : unlinkat(place.dirfd, place.name, AT_REMOVEDIR);
		worker_leave(&place);
		if (!result || errno != ENOTEMPTY)
			break;
	}
	return worker_outcome(worker, result);
}

/* Whether two paths are names of one file: then a rename does nothing at all. */
static bool same_file(struct worker *worker, const char *a, const char *b)
{
	char whole[PATH_MAX];
	struct stat first, second;

	return !lstat(worker_absolute(worker, worker->dataset, a, whole), &first) &&
	       !lstat(worker_absolute(worker, worker->dataset, b, whole), &second) && first.st_ino == second.st_ino;
}

static enum outcome rename_some(struct worker *worker, unsigned flags, bool over)
{
	unsigned types = flags || !over ? ANY_TYPE : FILES;
	char from[64], to[64];
	struct place old, new = {.dirfd = AT_FDCWD, .close = -1};
	long result;

	if (!worker_pick(worker, types, from) || !(over ? worker_pick(worker, types, to) : worker_pick_free(worker, to)))
		return SKIPPED;
	if (over && same_file(worker, from, to))
		return SKIPPED;
	/* Only one of them by a working directory: it serves the other too. */
	worker_place(worker, from, &old);
	worker_absolute(worker, worker->dataset, to, new.name);
	if (random_below(worker, 2))
		result = syscall(SYS_renameat2, old.dirfd, old.name, new.dirfd, new.name, flags);
	else if (flags)
		result = renameat2(old.dirfd, old.name, new.dirfd, new.name, flags);
	else
		result = old.dirfd == AT_FDCWD && random_below(worker, 2)
			     ? rename(old.name, new.name)
			     : renameat(old.dirfd, old.name, new.dirfd, new.name);
	worker_leave(&old);
	/* A directory into itself is not what EINVAL else stands for. */
	if (result < 0 && errno == EINVAL && !flags)
		errno = ELOOP;
	return worker_outcome(worker, result);
}

static enum outcome act_rename(struct worker *worker)
{
	return rename_some(worker, 0, false);
}

static enum outcome act_rename_over(struct worker *worker)
{
	return rename_some(worker, 0, true);
}

static enum outcome act_rename_exchange(struct worker *worker)
{
	return rename_some(worker, RENAME_EXCHANGE, true);
}

static enum outcome act_rename_noreplace(struct worker *worker)
{
	return rename_some(worker, RENAME_NOREPLACE, false);
}

/* As an editor saves: temporary file, sync, rename over the name. */
static enum outcome act_save(struct worker *worker)
{
	char to[64], temporary[PATH_MAX], whole[PATH_MAX];
	enum outcome outcome;
	int file;

	if (!worker_pick(worker, FILES, to))
		return SKIPPED;
	worker_absolute(worker, worker->dataset, to, whole);
	snprintf(temporary, sizeof(temporary), "%s/save-%d.tmp", worker->plan->datasets[worker->dataset].mount,
		 worker->index);
	file = open(temporary, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
	if (file < 0)
		return worker_outcome(worker, -1);
	outcome = worker_outcome(worker, write_to(worker, file, WRITE));
	fsync(file);
	close(file);
	if (outcome == DONE)
		outcome = worker_outcome(worker, rename(temporary, whole));
	if (outcome != DONE)
		unlink(temporary);
	return outcome;
}

static enum outcome act_tmpfile(struct worker *worker)
{
	const char *mount = worker->plan->datasets[worker->dataset].mount;
	int file = open(mount, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char to[64], magic[32], whole[PATH_MAX];
	enum outcome outcome;

	/* FUSE takes O_TMPFILE for an O_RDWR on a directory in old kernels. */
	if (file < 0) {
		if (errno == EISDIR)
			errno = EOPNOTSUPP;
		return worker_outcome(worker, -1);
	}
	if (!worker_pick_free(worker, to)) {
		close(file);
		return SKIPPED;
	}
	outcome = worker_outcome(worker, write_to(worker, file, WRITE));
	snprintf(magic, sizeof(magic), "/proc/self/fd/%d", file);
	if (outcome == DONE)
		outcome = worker_outcome(worker, linkat(AT_FDCWD, magic, AT_FDCWD,
							worker_absolute(worker, worker->dataset, to, whole),
							AT_SYMLINK_FOLLOW));
	close(file);
	return outcome;
}

/* Deletes a file and goes on holding it. */
static enum outcome act_orphan(struct worker *worker)
{
	struct held *orphan = &worker->orphans[random_below(worker, HELD)];
	char path[64], whole[PATH_MAX];
	enum outcome outcome;

	/* Letting go of one is an operation of its own. */
	if (orphan->file >= 0 || !worker_pick(worker, FILES, path))
		return SKIPPED;
	orphan->file = worker_open(worker, path, O_RDWR);
	if (orphan->file < 0)
		return worker_outcome(worker, -1);
	orphan->dataset = worker->dataset;
	outcome = worker_outcome(worker, unlink(worker_absolute(worker, worker->dataset, path, whole)));
	if (outcome != DONE) {
		close(orphan->file);
		orphan->file = -1;
	}
	return outcome;
}

static struct held *some_orphan(struct worker *worker)
{
	int i, first = (int)random_below(worker, HELD);

	for (i = 0; i < HELD; i++) {
		struct held *orphan = &worker->orphans[(first + i) % HELD];
		struct stat status;

		if (orphan->file >= 0 && orphan->dataset == worker->dataset && !fstat(orphan->file, &status) &&
		    !status.st_nlink)
			return orphan;
	}
	return NULL;
}

/* Nobody can see what a file without a name holds. */
static enum outcome act_orphan_write(struct worker *worker)
{
	struct held *orphan = some_orphan(worker);

	return orphan ? worker_outcome(worker, write_to(worker, orphan->file, PWRITE)) : SKIPPED;
}

static enum outcome act_orphan_close(struct worker *worker)
{
	struct held *orphan = some_orphan(worker);

	if (!orphan)
		return SKIPPED;
	close(orphan->file);
	orphan->file = -1;
	return DONE;
}

/* ---- Attributes ---- */

static enum outcome act_chmod(struct worker *worker)
{
	mode_t mode = 0400 | random_below(worker, 01000);
	char path[64];
	struct place place;
	long result;

	if (!worker_pick(worker, NOT_LINKS, path))
		return SKIPPED;
	worker_note(worker, "%o", mode);
	worker_place(worker, path, &place);
	result = place.dirfd == AT_FDCWD && random_below(worker, 2) ? chmod(place.name, mode)
								     : fchmodat(place.dirfd, place.name, mode, 0);
	worker_leave(&place);
	return worker_outcome(worker, result);
}

static enum outcome act_fchmod(struct worker *worker)
{
	enum outcome outcome;
	int file = open_some(worker, O_RDONLY, &outcome);

	if (file < 0)
		return outcome;
	outcome = worker_outcome(worker, fchmod(file, 0600 | random_below(worker, 0200)));
	close(file);
	return outcome;
}

static enum outcome act_chown(struct worker *worker)
{
	uid_t uid = 1 + random_below(worker, 60000);
	char path[64];
	struct place place;
	long result;

	if (!worker_pick(worker, ANY_TYPE, path))
		return SKIPPED;
	worker_note(worker, "%u", uid);
	worker_place(worker, path, &place);
	result = place.dirfd == AT_FDCWD && random_below(worker, 2)
		     ? lchown(place.name, uid, uid / 2)
		     : fchownat(place.dirfd, place.name, uid, (gid_t)-1, AT_SYMLINK_NOFOLLOW);
	worker_leave(&place);
	return worker_outcome(worker, result);
}

static enum outcome act_fchown(struct worker *worker)
{
	enum outcome outcome;
	int file = open_some(worker, O_RDONLY, &outcome);

	if (file < 0)
		return outcome;
	outcome = worker_outcome(worker, fchown(file, (uid_t)-1, 1 + random_below(worker, 60000)));
	close(file);
	return outcome;
}

static enum outcome act_utimens(struct worker *worker)
{
	struct timespec times[2] = {{0, UTIME_OMIT}, {1 + random_below(worker, 1u << 30), random_below(worker, 1000000000)}};
	char path[64];
	struct place place;
	long result;

	if (!worker_pick(worker, ANY_TYPE, path))
		return SKIPPED;
	worker_note(worker, "%ld.%09ld", (long)times[1].tv_sec, times[1].tv_nsec);
	worker_place(worker, path, &place);
	result = utimensat(place.dirfd, place.name, times, AT_SYMLINK_NOFOLLOW);
	worker_leave(&place);
	return worker_outcome(worker, result);
}

static enum outcome act_futimens(struct worker *worker)
{
	enum outcome outcome;
	int file = open_some(worker, O_RDONLY, &outcome);
	struct timespec now;
	struct stat status;

	if (file < 0)
		return outcome;
	/*
	 * zfs-fuse keeps whole seconds: of a file that was changed in this one the times stay what they are, and a snapshot
	 * for that would rightly be called empty.
	 */
	clock_gettime(CLOCK_REALTIME, &now);
	if (fstat(file, &status) || status.st_mtim.tv_sec >= now.tv_sec || status.st_ctim.tv_sec >= now.tv_sec)
		outcome = SKIPPED;
	else
		outcome = worker_outcome(worker, futimens(file, NULL));
	close(file);
	return outcome;
}

#define XATTRS 4

static const char *xattr_name(struct worker *worker)
{
	static const char *const names[XATTRS] = {"user.one", "user.two words", "user.three", "trusted.four"};

	return names[random_below(worker, XATTRS)];
}

static enum outcome act_setxattr(struct worker *worker)
{
	size_t size = 1 + random_below(worker, random_below(worker, 8) ? 100 : 4000);
	const char *name = xattr_name(worker);
	char path[64], whole[PATH_MAX];

	if (!worker_pick(worker, FILES | DIRECTORIES, path))
		return SKIPPED;
	worker_note(worker, "%s %zu", name, size);
	worker_fill(worker, buffer, size);
	/* The stamp is in it whole only from 8 bytes on, but the same single byte may stand there already. */
	if (size < 8)
		size = 8;
	worker_absolute(worker, worker->dataset, path, whole);
	return worker_outcome(worker, random_below(worker, 2) ? setxattr(whole, name, buffer, size, 0)
							      : lsetxattr(whole, name, buffer, size, 0));
}

static enum outcome act_fsetxattr(struct worker *worker)
{
	enum outcome outcome;
	int file = open_some(worker, O_RDONLY, &outcome);

	if (file < 0)
		return outcome;
	worker_fill(worker, buffer, 24);
	outcome = worker_outcome(worker, fsetxattr(file, xattr_name(worker), buffer, 24, 0));
	close(file);
	return outcome;
}

static enum outcome act_removexattr(struct worker *worker)
{
	char path[64], whole[PATH_MAX], value[8192];
	int i, name;

	/* Few have any. */
	for (i = 0; i < 30; i++) {
		worker->detail[0] = 0;
		if (!worker_pick(worker, FILES | DIRECTORIES, path))
			return SKIPPED;
		worker_absolute(worker, worker->dataset, path, whole);
		for (name = 0; name < XATTRS; name++) {
			const char *some = xattr_name(worker);

			if (lgetxattr(whole, some, value, sizeof(value)) < 0)
				continue;
			worker_note(worker, "%s", some);
			return worker_outcome(worker, random_below(worker, 2) ? removexattr(whole, some)
									      : lremovexattr(whole, some));
		}
	}
	return SKIPPED;
}

/* The form in which the kernel takes an ACL as an attribute: include/uapi/linux/posix_acl_xattr.h. */
static enum outcome act_acl(struct worker *worker)
{
	struct {
		uint32_t version;
		struct {
			uint16_t tag, permissions;
			uint32_t id;
		} entries[5];
	} acl = {2,
		 {{0x01, 7, -1u},
		  {0x02, (uint16_t)random_below(worker, 8), 1000 + random_below(worker, 60000)},
		  {0x04, 5, -1u},
		  {0x10, 5, -1u},
		  {0x20, (uint16_t)random_below(worker, 8), -1u}}};
	char path[64], whole[PATH_MAX];

	if (!worker_pick(worker, FILES | DIRECTORIES, path))
		return SKIPPED;
	return worker_outcome(worker, setxattr(worker_absolute(worker, worker->dataset, path, whole),
					       "system.posix_acl_access", &acl, sizeof(acl), 0));
}

static enum outcome act_chattr(struct worker *worker)
{
	enum outcome outcome;
	int file = open_some(worker, O_RDONLY, &outcome);
	long flags = 0;

	if (file < 0)
		return outcome;
	outcome = worker_outcome(worker, ioctl(file, FS_IOC_GETFLAGS, &flags));
	flags ^= FS_NODUMP_FL;
	if (outcome == DONE)
		outcome = worker_outcome(worker, ioctl(file, FS_IOC_SETFLAGS, &flags));
	close(file);
	return outcome;
}

static enum outcome act_project(struct worker *worker)
{
	struct fsxattr attributes;
	enum outcome outcome;
	int file = open_some(worker, O_RDONLY, &outcome);

	if (file < 0)
		return outcome;
	outcome = worker_outcome(worker, ioctl(file, FS_IOC_FSGETXATTR, &attributes));
	attributes.fsx_projid = 1 + random_below(worker, 1000000);
	if (outcome == DONE)
		outcome = worker_outcome(worker, ioctl(file, FS_IOC_FSSETXATTR, &attributes));
	close(file);
	return outcome;
}

/* ---- What changes nothing ---- */

static enum outcome act_read(struct worker *worker)
{
	enum outcome outcome;
	int file = open_some(worker, random_below(worker, 2) ? O_RDONLY : O_RDWR, &outcome);
	long result;

	if (file < 0)
		return outcome;
	result = random_below(worker, 2) ? read(file, buffer, sizeof(buffer)) : pread(file, buffer, 100, 50);
	outcome = worker_outcome(worker, result);
	close(file);
	return outcome;
}

static enum outcome act_look(struct worker *worker)
{
	const char *mount = worker->plan->datasets[worker->dataset].mount;
	char path[64], whole[PATH_MAX];
	struct stat status;
	int directory;

	switch (random_below(worker, 5)) {
	case 0:
		if (!worker_pick(worker, EXISTING(S_IFLNK), path))
			return SKIPPED;
		worker_absolute(worker, worker->dataset, path, whole);
		return worker_outcome(worker, readlink(whole, buffer, sizeof(buffer)));
	case 1:
		directory = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (directory < 0)
			return worker_outcome(worker, -1);
		syscall(SYS_getdents64, directory, buffer, sizeof(buffer));
		close(directory);
		return DONE;
	case 2:
		if (!worker_pick(worker, FILES, path))
			return SKIPPED;
		worker_absolute(worker, worker->dataset, path, whole);
		return lgetxattr(whole, "user.one", buffer, 4096) < 0 && errno != ENODATA ? worker_outcome(worker, -1)
											   : DONE;
	case 3:
		return access(mount, W_OK) ? FAILED : DONE;
	default:
		return worker_outcome(worker, stat(mount, &status));
	}
}

static enum outcome act_open_only(struct worker *worker)
{
	enum outcome outcome;
	int file = open_some(worker, O_RDWR | (random_below(worker, 2) ? O_CREAT : 0), &outcome);

	if (file < 0)
		return outcome;
	close(file);
	return DONE;
}

static enum outcome act_write_nothing(struct worker *worker)
{
	enum outcome outcome;
	int file = open_some(worker, O_RDWR, &outcome);

	if (file < 0)
		return outcome;
	outcome = worker_outcome(worker, random_below(worker, 2) ? write(file, buffer, 0) : pwrite(file, buffer, 0, 9));
	close(file);
	return outcome;
}

static enum outcome act_sync(struct worker *worker)
{
	enum outcome outcome;
	int file = open_some(worker, O_RDWR, &outcome);

	if (file < 0)
		return outcome;
	outcome = worker_outcome(worker, random_below(worker, 2) ? fsync(file) : fdatasync(file));
	close(file);
	return outcome;
}

/* A private mapping, and a shared one that is only read. */
static enum outcome act_map_only(struct worker *worker)
{
	enum outcome outcome;
	int file = open_some(worker, O_RDWR, &outcome);
	bool private = random_below(worker, 2);
	size_t size;
	char *address;

	if (file < 0)
		return outcome;
	size = (size_t)size_of(file);
	address = size ? mmap(NULL, size, PROT_READ | PROT_WRITE, private ? MAP_PRIVATE : MAP_SHARED, file, 0)
		       : MAP_FAILED;
	if (address == MAP_FAILED) {
		close(file);
		return SKIPPED;
	}
	/* A store of 0 changes what is private, and what is read of the shared one nothing. */
	outcome = DONE;
	if (private && !store(address + random_below(worker, (unsigned)size), 1))
		outcome = FAILED;
	munmap(address, size);
	close(file);
	return outcome;
}

static enum outcome act_unmap(struct worker *worker)
{
	struct mapping *mapping = some_mapping(worker, false);

	if (!mapping)
		return SKIPPED;
	if (random_below(worker, 2))
		msync(mapping->address, mapping->length, MS_SYNC);
	drop(mapping);
	return DONE;
}

/* Two names of one file: rename() does nothing and succeeds. */
static enum outcome act_rename_same(struct worker *worker)
{
	char path[64], whole[PATH_MAX];

	if (!worker_pick(worker, FILES, path))
		return SKIPPED;
	worker_absolute(worker, worker->dataset, path, whole);
	return worker_outcome(worker, rename(whole, whole));
}

static enum outcome act_omit_times(struct worker *worker)
{
	struct timespec times[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
	char path[64], whole[PATH_MAX];

	if (!worker_pick(worker, FILES, path))
		return SKIPPED;
	return worker_outcome(worker, utimensat(AT_FDCWD, worker_absolute(worker, worker->dataset, path, whole), times, 0));
}

/* Calls that fail; that they do is their success here. */
static enum outcome act_fail(struct worker *worker)
{
	const char *mount = worker->plan->datasets[worker->dataset].mount;
	char path[64], whole[PATH_MAX], missing[PATH_MAX];
	struct place place;
	long result;
	int which = (int)random_below(worker, 9);

	if (!worker_pick(worker, FILES, path))
		return SKIPPED;
	worker_note(worker, "%d", which);
	worker_absolute(worker, worker->dataset, path, whole);
	snprintf(missing, sizeof(missing), "%s/d1/missing-%d", mount, worker->index);
	worker_place(worker, path, &place);
	switch (which) {
	case 0:
		result = mkdirat(place.dirfd, place.name, 0755);
		break;
	case 1:
		result = unlink(missing);
		break;
	case 2:
		result = rename(missing, whole);
		break;
	case 3:
		result = symlinkat("x", place.dirfd, place.name);
		break;
	case 4:
		result = link(whole, "/proc/self/nowhere");
		break;
	case 5:
		result = openat(place.dirfd, place.name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
		break;
	case 6:
		result = unlinkat(place.dirfd, place.name, AT_REMOVEDIR);
		break;
	case 7:
		result = truncate(missing, 7);
		break;
	default:
		result = lremovexattr(whole, "user.never-set");
	}
	worker_leave(&place);
	if (result >= 0) {
		worker_note(worker, " did not fail");
		return FAILED;
	}
	worker->error = errno;
	return DONE;
}

/* ---- The table ---- */

#define CHANGE(name, weight) {#name, act_##name, KIND_CHANGES, weight}
#define UNCALLED(name, weight) {#name, act_##name, KIND_CHANGES | KIND_UNCALLED, weight}
#define STILL(name, weight) {#name, act_##name, KIND_STILL, weight}

const struct kind kinds[] = {
    CHANGE(write, 6),
    CHANGE(append, 4),
    CHANGE(pwrite, 4),
    CHANGE(writev, 3),
    CHANGE(pwritev, 3),
    CHANGE(pwritev2, 3),
    CHANGE(write_sync, 2),
    CHANGE(direct, 3),
    CHANGE(held, 6),
    UNCALLED(aio, 5),
    UNCALLED(uring_write, 5),
    UNCALLED(uring_sqpoll, 4),
    UNCALLED(uring_fallocate, 2),
    UNCALLED(uring_names, 5),
    CHANGE(splice, 4),
    CHANGE(sendfile, 4),
    CHANGE(copy_file_range, 4),
    CHANGE(clone, 2),
    CHANGE(clone_range, 2),
    CHANGE(map_store, 6),
    CHANGE(map_again, 8),
    CHANGE(map_sync, 4),
    CHANGE(map_unmap, 3),
    CHANGE(truncate, 4),
    CHANGE(ftruncate, 4),
    CHANGE(open_truncate, 3),
    CHANGE(fallocate, 3),
    CHANGE(punch, 3),
    CHANGE(zero_range, 2),
    CHANGE(create, 10),
    CHANGE(create_write, 12),
    CHANGE(mkdir, 5),
    CHANGE(mknod, 3),
    CHANGE(symlink, 3),
    CHANGE(link, 5),
    CHANGE(unlink, 12),
    CHANGE(rmdir, 5),
    CHANGE(rename, 8),
    CHANGE(rename_over, 5),
    CHANGE(rename_exchange, 3),
    CHANGE(rename_noreplace, 3),
    CHANGE(save, 6),
    CHANGE(tmpfile, 3),
    CHANGE(orphan, 3),
    CHANGE(chmod, 4),
    CHANGE(fchmod, 3),
    CHANGE(chown, 4),
    CHANGE(fchown, 3),
    CHANGE(utimens, 4),
    CHANGE(futimens, 3),
    CHANGE(setxattr, 5),
    CHANGE(fsetxattr, 3),
    CHANGE(removexattr, 4),
    CHANGE(acl, 3),
    CHANGE(chattr, 3),
    CHANGE(project, 2),
    STILL(read, 8),
    STILL(look, 8),
    STILL(open_only, 5),
    STILL(write_nothing, 4),
    STILL(sync, 4),
    STILL(map_only, 4),
    STILL(unmap, 2),
    STILL(rename_same, 3),
    STILL(omit_times, 3),
    STILL(orphan_write, 4),
    STILL(orphan_close, 2),
    STILL(fail, 10),
};
const int n_kinds = sizeof(kinds) / sizeof(kinds[0]);
