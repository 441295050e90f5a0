/* SPDX-License-Identifier: BSD-2-Clause */
/* The compiled BPF programs, and the header that they share with user space. */
#ifndef KAIROS_CBPFOBJECTS_H
#define KAIROS_CBPFOBJECTS_H

#include "../../../bpf/kairos.h"

#include <stddef.h>

/* A BPF ELF object in the executable; it lives as long as the process. */
const void *kairos_object_programs(size_t *size);
/* Programs that do nothing, for the benchmark. */
const void *kairos_object_empty(size_t *size);

#endif
