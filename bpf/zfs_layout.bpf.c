// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Probe set `zfs` for a zfs module without BTF: kprobes on the same functions, which read by the offsets in `layout`. Two
 * further ones search for these offsets, and user space decides which are proven (docs/design.md, "A module without BTF").
 */
#include "zfs.h"

/* dmu_buf_t.db_data: part of the interface to other file systems, the same in every OpenZFS. */
#define DB_DATA 24
/* dsl_dataset_phys_t.ds_guid: as on disk. */
#define DS_GUID 112
/* zvol_state_t.zv_objset, behind the name and two numbers: 2.0 to 2.4. */
#define ZV_OBJSET (256 + 8 + 8)
/* objset_t.os_dsl_dataset: the first field, 2.0 to 2.4. */
#define OS_DSL_DATASET 0
/* A transaction group's number is far below that; a kernel address is above. */
#define TXG_LIMIT (1ULL << 48)

/* The arguments of a function at its entry, and what it returned. */
#if defined(__TARGET_ARCH_x86)
#define ARGUMENT_1(ctx) ((ctx)->di)
#define ARGUMENT_2(ctx) ((ctx)->si)
#define ARGUMENT_3(ctx) ((ctx)->dx)
#define RETURNED(ctx) ((ctx)->ax)
#else
#define ARGUMENT_1(ctx) ((ctx)->regs[0])
#define ARGUMENT_2(ctx) ((ctx)->regs[1])
#define ARGUMENT_3(ctx) ((ctx)->regs[2])
#define RETURNED(ctx) ((ctx)->regs[0])
#endif

static __always_inline bool word__read(const void *base, u32 offset, u64 *value)
{
	return !bpf_probe_read_kernel(value, sizeof(*value), base + offset);
}

/* A dataset's GUID, if `ds_dbuf` is at this offset. */
static __always_inline bool guid__read(const void *ds, u32 offset, u64 *guid)
{
	u64 dbuf, data;

	return word__read(ds, offset, &dbuf) && word__read((void *)dbuf, DB_DATA, &data) &&
	       word__read((void *)data, DS_GUID, guid);
}

static __always_inline void layout__doubt(struct kairos_layout *l)
{
	__sync_fetch_and_add(&l->doubts, 1);
}

static __always_inline struct kairos_slot *dataset__slot_by(struct kairos_layout *l, const void *ds)
{
	u64 guid;

	if (guid__read(ds, l->ds_dbuf, &guid))
		return guid__slot(guid);
	layout__doubt(l);
	return NULL;
}

/* 0: not known. */
static __always_inline u64 tx__txg_by(struct kairos_layout *l, const void *tx)
{
	u64 txg;

	if (word__read(tx, l->tx_txg, &txg) && txg && txg < TXG_LIMIT)
		return txg;
	layout__doubt(l);
	return 0;
}

/* The layout, once it is known. */
static __always_inline struct kairos_layout *layout__known(void)
{
	struct kairos_layout *l = layout__get();

	return l && READ_ONCE(l->known) ? l : NULL;
}

/* As tx__is_upkeep(). What cannot be read, or may be another list, is none. */
static __always_inline bool tx__is_upkeep_by(struct kairos_layout *l, const void *tx)
{
	const void *head = tx + l->tx_holds;
	u64 next;

	if (!word__read(head, 0, &next))
		return false;
	if (next == (u64)head)
		return READ_ONCE(l->named);
	if (!READ_ONCE(l->named))
		WRITE_ONCE(l->named, 1);
	return false;
}

SEC("kprobe/dsl_dataset_dirty")
int kairos_zfs_dirty_by(struct pt_regs *ctx)
{
	void *ds = (void *)ARGUMENT_1(ctx);
	void *tx = (void *)ARGUMENT_2(ctx);
	struct kairos_layout *l = layout__known();
	struct kairos_slot *s;
	bool is_upkeep;
	u64 txg;

	zfs__fired(KAIROS_PROBE_ZFS_DIRTY);
	if (!ds || !l)
		return 0;
	/* For each transaction: any of them shows that the list is the right one. */
	is_upkeep = tx__is_upkeep_by(l, tx);
	s = dataset__slot_by(l, ds);
	if (!s)
		return 0;
	txg = tx__txg_by(l, tx);
	if (!txg)
		return 0;
	/* A snapshot is made in the sync of its group, when all before are on disk: nothing is dirtied in one of those. */
	if (txg < READ_ONCE(s->captured_txg))
		layout__doubt(l);
	return slot__dirty(s, txg, is_upkeep);
}

/* The slot of a dataset and the group of a transaction; NULL where either is not known. */
static __always_inline struct kairos_slot *slot__with_txg_by(const void *ds, const void *tx, u64 *txg)
{
	struct kairos_layout *l = layout__known();
	struct kairos_slot *s = ds && l ? dataset__slot_by(l, ds) : NULL;

	if (!s)
		return NULL;
	*txg = tx__txg_by(l, tx);
	return *txg ? s : NULL;
}

SEC("kprobe/dsl_dataset_snapshot_sync_impl")
int kairos_zfs_snapshot_by(struct pt_regs *ctx)
{
	const char *name = (const char *)ARGUMENT_2(ctx);
	struct kairos_slot *s;
	u64 txg = 0;

	zfs__fired(KAIROS_PROBE_ZFS_SNAPSHOT);
	s = slot__with_txg_by((void *)ARGUMENT_1(ctx), (void *)ARGUMENT_3(ctx), &txg);
	if (s)
		raise(name__is_ours(name) ? &s->captured_txg : &s->foreign_txg, txg);
	return 0;
}

