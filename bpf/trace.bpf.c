// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Programs of a trace alone: they follow the children of a process that is traced.
 */
#include "trace.h"

/* Children of a process that is traced. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(kairos_trace_fork, struct task_struct *parent, struct task_struct *child)
{
	struct kairos_control *ctl = control__get();
	u32 number = child->tgid;
	u8 one = 1;

	/* A thread has its process's number. */
	if (!ctl || parent->tgid == child->tgid)
		return 0;
	if (trace__has_process(parent, ctl->pid_level))
		bpf_map_update_elem(&trace_children, &number, &one, BPF_ANY);
	return 0;
}

/* Its files are closed after it has exited, so it is forgotten when its number is free for another one. */
SEC("tp_btf/sched_process_free")
int BPF_PROG(kairos_trace_free, struct task_struct *task)
{
	struct kairos_control *ctl = control__get();
	u32 pid = task->tgid;

	if (!ctl || task->pid != task->tgid)
		return 0;
	bpf_map_delete_elem(&trace_children, &pid);
	if (!ctl->pid_level)
		bpf_map_delete_elem(&trace_pids, &pid);
	return 0;
}
