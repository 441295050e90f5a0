/* SPDX-License-Identifier: BSD-2-Clause */
/* Operations that copy from one file to another, and those on sizes and space. */
#include "operations.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <unistd.h>

static char buffer[MAX_WRITE] __attribute__((aligned(4096)));

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

/* Whether the first bytes of one file differ from those at an offset of another: else a copy is no change. */
static bool would_change(int from, int to, off_t out, size_t size)
{
	char one[4096], other[4096];
	off_t at = 0;

	while (size > 0) {
		ssize_t n = pread(from, one, size < sizeof(one) ? size : sizeof(one), at);

		if (n <= 0)
			return false;
		if (pread(to, other, (size_t)n, out + at) != n || memcmp(one, other, (size_t)n))
			return true;
		at += n;
		size -= (size_t)n;
	}
	return false;
}

enum copying { SENDFILE, SPLICE, COPY_RANGE, CLONE, CLONE_RANGE };

static enum outcome copy(struct worker *worker, enum copying how)
{
	int from = open_source(worker, how == CLONE || how == CLONE_RANGE), to, ends[2];
	enum outcome outcome;
	off_t out;
	size_t size;
	long result = -1;

	if (from < 0)
		return SKIPPED;
	to = open_some(worker, O_RDWR, &outcome);
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
	size = random_size(worker);
	/* The same bytes within the same second: zfs-fuse keeps whole seconds, so nothing shows that they were written. */
	if ((how == SENDFILE || how == COPY_RANGE) && !would_change(from, to, out, size)) {
		close(from);
		close(to);
		return SKIPPED;
	}
	switch (how) {
	case SENDFILE:
		if (lseek(to, out, SEEK_SET) >= 0)
			result = sendfile(to, from, NULL, size);
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
		result = syscall(SYS_copy_file_range, from, NULL, to, &out, size, 0);
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

enum outcome act_sendfile(struct worker *worker)
{
	return copy(worker, SENDFILE);
}

enum outcome act_splice(struct worker *worker)
{
	return copy(worker, SPLICE);
}

enum outcome act_copy_file_range(struct worker *worker)
{
	return copy(worker, COPY_RANGE);
}

enum outcome act_clone(struct worker *worker)
{
	return copy(worker, CLONE);
}

enum outcome act_clone_range(struct worker *worker)
{
	return copy(worker, CLONE_RANGE);
}

/* ---- Sizes and space ---- */

enum outcome act_truncate(struct worker *worker)
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

enum outcome act_ftruncate(struct worker *worker)
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

enum outcome act_open_truncate(struct worker *worker)
{
	char path[64], whole[PATH_MAX];
	int file;

	if (!worker_pick_filled(worker, path, whole))
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

enum outcome act_fallocate(struct worker *worker)
{
	return allocate(worker, 0);
}

enum outcome act_punch(struct worker *worker)
{
	return allocate(worker, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}

enum outcome act_zero_range(struct worker *worker)
{
	return allocate(worker, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
}
