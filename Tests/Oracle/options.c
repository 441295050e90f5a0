/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line. */
#include "run.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

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

void parse(int argc, char **argv)
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
