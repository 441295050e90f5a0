/* SPDX-License-Identifier: BSD-2-Clause */
/* What a worker holds on to, and how it finds something to do an operation to. */
#ifndef KAIROS_ORACLE_WORKER_H
#define KAIROS_ORACLE_WORKER_H

#include "oracle.h"

#define HELD 6
#define MAX_FILE (160 << 10)

struct mapping {
	char *address;
	size_t length;
	int file; /* or -1: closed after mapping */
	int dataset;
	char path[64];
};

struct held {
	int file;
	int dataset;
	char path[64];
};

struct ring {
	int fd;
	bool tried, sqpoll;
	void *sq, *cq;
	struct io_uring_sqe *sqes;
	unsigned *sq_tail, *sq_mask, *sq_array, *sq_flags, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_cqe *cqes;
};

struct worker {
	const struct plan *plan;
	int index;
	uint64_t random;
	int dataset; /* of this operation */
	int error;
	char *detail;
	size_t detail_size;
	uint64_t stamp; /* makes all that is written differ from what stood there */
	struct mapping mappings[HELD];
	struct held held[HELD];    /* open for long */
	struct held orphans[HELD]; /* open and deleted */
	struct ring rings[2];
	unsigned long aio;
};

/* How a path is handed to the kernel: kairos has to find the dataset whatever it looks like. */
struct place {
	int dirfd; /* or AT_FDCWD */
	int close; /* to be closed after it, or -1 */
	char name[PATH_MAX];
};

#define EXISTING(type) (1u << ((type) >> 12))
#define ANY_TYPE 0xffffu

static inline unsigned random_below(struct worker *worker, unsigned n)
{
	return below(&worker->random, n);
}

/* Adds to what the log says of this operation. */
void worker_note(struct worker *worker, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Something of one of these types in the worker's dataset: its path from the root there. */
bool worker_pick(struct worker *worker, unsigned types, char path[64]);
/* A file that holds something, and its path from the root. */
bool worker_pick_filled(struct worker *worker, char path[64], char whole[PATH_MAX]);
/* A name that nothing has. */
bool worker_pick_free(struct worker *worker, char path[64]);
const char *worker_absolute(struct worker *worker, int dataset, const char *path, char buffer[PATH_MAX]);
/* One way or another to name it. */
void worker_place(struct worker *worker, const char *path, struct place *place);
void worker_leave(struct place *place);
int worker_open(struct worker *worker, const char *path, int flags);
/* The outcome of a call: anything but a negative result is done. */
enum outcome worker_outcome(struct worker *worker, long result);
/* Fills a buffer with what was never written before. */
void worker_fill(struct worker *worker, void *buffer, size_t size);

#endif
