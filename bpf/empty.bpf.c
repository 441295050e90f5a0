// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Programs that do nothing, on the hooks of the others: what a hook costs before anybody does anything there. For the benchmark.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("tp_btf/sys_enter")
int empty__enter(void *ctx)
{
	return 0;
}

SEC("tp_btf/sys_exit")
int empty__exit(void *ctx)
{
	return 0;
}

SEC("fexit/vfs_write")
int empty__write(void *ctx)
{
	return 0;
}

SEC("fentry/generic_write_checks")
int empty__checks(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
