#include "engine_bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "unit.h"
#include "wire/hello.h"

#define EVENTS_BYTES (32 * 1024 * 1024)

static void
give_up_in_time(int fd)
{
	struct timeval t = { .tv_sec = PATIENCE_MS / 1000 };

	ck_assert_int_eq(
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)), 0);
	ck_assert_int_eq(
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t)), 0);
}

int
socket_on_any_port(uint16_t *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	ck_assert_int_eq(listen(fd, 1024), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	give_up_in_time(fd);
	*port = ntohs(a.sin_port);
	return fd;
}

int
connect_to_port(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	give_up_in_time(fd);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	a.sin_port = htons(port);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

int
accept_from(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	ck_assert_msg(fd >= 0, "accept: %s", strerror(errno));
	give_up_in_time(fd);
	return fd;
}

int
accept_while_open(int listener)
{
	int fd;

	do
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	while (fd < 0 && errno == EAGAIN);
	if (fd >= 0)
		give_up_in_time(fd);
	return fd;
}

void
tcp_pair(int ends[2])
{
	uint16_t port;
	int listener = socket_on_any_port(&port);

	ends[0] = connect_to_port(port);
	ends[1] = accept_from(listener);
	close(listener);
}

void
close_with_reset(int fd)
{
	struct linger l = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	close(fd);
}

void
send_bytes(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len > 0) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		ck_assert_msg(n > 0, "send: %s", strerror(errno));
		at += n;
		len -= (size_t)n;
	}
}

void
send_text(int fd, const char *text)
{
	send_bytes(fd, text, strlen(text));
}

void
receive_bytes(int fd, void *data, size_t len)
{
	char *at = data;

	while (len > 0) {
		ssize_t n = recv(fd, at, len, 0);

		ck_assert_msg(n > 0, "recv: %s",
		    n == 0 ? "end of stream" : strerror(errno));
		at += n;
		len -= (size_t)n;
	}
}

int
receive_all(int fd, void *data, size_t size, size_t *len)
{
	*len = 0;
	while (*len < size) {
		ssize_t n = recv(fd, (char *)data + *len, size - *len, 0);

		ck_assert(n >= 0 || errno != EAGAIN);
		if (n <= 0)
			return n < 0 ? errno : 0;
		*len += (size_t)n;
	}
	ck_abort_msg("more than %zu bytes came", size);
	return 0;
}

void
expect_end(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, 0);

	ck_assert_msg(
	    n == 0, "not a FIN: %s", n > 0 ? "a byte came" : strerror(errno));
}

void
expect_reset(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, 0);

	ck_assert_msg(n < 0 && errno == ECONNRESET, "not a reset: %s",
	    n > 0    ? "a byte came"
	    : n == 0 ? "a FIN"
		     : strerror(errno));
}

struct span
hello_for(const char *name)
{
	static _Thread_local uint8_t data[1024];
	const char *alpn[] = { "h2" };

	return span_of(
	    data, hello_build(data, sizeof(data), span_text(name), alpn, 1));
}

unsigned
open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned count = 0;

	ck_assert_ptr_nonnull(d);
	while (readdir(d))
		count++;
	closedir(d);
	return count;
}

size_t
random_below(size_t limit)
{
	static _Thread_local uint32_t x = 2463534242;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x % limit;
}

struct memory_sink {
	struct journal_sink sink;
	struct events *events;
};

void
events_init(struct events *e)
{
	memset(e, 0, sizeof(*e));
	/* Enough for all, so that keeping one can never fail. */
	e->text = malloc(EVENTS_BYTES);
	ck_assert_ptr_nonnull(e->text);
	e->text[0] = '\0';
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->changed, NULL);
}

void
events_fini(struct events *e)
{
	pthread_cond_destroy(&e->changed);
	pthread_mutex_destroy(&e->lock);
	free(e->text);
}

static bool
sink_wants(struct journal_sink *s, const char *type)
{
	struct memory_sink *m = CONTAINER_OF(s, struct memory_sink, sink);

	return m->events->takes_all ||
	       !strcmp(type, "tcp_connection_closed.v0");
}

