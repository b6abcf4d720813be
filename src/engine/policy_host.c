#include "engine/policy_host.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "engine/edge_private.h"
#include "engine/terminate.h"

struct policy_context *
policy_context_new(struct edge *e, struct geo *geo)
{
	struct policy_context *context = calloc(1, sizeof(*context));

	if (!context) {
		geo_close(geo);
		return NULL;
	}
	atomic_init(&context->refs, 1);
	context->edge = e;
	context->geo = geo;
	return context;
}

struct policy_context *
policy_context_get(struct policy_context *context)
{
	atomic_fetch_add_explicit(&context->refs, 1, memory_order_relaxed);
	return context;
}

void
policy_context_put(struct policy_context *context)
{
	if (atomic_fetch_sub_explicit(&context->refs, 1, memory_order_acq_rel) >
	    1)
		return;
	geo_close(context->geo);
	free(context);
}

static struct conn *
conn_of(struct policy_conn *facts)
{
	return CONTAINER_OF(facts, struct conn, facts);
}

static const struct hello *
host_hello(struct policy_conn *facts)
{
	return conn_hello(conn_of(facts));
}

static bool
is_online(struct conn *c)
{
	struct balancer *b;

	if (!c->setup)
		return true;
	if (c->endpoint->agents)
		return agent_pool_size(c->endpoint->agents) > 0;
	b = generation_balancer(c->setup->generation, c->endpoint);
	for (size_t i = 0; b && i < balancer_count(b); i++)
		if (upstream_is_up(balancer_at(b, i), c->worker->now_ms))
			return true;
	return false;
}

static bool
host_endpoint(struct policy_conn *facts, struct policy_endpoint *out)
{
	struct conn *c = conn_of(facts);
	const struct endpoint *e = c->endpoint;

	if (!e)
		return false;
	*out = (struct policy_endpoint){
		.url = e->url,
		.domain = e->domain.text,
		.terminate_at = terminate_at_name(e->terminate_at),
		.metadata = e->metadata,
		.online = is_online(c),
		.agents = e->agents ? (unsigned)agent_pool_size(e->agents) : 0,
		.label_count = e->label_count,
		.label_names = e->label_names,
		.label_values = e->label_values,
	};
	return true;
}

static bool
host_knows_endpoint(struct policy_conn *facts, struct span url)
{
	struct conn *c = conn_of(facts);
	struct endpoint *bound;
	struct host domain;
	bool known;

	if (!c->setup)
		return false;
	if (snapshot_endpoint(c->setup->generation->snapshot, url))
		return true;
	if (host_parse_url(url, &domain, NULL) < 0)
		return false;
	bound = registry_get(c->worker->edge->registry, &domain);
	known = bound != NULL;
	endpoint_put(bound);
	return known;
}

static bool
host_knows_certificate(struct policy_conn *facts, struct span label)
{
	struct conn *c = conn_of(facts);
	char name[256];

	if (!c->setup || label.len >= sizeof(name))
		return false;
	memcpy(name, label.data, label.len);
	name[label.len] = '\0';
	return strlen(name) == label.len &&
	       snapshot_has_certificate(c->setup->generation->snapshot, name);
}

static void
host_tls(struct policy_conn *facts, struct tls_facts *out)
{
	struct conn *c = conn_of(facts);

	*out = (struct tls_facts){ 0 };
	if (c->facts.terminated)
		tls_facts(c->client.tls, out);
}

static const struct peer *
host_peer(struct policy_conn *facts)
{
	struct conn *c = conn_of(facts);

	return c->facts.terminated ? tls_peer(c->client.tls) : NULL;
}

static void
host_log(struct policy_conn *facts, struct span json)
{
	struct record *r = conn_record(conn_of(facts));
	char *grown;

	if (!r || r->logs_len + json.len + 2 > RECORD_MAX_LOG_BYTES)
		return;
	grown = realloc(r->logs, r->logs_len + json.len + 2);
	if (!grown)
		return;
	r->logs = grown;
	if (r->logs_len > 0)
		grown[r->logs_len++] = ',';
	memcpy(grown + r->logs_len, json.data, json.len);
	r->logs_len += json.len;
	grown[r->logs_len] = '\0';
}

