/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The marking code that all probe sets share: which slot, mark it, send a record once per inode, op and epoch.
 */
#ifndef KAIROS_MARK_H
#define KAIROS_MARK_H

#include "kairos.h"
#include "kernel.h"

#include <bpf/bpf_helpers.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))

/* Set before load. In trace mode there are no slots: every change of every file system becomes a record. */
const volatile bool tracing = false;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, KAIROS_SLOTS);
	__type(key, u32);
	__type(value, struct kairos_slot);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct kairos_devices);
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct kairos_control);
} control SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* user space resizes it before load */
} ring SEC(".maps");

struct seen_key {
	u64 inode;
	u32 device;
	u32 generation; /* inode numbers are used again */
	u64 name;       /* hash of the name, for slots with ignore rules: another link may be another matter */
};

struct seen {
	u64 epoch;
	u32 ops;
	u32 pid; /* whose descriptor `fd` was last noted in `written` */
	s32 fd;
	u32 reserved;
};

/* Coalescing: the ops reported of an inode in its epoch. Least recently used entries go first: a repeated record. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct seen_key);
	__type(value, struct seen);
} seen SEC(".maps");

/*
 * A record under construction. One for each program, and by CPU: the kernel never runs the same program twice at once on
 * one CPU (it counts a miss instead), but two programs may interleave where tracing programs can be preempted.
 */
struct scratch {
	u64 walk; /* the dentry that scratch__walk() starts at: a global function takes no kernel pointer */
	struct kairos_record record;
	char data[KAIROS_DATA_MAX];
	char slack[KAIROS_PATH_MAX]; /* lets the verifier see that the last string ends inside */
};

#define SCRATCHES 3
enum { SCRATCH_SYSCALLS, SCRATCH_FOLIO, SCRATCH_EXIT };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCHES);
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline struct kairos_control *control__get(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&control, &zero);
}

/* The slot number of a superblock's device, or KAIROS_NO_SLOT. The hot path: for most calls of a host it ends here. */
static __always_inline u32 device__slot(u32 dev)
{
	u32 zero = 0, i, at = KAIROS_DEVICE_HASH(dev);
	struct kairos_devices *d = bpf_map_lookup_elem(&devices, &zero);

	if (!d)
		return KAIROS_NO_SLOT;
#pragma unroll
	for (i = 0; i < KAIROS_DEVICE_PROBES; i++) {
		u64 e = READ_ONCE(d->entry[(at + i) & (KAIROS_DEVICES - 1)]);

		/* User space fills a free place before it moves on, so the first free one ends the search. */
		if (!e)
			return KAIROS_NO_SLOT;
		if ((u32)e == dev)
			return (u32)(e >> 32) - 1;
	}
	return KAIROS_NO_SLOT;
}

/*
 * Mark a slot for a change that is done. Returns the epoch marked; sets *dirtied when this mark made it dirty.
 *
 * The epoch is read here, after the change: if user space moves it on later, its snapshot begins later too and holds the
 * change. `marked` only grows, so a mark that is overtaken cannot hide one of a newer epoch.
 */
static __always_inline u64 slot__mark(struct kairos_slot *s, u64 now, bool commit, bool *dirtied)
{
	u64 epoch = READ_ONCE(s->epoch);
	u64 marked = READ_ONCE(s->marked);
	int i;

	/* Each failed exchange means that `marked` grew; with fewer racing epochs than rounds it ends in success. */
	for (i = 0; i < 8 && marked < epoch; i++) {
		u64 old = __sync_val_compare_and_swap(&s->marked, marked, epoch);

		if (old == marked) {
			WRITE_ONCE(s->first_ns, now);
			*dirtied = true;
			break;
		}
		marked = old;
	}
	if (READ_ONCE(s->last_ns) < now)
		WRITE_ONCE(s->last_ns, now);
	if (commit)
		WRITE_ONCE(s->last_commit_ns, now);
	__sync_fetch_and_add(&s->changes, 1);
	return epoch;
}

/* True when this (inode, op) was not reported in this epoch yet. Two CPUs at once: a record twice, never none. */
static __always_inline bool seen__first(const struct seen_key *key, u64 epoch, u32 op)
{
	struct seen fresh = {.epoch = epoch, .ops = op};
	struct seen *s = bpf_map_lookup_elem(&seen, key);

	if (!s) {
		bpf_map_update_elem(&seen, key, &fresh, BPF_ANY);
		return true;
	}
	if (READ_ONCE(s->epoch) != epoch) {
		WRITE_ONCE(s->ops, op);
		WRITE_ONCE(s->epoch, epoch);
		return true;
	}
	if (READ_ONCE(s->ops) & op)
		return false;
	__sync_fetch_and_or(&s->ops, op);
	return true;
}

/*
 * Append the components from `walk`, a dentry, up to the root of its superblock, the last one first. Returns the new
 * offset. A global function, like the next two: the verifier proves it once and not once a caller and path.
 */
__noinline u32 scratch__walk(u32 which, u32 at)
{
	struct scratch *sc = bpf_map_lookup_elem(&scratches, &which);
	struct dentry *dentry;
	u32 start = at;
	int i;

	if (!sc)
		return at;
	dentry = (void *)sc->walk;
	for (i = 0; i < KAIROS_DEPTH_MAX; i++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
		long n;

		if (parent == dentry || !parent)
			return at;
		if (at - start > KAIROS_PATH_MAX - KAIROS_NAME_MAX || at >= KAIROS_DATA_MAX)
			break;
		n = bpf_probe_read_kernel_str(&sc->data[at], KAIROS_NAME_MAX, BPF_CORE_READ(dentry, d_name.name));
		if (n <= 0 || n > KAIROS_NAME_MAX)
			break;
		at += n;
		dentry = parent;
	}
	sc->record.flags |= KAIROS_F_TRUNCATED;
	return at;
}

