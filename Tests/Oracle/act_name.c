/* SPDX-License-Identifier: BSD-2-Clause */
/* Operations on names. */
#include "operations.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum outcome act_create(struct worker *worker)
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
enum outcome act_create_write(struct worker *worker)
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

enum outcome act_mkdir(struct worker *worker)
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

enum outcome act_mknod(struct worker *worker)
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

enum outcome act_symlink(struct worker *worker)
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

enum outcome act_link(struct worker *worker)
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

enum outcome act_unlink(struct worker *worker)
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

enum outcome act_rmdir(struct worker *worker)
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

enum outcome act_rename(struct worker *worker)
{
	return rename_some(worker, 0, false);
}

enum outcome act_rename_over(struct worker *worker)
{
	return rename_some(worker, 0, true);
}

enum outcome act_rename_exchange(struct worker *worker)
{
	return rename_some(worker, RENAME_EXCHANGE, true);
}

enum outcome act_rename_noreplace(struct worker *worker)
{
	return rename_some(worker, RENAME_NOREPLACE, false);
}

/* As an editor saves: temporary file, sync, rename over the name. */
enum outcome act_save(struct worker *worker)
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

enum outcome act_tmpfile(struct worker *worker)
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
enum outcome act_orphan(struct worker *worker)
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
enum outcome act_orphan_write(struct worker *worker)
{
	struct held *orphan = some_orphan(worker);

	return orphan ? worker_outcome(worker, write_to(worker, orphan->file, PWRITE)) : SKIPPED;
}

enum outcome act_orphan_close(struct worker *worker)
{
	struct held *orphan = some_orphan(worker);

	if (!orphan)
		return SKIPPED;
	close(orphan->file);
	orphan->file = -1;
	return DONE;
}
