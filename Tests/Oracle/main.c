/* SPDX-License-Identifier: BSD-2-Clause */
#include "oracle.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#define WHY 512
#define STUCK_MS 120000

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

static struct {
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
} oracle;

static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
	interrupted = signal;
}

static bool over(void)
{
	return interrupted || oracle.broken ||
	       oracle.figures.missed + oracle.figures.empty >= oracle.max_faults ||
	       (oracle.limit_s && now_ms() - oracle.begin_ms > oracle.limit_s * 1000L);
}

static void broken(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void broken(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("oracle: ", stdout);
	vprintf(format, arguments);
	putchar('\n');
	va_end(arguments);
	oracle.broken = true;
}

static void nap(int ms)
{
	struct timespec time = {ms / 1000, ms % 1000 * 1000000L};

	nanosleep(&time, NULL);
}

/* ---- The log ---- */

static uint32_t logged(void)
{
	uint32_t n = atomic_load(&oracle.plan.shared->sequence);

	return n < oracle.plan.shared->room ? n : oracle.plan.shared->room;
}

static void print_done(const struct done *done, FILE *out)
{
	static const char *const outcomes[] = {"done", "refused", "failed", "skipped"};
	time_t seconds = done->time_ns / 1000000000L;
	struct tm time;

	gmtime_r(&seconds, &time);
	fprintf(out, "%6u %02d:%02d:%02d.%06ld round %d worker %d dataset %d %s %s %s%s%s\n", done->sequence, time.tm_hour,
		time.tm_min, time.tm_sec, (long)(done->time_ns % 1000000000L / 1000), done->round, done->worker,
		done->dataset, kinds[done->kind].name, done->detail, outcomes[done->outcome], done->error ? ": " : "",
		done->error ? strerror(done->error) : "");
}

/* The last operations on a dataset, from one place in the log on. */
static void print_last(int dataset, uint32_t from, int most)
{
	uint32_t n = logged(), i, first = n;
	int found = 0;

	for (i = n; i > from && found < most; i--) {
		const struct done *done = &oracle.plan.shared->log[i - 1];

		if (done->dataset == dataset && done->outcome != SKIPPED) {
			found++;
			first = i - 1;
		}
	}
	printf("  the last operations on it:\n");
	for (i = first; i < n; i++)
		if (oracle.plan.shared->log[i].dataset == dataset && oracle.plan.shared->log[i].outcome != SKIPPED)
			print_done(&oracle.plan.shared->log[i], stdout);
}

/* All that was done to the file that a difference begins with, in whatever round. */
static void print_history(int dataset, const char *why)
{
	const char *end = *why == '\'' ? strchr(why + 1, '\'') : NULL;
	uint32_t n = logged(), i;
	char path[64];

	if (!end || end == why + 1 || end - why > 62)
		return;
	snprintf(path, sizeof(path), "%.*s", (int)(end - why - 1), why + 1);
	printf("  what the log has of %s:\n", path);
	for (i = 0; i < n; i++) {
		const struct done *done = &oracle.plan.shared->log[i];

		if (done->dataset == dataset && done->outcome == DONE && strstr(done->detail, path))
			print_done(done, stdout);
	}
}

/* ---- The judgement ---- */

static void judge_empty(int dataset, const char *before, const char *snapshot)
{
	const char *name = strchr(snapshot, '@') + 1;
	bool at_start = kairos_said(&oracle.kairos, name, "\"trigger\":\"start\"");
	/* A stop asks ZFS as well, and then its snapshot names no change. */
	bool by_check = kairos_said(&oracle.kairos, name, "\"trigger\":\"check\"") ||
			(kairos_said(&oracle.kairos, name, "\"trigger\":\"stop\"") &&
			 kairos_said(&oracle.kairos, name, "\"changes\":{}"));

	/*
	 * At a start all that it had to go by were ZFS's figures, and these change with what cannot be seen, too, such as a
	 * deleted file that was closed. The same holds for checks, but they may be rarer than they are.
	 */
	if (at_start)
		oracle.figures.empty_at_start++;
	else if (by_check && oracle.tolerate_checks)
		oracle.figures.empty_by_check++;
	else
		oracle.figures.empty++;
	printf("EMPTY%s: %s equals %s, seed %lu, round %d\n", at_start ? " at a start" : by_check ? " by a check" : "",
	       snapshot, strchr(before, '@'), oracle.plan.seed, oracle.round);
	kairos_quote(&oracle.kairos, strchr(before, '@') + 1, stdout);
	kairos_quote(&oracle.kairos, name, stdout);
	print_last(dataset, oracle.round_from, 15);
	fflush(stdout);
}

/*
 * Where little was written Kairos compares what it took with the one before, and destroys it if nothing changed; it tells of those that
 * stay. With zfs-fuse it does not. A Kairos that was killed may never tell.
 */
static bool stays(const char *snapshot)
{
	int64_t limit = now_ms() + oracle.patience_s * 1000L;

	while (oracle.zfs.has_dot_zfs && !kairos_said(&oracle.kairos, strchr(snapshot, '@') + 1, "")) {
		if (!zfs_exists(&oracle.zfs, snapshot))
			return false;
		if (interrupted || now_ms() >= limit)
			break;
		nap(50);
	}
	return true;
}

/* Reads the snapshots that are new and compares each with the one before it. Whether there were any. */
static bool look(int dataset)
{
	const struct dataset *of = &oracle.plan.datasets[dataset];
	struct watched *watched = &oracle.watched[dataset];
	int glance = zfs_glance(&oracle.zfs, of);
	struct names names;
	bool any = false;
	char why[WHY];
	size_t i = 0;

	if (glance >= 0 && glance == watched->glance)
		return false;
	if (zfs_snapshots(&oracle.zfs, of, &names)) {
		names_free(&names);
		return false;
	}
	if (watched->newest) {
		while (i < names.n && strcmp(names.names[i], watched->newest))
			i++;
		/* zfs-fuse leaves some out of its lists at times. */
		if (i == names.n) {
			names_free(&names);
			return false;
		}
		i++;
	}
	for (; i < names.n && !oracle.broken; i++) {
		struct tree tree = {0};

		if (zfs_read(&oracle.zfs, of, names.names[i], &tree, why, sizeof(why))) {
			tree_free(&tree);
			/* zfs-fuse may be at it still; the next look does it again. */
			if (!interrupted)
				printf("oracle: cannot read %s: %s\n", names.names[i], why);
			break;
		}
		oracle.figures.snapshots++;
		if (watched->newest) {
			oracle.figures.comparisons++;
			if (tree_equal(&watched->tree, &tree, why, sizeof(why))) {
				if (!stays(names.names[i])) {
					oracle.figures.snapshots--;
					tree_free(&tree);
					continue;
				}
				judge_empty(dataset, watched->newest, names.names[i]);
			}
		}
		tree_free(&watched->tree);
		free(watched->newest);
		watched->tree = tree;
		watched->newest = strdup(names.names[i]);
		any = true;
	}
	if (i == names.n)
		watched->glance = glance;
	names_free(&names);
	return any;
}

/* Snapshots that were there before are nobody's fault; the newest of them is what the first new one is compared with. */
static void look_back(int dataset)
{
	const struct dataset *of = &oracle.plan.datasets[dataset];
	struct watched *watched = &oracle.watched[dataset];
	struct names names;
	char why[WHY];

	if (zfs_snapshots(&oracle.zfs, of, &names)) {
		broken("cannot list the snapshots of %s", of->name);
	} else if (names.n) {
		watched->newest = strdup(names.names[names.n - 1]);
		if (zfs_read(&oracle.zfs, of, watched->newest, &watched->tree, why, sizeof(why)))
			broken("cannot read %s: %s", watched->newest, why);
	}
	names_free(&names);
}

/* Whether the newest snapshot equals the live files. */
static bool equals_live(int dataset, char *why)
{
	const struct dataset *of = &oracle.plan.datasets[dataset];
	struct watched *watched = &oracle.watched[dataset];
	struct tree live = {0};
	bool equal = false;

	if (!watched->newest) {
		snprintf(why, WHY, "there is no snapshot");
		return false;
	}
	if (!tree_read(&live, of->mount, of, watched->stale, why, WHY))
		equal = tree_equal(&live, &watched->tree, why, WHY);
	tree_free(&live);
	return equal;
}

/*
 * A store through a mapping, its descriptor closed while another thread extends the file by a write: FUSE's page cache then
 * keeps zeros where zfs-fuse has what was written (docs/facts.md). No snapshot equals that. Files that equal their snapshot as they are
 * stored are told of, and judged so from then on.
 */
static bool only_stale(int dataset, const char *why)
{
	struct watched *watched = &oracle.watched[dataset];
	char stored[WHY];

	if (oracle.zfs.has_dot_zfs)
		return false;
	watched->stale = true;
	if (!equals_live(dataset, stored)) {
		watched->stale = false;
		return false;
	}
	oracle.figures.stale++;
	printf("STALE: %s equals %s as it is stored, and differs as FUSE has cached it, seed %lu, round %d: %s (cached and snapshot)\n",
	       oracle.plan.datasets[dataset].name, strchr(watched->newest, '@'), oracle.plan.seed, oracle.round, why);
	print_history(dataset, why);
	fflush(stdout);
	return true;
}

static void judge_missed(int dataset, const char *why)
{
	struct watched *watched = &oracle.watched[dataset];

	oracle.figures.missed++;
	printf("MISSED: %s differs from its newest snapshot %s, seed %lu, round %d: %s (live and snapshot)\n",
	       oracle.plan.datasets[dataset].name, watched->newest ? strchr(watched->newest, '@') : "(none)",
	       oracle.plan.seed, oracle.round, why);
	print_last(dataset, oracle.round_from, 30);
	print_history(dataset, why);
	kairos_tail(&oracle.kairos, 12, stdout);
	fflush(stdout);
}

static void restart(void)
{
	if (kairos_start(&oracle.kairos))
		broken("cannot start %s: %s", oracle.kairos.arguments[0], strerror(errno));
	oracle.restart_at = 0;
}

/* Lets a stopped Kairos go on. */
static void resume(void)
{
	if (oracle.resume_at && oracle.kairos.pid > 0)
		kill(oracle.kairos.pid, SIGCONT);
	oracle.resume_at = 0;
}

/* Stops and kills Kairos when it is time to, and lets it go on or starts it again a little later. */
static void disturb(void)
{
	int64_t now = now_ms();
	int status;

	if (oracle.resume_at && now >= oracle.resume_at) {
		resume();
		oracle.next_stall = now + 20 + below(&oracle.moments, 1000);
	} else if (oracle.stall && !oracle.resume_at && oracle.kairos.pid > 0 && now >= oracle.next_stall) {
		/* What happens now fills the ring, and more than fills a small one. */
		kill(oracle.kairos.pid, SIGSTOP);
		oracle.resume_at = now + 50 + below(&oracle.moments, 500);
	}
	if (oracle.restart_at) {
		if (now >= oracle.restart_at)
			restart();
	} else if (oracle.kill_restart && now >= oracle.next_kill) {
		kairos_kill(&oracle.kairos);
		oracle.resume_at = 0;
		oracle.restart_at = now + below(&oracle.moments, 400);
		oracle.next_kill = oracle.restart_at + 100 + below(&oracle.moments, 3000);
	} else if (!oracle.kairos.pid || kairos_gone(&oracle.kairos, &status)) {
		kairos_tail(&oracle.kairos, 20, stdout);
		broken("kairos has ended of itself");
	}
}

/* All is still. Waits until every dataset's newest snapshot holds all that is there, as it has to be soon. */
static void pause_and_judge(void)
{
	int64_t begin = now_ms(), limit;
	bool fine[MAX_DATASETS] = {0};
	char why[MAX_DATASETS][WHY] = {0};
	int i, left = oracle.plan.n_datasets;

	oracle.figures.pauses++;
	/* A kill between the last change and its snapshot is the hardest one. */
	while (now_ms() < begin + oracle.quiet_ms + oracle.min_interval_ms + 150 && !over()) {
		disturb();
		nap(5);
	}
	resume();
	if (oracle.restart_at)
		restart();
	if (oracle.kill_restart && kairos_ready(&oracle.kairos, 5 * oracle.patience_s, &interrupted)) {
		kairos_tail(&oracle.kairos, 20, stdout);
		broken("kairos does not start again");
	}
	limit = now_ms() + oracle.quiet_ms + oracle.max_delay_ms + oracle.patience_s * 1000L;
	while (left && !interrupted && !oracle.broken) {
		int status;
		bool late = now_ms() > limit;

		for (i = 0; i < oracle.plan.n_datasets; i++) {
			if (fine[i])
				continue;
			look(i);
			fine[i] = equals_live(i, why[i]);
			left -= fine[i];
		}
		if (!left || late)
			break;
		if (kairos_gone(&oracle.kairos, &status)) {
			kairos_tail(&oracle.kairos, 20, stdout);
			broken("kairos has ended of itself");
		}
		nap(oracle.zfs.has_dot_zfs ? 50 : 150);
	}
	for (i = 0; i < oracle.plan.n_datasets && !interrupted && !oracle.broken; i++)
		if (!fine[i] && !only_stale(i, why[i]))
			judge_missed(i, why[i]);
}

/* ---- The workers ---- */

static void start_workers(void)
{
	pid_t parent = getpid();
	int i, other;

	for (i = 0; i < oracle.n_workers; i++) {
		int order[2], report[2];

		if (pipe2(order, O_CLOEXEC) || pipe2(report, O_CLOEXEC)) {
			broken("pipe: %s", strerror(errno));
			return;
		}
		fflush(stdout);
		oracle.workers[i] = fork();
		if (!oracle.workers[i]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent)
				_exit(127);
			/* Ctrl-C is the oracle's to handle. */
			setpgid(0, 0);
			signal(SIGINT, SIG_DFL);
			signal(SIGTERM, SIG_DFL);
			for (other = 0; other < i; other++) {
				close(oracle.orders[other]);
				close(oracle.reports[other]);
			}
			close(order[1]);
			close(report[0]);
			work(&oracle.plan, i, order[0], report[1]);
		}
		close(order[0]);
		close(report[1]);
		oracle.orders[i] = order[1];
		oracle.reports[i] = report[0];
		if (oracle.workers[i] < 0) {
			oracle.workers[i] = 0;
			broken("fork: %s", strerror(errno));
			return;
		}
	}
}

