#include "tunnel/edge_auth.h"

#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "tls/token.h"
#include "tunnel/edge_data.h"
#include "tunnel/edge_events.h"
#include "tunnel/edge_private.h"
#include "tunnel/edge_replace.h"
#include "tunnel/edge_session.h"

/* More wrong tokens from one address than this, and none is looked at: the
 * first at once, then one in two seconds. */
#define FAILURES_BURST 10
#define FAILURES_PER_SECOND 0.5

#define HEARTBEAT_MIN_NS INT64_C(100000000)
#define HEARTBEAT_MAX_NS (INT64_C(24) * 3600 * 1000000000)
#define HEARTBEAT_MIN_TEXT "100ms"

#define VERSIONS_TEXT "3 and 2"

void
edge_on_srv_info(struct edge_session *es, uint32_t id, struct span json)
{
	const struct srv_info_response r = { .region =
						 message_lend(EDGE_REGION) };
	struct span answer;

	(void)json;
	edge_session_answer(
	    es, id, srv_info_response_write(&r, &answer), &answer);
}

/* --- refusals --- */

/* The answer, and the end. */
static void
refuse(struct edge_session *es, enum ngrok_error e, const char *subject)
{
	char text[NGROK_ERROR_SIZE];
	struct auth_response r = { .error = edge_error(text, e, subject) };
	struct span answer;
	char *line_end;

	EDGE_COUNT(es->tunnel, sessions_refused);
	edge_session_answer(
	    es, es->auth_request, auth_response_write(&r, &answer), &answer);
	line_end = strchr(text, '\n');
	if (line_end)
		*line_end = '\0';
	LOG_LIMITED(LOG_LEVEL_WARN, "an agent is refused",
	    LOG_TEXT("session", es->id), LOG_ADDR("agent", &es->peer),
	    LOG_TEXT("error", text));
	edge_session_end(es, text);
}

/* All addresses that one of IPv6 may have at will count as one. */
static struct span
attempts_key(const struct addr *peer, uint8_t storage[17])
{
	size_t len = peer->family == ADDR_IP4 ? 4 : 8;

	storage[0] = peer->family;
	memcpy(storage + 1, peer->bytes, len);
	return span_of(storage, 1 + len);
}

static bool
may_try(const struct edge_session *es)
{
	uint8_t storage[17];

	return rates_has(atomic_load(&es->tunnel->failures),
	    attempts_key(&es->peer, storage), FAILURES_PER_SECOND,
	    FAILURES_BURST, clock_us());
}

static void
fail(struct edge_session *es, enum ngrok_error e)
{
	uint8_t storage[17];

	EDGE_COUNT(es->tunnel, auth_failures);
	(void)rates_take(atomic_load(&es->tunnel->failures),
	    attempts_key(&es->peer, storage), FAILURES_PER_SECOND,
	    FAILURES_BURST, clock_us());
	refuse(es, e, NULL);
}

/* --- what was said --- */

static bool
is_within(int64_t ns)
{
	return ns == 0 || (ns >= HEARTBEAT_MIN_NS && ns <= HEARTBEAT_MAX_NS);
}

static bool
check_heartbeats(struct edge_session *es, const struct auth *a)
{
	if (!is_within(a->heartbeat_interval_ns))
		refuse(es, NGROK_HEARTBEAT_INTERVAL, HEARTBEAT_MIN_TEXT);
	else if (!is_within(a->heartbeat_tolerance_ns))
		refuse(es, NGROK_HEARTBEAT_TOLERANCE, HEARTBEAT_MIN_TEXT);
	else
		return true;
	return false;
}

/* The agent's best that is known here; NULL: none. */
static const char *
common_version(const struct auth *a)
{
	static const char *const known[] = { "3", "2" };

	for (size_t i = 0; i < a->versions.count; i++)
		for (size_t j = 0; j < ARRAY_COUNT(known); j++)
			if (strcmp(a->versions.items[i], known[j]) == 0)
				return known[j];
	return NULL;
}

static bool
check_request(struct edge_session *es, const struct auth *a)
{
	const char *version = common_version(a);

	if (!version) {
		refuse(es, NGROK_PROTOCOL_VERSION, VERSIONS_TEXT);
		return false;
	}
	es->protocol = version;
	return check_heartbeats(es, a);
}

/* --- the credential --- */

