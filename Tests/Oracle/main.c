/* SPDX-License-Identifier: BSD-2-Clause */
/* A run, from its beginning to its figures. */
#include "run.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct oracle oracle;
volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
	interrupted = signal;
}

bool over(void)
{
	return interrupted || oracle.broken ||
	       oracle.figures.missed + oracle.figures.empty >= oracle.max_faults ||
	       (oracle.limit_s && now_ms() - oracle.begin_ms > oracle.limit_s * 1000L);
}

void broken(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("oracle: ", stdout);
	vprintf(format, arguments);
	putchar('\n');
	va_end(arguments);
	oracle.broken = true;
}

void nap(int ms)
{
	struct timespec time = {ms / 1000, ms % 1000 * 1000000L};

	nanosleep(&time, NULL);
}

/* ---- The rounds ---- */

/* The kinds of change, each of which is to be the only one of a round at least once. */
static struct {
	int kinds[MAX_KINDS], n, at, passes;
} deck;

static void shuffle(void)
{
	int i;

	deck.n = deck.at = 0;
	for (i = 0; i < n_kinds; i++)
		if (kinds[i].flags & KIND_CHANGES && !oracle.plan.excluded[i])
			deck.kinds[deck.n++] = i;
	for (i = deck.n - 1; i > 0; i--) {
		int other = (int)below(&oracle.random, i + 1), kept = deck.kinds[i];

		deck.kinds[i] = deck.kinds[other];
		deck.kinds[other] = kept;
	}
}

/* One single change to each dataset, which nothing else can draw the attention to. */
static int round_lone(void)
{
	int dataset, tries, done = 0;

	for (dataset = 0; dataset < oracle.plan.n_datasets; dataset++) {
		for (tries = 0; tries < 15 && !over(); tries++) {
			struct order order = {oracle.round, 1, dataset, -1, KIND_CHANGES, 0};
			/* Mappings and descriptors are a worker's own. */
			int worker = (int)below(&oracle.random, oracle.n_workers);

			if (deck.at == deck.n) {
				deck.passes++;
				shuffle();
			}
			order.kind = deck.kinds[deck.at++];
			give(worker, &order);
			if (report_of(worker).outcome == DONE) {
				done++;
				break;
			}
		}
	}
	return done;
}

static bool any_still(void)
{
	int kind;

	for (kind = 0; kind < n_kinds; kind++)
		if (kinds[kind].flags & KIND_STILL && !oracle.plan.excluded[kind])
			return true;
	return false;
}

static int round_of(int big)
{
	struct order order = {oracle.round, 0, -1, -1, KIND_CHANGES | KIND_STILL, 0};
	unsigned which = below(&oracle.random, 20);

	if (oracle.round == 0 || which >= 12) {
		if (which % 2) {
			/* As fast as it goes, or with pauses in which snapshots are taken. */
			order.pace_us = below(&oracle.random, 2) ? 40000 : 4000;
			if ((long)order.pace_us * big / oracle.n_workers > 8000000)
				order.pace_us = 8000000u / (unsigned)(big / oracle.n_workers);
		}
		return all_together(&order, big);
	}
	if (which >= 9)
		return all_together(&order, 2 + (int)below(&oracle.random, 4 * oracle.plan.n_datasets));
	if (which >= 7 && any_still()) {
		order.flags = KIND_STILL;
		return all_together(&order, 5 + (int)below(&oracle.random, 40));
	}
	return round_lone();
}

static void run(void)
{
	int done = 0, big = oracle.operations / oracle.pauses * 3, most = 4 * oracle.pauses + 20;

	if (big < 4 * oracle.n_workers)
		big = 4 * oracle.n_workers;
	shuffle();
	/* What was there before. */
	pause_and_judge();
	while ((done < oracle.operations || oracle.round < oracle.pauses) && oracle.round < most && !over()) {
		oracle.round_from = logged();
		/* Half of the rounds begin so. */
		if (oracle.stall && below(&oracle.moments, 2))
			oracle.next_stall = 0;
		disturb();
		done += round_of(big);
		if (interrupted || oracle.broken)
			break;
		pause_and_judge();
		oracle.round++;
	}
	if (oracle.limit_s && now_ms() - oracle.begin_ms > oracle.limit_s * 1000L)
		printf("oracle: time is up after %d operations\n", done);
}

