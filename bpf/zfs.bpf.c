// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Probe set `zfs`: programs on the functions of the zfs module, which need its BTF. Those in zfs_layout.bpf.c do the same
 * without it.
 */
#include "zfs.h"

SEC("fentry/dsl_dataset_dirty")
int BPF_PROG(kairos_zfs_dirty, struct dsl_dataset *ds, struct dmu_tx *tx)
{
	struct kairos_slot *s;

	zfs__fired(KAIROS_PROBE_ZFS_DIRTY);
	/* The pool's own objects have no dataset. */
	if (!ds)
		return 0;
	s = dataset__slot(ds);
	return s ? slot__dirty(s, BPF_CORE_READ(tx, tx_txg), tx__is_upkeep(tx)) : 0;
}

/*
 * In the sync of a transaction group: a snapshot, which holds everything up to this group. One of somebody else's counts
 * for as long as it is there, which only a look tells: `zfs diff` makes one and destroys it.
 */
SEC("fentry/dsl_dataset_snapshot_sync_impl")
int BPF_PROG(kairos_zfs_snapshot, struct dsl_dataset *ds, const char *name, struct dmu_tx *tx)
{
	struct kairos_slot *s;

	zfs__fired(KAIROS_PROBE_ZFS_SNAPSHOT);
	if (!ds)
		return 0;
	s = dataset__slot(ds);
	if (s)
		raise(name__is_ours(name) ? &s->captured_txg : &s->foreign_txg, BPF_CORE_READ(tx, tx_txg));
	return 0;
}

/*
 * In the sync of a transaction group: the dataset becomes another one's content, and what it held is gone. That is a
 * rollback, to the snapshot that is the newest from now on, or a receive, whose own snapshot follows in the same sync.
 * Either way nothing up to this group is left that is in no snapshot.
 */
SEC("fentry/dsl_dataset_clone_swap_sync_impl")
int BPF_PROG(kairos_zfs_swap, struct dsl_dataset *clone, struct dsl_dataset *ds, struct dmu_tx *tx)
{
	struct kairos_slot *s = dataset__slot(ds);

	if (s)
		raise(&s->captured_txg, BPF_CORE_READ(tx, tx_txg));
	return 0;
}

SEC("fentry/zvol_log_write")
int BPF_PROG(kairos_zfs_volume_write, struct zvol_state *volume)
{
	return volume__touch(dataset__slot(BPF_CORE_READ(volume, zv_objset, os_dsl_dataset)));
}

/* A discard, or a write of zeros. */
SEC("fentry/zvol_log_truncate")
int BPF_PROG(kairos_zfs_volume_discard, struct zvol_state *volume)
{
	return volume__touch(dataset__slot(BPF_CORE_READ(volume, zv_objset, os_dsl_dataset)));
}

static __always_inline int side_effect__begin(u32 dev)
{
	u64 id = bpf_get_current_pid_tgid();
	u8 one = 1;

	if (device__slot(dev) != KAIROS_NO_SLOT)
		bpf_map_update_elem(&side_effects, &id, &one, BPF_ANY);
	return 0;
}

static __always_inline int side_effect__end(u32 dev)
{
	u64 id = bpf_get_current_pid_tgid();

	if (device__slot(dev) != KAIROS_NO_SLOT)
		bpf_map_delete_elem(&side_effects, &id);
	return 0;
}

SEC("fentry/touch_atime")
int BPF_PROG(kairos_zfs_atime_entry, struct path *path)
{
	return side_effect__begin(BPF_CORE_READ(path, dentry, d_inode, i_sb, s_dev));
}

SEC("fexit/touch_atime")
int BPF_PROG(kairos_zfs_atime, struct path *path)
{
	return side_effect__end(BPF_CORE_READ(path, dentry, d_inode, i_sb, s_dev));
}

SEC("fentry/evict")
int BPF_PROG(kairos_zfs_evict_entry, struct inode *inode)
{
	return side_effect__begin(inode->i_sb->s_dev);
}

/* The inode is gone; its thread is not. */
SEC("fexit/evict")
int BPF_PROG(kairos_zfs_evict, struct inode *inode)
{
	u64 id = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&side_effects, &id);
	return 0;
}
