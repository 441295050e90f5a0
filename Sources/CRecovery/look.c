/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "CRecovery.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000U
#endif

const uint64_t recovery_beneath = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
const uint64_t recovery_beneath_same_mount = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
const uint64_t recovery_no_symlinks = RESOLVE_NO_SYMLINKS;
/* ZFSCTL_INO_SNAPDIR, zfs_ctldir.h. */
const uint64_t recovery_snapdir_inode = 0x0000FFFFFFFFFFFDULL;

static int open_how(int directory, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};
	int fd, tries = 0;

	/* EAGAIN: something was renamed meanwhile, and the kernel is not sure that it stayed beneath. */
	do
		fd = (int)syscall(SYS_openat2, directory, path, &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || (errno == EAGAIN && tries++ < 100)));
	return fd;
}

int recovery_status(int directory, const char *path, struct recovery_status *status)
{
	struct statx found;

	if (statx(directory, path, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID, &found))
		return -1;
	*status = (struct recovery_status){
	    .inode = found.stx_ino,
	    .size = found.stx_size,
	    .mode = found.stx_mode,
	    .uid = found.stx_uid,
	    .gid = found.stx_gid,
	    .links = found.stx_nlink,
	    .modified = found.stx_mtime.tv_sec,
	    .modified_ns = found.stx_mtime.tv_nsec,
	    .changed = found.stx_ctime.tv_sec,
	    .changed_ns = found.stx_ctime.tv_nsec,
	    .born = found.stx_btime.tv_sec,
	    .born_ns = found.stx_btime.tv_nsec,
	    .has_birth = found.stx_mask & STATX_BTIME,
	    .major = found.stx_dev_major,
	    .minor = found.stx_dev_minor,
	    .node_major = found.stx_rdev_major,
	    .node_minor = found.stx_rdev_minor,
	};
#ifdef STATX_MNT_ID
	if (found.stx_mask & STATX_MNT_ID) {
		/* The field is younger than some headers: it follows stx_dev_minor. */
		memcpy(&status->mount, (char *)&found + 0x90, sizeof(status->mount));
		status->has_mount = true;
	}
#endif
	return 0;
}

int recovery_status_beneath(int directory, const char *path, uint64_t resolve, struct recovery_status *status)
{
	int fd = recovery_open_path(directory, path, resolve);
	int result, error;

	if (fd < 0)
		return -1;
	result = recovery_status(fd, "", status);
	error = errno;
	close(fd);
	errno = error;
	return result;
}

int recovery_open_path(int directory, const char *path, uint64_t resolve)
{
	/* O_NOFOLLOW with RESOLVE_NO_SYMLINKS: a link at the end is opened itself. */
	return open_how(directory, *path ? path : ".", O_PATH | O_NOFOLLOW, resolve);
}

int recovery_open_directory(int directory, const char *path, uint64_t resolve)
{
	const uint64_t flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
	int fd = open_how(directory, *path ? path : ".", flags | O_NOATIME, resolve);

	return fd < 0 && errno == EPERM ? open_how(directory, *path ? path : ".", flags, resolve) : fd;
}

int recovery_open_file(int directory, const char *path, uint64_t resolve)
{
	const uint64_t flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
	int fd = open_how(directory, path, flags | O_NOATIME, resolve);

	return fd < 0 && errno == EPERM ? open_how(directory, path, flags, resolve) : fd;
}

int recovery_mount_snapshot(const char *snapshot)
{
	const unsigned int attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	int context = (int)syscall(SYS_fsopen, "zfs", FSOPEN_CLOEXEC);
	int root = -1, error;

	if (context < 0)
		return -1;
	if (!syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "source", snapshot, 0) &&
	    !syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, "ro", NULL, 0) &&
	    !syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		root = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes);
	error = errno;
	close(context);
	errno = error;
	return root;
}

ssize_t recovery_directory_entries(int directory, void *buffer, size_t size)
{
	return syscall(SYS_getdents64, directory, buffer, size);
}

int recovery_generation(int fd, bool is_fuse, uint32_t *generation)
{
	union {
		struct file_handle handle;
		unsigned char bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} room;
	int mount;

	room.handle.handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(fd, "", &room.handle, &mount, AT_EMPTY_PATH))
		return -1;
	if (is_fuse) {
		/* fuse_encode_fh(), FILEID_INO64_GEN: the node's number in two words, then its generation. */
		if (room.handle.handle_type != 0x81 || room.handle.handle_bytes < 12)
			goto unknown;
		memcpy(generation, room.handle.f_handle + 8, sizeof(*generation));
		return 0;
	}
	/* zpl_encode_fh(): FILEID_INO32_GEN around a zfid_short_t: length (2 bytes), object (6), generation (4). */
	if (room.handle.handle_type != 1 || room.handle.handle_bytes < 12)
		goto unknown;
	memcpy(generation, room.handle.f_handle + 8, sizeof(*generation));
	return 0;
unknown:
	errno = EOPNOTSUPP;
	return -1;
}

ssize_t recovery_link_target(int fd, char *buffer, size_t size)
{
	return readlinkat(fd, "", buffer, size);
}

static const char *path_of(char *path, size_t size, int fd)
{
	snprintf(path, size, "/proc/self/fd/%d", fd);
	return path;
}

ssize_t recovery_attribute_names(int fd, char *names, size_t size)
{
	char path[32];

	return listxattr(path_of(path, sizeof(path), fd), names, size);
}

ssize_t recovery_attribute(int fd, const char *name, void *value, size_t size)
{
	char path[32];

	return getxattr(path_of(path, sizeof(path), fd), name, value, size);
}
