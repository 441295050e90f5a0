/* SPDX-License-Identifier: BSD-2-Clause */
/* System calls that Swift's Glibc module leaves out, for looking at trees. All return -1 with errno on failure. */
#ifndef KAIROS_CRECOVERY_H
#define KAIROS_CRECOVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What of statx(2) tells one version of a file from another. Times in seconds and nanoseconds of the second. */
struct recovery_status {
	uint64_t inode, size, mount;
	uint32_t mode, uid, gid, links;
	int64_t modified, changed, born;
	uint32_t modified_ns, changed_ns, born_ns;
	uint32_t major, minor;
	/* Of a device node: which device it is. */
	uint32_t node_major, node_minor;
	bool has_birth, has_mount;
};

/* Of a path, the last component not followed; "" is `directory` itself. */
int recovery_status(int directory, const char *path, struct recovery_status *status);
/* Of a path below a directory, without following a symbolic link anywhere: openat2, statx, close. */
int recovery_status_beneath(int directory, const char *path, uint64_t resolve, struct recovery_status *status);
/* Opens with O_PATH | O_NOFOLLOW and no symbolic link anywhere on the way. */
int recovery_open_path(int directory, const char *path, uint64_t resolve);
/* A directory to read names from, so that its access time stays as it is where that is allowed. */
int recovery_open_directory(int directory, const char *path, uint64_t resolve);
/* A file to read, never waiting for a fifo's writer. */
int recovery_open_file(int directory, const char *path, uint64_t resolve);
extern const uint64_t recovery_beneath;
extern const uint64_t recovery_beneath_same_mount;
extern const uint64_t recovery_no_symlinks;

/*
 * Mounts a snapshot (`dataset@name`, of the kernel's ZFS) read-only where nobody sees it, and returns its root directory,
 * opened like O_PATH. The mount goes when that is closed, and with it whatever was not opened below it. Root alone may.
 */
int recovery_mount_snapshot(const char *snapshot);

/* getdents64(2): the records as the kernel writes them. */
ssize_t recovery_directory_entries(int directory, void *buffer, size_t size);
/* The generation of the inode behind an O_PATH descriptor, from its file handle; fails where no handle tells it. */
int recovery_generation(int fd, bool is_fuse, uint32_t *generation);
/* readlink(2) of what an O_PATH descriptor is. */
ssize_t recovery_link_target(int fd, char *buffer, size_t size);
/* listxattr(2) and getxattr(2) of what an O_PATH descriptor is, which flistxattr(2) does not take. */
ssize_t recovery_attribute_names(int fd, char *names, size_t size);
ssize_t recovery_attribute(int fd, const char *name, void *value, size_t size);
/* The inode of `.zfs/snapshot`: no file that a user makes has it. */
extern const uint64_t recovery_snapdir_inode;

#endif
