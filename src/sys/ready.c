#include "sys/ready.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>

#include "base/clock.h"

static int
left_ms(uint64_t deadline_ms)
{
	uint64_t now = clock_ms();

	if (now >= deadline_ms)
		return 0;
	return deadline_ms - now < INT_MAX ? (int)(deadline_ms - now) : INT_MAX;
}

int
ready_wait(int fd, short events, uint64_t deadline_ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	int count;

	do
		count = poll(&p, 1, left_ms(deadline_ms));
	while ((count == 0 && left_ms(deadline_ms) > 0) ||
	       (count < 0 && errno == EINTR));
	if (count < 0)
		return -errno;
	return count == 0 ? -ETIMEDOUT : 0;
}
