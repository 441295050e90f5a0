/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is done to files in a directory, and what the programs have to say of it: TraceDeeds of the Swift tests, in C.
 */
#ifndef KAIROS_DEEDS_H
#define KAIROS_DEEDS_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../../bpf/kairos.h"

struct deed {
	__u32 op;
	const char *name; /* of the file, the last component; of a rename the new one */
};

struct deeds {
	struct deed done[64];
	unsigned count;
	const char *failed; /* the first step that did not work */
	int error;
};

static inline long deeds__try(struct deeds *deeds, const char *step, long result)
{
	if (result < 0 && !deeds->failed) {
		deeds->failed = step;
		deeds->error = errno;
	}
	return result;
}

static inline void deeds__note(struct deeds *deeds, __u32 op, const char *name)
{
	if (deeds->count < sizeof(deeds->done) / sizeof(deeds->done[0]))
		deeds->done[deeds->count++] = (struct deed){op, name};
}

#define TRY(call) deeds__try(deeds, #call, (call))
#define DO(op, name, call) (TRY(call), deeds__note(deeds, KAIROS_OP_##op, name))

/* In the directory that `at` is. tmpfs does not report its dirty pages: `has_writeback` is false there. */
static inline void deeds__do(struct deeds *deeds, int at, bool has_writeback)
{
	struct iovec parts[2] = {{"ab", 2}, {"cde", 3}};
	volatile char *page;
	int file;

	file = TRY(openat(at, "a", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644));
	deeds__note(deeds, KAIROS_OP_CREATE, "a");
	DO(WRITE, "a", write(file, "hello", 5));
	DO(WRITE, "a", write(file, " world", 6));
	DO(WRITE, "a", pwrite(file, "xyz", 3, 4000));
	DO(WRITE, "a", writev(file, parts, 2));
	DO(TRUNCATE, "a", ftruncate(file, 8192));
	DO(ATTR, "a", fchmod(file, 0600));
	DO(SYNC, "a", fsync(file));
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 4096);
	TRY(page == MAP_FAILED ? -1 : 0);
	deeds__note(deeds, KAIROS_OP_MAP, "a");
	if (page != MAP_FAILED) {
		*page = 7;
		if (has_writeback)
			deeds__note(deeds, KAIROS_OP_STORE, "a");
		/* The mapping holds the file: without it the descriptor is the last that does. */
		munmap((void *)page, 4096);
	}
	DO(CLOSE, "a", close(file));
	file = TRY(openat(at, "a", O_WRONLY | O_APPEND | O_CLOEXEC));
	DO(WRITE, "a", write(file, "end", 3));
	DO(CLOSE, "a", close(file));
	DO(RENAME, "b", renameat(at, "a", at, "b"));
	DO(LINK, "c", linkat(at, "b", at, "c", 0));
	DO(CREATE, "s", symlinkat("b", at, "s"));
	TRY(fchdir(at));
	DO(TRUNCATE, "b", truncate("b", 100));
	DO(ATTR, "c", fchmodat(at, "c", 0640, 0));
	DO(MKDIR, "d", mkdirat(at, "d", 0755));
	DO(RENAME, "c", renameat(at, "c", at, "d/c"));
	DO(CREATE, "f", mknodat(at, "f", S_IFIFO | 0600, 0));
	DO(UNLINK, "c", unlinkat(at, "d/c", 0));
	DO(RMDIR, "d", unlinkat(at, "d", AT_REMOVEDIR));
	DO(UNLINK, "b", unlinkat(at, "b", 0));
	DO(UNLINK, "s", unlinkat(at, "s", 0));
	DO(UNLINK, "f", unlinkat(at, "f", 0));
}

#endif
