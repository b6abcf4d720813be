#include "control/web_server.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "sys/socket.h"

#define HEAD_BYTES ((size_t)16 * 1024)
#define ANSWERS_BYTES ((size_t)32 * 1024 * 1024)
#define ACCEPT_BATCH 16
/* After accept has failed for want of descriptors or memory. */
#define ACCEPT_PAUSE_MS 100

/* A connection, in one of a fixed number of places. The descriptor is
 * libmicrohttpd's. */
struct client {
	struct list node; /* in free, or in live by deadline */
	int fd;
	struct addr local;
	uint64_t deadline_ms;
};

struct web_server {
	struct web_settings settings;
	struct addr address;
	pthread_t thread;
	struct MHD_Daemon *daemon;
	int listener, stop_fd, daemon_fd;

	/* The thread's alone. */
	struct client clients[WEB_CONNECTIONS_MAX];
	struct list free, live, cut;
	struct client *arriving; /* inside MHD_add_connection only */
	uint64_t accept_at_ms;	 /* no accept before */
	size_t answers_bytes;	 /* on their way */
};

/* ---- connections -------------------------------------------------------- */

static void
set_deadline(struct web_server *w, struct client *c)
{
	c->deadline_ms = clock_ms() + WEB_REQUEST_MS;
	list_remove(&c->node);
	list_append(&w->live, &c->node);
}

static void
on_connection(void *cls, struct MHD_Connection *connection, void **context,
    enum MHD_ConnectionNotificationCode code)
{
	struct web_server *w = cls;
	struct client *c;

	(void)connection;
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		*context = w->arriving;
		set_deadline(w, w->arriving);
		return;
	}
	c = *context;
	list_remove(&c->node);
	list_append(&w->free, &c->node);
}

static struct client *
client_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
	    connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info->socket_context;
}

/* An answer is out: the next request has as much time as the first. */
static void
on_completed(void *cls, struct MHD_Connection *connection, void **request,
    enum MHD_RequestTerminationCode code)
{
	(void)request;
	if (code == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		set_deadline(cls, client_of(connection));
}

static void
add_connection(struct web_server *w, int fd, const struct addr *peer,
    const struct addr *local)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(peer, &ss);
	struct client *c =
	    LIST_ENTRY(list_shift(&w->free), struct client, node);

	c->fd = fd;
	c->local = *local;
	w->arriving = c;
	if (MHD_add_connection(w->daemon, fd, (struct sockaddr *)&ss, len) !=
	    MHD_YES) {
		LOG_LIMITED(LOG_LEVEL_WARN,
		    "no memory for a connection to the web address",
		    LOG_ADDR("peer", peer));
		list_remove(&c->node);
		list_append(&w->free, &c->node);
	}
	w->arriving = NULL;
}

static void
accept_batch(struct web_server *w)
{
	for (int i = 0; i < ACCEPT_BATCH && !list_empty(&w->free); i++) {
		struct addr peer, local;
		int fd = socket_accept(w->listener, &peer, &local);

		if (fd >= 0) {
			add_connection(w, fd, &peer, &local);
			continue;
		}
		if (fd != -EAGAIN && fd != -ECONNABORTED) {
			LOG_LIMITED(LOG_LEVEL_WARN,
			    "accept at the web address failed", LOG_ERRNO(-fd));
			w->accept_at_ms = clock_ms() + ACCEPT_PAUSE_MS;
		}
		return;
	}
}

/*
 * Ends connections that are over their time. The daemon then reads an end or
 * fails to write, and closes. Its own time-out would not do: it begins anew
 * with every byte.
 */
static void
cut_overdue(struct web_server *w)
{
	uint64_t now_ms = clock_ms();

	LIST_FOREACH_SAFE (node, &w->live) {
		struct client *c = LIST_ENTRY(node, struct client, node);

		if (c->deadline_ms > now_ms)
			return;
		shutdown(c->fd, SHUT_RDWR);
		list_remove(&c->node);
		list_append(&w->cut, &c->node);
	}
}

/* ---- requests ----------------------------------------------------------- */

/* A body on its way, with what it adds to the sum. */
struct body {
	struct web_server *server;
	char *data;
	size_t len;
};

static void
free_body(void *cls)
{
	struct body *b = cls;

	b->server->answers_bytes -= b->len;
	free(b->data);
	free(b);
}

/* Takes the body. NULL if it is one too many, or without memory. */
static struct MHD_Response *
make_response(struct web_server *w, struct web_answer *a)
{
	struct body *b = NULL;
	struct MHD_Response *r;

	if (a->body && w->answers_bytes + a->len <= ANSWERS_BYTES)
		b = malloc(sizeof(*b));
	if (!b) {
		free(a->body);
		return NULL;
	}
	*b = (struct body){ .server = w, .data = a->body, .len = a->len };
	w->answers_bytes += b->len;
	r = MHD_create_response_from_buffer_with_free_callback_cls(
	    b->len, b->data, free_body, b);
	if (!r)
		free_body(b);
	return r;
}

