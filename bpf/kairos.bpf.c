// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * All programs of all probe sets, in one object: they share their maps. User space loads those of the set that it takes.
 */
#include "syscalls.h"
#include "tracepoints.h"
#include "vfs_contents.h"
#include "vfs_names.h"
#include "zfs.h"
#include "zfs_layout.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
