#include "tunnel/edge_session.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/generation.h"
#include "tls/session_context.h"
#include "tunnel/edge_auth.h"
#include "tunnel/edge_bind.h"
#include "tunnel/edge_data.h"
#include "tunnel/edge_events.h"
#include "tunnel/edge_offer.h"
#include "tunnel/edge_private.h"
#include "tunnel/edge_replace.h"

struct edge_session *
edge_session_get(struct edge_session *es)
{
	atomic_fetch_add_explicit(&es->refs, 1, memory_order_relaxed);
	return es;
}

static void
free_facts(struct edge_agent_facts *f)
{
	free(f->os);
	free(f->arch);
	free(f->version);
	free(f->metadata);
	free(f->user_agent);
	free(f->client_type);
}

void
edge_session_put(struct edge_session *es)
{
	if (!es ||
	    atomic_fetch_sub_explicit(&es->refs, 1, memory_order_acq_rel) > 1)
		return;
	/* Whoever looks at it in the list has the lock, and no reference. */
	pthread_mutex_lock(&es->tunnel->lock);
	list_remove(&es->known);
	pthread_mutex_unlock(&es->tunnel->lock);
	edge_relief_free(es->relief);
	credential_put(es->credential);
	free_facts(&es->facts);
	free(es);
}

/* --- the end --- */

/* Nothing leads to it any more. */
static void
let_go(struct edge_session *es)
{
	struct edge_tunnel *t = es->tunnel;

	if (es->phase >= EDGE_CLOSING)
		return;
	if (es->counted)
		atomic_fetch_sub(&t->session_count, 1);
	es->phase = EDGE_CLOSING;
	edge_doors_close(&t->doors, es->door);
	es->door = NULL;
	edge_unbind_all(es);
	edge_data_free(es->data);
	es->data = NULL;
	edge_clients_leave(&t->clients, es);
	edge_relieve(es);
}

static void
finish(struct edge_session *es, enum session_end end, const char *detail)
{
	struct tunnel_worker *tw = es->tw;

	es->session = NULL;
	let_go(es);
	edge_event_session_stop(es, end, detail);
	es->phase = EDGE_ENDED;
	timeouts_clear(&tw->worker->timeouts, &es->timeout);
	list_remove(&es->node);
	edge_release(tw->worker->edge);
	edge_session_put(es);
}

void
edge_session_end(struct edge_session *es, const char *why)
{
	struct text error;

	if (es->phase >= EDGE_CLOSING)
		return;
	if (!es->error[0]) {
		text_init(&error, es->error, sizeof(es->error));
		text_add_escaped(&error, span_text(why), sizeof(es->error) / 4);
	}
	let_go(es);
	if (es->session)
		session_close(es->session, why);
}

/* All connections are looked at: not for somebody who was never let in. */
static void
sweep(struct edge_session *es)
{
	if (es->counted)
		edge_sweep(es->tw->worker->edge);
}

void
edge_session_cut(struct edge_session *es, enum reason reason, const char *why)
{
	atomic_store(&es->cut_for, reason);
	edge_session_end(es, why);
	sweep(es);
}

void
edge_session_violates(struct edge_session *es, const char *why)
{
	LOG_LIMITED(LOG_LEVEL_WARN, "an agent breaks the protocol",
	    LOG_TEXT("session", es->id), LOG_ADDR("agent", &es->peer),
	    LOG_TEXT("why", why));
	edge_session_cut(es, REASON_AGENT_LOST, why);
}

/* --- answers --- */

char *
edge_error(char *storage, enum ngrok_error e, const char *subject)
{
	struct text text;

	text_init(&text, storage, NGROK_ERROR_SIZE);
	ngrok_error_text(&text, e, span_text(subject));
	return storage;
}

void
edge_session_answer(
    struct edge_session *es, uint32_t id, int written, struct span *json)
{
	if (es->session && written == 0)
		session_answer(es->session, id, *json);
	else if (es->session)
		session_refuse(es->session, id, FRAME_ERROR_INTERNAL);
	if (written == 0)
		message_wipe(json);
}

