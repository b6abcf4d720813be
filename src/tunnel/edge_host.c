#include "tunnel/edge_host.h"

#include <stdlib.h>

#include "base/clock.h"
#include "tunnel/edge_bind.h"
#include "tunnel/edge_drain.h"
#include "tunnel/edge_knock.h"
#include "tunnel/edge_private.h"
#include "tunnel/edge_session.h"

/* --- what a worker has --- */

static void
free_dead(struct tunnel_worker *tw)
{
	struct list *node;

	while ((node = list_shift(&tw->dead)))
		free(LIST_ENTRY(node, struct tunnel_corpse, node)->memory);
}

static void
on_burial(struct timeout *t)
{
	free_dead(CONTAINER_OF(t, struct tunnel_worker, burial));
}

void
tunnel_worker_bury(struct tunnel_worker *tw, struct tunnel_corpse *c)
{
	list_append(&tw->dead, &c->node);
	timeouts_set(&tw->worker->timeouts, &tw->burial, clock_ms());
}

static bool
enlist(struct edge_tunnel *t, struct tunnel_worker *tw)
{
	struct tunnel_worker **workers =
	    realloc(t->workers, (t->worker_count + 1) * sizeof(*t->workers));

	if (!workers)
		return false;
	t->workers = workers;
	t->workers[t->worker_count++] = tw;
	return true;
}

static void
strike_off(struct edge_tunnel *t, const struct tunnel_worker *tw)
{
	for (unsigned i = 0; i < t->worker_count; i++)
		if (t->workers[i] == tw)
			t->workers[i] = t->workers[--t->worker_count];
}

static void *
worker_new(void *data, struct worker *w)
{
	struct tunnel_worker *tw = calloc(1, sizeof(*tw));

	if (!tw)
		return NULL;
	tw->tunnel = data;
	tw->worker = w;
	list_init(&tw->sessions);
	list_init(&tw->knocks);
	list_init(&tw->dead);
	timeout_init(&tw->burial, on_burial);
	edge_drain_init(tw);
	/* Its own buffer lies idle while the tunnel is at work. */
	session_host_init(
	    &tw->host, &w->loop, &w->timeouts, w->buffer, WORKER_BUFFER_BYTES);
	if (enlist(tw->tunnel, tw))
		return tw;
	free(tw);
	return NULL;
}

static void
on_stop(void *state)
{
	struct tunnel_worker *tw = state;

	if (tw->stopped)
		return;
	tw->stopped = true;
	edge_knocks_close(tw);
	session_host_fini(&tw->host);
	ASSERT(list_empty(&tw->sessions));
}

static void
worker_free(void *state)
{
	struct tunnel_worker *tw = state;

	on_stop(tw);
	timeouts_clear(&tw->worker->timeouts, &tw->burial);
	timeouts_clear(&tw->worker->timeouts, &tw->drain_tick);
	free_dead(tw);
	strike_off(tw->tunnel, tw);
	free(tw);
}

static void
on_caller(void *state, enum caller_kind kind, struct caller *caller)
{
	struct tunnel_worker *tw = state;

	if (kind == CALLER_AGENT)
		edge_session_accept(tw, caller);
	else
		edge_knock(tw, kind, caller);
}

/* What a session needs of a generation it asks for when it needs it. */
static void
on_switch(void *state)
{
	(void)state;
}

/* --- revocation --- */

static struct credential *
current(struct edge_tunnel *t, const struct edge_session *es)
{
	struct credential *c;

	pthread_mutex_lock(&t->lock);
	c = token_set_current(t->tokens, es->credential);
	pthread_mutex_unlock(&t->lock);
	return c;
}

static void
take_credential(struct edge_session *es, struct credential *c)
{
	struct credential *old = es->credential;

	pthread_mutex_lock(&es->tw->tunnel->lock);
	es->credential = c;
	pthread_mutex_unlock(&es->tw->tunnel->lock);
	credential_put(old);
}

static void
recheck(struct edge_session *es)
{
	struct credential *c = current(es->tw->tunnel, es);
	char text[128];
	struct text why;

	if (c) {
		take_credential(es, c);
		edge_unbind_forbidden(es);
		return;
	}
	text_init(&why, text, sizeof(text));
	text_addf(&why, "the credential %s was revoked",
	    credential_name(es->credential));
	edge_session_cut(es, REASON_CLOSED_BY_OPERATOR, text);
}

static void
deliver_recheck(struct mail *mail, void *receiver)
{
	struct tunnel_worker *tw =
	    CONTAINER_OF(mail, struct tunnel_worker, recheck);

	(void)receiver;
	atomic_store(&tw->recheck_posted, false);
	LIST_FOREACH_SAFE (node, &tw->sessions) {
		struct edge_session *es =
		    LIST_ENTRY(node, struct edge_session, node);

		if (es->credential && es->phase < EDGE_CLOSING)
			recheck(es);
	}
}

static void
discard_recheck(struct mail *mail)
{
	(void)mail;
}

