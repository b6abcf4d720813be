#include "cmd/advice.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sys/socket.h"

#define STATE_LISTEN 0x0a /* TCP_LISTEN in proc(5)'s hexadecimal */

/* The inode of a socket that listens on `port`, from a table of
 * /proc/net/tcp's form; 0: none. */
static unsigned long
listening_inode(const char *table, uint16_t port)
{
	unsigned long inode = 0, found;
	unsigned local_port, state;
	char line[512];
	FILE *f = fopen(table, "re");

	if (f == NULL)
		return 0;
	while (inode == 0 && fgets(line, sizeof(line), f) != NULL) {
		if (sscanf(line,
			"%*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s "
			"%*s %*s %*s %lu",
			&local_port, &state, &found) == 3 &&
		    local_port == port && state == STATE_LISTEN)
			inode = found;
	}
	fclose(f);
	return inode;
}

static bool
holds(const char *pid, const char *wanted)
{
	char folder[300], target[64];
	bool found = false;

	snprintf(folder, sizeof(folder), "/proc/%s/fd", pid);
	DIR *d = opendir(folder);

	if (d == NULL)
		return false;
	for (struct dirent *e; !found && (e = readdir(d)) != NULL;) {
		ssize_t n =
		    readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);

		if (n > 0) {
			target[n] = '\0';
			found = strcmp(target, wanted) == 0;
		}
	}
	closedir(d);
	return found;
}

static void
add_process(const char *pid, struct text *out)
{
	char path[300], name[64] = "a process";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	f = fopen(path, "re");
	if (f != NULL) {
		if (fgets(name, sizeof(name), f) != NULL)
			name[strcspn(name, "\n")] = '\0';
		fclose(f);
	}
	text_add_escaped(out, span_text(name), 32);
	text_addf(out, " (pid %s)", pid);
}

bool
advice_port_holder(uint16_t port, struct text *out)
{
	unsigned long inode = listening_inode("/proc/net/tcp", port);
	char wanted[64];
	bool found = false;

	if (inode == 0)
		inode = listening_inode("/proc/net/tcp6", port);
	DIR *d = inode == 0 ? NULL : opendir("/proc");

	if (d == NULL)
		return false;
	snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
	for (struct dirent *e; !found && (e = readdir(d)) != NULL;) {
		found = isdigit((unsigned char)e->d_name[0]) &&
			holds(e->d_name, wanted);
		if (found)
			add_process(e->d_name, out);
	}
	closedir(d);
	return found;
}

static void
advise_in_use(const struct listen_settings *l, struct text *out)
{
	size_t len = out->len;

	text_add(out, "; it is ");
	if (advice_port_holder(l->addr.port, out))
		return;
	/* A process of another user, or none of this machine's view. */
	out->len = len;
	out->data[len] = '\0';
}

void
advice_listen(const struct snapshot *s, bool flag, struct text *out)
{
	for (size_t i = 0; i < s->listen_count; i++) {
		const struct listen_settings *l = &s->listens[i];
		int fd = socket_listen(&l->addr);

		if (fd >= 0) {
			close(fd);
			continue;
		}
		if (fd == -EADDRINUSE)
			advise_in_use(l, out);
		if (flag && (fd == -EADDRINUSE || fd == -EACCES))
			text_add(out, "; for example --listen :8443");
		return;
	}
}
