/* SPDX-License-Identifier: BSD-2-Clause */
#include "CBPFObjects.h"

/* libbpf reads ELF structures in place. */
static const unsigned char programs[] __attribute__((aligned(8))) = {
#embed "objects/kairos.bpf.o"
};

static const unsigned char empty[] __attribute__((aligned(8))) = {
#embed "objects/empty.bpf.o"
};

const void *kairos_object_programs(size_t *size)
{
	*size = sizeof(programs);
	return programs;
}

const void *kairos_object_empty(size_t *size)
{
	*size = sizeof(empty);
	return empty;
}
