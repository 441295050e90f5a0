/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "CRestore.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE (1 << 0)
#define RENAME_EXCHANGE (1 << 1)
#endif
#ifndef STATX_ATTR_MOUNT_ROOT
#define STATX_ATTR_MOUNT_ROOT 0x2000
#endif

const unsigned kairos_rename_noreplace = RENAME_NOREPLACE;
const unsigned kairos_rename_exchange = RENAME_EXCHANGE;
const uint32_t kairos_flag_immutable = FS_IMMUTABLE_FL;
const uint32_t kairos_flag_append = FS_APPEND_FL;
const uint32_t kairos_flag_nodump = FS_NODUMP_FL;
const uint32_t kairos_flag_noatime = FS_NOATIME_FL;

static int open_below(int directory, const char *name, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct open_how how = {
	    .flags = flags | O_CLOEXEC,
	    .mode = mode,
	    .resolve = resolve | RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	do
		fd = (int)syscall(SYS_openat2, directory, name, &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	return fd;
}

int kairos_restore_directory(int directory, const char *name, bool same_device)
{
	return open_below(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK, 0,
	                  same_device ? RESOLVE_NO_XDEV : 0);
}

int kairos_restore_parent(int directory)
{
	return openat(directory, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

int kairos_restore_look(int directory, const char *name)
{
	return openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

int kairos_restore_file(int directory, const char *name)
{
	uint64_t flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
	int fd = open_below(directory, name, flags | O_NOATIME, 0, 0);

	return fd < 0 && errno == EPERM ? open_below(directory, name, flags, 0, 0) : fd;
}

int kairos_restore_create(int directory, const char *name)
{
	return open_below(directory, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, 0);
}

ssize_t kairos_restore_entries(int directory, void *buffer, size_t size)
{
	return syscall(SYS_getdents64, directory, buffer, size);
}

int kairos_restore_rename(int from_directory, const char *from, int to_directory, const char *to, unsigned flags)
{
	return (int)syscall(SYS_renameat2, from_directory, from, to_directory, to, flags);
}

ssize_t kairos_restore_copy_range(int from, int to, off_t offset, size_t count)
{
	loff_t in = offset, out = offset;

	return copy_file_range(from, &in, to, &out, count, 0);
}

off_t kairos_restore_seek_data(int file, off_t offset)
{
	return lseek(file, offset, SEEK_DATA);
}

off_t kairos_restore_seek_hole(int file, off_t offset)
{
	return lseek(file, offset, SEEK_HOLE);
}

static bool is_zero(const char *bytes, size_t count)
{
	return !count || (!*bytes && !memcmp(bytes, bytes + 1, count - 1));
}

size_t kairos_restore_run(const void *bytes, size_t count, size_t block, bool *zero)
{
	const char *start = bytes;
	size_t done = 0;

	*zero = is_zero(start, count < block ? count : block);
	while (done < count) {
		size_t next = count - done < block ? count - done : block;

		if (done && is_zero(start + done, next) != *zero)
			break;
		done += next;
	}
	return done;
}

/* No call for extended attributes takes a directory's descriptor before Linux 6.13. */
static void path_of(char *path, size_t size, int fd, const char *name)
{
	snprintf(path, size, "/proc/self/fd/%d/%s", fd, name);
}

ssize_t kairos_restore_xattr_list(int fd, const char *name, void *list, size_t size)
{
	char path[32 + 256];

	if (!name)
		return flistxattr(fd, list, size);
	path_of(path, sizeof(path), fd, name);
	return llistxattr(path, list, size);
}

ssize_t kairos_restore_xattr_get(int fd, const char *name, const char *attribute, void *value, size_t size)
{
	char path[32 + 256];

	if (!name)
		return fgetxattr(fd, attribute, value, size);
	path_of(path, sizeof(path), fd, name);
	return lgetxattr(path, attribute, value, size);
}

int kairos_restore_xattr_set(int fd, const char *name, const char *attribute, const void *value, size_t size)
{
	char path[32 + 256];

	if (!name)
		return fsetxattr(fd, attribute, value, size, 0);
	path_of(path, sizeof(path), fd, name);
	return lsetxattr(path, attribute, value, size, 0);
}

int kairos_restore_xattr_remove(int fd, const char *attribute)
{
	return fremovexattr(fd, attribute);
}

/* The kernel reads and writes an int, whatever the request's number says. */
int kairos_restore_flags(int fd, uint32_t *flags)
{
	return ioctl(fd, FS_IOC_GETFLAGS, flags);
}

int kairos_restore_set_flags(int fd, uint32_t flags)
{
	return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

int kairos_restore_times(int fd, const char *name, const void *raw)
{
	const struct stat *status = raw;
	struct timespec times[] = {status->st_atim, status->st_mtim};

	return name ? utimensat(fd, name, times, AT_SYMLINK_NOFOLLOW) : futimens(fd, times);
}

int kairos_restore_chown(int fd, const char *name, uid_t user, gid_t group)
{
	return name ? fchownat(fd, name, user, group, AT_SYMLINK_NOFOLLOW) : fchown(fd, user, group);
}

int kairos_restore_mount_limits(int fd, bool *nosuid, bool *nodev)
{
	struct statvfs status;

	if (fstatvfs(fd, &status))
		return -1;
	*nosuid = status.f_flag & ST_NOSUID;
	*nodev = status.f_flag & ST_NODEV;
	return 0;
}

int kairos_restore_is_mount_root(int directory)
{
	struct statx status;

	if (statx(directory, "", AT_EMPTY_PATH, STATX_INO, &status))
		return -1;
	return (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}