static int
sink_write(struct journal_sink *s, struct span lines)
{
	struct events *e = CONTAINER_OF(s, struct memory_sink, sink)->events;

	pthread_mutex_lock(&e->lock);
	ASSERT(e->len + lines.len < EVENTS_BYTES);
	memcpy(e->text + e->len, lines.data, lines.len);
	e->len += lines.len;
	e->text[e->len] = '\0';
	for (size_t i = 0; i < lines.len; i++)
		e->count += lines.data[i] == '\n';
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->lock);
	return 0;
}

static int
sink_reopen(struct journal_sink *s)
{
	(void)s;
	return 0;
}

static void
sink_free(struct journal_sink *s)
{
	free(CONTAINER_OF(s, struct memory_sink, sink));
}

struct journal_sink *
events_sink(struct events *e)
{
	struct memory_sink *m = calloc(1, sizeof(*m));

	ck_assert_ptr_nonnull(m);
	m->sink.wants = sink_wants;
	m->sink.write = sink_write;
	m->sink.reopen = sink_reopen;
	m->sink.free = sink_free;
	m->events = e;
	return &m->sink;
}

void
events_wait(struct events *e, unsigned count)
{
	struct timespec until;
	int error = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_MS / 1000;
	pthread_mutex_lock(&e->lock);
	while (e->count < count && error == 0)
		error = pthread_cond_timedwait(&e->changed, &e->lock, &until);
	ck_assert_msg(e->count == count, "%u events, not %u:\n%s", e->count,
	    count, e->len < 4096 ? e->text : "...");
	pthread_mutex_unlock(&e->lock);
}

char *
events_line(struct events *e, unsigned number)
{
	const char *at, *end;
	char *line;

	pthread_mutex_lock(&e->lock);
	ck_assert_uint_lt(number, e->count);
	for (at = e->text; number > 0; number--)
		at = strchr(at, '\n') + 1;
	end = strchr(at, '\n');
	line = strndup(at, (size_t)(end - at));
	pthread_mutex_unlock(&e->lock);
	return line;
}

unsigned
events_with(struct events *e, const char *text)
{
	unsigned count = 0;

	pthread_mutex_lock(&e->lock);
	for (unsigned i = 0; i < e->count; i++) {
		char *line;

		pthread_mutex_unlock(&e->lock);
		line = events_line(e, i);
		count += strstr(line, text) != NULL;
		free(line);
		pthread_mutex_lock(&e->lock);
	}
	pthread_mutex_unlock(&e->lock);
	return count;
}

static void
quiet_log(void)
{
	struct log_settings off = {
		.target = getenv("SHOW_LOG") ? "stderr" : "false",
	};

	ck_assert_int_eq(log_open(&off), 0);
}

void
bench_init(struct bench *b)
{
	*b = (struct bench){ .descriptors = open_descriptors() };
	quiet_log();
	ck_assert_int_eq(setenv("LUNETTE_LUA", TOP_SRCDIR "/lua", 1), 0);
	events_init(&b->events);
	b->upstream_fd = socket_on_any_port(&b->upstream_port);
}

