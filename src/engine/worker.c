#include "engine/worker.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "engine/edge_private.h"
#include "engine/event.h"
#include "engine/policy_host.h"

/* How many endpoints and pools may ask for health checks in all. */
#define HEALTH_MAX_TARGETS 65536

/* Replacing a full policy state takes at most a part of a worker's time: after
 * one, this many times as long without, and never less than that. */
#define RENEW_SHARE 20
#define RENEW_MIN_MS 1000

struct switch_mail {
	struct mail mail;
	struct generation *generation;
	struct policy_slot *slot;
};

uint64_t
worker_open_count(const struct worker *w)
{
	return counter_read(&w->counters.connections_open);
}

/* Crockford's alphabet in lower case: no letter that reads like another. */
void
worker_make_id(struct worker *w, const char *prefix, char out[32])
{
	static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
	uint64_t parts[2] = { w->id_seed[0], w->id_seed[1] + w->id_count++ };
	size_t at = strlen(prefix);

	memcpy(out, prefix, at);
	for (int part = 0; part < 2; part++)
		for (int i = 12; i >= 0; i--)
			out[at++] = digits[(parts[part] >> (i * 5)) & 31];
	out[at] = '\0';
}

bool
worker_take_handshake_step(struct worker *w)
{
	if (w->handshake_steps == WORKER_HANDSHAKE_STEPS)
		return false;
	w->handshake_steps++;
	return true;
}

struct policy_slot *
policy_slot_get(struct worker *w)
{
	if (w->policy)
		w->policy->refs++;
	return w->policy;
}

static void
drop_policy(struct worker *w, struct policy_slot *slot)
{
	if (!slot->policy)
		return;
	policy_free(slot->policy);
	slot->policy = NULL;
	policy_context_put(slot->context);
	if (slot != w->policy) {
		list_remove(&slot->old);
		w->old_policy_count--;
	}
}

void
policy_slot_put(struct worker *w, struct policy_slot *slot)
{
	ASSERT(slot->refs > 0);
	if (--slot->refs > 0)
		return;
	drop_policy(w, slot);
	free(slot);
}

/*
 * A run of a version that goes away is denied: its state is gone. So is a
 * connection that this version would still have been asked about, and that
 * without it would go past the policy.
 */
static void
end_runs_of(struct worker *w, const struct policy_slot *slot)
{
	LIST_FOREACH_SAFE (node, &w->live) {
		struct conn *c = LIST_ENTRY(node, struct conn, live);

		if (c->policy != slot || !c->setup)
			continue;
		policy_host_cancel(c);
		if (c->stage <= STAGE_POLICY)
			conn_deny(c, REASON_POLICY_MEMORY,
			    "its policy version was dropped");
	}
}

/* Too many old versions: the oldest one's close hooks will not run. */
static void
retire_oldest(struct worker *w)
{
	struct policy_slot *oldest =
	    LIST_ENTRY(w->old_policies.next, struct policy_slot, old);

	counter_add(&w->counters.policy_hooks_dropped, oldest->refs);
	LOG_WARN("an old policy version is dropped: its close hooks do not run",
	    LOG_TEXT("version", oldest->version),
	    LOG_INT("connections", oldest->refs));
	end_runs_of(w, oldest);
	drop_policy(w, oldest);
}

static void
take_policy(struct worker *w, struct policy_slot *slot)
{
	struct policy_slot *old = w->policy;

	w->policy = slot;
	if (!old)
		return;
	list_append(&w->old_policies, &old->old);
	w->old_policy_count++;
	policy_slot_put(w, old);
	while (w->old_policy_count > WORKER_MAX_OLD_POLICIES)
		retire_oldest(w);
}

/* Runs that wait in a state that is given up. */
static void
end_waiting_runs(struct worker *w, const struct policy_slot *slot)
{
	LIST_FOREACH_SAFE (node, &w->live) {
		struct conn *c = LIST_ENTRY(node, struct conn, live);

		if (c->policy != slot || !c->setup || !c->setup->run)
			continue;
		policy_host_cancel(c);
		conn_deny(
		    c, REASON_POLICY_MEMORY, "its policy state was replaced");
	}
}