/* ---- The figures ---- */

static int count(int flags, int outcome, int kind)
{
	uint32_t n = logged(), i;
	int sum = 0;

	for (i = 0; i < n; i++) {
		const struct done *done = &oracle.plan.shared->log[i];

		sum += (kind < 0 || done->kind == kind) && kinds[done->kind].flags & flags &&
		       (outcome < 0 || done->outcome == outcome);
	}
	return sum;
}

static void write_json(FILE *out, bool passed, int seconds)
{
	static const char *const outcomes[] = {"done", "refused", "failed"};
	const struct figures *figures = &oracle.figures;
	int kind, outcome;

	fprintf(out,
		"{\"passed\":%s,\"seed\":%lu,\"claims\":\"%s\",\"operations\":%d,\"changes\":%d,\"still\":%d,"
		"\"refused\":%d,\"pauses\":%d,\"snapshots\":%d,\"comparisons\":%d,\"missed\":%d,\"empty\":%d,"
		"\"empty_at_start\":%d,\"empty_by_check\":%d,\"stale\":%d,\"records_lost\":%lu,\"kills\":%d,\"datasets\":%d,\"workers\":%d,"
		"\"passes_of_lone_changes\":%d,\"seconds\":%d,\"kinds\":{",
		passed ? "true" : "false", oracle.plan.seed, oracle.claims, count(-1, DONE, -1),
		count(KIND_CHANGES, DONE, -1), count(KIND_STILL, DONE, -1), count(-1, REFUSED, -1), figures->pauses,
		figures->snapshots, figures->comparisons, figures->missed, figures->empty, figures->empty_at_start, figures->empty_by_check, figures->stale,
		oracle.kairos.lost, oracle.kairos.kills, oracle.plan.n_datasets, oracle.n_workers, deck.passes, seconds);
	for (kind = 0; kind < n_kinds; kind++) {
		fprintf(out, "%s\"%s\":{", kind ? "," : "", kinds[kind].name);
		for (outcome = DONE; outcome <= FAILED; outcome++)
			fprintf(out, "%s\"%s\":%d", outcome ? "," : "", outcomes[outcome], count(-1, outcome, kind));
		fputs("}", out);
	}
	fputs("}}\n", out);
}

static bool conclude(void)
{
	const struct figures *figures = &oracle.figures;
	int done = count(-1, DONE, -1), kind, seconds = (int)((now_ms() - oracle.begin_ms) / 1000);
	bool passed = !interrupted && !oracle.broken && !figures->missed && !figures->empty && done >= oracle.operations;
	FILE *out;

	printf("operations done, by kind:");
	for (kind = 0; kind < n_kinds; kind++)
		if (count(-1, DONE, kind))
			printf(" %s %d", kinds[kind].name, count(-1, DONE, kind));
	printf("\nrefused by this file system:");
	for (kind = 0; kind < n_kinds; kind++)
		if (count(-1, REFUSED, kind))
			printf(" %s %d", kinds[kind].name, count(-1, REFUSED, kind));
	printf("\n%s: seed %lu, %d operations (%d changes, %d without one, %d refused), %d pauses, %d snapshots, "
	       "missed %d, empty %d",
	       passed ? "PASSED" : "FAILED", oracle.plan.seed, done, count(KIND_CHANGES, DONE, -1),
	       count(KIND_STILL, DONE, -1), count(-1, REFUSED, -1), figures->pauses, figures->snapshots, figures->missed,
	       figures->empty);
	printf(" (%d more at a start, %d by a check)", figures->empty_at_start, figures->empty_by_check);
	if (figures->stale)
		printf(", stale in the page cache %d", figures->stale);
	if (oracle.kill_restart)
		printf(", kills %d", oracle.kairos.kills);
	printf(", records lost %lu, %d s\n", oracle.kairos.lost, seconds);
	if (oracle.json && (out = fopen(oracle.json, "we"))) {
		write_json(out, passed, seconds);
		fclose(out);
	}
	if (oracle.log && (out = fopen(oracle.log, "we"))) {
		uint32_t i, n = logged();

		for (i = 0; i < n; i++)
			print_done(&oracle.plan.shared->log[i], out);
		fclose(out);
	}
	return passed;
}

