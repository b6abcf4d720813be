/*
 * A link: one place for a session with an edge, filled again and again.
 */
#include "tunnel/agent_private.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "tls/secret.h"

/* A link that has no edge of its own looks again after this. */
#define SPARE_MS 60000

struct kept_token {
	char *digest, *token;
};

/* --- what is shown --- */

void
link_note(struct link *l, enum agent_link_state state, const char *error)
{
	struct agent *a = l->at->agent;
	struct agent_link_status *st = &a->links[l->index];
	struct text t;

	l->state = state;
	pthread_mutex_lock(&a->lock);
	st->state = state;
	text_init(&t, st->edge, sizeof(st->edge));
	text_add(&t, link_edge(l)->text);
	if (error) {
		text_init(&t, st->error, sizeof(st->error));
		text_add(&t, error);
	}
	if (state != LINK_ONLINE) {
		st->session_id[0] = '\0';
		st->latency_us = -1;
	}
	pthread_mutex_unlock(&a->lock);
}

void
link_note_session(struct link *l, const char *id, const char *region)
{
	struct agent_link_status *st = &l->at->agent->links[l->index];
	struct text t;

	pthread_mutex_lock(&l->at->agent->lock);
	text_init(&t, st->session_id, sizeof(st->session_id));
	text_add_escaped(&t, span_text(id), 60);
	text_init(&t, st->region, sizeof(st->region));
	text_add_escaped(&t, span_text(region), 60);
	pthread_mutex_unlock(&l->at->agent->lock);
}

static void
note_latency(struct link *l)
{
	int64_t us = session_counters(l->current->session).latency_us;

	pthread_mutex_lock(&l->at->agent->lock);
	l->at->agent->links[l->index].latency_us = us;
	pthread_mutex_unlock(&l->at->agent->lock);
}

/* --- tokens of former sessions --- */

const char *
link_token(const struct link *l, const char *digest)
{
	for (size_t i = 0; i < l->token_count; i++)
		if (strcmp(l->tokens[i].digest, digest) == 0)
			return l->tokens[i].token;
	return NULL;
}

static void
token_free(struct kept_token *t)
{
	wipe(t->token, strlen(t->token));
	free(t->token);
	free(t->digest);
}

void
link_keep_token(struct link *l, char *digest, char *token)
{
	struct kept_token *grown;

	for (size_t i = 0; i < l->token_count; i++) {
		if (strcmp(l->tokens[i].digest, digest) != 0)
			continue;
		token_free(&l->tokens[i]);
		l->tokens[i] = (struct kept_token){ digest, token };
		return;
	}
	grown = realloc(l->tokens, (l->token_count + 1) * sizeof(*grown));
	if (!grown) {
		struct kept_token lost = { digest, token };

		token_free(&lost);
		return;
	}
	l->tokens = grown;
	grown[l->token_count++] = (struct kept_token){ digest, token };
}

/* --- which edge --- */

/* The lock is held. */
static bool
is_elsewhere(const struct link *l, const struct addr *edge)
{
	const struct agent *a = l->at->agent;
	size_t edges = a->snapshot->agent.edge_count;

	for (unsigned i = 0; i < a->link_count; i++)
		if (i != l->index && a->taken[i].port == edge->port &&
		    addr_same_ip(&a->taken[i], edge))
			return false;
	/* One edge may have an address of each family: a second one is told by
	 * another address of the same. */
	return l->index < edges ||
	       a->taken[l->index % edges].family == edge->family;
}

/* An edge that another link is at is no second one. */
static bool
claim(struct link *l, const struct addr *edge)
{
	struct agent *a = l->at->agent;
	bool is_another;

	pthread_mutex_lock(&a->lock);
	is_another = is_elsewhere(l, edge);
	if (is_another)
		a->taken[l->index] = *edge;
	pthread_mutex_unlock(&a->lock);
	return is_another;
}

static void
unclaim(struct link *l)
{
	struct agent *a = l->at->agent;

	pthread_mutex_lock(&a->lock);
	a->taken[l->index] = (struct addr){ .family = ADDR_NONE };
	pthread_mutex_unlock(&a->lock);
}

/* --- the end of a session --- */

static void
session_forget(struct agent_session *s)
{
	data_forget(s);
	offers_forget(s);
	data_keys_wipe(&s->keys);
	free(s);
}