/* Loading takes this worker's time, so after it comes a while without. */
static void
plan_renewal(struct worker *w, uint64_t began_ms)
{
	uint64_t now = clock_ms(), pause = (now - began_ms) * RENEW_SHARE;

	w->renew_after_ms = now + (pause > RENEW_MIN_MS ? pause : RENEW_MIN_MS);
}

/*
 * The scripts hold so much memory that the state can serve nobody. The slot
 * keeps its place and its connections, and gets the same scripts in a fresh
 * state. If that fails the old one stays: it denies, and frees what it can.
 */
static void
renew_policy(struct worker *w)
{
	struct policy_slot *slot = w->policy;
	uint64_t began_ms = clock_ms();
	struct policy *fresh;
	char storage[512];
	struct text error;

	if (began_ms < w->renew_after_ms)
		return;
	text_init(&error, storage, sizeof(storage));
	fresh = policy_renew(slot->policy, &error);
	plan_renewal(w, began_ms);
	if (!fresh) {
		LOG_ERROR("a policy state is full and cannot be replaced",
		    LOG_INT("worker", w->index),
		    LOG_TEXT("version", slot->version),
		    LOG_TEXT("error", error.data));
		return;
	}
	end_waiting_runs(w, slot);
	policy_free(slot->policy);
	slot->policy = fresh;
	LOG_WARN("a policy state was full and has been replaced",
	    LOG_INT("worker", w->index), LOG_TEXT("version", slot->version));
}

static void
tend_policy(struct worker *w)
{
	policy_collect(w->policy->policy);
	if (policy_is_spent(w->policy->policy))
		renew_policy(w);
}

static size_t
endpoint_targets(
    const struct generation *g, struct health_target *out, size_t size)
{
	const struct snapshot *s = g->snapshot;
	size_t count = 0;

	for (size_t i = 0; i < s->endpoint_count; i++) {
		struct balancer *b = g->balancers[i];

		if (!b || s->endpoints[i]->health.every_ms == 0)
			continue;
		for (size_t j = 0; j < balancer_count(b) && count < size; j++)
			out[count++] = (struct health_target){
				upstream_get(balancer_at(b, j)),
				s->endpoints[i]->health,
			};
	}
	return count;
}

static void
set_health_targets(struct worker *w)
{
	size_t size = HEALTH_MAX_TARGETS;
	struct health_target *targets = calloc(size, sizeof(*targets));
	size_t count, from_pools;

	if (!targets) {
		LOG_ERROR("no memory for health checks: the old ones stay");
		return;
	}
	count = endpoint_targets(w->generation, targets, size);
	from_pools =
	    pools_health_targets(w->edge->pools, targets + count, size - count);
	if (from_pools > size - count)
		from_pools = size - count;
	count += from_pools;
	if (health_set_targets(w->health, targets, count) < 0)
		LOG_ERROR("no memory for health checks: the old ones stay");
	for (size_t i = 0; i < count; i++)
		upstream_put(targets[i].upstream);
	free(targets);
}

static void
deliver_switch(struct mail *mail, void *receiver)
{
	struct switch_mail *m = CONTAINER_OF(mail, struct switch_mail, mail);
	struct worker *w = receiver;

	if (w->generation)
		generation_put(w->generation);
	w->generation = m->generation;
	tls_context_forget_sessions(w->tls);
	take_policy(w, m->slot);
	if (w->health)
		set_health_targets(w);
	if (w->tunnel)
		w->edge->tunnel->on_switch(w->tunnel);
	free(m);
}

static void
discard_switch(struct mail *mail)
{
	struct switch_mail *m = CONTAINER_OF(mail, struct switch_mail, mail);

	generation_put(m->generation);
	if (m->slot) {
		policy_free(m->slot->policy);
		policy_context_put(m->slot->context);
	}
	free(m->slot);
	free(m);
}

static struct policy_slot *
slot_new(struct policy *policy, struct policy_context *context)
{
	struct policy_slot *slot = calloc(1, sizeof(*slot));

	if (!slot)
		return NULL;
	slot->refs = 1;
	slot->policy = policy;
	slot->context = policy_context_get(context);
	list_init(&slot->old);
	memcpy(slot->version, policy_version(policy), POLICY_VERSION_SIZE);
	return slot;
}