static bool
add_headers(const struct web_server *w, struct MHD_Response *r,
    const struct web_answer *a)
{
	const struct {
		const char *name, *value;
	} headers[] = {
		{ "Content-Type", a->type },
		{ "Allow", a->allow },
		{ "Connection", a->closes ? "close" : NULL },
		{ "Cache-Control", "no-store" },
		{ "Content-Security-Policy", w->settings.content_policy },
		{ "X-Content-Type-Options", "nosniff" },
		{ "Referrer-Policy", "no-referrer" },
		/* What has no CORS header is not for other origins; this also
		 * keeps it out of their processes. */
		{ "Cross-Origin-Resource-Policy", "same-origin" },
	};

	for (size_t i = 0; i < ARRAY_COUNT(headers); i++)
		if (headers[i].value &&
		    MHD_add_response_header(
			r, headers[i].name, headers[i].value) != MHD_YES)
			return false;
	return true;
}

/* MHD_NO ends the connection; that is for when there is no memory at all. */
static enum MHD_Result
queue(struct web_server *w, struct MHD_Connection *connection,
    const struct web_answer *a, struct MHD_Response *r)
{
	enum MHD_Result result = MHD_NO;

	if (!r)
		return MHD_NO;
	if (add_headers(w, r, a))
		result = MHD_queue_response(connection, a->status, r);
	MHD_destroy_response(r);
	return result;
}

/* A status without a body, and the end. */
static enum MHD_Result
send_status(
    struct web_server *w, struct MHD_Connection *connection, unsigned status)
{
	const struct web_answer a = { .status = status, .closes = true };

	return queue(w, connection, &a,
	    MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
}

static enum MHD_Result
send_answer(struct web_server *w, struct MHD_Connection *connection,
    struct web_answer *a)
{
	struct MHD_Response *r = make_response(w, a);

	if (r)
		return queue(w, connection, a, r);
	LOG_LIMITED(LOG_LEVEL_WARN,
	    "no memory for an answer at the web address",
	    LOG_INT("bytes", a->len));
	return send_status(w, connection, 503);
}

struct heads {
	struct span host;
	unsigned host_count;
	bool has_body, is_malformed;
};

/* RFC 9110 section 5.6.2. libmicrohttpd lets "Content-Length : 5" pass as a
 * field with a blank in its name. */
static bool
is_token(struct span name)
{
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.data[i];

		if (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))
			return false;
	}
	return name.len > 0;
}

static enum MHD_Result
on_header(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_len,
    const char *value, size_t value_len)
{
	struct heads *h = cls;

	(void)kind;
	h->is_malformed |= !is_token(span_of(key, key_len));
	if (!strcasecmp(key, "Host")) {
		h->host = span_of(value, value_len);
		h->host_count++;
	} else if (!strcasecmp(key, "Transfer-Encoding")) {
		h->has_body = true;
	} else if (!strcasecmp(key, "Content-Length")) {
		/* "Content-Length: 0" is what some clients always send. */
		h->has_body |= value_len != 1 || value[0] != '0';
	}
	return MHD_YES;
}

/*
 * Called once a head is complete, and again for what follows it. The answer to
 * a request without a body waits for the second call, because the daemon closes
 * a connection whose answer comes before the request's end.
 */
static enum MHD_Result
on_request(void *cls, struct MHD_Connection *connection, const char *url,
    const char *method, const char *version, const char *upload,
    size_t *upload_len, void **request)
{
	static char seen;
	struct web_server *w = cls;
	struct heads h = { 0 };
	struct web_answer a = { 0 };
	struct web_request q;

	(void)version;
	(void)upload;
	(void)upload_len;
	MHD_get_connection_values_n(connection, MHD_HEADER_KIND, on_header, &h);
	if (h.is_malformed)
		return send_status(w, connection, 400);
	if (!h.has_body && !*request) {
		*request = &seen;
		return MHD_YES;
	}
	q = (struct web_request){
		.method = method,
		.path = span_text(url),
		.host = h.host_count == 1 ? h.host : span_of(NULL, 0),
		.local = client_of(connection)->local,
		.has_body = h.has_body,
	};
	w->settings.answer(w->settings.data, &q, &a);
	a.closes |= h.has_body;
	return send_answer(w, connection, &a);
}

/* The path goes to the handler as it came: libmicrohttpd would decode "%2F"
 * and "%00" in it. */
static size_t
keep_encoded(void *cls, struct MHD_Connection *connection, char *s)
{
	(void)cls;
	(void)connection;
	return strlen(s);
}

static void
on_daemon_log(void *cls, const char *format, va_list args)
{
	char storage[256];
	struct text t;

	(void)cls;
	if (!log_enabled(LOG_LEVEL_DEBUG))
		return;
	text_init(&t, storage, sizeof(storage));
	text_vaddf(&t, format, args);
	while (t.len > 0 && t.data[t.len - 1] == '\n')
		t.len--;
	LOG_DEBUG("web address", LOG_SPAN("text", text_span(&t)));
}

/* ---- the thread --------------------------------------------------------- */