/* Where a worker hangs in the kernel. */
static void print_stack(int worker)
{
	char path[64], text[4096];
	ssize_t length = -1;
	int file;

	snprintf(path, sizeof(path), "/proc/%d/stack", oracle.workers[worker]);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file >= 0) {
		length = read(file, text, sizeof(text));
		close(file);
	}
	if (length > 0)
		printf("worker %d is in\n%.*s", worker, (int)length, text);
}

static void stop_workers(void)
{
	int i, tries;

	for (i = 0; i < oracle.n_workers; i++)
		if (oracle.workers[i] > 0)
			kill(oracle.workers[i], SIGKILL);
	for (i = 0; i < oracle.n_workers; i++) {
		if (oracle.workers[i] <= 0)
			continue;
		/* One that hangs in the kernel does not end. */
		for (tries = 0; tries < 3000 && !waitpid(oracle.workers[i], NULL, WNOHANG); tries++)
			nap(10);
		if (tries == 3000) {
			print_stack(i);
			broken("worker %d cannot be killed", i);
		}
		oracle.workers[i] = 0;
		close(oracle.orders[i]);
		close(oracle.reports[i]);
	}
}

static void give(int worker, const struct order *order)
{
	if (write(oracle.orders[worker], order, sizeof(*order)) != sizeof(*order))
		broken("worker %d takes no orders", worker);
}