struct mail *
worker_switch_mail(
    struct generation *g, struct policy *policy, struct policy_context *context)
{
	struct switch_mail *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	if (policy) {
		m->slot = slot_new(policy, context);
		if (!m->slot) {
			free(m);
			return NULL;
		}
	}
	m->mail.deliver = deliver_switch;
	m->mail.discard = discard_switch;
	m->generation = generation_get(g);
	return &m->mail;
}

static void
close_all(struct worker *w, enum reason reason)
{
	LIST_FOREACH_SAFE (node, &w->live) {
		struct conn *c = LIST_ENTRY(node, struct conn, live);
		bool cut = leg_has_pending(&c->client) ||
			   leg_has_pending(&c->upstream);

		/* What is cut short must not look complete. */
		conn_close(c, reason, cut ? CLOSE_RESET : CLOSE_PLAIN, NULL);
	}
}

static void
on_drain_timeout(struct timeout *t)
{
	struct worker *w = CONTAINER_OF(t, struct worker, drain_timeout);

	close_all(w, REASON_DRAIN);
}

static void
deliver_drain(struct mail *mail, void *receiver)
{
	struct worker_order *order =
	    CONTAINER_OF(mail, struct worker_order, mail);
	struct worker *w = receiver;

	w->draining = true;
	timeouts_set(
	    &w->timeouts, &w->drain_timeout, w->now_ms + order->drain_ms);
	if (w->tunnel)
		w->edge->tunnel->on_drain(w->tunnel, order->drain_ms);
}

/* What is cut short must not look complete here either. */
static void
end_at_once(struct conn *c)
{
	if (c->way == CLOSE_RESET || c->way == CLOSE_PASS_RESET) {
		leg_drop_pending(&c->client, &c->worker->pipes);
		leg_drop_pending(&c->upstream, &c->worker->pipes);
		leg_abort(&c->client);
		leg_abort(&c->upstream);
	}
	conn_finish(c);
}

/* Also while connections linger: nothing is waited for any more. */
static void
deliver_stop(struct mail *mail, void *receiver)
{
	struct worker *w = receiver;

	(void)mail;
	w->stopping = true;
	close_all(w, REASON_CLOSED_BY_OPERATOR);
	LIST_FOREACH_SAFE (node, &w->live)
		end_at_once(LIST_ENTRY(node, struct conn, live));
}

/* The orders live in the worker itself. */
static void
discard_order(struct mail *mail)
{
	(void)mail;
}

void
worker_drain(struct worker *w, uint64_t ms)
{
	w->drain_order.mail.deliver = deliver_drain;
	w->drain_order.mail.discard = discard_order;
	w->drain_order.drain_ms = ms;
	mailbox_post(&w->mailbox, &w->drain_order.mail);
}

static void
on_mailbox(struct watch *watch, uint32_t events)
{
	struct worker *w = CONTAINER_OF(watch, struct worker, mailbox_watch);

	(void)events;
	mailbox_deliver(&w->mailbox, w);
}

/* Those that wait for another turn; what they add waits for the next. */
static void
run_runnable(struct worker *w)
{
	struct list batch, *node;

	list_init(&batch);
	while ((node = list_shift(&w->runnable)))
		list_append(&batch, node);
	while ((node = list_shift(&batch)))
		conn_run(LIST_ENTRY(node, struct conn, queue));
}

/* Only now: later events of the turn's batch may have pointed at them. */
static void
free_dead(struct worker *w)
{
	struct list *node;

	while ((node = list_shift(&w->dead)))
		slab_free(&w->conns, LIST_ENTRY(node, struct conn, queue));
}

static void
note_if_drained(struct worker *w)
{
	if (!w->draining || w->drained || !list_empty(&w->live))
		return;
	w->drained = true;
	edge_note_drained(w->edge);
}

/* A deadline that a handler sets must not be counted from before the wait. */
static void
on_woken(struct loop *l)
{
	struct worker *w = CONTAINER_OF(l, struct worker, loop);

	w->now_ms = clock_ms();
}