static uint64_t
earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Milliseconds until something is due, -1 for never. */
static int
time_to_sleep(struct web_server *w)
{
	uint64_t now_ms = clock_ms(), due_ms = UINT64_MAX;
	unsigned MHD_LONG_LONG daemon_ms;

	if (MHD_get_timeout(w->daemon, &daemon_ms) == MHD_YES)
		due_ms = now_ms + daemon_ms;
	if (w->accept_at_ms > now_ms)
		due_ms = earlier(due_ms, w->accept_at_ms);
	if (!list_empty(&w->live))
		due_ms = earlier(due_ms,
		    LIST_ENTRY(w->live.next, struct client, node)->deadline_ms);
	if (due_ms == UINT64_MAX)
		return -1;
	return due_ms > now_ms ? (int)earlier(due_ms - now_ms, 60000) : 0;
}

/* One turn; false once the server shall stop. */
static bool
turn(struct web_server *w)
{
	bool may_accept =
	    !list_empty(&w->free) && w->accept_at_ms <= clock_ms();
	struct pollfd fds[] = {
		{ .fd = w->stop_fd, .events = POLLIN },
		{ .fd = w->daemon_fd, .events = POLLIN },
		{ .fd = may_accept ? w->listener : -1, .events = POLLIN },
	};

	if (poll(fds, ARRAY_COUNT(fds), time_to_sleep(w)) < 0)
		return errno == EINTR || errno == ENOMEM;
	if (fds[0].revents)
		return false;
	if (fds[2].revents)
		accept_batch(w);
	MHD_run(w->daemon);
	cut_overdue(w);
	return true;
}

static void *
run(void *arg)
{
	struct web_server *w = arg;

	pthread_setname_np(pthread_self(), w->settings.thread_name);
	while (turn(w))
		continue;
	return NULL;
}

/* Signals are the main thread's business. */
static int
start_thread(struct web_server *w)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&w->thread, NULL, run, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

/* ---- begin and end ------------------------------------------------------ */

static int
listen_somewhere(struct web_server *w)
{
	struct addr a = w->settings.address;
	int fd = socket_listen(&a);

	for (unsigned i = 1; i < w->settings.ports && fd == -EADDRINUSE &&
			     a.port > 0 && a.port < UINT16_MAX;
	     i++) {
		a.port++;
		fd = socket_listen(&a);
	}
	return fd;
}

static int
open_descriptors(struct web_server *w)
{
	w->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (w->stop_fd < 0)
		return -errno;
	w->listener = listen_somewhere(w);
	if (w->listener < 0)
		return w->listener;
	return socket_local_addr(w->listener, &w->address);
}

/*
 * The daemon does not listen: what is accepted here is given to it, so that it
 * is known which address it came to, and so that it waits in the kernel when
 * all places are taken.
 */
static int
start_daemon(struct web_server *w)
{
	const union MHD_DaemonInfo *info;

	w->daemon = MHD_start_daemon(
	    MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG, 0,
	    NULL, NULL, on_request, w, MHD_OPTION_EXTERNAL_LOGGER,
	    on_daemon_log, NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, w,
	    MHD_OPTION_NOTIFY_COMPLETED, on_completed, w,
	    MHD_OPTION_UNESCAPE_CALLBACK, keep_encoded, NULL,
	    MHD_OPTION_CONNECTION_LIMIT, (unsigned)WEB_CONNECTIONS_MAX,
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, HEAD_BYTES,
	    MHD_OPTION_STRICT_FOR_CLIENT, 1,
	    /* The thread blocks all signals. */
	    MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
	if (!w->daemon)
		return -ENOMEM;
	info = MHD_get_daemon_info(w->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	w->daemon_fd = info->epoll_fd;
	return 0;
}

static void
free_parts(struct web_server *w)
{
	if (w->daemon)
		MHD_stop_daemon(w->daemon);
	if (w->listener >= 0)
		close(w->listener);
	if (w->stop_fd >= 0)
		close(w->stop_fd);
	free(w);
}

static struct web_server *
make_server(const struct web_settings *settings)
{
	struct web_server *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->settings = *settings;
	w->listener = w->stop_fd = -1;
	list_init(&w->free);
	list_init(&w->live);
	list_init(&w->cut);
	for (size_t i = 0; i < ARRAY_COUNT(w->clients); i++)
		list_append(&w->free, &w->clients[i].node);
	return w;
}

int
web_server_new(const struct web_settings *settings, struct web_server **out)
{
	struct web_server *w = make_server(settings);
	int err;

	if (!w)
		return -ENOMEM;
	err = open_descriptors(w);
	if (err == 0)
		err = start_daemon(w);
	if (err == 0)
		err = start_thread(w);
	if (err < 0) {
		free_parts(w);
		return err;
	}
	*out = w;
	return 0;
}

void
web_server_free(struct web_server *w)
{
	uint64_t one = 1;

	if (!w)
		return;
	(void)!write(w->stop_fd, &one, sizeof(one));
	pthread_join(w->thread, NULL);
	free_parts(w);
}

void
web_server_address(const struct web_server *w, struct addr *out)
{
	*out = w->address;
}
