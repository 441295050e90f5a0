/* SPDX-License-Identifier: BSD-2-Clause */
/* Operations on mapped memory. */
#include "operations.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static sigjmp_buf beyond_end;

static void on_bus_error(int signal)
{
	siglongjmp(beyond_end, signal);
}

bool store(volatile char *at, char byte)
{
	static bool prepared;

	if (!prepared) {
		struct sigaction action = {.sa_handler = on_bus_error};

		sigaction(SIGBUS, &action, NULL);
		prepared = true;
	}
	if (sigsetjmp(beyond_end, 1))
		return false;
	*at ^= byte;
	return true;
}

void drop(struct mapping *mapping)
{
	if (mapping->address)
		munmap(mapping->address, mapping->length);
	if (mapping->file >= 0)
		close(mapping->file);
	*mapping = (struct mapping){.file = -1};
}

static enum outcome store_some(struct worker *worker, struct mapping *mapping)
{
	size_t length = mapping->length, at;
	struct stat status;
	int i, n = 1 + (int)random_below(worker, 3);

	if (mapping->file >= 0) {
		if (fstat(mapping->file, &status) || !status.st_nlink || !status.st_size) {
			drop(mapping);
			return SKIPPED;
		}
		if ((size_t)status.st_size < length)
			length = (size_t)status.st_size;
	}
	for (i = 0; i < n; i++) {
		at = random_below(worker, (unsigned)length);
		worker_note(worker, "@%zu", at);
		if (!store(mapping->address + at, (char)(1 + random_below(worker, 255)))) {
			worker->error = EFAULT;
			return i ? DONE : FAILED;
		}
	}
	return DONE;
}

/* Maps a file anew, changes it through the mapping, and keeps that for later. */
enum outcome act_map_store(struct worker *worker)
{
	struct mapping *mapping = &worker->mappings[random_below(worker, HELD)];
	enum outcome outcome;
	int file = open_some(worker, O_RDWR, &outcome);
	off_t size;

	if (file < 0)
		return outcome;
	size = size_of(file);
	if (!size) {
		close(file);
		return SKIPPED;
	}
	drop(mapping);
	mapping->length = (size_t)size;
	mapping->dataset = worker->dataset;
	snprintf(mapping->path, sizeof(mapping->path), "%.*s", (int)strcspn(worker->detail, " "), worker->detail);
	mapping->address = mmap(NULL, mapping->length, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (mapping->address == MAP_FAILED) {
		mapping->address = NULL;
		outcome = worker_outcome(worker, -1);
		close(file);
		return outcome;
	}
	/* Half of the mappings have no descriptor left: only the mapping holds the file then. */
	mapping->file = file;
	outcome = store_some(worker, mapping);
	if (outcome == DONE && random_below(worker, 2)) {
		worker_note(worker, " closed");
		close(file);
		mapping->file = -1;
	}
	return outcome;
}

struct mapping *some_mapping(struct worker *worker, bool sure)
{
	int i, first = (int)random_below(worker, HELD);

	for (i = 0; i < HELD; i++) {
		struct mapping *mapping = &worker->mappings[(first + i) % HELD];

		if (mapping->address && mapping->dataset == worker->dataset && (!sure || mapping->file >= 0)) {
			worker_note(worker, "%s (held) ", mapping->path);
			return mapping;
		}
	}
	return NULL;
}

/* Through a mapping that has been there for a while: to pages that are clean again, or dirty still. */
enum outcome act_map_again(struct worker *worker)
{
	struct mapping *mapping = some_mapping(worker, false);

	return mapping ? store_some(worker, mapping) : SKIPPED;
}

enum outcome act_map_sync(struct worker *worker)
{
	struct mapping *mapping = some_mapping(worker, true);
	enum outcome outcome = mapping ? store_some(worker, mapping) : SKIPPED;

	if (outcome == DONE)
		msync(mapping->address, mapping->length, random_below(worker, 2) ? MS_SYNC : MS_ASYNC);
	return outcome;
}

enum outcome act_map_unmap(struct worker *worker)
{
	struct mapping *mapping = some_mapping(worker, true);
	enum outcome outcome = mapping ? store_some(worker, mapping) : SKIPPED;

	if (mapping)
		drop(mapping);
	return outcome;
}