static int
host_track(struct policy_conn *facts, struct span key)
{
	struct conn *c = conn_of(facts);
	struct record *r = conn_record(c);
	uint64_t hash = hash_bytes(key);
	struct tracked_key *grown;
	struct tally_key *held;

	if (!r)
		return -ENOMEM;
	for (size_t i = 0; i < r->key_count; i++)
		if (r->keys[i].hash == hash)
			return 0;
	if (r->key_count == RECORD_MAX_KEYS)
		return -E2BIG;
	grown = realloc(r->keys, (r->key_count + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	r->keys = grown;
	held = tally_hold(c->worker->edge->active, key, NULL);
	if (!held)
		return -ENOMEM;
	grown[r->key_count++] = (struct tracked_key){ held, hash };
	return 0;
}

static uint32_t
host_active(void *host_data, struct span key)
{
	struct policy_context *context = host_data;

	return tally_count(context->edge->active, key);
}

static void *
host_pool_open(void *host_data, const struct policy_pool_settings *settings,
    struct text *error)
{
	struct policy_context *context = host_data;

	return pool_open(context->edge->pools, settings, error);
}

static void
host_pool_close(void *host_data, void *pool)
{
	(void)host_data;
	pool_close(pool);
}

static bool
host_pool_pick(void *pool, const struct addr *client, struct span key,
    char out[UPSTREAM_ADDRESS_SIZE])
{
	struct balancer_tried tried = { { 0 } };
	struct upstream *u;
	bool up;

	if (key.len == 0)
		key = span_of(client->bytes, sizeof(client->bytes));
	u = balancer_pick(pool_balancer(pool), key, &tried, clock_ms());
	if (!u)
		return false;
	up = upstream_is_up(u, clock_ms());
	memcpy(out, u->address.text, UPSTREAM_ADDRESS_SIZE);
	upstream_put(u);
	return up;
}

static bool
host_geo(void *host_data, const struct addr *client, const char *name,
    char *out, size_t size)
{
	struct policy_context *context = host_data;

	return context->geo &&
	       geo_lookup(context->geo, client, name, out, size);
}

const struct policy_host policy_host = {
	.hello = host_hello,
	.endpoint = host_endpoint,
	.knows_endpoint = host_knows_endpoint,
	.knows_certificate = host_knows_certificate,
	.tls = host_tls,
	.peer = host_peer,
	.log = host_log,
	.track = host_track,
	.active = host_active,
	.pool_open = host_pool_open,
	.pool_close = host_pool_close,
	.pool_pick = host_pool_pick,
	.geo = host_geo,
};

/* Names that a script may ask for before others get a turn. */
#define MAX_ANSWERS 8

/* The watchdog looks at how long a worker has been inside a script. */
static void
enter(struct worker *w)
{
	atomic_store_explicit(
	    &w->in_policy_since_ms, clock_ms(), memory_order_relaxed);
}

static void
leave(struct worker *w)
{
	atomic_store_explicit(&w->in_policy_since_ms, 0, memory_order_relaxed);
}

int
policy_host_script(const struct conn *c, enum script_of which)
{
	if (!c->policy || !c->policy->policy)
		return -1;
	if (which == SCRIPT_EDGE)
		return c->edge_script;
	return c->endpoint ? c->endpoint->policy_script : -1;
}

static void
resume(struct conn *c, const struct resolver_answer *answer)
{
	enter(c->worker);
	policy_resume(c->setup->run, answer);
	leave(c->worker);
}

static bool arrange_wait(struct conn *c);

/* False: the connection is closed. */
static bool
go_on_inside(struct conn *c, const struct resolver_answer *answer)
{
	resume(c, answer);
	return arrange_wait(c);
}

/* Goes on with the script, and then with the connection, if that is not where
 * we come from. */
static void
go_on(struct conn *c, const struct resolver_answer *answer)
{
	bool inside = c->running, alive;

	c->running = true;
	alive = go_on_inside(c, answer);
	c->running = inside;
	if (alive && !inside)
		conn_run(c);
}

/* False: no memory, closed. */
static bool
ask_name(struct conn *c)
{
	struct policy_outcome *o = policy_outcome(c->setup->run);

	if (conn_resolve(c, &o->resolve_name, go_on))
		return true;
	conn_close(c, REASON_NO_MEMORY, CLOSE_LINGER, NULL);
	return false;
}

bool
policy_host_terminates(const struct conn *c)
{
	const struct setup *s = c->setup;

	return c->stage == STAGE_POLICY && s->run && c->client.tls &&
	       policy_outcome(s->run)->state == POLICY_WAITING &&
	       policy_outcome(s->run)->wait == POLICY_WAIT_TERMINATE;
}

/* The script's own clock stands still while the client shakes hands. */
static bool
begin_termination(struct conn *c)
{
	struct setup *s = c->setup;

	s->policy_left_ms = c->timeout.deadline_ms > c->worker->now_ms
				? c->timeout.deadline_ms - c->worker->now_ms
				: 1;
	return terminate_begin(c, &policy_outcome(s->run)->termination);
}

void
policy_host_terminated(struct conn *c)
{
	conn_set_deadline(c, c->setup->policy_left_ms);
	(void)!go_on_inside(c, NULL);
}

/*
 * Arranges what a waiting script waits for; false: closed. A name in
 * the cache is answered at once, on top of the stack and without a turn of the
 * loop, in which others are served and the wall's clock is looked at. So a
 * script that asks without end has to wait in between.
 */
static bool
arrange_wait(struct conn *c)
{
	struct setup *s = c->setup;
	struct policy_outcome *o = policy_outcome(s->run);
	struct worker *w = c->worker;

	if (o->state != POLICY_WAITING)
		return true;
	if (o->wait == POLICY_WAIT_TERMINATE)
		return begin_termination(c);
	if (o->wait == POLICY_WAIT_RESOLVE && s->answers++ < MAX_ANSWERS)
		return ask_name(c);
	s->answers = 0;
	timeouts_set(&w->timeouts, &s->sleep,
	    w->now_ms + (o->wait == POLICY_WAIT_SLEEP ? o->sleep_ms : 1));
	return true;
}

bool
policy_host_start(
    struct conn *c, enum script_of which, const struct policy_failure *failure)
{
	struct setup *s = c->setup;
	struct worker *w = c->worker;
	int script = policy_host_script(c, which);

	ASSERT(script >= 0 && !s->run);
	c->scripted = true;
	s->script = which;
	/* Where the event wants it, it is there already. */
	if (c->record && c->record->ja4[0])
		c->facts.ja4 = c->record->ja4;
	enter(w);
	s->run = policy_start(
	    c->policy->policy, (unsigned)script, &c->facts, failure);
	leave(w);
	if (!s->run) {
		conn_deny(c, REASON_NO_MEMORY, NULL);
		return false;
	}
	return arrange_wait(c);
}

/* Neither the end of its sleep nor the answer to its question may come back to
 * a run that is gone. */
void
policy_host_cancel(struct conn *c)
{
	struct setup *s = c->setup;

	if (!s || !s->run)
		return;
	timeouts_clear(&c->worker->timeouts, &s->sleep);
	if (s->query)
		s->query->conn = NULL; /* freed when its answer comes */
	s->query = NULL;
	policy_finish(s->run);
	s->run = NULL;
}

void
policy_host_slept(struct conn *c)
{
	if (policy_outcome(c->setup->run)->wait == POLICY_WAIT_SLEEP)
		go_on(c, NULL);
	else
		(void)!ask_name(c);
}

void
policy_host_close(struct conn *c)
{
	struct policy_summary summary = {
		.reason = reason_word(c->reason),
		.detail = c->detail,
		.endpoint = c->endpoint ? c->endpoint->url : NULL,
		.upstream = c->target ? c->target->address.text : NULL,
		.bytes_in = conn_bytes_in(c),
		.bytes_out = c->client.taken_bytes,
		.duration_us = clock_us() - c->start_us,
	};

	if (!c->scripted)
		return;
	for (int i = 0; i < SCRIPT_COUNT; i++) {
		int script = policy_host_script(c, (enum script_of)i);

		if (script < 0 ||
		    !policy_has_close(c->policy->policy, (unsigned)script))
			continue;
		enter(c->worker);
		policy_close(
		    c->policy->policy, (unsigned)script, &c->facts, &summary);
		leave(c->worker);
	}
}
