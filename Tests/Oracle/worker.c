/* SPDX-License-Identifier: BSD-2-Clause */
#include "operations.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TOP 6
#define NAMES 14

/* Names that a careless reader of paths stumbles over stand among plain ones. */
static const char *const odd[] = {"a b", "q\"uote\\", "new\nline", "\xc3\xbc\xff"};

void worker_note(struct worker *worker, const char *format, ...)
{
	size_t used = strlen(worker->detail), from = used;
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(worker->detail + used, worker->detail_size - used, format, arguments);
	va_end(arguments);
	for (; worker->detail[from]; from++)
		if ((unsigned char)worker->detail[from] < ' ')
			worker->detail[from] = '?';
}

const char *worker_absolute(struct worker *worker, int dataset, const char *path, char buffer[PATH_MAX])
{
	snprintf(buffer, PATH_MAX, "%s/%s", worker->plan->datasets[dataset].mount, path);
	return buffer;
}

static int status_of(struct worker *worker, const char *path, struct stat *status)
{
	char buffer[PATH_MAX];

	return lstat(worker_absolute(worker, worker->dataset, path, buffer), status);
}

static void random_path(struct worker *worker, char path[64])
{
	char directory[32] = "", name[16];
	unsigned n = random_below(worker, NAMES + 1);

	if (random_below(worker, 8)) {
		unsigned top = random_below(worker, TOP);
		struct stat status;

		snprintf(directory, sizeof(directory), "d%u/", top);
		if (!random_below(worker, 3)) {
			snprintf(directory, sizeof(directory), "d%u/n%u", top, random_below(worker, NAMES));
			if (status_of(worker, directory, &status) || !S_ISDIR(status.st_mode))
				directory[2] = 0;
			strcat(directory, "/");
		}
	}
	if (n < NAMES)
		snprintf(name, sizeof(name), "n%u", n);
	else
		snprintf(name, sizeof(name), "%s", odd[random_below(worker, sizeof(odd) / sizeof(odd[0]))]);
	snprintf(path, 64, "%s%s", directory, name);
}

bool worker_pick(struct worker *worker, unsigned types, char path[64])
{
	struct stat status;
	int i;

	for (i = 0; i < 60; i++) {
		random_path(worker, path);
		if (!status_of(worker, path, &status) && types & EXISTING(status.st_mode & S_IFMT)) {
			worker_note(worker, "%s ", path);
			return true;
		}
	}
	return false;
}

bool worker_pick_filled(struct worker *worker, char path[64], char whole[PATH_MAX])
{
	struct stat status;

	return worker_pick(worker, FILES, path) &&
	       !stat(worker_absolute(worker, worker->dataset, path, whole), &status) && status.st_size;
}

bool worker_pick_free(struct worker *worker, char path[64])
{
	struct stat status;
	int i;

	for (i = 0; i < 40; i++) {
		random_path(worker, path);
		if (status_of(worker, path, &status) && errno == ENOENT) {
			worker_note(worker, "%s ", path);
			return true;
		}
	}
	return false;
}

void worker_place(struct worker *worker, const char *path, struct place *place)
{
	const char *mount = worker->plan->datasets[worker->dataset].mount, *slash = strrchr(path, '/');
	char parent[PATH_MAX];

	*place = (struct place){.dirfd = AT_FDCWD, .close = -1};
	snprintf(parent, sizeof(parent), "%s/%.*s", mount, slash ? (int)(slash - path) : 0, path);
	switch (random_below(worker, 6)) {
	case 0:
		place->dirfd = place->close = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (place->dirfd < 0)
			break;
		snprintf(place->name, sizeof(place->name), "%s", path);
		return;
	case 1:
		place->dirfd = place->close = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (place->dirfd < 0)
			break;
		snprintf(place->name, sizeof(place->name), "%s", slash ? slash + 1 : path);
		return;
	case 2:
		if (chdir(mount))
			break;
		snprintf(place->name, sizeof(place->name), "%s", path);
		return;
	case 3:
		if (chdir(parent))
			break;
		snprintf(place->name, sizeof(place->name), "%s", slash ? slash + 1 : path);
		return;
	case 4:
		snprintf(place->name, sizeof(place->name), "%s/./d0/..//%s", mount, path);
		return;
	}
	place->dirfd = AT_FDCWD;
	place->close = -1;
	snprintf(place->name, sizeof(place->name), "%s/%s", mount, path);
}

void worker_leave(struct place *place)
{
	int kept = errno;

	if (place->close >= 0)
		close(place->close);
	errno = kept;
}

