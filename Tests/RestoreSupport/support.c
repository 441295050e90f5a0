/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "CRestoreSupport.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

const int tree_immutable = FS_IMMUTABLE_FL;

/* SplitMix64. */
static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static unsigned below(uint64_t *state, unsigned limit)
{
	return next(state) % limit;
}

static void random_name(uint64_t *s, char *name, unsigned number)
{
	static const char *const odd[] = {"-rf",   "new\nline", "\x1b[31mred", "\xff\xfe", ".kairos-restore-0123456789abcdef",
	                                  "sp ace", "\xe2\x80\xae", "*",        "...",      "kairos-stage",
	                                  "links", "new",       "\\",         "%s%n"};
	unsigned i, length;

	switch (below(s, 4)) {
	case 0:
		snprintf(name, 256, "%s-%u", odd[below(s, sizeof(odd) / sizeof(*odd))], number);
		break;
	case 1: /* any bytes, as long as can be */
		length = below(s, 8) ? 1 + below(s, 40) : 255;
		for (i = 0; i < length; i++) {
			unsigned char c = 1 + below(s, 255);

			name[i] = c == '/' ? '_' : (char)c;
		}
		name[length] = 0;
		if (!strcmp(name, ".") || !strcmp(name, ".."))
			strcpy(name, "dots");
		break;
	default: snprintf(name, 256, "entry-%u", number);
	}
}

static int fill(int fd, uint64_t *s)
{
	char block[5000];
	unsigned i, pieces = below(s, 5);

	for (i = 0; i < sizeof(block); i++)
		block[i] = (char)next(s);
	for (i = 0; i < pieces; i++) {
		/* Anywhere in a few MiB: mostly holes. */
		off_t offset = below(s, 3) ? below(s, 4 << 20) : 0;

		if (pwrite(fd, block, 1 + below(s, sizeof(block)), offset) < 0)
			return -1;
	}
	if (!below(s, 4)) /* long, and dense */
		for (i = 0; i < 100; i++)
			if (pwrite(fd, block, sizeof(block), (off_t)i * (off_t)sizeof(block)) < 0)
				return -1;
	if (!below(s, 4) && ftruncate(fd, below(s, 8 << 20)))
		return -1;
	return 0;
}

/* version 2; user::rw-, user:7:r--, group::r--, mask::r--, other::--- */
static const unsigned char acl[] = {2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 7, 0, 0, 0, 4, 0, 4, 0, 255, 255,
                                    255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255};

