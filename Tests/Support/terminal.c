/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE
#include "CTestSupport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

int support_terminal(char *path, size_t size)
{
	struct winsize window = {.ws_row = 25, .ws_col = 80};
	int error, master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

	if (master < 0)
		return -1;
	if (!grantpt(master) && !unlockpt(master) && !ioctl(master, TIOCSWINSZ, &window)) {
		error = ptsname_r(master, path, size);
		if (!error)
			return master;
		errno = error;
	}
	error = errno;
	close(master);
	errno = error;
	return -1;
}
