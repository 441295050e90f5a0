/* SPDX-License-Identifier: BSD-2-Clause */
/* Operations on attributes. */
#include "operations.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

static char buffer[MAX_WRITE] __attribute__((aligned(4096)));

enum outcome act_chmod(struct worker *worker)
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

enum outcome act_fchmod(struct worker *worker)
{
	enum outcome outcome;
	int file = open_some(worker, O_RDONLY, &outcome);

	if (file < 0)
		return outcome;
	outcome = worker_outcome(worker, fchmod(file, 0600 | random_below(worker, 0200)));
	close(file);
	return outcome;
}

enum outcome act_chown(struct worker *worker)
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

enum outcome act_fchown(struct worker *worker)
{
	enum outcome outcome;
	int file = open_some(worker, O_RDONLY, &outcome);

	if (file < 0)
		return outcome;
	outcome = worker_outcome(worker, fchown(file, (uid_t)-1, 1 + random_below(worker, 60000)));
	close(file);
	return outcome;
}

enum outcome act_utimens(struct worker *worker)
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

enum outcome act_futimens(struct worker *worker)
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

enum outcome act_setxattr(struct worker *worker)
{
	size_t size = 1 + random_below(worker, random_below(worker, 8) ? 100 : 4000);
	const char *name = xattr_name(worker);
	char path[64], whole[PATH_MAX];

	if (!worker_pick(worker, FILES | DIRECTORIES, path))
		return SKIPPED;
	worker_note(worker, "%s %zu", name, size);
	/* The stamp is in it whole only from 8 bytes on, and the same single byte may stand there already. */
	if (size < 8)
		size = 8;
	worker_fill(worker, buffer, size);
	worker_absolute(worker, worker->dataset, path, whole);
	return worker_outcome(worker, random_below(worker, 2) ? setxattr(whole, name, buffer, size, 0)
							      : lsetxattr(whole, name, buffer, size, 0));
}

enum outcome act_fsetxattr(struct worker *worker)
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

enum outcome act_removexattr(struct worker *worker)
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
enum outcome act_acl(struct worker *worker)
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

enum outcome act_chattr(struct worker *worker)
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

enum outcome act_project(struct worker *worker)
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