SEC("kprobe/dsl_dataset_clone_swap_sync_impl")
int kairos_zfs_swap_by(struct pt_regs *ctx)
{
	u64 txg = 0;
	struct kairos_slot *s = slot__with_txg_by((void *)ARGUMENT_2(ctx), (void *)ARGUMENT_3(ctx), &txg);

	if (s)
		raise(&s->captured_txg, txg);
	return 0;
}

/* Only when a volume rests depends on it, so what cannot be read is no doubt. */
static __always_inline int volume__touch_by(const void *volume)
{
	struct kairos_layout *l = layout__known();
	u64 objset, ds, guid;

	if (!l || !word__read(volume, ZV_OBJSET, &objset) || !word__read((void *)objset, OS_DSL_DATASET, &ds) ||
	    !guid__read((void *)ds, l->ds_dbuf, &guid))
		return 0;
	return volume__touch(guid__slot(guid));
}

SEC("kprobe/zvol_log_write")
int kairos_zfs_volume_write_by(struct pt_regs *ctx)
{
	return volume__touch_by((void *)ARGUMENT_1(ctx));
}

SEC("kprobe/zvol_log_truncate")
int kairos_zfs_volume_discard_by(struct pt_regs *ctx)
{
	return volume__touch_by((void *)ARGUMENT_1(ctx));
}

/*
 * What a search finds, one per CPU: a kprobe is not preempted. Not on the stack, where the verifier would follow every
 * combination of bits.
 */
struct finds {
	u64 words[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct finds);
} finds SEC(".maps");

static __always_inline struct finds *finds__begin(void)
{
	u32 zero = 0;
	struct finds *f = bpf_map_lookup_elem(&finds, &zero);

	if (f)
		f->words[0] = f->words[1] = 0;
	return f;
}

/*
 * Each `zfs get` and `zfs list` comes here for each dataset. A GUID is a random number of 64 bits: the word that leads to
 * one of a watched dataset is no coincidence.
 */
SEC("kprobe/dsl_dataset_stats")
int kairos_zfs_find_dataset(struct pt_regs *ctx)
{
	void *ds = (void *)ARGUMENT_1(ctx);
	struct kairos_layout *l = layout__get();
	struct finds *f = finds__begin();
	u32 i;

	if (!l || !f || READ_ONCE(l->known))
		return 0;
	for (i = 0; i < KAIROS_DATASET_WORDS; i++) {
		u64 guid;

		if (guid__read(ds, i * 8, &guid) && bpf_map_lookup_elem(&datasets, &guid))
			f->words[i / 64] |= 1ULL << i % 64;
	}
	/* Not watched. */
	if (!(f->words[0] | f->words[1]))
		return 0;
	__sync_fetch_and_and(&l->dataset_words[0], f->words[0]);
	__sync_fetch_and_and(&l->dataset_words[1], f->words[1]);
	__sync_fetch_and_add(&l->dataset_finds, 1);
	return 0;
}

/* The group that a thread is making a transaction for, by bpf_get_current_pid_tgid(). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u64);
} assigned SEC(".maps");

/* Each sync of a transaction group makes a transaction of its own, for the group that is an argument, and without holds. */
SEC("kprobe/dmu_tx_create_assigned")
int kairos_zfs_find_txg_entry(struct pt_regs *ctx)
{
	u64 txg = ARGUMENT_2(ctx);
	struct kairos_layout *l = layout__get();
	u64 id = bpf_get_current_pid_tgid();

	if (l && !READ_ONCE(l->known))
		bpf_map_update_elem(&assigned, &id, &txg, BPF_ANY);
	return 0;
}

SEC("kretprobe/dmu_tx_create_assigned")
int kairos_zfs_find_txg(struct pt_regs *ctx)
{
	void *tx = (void *)RETURNED(ctx);
	struct kairos_layout *l = layout__get();
	struct finds *f = finds__begin();
	u64 id = bpf_get_current_pid_tgid(), txg;
	u64 *noted = bpf_map_lookup_elem(&assigned, &id);
	u32 i;

	if (!noted)
		return 0;
	txg = *noted;
	bpf_map_delete_elem(&assigned, &id);
	if (!l || !f || READ_ONCE(l->known) || !txg || txg == READ_ONCE(l->txg_last))
		return 0;
	for (i = 0; i < KAIROS_TRANSACTION_WORDS; i++) {
		u64 word, second;

		if (!word__read(tx, i * 8, &word))
			continue;
		if (word == txg)
			f->words[0] |= 1ULL << i;
		/* Both ends of an empty list lead to itself. */
		if (word == (u64)tx + i * 8 && word__read(tx, i * 8 + 8, &second) && second == word)
			f->words[1] |= 1ULL << i;
	}
	WRITE_ONCE(l->txg_last, txg);
	__sync_fetch_and_and(&l->txg_words, f->words[0]);
	__sync_fetch_and_and(&l->holds_words, f->words[1]);
	__sync_fetch_and_add(&l->txg_finds, 1);
	return 0;
}
