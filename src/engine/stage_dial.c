/*
 * Dialling the upstream: the one that a script named, or one after the other of
 * the endpoint's, each address with its own time limit, as long as no byte was
 * sent. When none answers, the script's retry may name another.
 */
#include "engine/stage.h"

#include <errno.h>

#include "engine/dial.h"
#include "engine/policy_host.h"
#include "engine/reencrypt.h"
#include "engine/uplink_dial.h"
#include "engine/worker.h"
#include "engine/edge_private.h"
#include "sys/socket.h"

static const struct {
	int error;
	enum reason reason;
} dial_errors[] = {
	{ -ECONNREFUSED, REASON_UPSTREAM_REFUSED },
	{ -ECONNRESET, REASON_UPSTREAM_REFUSED },
	{ -EAGAIN, REASON_UPSTREAM_REFUSED }, /* a Unix socket's full queue */
	{ -ETIMEDOUT, REASON_UPSTREAM_TIMEOUT },
	{ -EADDRNOTAVAIL, REASON_NO_LOCAL_PORT },
	{ -EMFILE, REASON_LIMIT },
	{ -ENFILE, REASON_LIMIT },
	{ -ENOMEM, REASON_NO_MEMORY },
	{ -ENOBUFS, REASON_NO_MEMORY },
};

static enum reason
dial_reason(int error)
{
	for (size_t i = 0; i < ARRAY_COUNT(dial_errors); i++)
		if (dial_errors[i].error == error)
			return dial_errors[i].reason;
	return REASON_UPSTREAM_UNREACHABLE;
}

void
conn_drop_target(struct conn *c)
{
	atomic_fetch_sub(&c->target->active_count, 1);
	upstream_put(c->target);
	c->target = NULL;
}

static void
take_target(struct conn *c, struct upstream *u)
{
	if (c->target)
		conn_drop_target(c);
	c->target = u;
	atomic_fetch_add(&u->active_count, 1);
	c->setup->dial.attempts++;
	c->setup->dial.addr_count = c->setup->dial.addr_next = 0;
}

static const char *
chosen_upstream(const struct setup *s)
{
	for (int i = SCRIPT_COUNT - 1; i >= 0; i--)
		if (s->decisions[i].upstream)
			return s->decisions[i].upstream;
	return NULL;
}

uint64_t
dial_connect_ms(const struct conn *c)
{
	const struct setup *s = c->setup;

	for (int i = SCRIPT_COUNT - 1; i >= 0; i--)
		if (s->decisions[i].connect_ms >= 0)
			return (uint64_t)s->decisions[i].connect_ms;
	return c->endpoint ? c->endpoint->connect_ms
			   : s->generation->snapshot->timeouts.connect_ms;
}

/* Notes why a try failed; the loop goes on with the next. */
static enum step
note_failure(struct conn *c, enum reason reason, int error)
{
	struct dial *d = &c->setup->dial;

	d->failure = reason;
	d->blame = true;
	d->failure_errno = error;
	d->detail = NULL;
	d->greeted = false;
	leg_close(&c->upstream);
	/* None of the client's yet; part of our header may be missing. */
	c->upstream.taken_bytes = 0;
	timeouts_clear(&c->worker->timeouts, &c->timeout);
	return STEP_AGAIN;
}

enum step
dial_failed(struct conn *c, enum reason reason, int error, const char *detail)
{
	leg_drop_pending(&c->upstream, &c->worker->pipes);
	(void)note_failure(c, reason, error);
	c->setup->dial.detail = detail;
	c->stage = STAGE_DIAL;
	return STEP_AGAIN;
}

/* The whole upstream has failed, not only one of its addresses. */
static void
blame_target(struct conn *c)
{
	struct dial *d = &c->setup->dial;

	d->blame = false;
	/* Our own shortage says nothing about the upstream. */
	if (d->failure != REASON_LIMIT && d->failure != REASON_NO_MEMORY &&
	    d->failure != REASON_NO_LOCAL_PORT)
		upstream_failed(c->target, c->worker->now_ms);
}

