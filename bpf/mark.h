/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The marking code that all probe sets share: which slot a change is in, and how it is marked.
 */
#ifndef KAIROS_MARK_H
#define KAIROS_MARK_H

#include "compat.h"
#include "kairos.h"

#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))

/* Set before load. In trace mode there are no slots: every change of every file system becomes a record (trace.h). */
const volatile bool tracing = false;
const volatile u32 trace_by = 0;       /* enum kairos_choice */
const volatile u32 trace_ops = ~0U;    /* enum kairos_op */
const volatile u32 trace_failures = 0; /* enum kairos_failures */

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

/* Set before load: the zfs module has no BTF, and `layout` says where its fields are. */
const volatile bool zfs_by_layout = false;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct kairos_layout);
} layout SEC(".maps");

static __always_inline struct kairos_layout *layout__get(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&layout, &zero);
}

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

/* `*place` becomes `value` if that is more. */
static __always_inline void raise(u64 *place, u64 value)
{
	u64 old = READ_ONCE(*place);
	int i;

	/* Each failed exchange means that it grew; with fewer racing writers than rounds it ends in success. */
	for (i = 0; i < 8 && old < value; i++) {
		u64 found = __sync_val_compare_and_swap(place, old, value);

		if (found == old)
			return;
		old = found;
	}
}

/* When a change was seen, and when its call began: it was done in between. */
struct moment {
	u64 now;
	u64 begun;
};

/* A change of a dataset that something else tells the truth about: only its times and the count. Returns the epoch. */
static __always_inline u64 slot__touch(struct kairos_slot *s, const struct moment *m, bool commit)
{
	u64 now = m->now;

	if (READ_ONCE(s->last_ns) < now)
		WRITE_ONCE(s->last_ns, now);
	if (READ_ONCE(s->begun_ns) < m->begun)
		WRITE_ONCE(s->begun_ns, m->begun);
	if (commit)
		WRITE_ONCE(s->last_commit_ns, now);
	__sync_fetch_and_add(&s->changes, 1);
	return READ_ONCE(s->epoch);
}

/*
 * Mark a slot for a change that is done. Returns the epoch marked; sets *dirtied when this mark made it dirty.
 *
 * The epoch is read here, after the change: if user space moves it on later, its snapshot begins later too and holds the
 * change. `marked` only grows, so a mark that is overtaken cannot hide one of a newer epoch.
 */
static __always_inline u64 slot__raise(struct kairos_slot *s, const struct moment *m, bool *dirtied)
{
	u64 epoch = READ_ONCE(s->epoch);
	u64 marked = READ_ONCE(s->marked);
	int i;

	/* Each failed exchange means that `marked` grew; with fewer racing epochs than rounds it ends in success. */
	for (i = 0; i < 8 && marked < epoch; i++) {
		u64 old = __sync_val_compare_and_swap(&s->marked, marked, epoch);

		if (old == marked) {
			WRITE_ONCE(s->first_ns, m->now);
			*dirtied = true;
			break;
		}
		marked = old;
	}
	return epoch;
}

static __always_inline u64 slot__mark(struct kairos_slot *s, const struct moment *m, bool commit, bool *dirtied)
{
	u64 epoch = slot__raise(s, m, dirtied);

	slot__touch(s, m, commit);
	return epoch;
}

/* As the slot's truth wants it. A store to a mapping is not in any transaction group yet: it always marks. */
static __always_inline u64 slot__note(struct kairos_slot *s, const struct moment *m, u32 op, bool *dirtied)
{
	bool commit = op & KAIROS_OPS_COMMIT;

	/*
	 * ZFS tells of an object once in each transaction group. Where an access time was the reason, a change of the same
	 * object in the same group is not told any more.
	 */
	if (READ_ONCE(s->flags) & KAIROS_SLOT_TXG && op != KAIROS_OP_STORE &&
	    READ_ONCE(s->side_effect_txg) <= READ_ONCE(s->captured_txg)) {
		u64 epoch = slot__touch(s, m, commit);

		/*
		 * Counted first, the flag read after it: user space sets the flag first and reads the count after it, so that one
		 * of the two sees the other. Hence an atomic load with a barrier.
		 */
		if (__sync_fetch_and_or(&s->flags, 0) & KAIROS_SLOT_MARK)
			return slot__raise(s, m, dirtied);
		return epoch;
	}
	return slot__mark(s, m, commit, dirtied);
}

/*
 * A change is done, so OpenZFS has reported its transaction group: the slot is dirty, unless a snapshot came in between. If
 * it is not, the programs may read the wrong fields, or the kernel left a kprobe out. It then counts as one that no
 * transaction group has, and a check asks ZFS itself.
 */
static __always_inline void slot__doubt(struct kairos_slot *s, u32 slot, const struct moment *m, u32 op, bool *dirtied)
{
	struct kairos_layout *l;
	u64 place = slot;

	if (!zfs_by_layout || op == KAIROS_OP_STORE || !(READ_ONCE(s->flags) & KAIROS_SLOT_TXG) ||
	    READ_ONCE(s->dirty_txg) > READ_ONCE(s->captured_txg))
		return;
	l = layout__get();
	if (!l || slot >= KAIROS_SLOTS)
		return;
	/* In assembly, so that Linux 6.1's verifier sees the bound of the register that is used (scratch__send()). */
	asm volatile("if %0 < %1 goto +1\n%0 = 0" : "+r"(place) : "i"(KAIROS_SLOTS));
	/* Counted before the mark: a check that finds the mark finds the count. */
	__sync_fetch_and_add(&l->unreported[place], 1);
	slot__raise(s, m, dirtied);
}

/* What a mark came to. */
struct mark {
	u64 epoch; /* that it counts for */
	bool dirtied;
	bool wake; /* wake user space for this record */
};

/* Whether the slot is dirty, as far as the programs can tell. */
static __always_inline bool slot__is_dirty(struct kairos_slot *s)
{
	if (READ_ONCE(s->marked) == READ_ONCE(s->epoch))
		return true;
	return READ_ONCE(s->flags) & KAIROS_SLOT_TXG && READ_ONCE(s->dirty_txg) > READ_ONCE(s->captured_txg);
}

/*
 * The one way by which a change of a file, or a commit point, is marked. `early`: it is not done yet, and may be in the
 * epoch after the one marked.
 */
static __always_inline struct mark slot__change(struct kairos_slot *s, u32 slot, const struct moment *m, u32 op,
                                                bool early)
{
	u32 flags = READ_ONCE(s->flags);
	struct mark mark = {};

	if (op & KAIROS_OPS_CHANGE) {
		mark.epoch = slot__note(s, m, op, &mark.dirtied);
		slot__doubt(s, slot, m, op, &mark.dirtied);
		if (early)
			WRITE_ONCE(s->early_ns, m->now);
	} else {
		mark.epoch = READ_ONCE(s->epoch);
		if (op & KAIROS_OPS_COMMIT && slot__is_dirty(s))
			WRITE_ONCE(s->last_commit_ns, m->now);
	}
	mark.wake = mark.dirtied || flags & KAIROS_SLOT_WAKE_RECORD ||
	            (flags & KAIROS_SLOT_WAKE_COMMIT && op & KAIROS_OPS_COMMIT);
	return mark;
}

#endif
