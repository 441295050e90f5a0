/* SPDX-License-Identifier: BSD-2-Clause */
#include "CBPFObjects.h"

/* libbpf reads ELF structures in place. */
static const unsigned char programs[] __attribute__((aligned(8))) = {
#embed "objects/kairos.bpf.o"
};

const void *kairos_object_programs(size_t *size)
{
	*size = sizeof(programs);
	return programs;
}
