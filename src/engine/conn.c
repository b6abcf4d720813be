#include "engine/conn.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/edge_private.h"
#include "engine/event.h"
#include "engine/terminate.h"
#include "engine/policy_host.h"
#include "engine/relay.h"
#include "engine/throttle.h"
#include "engine/uplink_dial.h"
#include "sys/socket.h"

static enum step (*const stages[])(struct conn *) = {
#define STAGE_ROW(id, word) [STAGE_##id] = stage_##word,
	STAGE_TABLE(STAGE_ROW)
#undef STAGE_ROW
};

/* The stages in their order, until one waits. */
void
conn_run(struct conn *c)
{
	enum step step;

	ASSERT(c->magic == CONN_MAGIC && !c->running);
	if (c->stage == STAGE_COUNT)
		return;
	c->running = true;
	do {
		step = stages[c->stage](c);
		if (step == STEP_NEXT)
			c->stage++;
		else if (step == STEP_CLOSE)
			c->stage = STAGE_CLOSING;
	} while (step != STEP_WAIT && step != STEP_GONE);
	c->running = false;
}

void
conn_wake(struct conn *c)
{
	if (c->stage == STAGE_COUNT)
		return;
	list_remove(&c->queue);
	list_append(&c->worker->runnable, &c->queue);
}

static void
on_client_ready(struct watch *w, uint32_t events)
{
	struct conn *c = CONTAINER_OF(w, struct conn, client.watch);

	leg_note(&c->client, events);
	/* Nobody waits any more for what a script sleeps over or a dial is to
	 * bring. The relay and the handshake first read what came before the
	 * reset: it may be an alert that says why. */
	if ((events & EPOLLERR) && c->stage < STAGE_RELAY &&
	    (!c->client.tls || c->client.secured))
		conn_close(c, REASON_CLIENT_RESET, CLOSE_RESET, NULL);
	conn_run(c);
}

struct deadline_rule {
	enum reason reason;
	enum closing_way way;
};

/* What it means that a stage's time is up. */
static const struct deadline_rule deadline_rules[] = {
	[STAGE_PROXY_IN] = { REASON_PROXY_TIMEOUT, CLOSE_LINGER },
	[STAGE_HELLO] = { REASON_HELLO_TIMEOUT, CLOSE_LINGER },
	[STAGE_POLICY] = { REASON_POLICY_TIMEOUT, CLOSE_LINGER },
	[STAGE_HANDSHAKE] = { REASON_HANDSHAKE_TIMEOUT, CLOSE_LINGER },
	[STAGE_RELAY] = { REASON_IDLE_TIMEOUT, CLOSE_PLAIN },
};

/* A slow rate may let records wait for longer than the idle time; the refill
 * may have come in this very turn. */
static bool
waits_for_its_rate(const struct conn *c)
{
	return c->throttle &&
	       (throttle_holds(c->throttle) || !list_empty(&c->queue));
}

static void
on_deadline(struct timeout *t)
{
	struct conn *c = CONTAINER_OF(t, struct conn, timeout);
	const struct deadline_rule *rule;

	/* These know themselves what to do next. */
	if (c->stage == STAGE_DIAL || c->stage == STAGE_GREET ||
	    c->stage == STAGE_CLOSING) {
		conn_run(c);
		return;
	}
	ASSERT(c->stage < ARRAY_COUNT(deadline_rules));
	if (waits_for_its_rate(c)) {
		conn_set_deadline(c, c->idle_ms);
		return;
	}
	rule = &deadline_rules[c->stage];
	if (policy_host_terminates(c)) {
		policy_host_cancel(c);
		conn_close(c, REASON_HANDSHAKE_TIMEOUT, CLOSE_LINGER, NULL);
	} else if (c->stage == STAGE_POLICY) {
		/* It has been answered for: it must not go on meanwhile. */
		policy_host_cancel(c);
		conn_deny(c, rule->reason, "edge.policy.wall");
	} else if (c->stage == STAGE_RELAY && relay_has_pending(c))
		/* Cut short, it must not look complete. */
		conn_close(c, rule->reason, CLOSE_RESET, NULL);
	else
		conn_close(c, rule->reason, rule->way, NULL);
}

void
conn_set_deadline(struct conn *c, uint64_t ms_from_now)
{
	struct worker *w = c->worker;

	timeouts_set(&w->timeouts, &c->timeout, w->now_ms + ms_from_now);
}