/* Append a string of the caller's. The kernel has just read it, so its page is there. Returns the new offset. */
__noinline u32 scratch__string(u32 which, u32 at, u64 user)
{
	struct scratch *sc = bpf_map_lookup_elem(&scratches, &which);
	long n;

	if (!sc)
		return at;
	if (at >= KAIROS_DATA_MAX) {
		sc->record.flags |= KAIROS_F_TRUNCATED;
		return at;
	}
	n = bpf_probe_read_user_str(&sc->data[at], KAIROS_PATH_MAX, (const void *)user);
	if (n <= 0 || n > KAIROS_PATH_MAX) {
		sc->record.flags |= KAIROS_F_FAULT;
		return at;
	}
	return at + n;
}

/* The first bytes of a caller's path tell whether it is absolute, and none, one or several components. */
enum shape { SHAPE_FAULT, SHAPE_EMPTY, SHAPE_ONE, SHAPE_SEVERAL, SHAPE_ABSOLUTE };

__noinline u32 scratch__shape(u32 which, u32 at)
{
	struct scratch *sc = bpf_map_lookup_elem(&scratches, &which);
	bool slash = false;
	u32 i;

	if (!sc || at >= KAIROS_DATA_MAX)
		return SHAPE_FAULT;
	if (sc->data[at] == '/')
		return SHAPE_ABSOLUTE;
	if (!sc->data[at])
		return SHAPE_EMPTY;
	/* One component is at most NAME_MAX bytes; "a/" still is one: only a slash with something behind it counts. */
	for (i = 0; i < KAIROS_NAME_MAX; i++) {
		char c = sc->data[at + i];

		if (!c)
			return SHAPE_ONE;
		if (c == '/')
			slash = true;
		else if (slash)
			return SHAPE_SEVERAL;
	}
	return SHAPE_SEVERAL;
}

/* A cleared record with what is known of the caller. */
static __always_inline struct scratch *scratch__begin(u32 which, u32 kind, u32 op, u64 now)
{
	struct scratch *sc = bpf_map_lookup_elem(&scratches, &which);
	u64 pid_tgid = bpf_get_current_pid_tgid();
	struct task_struct *task = bpf_get_current_task_btf();

	if (!sc)
		return NULL;
	__builtin_memset(&sc->record, 0, sizeof(sc->record));
	sc->record.kind = kind;
	sc->record.op = op;
	sc->record.time_ns = now;
	sc->record.slot = KAIROS_NO_SLOT;
	sc->record.syscall = KAIROS_NO_SYSCALL;
	sc->record.pid = pid_tgid >> 32;
	sc->record.tid = (u32)pid_tgid;
	sc->record.uid = (u32)bpf_get_current_uid_gid();
	sc->record.ppid = BPF_CORE_READ(task, real_parent, tgid);
	sc->record.mount_ns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	bpf_get_current_comm(sc->record.comm, sizeof(sc->record.comm));
	return sc;
}

/* Submit. The one place that counts what was sent and what was lost. `tail` is the length of the data. */
static __always_inline bool scratch__send(struct scratch *sc, u32 tail, bool wake)
{
	struct kairos_control *ctl = control__get();
	u64 flags = BPF_RB_NO_WAKEUP;
	u64 size;

	if (!ctl)
		return false;
	/* Nobody has to wake for detail; but a ring that fills is drained before it overflows. */
	if (wake || bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) >= bpf_ringbuf_query(&ring, BPF_RB_RING_SIZE) / 4)
		flags = BPF_RB_FORCE_WAKEUP;
	if (sc->record.flags & KAIROS_F_TRUNCATED)
		__sync_fetch_and_add(&ctl->truncated, 1);
	if (sc->record.flags & KAIROS_F_FAULT)
		__sync_fetch_and_add(&ctl->faults, 1);
	size = sizeof(struct kairos_record) + tail;
	/*
	 * In assembly, so that what is compared is what is passed on: the compiler likes to compare a copy, and Linux 6.1's
	 * verifier does not carry the bound over to the other one.
	 */
	asm volatile("if %0 <= %1 goto +1\n%0 = %1"
		     : "+r"(size)
		     : "i"(sizeof(struct kairos_record) + KAIROS_DATA_MAX));
	if (!bpf_ringbuf_output(&ring, &sc->record, size, flags)) {
		__sync_fetch_and_add(&ctl->sent, 1);
		return true;
	}
	switch (sc->record.kind) {
	case KAIROS_RECORD_CANDIDATE:
		__sync_fetch_and_add(&ctl->candidates_lost, 1);
		/* Had this one asked for the wake-up, nobody was woken: the next one has to ask again. */
		WRITE_ONCE(ctl->pending, 0);
		break;
	case KAIROS_RECORD_ZFS_COMMAND:
		__sync_fetch_and_add(&ctl->zfs_lost, 1);
		break;
	default:
		__sync_fetch_and_add(&ctl->lost, 1);
	}
	return false;
}

#endif
