#include "cmd/reread.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static bool
can_read(const char *path, struct text *error)
{
	int fd;

	if (path == NULL)
		return true;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0) {
		text_addf(error, "%s: %s", path, strerror(errno));
		return false;
	}
	close(fd);
	return true;
}

static bool
can_read_trust(const struct trust *t, struct text *error)
{
	for (size_t i = 0; t != NULL && i < trust_file_count(t); i++)
		if (!can_read(trust_file(t, i), error))
			return false;
	return true;
}

static bool
can_read_pair(const struct certificate_settings *pair, struct text *error)
{
	return can_read(pair->key, error) && can_read(pair->crt, error) &&
	       can_read(pair->ocsp_file, error);
}

bool
reread_possible(const struct snapshot *s, struct text *error)
{
	for (size_t i = 0; i < s->certificate_count; i++)
		if (!can_read_pair(&s->certificates[i], error))
			return false;
	for (size_t i = 0; i < s->certificate_folder_count; i++)
		if (!can_read(s->certificate_folders[i].path, error))
			return false;
	for (size_t i = 0; i < s->endpoint_count; i++) {
		const struct endpoint *e = s->endpoints[i];

		if (!can_read_trust(e->termination.trust, error) ||
		    !can_read_trust(e->upstream_tls.trust, error))
			return false;
	}
	return can_read(s->ticket_keys, error) &&
	       can_read(s->agents.authtokens_file, error);
}