static void
on_upstream_ready(struct watch *w, uint32_t events)
{
	struct conn *c = CONTAINER_OF(w, struct conn, upstream.watch);

	leg_note(&c->upstream, events);
	conn_run(c);
}

enum step
dial_adopt(struct conn *c, int fd)
{
	int error = fd;

	if (fd >= 0)
		error = leg_open(
		    &c->upstream, &c->worker->loop, fd, on_upstream_ready);
	if (error < 0)
		return note_failure(c, dial_reason(error), error);
	conn_set_deadline(c, dial_connect_ms(c));
	return STEP_WAIT;
}

/*
 * Dialling where this connection came in would bring it back for ever. What the
 * configuration can see is refused there; a name, a script or port 0 shows only
 * here, and any other way round leads here at the second turn.
 */
static bool
leads_back(const struct conn *c, const struct addr *to)
{
	return addr_same_ip(to, &c->facts.server) &&
	       to->port == c->facts.server.port;
}

static enum step
open_next_addr(struct conn *c)
{
	struct dial *d = &c->setup->dial;
	const struct addr *to = &d->addrs[d->addr_next++];

	if (!leads_back(c, to))
		return dial_adopt(c, socket_connect(to));
	(void)note_failure(c, REASON_UPSTREAM_UNREACHABLE, 0);
	d->detail = "the upstream is this edge's own listener";
	return STEP_AGAIN;
}

static void
on_resolved(struct conn *c, const struct resolver_answer *answer)
{
	struct dial *d = &c->setup->dial;

	if (answer->error < 0 || answer->count == 0)
		(void)note_failure(c, REASON_UPSTREAM_DNS, answer->error);
	for (size_t i = 0; i < answer->count && i < DIAL_MAX_ADDRS; i++) {
		d->addrs[i] = answer->addrs[i];
		d->addrs[i].port = c->target->address.port;
		d->addr_count++;
	}
	if (!c->running)
		conn_run(c);
}

/* Finds out the addresses of a new target, or connects at once. */
static enum step
approach(struct conn *c)
{
	const struct upstream_address *a = &c->target->address;
	struct dial *d = &c->setup->dial;

	switch (a->kind) {
	case UPSTREAM_UNIX:
		return dial_adopt(c, socket_connect_unix(a->path));
	case UPSTREAM_IP:
		d->addrs[0] = a->addr;
		d->addr_count = 1;
		return STEP_AGAIN;
	case UPSTREAM_NAME:
		break;
	}
	conn_set_deadline(c, dial_connect_ms(c));
	if (!conn_resolve(c, &a->name, on_resolved))
		return note_failure(c, REASON_NO_MEMORY, -ENOMEM);
	return c->setup->query ? STEP_WAIT : STEP_AGAIN;
}

/* The next upstream to try, with a reference; NULL: there is none. */
static struct upstream *
next_upstream(struct conn *c)
{
	struct setup *s = c->setup;
	const char *chosen = chosen_upstream(s);
	struct upstream_address address;
	struct balancer *b;
	struct upstream *u;

	if (chosen) {
		if (s->dial.chosen_tried ||
		    upstream_address_parse(span_text(chosen), &address, NULL) <
			0)
			return NULL;
		s->dial.chosen_tried = true;
		u = upstream_find(c->worker->edge->upstreams, &address);
		if (!u)
			s->dial.failure = REASON_NO_MEMORY;
		return u;
	}
	b = generation_balancer(s->generation, c->endpoint);
	if (!b)
		return NULL;
	return balancer_pick(b,
	    span_of(c->facts.client.bytes, sizeof(c->facts.client.bytes)),
	    &s->dial.tried, c->worker->now_ms);
}

