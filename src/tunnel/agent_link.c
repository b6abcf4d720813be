/*
 * A link: one place for a session with an edge, filled again and again.
 */
#include "tunnel/agent_private.h"

#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/hash.h"
#include "tls/secret.h"
#include "tls/session_context.h"
#include "tls/token.h"
#include "tunnel/message.h"

#define UPDATE_UNSUPPORTED "Lunette is updated by its package"

/* A link that has no edge of its own looks again after this. */
#define SPARE_MS 60000
/* An old session stays so long for what runs through it. */
#define OLD_SESSION_MS 30000

struct kept_token {
	char *digest, *token;
};

static const struct snapshot *
settings_of(const struct link *l)
{
	return l->at->worker->generation->snapshot;
}

static const struct edge_address *
edge_of(const struct link *l)
{
	const struct agent_settings *a = &l->at->agent->snapshot->agent;

	return &a->edges[l->edge % a->edge_count];
}

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
	text_add(&t, edge_of(l)->text);
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

static void
note_session(struct link *l, const char *id, const char *region)
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

	LOG_WARN("no session with an edge", LOG_TEXT("edge", edge_of(l)->text),
	    LOG_TEXT("error", error), LOG_INT("attempt", l->attempts + 1));
	wait_and_try(l, LINK_WAITING, error);
	/* There are edges that no link is at. */
	if (a->snapshot->agent.edge_count > a->link_count)
		l->edge = next_edge(l);
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
	if (l->old == s) {
		l->old = NULL;
		session_forget(s);
		return;
	}
	if (s->joined)
		LOG_WARN("the session has ended",
		    LOG_TEXT("edge", edge_of(l)->text),
		    LOG_TEXT("reason", why));
	l->current = NULL;
	if (s->joined)
		l->attempts = 0;
	session_forget(s);
	if (l->at->draining)
		return;
	failed(l, why);
}

/* --- joining --- */

/* Before this agent was ever online there is somebody who waits to be told. */
static void
refused_for_good(struct link *l)
{
	struct agent *a = l->at->agent;
	uint64_t one = 1;

	if (!atomic_load(&a->was_online) &&
	    write(a->refused_fd, &one, sizeof(one)) < 0)
		ASSERT(errno == EAGAIN);
}

static void
welcome(struct agent_session *s, const struct auth_response *r)
{
	struct link *l = s->link;

	s->joined = true;
	l->attempts = 0;
	atomic_store(&l->at->agent->was_online, true);
	identity_set(&l->identity, r->client_id ? r->client_id : "",
	    r->cookie ? r->cookie : "");
	if (r->session_id.len == DATA_SESSION_BYTES)
		s->has_keys = data_keys_init(&s->keys, session_tls(s->session),
				  r->session_id.data) == 0;
	link_note(l, LINK_ONLINE, "");
	note_session(l, r->agent_session_id ? r->agent_session_id : "",
	    r->region ? r->region : "");
	LOG_INFO("a session with an edge is up",
	    LOG_TEXT("edge", edge_of(l)->text),
	    LOG_TEXT("session", r->agent_session_id ? r->agent_session_id : ""),
	    LOG_TEXT("banner", r->banner ? r->banner : ""));
	offers_sync(s, settings_of(l));
	if (l->old)
		session_close(l->old->session, "moved");
	link_plan(l);
}

static void
on_auth_reply(struct session *session, void *owner, enum session_reply reply,
    struct span json)
{
	struct agent_session *s = owner;
	struct auth_response response;
	char storage[MESSAGE_ERROR_SIZE];
	struct text error;

	text_init(&error, storage, sizeof(storage));
	if (reply == SESSION_REPLY_ENDED)
		return;
	if (reply != SESSION_REPLY_OK) {
		session_close(session, "the edge does not answer");
		return;
	}
	if (auth_response_read(json, &response, &error) < 0) {
		session_close(session, error.data);
		return;
	}
	if (response.error && response.error[0]) {
		LOG_ERROR("the edge refuses this agent",
		    LOG_TEXT("edge", edge_of(s->link)->text),
		    LOG_TEXT("error", response.error));
		link_note(s->link, LINK_JOINING, response.error);
		session_close(session, response.error);
		refused_for_good(s->link);
	} else {
		welcome(s, &response);
	}
	auth_response_fini(&response);
}