/* Waits for a worker's report, and meanwhile disturbs what it may. */
static struct report report_of(int worker)
{
	struct pollfd reports = {.fd = oracle.reports[worker], .events = POLLIN};
	struct report report = {.outcome = SKIPPED};
	int64_t limit = now_ms() + STUCK_MS;
	uint32_t done = logged();

	while (!oracle.broken && !interrupted) {
		int ready = poll(&reports, 1, 5);

		if (ready > 0) {
			if (read(reports.fd, &report, sizeof(report)) != sizeof(report))
				broken("worker %d has died", worker);
			return report;
		}
		disturb();
		if (over())
			atomic_store(&oracle.plan.shared->stop, true);
		/* A single call may take seconds where ZFS waits for a transaction group. */
		if (done != logged()) {
			done = logged();
			limit = now_ms() + STUCK_MS;
		}
		if (now_ms() > limit) {
			print_stack(worker);
			broken("no worker has done anything for two minutes");
		}
	}
	atomic_store(&oracle.plan.shared->stop, true);
	return report;
}

static int all_together(const struct order *order, int count)
{
	int i, sum = 0;

	for (i = 0; i < oracle.n_workers; i++) {
		struct order part = *order;

		part.count = count / oracle.n_workers + (i < count % oracle.n_workers);
		give(i, &part);
	}
	for (i = 0; i < oracle.n_workers; i++)
		sum += report_of(i).done;
	return sum;
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

/* ---- The command line ---- */

static void usage(const char *fault)
{
	fprintf(stderr,
		"kairos-oracle: %s\n"
		"usage: kairos-oracle --kairos FILE --zfs FILE --dataset NAME=MOUNTPOINT... [OPTION]... [-- KAIROS-OPTION...]\n"
		"  --seed N             to do a run again (random)\n"
		"  --operations N       that have to succeed (2000)\n"
		"  --pauses N           about so many (40)\n"
		"  --workers N          processes that change files (4)\n"
		"  --claims all|syscalls  leave out what the probe set does not claim to see (all)\n"
		"  --quiet MS --max-delay MS --min-interval MS   Kairos's (300, 1000, 100)\n"
		"  --patience S         how much longer than it should a snapshot may take (10)\n"
		"  --probes SET --ring-bytes N   handed to Kairos\n"
		"  --kill-restart       kill Kairos at random, and start it again\n"
		"  --tolerate-checks    count empty snapshots that a check of ZFS's figures led to apart\n"
		"  --stall              stop Kairos for a moment at random\n"
		"  --only KIND,... --without KIND,...   some kinds of operations\n"
		"  --max-faults N       end after so many (5)\n"
		"  --limit S            end after this time\n"
		"  --json FILE --log FILE   the figures; all operations\n",
		fault);
	exit(64);
}

static int number(const char *text, int least)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*end || end == text || value < least || value > INT_MAX)
		usage(text);
	return (int)value;
}

