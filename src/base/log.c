#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/outlet.h"

#define LINE_BYTES 8192	 /* of a line, the newline included */
#define TAIL_BYTES 32	 /* kept for what ends a line that was cut short */
#define VALUE_BYTES 2048 /* of one value; the rest becomes "..." */
#define HOLD_US 1000000
#define LEVEL_OFF (LOG_LEVEL_ERROR + 1)

static const char *const level_words[] = { "debug", "info", "warn", "error" };
static const char *const level_colours[] = { "\033[2m", "\033[32m", "\033[33m",
	"\033[31m" };
static const char *const format_words[] = { "term", "logfmt", "json" };

/*
 * Writers share the lock, whoever exchanges the descriptor holds it alone: a
 * line never goes to a descriptor that meanwhile is a stranger's socket.
 */
static struct {
	pthread_rwlock_t lock;
	int fd;
	char *path; /* NULL: the descriptor is a standard one */
	enum log_format format;
	bool coloured;
	atomic_int level;
	/* For what is no regular file, whose reader may stand still: then lines
	 * are lost and counted, and no worker waits. */
	size_t piece;
	pthread_mutex_t turn; /* one writer at a time */
	bool torn;	      /* the last line got out in part only */
	atomic_uint lost;
} state = {
	.turn = PTHREAD_MUTEX_INITIALIZER,
	.piece = PIPE_BUF,
	.lock = PTHREAD_RWLOCK_INITIALIZER,
	.fd = STDERR_FILENO,
	.format = LOG_FORMAT_TERM,
	.level = LOG_LEVEL_INFO,
};

/* A line being built, in whichever format. */
struct line {
	struct text text;
	struct json json;
	enum log_format format;
	bool coloured;
	char storage[LINE_BYTES];
};

static int
open_file(const char *path)
{
	int fd = open(
	    path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);

	return fd < 0 ? -errno : fd;
}

/* Puts `fd` in the place of what was there. Takes `fd` and `path`. */
static void
exchange_target(int fd, char *path, const struct log_settings *settings)
{
	int old_fd;
	char *old_path;

	pthread_rwlock_wrlock(&state.lock);
	old_fd = state.fd;
	old_path = state.path;
	state.fd = fd;
	state.piece = outlet_piece(fd);
	state.torn = false;
	state.path = path;
	state.format = settings->format;
	state.coloured =
	    settings->format == LOG_FORMAT_TERM && fd >= 0 && isatty(fd);
	atomic_store(
	    &state.level, fd < 0 ? (int)LEVEL_OFF : (int)settings->level);
	pthread_rwlock_unlock(&state.lock);
	if (old_path)
		close(old_fd);
	free(old_path);
}

int
log_open(const struct log_settings *settings)
{
	struct span target = span_text(settings->target);
	char *path;
	int fd;

	if (span_is(target, "stderr")) {
		exchange_target(STDERR_FILENO, NULL, settings);
		return 0;
	}
	if (span_is(target, "stdout")) {
		exchange_target(STDOUT_FILENO, NULL, settings);
		return 0;
	}
	if (span_is(target, "false")) {
		exchange_target(-1, NULL, settings);
		return 0;
	}
	path = strdup(settings->target);
	if (!path)
		return -ENOMEM;
	fd = open_file(path);
	if (fd < 0) {
		free(path);
		return fd;
	}
	exchange_target(fd, path, settings);
	return 0;
}

int
log_reopen(void)
{
	int result = 0;

	pthread_rwlock_wrlock(&state.lock);
	if (state.path) {
		int fd = open_file(state.path);

		if (fd < 0) {
			result = fd;
		} else {
			close(state.fd);
			state.fd = fd;
			state.piece = outlet_piece(fd);
			state.torn = false;
		}
	}
	pthread_rwlock_unlock(&state.lock);
	return result;
}

void
log_close(void)
{
	const struct log_settings first = { .format = LOG_FORMAT_TERM,
		.level = LOG_LEVEL_INFO };

	exchange_target(STDERR_FILENO, NULL, &first);
}

bool
log_enabled(enum log_level level)
{
	return (int)level >=
	       atomic_load_explicit(&state.level, memory_order_relaxed);
}