static bool
prove(struct agent_session *s, struct span token, struct auth *a,
    uint8_t id[TOKEN_ID_BYTES], uint8_t *proof)
{
	uint8_t binding[TOKEN_BINDING_BYTES];

	if (token_id(token, id) < 0 ||
	    token_binding(session_tls(s->session), binding) < 0 ||
	    token_prove(binding, token, proof) < 0)
		return false;
	a->token_id = (struct message_bytes){ id, TOKEN_ID_BYTES };
	a->proof = (struct message_bytes){ proof, token.len };
	wipe(binding, sizeof(binding));
	return true;
}

static char *
lend(const char *text)
{
	return (char *)(uintptr_t)(text ? text : "");
}

static int
write_auth(struct agent_session *s, struct span *json)
{
	const struct agent_settings *set = &settings_of(s->link)->agent;
	const struct identity *i = &s->link->identity;
	struct span token = span_text(set->authtoken);
	static const char *const versions[] = { "3", "2" };
	uint8_t id[TOKEN_ID_BYTES], proof[TOKEN_MAX_BYTES];
	char hostname[256] = "";
	struct utsname machine;
	int result;

	if (uname(&machine) < 0 ||
	    gethostname(hostname, sizeof(hostname) - 1) < 0)
		return -errno;
	struct auth a = {
		.versions = { (char **)(uintptr_t)versions,
		    ARRAY_COUNT(versions) },
		.client_id = lend(i->client_id),
		.cookie = lend(i->cookie),
		.os = lend("linux"),
		.arch = machine.machine,
		.version = lend(PACKAGE_VERSION),
		.hostname = hostname,
		.user_agent = lend("lunette-agent"),
		.client_type = lend("lunette"),
		.data_encryption = lend(set->encrypts_data ? "always" : ""),
		.metadata = lend(set->metadata),
		.heartbeat_interval_ns =
		    (int64_t)set->heartbeat_interval_ms * 1000000,
		.heartbeat_tolerance_ns =
		    (int64_t)set->heartbeat_tolerance_ms * 1000000,
		.auth_token = lend(""),
		.stop_unsupported = lend(""),
		.restart_unsupported = lend(""),
		.update_unsupported = lend(UPDATE_UNSUPPORTED),
		.proxy_type = lend(""),
		.config_version = lend("1"),
		.custom_cas = set->connect_cas != NULL,
	};

	/* Too short a token cannot be proved; inside TLS that was verified it
	 * may be said. */
	if (token.len > 0 && !prove(s, token, &a, id, proof))
		a.auth_token = lend(set->authtoken);
	result = auth_write(&a, json);
	wipe(proof, sizeof(proof));
	return result;
}

static void
on_open(struct session *session)
{
	struct agent_session *s = session_owner(session);
	struct span json = span_of(NULL, 0);

	link_note(s->link, LINK_JOINING, NULL);
	if (write_auth(s, &json) < 0 ||
	    session_request(session, MESSAGE_AUTH, json, on_auth_reply, s) < 0)
		session_close(session, "out of memory");
	message_wipe(&json);
}

/* --- what the edge asks --- */

static void
answer_empty(struct session *session, uint32_t id)
{
	session_answer(session, id, span_text("{}"));
}

static void
answer_error(struct session *session, uint32_t id, const char *error)
{
	struct error_response response = { .error = lend(error) };
	struct span json;

	if (error_response_write(&response, &json) < 0)
		return;
	session_answer(session, id, json);
	message_wipe(&json);
}

static void
on_data_connections(struct agent_session *s, uint32_t id, struct span json)
{
	struct data_connections d;
	char storage[MESSAGE_ERROR_SIZE];
	struct text error;

	text_init(&error, storage, sizeof(storage));
	if (data_connections_read(json, &d, &error) < 0 ||
	    !data_dial(
		s, d.first, d.count, d.mode == 1 ? DATA_TLS : DATA_RAW)) {
		session_close(s->session,
		    "the edge asks for data connections that cannot be");
		return;
	}
	answer_empty(s->session, id);
}

