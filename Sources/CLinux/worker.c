/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The kernel sends this to the worker when its parent dies. */
#define WAITER_DIED SIGUSR1

/* Shared by both: a signal was passed on to the worker. */
static volatile sig_atomic_t *is_passed_on;

/* The parent is gone, so stdout and stderr go to /dev/null: a pipe must not stay open. If it passed no signal on, stop now. */
static void waiter_died(int number)
{
	int saved = errno, null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)number;
	if (null >= 0) {
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		close(null);
	}
	if (!*is_passed_on)
		kill(getpid(), SIGTERM);
	errno = saved;
}

static bool is_ignored(int number)
{
	struct sigaction now;

	return !sigaction(number, NULL, &now) && now.sa_handler == SIG_IGN;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void work(pid_t waiter, const sigset_t *before)
{
	struct sigaction action = {.sa_handler = waiter_died, .sa_flags = SA_RESTART};
	sigset_t death;

	setsid();
	sigaction(WAITER_DIED, &action, NULL);
	prctl(PR_SET_PDEATHSIG, WAITER_DIED);
	sigprocmask(SIG_SETMASK, before, NULL);
	sigemptyset(&death);
	sigaddset(&death, WAITER_DIED);
	sigprocmask(SIG_UNBLOCK, &death, NULL);
	/* It may have died before that was set. */
	if (getppid() != waiter)
		raise(WAITER_DIED);
}

/* Waits for the worker to end, or for `patience_ms` after the first signal that is passed on to it. */
static struct kairos_worker_end await(pid_t worker, const sigset_t *caught, int patience_ms)
{
	int64_t leave_at = 0;
	int first = 0;

	for (;;) {
		int64_t left = leave_at - now_ms();
		struct timespec limit;
		int number, status;

		if (first && left <= 0)
			return (struct kairos_worker_end){.running = worker, .status = 128 + first};
		limit = (struct timespec){.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};
		number = sigtimedwait(caught, NULL, first ? &limit : NULL);
		if (number == SIGCHLD) {
			if (waitpid(worker, &status, WNOHANG) != worker)
				continue;
			status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			/* Stopped by it, whatever the worker calls that. */
			return (struct kairos_worker_end){.status = first && status ? 128 + first : status};
		}
		if (number < 0)
			continue;
		*is_passed_on = 1;
		kill(worker, number);
		if (!first) {
			first = number;
			leave_at = now_ms() + patience_ms;
		}
	}
}

int kairos_worker_start(int patience_ms, struct kairos_worker_end *end)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	pid_t waiter = getpid(), worker;
	sigset_t caught, before;
	size_t i;

	is_passed_on = mmap(NULL, sizeof(*is_passed_on), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (is_passed_on == MAP_FAILED)
		return -1;
	sigemptyset(&caught);
	sigaddset(&caught, SIGCHLD);
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (!is_ignored(signals[i]))
			sigaddset(&caught, signals[i]);
	/* With SIGCHLD ignored the kernel reaps the worker and sends no signal. */
	signal(SIGCHLD, SIG_DFL);
	sigprocmask(SIG_BLOCK, &caught, &before);
	worker = fork();
	if (worker < 0) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		return -1;
	}
	if (!worker) {
		work(waiter, &before);
		return 0;
	}
	*end = await(worker, &caught, patience_ms);
	return 1;
}
