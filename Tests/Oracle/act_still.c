/* SPDX-License-Identifier: BSD-2-Clause */
/* Operations that change nothing. */
#include "operations.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static char buffer[MAX_WRITE] __attribute__((aligned(4096)));

enum outcome act_read(struct worker *worker)
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

enum outcome act_look(struct worker *worker)
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

enum outcome act_open_only(struct worker *worker)
{
	enum outcome outcome;
	int file = open_some(worker, O_RDWR | (random_below(worker, 2) ? O_CREAT : 0), &outcome);

	if (file < 0)
		return outcome;
	close(file);
	return DONE;
}

enum outcome act_write_nothing(struct worker *worker)
{
	enum outcome outcome;
	int file = open_some(worker, O_RDWR, &outcome);

	if (file < 0)
		return outcome;
	outcome = worker_outcome(worker, random_below(worker, 2) ? write(file, buffer, 0) : pwrite(file, buffer, 0, 9));
	close(file);
	return outcome;
}

enum outcome act_sync(struct worker *worker)
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
enum outcome act_map_only(struct worker *worker)
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

enum outcome act_unmap(struct worker *worker)
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
enum outcome act_rename_same(struct worker *worker)
{
	char path[64], whole[PATH_MAX];

	if (!worker_pick(worker, FILES, path))
		return SKIPPED;
	worker_absolute(worker, worker->dataset, path, whole);
	return worker_outcome(worker, rename(whole, whole));
}

enum outcome act_omit_times(struct worker *worker)
{
	struct timespec times[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
	char path[64], whole[PATH_MAX];

	if (!worker_pick(worker, FILES, path))
		return SKIPPED;
	return worker_outcome(worker, utimensat(AT_FDCWD, worker_absolute(worker, worker->dataset, path, whole), times, 0));
}

/* Calls that fail; that they do is their success here. */
enum outcome act_fail(struct worker *worker)
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
