/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is used of OpenZFS's libzfs_core and libnvpair, as a table that is filled at run time: Kairos is built without
 * them and runs without them. Their headers are under the CDDL and not needed; these prototypes are the same in 0.8 to
 * 2.4 but for a const here and there.
 */
#ifndef KAIROS_CZFSCORE_H
#define KAIROS_CZFSCORE_H

#include <stddef.h>
#include <stdint.h>

/* nvlist_t and nvpair_t: never looked into. */
struct zfs_core_list;
struct zfs_core_pair;

/* nvlist_alloc(): a name that is added again replaces its value. */
#define ZFS_CORE_UNIQUE_NAME 0x1u

struct zfs_core {
	/* libzfs_core.h. All return 0 or an errno, or one of ZFS's own from 1024 on. */
	int (*init)(void);
	int (*snapshot)(struct zfs_core_list *snaps, struct zfs_core_list *props, struct zfs_core_list **errors);

	/* libnvpair.h, sys/nvpair.h */
	int (*list_alloc)(struct zfs_core_list **list, unsigned int flags, int unused);
	void (*list_free)(struct zfs_core_list *list);
	int (*list_add_boolean)(struct zfs_core_list *list, const char *name);
	int (*list_add_string)(struct zfs_core_list *list, const char *name, const char *value);
	struct zfs_core_pair *(*list_next)(struct zfs_core_list *list, struct zfs_core_pair *pair);
	char *(*pair_name)(struct zfs_core_pair *pair);
	int (*pair_int32)(struct zfs_core_pair *pair, int32_t *value);
};

/*
 * Opens a library by its soname, for good, and fills the table from it. Returns 0, or -1 with the dynamic loader's words
 * in `error`.
 *
 * It is never closed: a call that the kernel does not let go of returns into it, however late.
 */
int zfs_core_load(struct zfs_core *core, const char *soname, char *error, size_t size);

#endif