static void add_dataset(char *text)
{
	struct dataset *dataset = &oracle.plan.datasets[oracle.plan.n_datasets];
	char *mount = strchr(text, '=');

	if (oracle.plan.n_datasets == MAX_DATASETS || !mount || mount[1] != '/')
		usage(text);
	*mount++ = 0;
	dataset->name = text;
	dataset->mount = mount;
	oracle.plan.n_datasets++;
}

/* Marks the kinds that are named. */
static void find_kinds(char *names, bool found[MAX_KINDS])
{
	char *name, *rest;
	int kind;

	for (name = strtok_r(names, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
		for (kind = 0; kind < n_kinds && strcmp(kinds[kind].name, name); kind++)
			;
		if (kind == n_kinds)
			usage("there is no such kind of operation");
		found[kind] = true;
	}
}

static void find_holes(void)
{
	int i, j;

	for (i = 0; i < oracle.plan.n_datasets; i++)
		for (j = 0; j < oracle.plan.n_datasets; j++) {
			struct dataset *outer = &oracle.plan.datasets[i];
			const char *inner = oracle.plan.datasets[j].mount;
			size_t length = strlen(outer->mount);

			if (i != j && !strncmp(outer->mount, inner, length) && inner[length] == '/')
				outer->holes[outer->n_holes++] = inner + length + 1;
		}
}

static char **kairos_arguments(const char *kairos, const char *probes, const char *ring, char **more, int n_more)
{
	char **arguments = calloc((size_t)(n_more + oracle.plan.n_datasets + 20), sizeof(char *));
	char *times[3];
	int n = 0, i;

	if (asprintf(&times[0], "%dms", oracle.quiet_ms) < 0 || asprintf(&times[1], "%dms", oracle.max_delay_ms) < 0 ||
	    asprintf(&times[2], "%dms", oracle.min_interval_ms) < 0)
		abort();
	arguments[n++] = (char *)kairos;
	arguments[n++] = "run";
	arguments[n++] = "--json";
	arguments[n++] = "--quiet";
	arguments[n++] = times[0];
	arguments[n++] = "--max-delay";
	arguments[n++] = times[1];
	arguments[n++] = "--min-interval";
	arguments[n++] = times[2];
	if (probes) {
		arguments[n++] = "--probes";
		arguments[n++] = (char *)probes;
	}
	if (ring) {
		arguments[n++] = "--ring-bytes";
		arguments[n++] = (char *)ring;
	}
	for (i = 0; i < n_more; i++)
		arguments[n++] = more[i];
	for (i = 0; i < oracle.plan.n_datasets; i++)
		arguments[n++] = (char *)oracle.plan.datasets[i].name;
	return arguments;
}

static void parse(int argc, char **argv)
{
	enum { KAIROS = 256, ZFS, DATASET, SEED, OPERATIONS, PAUSES, WORKERS, CLAIMS, QUIET, MAX_DELAY, MIN_INTERVAL,
	       PATIENCE, PROBES, RING, KILL, FAULTS, LIMIT, JSON, LOG, WITHOUT, ONLY, STALL, TOLERATE };
	static const struct option options[] = {
	    {"kairos", required_argument, NULL, KAIROS},
	    {"zfs", required_argument, NULL, ZFS},
	    {"dataset", required_argument, NULL, DATASET},
	    {"seed", required_argument, NULL, SEED},
	    {"operations", required_argument, NULL, OPERATIONS},
	    {"pauses", required_argument, NULL, PAUSES},
	    {"workers", required_argument, NULL, WORKERS},
	    {"claims", required_argument, NULL, CLAIMS},
	    {"quiet", required_argument, NULL, QUIET},
	    {"max-delay", required_argument, NULL, MAX_DELAY},
	    {"min-interval", required_argument, NULL, MIN_INTERVAL},
	    {"patience", required_argument, NULL, PATIENCE},
	    {"probes", required_argument, NULL, PROBES},
	    {"ring-bytes", required_argument, NULL, RING},
	    {"kill-restart", no_argument, NULL, KILL},
	    {"stall", no_argument, NULL, STALL},
	    {"tolerate-checks", no_argument, NULL, TOLERATE},
	    {"max-faults", required_argument, NULL, FAULTS},
	    {"limit", required_argument, NULL, LIMIT},
	    {"json", required_argument, NULL, JSON},
	    {"log", required_argument, NULL, LOG},
	    {"without", required_argument, NULL, WITHOUT},
	    {"only", required_argument, NULL, ONLY},
	    {0},
	};
	const char *kairos = NULL, *probes = NULL, *ring = NULL;
	bool seeded = false, some = false, only[MAX_KINDS] = {0};
	int option, kind;

	oracle.quiet_ms = 300;
	oracle.max_delay_ms = 1000;
	oracle.min_interval_ms = 100;
	oracle.patience_s = 10;
	oracle.operations = 2000;
	oracle.pauses = 40;
	oracle.n_workers = 4;
	oracle.max_faults = 5;
	oracle.claims = "all";
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case KAIROS: kairos = optarg; break;
		case ZFS: oracle.zfs.command = optarg; break;
		case DATASET: add_dataset(optarg); break;
		case SEED: oracle.plan.seed = strtoull(optarg, NULL, 0); seeded = true; break;
		case OPERATIONS: oracle.operations = number(optarg, 1); break;
		case PAUSES: oracle.pauses = number(optarg, 1); break;
		case WORKERS: oracle.n_workers = number(optarg, 1); break;
		case CLAIMS: oracle.claims = optarg; break;
		case QUIET: oracle.quiet_ms = number(optarg, 1); break;
		case MAX_DELAY: oracle.max_delay_ms = number(optarg, 1); break;
		case MIN_INTERVAL: oracle.min_interval_ms = number(optarg, 0); break;
		case PATIENCE: oracle.patience_s = number(optarg, 0); break;
		case PROBES: probes = optarg; break;
		case RING: ring = optarg; break;
		case KILL: oracle.kill_restart = true; break;
		case TOLERATE: oracle.tolerate_checks = true; break;
		case STALL: oracle.stall = true; break;
		case FAULTS: oracle.max_faults = number(optarg, 1); break;
		case LIMIT: oracle.limit_s = number(optarg, 1); break;
		case JSON: oracle.json = optarg; break;
		case LOG: oracle.log = optarg; break;
		case WITHOUT: find_kinds(optarg, oracle.plan.excluded); break;
		case ONLY: find_kinds(optarg, only); some = true; break;
		default: usage("what is wrong is said above");
		}
	}
	if (!kairos || !oracle.zfs.command || !oracle.plan.n_datasets)
		usage("--kairos, --zfs and --dataset are needed");
	if (oracle.n_workers > MAX_WORKERS)
		usage("too many workers");
	for (kind = 0; kind < n_kinds && some; kind++)
		oracle.plan.excluded[kind] |= !only[kind];
	if (!strcmp(oracle.claims, "syscalls"))
		for (kind = 0; kind < n_kinds; kind++)
			oracle.plan.excluded[kind] |= kinds[kind].flags & KIND_UNCALLED;
	else if (strcmp(oracle.claims, "all"))
		usage("--claims: there are all and syscalls");
	if (!seeded && getrandom(&oracle.plan.seed, sizeof(oracle.plan.seed), 0) != sizeof(oracle.plan.seed))
		usage("no random seed");
	if (!seeded)
		oracle.plan.seed >>= 32;
	find_holes();
	oracle.kairos.arguments = kairos_arguments(kairos, probes, ring, argv + optind, argc - optind);
}

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