static void
post_recheck(struct tunnel_worker *tw)
{
	if (atomic_exchange(&tw->recheck_posted, true))
		return;
	tw->recheck.deliver = deliver_recheck;
	tw->recheck.discard = discard_recheck;
	mailbox_post(&tw->worker->mailbox, &tw->recheck);
}

/* Also of sessions that are over: their data connections may still relay. With
 * the lock. */
static void
cut_revoked(struct edge_tunnel *t)
{
	LIST_FOREACH (node, &t->sessions) {
		struct edge_session *es =
		    LIST_ENTRY(node, struct edge_session, known);
		struct credential *c =
		    token_set_current(t->tokens, es->credential);

		if (!c)
			atomic_store(&es->cut_for, REASON_CLOSED_BY_OPERATOR);
		credential_put(c);
	}
}

/* --- tokens and reloads --- */

static int
open_tables(struct edge_tunnel *t, const struct snapshot *s, struct text *error)
{
	if (!atomic_load(&t->names))
		atomic_store(&t->names, names_open(s->state, error));
	if (!atomic_load(&t->names))
		return -1;
	if (!atomic_load(&t->failures))
		atomic_store(&t->failures, rates_new());
	if (atomic_load(&t->failures))
		return 0;
	text_add(error, "no memory for the limit of attempts");
	return -1;
}

static void
log_warnings(const struct problems *p)
{
	for (size_t i = 0; i < problems_count(p); i++)
		LOG_WARN("agents", LOG_TEXT("warning", problems_get(p, i)));
}

static int
read_tokens(struct edge_tunnel *t, const struct snapshot *s, struct text *error)
{
	struct problems *p = problems_new(), *warnings = problems_new();

	if (p && warnings)
		t->next_tokens =
		    token_set_read(s->agents.authtokens_file, p, warnings);
	if (t->next_tokens)
		log_warnings(warnings);
	else if (p && problems_count(p) > 0)
		text_add(error, problems_get(p, 0));
	else
		text_add(error, "no memory for the agents' tokens");
	problems_free(p);
	problems_free(warnings);
	return t->next_tokens ? 0 : -1;
}

int
edge_tunnel_prepare(
    struct edge_tunnel *t, const struct snapshot *s, struct text *error)
{
	ASSERT(!t->prepared);
	if (s->agents.enabled &&
	    (open_tables(t, s, error) < 0 || read_tokens(t, s, error) < 0))
		return -1;
	t->prepared = true;
	return 0;
}

void
edge_tunnel_commit(struct edge_tunnel *t)
{
	struct token_set *old;

	ASSERT(t->prepared);
	t->prepared = false;
	pthread_mutex_lock(&t->lock);
	old = t->tokens;
	t->tokens = t->next_tokens;
	t->next_tokens = NULL;
	cut_revoked(t);
	pthread_mutex_unlock(&t->lock);
	token_set_put(old);
	for (unsigned i = 0; i < t->worker_count; i++)
		post_recheck(t->workers[i]);
	if (t->worker_count > 0)
		edge_sweep(t->workers[0]->worker->edge);
}

void
edge_tunnel_discard(struct edge_tunnel *t)
{
	token_set_put(t->next_tokens);
	t->next_tokens = NULL;
	t->prepared = false;
}

/* --- life --- */

struct edge_tunnel *
edge_tunnel_new(const struct snapshot *s, struct text *error)
{
	struct edge_tunnel *t = calloc(1, sizeof(*t));

	if (!t) {
		text_add(error, "no memory for the tunnel");
		return NULL;
	}
	t->host = (struct tunnel_host){
		.data = t,
		.worker_new = worker_new,
		.worker_free = worker_free,
		.on_switch = on_switch,
		.on_drain = edge_on_drain,
		.on_stop = on_stop,
		.on_caller = on_caller,
	};
	pthread_mutex_init(&t->lock, NULL);
	list_init(&t->sessions);
	edge_clients_init(&t->clients);
	edge_doors_init(&t->doors);
	if (edge_tunnel_prepare(t, s, error) == 0) {
		edge_tunnel_commit(t);
		return t;
	}
	edge_tunnel_free(t);
	return NULL;
}

void
edge_tunnel_free(struct edge_tunnel *t)
{
	if (!t)
		return;
	ASSERT(t->worker_count == 0 && list_empty(&t->sessions));
	edge_clients_fini(&t->clients);
	edge_doors_fini(&t->doors);
	token_set_put(t->tokens);
	token_set_put(t->next_tokens);
	names_free(atomic_load(&t->names));
	rates_free(atomic_load(&t->failures));
	pthread_mutex_destroy(&t->lock);
	free(t->workers);
	free(t);
}

const struct tunnel_host *
edge_tunnel_host(const struct edge_tunnel *t)
{
	return &t->host;
}

void
edge_tunnel_counters(
    const struct edge_tunnel *t, struct edge_tunnel_counters *out)
{
#define X(name)     \
	out->name = \
	    atomic_load_explicit(&t->counters.name, memory_order_relaxed);
	EDGE_TUNNEL_COUNTER_TABLE(X)
#undef X
	out->sessions_open = atomic_load(&t->session_count);
}