/* Keys may come from a policy: no byte that could end one. */
static void
add_key(struct text *t, const char *key)
{
	for (; *key; key++) {
		bool plain = (*key >= 'a' && *key <= 'z') ||
			     (*key >= 'A' && *key <= 'Z') ||
			     (*key >= '0' && *key <= '9') || *key == '_' ||
			     *key == '.' || *key == '-';

		text_add_char(t, plain ? *key : '_');
	}
}

static bool
needs_quotes(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.data[i] <= ' ' || s.data[i] >= 0x7f || s.data[i] == '"' ||
		    s.data[i] == '=' || s.data[i] == '\\')
			return true;
	return s.len == 0;
}

static void
add_quoted(struct text *t, struct span s)
{
	text_add_char(t, '"');
	text_add_escaped(t, s, VALUE_BYTES);
	text_add_char(t, '"');
}

static void
add_pair(struct line *l, const char *key, struct span value)
{
	text_add(&l->text, l->coloured ? " \033[2m" : " ");
	add_key(&l->text, key);
	text_add(&l->text, l->coloured ? "=\033[0m" : "=");
	if (needs_quotes(value))
		add_quoted(&l->text, value);
	else if (value.len > VALUE_BYTES)
		text_add_escaped(&l->text, value, VALUE_BYTES);
	else
		text_add_span(&l->text, value);
}

static void
add_text_field(struct line *l, const char *key, struct span value)
{
	if (l->format != LOG_FORMAT_JSON) {
		add_pair(l, key, value);
		return;
	}
	if (value.len > VALUE_BYTES)
		value.len = VALUE_BYTES;
	json_string(&l->json, key, value);
}

static void
add_number_field(struct line *l, const char *key, int64_t number)
{
	char digits[24];
	struct text t;

	if (l->format == LOG_FORMAT_JSON) {
		json_int(&l->json, key, number);
		return;
	}
	text_init(&t, digits, sizeof(digits));
	text_addf(&t, "%lld", (long long)number);
	add_pair(l, key, text_span(&t));
}

static void
add_addr_field(struct line *l, const char *key, const struct addr *a)
{
	char formatted[ADDR_TEXT_SIZE];

	if (a->port == 0)
		addr_format_ip(a, formatted);
	else
		addr_format(a, formatted);
	add_text_field(l, key, span_text(formatted));
}

/* All of a field or, when it does not fit, nothing of it and false. */
static bool
add_field(struct line *l, const struct log_field *field)
{
	size_t len_before = l->text.len;

	switch (field->kind) {
	case LOG_FIELD_SPAN:
		add_text_field(l, field->key, field->span);
		break;
	case LOG_FIELD_INT:
		add_number_field(l, field->key, field->number);
		break;
	case LOG_FIELD_ADDR:
		add_addr_field(l, field->key, field->addr);
		break;
	}
	if (l->text.truncated)
		l->text.len = len_before;
	return !l->text.truncated;
}

static void
begin_term(struct line *l, enum log_level level, const char *message)
{
	struct text *t = &l->text;

	text_add_time(t, clock_wall_us(), 3);
	text_addf(t, " %s%-5s%s ", l->coloured ? level_colours[level] : "",
	    level_words[level], l->coloured ? "\033[0m" : "");
	text_add_escaped(t, span_text(message), VALUE_BYTES);
}

static void
begin_logfmt(struct line *l, enum log_level level, const char *message)
{
	struct text *t = &l->text;

	text_add(t, "time=");
	text_add_time(t, clock_wall_us(), 3);
	text_addf(t, " level=%s msg=", level_words[level]);
	add_quoted(t, span_text(message));
}

static void
begin_json(struct line *l, enum log_level level, const char *message)
{
	char stamp[40];
	struct text t;

	text_init(&t, stamp, sizeof(stamp));
	text_add_time(&t, clock_wall_us(), 3);
	json_init(&l->json, &l->text);
	json_open(&l->json, NULL);
	json_text(&l->json, "time", stamp);
	json_text(&l->json, "level", level_words[level]);
	add_text_field(l, "msg", span_text(message));
}

