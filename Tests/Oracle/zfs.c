/* SPDX-License-Identifier: BSD-2-Clause */
#include "oracle.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_CLONES 1024

static char *clones[MAX_CLONES];
static int n_clones, clones_made;

int run_program(const char *const arguments[], char **output)
{
	size_t size = 0, room = 4096;
	char *text = malloc(room);
	int ends[2], status;
	ssize_t got;
	pid_t child;

	if (pipe2(ends, O_CLOEXEC))
		return -1;
	child = fork();
	if (!child) {
		dup2(ends[1], 1);
		dup2(ends[1], 2);
		execv(arguments[0], (char *const *)arguments);
		_exit(127);
	}
	close(ends[1]);
	while ((got = read(ends[0], text + size, room - size - 1)) > 0 || (got < 0 && errno == EINTR)) {
		size += got > 0 ? got : 0;
		if (room - size < 1024)
			text = realloc(text, room *= 2);
	}
	close(ends[0]);
	text[size] = 0;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (output)
		*output = text;
	else
		free(text);
	return child < 0 ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void names_free(struct names *names)
{
	size_t i;

	for (i = 0; i < names->n; i++)
		free(names->names[i]);
	free(names->names);
	*names = (struct names){0};
}

int zfs_snapshots(const struct zfs *zfs, const struct dataset *dataset, struct names *names)
{
	/* By transaction group: the creation time has whole seconds only. */
	const char *const arguments[] = {zfs->command, "list", "-H", "-o", "name", "-t", "snapshot", "-s", "createtxg",
					 "-r", "-d", "1", dataset->name, NULL};
	size_t room = 0, length = strlen(dataset->name);
	char *output, *line, *rest;
	int status = run_program(arguments, &output);

	*names = (struct names){0};
	for (line = strtok_r(output, "\n", &rest); !status && line; line = strtok_r(NULL, "\n", &rest)) {
		if (strncmp(line, dataset->name, length) || line[length] != '@')
			continue;
		if (names->n == room)
			names->names = realloc(names->names, (room = room ? 2 * room : 64) * sizeof(char *));
		names->names[names->n++] = strdup(line);
	}
	free(output);
	return status ? -1 : 0;
}

bool zfs_exists(const struct zfs *zfs, const char *snapshot)
{
	const char *const arguments[] = {zfs->command, "list", "-H", "-o", "name", snapshot, NULL};

	return !run_program(arguments, NULL);
}

static void dot_zfs(const struct dataset *dataset, const char *snapshot, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/.zfs/snapshot/%s", dataset->mount, snapshot);
}

int zfs_glance(const struct zfs *zfs, const struct dataset *dataset)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *stream;
	int n = 0;

	if (!zfs->has_dot_zfs)
		return -1;
	dot_zfs(dataset, "", path);
	stream = opendir(path);
	if (!stream)
		return -1;
	while ((entry = readdir(stream)))
		n += entry->d_name[0] != '.';
	closedir(stream);
	return n;
}

/* zfs-fuse has no `.zfs`: a clone stands in for the snapshot. */
static int read_clone(struct zfs *zfs, const struct dataset *dataset, const char *snapshot, struct tree *tree,
		      char *why, size_t size)
{
	char point[PATH_MAX], mountpoint[PATH_MAX + 16], *clone, *output;
	const char *arguments[] = {zfs->command, "clone", "-o", mountpoint, snapshot, NULL, NULL};
	int status, result;

	zfs_clean(zfs);
	if (n_clones == MAX_CLONES)
		return snprintf(why, size, "%d clones cannot be destroyed", n_clones), -1;
	snprintf(point, sizeof(point), "%s/clone-%d", zfs->directory, ++clones_made);
	snprintf(mountpoint, sizeof(mountpoint), "mountpoint=%s", point);
	if (asprintf(&clone, "%.*s/oracle-%d-%d", (int)strcspn(dataset->name, "/@"), dataset->name, getpid(),
		     clones_made) < 0)
		abort();
	arguments[5] = clone;
	status = run_program(arguments, &output);
	if (status)
		snprintf(why, size, "zfs clone %s: %s", snapshot, output);
	free(output);
	/* Also one that could not be mounted exists. */
	clones[n_clones++] = clone;
	if (status)
		return -1;
	result = tree_read(tree, point, dataset, false, why, size);
	return result;
}

int zfs_clean(struct zfs *zfs)
{
	char point[PATH_MAX], *output;
	int i, left = 0;

	for (i = 0; i < n_clones; i++) {
		const char *const arguments[] = {zfs->command, "destroy", clones[i], NULL};
		int status = run_program(arguments, &output);

		if (status && !strstr(output, "does not exist")) {
			clones[left++] = clones[i];
		} else {
			snprintf(point, sizeof(point), "%s/clone-%s", zfs->directory, strrchr(clones[i], '-') + 1);
			rmdir(point);
			free(clones[i]);
		}
		free(output);
	}
	return n_clones = left;
}

int zfs_read(struct zfs *zfs, const struct dataset *dataset, const char *snapshot, struct tree *tree, char *why,
	     size_t size)
{
	char path[PATH_MAX];
	int result;

	if (!zfs->has_dot_zfs)
		return read_clone(zfs, dataset, snapshot, tree, why, size);
	dot_zfs(dataset, strchr(snapshot, '@') + 1, path);
	result = tree_read(tree, path, dataset, false, why, size);
	/* It was mounted by the look into it. Hundreds of them would slow everything down. */
	umount2(path, UMOUNT_NOFOLLOW);
	return result;
}