/* Lunette's agent proves its token where the session binds it. */
static int
find(struct edge_session *es, struct token_set *set, const struct auth *a,
    struct credential **out)
{
	uint8_t binding[TOKEN_BINDING_BYTES];
	int error;

	if (a->proof.len == 0)
		return token_set_find(set, span_text(a->auth_token), out);
	if (!session_is_lunette(es->session))
		return -EACCES;
	error = token_binding(session_tls(es->session), binding);
	if (error == -EPERM)
		return -EACCES;
	if (error < 0)
		return error;
	return token_set_prove(set, message_span(&a->token_id),
	    message_span(&a->proof), binding, out);
}

static struct token_set *
tokens_of(struct edge_tunnel *t)
{
	struct token_set *set;

	pthread_mutex_lock(&t->lock);
	set = t->tokens ? token_set_get(t->tokens) : NULL;
	pthread_mutex_unlock(&t->lock);
	return set;
}

/* False if a reload came in between, which may have revoked it. */
static bool
take_credential(
    struct edge_session *es, const struct token_set *set, struct credential *c)
{
	struct edge_tunnel *t = es->tunnel;
	bool current;

	pthread_mutex_lock(&t->lock);
	current = t->tokens == set;
	if (current) {
		es->credential = c;
		list_append(&t->sessions, &es->known);
	}
	pthread_mutex_unlock(&t->lock);
	return current;
}

/* 0, -EACCES or -ENOMEM. */
static int
identify(struct edge_session *es, const struct auth *a)
{
	struct credential *c = NULL;
	struct token_set *set;
	int error;

	for (;;) {
		set = tokens_of(es->tunnel);
		if (!set)
			return -EACCES;
		error = find(es, set, a, &c);
		if (error < 0 || take_credential(es, set, c))
			break;
		credential_put(c);
		token_set_put(set);
	}
	token_set_put(set);
	return error;
}

static bool
check_token(struct edge_session *es, const struct auth *a)
{
	bool plain = a->proof.len == 0;
	int error;

	if (plain && !a->auth_token[0]) {
		fail(es, NGROK_TOKEN_MISSING);
		return false;
	}
	if (!may_try(es)) {
		refuse(es, NGROK_TOO_MANY_ATTEMPTS, NULL);
		return false;
	}
	if (plain && !token_is_well_formed(span_text(a->auth_token))) {
		fail(es, NGROK_TOKEN_MALFORMED);
		return false;
	}
	error = identify(es, a);
	if (error == -EACCES)
		fail(es, NGROK_TOKEN_UNKNOWN);
	else if (error < 0)
		refuse(es, NGROK_NO_MEMORY, NULL);
	return error == 0;
}

/* --- the client --- */

/* An id alone proves nothing: with a wrong cookie, or another credential's, it
 * is a new client's. */
static int
choose_client(struct edge_session *es, const struct auth *a)
{
	const struct names *names = atomic_load(&es->tunnel->names);
	size_t len = strlen(a->client_id);
	int error = -EACCES;

	memcpy(es->owner, credential_id(es->credential), sizeof(es->owner));
	if (len > 0 && len < sizeof(es->client_id))
		error = names_check_cookie(
		    names, es->owner, a->client_id, a->cookie);
	if (error == 0)
		memcpy(es->client_id, a->client_id, len + 1);
	else if (error == -EACCES)
		names_new_client(es->client_id);
	else
		return error;
	return 0;
}

static bool
copy(char **to, const char *from)
{
	*to = strdup(from);
	return *to != NULL;
}

static bool
keep_facts(struct edge_session *es, const struct auth *a)
{
	struct edge_agent_facts *f = &es->facts;

	f->can_stop = a->stop_unsupported && !a->stop_unsupported[0];
	f->can_restart = a->restart_unsupported && !a->restart_unsupported[0];
	f->encrypts_data =
	    a->data_encryption && strcmp(a->data_encryption, "always") == 0;
	return copy(&f->os, a->os) && copy(&f->arch, a->arch) &&
	       copy(&f->version, a->version) &&
	       copy(&f->metadata, a->metadata) &&
	       copy(&f->user_agent, a->user_agent) &&
	       copy(&f->client_type, a->client_type);
}

/* How many there were before. */
static unsigned
take_place(struct edge_session *es)
{
	es->counted = true;
	return atomic_fetch_add(&es->tunnel->session_count, 1);
}