int worker_open(struct worker *worker, const char *path, int flags)
{
	struct place place;
	int file;

	worker_place(worker, path, &place);
	file = openat(place.dirfd, place.name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
	worker_leave(&place);
	return file;
}

enum outcome worker_outcome(struct worker *worker, long result)
{
	worker->error = 0;
	if (result >= 0)
		return DONE;
	worker->error = errno;
	switch (errno) {
	case EOPNOTSUPP:
	case ENOSYS:
	case ENOTTY:
	case EINVAL:
		return REFUSED;
	default:
		return FAILED;
	}
}

void worker_fill(struct worker *worker, void *buffer, size_t size)
{
	/* Numbers that nobody wrote before, in a pattern that a pool with compression keeps small. */
	uint64_t value = ((uint64_t)(worker->index + 1) << 56) | ++worker->stamp << 8 | '\n';
	size_t i;

	for (i = 0; i < size; i++)
		((char *)buffer)[i] = (char)(value >> 8 * (i % 8));
}

static void remember(struct worker *worker, const struct order *order, int kind, enum outcome outcome)
{
	struct shared *shared = worker->plan->shared;
	uint32_t sequence = atomic_fetch_add(&shared->sequence, 1);
	struct done *done;
	struct timespec now;

	if (sequence >= shared->room)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	done = &shared->log[sequence];
	done->round = (uint16_t)order->round;
	done->worker = (uint8_t)worker->index;
	done->dataset = (uint8_t)worker->dataset;
	done->kind = (uint8_t)kind;
	done->outcome = (uint8_t)outcome;
	done->error = (int16_t)worker->error;
	done->time_ns = now.tv_sec * 1000000000L + now.tv_nsec;
	snprintf(done->detail, sizeof(done->detail), "%s", worker->detail);
	done->sequence = sequence + 1;
}

static int choose(struct worker *worker, const struct order *order)
{
	int i, sum = 0, at;

	if (order->kind >= 0)
		return order->kind;
	for (i = 0; i < n_kinds; i++)
		if (kinds[i].flags & order->flags && !worker->plan->excluded[i])
			sum += kinds[i].weight;
	at = (int)random_below(worker, sum);
	for (i = 0; i < n_kinds; i++) {
		if (!(kinds[i].flags & order->flags) || worker->plan->excluded[i])
			continue;
		if (at < kinds[i].weight)
			return i;
		at -= kinds[i].weight;
	}
	return 0;
}

static struct report obey(struct worker *worker, const struct order *order)
{
	struct report report = {0};
	char detail[sizeof(((struct done *)0)->detail)];
	int i;

	worker->detail = detail;
	worker->detail_size = sizeof(detail);
	/* A round can be done again without those before it, as far as it does not depend on what they left. */
	worker->random = mix(worker->plan->seed ^ mix((uint64_t)order->round << 8 | (unsigned)worker->index));
	for (i = 0; i < order->count && !atomic_load(&worker->plan->shared->stop); i++) {
		int kind = choose(worker, order);
		enum outcome outcome;

		worker->dataset =
		    order->dataset >= 0 ? order->dataset : (int)random_below(worker, worker->plan->n_datasets);
		worker->error = 0;
		detail[0] = 0;
		outcome = kinds[kind].act(worker);
		remember(worker, order, kind, outcome);
		report.done += outcome == DONE;
		report.outcome = outcome;
		if (order->pace_us)
			usleep(random_below(worker, order->pace_us));
	}
	/* A working directory that another worker removes would make the next relative path fail. */
	if (chdir("/"))
		abort();
	return report;
}

void work(const struct plan *plan, int index, int orders, int reports)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	char title[16];
	struct order order;
	int i;

	snprintf(title, sizeof(title), "oracle-%d", index);
	prctl(PR_SET_NAME, title);
	worker->plan = plan;
	worker->index = index;
	for (i = 0; i < HELD; i++)
		worker->mappings[i].file = worker->held[i].file = worker->orphans[i].file = -1;
	worker->rings[0].fd = worker->rings[1].fd = -1;
	worker->rings[1].sqpoll = true;
	while (read(orders, &order, sizeof(order)) == sizeof(order)) {
		struct report report = obey(worker, &order);

		if (write(reports, &report, sizeof(report)) != sizeof(report))
			break;
	}
	_exit(0);
}

int work_prepare(const struct plan *plan)
{
	char path[PATH_MAX];
	int i, top;

	for (i = 0; i < plan->n_datasets; i++)
		for (top = 0; top < TOP; top++) {
			snprintf(path, sizeof(path), "%s/d%d", plan->datasets[i].mount, top);
			if (mkdir(path, 0755) && errno != EEXIST)
				return -1;
		}
	return 0;
}