static void
on_stop_tunnel(struct agent_session *s, struct span json)
{
	struct stop_tunnel stop;
	char storage[MESSAGE_ERROR_SIZE];
	struct text error;
	struct offer *o;

	text_init(&error, storage, sizeof(storage));
	if (stop_tunnel_read(json, &stop, &error) < 0)
		return;
	o = offers_find(s, span_text(stop.id));
	if (o)
		offers_stopped(o, stop.message);
	stop_tunnel_fini(&stop);
}

static void
on_request(
    struct session *session, uint32_t type, uint32_t id, struct span json)
{
	struct agent_session *s = session_owner(session);

	switch (type) {
	case MESSAGE_DATA_CONNECTIONS:
		on_data_connections(s, id, json);
		break;
	case MESSAGE_STOP_TUNNEL:
		on_stop_tunnel(s, json);
		answer_empty(session, id);
		break;
	case MESSAGE_DATA_END:
		answer_empty(session, id);
		break;
	case MESSAGE_MOVING:
		answer_empty(session, id);
		link_move(s->link);
		break;
	case MESSAGE_RESTART:
		answer_empty(session, id);
		link_move(s->link);
		break;
	case MESSAGE_STOP:
		answer_empty(session, id);
		kill(getpid(), SIGTERM);
		break;
	case MESSAGE_UPDATE:
		answer_error(session, id, UPDATE_UNSUPPORTED);
		break;
	default:
		session_refuse(session, id, FRAME_ERROR_REFUSAL);
	}
}

/* --- connecting --- */

static const struct session_calls calls = {
	.on_open = on_open,
	.on_request = on_request,
	.on_stream = accept_stream,
	.on_end = on_end,
};

static struct tls_stream *
connect_tls(struct link *l, struct agent_session *s, int fd)
{
	struct agent *a = l->at->agent;
	char ip[ADDR_TEXT_SIZE];
	struct tls_session_settings settings = {
		.trust = a->trust,
		.pin = a->pinned ? a->pin : NULL,
		.server_name = host_span(&s->server_name),
	};

	if (s->server_name.len == 0) {
		addr_format_ip(&edge_of(l)->address.addr, ip);
		settings.server_name = span_text(ip);
	}
	return tls_session_connect(l->at->worker->tls, fd, &settings);
}

static struct agent_session *
session_make(struct link *l, const struct addr *reached)
{
	struct agent_session *s = calloc(1, sizeof(*s));
	const struct edge_address *e = edge_of(l);

	if (!s)
		return NULL;
	s->link = l;
	s->remote = *reached;
	if (e->address.kind == UPSTREAM_NAME)
		s->server_name = e->address.name;
	s->target = (struct outbound_target){
		.address = e->address,
		.fixed = *reached,
		.timeout_ms = settings_of(l)->agent.connect_ms,
	};
	list_init(&s->dials);
	list_init(&s->parked);
	list_init(&s->asked);
	return s;
}

static void
start_session(struct link *l, int fd, const struct addr *reached)
{
	const struct agent_settings *set = &settings_of(l)->agent;
	struct agent_session *s = session_make(l, reached);
	struct tls_stream *tls = s ? connect_tls(l, s, fd) : NULL;
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
		.address = edge_of(l)->address,
		.fixed = { .family = ADDR_NONE },
		.first = l->index + l->attempts,
		.timeout_ms = settings_of(l)->agent.connect_ms,
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
	    LOG_TEXT("edge", edge_of(l)->text));
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
	at->agent->taken[index] = (struct addr){ .family = ADDR_NONE };
	at->agent->links[index].latency_us = -1;
}

void
link_start(struct link *l)
{
	if (!is_of_use(l)) {
		link_note(l, LINK_SPARE, "there is no further edge");
		return;
	}
	identity_open(&l->identity, settings_of(l), edge_of(l)->text, l->index);
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
