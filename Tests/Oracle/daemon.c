/* SPDX-License-Identifier: BSD-2-Clause */
#include "oracle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* All of a file from an offset on, with a 0 at the end. */
static char *contents(const char *path, long from)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	long end = file < 0 ? 0 : lseek(file, 0, SEEK_END), size = end > from ? end - from : 0, got = 0;
	char *text = malloc(size + 1);

	while (got < size) {
		ssize_t n = pread(file, text + got, size - got, from + got);

		if (n <= 0)
			break;
		got += n;
	}
	text[got] = 0;
	if (file >= 0)
		close(file);
	return text;
}

int kairos_start(struct kairos *kairos)
{
	int output = open(kairos->output, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	int messages = open(kairos->messages, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	pid_t oracle = getpid();

	if (output < 0 || messages < 0)
		return -1;
	kairos->life_begin = lseek(output, 0, SEEK_END);
	kairos->lives++;
	kairos->pid = fork();
	if (!kairos->pid) {
		/* It must not outlive an oracle that is killed. Ctrl-C on the terminal is the oracle's to handle. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != oracle)
			_exit(127);
		setpgid(0, 0);
		dup2(open("/dev/null", O_RDONLY), 0);
		dup2(output, 1);
		dup2(messages, 2);
		execv(kairos->arguments[0], kairos->arguments);
		dprintf(2, "%s: %s\n", kairos->arguments[0], strerror(errno));
		_exit(127);
	}
	close(output);
	close(messages);
	return kairos->pid < 0 ? -1 : 0;
}

static uint64_t number_after(const char *text, const char *end, const char *key)
{
	const char *found = memmem(text, end - text, key, strlen(key));

	return found ? strtoull(found + strlen(key), NULL, 10) : 0;
}

/* Adds the lost records of the life that has ended: from its summary, or else from its snapshots. */
static void count_lost(struct kairos *kairos)
{
	char *text = contents(kairos->output, kairos->life_begin), *line, *end;
	uint64_t sum = 0;

	for (line = text; (end = strchr(line, '\n')); line = end + 1) {
		uint64_t lost = number_after(line, end, "\"records_lost\":");

		if (memmem(line, end - line, "\"event\":\"stopped\"", 17))
			sum = lost;
		else if (memmem(line, end - line, "\"event\":\"snapshot\"", 18))
			sum += lost;
	}
	kairos->lost += sum;
	free(text);
}

int kairos_ready(struct kairos *kairos, int seconds, const volatile sig_atomic_t *stop)
{
	int64_t limit = now_ms() + seconds * 1000L;

	while (!*stop && now_ms() < limit) {
		char *text = contents(kairos->output, kairos->life_begin);
		bool ready = strstr(text, "\"event\":\"ready\"");
		int status;

		free(text);
		if (ready)
			return 0;
		if (kairos_gone(kairos, &status))
			return -1;
		usleep(20000);
	}
	return -1;
}

void kairos_kill(struct kairos *kairos)
{
	if (kairos->pid <= 0)
		return;
	kill(kairos->pid, SIGKILL);
	while (waitpid(kairos->pid, NULL, 0) < 0 && errno == EINTR)
		;
	kairos->pid = 0;
	kairos->kills++;
	count_lost(kairos);
}

bool kairos_gone(struct kairos *kairos, int *status)
{
	if (kairos->pid <= 0)
		return true;
	if (waitpid(kairos->pid, status, WNOHANG) != kairos->pid)
		return false;
	kairos->pid = 0;
	count_lost(kairos);
	return true;
}

int kairos_stop(struct kairos *kairos, int seconds)
{
	int64_t limit = now_ms() + seconds * 1000L;
	int status = -1;

	if (kairos->pid <= 0)
		return 0;
	kill(kairos->pid, SIGTERM);
	while (now_ms() < limit) {
		if (kairos_gone(kairos, &status))
			return status;
		usleep(10000);
	}
	kairos_kill(kairos);
	return -1;
}

void kairos_quote(const struct kairos *kairos, const char *words, FILE *out)
{
	char *text = contents(kairos->output, 0), *line, *rest;

	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		if (strstr(line, words))
			fprintf(out, "    kairos: %s\n", line);
	free(text);
}

bool kairos_said(const struct kairos *kairos, const char *words, const char *others)
{
	char *text = contents(kairos->output, 0), *line, *rest;
	bool found = false;

	for (line = strtok_r(text, "\n", &rest); line && !found; line = strtok_r(NULL, "\n", &rest))
		found = strstr(line, words) && strstr(line, others);
	free(text);
	return found;
}

void kairos_tail(const struct kairos *kairos, int lines, FILE *out)
{
	const char *files[] = {kairos->output, kairos->messages};
	int i, n;

	for (i = 0; i < 2; i++) {
		char *text = contents(files[i], 0), *from = text + strlen(text);

		for (n = 0; from > text && n <= lines; from--)
			n += from[-1] == '\n' && n < lines + 1;
		if (n > lines)
			from += 2;
		fprintf(out, "--- the end of kairos' %s\n%s", i ? "messages" : "output", from);
		free(text);
	}
}
