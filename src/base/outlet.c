#include "base/outlet.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

size_t
outlet_piece(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? SIZE_MAX : PIPE_BUF;
}

static int
wait_for_room(int fd, int wait_ms)
{
	struct pollfd room = { .fd = fd, .events = POLLOUT };
	int ready = poll(&room, 1, wait_ms);

	if (ready > 0)
		return 0; /* an error too: write tells which */
	return ready == 0 ? -EAGAIN : -errno;
}

static int
write_piece(int fd, struct span s, size_t *done)
{
	ssize_t n = write(fd, s.data, s.len);

	if (n <= 0)
		return n < 0 ? -errno : -EIO;
	*done += (size_t)n;
	return 0;
}

int
outlet_write(int fd, size_t piece, struct span s, int wait_ms, size_t *done)
{
	int error = 0;

	*done = 0;
	while (*done < s.len && (error == 0 || error == -EINTR)) {
		size_t left = s.len - *done;

		error = piece == SIZE_MAX ? 0 : wait_for_room(fd, wait_ms);
		if (error == 0)
			error = write_piece(fd,
			    span_of(
				s.data + *done, left < piece ? left : piece),
			    done);
	}
	return *done == s.len ? 0 : error;
}
