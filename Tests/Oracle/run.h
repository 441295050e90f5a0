/* SPDX-License-Identifier: BSD-2-Clause */
/* One run of the oracle: its state, and who does what to it. */
#ifndef KAIROS_ORACLE_RUN_H
#define KAIROS_ORACLE_RUN_H

#include "oracle.h"

#define WHY 512

/* What is known of a dataset's snapshots. */
struct watched {
	char *newest;     /* its newest snapshot that was looked at, or NULL */
	struct tree tree; /* what that holds */
	int glance;
	bool stale; /* the page cache differs from what is stored in it */
};

struct figures {
	int pauses, snapshots, missed, empty, empty_at_start, empty_by_check, comparisons, stale;
};

struct oracle {
	struct plan plan;
	struct zfs zfs;
	struct kairos kairos;
	struct watched watched[MAX_DATASETS];
	struct figures figures;
	pid_t workers[MAX_WORKERS];
	int orders[MAX_WORKERS], reports[MAX_WORKERS], n_workers;
	uint64_t random;  /* of the plan: what is to be done */
	uint64_t moments; /* of when to kill: depends on how fast this machine is */
	int round;
	uint32_t round_from; /* where it begins in the log */
	int quiet_ms, max_delay_ms, min_interval_ms, patience_s, limit_s, max_faults;
	int operations, pauses;
	bool kill_restart, stall, tolerate_checks;
	int64_t begin_ms, next_kill, restart_at, next_stall, resume_at;
	char directory[64];
	const char *json, *log, *claims;
	bool broken; /* the oracle itself could not go on */
};

extern struct oracle oracle;
extern volatile sig_atomic_t interrupted;

/* ---- main.c ---- */

/* Whether it is to end. */
bool over(void);
/* The oracle itself cannot go on. */
void broken(const char *format, ...) __attribute__((format(printf, 1, 2)));
void nap(int ms);

/* ---- judge.c ---- */

/* How many operations are in the log. */
uint32_t logged(void);
void print_done(const struct done *done, FILE *out);
/* Reads the snapshots that are new and compares each with the one before it. Whether there were any. */
bool look(int dataset);
/* Snapshots that were there before are nobody's fault; the newest of them is what the first new one is compared with. */
void look_back(int dataset);
/* Starts Kairos. */
void restart(void);
/* Lets a stopped Kairos go on. */
void resume(void);
/* Stops and kills Kairos when it is time to, and lets it go on or starts it again a little later. */
void disturb(void);
/* All is still. Waits until every dataset's newest snapshot holds all that is there, as it has to be soon. */
void pause_and_judge(void);

/* ---- crew.c ---- */

void start_workers(void);
void stop_workers(void);
/* Hands a worker an order. */
void give(int worker, const struct order *order);
/* Waits for a worker's report, and meanwhile disturbs what it may. */
struct report report_of(int worker);
/* So many operations by all of them at once; how many were done. */
int all_together(const struct order *order, int count);

/* ---- options.c ---- */

/* Fills in what the command line asks for; ends the program where it is wrong. */
void parse(int argc, char **argv);

#endif
