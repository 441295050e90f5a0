/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A libzfs_core that does as it is told, and a libnvpair that counts its lists. There is one in the process, as with the
 * real ones: tests of it run one at a time. From any thread.
 */
#ifndef KAIROS_CFAKEZFSCORE_H
#define KAIROS_CFAKEZFSCORE_H

#include <stdbool.h>

#include "CZFSCore.h"

/* Fills the table with the fake. */
void fake_core_fill(struct zfs_core *core);

/* Forgets all calls and answers, and lets go of what hangs. */
void fake_core_reset(void);

/*
 * What one call of lzc_snapshot() will return; calls are answered in this order, and with 0 once there is no more.
 * `errors`: "dataset=errno" for each line, or NULL for no list; a dataset that is not in the call is passed over.
 * `hangs`: until fake_core_release().
 */
void fake_core_answer(int status, const char *errors, bool hangs);
void fake_core_release(void);

/* What libzfs_core_init() returns. */
void fake_core_set_init(int status);

/* How many calls of lzc_snapshot() began. */
int fake_core_calls(void);

/* The call of this number, from 0: "dataset@snapshot" a line for each, then "name=value" for each. Valid until a reset. */
const char *fake_core_call(int index);

/* Lists that were made and not freed. */
int fake_core_lists(void);

#endif
