#include "cmd/advice.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sys/socket.h"

#define STATE_LISTEN 0x0a /* TCP_LISTEN in proc(5)'s hexadecimal */

/* proc(5) prints addresses as words of 32 bits, each as it lies in memory. */
static struct addr
parse_address(const char *hex)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	uint32_t words[4] = { 0 };

	if (sscanf(hex, "%8x%8x%8x%8x", &words[0], &words[1], &words[2],
		&words[3]) == 4) {
		memcpy(&in6.sin6_addr, words, sizeof(words));
		return addr_from_sockaddr((struct sockaddr *)&in6);
	}
	in.sin_addr.s_addr = words[0];
	return addr_from_sockaddr((struct sockaddr *)&in);
}

/* Whether who listens on one address may keep others from the other one. Only
 * [::] stands for both families. */
static bool
collide(const struct addr *a, const struct addr *b)
{
	if (a->family == b->family)
		return addr_is_any(a) || addr_is_any(b) || addr_same_ip(a, b);
	return addr_is_any(a->family == ADDR_IP6 ? a : b);
}

/* The inode of a socket that listens on `wanted`, from a table of
 * /proc/net/tcp's form; 0: none. */
static unsigned long
listening_inode(const char *table, const struct addr *wanted)
{
	unsigned long inode = 0, found;
	unsigned local_port, state;
	char line[512], hex[33];
	FILE *f = fopen(table, "re");

	if (f == NULL)
		return 0;
	while (inode == 0 && fgets(line, sizeof(line), f) != NULL) {
		struct addr local;

		if (sscanf(line,
			"%*d: %32[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s "
			"%*s %*s %*s %lu",
			hex, &local_port, &state, &found) != 4 ||
		    local_port != wanted->port || state != STATE_LISTEN)
			continue;
		local = parse_address(hex);
		if (collide(&local, wanted))
			inode = found;
	}
	fclose(f);
	return inode;
}

/* The other family's, too: [::] may stand for both. */
static unsigned long
find_inode(const struct addr *a)
{
	static const char *const tables[] = { "/proc/net/tcp",
		"/proc/net/tcp6" };
	bool is_ip6 = a->family == ADDR_IP6;
	unsigned long inode = listening_inode(tables[is_ip6], a);

	return inode != 0 ? inode : listening_inode(tables[!is_ip6], a);
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
advice_port_holder(const struct addr *a, struct text *out)
{
	unsigned long inode = find_inode(a);
	char wanted[64];
	bool found = false;
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
	if (advice_port_holder(&l->addr, out))
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
