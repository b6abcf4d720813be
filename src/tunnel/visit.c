#include "tunnel/visit.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "tunnel/message.h"

#define RESPONSE_MS 10000

/* --- connecting --- */

struct attempt {
	bool done;
	int fd;
	const char *why;
};

/* `why` is a literal in all that outbound.c says. */
static void
on_connected(void *owner, int fd, const struct addr *reached, const char *why)
{
	struct attempt *a = owner;

	(void)reached;
	a->fd = fd;
	a->why = why;
	a->done = true;
}

int
visit_connect(struct errand *e, const struct edge_address *edge,
    const struct addr *fixed, const struct proxy_url *proxy,
    uint64_t timeout_ms, const char **why)
{
	struct attempt a = { .done = false };
	struct outbound_host host = {
		.loop = &e->loop,
		.timeouts = &e->timeouts,
		.resolver = e->resolver,
		.mailbox = &e->mailbox,
	};
	struct outbound_target target = {
		.address = edge->address,
		.fixed = *fixed,
		.timeout_ms = timeout_ms,
	};

	errand_catch_up(e);
	*why = "out of memory";
	if (!outbound_start(&host, &target, proxy, on_connected, &a))
		return -ENOMEM;
	errand_wait(e, &a.done);
	*why = a.why;
	return a.fd;
}

/* --- the session --- */

struct course {
	const struct visit_settings *settings;
	struct visit *visit;
	int64_t asked_us;
	bool ended;
};

/* On one line: the edge's errors have several. */
static void
note(char *out, size_t size, const char *text)
{
	struct text t;

	text_init(&t, out, size);
	while (*text != '\0' && t.len < size / 2) {
		size_t len = strcspn(text, "\r\n");

		text_add_escaped(&t, span_of(text, len), size / 8);
		text += len;
		if (*text != '\0' && t.len > 0)
			text_add(&t, " ");
		text += strspn(text, "\r\n");
	}
}

/* The first reason counts. */
static void
note_error(struct course *c, const char *why)
{
	if (c->visit->error[0] == '\0')
		note(c->visit->error, sizeof(c->visit->error), why);
}

static void
fail(struct session *s, const char *why)
{
	note_error(session_owner(s), why);
	session_close(s, "");
}

static void
part(struct session *s, struct course *c)
{
	c->visit->reached = VISIT_DONE;
	session_close(s, "");
}

/* False: the session is over, or will be. */
static bool
is_answered(struct session *s, enum session_reply reply)
{
	if (reply == SESSION_REPLY_OK)
		return true;
	if (reply == SESSION_REPLY_TIMEOUT)
		fail(s, "no answer in time");
	else if (reply == SESSION_REPLY_NO_MEMORY)
		fail(s, "out of memory");
	else if (reply == SESSION_REPLY_RESET)
		fail(s, "the edge does not know this request");
	return false;
}

static void
on_login(
    struct session *s, void *owner, enum session_reply reply, struct span json)
{
	struct course *c = owner;
	struct auth_response r;
	char storage[MESSAGE_ERROR_SIZE];
	struct text error;

	text_init(&error, storage, sizeof(storage));
	if (!is_answered(s, reply))
		return;
	if (auth_response_read(json, &r, &error) < 0) {
		fail(s, error.data);
		return;
	}
	note(c->visit->edge_version, sizeof(c->visit->edge_version),
	    r.server_version);
	note(c->visit->account, sizeof(c->visit->account), r.account_name);
	if (r.error[0] != '\0') {
		fail(s, r.error);
	} else {
		c->visit->logged_in = true;
		part(s, c);
	}
	auth_response_fini(&r);
}

static void
log_in(struct session *s, struct course *c)
{
	struct introduction self = {
		.settings = c->settings->agent,
		.client_id = "",
		.cookie = "",
		.user_agent = "lunette-diagnose",
	};
	struct span json = { .len = 0 };

	c->visit->reached = VISIT_LOGIN;
	if (introduction_write(&self, session_tls(s), &json) < 0 ||
	    session_request(s, MESSAGE_AUTH, json, on_login, c) < 0)
		fail(s, "out of memory");
	message_wipe(&json);
}

