/* SPDX-License-Identifier: BSD-2-Clause */
/* The tables of the programs, as they are built for arm64, whose numbers are the generic ones. */
#define __TARGET_ARCH_arm64
/* Not this machine's numbers. */
#define _ASM_X86_UNISTD_H
#define _ASM_X86_UNISTD_64_H
#define __ARCH_WANT_RENAMEAT
#define __ARCH_WANT_NEW_STAT
#define __ARCH_WANT_SET_GET_RLIMIT
#define __ARCH_WANT_SYS_CLONE3
#include <asm-generic/unistd.h>

#include "CTestSupport.h"

#include "../../bpf/calls.h"

int support_class_arm64(long number)
{
	return number >= 0 && number < CALLS ? calls[number] : CALL_NONE;
}

int support_class_arm64_compat(long number)
{
	return number >= 0 && number < CALLS ? compat_calls[number] : CALL_NONE;
}