/* Leaves nothing behind but the snapshots, which are the caller's to look at. */
static void clean_up(void)
{
	int tries, left = 0;

	stop_workers();
	kairos_stop(&oracle.kairos, 30);
	/* zfs-fuse calls a clone busy for seconds. */
	for (tries = 0; tries < 120 && (left = zfs_clean(&oracle.zfs)); tries++)
		nap(500);
	if (left)
		printf("oracle: %d clones could not be destroyed\n", left);
	if (*oracle.directory) {
		unlink(oracle.kairos.output);
		unlink(oracle.kairos.messages);
		rmdir(oracle.directory);
	}
}

/* ---- From the beginning to the end ---- */

static int prepare(void)
{
	size_t room = (size_t)oracle.operations * 4 + 20000;
	char path[PATH_MAX];
	struct sigaction action = {.sa_handler = on_signal};
	int i;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	umask(022);
	oracle.plan.shared = mmap(NULL, sizeof(struct shared) + room * sizeof(struct done), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (oracle.plan.shared == MAP_FAILED)
		return -1;
	oracle.plan.shared->room = (uint32_t)room;
	strcpy(oracle.directory, "/var/tmp/kairos-oracle-XXXXXX");
	if (!mkdtemp(oracle.directory)) {
		*oracle.directory = 0;
		return -1;
	}
	oracle.zfs.directory = oracle.directory;
	if (asprintf((char **)&oracle.kairos.output, "%s/output", oracle.directory) < 0 ||
	    asprintf((char **)&oracle.kairos.messages, "%s/messages", oracle.directory) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/.zfs/snapshot", oracle.plan.datasets[0].mount);
	oracle.zfs.has_dot_zfs = !access(path, F_OK);
	oracle.random = mix(oracle.plan.seed);
	oracle.moments = mix(oracle.plan.seed + 1);
	oracle.begin_ms = now_ms();
	for (i = 0; i < oracle.plan.n_datasets; i++)
		oracle.watched[i].glance = -1;
	return work_prepare(&oracle.plan);
}

int main(int argc, char **argv)
{
	bool passed;
	int i, status;

	parse(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("kairos-oracle: seed %lu, %d operations in about %d pauses, %d workers, %d datasets, claims %s\n",
	       oracle.plan.seed, oracle.operations, oracle.pauses, oracle.n_workers, oracle.plan.n_datasets,
	       oracle.claims);
	if (prepare()) {
		perror("kairos-oracle");
		clean_up();
		return 2;
	}
	for (i = 0; i < oracle.plan.n_datasets && !oracle.broken; i++)
		look_back(i);
	oracle.next_kill = now_ms() + 3000;
	start_workers();
	if (!oracle.broken)
		restart();
	if (!oracle.broken && kairos_ready(&oracle.kairos, 6 * oracle.patience_s + 10, &interrupted)) {
		kairos_tail(&oracle.kairos, 20, stdout);
		broken("kairos does not become ready");
	}
	if (!oracle.broken)
		run();
	atomic_store(&oracle.plan.shared->stop, true);
	stop_workers();
	resume();
	/* What it takes at its stop is judged too. */
	if (oracle.kairos.pid > 0 && !oracle.broken) {
		status = kairos_stop(&oracle.kairos, 60 + 3 * oracle.patience_s);
		if (status != 0 && !interrupted && !oracle.figures.missed) {
			kairos_tail(&oracle.kairos, 20, stdout);
			broken("kairos ended with wait status %x", status);
		}
		for (i = 0; i < oracle.plan.n_datasets && !interrupted; i++) {
			oracle.watched[i].glance = -1;
			look(i);
		}
	}
	passed = conclude();
	clean_up();
	return passed ? 0 : 1;
}