static void
on_answer(
    struct session *s, void *owner, enum session_reply reply, struct span json)
{
	struct course *c = owner;
	struct srv_info_response r;
	char storage[MESSAGE_ERROR_SIZE];
	struct text error;

	text_init(&error, storage, sizeof(storage));
	if (!is_answered(s, reply))
		return;
	if (srv_info_response_read(json, &r, &error) < 0) {
		fail(s, error.data);
		return;
	}
	c->visit->round_trip_us = clock_us() - c->asked_us;
	note(c->visit->region, sizeof(c->visit->region), r.region);
	srv_info_response_fini(&r);
	if (c->settings->agent->authtoken)
		log_in(s, c);
	else
		part(s, c);
}

static void
on_open(struct session *s)
{
	struct course *c = session_owner(s);
	struct span json = { .len = 0 };

	c->visit->reached = VISIT_QUESTION;
	c->asked_us = clock_us();
	if (message_write_empty(&json) < 0 ||
	    session_request(s, MESSAGE_SRV_INFO, json, on_answer, c) < 0)
		fail(s, "out of memory");
	message_wipe(&json);
}

static void
on_end(struct session *s, enum session_end end, const char *detail)
{
	struct course *c = session_owner(s);
	const struct tls_failure *f = tls_failure(session_tls(s));
	const char *why = detail[0] != '\0' ? detail : session_end_word(end);

	c->ended = true;
	if (end == SESSION_END_HANDSHAKE && f->detail)
		why = f->detail;
	if (c->visit->reached != VISIT_DONE)
		note_error(c, why);
}

static const struct session_calls calls = {
	.on_open = on_open,
	.on_end = on_end,
};

/* Takes the descriptor. False without memory, and on_end does not come. */
static bool
start(struct course *c, struct session_host *host, struct tls_context *context,
    int fd)
{
	const struct visit_settings *v = c->settings;
	struct session_settings settings = {
		.is_agent = true,
		.admitted = true,
		.handshake_ms = v->agent->connect_ms,
		.heartbeat_interval_ms = v->agent->heartbeat_interval_ms,
		.heartbeat_tolerance_ms = v->agent->heartbeat_tolerance_ms,
		.response_ms = RESPONSE_MS,
		.calls = &calls,
		.owner = c,
	};
	struct tls_stream *tls =
	    edge_connect_tls(context, fd, v->trust, &v->edge->address);

	if (tls)
		return session_new(host, fd, tls, &settings) != NULL;
	close(fd);
	return false;
}

/* Takes the descriptor. */
static bool
run(struct course *c, struct tls_context *context, uint8_t *buffer, int fd)
{
	struct errand *e = c->settings->errand;
	struct session_host host;
	bool started;

	errand_catch_up(e);
	session_host_init(
	    &host, &e->loop, &e->timeouts, buffer, SESSION_BUFFER_BYTES);
	started = start(c, &host, context, fd);
	/* It goes on to say goodbye, a second at most. */
	while (started && (!c->ended || !list_empty(&host.sessions)))
		errand_turn(e);
	session_host_fini(&host);
	return started;
}

void
visit_edge(const struct visit_settings *settings, int fd, struct visit *out)
{
	struct course c = { .settings = settings, .visit = out };
	struct tickets *tickets = tickets_new();
	struct tls_context *context =
	    tickets ? tls_context_new(tickets, -1) : NULL;
	uint8_t *buffer = malloc(SESSION_BUFFER_BYTES);
	bool good = false;

	*out = (struct visit){ .round_trip_us = -1 };
	if (context && buffer)
		good = run(&c, context, buffer, fd);
	else
		close(fd);
	if (!good)
		note(out->error, sizeof(out->error), "out of memory");
	free(buffer);
	tls_context_free(context);
	tickets_free(tickets);
}