static void
turn(struct worker *w)
{
	int wait_ms = list_empty(&w->runnable)
			  ? timeouts_wait_ms(&w->timeouts, clock_ms())
			  : 0;

	w->handshake_steps = 0;
	loop_turn(&w->loop, wait_ms);
	w->now_ms = clock_ms();
	/* Not within the loop's batch, which may point at what it frees. */
	if (w->stopping && w->tunnel)
		w->edge->tunnel->on_stop(w->tunnel);
	run_runnable(w);
	timeouts_run(&w->timeouts, w->now_ms);
	if (w->policy)
		tend_policy(w);
	free_dead(w);
	note_if_drained(w);
}

static void *
worker_main(void *arg)
{
	struct worker *w = arg;

	w->now_ms = clock_ms();
	while (!w->stopping)
		turn(w);
	return NULL;
}

static bool
allocate_buffers(struct worker *w)
{
	w->peeked = malloc(HELLO_MAX_BYTES);
	w->scratch = malloc(HELLO_MAX_BYTES);
	w->buffer = malloc(WORKER_BUFFER_BYTES);
	w->event_text = malloc(EVENT_MAX_BYTES);
	return w->peeked && w->scratch && w->buffer && w->event_text;
}

int
worker_init(struct worker *w, struct edge *edge, unsigned index)
{
	int error;

	*w = (struct worker){ .edge = edge, .index = index };
	list_init(&w->live);
	list_init(&w->runnable);
	list_init(&w->dead);
	list_init(&w->old_policies);
	slab_init(&w->conns, sizeof(struct conn));
	slab_init(&w->setups, sizeof(struct setup));
	pipes_init(&w->pipes, &edge->pipe_budget);
	w->now_ms = clock_ms();
	timeouts_init(&w->timeouts, w->now_ms);
	timeout_init(&w->drain_timeout, on_drain_timeout);
	sweep_init(&w->sweep);
	random_bytes(w->id_seed, sizeof(w->id_seed));
	w->loop.epoll_fd = w->mailbox.event_fd = -1;
	w->tls = tls_context_new(edge->vault.tickets, edge->vault.keylog_fd);
	if (!w->tls || !allocate_buffers(w))
		return -ENOMEM;
	error = mailbox_init(&w->mailbox, WORKER_MAILBOX_LIMIT);
	if (error == 0)
		error = loop_init(&w->loop);
	if (error == 0)
		error = loop_add(&w->loop, &w->mailbox_watch,
		    w->mailbox.event_fd, on_mailbox);
	if (error < 0)
		return error;
	w->loop.on_woken = on_woken;
	if (edge->tunnel) {
		w->tunnel = edge->tunnel->worker_new(edge->tunnel->data, w);
		if (!w->tunnel)
			return -ENOMEM;
	}
	if (index > 0)
		return 0;
	w->health =
	    health_new(&w->loop, &w->timeouts, edge->resolver, &w->mailbox);
	return w->health ? 0 : -ENOMEM;
}

int
worker_start(struct worker *w)
{
	int error = pthread_create(&w->thread, NULL, worker_main, w);

	w->started = error == 0;
	return -error;
}

void
worker_stop(struct worker *w)
{
	if (!w->started)
		return;
	w->stop_order.mail.deliver = deliver_stop;
	w->stop_order.mail.discard = discard_order;
	mailbox_post(&w->mailbox, &w->stop_order.mail);
	pthread_join(w->thread, NULL);
	w->started = false;
}

void
worker_close(struct worker *w)
{
	if (w->mailbox.event_fd >= 0)
		mailbox_close(&w->mailbox);
}

void
worker_fini(struct worker *w)
{
	free_dead(w);
	if (w->tunnel)
		w->edge->tunnel->worker_free(w->tunnel);
	if (w->health)
		health_free(w->health);
	if (w->policy)
		policy_slot_put(w, w->policy);
	if (w->generation)
		generation_put(w->generation);
	timeouts_clear(&w->timeouts, &w->drain_timeout);
	sweep_fini(&w->sweep, &w->timeouts);
	pipes_fini(&w->pipes);
	slab_fini(&w->conns);
	slab_fini(&w->setups);
	if (w->loop.epoll_fd >= 0)
		loop_fini(&w->loop);
	if (w->mailbox.event_fd >= 0)
		mailbox_fini(&w->mailbox);
	tls_context_free(w->tls);
	free(w->peeked);
	free(w->scratch);
	free(w->buffer);
	free(w->event_text);
}
