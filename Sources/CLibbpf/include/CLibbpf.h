/* SPDX-License-Identifier: BSD-2-Clause */
/* libbpf, and what Swift cannot call of it: variadic callbacks, macros, and loads with a memory order. */
#ifndef KAIROS_CLIBBPF_H
#define KAIROS_CLIBBPF_H

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <bpf/libbpf_version.h>
#include <stddef.h>
#include <stdint.h>

/* Debian 12's, the oldest that Kairos is built with; newer ones keep its interface. */
#if LIBBPF_MAJOR_VERSION < 1 || (LIBBPF_MAJOR_VERSION == 1 && LIBBPF_MINOR_VERSION < 1)
#error "libbpf is older than 1.1: install libbpf-dev of Debian 12, Ubuntu 24.04 or newer"
#endif

/* Collect libbpf's own messages of this thread instead of printing them. Idempotent. */
void kairos_libbpf_capture(void);
/* What was collected since the last clear; valid until the next libbpf call of this thread. Never NULL. */
const char *kairos_libbpf_log(void);
void kairos_libbpf_log_clear(void);
/*
 * From now on libbpf's messages of this thread, whole, go to this descriptor too, with what becomes of each access to a kernel's
 * type; -1: no longer.
 */
void kairos_libbpf_report(int fd);

/*
 * Where the initial value of a global variable lies before its object is loaded, by the object's own BTF. NULL when
 * there is no variable of that name and size in the section (".rodata", ".data", ".bss").
 */
void *kairos_bpf_global(struct bpf_object *object, const char *section, const char *name, size_t size);

/*
 * Puts in the program's place what libbpf makes of an access to a field that the kernel lacks: a call of a function that there is
 * not. The verifier refuses it. For tests.
 */
int kairos_bpf_poison(struct bpf_program *program);

/*
 * Which parameter of a kernel function, from 0, is the `nth` (from 0) pointer to `struct type`, by the kernel's BTF.
 * -ENOENT: there is no such function; -ESRCH: it has no such parameter. `btf` is of btf__load_vmlinux_btf().
 */
int kairos_btf_has_function(const struct btf *btf, const char *function);
int kairos_btf_parameter(const struct btf *btf, const char *function, const char *type, int nth);
int kairos_btf_returns_pointer(const struct btf *btf, const char *function);

/* How often the kernel skipped a program because it ran on that CPU already; since Linux 5.12. -errno on failure. */
int64_t kairos_bpf_recursion_misses(int program_fd);

/* A shared, writable mapping of a descriptor from its start. NULL with errno on failure. */
void *kairos_map_shared(int fd, size_t size);
void kairos_unmap(void *address, size_t size);
long kairos_page_size(void);
int kairos_errno(void);

static inline uint64_t kairos_load64(const void *p)
{
	return __atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE);
}

static inline uint32_t kairos_load32(const void *p)
{
	return __atomic_load_n((const uint32_t *)p, __ATOMIC_ACQUIRE);
}

/* Sequentially consistent: what the caller does next (a snapshot) must not overtake it. */
static inline void kairos_store64(void *p, uint64_t v)
{
	__atomic_store_n((uint64_t *)p, v, __ATOMIC_SEQ_CST);
}

static inline void kairos_raise64(void *p, uint64_t v)
{
	uint64_t old = __atomic_load_n((uint64_t *)p, __ATOMIC_RELAXED);

	while (old < v && !__atomic_compare_exchange_n((uint64_t *)p, &old, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		;
}

static inline void kairos_store32(void *p, uint32_t v)
{
	__atomic_store_n((uint32_t *)p, v, __ATOMIC_SEQ_CST);
}

#endif
