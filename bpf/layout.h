/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where the zfs module keeps what the programs read, for a module without BTF: what the programs found, and what user
 * space made of it. Shared with user space, like kairos.h. See docs/design.md, "A module without BTF".
 */
#ifndef KAIROS_LAYOUT_H
#define KAIROS_LAYOUT_H

#include <linux/types.h>

#define KAIROS_DATASET_WORDS 128U     /* of a dsl_dataset, searched for ds_dbuf */
#define KAIROS_TRANSACTION_WORDS 16U  /* of a dmu_tx, searched for tx_txg and tx_holds */

/*
 * A word is 8 bytes of a structure. In a mask, bit n stands for word n: it was right in each of the finds. User space sets
 * all bits before the programs are attached, and decides when the finds prove an offset.
 */
struct kairos_layout {
	/* User space: offsets in bytes, read only while `known` is 1. */
	__u32 known;
	__u32 ds_dbuf;
	__u32 tx_txg;
	__u32 tx_holds;
	/* Words of a dsl_dataset that led to the GUID of a watched dataset. */
	__u64 dataset_words[KAIROS_DATASET_WORDS / 64];
	__u64 dataset_finds;
	/* Words of a dmu_tx that had the number of its transaction group; two finds in a row have different numbers. */
	__u64 txg_words;
	__u64 txg_finds;
	__u64 txg_last;
	/* Words of a dmu_tx without holds at which an empty list begins. */
	__u64 holds_words;
	/* 1: a transaction with holds was seen. Without one an empty list may be another list. */
	__u64 named;
	/* Fields that could not be read, or that cannot be true: a change may have been missed. */
	__u64 doubts;
	/* Of each slot, changes that the programs on the kernel's functions saw, and OpenZFS did not report. */
	__u64 unreported[1024];
};

_Static_assert(sizeof(struct kairos_layout) == 16 + 9 * 8 + 1024 * 8, "shared with user space");

#endif
