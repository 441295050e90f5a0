/* SPDX-License-Identifier: BSD-2-Clause */
#include "oracle.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

struct reader {
	struct tree *tree;
	const struct dataset *dataset;
	bool stored;
	char *why;
	size_t size;
};

static int fault(struct reader *reader, const char *what, const char *path)
{
	snprintf(reader->why, reader->size, "%s '%s': %s", what, path, strerror(errno));
	return -1;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a directory, sorted. */
static int list(int directory, char ***names, size_t *n)
{
	size_t room = 0;
	struct dirent *found;
	DIR *stream;
	int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME);

	*names = NULL;
	*n = 0;
	if (copy < 0 || !(stream = fdopendir(copy)))
		return -1;
	while ((errno = 0, found = readdir(stream))) {
		if (!strcmp(found->d_name, ".") || !strcmp(found->d_name, ".."))
			continue;
		if (*n == room)
			*names = realloc(*names, (room = room ? 2 * room : 64) * sizeof(char *));
		(*names)[(*n)++] = strdup(found->d_name);
	}
	if (errno) {
		closedir(stream);
		return -1;
	}
	closedir(stream);
	qsort(*names, *n, sizeof(char *), compare_names);
	return 0;
}

/* All extended attributes of what stands at a path. A file system without them has none. */
static int read_xattrs(const char *path, struct entry *entry)
{
	char names[16384], value[65536];
	ssize_t length = llistxattr(path, names, sizeof(names));
	char *sorted[512];
	size_t n = 0, i;

	if (length < 0)
		return errno == ENOTSUP || errno == ENOSYS ? 0 : -1;
	for (char *name = names; name < names + length && n < 512; name += strlen(name) + 1)
		sorted[n++] = name;
	qsort(sorted, n, sizeof(char *), compare_names);
	for (i = 0; i < n; i++) {
		ssize_t got = lgetxattr(path, sorted[i], value, sizeof(value));
		size_t name_size = strlen(sorted[i]) + 1;
		char *end;

		if (got < 0)
			return -1;
		entry->xattrs = realloc(entry->xattrs, entry->xattrs_size + name_size + sizeof(got) + got);
		end = entry->xattrs + entry->xattrs_size;
		memcpy(end, sorted[i], name_size);
		memcpy(end + name_size, &got, sizeof(got));
		memcpy(end + name_size + sizeof(got), value, got);
		entry->xattrs_size += name_size + sizeof(got) + got;
	}
	return 0;
}

static int read_data(int file, bool stored, struct entry *entry)
{
	size_t room = entry->size + 1;

	if (stored && (fdatasync(file) || fcntl(file, F_SETFL, O_DIRECT | O_NOATIME)))
		return -1;
	entry->data = malloc(room);
	for (;;) {
		ssize_t got = read(file, entry->data + entry->data_size, room - entry->data_size);

		if (got < 0)
			return -1;
		if (!got)
			return 0;
		entry->data_size += got;
		if (entry->data_size == room)
			entry->data = realloc(entry->data, room *= 2);
	}
}

static bool is_hole(const struct dataset *dataset, const char *path)
{
	int i;

	for (i = 0; i < dataset->n_holes; i++)
		if (!strcmp(dataset->holes[i], path))
			return true;
	return false;
}

static int read_entry(struct reader *reader, int parent, const char *name, const char *path);

static int read_below(struct reader *reader, int directory, const char *path)
{
	char **names, *below;
	size_t n, i;
	int result = 0;

	if (list(directory, &names, &n))
		return fault(reader, "list", path);
	for (i = 0; i < n; i++) {
		if (!result) {
			if (asprintf(&below, "%s%s%s", path, *path ? "/" : "", names[i]) < 0)
				abort();
			if (!is_hole(reader->dataset, below))
				result = read_entry(reader, directory, names[i], below);
			free(below);
		}
		free(names[i]);
	}
	free(names);
	return result;
}