static unsigned attributes(const char *path, bool is_link, bool is_directory, bool is_file, uint64_t *s)
{
	static const unsigned char capability[] = {1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
	char value[300];
	unsigned refused = 0, i;
	struct timespec times[2];

	(void)!lchown(path, below(s, 3) * 1000, below(s, 3) * 100);
	for (i = 0; i < sizeof(value); i++)
		value[i] = (char)next(s);
	if (!is_link && (is_directory || is_file)) {
		if (!below(s, 3) && setxattr(path, "user.some", value, below(s, sizeof(value)), 0))
			refused |= 1;
		if (!below(s, 8) && setxattr(path, "system.posix_acl_access", acl, sizeof(acl), 0))
			refused |= 2;
		if (is_directory && !below(s, 8) && setxattr(path, "system.posix_acl_default", acl, sizeof(acl), 0))
			refused |= 2;
	}
	if (!below(s, 6) && lsetxattr(path, "trusted.some", value, below(s, sizeof(value)), 0))
		refused |= 4;
	if (!is_link)
		chmod(path, below(s, 010000));
	if (is_file && !below(s, 8) && setxattr(path, "security.capability", capability, sizeof(capability), 0))
		refused |= 8;
	for (i = 0; i < 2; i++) {
		times[i].tv_sec = (time_t)below(s, 2000000000);
		times[i].tv_nsec = (long)below(s, 1000000000);
	}
	utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
	return refused;
}

int tree_make(const char *root, uint64_t seed, unsigned count)
{
	uint64_t s = seed;
	unsigned n, refused = 0, directories = 1, files = 0;
	char **dirs = calloc(count + 1, sizeof(*dirs)), **regular = calloc(count + 1, sizeof(*regular));
	char name[256], *path, target[200];

	dirs[0] = strdup(root);
	for (n = 0; n < count; n++) {
		const char *dir = dirs[below(&s, directories)];
		struct stat status;
		int fd;

		random_name(&s, name, n);
		if (asprintf(&path, "%s/%s", dir, name) < 0)
			return -1;
		if (strlen(path) > 3000 || !lstat(path, &status)) {
			free(path);
			continue;
		}
		switch (below(&s, 12)) {
		case 0:
		case 1:
		case 2:
			if (mkdir(path, 0700))
				return -1;
			dirs[directories++] = path;
			continue; /* attributes at the end: what is made in it changes its times */
		case 3:
			if (symlink(below(&s, 2) ? "/etc/passwd" : "../\xff nowhere", path))
				return -1;
			refused |= attributes(path, true, false, false, &s);
			break;
		case 4:
			if (mkfifo(path, 0600))
				return -1;
			refused |= attributes(path, false, false, false, &s);
			break;
		case 5:
			if (mknod(path, below(&s, 3) ? (below(&s, 2) ? S_IFCHR : S_IFBLK) | 0600 : S_IFSOCK | 0600,
			          makedev(below(&s, 200), below(&s, 200)))) {
				refused |= 16;
				break;
			}
			refused |= attributes(path, false, false, false, &s);
			break;
		case 6:
			if (files && link(regular[below(&s, files)], path))
				return -1;
			break;
		case 7:
			memset(target, 'x', sizeof(target) - 1);
			target[sizeof(target) - 1] = 0;
			if (symlink(target, path))
				return -1;
			break;
		default:
			fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
			if (fd < 0 || fill(fd, &s))
				return -1;
			close(fd);
			refused |= attributes(path, false, false, true, &s);
			regular[files++] = path;
			continue;
		}
		free(path);
	}
	for (n = directories; n-- > 1;)
		refused |= attributes(dirs[n], false, true, false, &s);
	refused |= attributes(dirs[0], false, true, false, &s);
	return (int)refused;
}

/* ---- What a tree is ---- */

struct line {
	char *text;
};

/* nftw() passes nothing on. */
static _Thread_local struct line *lines;
static _Thread_local size_t line_count, line_capacity, root_length;
static _Thread_local bool is_plain;
static _Thread_local struct link_name {
	ino_t inode;
	char *path;
} *link_names;
static _Thread_local size_t link_count;

static uint64_t checksum(uint64_t sum, const void *bytes, size_t count)
{
	const unsigned char *c = bytes;

	for (size_t i = 0; i < count; i++)
		sum = (sum ^ c[i]) * 0x100000001b3;
	return sum;
}

static void content(FILE *out, const char *path, const struct stat *status)
{
	int fd = open(path, O_RDONLY | O_NOATIME | O_CLOEXEC);
	static _Thread_local char block[1 << 16];
	uint64_t sum = 0xcbf29ce484222325;
	ssize_t count;
	off_t data = 0, hole = 0;

	while ((count = read(fd, block, sizeof(block))) > 0) {
		/* Holes are long, and this is no fast checksum. */
		if (!*block && !memcmp(block, block + 1, (size_t)count - 1))
			sum = sum * 31 + (uint64_t)count;
		else
			sum = checksum(sum, block, (size_t)count);
	}
	fprintf(out, " content=%016lx%s", sum, count < 0 ? "!" : "");
	if (!is_plain) {
		fprintf(out, " data=");
		while (hole < status->st_size && (data = lseek(fd, hole, SEEK_DATA)) >= 0 &&
		       (hole = lseek(fd, data, SEEK_HOLE)) >= 0)
			fprintf(out, "%ld-%ld,", data, hole);
	}
	close(fd);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void attribute_list(FILE *out, const char *path)
{
	static _Thread_local char list[1 << 16], value[1 << 16];
	ssize_t count = llistxattr(path, list, sizeof(list)), i, size;
	char *names[200];
	size_t n = 0;

	for (i = 0; i < count && n < 200; i += (ssize_t)strlen(list + i) + 1)
		names[n++] = list + i;
	qsort(names, n, sizeof(*names), compare_names);
	for (size_t k = 0; k < n; k++) {
		size = lgetxattr(path, names[k], value, sizeof(value));
		fprintf(out, " %s=%zd:%016lx", names[k], size, size > 0 ? checksum(1, value, (size_t)size) : 0);
	}
}

static const char *first_name(ino_t inode, const char *path)
{
	for (size_t i = 0; i < link_count; i++)
		if (link_names[i].inode == inode)
			return link_names[i].path;
	link_names = realloc(link_names, (link_count + 1) * sizeof(*link_names));
	link_names[link_count].inode = inode;
	link_names[link_count].path = strdup(path);
	return link_names[link_count++].path;
}

static int visit(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
	char *text = NULL, target[5000];
	size_t size;
	FILE *out = open_memstream(&text, &size);
	ssize_t length;

	(void)type;
	(void)ftw;
	for (const char *c = path + root_length; *c; c++)
		fprintf(out, (unsigned char)*c > ' ' && (unsigned char)*c < 127 && *c != '\\' ? "%c" : "\\%02x", (unsigned char)*c);
	fprintf(out, " mode=%o owner=%u:%u mtime=%ld.%09ld", status->st_mode, status->st_uid, status->st_gid,
	        status->st_mtim.tv_sec, status->st_mtim.tv_nsec);
	switch (status->st_mode & S_IFMT) {
	case S_IFREG:
		fprintf(out, " size=%ld atime=%ld.%09ld", status->st_size, status->st_atim.tv_sec, status->st_atim.tv_nsec);
		content(out, path, status);
		break;
	case S_IFLNK:
		length = readlink(path, target, sizeof(target));
		fprintf(out, " target=%zd:%016lx", length, checksum(1, target, length > 0 ? (size_t)length : 0));
		break;
	case S_IFCHR:
	case S_IFBLK: fprintf(out, " device=%lx", status->st_rdev);
	}
	/* By name, whichever is met first: made equal below. */
	if (!S_ISDIR(status->st_mode) && status->st_nlink > 1)
		fprintf(out, " links=%lu", status->st_nlink);
	if (!is_plain)
		attribute_list(out, path);
	fclose(out);
	if (line_count == line_capacity)
		lines = realloc(lines, (line_capacity = line_capacity * 2 + 64) * sizeof(*lines));
	lines[line_count++].text = text;
	return 0;
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(((const struct line *)a)->text, ((const struct line *)b)->text);
}

static _Thread_local char **paths;
static _Thread_local size_t path_count;

static int collect(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
	(void)type;
	(void)ftw;
	if (S_ISDIR(status->st_mode) || status->st_nlink < 2)
		return 0;
	paths = realloc(paths, (path_count + 1) * sizeof(*paths));
	paths[path_count++] = strdup(path);
	return 0;
}

static char *record(const char *root, bool plain)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int result;

	is_plain = plain;
	root_length = strlen(root);
	line_count = link_count = path_count = 0;
	result = nftw(root, visit, 64, FTW_PHYS);
	qsort(lines, line_count, sizeof(*lines), compare_lines);
	for (size_t i = 0; i < line_count; i++) {
		fprintf(out, "%s\n", lines[i].text);
		free(lines[i].text);
	}
	/* Which names are one file, in the names' order. */
	nftw(root, collect, 64, FTW_PHYS);
	qsort(paths, path_count, sizeof(*paths), compare_names);
	for (size_t i = 0; i < path_count; i++) {
		struct stat status;

		if (!lstat(paths[i], &status))
			fprintf(out, "same %016lx %016lx\n", checksum(1, paths[i] + root_length, strlen(paths[i] + root_length)),
			        checksum(1, first_name(status.st_ino, paths[i] + root_length),
			                 strlen(first_name(status.st_ino, paths[i] + root_length))));
		free(paths[i]);
	}
	fclose(out);
	if (result) {
		free(text);
		return NULL;
	}
	return text;
}

char *tree_record(const char *root)
{
	return record(root, false);
}

char *tree_record_plain(const char *root)
{
	return record(root, true);
}

/* ---- Deep trees ---- */

int tree_deep(const char *root, unsigned depth, unsigned name_length)
{
	char name[256] = {0};
	int fd = open(root, O_RDONLY | O_DIRECTORY), next_fd, file;

	memset(name, 'd', name_length);
	for (unsigned i = 0; i < depth; i++) {
		if (mkdirat(fd, name, 0755) || (next_fd = openat(fd, name, O_RDONLY | O_DIRECTORY)) < 0)
			return -1;
		close(fd);
		fd = next_fd;
	}
	file = openat(fd, "end", O_WRONLY | O_CREAT, 0644);
	if (file < 0 || write(file, "end", 3) != 3)
		return -1;
	close(file);
	close(fd);
	return 0;
}

int tree_depth(const char *root, unsigned name_length)
{
	char name[256] = {0}, text[4] = {0};
	int fd = open(root, O_RDONLY | O_DIRECTORY), next_fd, file, depth = 0;

	memset(name, 'd', name_length);
	while ((next_fd = openat(fd, name, O_RDONLY | O_DIRECTORY)) >= 0) {
		close(fd);
		fd = next_fd;
		depth++;
	}
	file = openat(fd, "end", O_RDONLY);
	if (file < 0 || read(file, text, 4) != 3 || strcmp(text, "end"))
		depth = -1;
	if (file >= 0)
		close(file);
	close(fd);
	return depth;
}

int tree_set_xattr(const char *path, const char *name, const void *value, size_t size)
{
	return lsetxattr(path, name, value, size, 0);
}

ssize_t tree_get_xattr(const char *path, const char *name, void *value, size_t size)
{
	return lgetxattr(path, name, value, size);
}

int tree_set_flags(const char *path, unsigned flags)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK), result = ioctl(fd, FS_IOC_SETFLAGS, &flags);

	close(fd);
	return result;
}

