/* SPDX-License-Identifier: BSD-2-Clause */
/* What snapshots hold, and what they should. */
#include "run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- The log ---- */

uint32_t logged(void)
{
	uint32_t n = atomic_load(&oracle.plan.shared->sequence);

	return n < oracle.plan.shared->room ? n : oracle.plan.shared->room;
}

void print_done(const struct done *done, FILE *out)
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

bool look(int dataset)
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

void look_back(int dataset)
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

void restart(void)
{
	if (kairos_start(&oracle.kairos))
		broken("cannot start %s: %s", oracle.kairos.arguments[0], strerror(errno));
	oracle.restart_at = 0;
}

void resume(void)
{
	if (oracle.resume_at && oracle.kairos.pid > 0)
		kill(oracle.kairos.pid, SIGCONT);
	oracle.resume_at = 0;
}

void disturb(void)
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

void pause_and_judge(void)
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