/* Counted first and judged then: many may come at once. */
static bool
take_place_within_limit(struct edge_session *es)
{
	uint64_t limit = edge_session_settings(es)->agents.sessions;
	char number[32];
	struct text text;

	if (take_place(es) < limit || limit == 0)
		return true;
	es->counted = false;
	atomic_fetch_sub(&es->tunnel->session_count, 1);
	text_init(&text, number, sizeof(number));
	text_add_number(&text, limit);
	refuse(es, NGROK_SESSION_LIMIT, number);
	return false;
}

/* The place of the client is this session's from here on. */
static void
claim(struct edge_session *es)
{
	struct edge_session *old = edge_clients_enter(&es->tunnel->clients, es);

	es->phase = EDGE_CLAIMING;
	if (!old) {
		if (take_place_within_limit(es))
			edge_auth_welcome(es);
		return;
	}
	/* Its place comes free for this one. */
	if (edge_replace(es, old))
		return;
	edge_session_put(old);
	refuse(es, NGROK_NO_MEMORY, NULL);
}

static void
judge(struct edge_session *es, const struct auth *a)
{
	if (!check_request(es, a) || !check_token(es, a))
		return;
	if (es->tw->draining)
		refuse(es, NGROK_DRAINING, NULL);
	else if (choose_client(es, a) < 0 || !keep_facts(es, a))
		refuse(es, NGROK_NO_MEMORY, NULL);
	else
		claim(es);
}

void
edge_on_auth(struct edge_session *es, uint32_t id, struct span json)
{
	char storage[MESSAGE_ERROR_SIZE];
	struct text error;
	struct auth a;
	int read;

	text_init(&error, storage, sizeof(storage));
	es->auth_request = id;
	timeouts_clear(&es->tw->worker->timeouts, &es->timeout);
	read = auth_read(json, &a, &error);
	if (read == 0)
		judge(es, &a);
	else if (read == -ENOMEM)
		refuse(es, NGROK_NO_MEMORY, NULL);
	else
		refuse(es, NGROK_AUTH_INVALID, storage);
	auth_fini(&a);
}

/* --- the welcome --- */

/* Only where the session can carry them; an agent that is told no session id
 * has streams. */
static bool
open_door(struct edge_session *es, uint8_t id[MESSAGE_SESSION_ID_BYTES])
{
	struct data_keys keys;
	bool opened = false;

	random_bytes(id, MESSAGE_SESSION_ID_BYTES);
	if (data_keys_init(&keys, session_tls(es->session), id) < 0)
		return false;
	es->data = edge_data_new(es, &keys);
	if (es->data)
		es->door = edge_doors_open(&es->tunnel->doors, &keys, es);
	opened = es->door != NULL;
	data_keys_wipe(&keys);
	return opened;
}

static int
write_welcome(struct edge_session *es, struct span *answer)
{
	uint8_t id[MESSAGE_SESSION_ID_BYTES];
	char cookie[COOKIE_SIZE];
	struct auth_response r = {
		.version = message_lend(es->protocol),
		.client_id = es->client_id,
		.error = message_lend(""),
		.server_version = message_lend(PACKAGE_VERSION),
		.region = message_lend(EDGE_REGION),
		.cookie = cookie,
		.account_name = message_lend(credential_name(es->credential)),
		.plan_name = message_lend(""),
		.banner = message_lend(""),
		.agent_session_id = es->id,
	};
	int error = names_cookie(
	    atomic_load(&es->tunnel->names), es->owner, es->client_id, cookie);

	if (error < 0)
		return error;
	if (open_door(es, id)) {
		r.session_id.data = id;
		r.session_id.len = sizeof(id);
	}
	error = auth_response_write(&r, answer);
	wipe(cookie, sizeof(cookie));
	wipe(id, sizeof(id));
	return error;
}

void
edge_auth_welcome(struct edge_session *es)
{
	struct span answer;

	if (write_welcome(es, &answer) < 0) {
		refuse(es, NGROK_NO_MEMORY, NULL);
		return;
	}
	es->phase = EDGE_ADMITTED;
	if (!es->counted)
		(void)take_place(es);
	session_admit(es->session);
	if (!session_is_lunette(es->session))
		mux_set_limits(
		    session_mux(es->session), SESSION_SDK_STREAMS, 0);
	edge_event_session_start(es);
	edge_session_answer(es, es->auth_request, 0, &answer);
}
