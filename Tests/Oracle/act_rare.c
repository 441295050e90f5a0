/* SPDX-License-Identifier: BSD-2-Clause */
/* Operations by calls that few programs make. */
#include "operations.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* A UNIX socket makes its file. */
enum outcome act_bind(struct worker *worker)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), length;
	enum outcome outcome = SKIPPED;
	struct place place;
	char path[64];

	if (file < 0)
		return worker_outcome(worker, -1);
	if (worker_pick_free(worker, path)) {
		fchmod(file, 0600 | random_below(worker, 0100));
		worker_place(worker, path, &place);
		if (place.dirfd == AT_FDCWD)
			length = snprintf(address.sun_path, sizeof(address.sun_path), "%s", place.name);
		else
			length = snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", place.dirfd,
					  place.name);
		if (length < (int)sizeof(address.sun_path))
			outcome = worker_outcome(worker, bind(file, (struct sockaddr *)&address, sizeof(address)));
		worker_leave(&place);
	}
	close(file);
	return outcome;
}

enum outcome act_handle_truncate(struct worker *worker)
{
	struct {
		struct file_handle head;
		unsigned char bytes[MAX_HANDLE_SZ];
	} handle = {.head.handle_bytes = MAX_HANDLE_SZ};
	char path[64], whole[PATH_MAX];
	struct stat status;
	int root, file, mount;
	long result = -1;

	if (!worker_pick(worker, FILES, path) ||
	    stat(worker_absolute(worker, worker->dataset, path, whole), &status) || !status.st_size)
		return SKIPPED;
	if (name_to_handle_at(AT_FDCWD, whole, &handle.head, &mount, 0))
		return worker_outcome(worker, -1);
	root = open(whole, O_RDONLY | O_CLOEXEC);
	if (root < 0)
		return worker_outcome(worker, -1);
	file = open_by_handle_at(root, &handle.head, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (file >= 0) {
		close(file);
		result = 0;
	}
	/* Its file was deleted, and perhaps its inode given to another one, between the two calls. */
	if (result < 0 && errno == ESTALE) {
		close(root);
		return SKIPPED;
	}
	result = worker_outcome(worker, result);
	close(root);
	return (enum outcome)result;
}

/* The first page goes by the address of a mapping. */
enum outcome act_remove_page(struct worker *worker)
{
	enum outcome outcome;
	int file = open_some(worker, O_RDWR, &outcome);
	void *page;

	if (file < 0)
		return outcome;
	page = size_of(file) ? mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
	if (page == MAP_FAILED) {
		outcome = SKIPPED;
	} else {
		outcome = worker_outcome(worker, madvise(page, 4096, MADV_REMOVE));
		munmap(page, 4096);
	}
	close(file);
	return outcome;
}

/* setxattrat(2), of Linux 6.13. */
enum outcome act_setxattrat(struct worker *worker)
{
	uint64_t value[4];
	struct {
		uint64_t value;
		uint32_t size, flags;
	} arguments = {(uintptr_t)value, sizeof(value), 0};
	char path[64], whole[PATH_MAX];

	if (!worker_pick(worker, FILES | DIRECTORIES, path))
		return SKIPPED;
	worker_fill(worker, value, sizeof(value));
	worker_absolute(worker, worker->dataset, path, whole);
	return worker_outcome(worker, syscall(463, AT_FDCWD, whole, 0, "user.one", &arguments, sizeof(arguments)));
}

/* chmod(2) by the gate of 32-bit programs, whose addresses end at 4 GB. */
enum outcome act_compat_chmod(struct worker *worker)
{
#ifdef __x86_64__
	long result, mode = 0400 | random_below(worker, 01000);
	char path[64], *low;

	if (!worker_pick(worker, NOT_LINKS, path))
		return SKIPPED;
	low = mmap(NULL, PATH_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (low == MAP_FAILED)
		return worker_outcome(worker, -1);
	worker_note(worker, "%lo", mode);
	worker_absolute(worker, worker->dataset, path, low);
	asm volatile("int $0x80" : "=a"(result) : "a"(15), "b"(low), "c"(mode) : "memory", "r8", "r9", "r10", "r11");
	munmap(low, PATH_MAX);
	errno = (int)result < 0 ? -(int)result : 0;
	return worker_outcome(worker, (int)result < 0 ? -1 : 0);
#else
	(void)worker;
	return SKIPPED;
#endif
}