void
conn_note_time(struct conn *c, enum timing t)
{
	int64_t us = clock_us() - c->start_us;

	if (c->timings_us[t] == 0)
		c->timings_us[t] = us > 0 ? (uint32_t)us : 1;
}

uint64_t
conn_bytes_in(const struct conn *c)
{
	/* Below zero while the header was not all taken. */
	return (int64_t)c->upstream.taken_bytes > 0 ? c->upstream.taken_bytes
						    : 0;
}

static void
fill_facts(struct conn *c, const struct arrival *a)
{
	struct policy_conn *f = &c->facts;

	worker_make_id(c->worker, "cn_", f->id);
	f->client = f->peer = a->peer;
	f->server = a->local;
	f->listener = a->listener->name;
	f->start_wall_us = a->start_wall_us;
}

/* The edge has told who the client is and where it came in. */
static void
fill_passage_facts(struct conn *c, const struct passage *p)
{
	struct policy_conn *f = &c->facts;

	worker_make_id(c->worker, "cn_", f->id);
	f->client = p->client;
	f->peer = p->edge;
	f->server = p->server;
	f->listener = p->edge_name;
	f->at_agent = true;
	f->start_wall_us = clock_wall_us();
}

static struct conn *
conn_make(struct worker *w)
{
	struct conn *c = slab_alloc(&w->conns);

	if (!c)
		return NULL;
	c->magic = CONN_MAGIC;
	c->worker = w;
	leg_init(&c->client);
	leg_init(&c->upstream);
	timeout_init(&c->timeout, on_deadline);
	list_init(&c->queue);
	list_append(&w->live, &c->live);
	counter_add(&w->counters.connections_open, 1);
	counter_add(&w->counters.connections_total, 1);
	return c;
}

/* Counts the connection against its client; true if there is room. */
static bool
within_client_limit(struct conn *c)
{
	struct edge *e = c->worker->edge;
	const struct snapshot *s = c->listener
				       ? c->listener->snapshot
				       : c->worker->generation->snapshot;
	uint64_t limit = s->limits.connections_per_client;
	const struct addr *client = &c->facts.client;
	uint8_t key[1 + sizeof(client->bytes)];
	uint32_t count;

	if (limit == 0 || client->family == ADDR_NONE)
		return true;
	/* 32.1.13.184 and 2001:db8:: have the same bytes. */
	key[0] = client->family;
	memcpy(key + 1, client->bytes, sizeof(client->bytes));
	c->client_key =
	    tally_hold(e->clients, span_of(key, sizeof(key)), &count);
	return c->client_key && count <= limit;
}

bool
conn_admit_client(struct conn *c)
{
	if (within_client_limit(c))
		return true;
	LOG_LIMITED(LOG_LEVEL_WARN, "limits.connections_per_client reached",
	    LOG_ADDR("client", &c->facts.client));
	conn_close(
	    c, REASON_LIMIT, CLOSE_LINGER, "limits.connections_per_client");
	return false;
}

static void
conn_start(struct conn *c, int fd)
{
	struct worker *w = c->worker;
	const struct snapshot *s = c->listener->snapshot;

	if (leg_open(&c->client, &w->loop, fd, on_client_ready) < 0) {
		conn_close(c, REASON_INTERNAL, CLOSE_RESET, "epoll_ctl");
		return;
	}
	/* The client speaks first, and mostly it has spoken already. */
	c->client.readable = true;
	c->stage = STAGE_PROXY_IN;
	conn_set_deadline(c, c->listener->settings->proxy_accept
				 ? s->timeouts.proxy_ms
				 : s->timeouts.hello_ms);
	conn_run(c);
}

void
conn_new(struct worker *w, struct arrival *a)
{
	struct conn *c = conn_make(w);

	if (!c) {
		LOG_LIMITED(LOG_LEVEL_ERROR, "no memory for a connection",
		    LOG_ADDR("client", &a->peer));
		event_lost(w->edge, a, REASON_NO_MEMORY);
		close(a->fd);
		edge_release(w->edge);
		return;
	}
	c->start_us = a->start_us;
	fill_facts(c, a);
	c->listener = a->listener;
	a->listener = NULL;
	conn_start(c, a->fd);
}

/* The hello was for the edge: what it has read there is all that is known. */
static bool
begin_plain(struct conn *c)
{
	struct setup *s = conn_setup(c);

	if (!s)
		return false;
	s->name = c->passage->name;
	c->facts.sni = host_span(&s->name);
	return true;
}