int tree_get_flags(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK), flags = 0, result = ioctl(fd, FS_IOC_GETFLAGS, &flags);

	close(fd);
	return result ? -1 : flags & (FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL);
}

int tree_mount(const char *target, const char *options)
{
	return mount("none", target, "tmpfs", 0, options);
}

int tree_unmount(const char *target)
{
	return umount2(target, MNT_DETACH);
}

/* ---- Somebody who is in the way ---- */

struct tree_racer {
	pthread_t thread;
	atomic_bool stopped;
	unsigned long count;
	char *directory, *victim, *decoy;
};

static void *race(void *context)
{
	struct tree_racer *racer = context;
	int dir = open(racer->directory, O_RDONLY | O_DIRECTORY);
	unsigned turn = 0;

	while (!atomic_load(&racer->stopped)) {
		DIR *list = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY));
		struct dirent *entry;

		while (list && (entry = readdir(list))) {
			char aside[300];

			if (strncmp(entry->d_name, ".kairos-restore-", 16) && strcmp(entry->d_name, racer->victim))
				continue;
			snprintf(aside, sizeof(aside), "aside-%u", turn % 512);
			/* As somebody may who owns the directory. */
			if (renameat(dir, entry->d_name, dir, aside)) {
				turn++;
				continue;
			}
			if (turn % 3 == 0)
				(void)!symlinkat(racer->decoy, dir, entry->d_name);
			else if (turn % 3 == 1)
				mkdirat(dir, entry->d_name, 0777);
			if (turn % 5 == 0)
				usleep(50);
			unlinkat(dir, entry->d_name, turn % 3 == 1 ? AT_REMOVEDIR : 0);
			(void)!renameat2(dir, aside, dir, entry->d_name, RENAME_NOREPLACE);
			racer->count++;
			turn++;
		}
		if (list)
			closedir(list);
	}
	close(dir);
	return NULL;
}

