// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * All programs of all probe sets, in one object and one compilation: they share their maps and functions, and the compiler
 * inlines across them. User space loads those of the set that it takes.
 */
#include "syscalls.bpf.c"
#include "trace.bpf.c"
#include "tracepoints.bpf.c"
#include "vfs_contents.bpf.c"
#include "vfs_names.bpf.c"
#include "zfs.bpf.c"
#include "zfs_layout.bpf.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
