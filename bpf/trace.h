/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A trace: every change, none coalesced, less what is not asked for. What can be told here is left out here, so that a
 * busy host fills no ring for the sake of one process.
 */
#ifndef KAIROS_TRACE_H
#define KAIROS_TRACE_H

#include "record.h"

struct comm_key {
	char comm[KAIROS_COMM];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u32); /* a process, by the number that it has for Kairos */
	__type(value, u8);
} trace_pids SEC(".maps");

/* Their children, as the first namespace numbers them: when one is freed its other numbers are gone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, u32);
	__type(value, u8);
} trace_children SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, u32);
	__type(value, u8);
} trace_users SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct comm_key);
	__type(value, u8);
} trace_comms SEC(".maps");

static __always_inline bool trace__filter(struct kairos_control *ctl)
{
	__sync_fetch_and_add(&ctl->filtered, 1);
	return false;
}

static __always_inline bool trace__has_process(struct task_struct *task, u32 level)
{
	u32 pid = process__number(task, level), tgid = task->tgid;

	return bpf_map_lookup_elem(&trace_pids, &pid) || bpf_map_lookup_elem(&trace_children, &tgid);
}

/* Whether an operation of the caller's is asked for. */
static __always_inline bool trace__wanted(struct kairos_control *ctl, u32 op)
{
	if (bpf_get_current_pid_tgid() >> 32 == ctl->own_pid)
		return false;
	if (!(trace_ops & op))
		return trace__filter(ctl);
	if (trace_by & KAIROS_BY_PID && !trace__has_process(bpf_get_current_task_btf(), ctl->pid_level))
		return trace__filter(ctl);
	if (trace_by & KAIROS_BY_USER) {
		u32 uid = (u32)bpf_get_current_uid_gid();

		if (!bpf_map_lookup_elem(&trace_users, &uid))
			return trace__filter(ctl);
	}
	if (trace_by & KAIROS_BY_COMM) {
		struct comm_key key = {};

		bpf_get_current_comm(key.comm, sizeof(key.comm));
		if (!bpf_map_lookup_elem(&trace_comms, &key))
			return trace__filter(ctl);
	}
	return true;
}

/* Whether anything on this superblock is asked for. `slot` is what the device table has for it. */
static __always_inline bool trace__has_device(struct kairos_control *ctl, u32 slot)
{
	return !(trace_by & KAIROS_BY_TREE) || slot != KAIROS_NO_SLOT || trace__filter(ctl);
}

/*
 * After the walk: whether it lies below one of the trees. A path that is too long to be walked to its end is for user
 * space to judge.
 */
static __always_inline bool trace__is_below(struct kairos_control *ctl, struct scratch *sc, u32 slot)
{
	if (!(trace_by & KAIROS_BY_TREE))
		return true;
	if (sc->below == KAIROS_TREE_ROOT || slot == KAIROS_DEVICE_WHOLE) {
		sc->record.flags |= KAIROS_F_BELOW;
		return true;
	}
	return sc->below || slot == KAIROS_DEVICE_UNSURE || sc->record.flags & KAIROS_F_TRUNCATED || trace__filter(ctl);
}

/*
 * The record that was last told in full on a CPU, and whose it was. Claimed like a scratch, and from before a full record is
 * sent to after it is noted: between it and its repeats no other one with a serial comes from this CPU.
 */
struct recent {
	u32 busy;
	u32 serial;
	u64 time;
	u64 task;
	u64 started; /* two tasks may have had the same address */
	u64 cred;
	u64 dentry;
	u64 parent;
	u64 name;    /* hash and length */
	u64 mnt;
	u64 inode;
	u32 device;
	u32 generation;
	u64 comm[2];
};

enum { RECENT_LAST, RECENT_NOW, RECENTS };

/* The second is where it is found out who is at it now, under the claim of the first: too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RECENTS);
	__type(key, u32);
	__type(value, struct recent);
} recents SEC(".maps");

#endif
