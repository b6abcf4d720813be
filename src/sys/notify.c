#include "sys/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"

static int
send_to(const struct sockaddr_un *to, socklen_t len, const char *state)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	ssize_t n = sendto(fd, state, strlen(state), MSG_NOSIGNAL,
	    (const struct sockaddr *)to, len);
	int r = n < 0 ? -errno : 0;

	close(fd);
	return r;
}

int
notify_send(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	if (path == NULL || path[0] == '\0')
		return 0;
	size_t len = strlen(path);

	if (len >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@'))
		return -EINVAL;
	memcpy(to.sun_path, path, len);
	if (path[0] == '@') /* unix(7): an abstract name starts with NUL */
		to.sun_path[0] = '\0';
	return send_to(&to,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len), state);
}

int
notify_reloading(void)
{
	char state[64];

	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld",
	    (long long)clock_us());
	return notify_send(state);
}

/* The variables are inherited; another process's watchdog is not ours. */
static bool
watchdog_is_ours(void)
{
	const char *pid = getenv("WATCHDOG_PID");

	return pid == NULL || strtol(pid, NULL, 10) == (long)getpid();
}

uint64_t
notify_watchdog_ms(void)
{
	const char *text = getenv("WATCHDOG_USEC");
	uint64_t us;

	if (text == NULL || !watchdog_is_ours() ||
	    number_parse(span_text(text), 1, UINT32_MAX, &us) != 0)
		return 0;
	return us < 2000 ? 1 : us / 2000;
}
