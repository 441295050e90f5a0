// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "CTestSupport.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long bpf(int command, union bpf_attr *attributes)
{
	long result = syscall(__NR_bpf, command, attributes, sizeof(*attributes));

	return result < 0 ? -errno : result;
}

int support_count_runs(void)
{
	union bpf_attr attributes;

	memset(&attributes, 0, sizeof(attributes));
	attributes.enable_stats.type = BPF_STATS_RUN_TIME;
	return bpf(BPF_ENABLE_STATS, &attributes);
}

long support_next_program(uint32_t after, char name[16], uint64_t *runs)
{
	union bpf_attr attributes;
	struct bpf_prog_info info;
	long result, file;
	uint32_t program;

	memset(&attributes, 0, sizeof(attributes));
	attributes.start_id = after;
	result = bpf(BPF_PROG_GET_NEXT_ID, &attributes);
	if (result < 0)
		return result;
	program = attributes.next_id;
	name[0] = 0;
	*runs = 0;

	memset(&attributes, 0, sizeof(attributes));
	attributes.prog_id = program;
	file = bpf(BPF_PROG_GET_FD_BY_ID, &attributes);
	/* It may have gone meanwhile. */
	if (file < 0)
		return file == -ENOENT ? program : file;
	memset(&info, 0, sizeof(info));
	memset(&attributes, 0, sizeof(attributes));
	attributes.info.bpf_fd = file;
	attributes.info.info_len = sizeof(info);
	attributes.info.info = (uintptr_t)&info;
	result = bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes);
	close(file);
	if (result < 0)
		return result;
	memcpy(name, info.name, 16);
	name[15] = 0;
	*runs = info.run_cnt;
	return program;
}
