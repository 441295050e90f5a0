/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of operations, and what they have in common. Each does one thing to one dataset, or finds nothing to do it to. */
#ifndef KAIROS_ORACLE_OPERATIONS_H
#define KAIROS_ORACLE_OPERATIONS_H

#include "worker.h"

#define FILES EXISTING(S_IFREG)
#define DIRECTORIES EXISTING(S_IFDIR)
#define NOT_LINKS (ANY_TYPE & ~EXISTING(S_IFLNK))
#define MAX_WRITE (96 << 10)

/*
 * All of them: name and weight. CHANGE is a system call that changes something, UNCALLED a change that no call of its own makes,
 * STILL no change.
 */
#define KINDS(CHANGE, UNCALLED, STILL) \
	CHANGE(write, 6) \
	CHANGE(append, 4) \
	CHANGE(pwrite, 4) \
	CHANGE(writev, 3) \
	CHANGE(pwritev, 3) \
	CHANGE(pwritev2, 3) \
	CHANGE(write_sync, 2) \
	CHANGE(direct, 3) \
	CHANGE(held, 6) \
	UNCALLED(aio, 5) \
	UNCALLED(uring_write, 5) \
	UNCALLED(uring_sqpoll, 4) \
	UNCALLED(uring_fallocate, 2) \
	UNCALLED(uring_names, 5) \
	UNCALLED(uring_silent, 3) \
	UNCALLED(uring_truncate, 2) \
	CHANGE(splice, 4) \
	CHANGE(sendfile, 4) \
	CHANGE(copy_file_range, 4) \
	CHANGE(clone, 2) \
	CHANGE(clone_range, 2) \
	CHANGE(map_store, 6) \
	CHANGE(map_again, 8) \
	CHANGE(map_sync, 4) \
	CHANGE(map_unmap, 3) \
	CHANGE(truncate, 4) \
	CHANGE(ftruncate, 4) \
	CHANGE(open_truncate, 3) \
	CHANGE(fallocate, 3) \
	CHANGE(punch, 3) \
	CHANGE(zero_range, 2) \
	CHANGE(create, 10) \
	CHANGE(create_write, 12) \
	CHANGE(mkdir, 5) \
	CHANGE(mknod, 3) \
	CHANGE(symlink, 3) \
	CHANGE(link, 5) \
	CHANGE(unlink, 12) \
	CHANGE(rmdir, 5) \
	CHANGE(rename, 8) \
	CHANGE(rename_over, 5) \
	CHANGE(rename_exchange, 3) \
	CHANGE(rename_noreplace, 3) \
	CHANGE(save, 6) \
	CHANGE(tmpfile, 3) \
	CHANGE(orphan, 3) \
	CHANGE(chmod, 4) \
	CHANGE(fchmod, 3) \
	CHANGE(chown, 4) \
	CHANGE(fchown, 3) \
	CHANGE(utimens, 4) \
	CHANGE(futimens, 3) \
	CHANGE(setxattr, 5) \
	CHANGE(fsetxattr, 3) \
	CHANGE(removexattr, 4) \
	CHANGE(acl, 3) \
	CHANGE(chattr, 3) \
	CHANGE(project, 2) \
	CHANGE(bind, 3) \
	CHANGE(handle_truncate, 2) \
	CHANGE(remove_page, 2) \
	CHANGE(setxattrat, 3) \
	CHANGE(compat_chmod, 3) \
	STILL(read, 8) \
	STILL(look, 8) \
	STILL(open_only, 5) \
	STILL(write_nothing, 4) \
	STILL(sync, 4) \
	STILL(map_only, 4) \
	STILL(unmap, 2) \
	STILL(rename_same, 3) \
	STILL(omit_times, 3) \
	STILL(orphan_write, 4) \
	STILL(orphan_close, 2) \
	STILL(fail, 10)

#define DECLARE(name, weight) enum outcome act_##name(struct worker *worker);
KINDS(DECLARE, DECLARE, DECLARE)
#undef DECLARE

enum writing { WRITE, PWRITE, WRITEV, PWRITEV, PWRITEV2, SYNCED };

size_t random_size(struct worker *worker);
off_t size_of(int file);
/* Where to write: mostly in what is there or at its end, now and then behind it, which makes a hole. */
off_t random_offset(struct worker *worker, int file);
long write_to(struct worker *worker, int file, enum writing how);
/* Opens an existing file, or -1 with the outcome. */
int open_some(struct worker *worker, int flags, enum outcome *outcome);
/* One changed byte at an address; false when no file is there any more. */
bool store(volatile char *at, char byte);
void drop(struct mapping *mapping);
struct mapping *some_mapping(struct worker *worker, bool sure);

#endif