/* What was agreed with the edge stands for what the client would have said. */
static void
conn_start_passage(struct conn *c, int fd)
{
	struct passage *p = c->passage;
	const struct snapshot *s = c->worker->generation->snapshot;

	if (leg_open(&c->client, &c->worker->loop, fd, on_client_ready) < 0) {
		conn_close(c, REASON_INTERNAL, CLOSE_RESET, "epoll_ctl");
		return;
	}
	if (p->bridge)
		leg_cross(&c->client, p->bridge);
	if (p->tls) {
		leg_secure(&c->client, p->tls);
		c->client.secured = c->client.strict = true;
		p->tls = NULL;
	}
	c->client.readable = true;
	if (p->refusal != DATA_ACCEPTED) {
		conn_close(c, REASON_AGENT_REFUSED, CLOSE_LINGER,
		    data_reason_word(p->refusal));
		return;
	}
	c->stage = p->plain ? STAGE_POLICY : STAGE_HELLO;
	conn_set_deadline(c, s->timeouts.hello_ms);
	if (conn_admit_client(c) && (!p->plain || begin_plain(c)))
		conn_run(c);
}

bool
conn_new_passage(struct worker *w, int fd, struct passage *p)
{
	struct conn *c = conn_make(w);

	if (!c)
		return false;
	c->passage = p;
	c->start_us = clock_us();
	fill_passage_facts(c, p);
	conn_start_passage(c, fd);
	return true;
}

void
conn_close(struct conn *c, enum reason reason, enum closing_way way,
    const char *detail)
{
	if (c->reason != REASON_NONE)
		return;
	event_keep_tls(c);
	passage_refuse(c, reason);
	c->reason = (uint8_t)reason;
	c->way = (uint8_t)way;
	c->detail = detail;
	c->stage = STAGE_CLOSING;
	/* A tarpit keeps the deadline that it was given. */
	if (way != CLOSE_TARPIT)
		timeouts_clear(&c->worker->timeouts, &c->timeout);
	conn_wake(c);
}

void
conn_note_alert(struct conn *c, const struct tls_failure *f)
{
	if (c->reason != REASON_NONE)
		return;
	c->alert = f->alert;
	c->alert_sent = true;
	c->alert_received = f->fault == TLS_FAULT_ALERT_RECEIVED;
}

void
conn_refuse(
    struct conn *c, enum reason reason, uint8_t alert, const char *detail)
{
	/* Inside TLS there is no public way to send one: close_notify it is. */
	if (c->reason == REASON_NONE && !c->client.tls)
		c->alert = alert;
	conn_close(c, reason, CLOSE_LINGER, detail);
}

void
conn_deny(struct conn *c, enum reason reason, const char *detail)
{
	bool hide = c->setup->generation->snapshot->hide_names;

	if (c->reason == REASON_NONE)
		c->denied = true;
	conn_refuse(c, reason,
	    hide ? ALERT_UNRECOGNIZED_NAME : ALERT_ACCESS_DENIED, detail);
}

static void
on_sleep_over(struct timeout *t)
{
	struct setup *s = CONTAINER_OF(t, struct setup, sleep);

	policy_host_slept(s->conn);
}

struct setup *
conn_setup(struct conn *c)
{
	struct setup *s = c->setup;

	if (s)
		return s;
	s = slab_alloc(&c->worker->setups);
	if (!s) {
		conn_close(c, REASON_NO_MEMORY, CLOSE_LINGER, NULL);
		return NULL;
	}
	s->conn = c;
	/* The policy of the same version as the settings, to the end. */
	s->generation = generation_get(c->worker->generation);
	c->policy = policy_slot_get(c->worker);
	c->edge_script = s->generation->snapshot->edge_script;
	for (int i = 0; i < SCRIPT_COUNT; i++)
		decision_init(&s->decisions[i]);
	timeout_init(&s->sleep, on_sleep_over);
	c->setup = s;
	return s;
}

void
conn_drop_setup(struct conn *c)
{
	struct setup *s = c->setup;

	if (!s)
		return;
	c->facts.proxy = NULL;
	c->facts.sni = span_text(NULL);
	timeouts_clear(&c->worker->timeouts, &s->sleep);
	if (s->run)
		policy_finish(s->run);
	if (s->query)
		s->query->conn = NULL; /* freed when its answer comes */
	uplink_dial_fini(s);
	for (int i = 0; i < SCRIPT_COUNT; i++)
		decision_fini(&s->decisions[i]);
	free(s->proxy_bytes);
	trust_put(s->terminated_trust);
	generation_put(s->generation);
	slab_free(&c->worker->setups, s);
	c->setup = NULL;
}

