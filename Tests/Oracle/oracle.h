/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The oracle: changes datasets at random while a Kairos watches them, and judges by reading files alone whether the
 * snapshots hold every change, and each of them a change. It shares no code with what it judges.
 */
#ifndef KAIROS_ORACLE_H
#define KAIROS_ORACLE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#define MAX_DATASETS 8
#define MAX_WORKERS 16
#define MAX_KINDS 128

struct dataset {
	const char *name;
	const char *mount;
	/* Where other datasets are mounted in it, from its root: no part of it. */
	const char *holes[MAX_DATASETS];
	int n_holes;
};

/* ---- Random numbers: the same from the same seed everywhere ---- */

static inline uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static inline uint64_t draw(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15u;
	return mix(*state);
}

/* From 0 to n - 1. */
static inline unsigned below(uint64_t *state, unsigned n)
{
	return n ? (unsigned)(draw(state) % n) : 0;
}

/* ---- tree.c: what a directory holds ---- */

struct entry {
	char *path; /* from the root, whose own is "" */
	uint16_t mode;
	uint32_t uid, gid, nlink, rdev_major, rdev_minor;
	uint64_t ino, size;
	int64_t mtime, mtime_ns, ctime, ctime_ns, btime, btime_ns;
	long flags;       /* of chattr; -1 where there are none */
	uint32_t project; /* for quotas; a change of it leaves ctime as it was */
	char *xattrs; /* name, value length, value, by name */
	size_t xattrs_size;
	char *data; /* of a file or a symbolic link */
	size_t data_size;
};

struct tree {
	struct entry *entries;
	size_t n, room;
};

/*
 * Reads everything below root into an empty tree, the content of files as programs see it or as it is stored: written out
 * first, and then read past the page cache. 0, or -1 with the reason.
 */
int tree_read(struct tree *tree, const char *root, const struct dataset *dataset, bool stored, char *why, size_t size);
void tree_free(struct tree *tree);
/* Whether they are equal; if not, the first difference in words. */
bool tree_equal(const struct tree *a, const struct tree *b, char *why, size_t size);
uint64_t tree_bytes(const struct tree *tree);

/* ---- act_*.c: what changes files, and what does not ---- */

enum outcome {
	DONE,
	REFUSED, /* this file system has no such operation */
	FAILED,  /* no such file and the like: it has changed nothing */
	SKIPPED, /* there was nothing to do it to */
};

enum {
	KIND_CHANGES = 1,
	KIND_STILL = 2,  /* changes nothing that can be seen in the tree */
	KIND_UNCALLED = 4, /* not a system call of its own: what the probe set `syscalls` does not claim to see */
};

struct worker;

struct kind {
	const char *name;
	enum outcome (*act)(struct worker *worker);
	int flags;
	int weight;
};

extern const struct kind kinds[];
extern const int n_kinds;

struct done {
	uint32_t sequence;
	uint16_t round;
	uint8_t worker, dataset, kind, outcome;
	int16_t error;
	int64_t time_ns; /* CLOCK_REALTIME at its end */
	char detail[104];
};

/* Shared by all processes of the oracle. */
struct shared {
	_Atomic uint32_t sequence;
	_Atomic bool stop;
	uint32_t room;
	struct done log[];
};

struct order {
	int round;
	int count;
	int dataset; /* or -1: any */
	int kind;    /* or -1: any that have one of these flags */
	int flags;
	unsigned pace_us; /* the longest pause between two operations */
};

struct report {
	int done;
	int outcome; /* of the last */
};

struct plan {
	struct dataset datasets[MAX_DATASETS];
	int n_datasets;
	uint64_t seed;
	bool excluded[MAX_KINDS];
	struct shared *shared;
};

/* Makes the directories that the workers start with. */
int work_prepare(const struct plan *plan);
/* A worker's life: takes orders until there are no more. */
void work(const struct plan *plan, int index, int orders, int reports) __attribute__((noreturn));

/* ---- zfs.c: the zfs command, and what a snapshot holds ---- */

struct zfs {
	const char *command;
	const char *directory; /* for the mount points of clones */
	bool has_dot_zfs;
};

struct names {
	char **names;
	size_t n;
};

/* Runs a program to its end. Its status; what it said, both ways, is in *output, to be freed. */
int run_program(const char *const arguments[], char **output);
/* All snapshots of a dataset, oldest first: full names. */
int zfs_snapshots(const struct zfs *zfs, const struct dataset *dataset, struct names *names);
void names_free(struct names *names);
/* Whether a snapshot, by its full name, is there. */
bool zfs_exists(const struct zfs *zfs, const char *snapshot);
/* How many there seem to be, cheaply; -1 when that cannot be told. */
int zfs_glance(const struct zfs *zfs, const struct dataset *dataset);
/* Reads a snapshot. 0, or -1 with the reason. */
int zfs_read(struct zfs *zfs, const struct dataset *dataset, const char *snapshot, struct tree *tree, char *why,
	     size_t size);
/* Removes clones. What is busy stays for the next time; how many that are. */
int zfs_clean(struct zfs *zfs);

/* ---- daemon.c: the Kairos under test ---- */

struct kairos {
	char *const *arguments;
	const char *output; /* file: what all of its lives said */
	const char *messages;
	pid_t pid;
	long life_begin; /* where in the output the present life begins */
	int lives, kills;
	uint64_t lost;
};

int kairos_start(struct kairos *kairos);
/* Waits until it says that it sees everything. */
int kairos_ready(struct kairos *kairos, int seconds, const volatile sig_atomic_t *stop);
void kairos_kill(struct kairos *kairos);
/* SIGTERM; its wait status, or -1 when it had to be killed. */
int kairos_stop(struct kairos *kairos, int seconds);
/* Whether it has ended of itself. */
bool kairos_gone(struct kairos *kairos, int *status);
/* Prints its lines that hold these words. */
void kairos_quote(const struct kairos *kairos, const char *words, FILE *out);
/* Prints the last lines of its output and messages. */
void kairos_tail(const struct kairos *kairos, int lines, FILE *out);
/* Whether a line has both. */
bool kairos_said(const struct kairos *kairos, const char *words, const char *others);

static inline int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#endif
