/* SPDX-License-Identifier: BSD-2-Clause */
/* The worker processes, as the oracle leads them. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define STUCK_MS 120000

void start_workers(void)
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

void stop_workers(void)
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

void give(int worker, const struct order *order)
{
	if (write(oracle.orders[worker], order, sizeof(*order)) != sizeof(*order))
		broken("worker %d takes no orders", worker);
}

struct report report_of(int worker)
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

int all_together(const struct order *order, int count)
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
