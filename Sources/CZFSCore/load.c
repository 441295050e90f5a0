/* SPDX-License-Identifier: BSD-2-Clause */
#include "CZFSCore.h"

#include <dlfcn.h>
#include <stdio.h>

/*
 * dlsym() on a handle looks into the library and what it depends on, in the order in which the library's own references
 * are bound: so the nvlists are made by the very libnvpair that libzfs_core reads them with, whatever its soname is.
 */
static int find(void *library, const char *name, void *function, char *error, size_t size)
{
	void *symbol = dlsym(library, name);

	if (!symbol) {
		const char *words = dlerror();

		snprintf(error, size, "%s", words ? words : name);
		return -1;
	}
	/* POSIX has dlsym() return functions as pointers to objects, and ISO C has no cast for that. */
	*(void **)function = symbol;
	return 0;
}

int zfs_core_load(struct zfs_core *core, const char *soname, char *error, size_t size)
{
	const struct {
		const char *name;
		void *function;
	} wanted[] = {
		{ "libzfs_core_init", &core->init },
		{ "lzc_snapshot", &core->snapshot },
		{ "nvlist_alloc", &core->list_alloc },
		{ "nvlist_free", &core->list_free },
		{ "nvlist_add_boolean", &core->list_add_boolean },
		{ "nvlist_add_string", &core->list_add_string },
		{ "nvlist_next_nvpair", &core->list_next },
		{ "nvpair_name", &core->pair_name },
		{ "nvpair_value_int32", &core->pair_int32 },
	};
	/* RTLD_NOW: what is missing is told here, and not by the end of the process in the middle of a snapshot. */
	void *library = dlopen(soname, RTLD_NOW | RTLD_LOCAL);

	if (!library) {
		const char *words = dlerror();

		snprintf(error, size, "%s", words ? words : soname);
		return -1;
	}
	for (size_t index = 0; index < sizeof(wanted) / sizeof(wanted[0]); index++) {
		if (find(library, wanted[index].name, wanted[index].function, error, size)) {
			/* Nothing of it has run. */
			dlclose(library);
			return -1;
		}
	}
	return 0;
}
