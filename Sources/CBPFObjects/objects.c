/* SPDX-License-Identifier: BSD-2-Clause */
#include "CBPFObjects.h"

/* libbpf reads ELF structures in place. */
static const unsigned char syscalls_object[] __attribute__((aligned(8))) = {
#embed "objects/syscalls.bpf.o"
};

const void *kairos_object_syscalls(size_t *size)
{
	*size = sizeof(syscalls_object);
	return syscalls_object;
}