void
bench_script(struct bench *b, const char *name, const char *text)
{
	char path[128];
	FILE *f;

	if (!b->folder[0]) {
		snprintf(
		    b->folder, sizeof(b->folder), "/tmp/test_engine.XXXXXX");
		ck_assert_ptr_nonnull(mkdtemp(b->folder));
	}
	snprintf(path, sizeof(path), "%s/%s", b->folder, name);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static void
expand(const struct bench *b, const char *yaml, struct text *out)
{
	text_add(out, "version: 1\n");
	for (; *yaml; yaml++) {
		if (yaml[0] == '$' && yaml[1] == 'P')
			text_addf(out, "%u", b->upstream_port);
		else if (yaml[0] == '$' && yaml[1] == 'S')
			text_add(out, b->folder);
		else {
			text_add_char(out, *yaml);
			continue;
		}
		yaml++;
	}
	ck_assert(!out->truncated);
}

struct snapshot *
bench_snapshot(struct bench *b, const char *yaml)
{
	struct problems *p = problems_new();
	struct snapshot *s;
	char storage[16384];
	struct text text;
	struct tree *t;

	text_init(&text, storage, sizeof(storage));
	expand(b, yaml, &text);
	t = tree_parse("t.yaml", text_span(&text), p);
	s = t ? snapshot_build(t, NULL, p) : NULL;
	ck_assert_msg(s != NULL, "%s\n%s", problems_get(p, 0), storage);
	tree_free(t);
	problems_free(p);
	return s;
}

bool
bench_try_start(struct bench *b, const char *yaml)
{
	struct snapshot *s = bench_snapshot(b, yaml);
	struct text error;

	text_init(&error, b->error, sizeof(b->error));
	b->edge = edge_new(s, events_sink(&b->events),
	    &(struct edge_surroundings){ NULL }, &error);
	snapshot_put(s);
	ck_assert_int_eq(b->edge == NULL, error.len > 0);
	return b->edge != NULL;
}

void
bench_start(struct bench *b, const char *yaml)
{
	ck_assert_msg(bench_try_start(b, yaml), "%s", b->error);
}

bool
bench_reload(struct bench *b, const char *yaml)
{
	struct snapshot *s = bench_snapshot(b, yaml);
	struct text error;
	int result;

	text_init(&error, b->error, sizeof(b->error));
	result = edge_reload(b->edge, s, events_sink(&b->events), &error);
	snapshot_put(s);
	ck_assert_int_eq(result != 0, error.len > 0);
	return result == 0;
}

uint16_t
bench_port(struct bench *b, size_t listener)
{
	struct addr a;

	edge_listener_addr(b->edge, listener, &a);
	return a.port;
}

int
bench_connect(struct bench *b)
{
	return connect_to_port(bench_port(b, 0));
}

int
bench_client(struct bench *b, const char *name)
{
	int fd = bench_connect(b);
	struct span hello = hello_for(name);

	send_bytes(fd, hello.data, hello.len);
	return fd;
}

int
bench_accept(struct bench *b)
{
	return accept_from(b->upstream_fd);
}

void
bench_wait_open(struct bench *b, uint64_t count)
{
	/* Not by clock_ms, which some of the tests hold. */
	int64_t until = clock_us() + PATIENCE_MS * INT64_C(1000);
	struct edge_status status;

	do {
		edge_status(b->edge, &status);
		if (status.connections_open == count)
			return;
		sched_yield();
	} while (clock_us() < until);
	ck_abort_msg("%llu connections, not %llu",
	    (unsigned long long)status.connections_open,
	    (unsigned long long)count);
}

static void
deliver_question(struct mail *m, void *receiver)
{
	struct question *q = CONTAINER_OF(m, struct question, mail);
	const struct worker *w = receiver;

	q->generation = w->generation;
	q->setup_count = w->setups.used_count;
	atomic_store(&q->answered, true);
}

struct question
bench_ask(struct bench *b, unsigned worker)
{
	struct question q = { .mail.deliver = deliver_question };

	mailbox_post(&b->edge->workers[worker].mailbox, &q.mail);
	while (!atomic_load(&q.answered))
		sched_yield();
	return q;
}

void
bench_stop(struct bench *b)
{
	struct edge_status status;

	edge_status(b->edge, &status);
	edge_free(b->edge);
	b->edge = NULL;
	ck_assert_uint_eq(status.events_dropped, 0);
	ck_assert_uint_ge(b->events.count, status.connections_total);
}

static void
remove_folder(const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *entry;

	ck_assert_ptr_nonnull(d);
	while ((entry = readdir(d)))
		unlinkat(dirfd(d), entry->d_name, 0);
	closedir(d);
	rmdir(folder);
}

void
bench_fini(struct bench *b)
{
	if (b->edge)
		bench_stop(b);
	close(b->upstream_fd);
	if (b->folder[0])
		remove_folder(b->folder);
	events_fini(&b->events);
	ck_assert_uint_eq(open_descriptors(), b->descriptors);
}
