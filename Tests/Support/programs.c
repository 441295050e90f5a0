// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "CTestSupport.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <unistd.h>

int support_count_runs(void)
{
	int file = bpf_enable_stats(BPF_STATS_RUN_TIME);

	return file < 0 ? -errno : file;
}

/* The kernel keeps 15 bytes of a program's name, and all of its function's in the types that it was loaded with. */
static void full_name(int file, const struct bpf_prog_info *info, char name[64])
{
	struct bpf_func_info function = {};
	struct bpf_prog_info wanted = {
	    .nr_func_info = 1,
	    .func_info_rec_size = sizeof(function),
	    .func_info = (uintptr_t)&function,
	};
	__u32 size = sizeof(wanted);
	const struct btf_type *type;
	const char *found = NULL;
	struct btf *types;

	snprintf(name, 64, "%s", info->name);
	if (!info->btf_id || bpf_obj_get_info_by_fd(file, &wanted, &size))
		return;
	types = btf__load_from_kernel_by_id(info->btf_id);
	type = types ? btf__type_by_id(types, function.type_id) : NULL;
	if (type)
		found = btf__name_by_offset(types, type->name_off);
	if (found && *found)
		snprintf(name, 64, "%s", found);
	btf__free(types);
}

long support_next_program(uint32_t after, char name[64], uint64_t *runs)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info), program;
	int file;

	if (bpf_prog_get_next_id(after, &program))
		return -errno;
	name[0] = 0;
	*runs = 0;
	file = bpf_prog_get_fd_by_id(program);
	/* It may have gone meanwhile. */
	if (file < 0)
		return errno == ENOENT ? (long)program : -errno;
	if (bpf_obj_get_info_by_fd(file, &info, &size)) {
		close(file);
		return -errno;
	}
	full_name(file, &info, name);
	close(file);
	*runs = info.run_cnt;
	return program;
}