struct tree_racer *tree_race(const char *directory, const char *victim, const char *decoy)
{
	struct tree_racer *racer = calloc(1, sizeof(*racer));

	racer->directory = strdup(directory);
	racer->victim = strdup(victim);
	racer->decoy = strdup(decoy);
	pthread_create(&racer->thread, NULL, race, racer);
	return racer;
}

unsigned long tree_race_stop(struct tree_racer *racer)
{
	unsigned long count;

	atomic_store(&racer->stopped, true);
	pthread_join(racer->thread, NULL);
	count = racer->count;
	free(racer->directory);
	free(racer->victim);
	free(racer->decoy);
	free(racer);
	return count;
}

int tree_run_and_kill(const char *program, const char *mode, const char *root, const char *path, const char *directory,
                      const char *name, unsigned microseconds)
{
	const char *const words[] = {program, mode, root, path, directory, name, NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int error;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	error = posix_spawn(&pid, program, &actions, NULL, (char *const *)words, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (error)
		return error;
	usleep(microseconds);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 0;
}

int tree_move_in(uid_t user, const char *from, int directory, const char *name)
{
	int error = 0;

	/* Of this thread alone: without its file system user ID 0 it has none of root's rights over files either. */
	syscall(SYS_setfsgid, (gid_t)user);
	syscall(SYS_setfsuid, user);
	if (renameat(AT_FDCWD, from, directory, name))
		error = errno;
	syscall(SYS_setfsuid, (uid_t)0);
	syscall(SYS_setfsgid, (gid_t)0);
	return error;
}

pid_t tree_hold_lock(const char *path, long start, long length)
{
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
	int ends[2], fd = open(path, O_RDWR | O_CLOEXEC);
	char byte = 0;
	pid_t pid;

	if (fd < 0 || pipe(ends))
		return -1;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		byte = fcntl(fd, F_SETLK, &lock) ? 'n' : 'y';
		if (write(ends[1], &byte, 1) != 1)
			_exit(1);
		while (1)
			pause();
	}
	close(fd);
	if (pid > 0 && (read(ends[0], &byte, 1) != 1 || byte != 'y')) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		pid = -1;
	}
	close(ends[0]);
	close(ends[1]);
	return pid;
}