/* --- requests --- */

static void
on_data_end(struct edge_session *es, uint32_t id, struct span json)
{
	const struct error_response done = { .error = (char *)(uintptr_t) "" };
	struct span answer;

	if (es->data)
		edge_data_on_end(es->data, json);
	edge_session_answer(
	    es, id, error_response_write(&done, &answer), &answer);
}

static const struct request {
	uint32_t type;
	enum edge_phase from, to;
	bool only_lunette;
	void (*on_request)(
	    struct edge_session *es, uint32_t id, struct span json);
} requests[] = {
	{ MESSAGE_SRV_INFO, EDGE_STRANGER, EDGE_ADMITTED, false,
	    edge_on_srv_info },
	{ MESSAGE_AUTH, EDGE_STRANGER, EDGE_STRANGER, false, edge_on_auth },
	{ MESSAGE_BIND, EDGE_ADMITTED, EDGE_ADMITTED, false, edge_on_bind },
	{ MESSAGE_UNBIND, EDGE_ADMITTED, EDGE_ADMITTED, false, edge_on_unbind },
	{ MESSAGE_START_LABELLED, EDGE_ADMITTED, EDGE_ADMITTED, false,
	    edge_on_labelled },
	{ MESSAGE_DATA_END, EDGE_ADMITTED, EDGE_ADMITTED, true, on_data_end },
};

static const struct request *
find_request(const struct edge_session *es, uint32_t type)
{
	for (size_t i = 0; i < ARRAY_COUNT(requests); i++)
		if (requests[i].type == type &&
		    (!requests[i].only_lunette ||
			session_is_lunette(es->session)))
			return &requests[i];
	return NULL;
}

static void
on_request(struct session *s, uint32_t type, uint32_t id, struct span json)
{
	struct edge_session *es = session_owner(s);
	const struct request *r = find_request(es, type);

	if (es->phase >= EDGE_CLOSING) {
		session_refuse(s, id, FRAME_ERROR_STREAM_REFUSED);
		return;
	}
	if (r && es->phase >= r->from && es->phase <= r->to) {
		r->on_request(es, id, json);
		return;
	}
	/* What a newer agent may want of a newer edge is just refused. */
	session_refuse(s, id, FRAME_ERROR_STREAM_REFUSED);
	if (r || es->phase < EDGE_ADMITTED)
		edge_session_violates(es,
		    r ? "a request out of its order" : "a request before Auth");
}

/* --- the connection --- */

static void
on_open(struct session *s)
{
	struct edge_session *es = session_owner(s);

	timeouts_set(
	    &es->tw->worker->timeouts, &es->timeout, clock_ms() + EDGE_AUTH_MS);
}

/* To say who it is; or, behind a stop, to say that it has heard it. */
static void
on_timeout(struct timeout *t)
{
	struct edge_session *es = CONTAINER_OF(t, struct edge_session, timeout);

	if (es->phase == EDGE_STRANGER)
		edge_session_end(es, "no authentication in time");
	else
		edge_session_cut(es, REASON_CLOSED_BY_OPERATOR, "stopped");
}

static void
on_end(struct session *s, enum session_end end, const char *detail)
{
	struct edge_session *es = session_owner(s);

	/* What the multiplexer calls a violation is one as well. */
	bool violates =
	    end == SESSION_END_PROTOCOL || end == SESSION_END_OVERLOAD;

	if (violates)
		atomic_store(&es->cut_for, REASON_AGENT_LOST);
	atomic_store(&es->in_doubt, session_fell_silent(end));
	if (violates || session_fell_silent(end))
		sweep(es);
	finish(es, end, detail);
}

static const struct session_calls calls = {
	.on_open = on_open,
	.on_request = on_request,
	.on_end = on_end,
};

