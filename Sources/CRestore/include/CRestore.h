/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * System calls for copying trees below directory descriptors, none of which follows a symbolic link. A name is one component.
 * All return -1 with errno on failure, and descriptors are closed on exec.
 */
#ifndef KAIROS_CRESTORE_H
#define KAIROS_CRESTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A directory, for reading; with `same_device` EXDEV when another file system is mounted on it. */
int kairos_restore_directory(int directory, const char *name, bool same_device);
/* The directory above, which the caller has to know again. */
int kairos_restore_parent(int directory);
/* Whatever has the name, without opening it (O_PATH): a symbolic link itself too. */
int kairos_restore_look(int directory, const char *name);
/* A regular file, for reading, without waiting and without a new access time. ELOOP for a symbolic link. */
int kairos_restore_file(int directory, const char *name);
/* A new file, mode 0600. */
int kairos_restore_create(int directory, const char *name);

/* getdents64(2). */
ssize_t kairos_restore_entries(int directory, void *buffer, size_t size);

/* renameat2(2). */
int kairos_restore_rename(int from_directory, const char *from, int to_directory, const char *to, unsigned flags);
extern const unsigned kairos_rename_noreplace;
extern const unsigned kairos_rename_exchange;

/* copy_file_range(2) between the same offsets. */
ssize_t kairos_restore_copy_range(int from, int to, off_t offset, size_t count);
/* As lseek(2) with SEEK_DATA and SEEK_HOLE. */
off_t kairos_restore_seek_data(int file, off_t offset);
off_t kairos_restore_seek_hole(int file, off_t offset);
/* How many bytes at the beginning are blocks of nothing but zeros (`*zero`), or blocks of something else. */
size_t kairos_restore_run(const void *bytes, size_t count, size_t block, bool *zero);

/* Extended attributes of the file itself: of `name` in the directory, or of the descriptor when it is NULL. Needs /proc. */
ssize_t kairos_restore_xattr_list(int fd, const char *name, void *list, size_t size);
ssize_t kairos_restore_xattr_get(int fd, const char *name, const char *attribute, void *value, size_t size);
int kairos_restore_xattr_set(int fd, const char *name, const char *attribute, const void *value, size_t size);
int kairos_restore_xattr_remove(int fd, const char *attribute);

/* FS_IOC_GETFLAGS and FS_IOC_SETFLAGS: what chattr(1) sets. */
int kairos_restore_flags(int fd, uint32_t *flags);
int kairos_restore_set_flags(int fd, uint32_t flags);
extern const uint32_t kairos_flag_immutable;
extern const uint32_t kairos_flag_append;
extern const uint32_t kairos_flag_nodump;
extern const uint32_t kairos_flag_noatime;

/* The access and modification time of a `struct stat` for the file itself; for `name`, or for the descriptor when it is NULL. */
int kairos_restore_times(int fd, const char *name, const void *status);
int kairos_restore_chown(int fd, const char *name, uid_t user, gid_t group);

/* Whether it is the root of a mount: 1 or 0. */
int kairos_restore_is_mount_root(int directory);

/* What a file system's mount refuses: set-user-ID bits, device nodes. */
int kairos_restore_mount_limits(int fd, bool *nosuid, bool *nodev);

#endif