/* Full jitter: after an edge's restart a thousand agents must not come at
 * once. */
static uint64_t
backoff_ms(const struct link *l)
{
	uint64_t most = AGENT_BACKOFF_MAX_MS;

	if (l->attempts < 6)
		most = (uint64_t)AGENT_BACKOFF_FIRST_MS << l->attempts;
	if (most > AGENT_BACKOFF_MAX_MS)
		most = AGENT_BACKOFF_MAX_MS;
	return random_quick() % (most + 1);
}

static void
wait_and_try(struct link *l, enum agent_link_state state, const char *error)
{
	uint64_t ms = state == LINK_SPARE
			  ? SPARE_MS / 2 + random_quick() % SPARE_MS
			  : backoff_ms(l);

	l->attempts++;
	link_note(l, state, error);
	if (!l->current)
		unclaim(l);
	timeouts_set(
	    &l->at->worker->timeouts, &l->timeout, l->at->worker->now_ms + ms);
}

/* Round those that are no other link's, so that no two meet at one edge. */
static unsigned
next_edge(const struct link *l)
{
	size_t count = l->at->agent->snapshot->agent.edge_count;
	unsigned next = l->edge + l->at->agent->link_count;

	return next < count ? next : l->index;
}

static void
failed(struct link *l, const char *error)
{
	const struct agent *a = l->at->agent;

	LOG_WARN("no session with an edge",
	    LOG_TEXT("edge", link_edge(l)->text), LOG_TEXT("error", error),
	    LOG_INT("attempt", l->attempts + 1));
	wait_and_try(l, LINK_WAITING, error);
	/* There are edges that no link is at. */
	if (a->snapshot->agent.edge_count > a->link_count)
		l->edge = next_edge(l);
}

/* Whose session it was is not kept with them; those of others just answer. */
static void
doubt_data_connections(struct agent_worker *at)
{
	tls_pump_host_ask(&at->pumps);
	edge_sweep(at->worker->edge);
}

static void
on_end(struct session *session, enum session_end end, const char *detail)
{
	struct agent_session *s = session_owner(session);
	struct link *l = s->link;
	const struct tls_failure *f = tls_failure(session_tls(session));
	const char *why = detail[0] ? detail : session_end_word(end);

	if (end == SESSION_END_HANDSHAKE && f && f->detail)
		why = f->detail;
	if (s->joined && session_fell_silent(end))
		doubt_data_connections(l->at);
	if (l->old == s) {
		l->old = NULL;
		session_forget(s);
		return;
	}
	if (s->joined)
		LOG_AT(l->at->draining ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
		    "the session has ended",
		    LOG_TEXT("edge", link_edge(l)->text),
		    LOG_TEXT("reason", why));
	l->current = NULL;
	if (s->joined)
		l->attempts = 0;
	session_forget(s);
	if (l->at->draining)
		return;
	failed(l, why);
}

/* --- connecting --- */

static const struct session_calls calls = {
	.on_open = join_begin,
	.on_request = command_take,
	.on_stream = accept_stream,
	.on_end = on_end,
};

static struct agent_session *
session_make(struct link *l, const struct addr *reached)
{
	struct agent_session *s = calloc(1, sizeof(*s));
	const struct edge_address *e = link_edge(l);

	if (!s)
		return NULL;
	s->link = l;
	s->remote = *reached;
	if (e->address.kind == UPSTREAM_NAME)
		s->server_name = e->address.name;
	s->target = (struct outbound_target){
		.address = e->address,
		.fixed = *reached,
		.timeout_ms = link_settings(l)->agent.connect_ms,
	};
	list_init(&s->dials);
	list_init(&s->parked);
	list_init(&s->asked);
	return s;
}

static void
start_session(struct link *l, int fd, const struct addr *reached)
{
	const struct agent_settings *set = &link_settings(l)->agent;
	struct agent_session *s = session_make(l, reached);
	struct tls_stream *tls =
	    s ? edge_connect_tls(l->at->worker->tls, fd, &l->at->agent->trust,
		    &link_edge(l)->address)
	      : NULL;
	struct session_settings settings = {
		.is_agent = true,
		.admitted = true,
		.handshake_ms = set->connect_ms,
		.heartbeat_interval_ms = set->heartbeat_interval_ms,
		.heartbeat_tolerance_ms = set->heartbeat_tolerance_ms,
		.calls = &calls,
		.owner = s,
	};

	if (!tls) {
		free(s);
		close(fd);
		failed(l, "out of memory");
		return;
	}
	s->session = session_new(&l->at->sessions, fd, tls, &settings);
	if (!s->session) {
		free(s);
		failed(l, "out of memory");
		return;
	}
	l->current = s;
}