static void
on_query_answer(struct resolver_query *query, void *receiver)
{
	struct conn_query *q = CONTAINER_OF(query, struct conn_query, query);
	struct conn *c = q->conn;

	(void)receiver;
	if (c) {
		c->setup->query = NULL;
		q->on_answer(c, &query->answer);
	}
	free(q);
}

static void
discard_query(struct resolver_query *query)
{
	free(CONTAINER_OF(query, struct conn_query, query));
}

bool
conn_resolve(struct conn *c, const struct host *name,
    void (*on_answer)(struct conn *, const struct resolver_answer *))
{
	struct worker *w = c->worker;
	struct conn_query *q = calloc(1, sizeof(*q));

	if (!q)
		return false;
	q->conn = c;
	q->on_answer = on_answer;
	q->query.on_discard = discard_query;
	q->query.return_to = &w->mailbox;
	q->query.name = *name;
	q->query.on_answer = on_query_answer;
	c->setup->query = q;
	if (resolver_ask(w->edge->resolver, &q->query))
		on_query_answer(&q->query, w);
	return true;
}

struct record *
conn_record(struct conn *c)
{
	if (!c->record)
		c->record = calloc(1, sizeof(*c->record));
	return c->record;
}

static void
record_free(struct conn *c)
{
	struct record *r = c->record;

	if (!r)
		return;
	for (size_t i = 0; i < r->key_count; i++)
		tally_release(c->worker->edge->active, r->keys[i].held);
	free(r->keys);
	free(r->reason);
	free(r->tags);
	free(r->logs);
	free(r->tls);
	free(r);
	c->record = NULL;
}

const struct hello *
conn_hello(struct conn *c)
{
	struct worker *w = c->worker;
	size_t count;

	if (w->hello_owner == c)
		return &w->hello;
	if (c->stage <= STAGE_HELLO || c->stage >= STAGE_RELAY ||
	    c->client.tls || !leg_is_open(&c->client))
		return NULL;
	if (socket_peek(c->client.watch.fd, w->peeked, HELLO_MAX_BYTES,
		&count) != IO_OK)
		return NULL;
	w->hello_owner = NULL;
	if (hello_parse(span_of(w->peeked, count), w->scratch, &w->hello)
		.parse != PARSE_OK)
		return NULL;
	w->hello_owner = c;
	return &w->hello;
}

/* Everything given back but the memory, which the worker frees at the end of
 * its turn. */
static void
dispose(struct conn *c)
{
	struct worker *w = c->worker;

	timeouts_clear(&w->timeouts, &c->timeout);
	if (w->hello_owner == c)
		w->hello_owner = NULL;
	throttle_free(c->throttle);
	conn_drop_setup(c);
	record_free(c);
	free(c->names);
	if (c->client_key)
		tally_release(w->edge->clients, c->client_key);
	if (c->target)
		conn_drop_target(c);
	if (c->uplink)
		uplink_release(c->uplink);
	if (c->endpoint)
		endpoint_put(c->endpoint);
	if (c->policy)
		policy_slot_put(w, c->policy);
	if (c->listener)
		listener_put(c->listener);
	list_remove(&c->live);
	list_remove(&c->queue);
	list_append(&w->dead, &c->queue);
	c->stage = STAGE_COUNT;
	counter_subtract(&w->counters.connections_open, 1);
}

void
conn_finish(struct conn *c)
{
	struct worker *w = c->worker;
	struct passage *p = c->passage;

	leg_drop_pending(&c->client, &w->pipes);
	leg_drop_pending(&c->upstream, &w->pipes);
	/* The hooks may still ask for the client's certificate. */
	policy_host_close(c);
	leg_close(&c->client);
	leg_close(&c->upstream);
	event_connection_closed(c);
	if (p)
		p->on_end(p, c);
	dispose(c);
	passage_free(p);
	edge_release(w->edge);
}

int
conn_give_away(struct conn *c)
{
	int fd = leg_release(&c->client, &c->worker->loop);

	ASSERT(!leg_is_open(&c->upstream) && !c->client.tls);
	counter_subtract(&c->worker->counters.connections_total, 1);
	dispose(c);
	return fd;
}