static int read_entry(struct reader *reader, int parent, const char *name, const char *path)
{
	struct tree *tree = reader->tree;
	struct entry entry = {.flags = -1};
	char target[PATH_MAX], magic[64 + NAME_MAX];
	int file = -1, result = 0;
	struct fsxattr attributes;
	struct statx status;
	ssize_t length;
	long flags = 0;

	/* A file system in user space is asked, and not what the kernel remembers of it. */
	if (statx(parent, name, AT_SYMLINK_NOFOLLOW | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS | STATX_BTIME, &status))
		return fault(reader, "statx", path);
	entry.path = strdup(path);
	entry.mode = status.stx_mode;
	entry.uid = status.stx_uid;
	entry.gid = status.stx_gid;
	entry.nlink = status.stx_nlink;
	entry.rdev_major = status.stx_rdev_major;
	entry.rdev_minor = status.stx_rdev_minor;
	entry.ino = status.stx_ino;
	entry.size = status.stx_size;
	entry.mtime = status.stx_mtime.tv_sec;
	entry.mtime_ns = status.stx_mtime.tv_nsec;
	entry.ctime = status.stx_ctime.tv_sec;
	entry.ctime_ns = status.stx_ctime.tv_nsec;
	if (status.stx_mask & STATX_BTIME) {
		entry.btime = status.stx_btime.tv_sec;
		entry.btime_ns = status.stx_btime.tv_nsec;
	}
	if (S_ISREG(entry.mode) || S_ISDIR(entry.mode)) {
		file = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOATIME);
		if (file < 0)
			result = fault(reader, "open", path);
		else if (!ioctl(file, FS_IOC_GETFLAGS, &flags))
			entry.flags = flags;
		if (file >= 0 && !ioctl(file, FS_IOC_FSGETXATTR, &attributes))
			entry.project = attributes.fsx_projid;
	}
	if (!result && S_ISREG(entry.mode) && read_data(file, reader->stored, &entry))
		result = fault(reader, "read", path);
	if (!result && S_ISLNK(entry.mode)) {
		length = readlinkat(parent, name, target, sizeof(target));
		if (length < 0)
			result = fault(reader, "readlink", path);
		else
			entry.data = memcpy(malloc(length + 1), target, entry.data_size = length);
	}
	snprintf(magic, sizeof(magic), "/proc/self/fd/%d/%s", parent, name);
	if (!result && read_xattrs(magic, &entry))
		result = fault(reader, "read the extended attributes of", path);
	if (tree->n == tree->room)
		tree->entries = realloc(tree->entries, (tree->room = tree->room ? 2 * tree->room : 256) * sizeof(entry));
	tree->entries[tree->n++] = entry;
	if (!result && S_ISDIR(entry.mode))
		result = read_below(reader, file, path);
	if (file >= 0)
		close(file);
	return result;
}

int tree_read(struct tree *tree, const char *root, const struct dataset *dataset, bool stored, char *why, size_t size)
{
	struct reader reader = {tree, dataset, stored, why, size};
	int directory = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME), result;

	if (directory < 0)
		return fault(&reader, "open", root);
	result = read_entry(&reader, directory, ".", "");
	close(directory);
	return result;
}

void tree_free(struct tree *tree)
{
	size_t i;

	for (i = 0; i < tree->n; i++) {
		free(tree->entries[i].path);
		free(tree->entries[i].xattrs);
		free(tree->entries[i].data);
	}
	free(tree->entries);
	*tree = (struct tree){0};
}

uint64_t tree_bytes(const struct tree *tree)
{
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < tree->n; i++)
		bytes += tree->entries[i].data_size;
	return bytes;
}

static bool equal(const struct entry *a, const struct entry *b, char *why, size_t size)
{
	size_t i;

#define FIELD(field, format)                                                                                           \
	if (a->field != b->field) {                                                                                    \
		snprintf(why, size, "'%s': " #field " is " format " and " format, a->path, a->field, b->field);        \
		return false;                                                                                          \
	}
	/* OpenZFS gives the root of a snapshot in `.zfs` a number made from the snapshot's. */
	if (*a->path)
		FIELD(ino, "%lu")
	FIELD(mode, "%o")
	FIELD(uid, "%u")
	FIELD(gid, "%u")
	FIELD(rdev_major, "%u")
	FIELD(rdev_minor, "%u")
	FIELD(size, "%lu")
	if (a->data_size != b->data_size) {
		snprintf(why, size, "'%s': %zu and %zu bytes could be read", a->path, a->data_size, b->data_size);
		return false;
	}
	if (a->data_size && memcmp(a->data, b->data, a->data_size)) {
		for (i = 0; a->data[i] == b->data[i]; i++)
			;
		snprintf(why, size, "'%s': the content differs from byte %zu of %zu on", a->path, i, a->data_size);
		return false;
	}
	if (a->xattrs_size != b->xattrs_size || (a->xattrs_size && memcmp(a->xattrs, b->xattrs, a->xattrs_size))) {
		snprintf(why, size, "'%s': the extended attributes differ", a->path);
		return false;
	}
	FIELD(flags, "%lx")
	FIELD(project, "%u")
	FIELD(nlink, "%u")
	FIELD(mtime, "%ld")
	FIELD(mtime_ns, "%ld")
	FIELD(ctime, "%ld")
	FIELD(ctime_ns, "%ld")
	FIELD(btime, "%ld")
	FIELD(btime_ns, "%ld")
#undef FIELD
	return true;
}

bool tree_equal(const struct tree *a, const struct tree *b, char *why, size_t size)
{
	const char *missing = NULL;
	size_t i;

	/* Both are in the same order. Names first: they tell more than the times of the directory above them. */
	for (i = 0; i < a->n && i < b->n; i++) {
		int order = strcmp(a->entries[i].path, b->entries[i].path);

		if (order) {
			snprintf(why, size, "'%s' is only in the one, or '%s' only in the other", a->entries[i].path,
				 b->entries[i].path);
			return false;
		}
	}
	if (a->n != b->n) {
		missing = a->n > b->n ? a->entries[b->n].path : b->entries[a->n].path;
		snprintf(why, size, "'%s' is only in the %s", missing, a->n > b->n ? "one" : "other");
		return false;
	}
	/* The root and other directories last, for the same reason. */
	for (i = 0; i < a->n; i++)
		if (!S_ISDIR(a->entries[i].mode) && !equal(&a->entries[i], &b->entries[i], why, size))
			return false;
	for (i = 0; i < a->n; i++)
		if (S_ISDIR(a->entries[i].mode) && !equal(&a->entries[i], &b->entries[i], why, size))
			return false;
	return true;
}
