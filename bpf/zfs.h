/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Probe set `zfs`: what the programs in zfs.bpf.c and zfs_layout.bpf.c share. OpenZFS itself says what is dirty, by
 * transaction group (docs/facts.md, "One probe sees every change").
 */
#ifndef KAIROS_ZFS_H
#define KAIROS_ZFS_H

#include "change.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct dmu_buf {
	void *db_data;
};

struct dsl_dataset_phys {
	u64 ds_guid;
};

struct dsl_dataset {
	struct dmu_buf *ds_dbuf;
};

struct list_head {
	struct list_head *next;
};

/* list_t of the Solaris porting layer: an empty one leads to itself. */
struct list {
	struct list_head list_head;
};

struct dmu_tx {
	struct list tx_holds;
	u64 tx_txg;
};

struct objset {
	struct dsl_dataset *os_dsl_dataset;
};

struct zvol_state {
	struct objset *zv_objset;
};

#pragma clang attribute pop

/* The slot of a dataset, by its `guid` property. User space fills it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * KAIROS_SLOTS);
	__type(key, u64);
	__type(value, u32);
} datasets SEC(".maps");

/*
 * Threads that just now update an access time, or free a file that had lost its last name before: that dirties the
 * dataset, and changes nothing that a snapshot shows. By the thread, as bpf_get_current_pid_tgid() says.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, u64);
	__type(value, u8);
} side_effects SEC(".maps");

static __always_inline struct kairos_slot *guid__slot(u64 guid)
{
	u32 *slot = bpf_map_lookup_elem(&datasets, &guid);

	return slot ? bpf_map_lookup_elem(&slots, slot) : NULL;
}

static __always_inline struct kairos_slot *dataset__slot(struct dsl_dataset *ds)
{
	struct dsl_dataset_phys *phys = BPF_CORE_READ(ds, ds_dbuf, db_data);

	return guid__slot(BPF_CORE_READ(phys, ds_guid));
}

static __always_inline void zfs__fired(u32 probe)
{
	struct kairos_control *ctl = control__get();

	if (ctl && !(READ_ONCE(ctl->fired) & 1ULL << probe))
		__sync_fetch_and_or(&ctl->fired, 1ULL << probe);
}

/*
 * ZFS's own upkeep of a dataset: blocks of the intent log, which a sync allocates whenever it comes to that, and in the sync of
 * a group the space that users have used. A change of a file, directory or volume names what it is about to touch
 * (dmu_tx_hold_write() and the like) before it enters a group; upkeep touches no object of theirs, and names none.
 */
static __always_inline bool tx__is_upkeep(struct dmu_tx *tx)
{
	void *head = (void *)tx + bpf_core_field_offset(struct dmu_tx, tx_holds.list_head);

	return BPF_CORE_READ(tx, tx_holds.list_head.next) == head;
}

/*
 * Called when an object of a dataset is first dirtied in a transaction group. That group will not be closed before the
 * change is done, and a snapshot holds the groups up to its own: so what counts is the number, not the time.
 */
static __always_inline int slot__dirty(struct kairos_slot *s, u64 txg, bool is_upkeep)
{
	u64 id = bpf_get_current_pid_tgid(), now, old;
	struct scratch *sc;

	if (is_upkeep) {
		raise(&s->upkeep_txg, txg);
		return 0;
	}
	if (bpf_map_lookup_elem(&side_effects, &id)) {
		raise(&s->side_effect_txg, txg);
		return 0;
	}
	old = READ_ONCE(s->dirty_txg);
	if (old >= txg)
		return 0;
	now = bpf_ktime_get_ns();
	raise(&s->dirty_txg, txg);
	if (READ_ONCE(s->last_ns) < now)
		WRITE_ONCE(s->last_ns, now);
	if (old > READ_ONCE(s->captured_txg))
		return 0;
	WRITE_ONCE(s->dirtied_ns, now);
	if (!(READ_ONCE(s->flags) & KAIROS_SLOT_TXG))
		return 0;
	sc = scratch__begin(KAIROS_PROBE_ZFS_DIRTY, KAIROS_RECORD_DIRTY, 0, now);
	if (sc)
		scratch__send(sc, 0, true);
	return 0;
}

/* How the names of Kairos's snapshots begin; set before load. */
const volatile char prefix[KAIROS_PREFIX] = "kairos-";

static __always_inline bool name__is_ours(const char *name)
{
	char begin[KAIROS_PREFIX] = {};
	u32 i;

	bpf_probe_read_kernel_str(begin, sizeof(begin), name);
	for (i = 0; i < KAIROS_PREFIX; i++) {
		if (!prefix[i])
			return true;
		if (begin[i] != prefix[i])
			return false;
	}
	return true;
}

/*
 * A volume is one object, so kairos_zfs_dirty() hears of it once in a transaction group, that is every few seconds under
 * constant writes. When it has come to rest only each write tells. None of this is needed to know that it is dirty.
 */
static __always_inline int volume__touch(struct kairos_slot *s)
{
	struct moment m = {.now = bpf_ktime_get_ns()};

	m.begun = m.now;
	if (s)
		slot__touch(s, &m, false);
	return 0;
}

#endif