static struct edge_session *
edge_session_new(struct tunnel_worker *tw, const struct caller *caller)
{
	struct edge_session *es = calloc(1, sizeof(*es));

	if (!es)
		return NULL;
	atomic_init(&es->refs, 1);
	es->tunnel = tw->tunnel;
	es->tw = tw;
	es->peer = caller->peer;
	es->local = caller->local;
	es->start_us = caller->start_us;
	es->start_wall_us = caller->start_wall_us;
	list_init(&es->binds);
	list_init(&es->labelled);
	list_init(&es->known);
	list_init(&es->client_node);
	timeout_init(&es->timeout, on_timeout);
	worker_make_id(tw->worker, "ts_", es->id);
	list_append(&tw->sessions, &es->node);
	return es;
}

/* The configured one; else that of the name, of the keyring or made. */
static bool
find_keys(const struct caller *caller, struct key_choice *keys)
{
	const struct snapshot *s = caller->generation->snapshot;
	const struct agents_settings *a = &s->agents;
	int64_t now = clock_wall_us() / 1000000;
	const struct host *name = &caller->name;
	struct certificate *made;

	*keys = (struct key_choice){ { NULL } };
	if (a->certificate)
		return keyring_labelled(s->keyring, a->certificate, now, keys);
	if (name->len == 0 && a->server_name_count > 0)
		name = &a->server_names[0];
	if (name->len == 0)
		return false;
	if (keyring_find(s->keyring, host_span(name), now, keys))
		return true;
	if (!caller->generation->authority ||
	    !edge_name_is_reserved(s, host_span(name)))
		return false;
	made = authority_issue(caller->generation->authority, name, now);
	if (made)
		keys->by_kind[certificate_key_kind(made)] = made;
	return made != NULL;
}

/* Takes the descriptor. */
static struct session *
open_session(struct edge_session *es, const struct caller *caller,
    const struct key_choice *keys)
{
	const struct agents_settings *a = &caller->generation->snapshot->agents;
	const struct session_settings settings = {
		.handshake_ms =
		    caller->generation->snapshot->timeouts.handshake_ms,
		.heartbeat_interval_ms = a->heartbeat_interval_ms,
		.heartbeat_tolerance_ms = a->heartbeat_tolerance_ms,
		.calls = &calls,
		.owner = es,
	};
	struct tls_stream *tls =
	    tls_session_accept(es->tw->worker->tls, caller->fd, keys);

	if (tls)
		return session_new(&es->tw->host, caller->fd, tls, &settings);
	close(caller->fd);
	return NULL;
}

static void
turn_away(struct edge_session *es, const char *why)
{
	struct text error;

	text_init(&error, es->error, sizeof(es->error));
	text_add(&error, why);
	EDGE_COUNT(es->tunnel, sessions_refused);
	finish(es, SESSION_END_CLOSED, why);
}

static void
begin(struct edge_session *es, struct caller *caller)
{
	struct key_choice keys;

	if (!find_keys(caller, &keys)) {
		close(caller->fd);
		EDGE_COUNT(es->tunnel, no_certificate);
		LOG_LIMITED(LOG_LEVEL_ERROR,
		    "there is no certificate for agents to be shown",
		    LOG_SPAN("name", host_span(&caller->name)));
		turn_away(es, "no certificate for the name");
		return;
	}
	es->session = open_session(es, caller, &keys);
	key_choice_put(&keys);
	if (!es->session)
		turn_away(es, "no memory");
}

void
edge_session_accept(struct tunnel_worker *tw, struct caller *caller)
{
	struct edge_session *es = NULL;

	EDGE_COUNT(tw->tunnel, sessions_total);
	if (!tw->stopped)
		es = edge_session_new(tw, caller);
	if (es) {
		begin(es, caller);
	} else {
		close(caller->fd);
		EDGE_COUNT(tw->tunnel, sessions_refused);
		edge_release(tw->worker->edge);
	}
	generation_put(caller->generation);
}
