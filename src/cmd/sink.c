#include "cmd/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/outlet.h"
#include "sys/privileges.h"

/* How long one write may wait for a pipe's reader. The journal's ring takes in
 * events meanwhile and counts what it had to drop. */
#define WRITE_WAIT_MS 1000

struct sink {
	struct journal_sink journal;
	int fd;
	char *path; /* NULL: standard output */
	char **types;
	size_t type_count;
	size_t piece; /* what one write may take */
	bool torn;    /* the last line got out in part only */
	bool stalled; /* the reader stood still at the last write */
};

static struct sink *
sink_of(struct journal_sink *s)
{
	return CONTAINER_OF(s, struct sink, journal);
}

static bool
sink_wants(struct journal_sink *s, const char *type)
{
	struct sink *sink = sink_of(s);

	for (size_t i = 0; i < sink->type_count; i++) {
		if (strcmp(sink->types[i], type) == 0)
			return true;
	}
	return sink->type_count == 0;
}

/*
 * All of it, or as much as went, through `done`. A reader that stands still is
 * waited for once; until it reads again, nothing more waits for it, so that the
 * end of the process does not either.
 */
static int
write_all(struct sink *sink, struct span s, size_t *done)
{
	int wait_ms = sink->stalled ? 0 : WRITE_WAIT_MS;
	int r = outlet_write(sink->fd, sink->piece, s, wait_ms, done);

	sink->stalled = r == -EAGAIN;
	return r;
}

/*
 * Takes back half a line from a full disk, so that readers of the file meet
 * whole lines only. Not when somebody else has appended since.
 */
static bool
cut_back(int fd, size_t written)
{
	struct stat st;
	off_t end = lseek(fd, 0, SEEK_CUR);

	return end >= (off_t)written && fstat(fd, &st) == 0 &&
	       S_ISREG(st.st_mode) && st.st_size == end &&
	       ftruncate(fd, end - (off_t)written) == 0;
}

static int
write_line(struct sink *sink, struct span line)
{
	size_t done;

	if (sink->torn) {
		int r = write_all(sink, span_text("\n"), &done);

		if (r != 0)
			return r;
		sink->torn = false;
	}
	int r = write_all(sink, line, &done);

	if (r != 0 && done > 0)
		sink->torn = !cut_back(sink->fd, done);
	return r;
}

static const char *
sink_name(const struct sink *sink)
{
	return sink->path == NULL ? "stdout" : sink->path;
}

static int
sink_write(struct journal_sink *s, struct span line)
{
	struct sink *sink = sink_of(s);
	int r = write_line(sink, line);

	if (r != 0)
		LOG_LIMITED(LOG_LEVEL_ERROR, "event lost",
		    LOG_TEXT("events", sink_name(sink)), LOG_ERRNO(-r));
	return r;
}

static int
open_file(const char *path)
{
	/* O_NONBLOCK: a named pipe without a reader must not stop the start;
	 * for regular files it says nothing. */
	int fd = open(path,
	    O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
	    0640);

	return fd < 0 ? -errno : fd;
}

static void
take_descriptor(struct sink *sink, int fd)
{
	sink->fd = fd;
	sink->piece = outlet_piece(fd);
	sink->torn = sink->stalled = false;
}

static int
sink_reopen(struct journal_sink *s)
{
	struct sink *sink = sink_of(s);

	if (sink->path == NULL)
		return 0;
	int fd = open_file(sink->path);

	if (fd < 0) {
		LOG_ERROR("cannot open the event file again; the old one stays",
		    LOG_TEXT("events", sink->path), LOG_ERRNO(-fd));
		return fd;
	}
	close(sink->fd);
	take_descriptor(sink, fd);
	return 0;
}

static void
sink_free(struct journal_sink *s)
{
	struct sink *sink = sink_of(s);

	if (sink->path != NULL && sink->fd >= 0)
		close(sink->fd);
	for (size_t i = 0; i < sink->type_count; i++)
		free(sink->types[i]);
	free(sink->types);
	free(sink->path);
	free(sink);
}

static int
copy_types(struct sink *sink, const struct event_settings *settings)
{
	if (settings->type_count == 0)
		return 0;
	sink->types = calloc(settings->type_count, sizeof(*sink->types));
	if (sink->types == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < settings->type_count; i++) {
		sink->types[i] = strdup(settings->types[i]);
		if (sink->types[i] == NULL)
			return -ENOMEM;
		sink->type_count++;
	}
	return 0;
}

static int
open_target(struct sink *sink, const char *file)
{
	if (file == NULL) {
		take_descriptor(sink, STDOUT_FILENO);
		return 0;
	}
	sink->path = strdup(file);
	if (sink->path == NULL)
		return -ENOMEM;
	int fd = open_file(file);

	if (fd >= 0)
		take_descriptor(sink, fd);
	return fd < 0 ? fd : 0;
}

int
sink_open(const struct event_settings *settings, struct journal_sink **out)
{
	struct sink *sink = calloc(1, sizeof(*sink));

	if (sink == NULL)
		return -ENOMEM;
	sink->fd = -1;
	sink->journal = (struct journal_sink){
		.wants = sink_wants,
		.write = sink_write,
		.reopen = sink_reopen,
		.free = sink_free,
	};
	int r = copy_types(sink, settings);

	if (r == 0)
		r = open_target(sink, settings->file);
	if (r != 0)
		sink_free(&sink->journal);
	else
		*out = &sink->journal;
	return r;
}

static void
say_why(const struct event_settings *settings, int err, struct text *error)
{
	text_add(error, "cannot write events to ");
	text_add(error, settings->file == NULL ? "stdout" : settings->file);
	text_addf(error, ": %s", strerror(err));
	if (err == ENOENT)
		text_add(error, "; make its folder first");
	if (err == EACCES)
		text_add(error, "; give this user the right to write there");
}

/* Opens one target; a file that this makes belongs to who will write it. */
static int
open_for(const struct event_settings *settings, const char *user,
    struct journal_sink **out)
{
	bool made = settings->file != NULL && access(settings->file, F_OK) != 0;
	int r = sink_open(settings, out);

	if (r == 0 && made && user != NULL &&
	    privileges_give_file(settings->file, user) != 0)
		LOG_WARN("edge.user cannot open this file again",
		    LOG_TEXT("events", settings->file));
	return r;
}

int
sinks_open(
    const struct snapshot *s, struct journal_sink **out, struct text *error)
{
	struct journal_sink **last = out;

	*out = NULL;
	for (size_t i = 0; i < s->event_count; i++) {
		int r = open_for(&s->events[i], s->user, last);

		if (r != 0) {
			say_why(&s->events[i], -r, error);
			*last = NULL;
			sinks_free(*out);
			*out = NULL;
			return r;
		}
		last = &(*last)->next;
	}
	return 0;
}

void
sinks_free(struct journal_sink *sinks)
{
	while (sinks != NULL) {
		struct journal_sink *next = sinks->next;

		sinks->free(sinks);
		sinks = next;
	}
}