static void
on_connected(void *owner, int fd, const struct addr *reached, const char *why)
{
	struct link *l = owner;
	struct text error;
	char storage[AGENT_TEXT_SIZE];

	l->outbound = NULL;
	if (fd >= 0 && reached->family != ADDR_NONE && !claim(l, reached)) {
		close(fd);
		wait_and_try(l, LINK_SPARE, "another link is at this edge");
		return;
	}
	if (fd >= 0) {
		start_session(l, fd, reached);
		return;
	}
	text_init(&error, storage, sizeof(storage));
	text_addf(&error, "%s: %s", why, log_errno_text(-fd));
	failed(l, error.data);
}

static void
connect_edge(struct link *l)
{
	struct agent *a = l->at->agent;
	struct outbound_target target = {
		.address = link_edge(l)->address,
		.fixed = { .family = ADDR_NONE },
		.first = l->index + l->attempts,
		.timeout_ms = link_settings(l)->agent.connect_ms,
	};

	link_note(l, LINK_CONNECTING, NULL);
	l->outbound = outbound_start(&l->at->outbound, &target,
	    a->has_proxy ? &a->proxy : NULL, on_connected, l);
	if (!l->outbound)
		failed(l, "out of memory");
}

/* --- its life --- */

/* Behind a proxy nobody can tell two addresses apart; with one edge and one
 * name there is one session. */
static bool
is_of_use(const struct link *l)
{
	const struct agent_settings *a = &l->at->agent->snapshot->agent;

	if (l->index < a->edge_count)
		return true;
	return !l->at->agent->has_proxy &&
	       a->edges[l->index % a->edge_count].address.kind == UPSTREAM_NAME;
}

static void
on_timeout(struct timeout *t)
{
	struct link *l = CONTAINER_OF(t, struct link, timeout);
	uint64_t now = l->at->worker->now_ms, next;

	if (l->at->draining || l->outbound)
		return;
	if (!l->current || l->current->moving) {
		connect_edge(l);
		return;
	}
	if (!l->current->joined)
		return;
	note_latency(l);
	next = offers_retry(l->current, now);
	timeouts_set(&l->at->worker->timeouts, &l->timeout,
	    now + (next > 0 && next < 1000 ? next : 1000));
}

void
link_plan(struct link *l)
{
	timeouts_set(
	    &l->at->worker->timeouts, &l->timeout, l->at->worker->now_ms + 100);
}

void
link_move(struct link *l)
{
	if (!l->current || !l->current->joined || l->current->moving)
		return;
	LOG_INFO("the edge goes away: a new session is opened",
	    LOG_TEXT("edge", link_edge(l)->text));
	if (l->old)
		session_close(l->old->session, "moved twice");
	l->current->moving = true;
	l->old = l->current;
	l->current = NULL;
	l->attempts = 0;
	unclaim(l);
	connect_edge(l);
}

void
link_init(struct link *l, struct agent_worker *at, unsigned index)
{
	*l = (struct link){ .at = at, .index = index, .edge = index };
	l->identity.lock_fd = -1;
	timeout_init(&l->timeout, on_timeout);
}

void
link_start(struct link *l)
{
	if (!is_of_use(l)) {
		link_note(l, LINK_SPARE, "there is no further edge");
		return;
	}
	identity_open(
	    &l->identity, link_settings(l), link_edge(l)->text, l->index);
	connect_edge(l);
}

void
link_fini(struct link *l)
{
	timeouts_clear(&l->at->worker->timeouts, &l->timeout);
	outbound_cancel(l->outbound);
	l->outbound = NULL;
	identity_close(&l->identity);
	for (size_t i = 0; i < l->token_count; i++)
		token_free(&l->tokens[i]);
	free(l->tokens);
	l->tokens = NULL;
	l->token_count = 0;
}
