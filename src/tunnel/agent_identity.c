/*
 * Who a link was to its edge, kept in the state folder: one small file an edge
 * and link, `agent-HASH.id`, mode 0600, held by a lock, so that two agents that
 * share a folder do not take each other for a stale self.
 */
#include "tunnel/agent_private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/hash.h"
#include "tls/file.h"
#include "tls/secret.h"

#define FILE_MAX                                     \
	(sizeof(((struct identity *)0)->client_id) + \
	    sizeof(((struct identity *)0)->cookie) + 4)

static char *
path_of(const struct snapshot *s, const char *edge, unsigned index)
{
	char key[AGENT_TEXT_SIZE + 16];
	char *path;
	int len = snprintf(key, sizeof(key), "%s#%u", edge, index);

	if (len < 0 || asprintf(&path, "%s/agent-%016" PRIx64 ".id", s->state,
			   hash_stable(span_text(key))) < 0)
		return NULL;
	return path;
}

static int
open_locked(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
		close(fd);
		return -EWOULDBLOCK;
	}
	return fd < 0 ? -errno : fd;
}

static bool
take_line(char **rest, char *out, size_t size)
{
	char *end = strchr(*rest, '\n');
	size_t len = end ? (size_t)(end - *rest) : 0;

	if (!end || len >= size)
		return false;
	memcpy(out, *rest, len);
	out[len] = '\0';
	*rest = end + 1;
	return true;
}

static void
read_file(struct identity *i)
{
	char content[FILE_MAX];
	ssize_t n = pread(i->lock_fd, content, sizeof(content) - 1, 0);
	char *rest = content;

	if (n <= 0)
		return;
	content[n] = '\0';
	if (!take_line(&rest, i->client_id, sizeof(i->client_id)) ||
	    !take_line(&rest, i->cookie, sizeof(i->cookie)))
		i->client_id[0] = i->cookie[0] = '\0';
	wipe(content, sizeof(content));
}

void
identity_open(struct identity *i, const struct snapshot *s, const char *edge,
    unsigned index)
{
	*i = (struct identity){ .lock_fd = -1 };
	(void)!file_make_folders(s->state); /* opening tells */
	i->path = path_of(s, edge, index);
	if (!i->path)
		return;
	i->lock_fd = open_locked(i->path);
	if (i->lock_fd >= 0) {
		read_file(i);
		return;
	}
	LOG_INFO("this agent will not be known again after a restart",
	    LOG_TEXT("file", i->path), LOG_ERRNO(-i->lock_fd));
	i->lock_fd = -1;
}

/* A crash in between leaves a file that is not taken for anything. */
static void
write_file(struct identity *i)
{
	char content[FILE_MAX];
	int len = snprintf(
	    content, sizeof(content), "%s\n%s\n", i->client_id, i->cookie);

	if (ftruncate(i->lock_fd, 0) < 0 ||
	    pwrite(i->lock_fd, content, (size_t)len, 0) != len)
		LOG_WARN("this agent will not be known again after a restart",
		    LOG_TEXT("file", i->path), LOG_ERRNO(errno));
	wipe(content, sizeof(content));
}

void
identity_set(struct identity *i, const char *client_id, const char *cookie)
{
	if (strlen(client_id) >= sizeof(i->client_id) ||
	    strlen(cookie) >= sizeof(i->cookie) || strchr(client_id, '\n') ||
	    strchr(cookie, '\n'))
		return;
	if (strcmp(i->client_id, client_id) == 0 &&
	    strcmp(i->cookie, cookie) == 0)
		return;
	strcpy(i->client_id, client_id);
	strcpy(i->cookie, cookie);
	if (i->lock_fd >= 0)
		write_file(i);
}

void
identity_close(struct identity *i)
{
	if (i->lock_fd >= 0)
		close(i->lock_fd);
	wipe(i->cookie, sizeof(i->cookie));
	free(i->path);
	*i = (struct identity){ .lock_fd = -1 };
}
