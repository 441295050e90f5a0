/* SPDX-License-Identifier: BSD-2-Clause */
/* The tables of the programs, as they are built for x86-64. */
#define __TARGET_ARCH_x86
#include "CTestSupport.h"

#include "../../bpf/calls.h"

int support_class(long number)
{
	if (number & X32_BIT)
		number &= ~(long)X32_BIT;
	return number >= 0 && number < CALLS ? calls[number] : CALL_NONE;
}

int support_class_compat(long number)
{
	return number >= 0 && number < CALLS ? compat_calls[number] : CALL_NONE;
}