static void
begin_line(struct line *l, enum log_level level, const char *message)
{
	text_init(&l->text, l->storage, sizeof(l->storage) - TAIL_BYTES);
	switch (l->format) {
	case LOG_FORMAT_TERM:
		begin_term(l, level, message);
		break;
	case LOG_FORMAT_LOGFMT:
		begin_logfmt(l, level, message);
		break;
	case LOG_FORMAT_JSON:
		begin_json(l, level, message);
		break;
	}
}

static void
end_line(struct line *l, bool complete)
{
	l->text.size = sizeof(l->storage);
	if (l->format == LOG_FORMAT_JSON) {
		text_add(&l->text, complete ? "}\n" : ",\"cut\":true}\n");
		return;
	}
	text_add(&l->text, complete ? "\n" : " cut=true\n");
}

static int
write_in_turn(struct span s)
{
	size_t done = 0;
	int error = 0;

	pthread_mutex_lock(&state.turn);
	if (state.torn)
		error = outlet_write(
		    state.fd, state.piece, span_text("\n"), 0, &done);
	if (error == 0) {
		error = outlet_write(state.fd, state.piece, s, 0, &done);
		state.torn = error < 0 && done > 0;
	}
	pthread_mutex_unlock(&state.turn);
	return error;
}

/* A regular file takes whole lines from several threads (O_APPEND). */
static int
write_whole(struct span s)
{
	size_t done;

	if (state.fd < 0)
		return 0;
	return state.piece == SIZE_MAX
		   ? outlet_write(state.fd, SIZE_MAX, s, 0, &done)
		   : write_in_turn(s);
}

/* False: it is lost. */
static bool
log_line(enum log_level level, const char *message,
    const struct log_field *fields, size_t count)
{
	int saved_errno = errno;
	struct line line;
	bool complete = true;
	int error;

	pthread_rwlock_rdlock(&state.lock);
	line.format = state.format;
	line.coloured = state.coloured;
	begin_line(&line, level, message);
	for (size_t i = 0; i < count && complete; i++)
		complete = add_field(&line, &fields[i]);
	end_line(&line, complete);
	error = write_whole(text_span(&line.text));
	pthread_rwlock_unlock(&state.lock);
	errno = saved_errno;
	return error == 0;
}

/* Tells once there is room again. */
static void
tell_lost(void)
{
	struct log_field lines;
	unsigned lost;

	if (atomic_load_explicit(&state.lost, memory_order_relaxed) == 0)
		return;
	lost = atomic_exchange(&state.lost, 0);
	lines = LOG_INT("lines", lost);
	if (lost > 0 &&
	    !log_line(LOG_LEVEL_WARN, "log lines were lost", &lines, 1))
		atomic_fetch_add(&state.lost, lost);
}

void
log_write(enum log_level level, const char *message,
    const struct log_field *fields, size_t count)
{
	if (!log_enabled(level))
		return;
	tell_lost();
	if (!log_line(level, message, fields, count))
		atomic_fetch_add(&state.lost, 1);
}

const char *
log_errno_text(int err)
{
	static _Thread_local char storage[64];

	return strerror_r(err, storage, sizeof(storage));
}

static int
find_word(struct span word, const char *const words[], size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (span_is(word, words[i]))
			return (int)i;
	return -EINVAL;
}

int
log_format_parse(struct span word, enum log_format *out)
{
	int at = find_word(word, format_words, ARRAY_COUNT(format_words));

	if (at < 0)
		return at;
	*out = (enum log_format)at;
	return 0;
}

int
log_level_parse(struct span word, enum log_level *out)
{
	int at = find_word(word, level_words, ARRAY_COUNT(level_words));

	if (at < 0)
		return at;
	*out = (enum log_level)at;
	return 0;
}

bool
log_limit(struct log_limiter *l, uint32_t *held)
{
	int64_t now = clock_us(), next = atomic_load(&l->next_us);

	if (now >= next &&
	    atomic_compare_exchange_strong(&l->next_us, &next, now + HOLD_US)) {
		*held = atomic_exchange(&l->held_back, 0);
		return true;
	}
	atomic_fetch_add(&l->held_back, 1);
	return false;
}