static bool
may_retry(const struct conn *c)
{
	const struct setup *s = c->setup;
	int script = policy_host_script(c, s->script);

	return c->scripted && script >= 0 && !s->dial.given_up &&
	       s->dial.retries < DIAL_MAX_RETRIES &&
	       policy_has_retry(c->policy->policy, (unsigned)script);
}

/* Asks the script again, in the policy's stage. */
static enum step
retry(struct conn *c)
{
	struct setup *s = c->setup;
	struct policy_failure failure = {
		.reason = reason_word(s->dial.failure),
		.attempt = s->dial.attempts,
		.upstream = c->target ? c->target->address.text : NULL,
	};

	s->dial.retries++;
	s->dial.chosen_tried = false;
	s->dial.tried = (struct balancer_tried){ { 0 } };
	s->retrying = true;
	conn_set_deadline(c, s->generation->snapshot->policy.wall_ms);
	if (!policy_host_start(c, s->script, &failure))
		return STEP_CLOSE;
	c->stage = STAGE_POLICY;
	return STEP_AGAIN;
}

static enum step
give_up(struct conn *c)
{
	const struct dial *d = &c->setup->dial;
	enum reason reason = d->failure ? d->failure : REASON_ENDPOINT_OFFLINE;

	LOG_LIMITED(LOG_LEVEL_WARN, "no upstream could be reached",
	    LOG_TEXT("id", c->facts.id),
	    LOG_TEXT("endpoint", c->endpoint ? c->endpoint->url : "none"),
	    LOG_TEXT("upstream", c->target ? c->target->address.text : "none"),
	    LOG_TEXT("reason", reason_word(reason)),
	    LOG_INT("attempts", d->attempts));
	if (d->failure_errno != 0)
		c->failed_errno = -d->failure_errno;
	if (reason == REASON_AGENT_REFUSED && d->denied)
		conn_deny(c, reason, d->detail);
	else
		conn_refuse(c, reason, ALERT_INTERNAL_ERROR, d->detail);
	return STEP_CLOSE;
}

enum step
dial_give_up(struct conn *c)
{
	return may_retry(c) ? retry(c) : give_up(c);
}

static enum step
next_target(struct conn *c)
{
	struct upstream *u;

	if (c->target && c->setup->dial.blame)
		blame_target(c);
	u = c->setup->dial.given_up ? NULL : next_upstream(c);
	if (u) {
		take_target(c, u);
		return approach(c);
	}
	return dial_give_up(c);
}

static bool
timed_out(const struct conn *c)
{
	return !timeout_is_set(&c->timeout);
}

/* A connect that is under way: done, failed, or out of time. */
static enum step
finish_connect(struct conn *c)
{
	int error;

	if (c->upstream.writable) {
		/* Writable alone is connected; the error comes with a hang-up
		 * (EPOLLERR and EPOLLHUP, see leg_note). */
		error = c->upstream.hung_up
			    ? socket_connect_result(c->upstream.watch.fd)
			    : 0;
		if (error < 0)
			return note_failure(c, dial_reason(error), error);
		if (c->target && !reencrypt_is_due(c))
			upstream_worked(c->target);
		conn_note_time(c, TIMING_DIAL);
		return STEP_NEXT;
	}
	if (timed_out(c))
		return note_failure(c, REASON_UPSTREAM_TIMEOUT, -ETIMEDOUT);
	return STEP_WAIT;
}

static enum step
wait_for_name(struct conn *c)
{
	if (!timed_out(c))
		return STEP_WAIT;
	c->setup->query->conn = NULL;
	c->setup->query = NULL;
	return note_failure(c, REASON_UPSTREAM_DNS, -ETIMEDOUT);
}

enum step
stage_dial(struct conn *c)
{
	struct dial *d = &c->setup->dial;

	if (leg_is_open(&c->upstream))
		return finish_connect(c);
	if (uplink_is_due(c))
		return uplink_dial(c);
	if (c->setup->query)
		return wait_for_name(c);
	if (d->addr_next < d->addr_count)
		return open_next_addr(c);
	return next_target(c);
}
