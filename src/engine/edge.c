#include "engine/edge_private.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "sys/install.h"

/* Descriptors that are not for connections: log, events, configuration,
 * resolver, and some to spare. */
#define RESERVED_FDS 64
#define FDS_PER_WORKER 4
#define FDS_PER_CONNECTION 2

/* Everything that a new configuration needs, made before anything changes. */
struct next {
	struct generation *generation;
	struct policy_context *context;
	struct mail **mails; /* one a worker */
	struct listener **listeners;
	size_t listener_count;
	struct listener **shared; /* the same, the acceptor's own references */
};

void
edge_note_drained(struct edge *e)
{
	uint64_t one = 1;

	if (atomic_fetch_sub(&e->undrained, 1) > 1)
		return;
	if (write(e->drained_fd, &one, sizeof(one)) < 0)
		ASSERT(errno == EAGAIN);
}

bool
edge_take_place(struct edge *e)
{
	if (atomic_fetch_add(&e->open_count, 1) < atomic_load(&e->open_limit))
		return true;
	atomic_fetch_sub(&e->open_count, 1);
	LOG_LIMITED(LOG_LEVEL_WARN, "limits.connections reached: refused");
	return false;
}

void
edge_release(struct edge *e)
{
	atomic_fetch_sub(&e->open_count, 1);
	if (e->acceptor)
		acceptor_note_room(e->acceptor);
}

/* Two descriptors a connection, the pipes of the relay, and a reserve. */
static uint64_t
derive_limit(const struct edge *e, const struct snapshot *s)
{
	struct rlimit files;
	uint64_t fixed = RESERVED_FDS + 2 * PIPES_MAX +
			 FDS_PER_WORKER * e->worker_count + s->listen_count;
	uint64_t derived = UINT32_MAX;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0 &&
	    files.rlim_cur != RLIM_INFINITY)
		derived = files.rlim_cur > fixed + FDS_PER_CONNECTION
			      ? (files.rlim_cur - fixed) / FDS_PER_CONNECTION
			      : 1;
	if (s->limits.connections == 0)
		return derived;
	if (s->limits.connections > derived)
		LOG_WARN("limits.connections is more than the descriptor "
			 "limit allows",
		    LOG_INT("wanted", s->limits.connections),
		    LOG_INT("possible", derived));
	return s->limits.connections < derived ? s->limits.connections
					       : derived;
}

static void
set_limit(struct edge *e, const struct snapshot *s)
{
	uint64_t limit = derive_limit(e, s);

	if (atomic_exchange(&e->open_limit, limit) != limit)
		LOG_INFO("connections are limited", LOG_INT("limit", limit),
		    LOG_TEXT("by", s->limits.connections
				       ? "limits.connections"
				       : "the descriptor limit"));
	acceptor_note_room(e->acceptor);
}

static struct policy *
compile(struct edge *e, const struct snapshot *s,
    struct policy_context *context, struct text *error)
{
	char folder[PATH_MAX];
	size_t count = s->policy.path_count;
	char **path = calloc(count + 1, sizeof(*path));
	struct policy_settings settings = {
		.scripts = s->scripts,
		.script_count = s->script_count,
		.path = path,
		.path_count = count + 1,
		.cpu_ms = s->policy.cpu_ms,
		.memory_bytes = s->policy.memory_bytes,
		.run_memory_bytes = s->policy.run_memory_bytes,
		.jit = s->policy.jit,
		.host = &policy_host,
		.host_data = context,
		.shared = e->shared,
		.resolver = e->resolver,
	};
	struct policy *policy;

	if (!path) {
		text_add(error, "no memory for the policy");
		return NULL;
	}
	if (count > 0)
		memcpy(path, s->policy.path, count * sizeof(*path));
	install_lua_folder(folder, sizeof(folder));
	path[count] = folder;
	policy = policy_new(&settings, error);
	free(path);
	return policy;
}

/* One worker's share: its compiled scripts, in an envelope. */
static struct mail *
make_mail(struct edge *e, struct next *n, struct text *error)
{
	const struct snapshot *s = n->generation->snapshot;
	struct policy *policy = NULL;
	struct mail *mail;

	if (s->script_count > 0) {
		policy = compile(e, s, n->context, error);
		if (!policy)
			return NULL;
	}
	mail = worker_switch_mail(n->generation, policy, n->context);
	if (mail)
		return mail;
	if (policy)
		policy_free(policy);
	text_add(error, "no memory for the configuration");
	return NULL;
}

static bool
make_mails(struct edge *e, struct next *n, struct text *error)
{
	n->mails = calloc(e->worker_count, sizeof(struct mail *));
	if (!n->mails) {
		text_add(error, "no memory for the configuration");
		return false;
	}
	for (unsigned i = 0; i < e->worker_count; i++) {
		n->mails[i] = make_mail(e, n, error);
		if (!n->mails[i])
			return false;
	}
	return true;
}

static bool
share_listeners(struct next *n, struct text *error)
{
	n->shared = calloc(n->listener_count + 1, sizeof(struct listener *));
	if (!n->shared) {
		text_add(error, "no memory for the listeners");
		return false;
	}
	for (size_t i = 0; i < n->listener_count; i++)
		n->shared[i] = listener_get(n->listeners[i]);
	return true;
}

static bool
make_listeners(struct edge *e, struct next *n, struct text *error)
{
	struct snapshot *s = n->generation->snapshot;
	const struct listener_sources sources = {
		.old = e->listeners,
		.old_count = e->listener_count,
		.inherited = e->inherited,
	};

	n->listeners = calloc(s->listen_count + 1, sizeof(struct listener *));
	if (!n->listeners) {
		text_add(error, "no memory for the listeners");
		return false;
	}
	for (size_t i = 0; i < s->listen_count; i++) {
		n->listeners[i] = listener_new(s, i, &sources, error);
		if (!n->listeners[i])
			return false;
		n->listener_count++;
	}
	return share_listeners(n, error);
}

static bool
make_context(struct edge *e, struct next *n, struct text *error)
{
	const struct snapshot *s = n->generation->snapshot;
	struct geo *geo = NULL;

	if (s->geo_database) {
		geo = geo_open(s->geo_database, error);
		if (!geo)
			return false;
	}
	n->context = policy_context_new(e, geo);
	if (!n->context)
		text_add(error, "no memory for the policy");
	return n->context != NULL;
}

static void
discard_next(struct edge *e, struct next *n)
{
	for (unsigned i = 0; n->mails && i < e->worker_count; i++)
		if (n->mails[i])
			n->mails[i]->discard(n->mails[i]);
	free(n->mails);
	for (size_t i = 0; i < n->listener_count; i++) {
		listener_put(n->listeners[i]);
		if (n->shared)
			listener_put(n->shared[i]);
	}
	free(n->listeners);
	free(n->shared);
	if (n->context)
		policy_context_put(n->context);
	if (n->generation)
		generation_put(n->generation);
	*n = (struct next){ 0 };
}

/* Builds the new configuration beside the running one. */
static bool
prepare(struct edge *e, struct snapshot *s, struct next *n, struct text *error)
{
	*n = (struct next){ 0 };
	n->generation = generation_new(s, e->upstreams);
	if (!n->generation) {
		text_add(error, "no memory for the configuration");
		return false;
	}
	if (make_context(e, n, error) && make_listeners(e, n, error) &&
	    make_mails(e, n, error) &&
	    vault_prepare(&e->vault, n->generation, error))
		return true;
	discard_next(e, n);
	return false;
}

static void
keep_listeners(struct edge *e, struct next *n)
{
	for (size_t i = 0; i < e->listener_count; i++)
		listener_put(e->listeners[i]);
	free(e->listeners);
	e->listeners = n->listeners;
	e->listener_count = n->listener_count;
}

/* Without it the edge does not start; a change of it cannot fail. */
static void
keep_fresh(struct edge *e, struct generation *g)
{
	if (e->renewal)
		renewal_switch(e->renewal, g);
	else
		e->renewal = renewal_new(e->journal, e->vault.tickets, g);
}

/*
 * Nothing can fail from here on. Staples are carried over before anybody serves
 * by the new certificates. Workers come before the acceptor: what a new
 * listener accepts must find them switched, and their boxes keep the order.
 */
static void
commit(struct edge *e, struct next *n)
{
	keep_fresh(e, n->generation);
	for (unsigned i = 0; i < e->worker_count; i++)
		mailbox_post(&e->workers[i].mailbox, n->mails[i]);
	free(n->mails);
	set_limit(e, n->generation->snapshot);
	e->drain_ms = n->generation->snapshot->timeouts.drain_ms;
	acceptor_set_listeners(e->acceptor, n->shared, n->listener_count);
	keep_listeners(e, n);
	policy_context_put(n->context);
	generation_put(n->generation);
}

static int
switch_to(struct edge *e, struct snapshot *s, struct text *error)
{
	struct next next;

	if (!prepare(e, s, &next, error))
		return -1;
	commit(e, &next);
	return 0;
}

static bool
make_tables(struct edge *e)
{
	e->upstreams = upstreams_new();
	if (e->upstreams)
		e->pools = pools_new(e->upstreams);
	e->registry = registry_new();
	e->shared = policy_shared_new();
	e->clients = tally_new();
	e->active = tally_new();
	e->drained_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return e->pools && e->registry && e->shared && e->clients &&
	       e->active && e->drained_fd >= 0;
}

static bool
make_resolver(struct edge *e, const struct snapshot *s, struct text *error)
{
	struct resolver_settings settings = {
		.servers = s->resolver_servers,
	};
	int reason = 0;

	e->resolver = resolver_new(&settings, &reason);
	if (!e->resolver)
		text_addf(error, "cannot start the resolver: %s",
		    log_errno_text(-reason));
	return e->resolver != NULL;
}

static unsigned
wanted_workers(const struct snapshot *s)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	if (s->workers > 0)
		return s->workers;
	return cores > 0 ? (unsigned)cores : 1;
}

static bool
make_workers(struct edge *e, const struct snapshot *s, struct text *error)
{
	unsigned count = wanted_workers(s);
	int reason;

	e->workers = calloc(count, sizeof(*e->workers));
	for (unsigned i = 0; e->workers && i < count; i++) {
		e->worker_count = i + 1;
		reason = worker_init(&e->workers[i], e, i);
		if (reason < 0) {
			text_addf(error, "cannot make worker %u: %s", i,
			    log_errno_text(-reason));
			return false;
		}
	}
	if (!e->workers)
		text_add(error, "no memory for the workers");
	return e->workers != NULL;
}

static bool
start_threads(struct edge *e, struct text *error)
{
	int reason = e->renewal ? 0 : -EAGAIN;

	for (unsigned i = 0; reason == 0 && i < e->worker_count; i++)
		reason = worker_start(&e->workers[i]);
	if (reason == 0)
		reason = acceptor_start(e->acceptor);
	if (reason == 0) {
		e->watchdog = watchdog_new(e);
		reason = e->watchdog ? 0 : -EAGAIN;
	}
	if (reason < 0)
		text_addf(error, "cannot start a thread: %s",
		    log_errno_text(-reason));
	return reason == 0;
}

/* The rest of edge_new, when the journal has taken the sinks. */
static bool
build(struct edge *e, struct snapshot *s, struct text *error)
{
	if (!make_tables(e)) {
		text_add(error, "no memory for the edge");
		return false;
	}
	if (!vault_init(&e->vault, s, error) || !make_resolver(e, s, error) ||
	    !make_workers(e, s, error))
		return false;
	e->acceptor = acceptor_new(e);
	if (!e->acceptor) {
		text_add(error, "no memory or descriptor for the acceptor");
		return false;
	}
	return switch_to(e, s, error) == 0 && start_threads(e, error);
}

static void
free_sinks(struct journal_sink *sinks)
{
	while (sinks) {
		struct journal_sink *next = sinks->next;

		sinks->free(sinks);
		sinks = next;
	}
}

struct edge *
edge_new(struct snapshot *s, struct journal_sink *sinks,
    const struct edge_surroundings *around, struct text *error)
{
	struct edge *e = calloc(1, sizeof(*e));

	if (e) {
		e->tunnel = around->tunnel;
		e->inherited = around->inherited;
		e->drained_fd = e->vault.keylog_fd = -1;
		pthread_mutex_init(&e->recent_lock, NULL);
		atomic_init(&e->wants_events, sinks != NULL);
		e->journal = journal_new(sinks);
	}
	if (!e || !e->journal) {
		text_add(error, "no memory or thread for the journal");
		free_sinks(sinks);
		free(e);
		return NULL;
	}
	if (!build(e, s, error)) {
		edge_free(e);
		return NULL;
	}
	e->inherited = NULL;
	return e;
}

int
edge_reload(struct edge *e, struct snapshot *s, struct journal_sink *sinks,
    struct text *error)
{
	if (switch_to(e, s, error) < 0) {
		free_sinks(sinks);
		return -1;
	}
	atomic_store(&e->wants_events, sinks != NULL);
	journal_set_sinks(e->journal, sinks);
	return 0;
}

void
edge_reopen(struct edge *e)
{
	journal_reopen(e->journal);
}

void
edge_drain(struct edge *e)
{
	uint64_t ms;

	if (e->draining)
		return;
	e->draining = true;
	ms = e->drain_ms;
	/* What it has accepted is in the workers' boxes when it has ended. */
	acceptor_stop(e->acceptor);
	for (size_t i = 0; i < e->listener_count; i++)
		listener_close(e->listeners[i]);
	atomic_store(&e->undrained, e->worker_count);
	for (unsigned i = 0; i < e->worker_count; i++)
		worker_drain(&e->workers[i], ms);
}

int
edge_drained_fd(const struct edge *e)
{
	return e->drained_fd;
}

static void
free_tables(struct edge *e)
{
	if (e->registry)
		registry_free(e->registry);
	if (e->pools)
		pools_free(e->pools);
	if (e->upstreams)
		upstreams_free(e->upstreams);
	if (e->shared)
		policy_shared_free(e->shared);
	if (e->clients)
		tally_free(e->clients);
	if (e->active)
		tally_free(e->active);
	vault_fini(&e->vault);
	if (e->drained_fd >= 0)
		close(e->drained_fd);
}

void
edge_free(struct edge *e)
{
	if (!e)
		return;
	watchdog_free(e->watchdog);
	renewal_free(e->renewal);
	if (e->acceptor)
		acceptor_stop(e->acceptor);
	for (unsigned i = 0; i < e->worker_count; i++)
		worker_stop(&e->workers[i]);
	/* Its last answers go into boxes that are still there. */
	if (e->resolver)
		resolver_free(e->resolver);
	/* What is discarded in one box may be answered to another. */
	for (unsigned i = 0; i < e->worker_count; i++)
		worker_close(&e->workers[i]);
	for (unsigned i = 0; i < e->worker_count; i++)
		worker_fini(&e->workers[i]);
	free(e->workers);
	acceptor_free(e->acceptor);
	for (size_t i = 0; i < e->listener_count; i++)
		listener_put(e->listeners[i]);
	free(e->listeners);
	free_tables(e);
	journal_free(e->journal);
	pthread_mutex_destroy(&e->recent_lock);
	free(e);
}

struct journal *
edge_journal(struct edge *e)
{
	return e->journal;
}

struct registry *
edge_registry(struct edge *e)
{
	return e->registry;
}

struct resolver *
edge_resolver(struct edge *e)
{
	return e->resolver;
}

unsigned
edge_worker_count(const struct edge *e)
{
	return e->worker_count;
}

struct worker *
edge_worker(struct edge *e, unsigned i)
{
	ASSERT(i < e->worker_count);
	return &e->workers[i];
}

void
edge_sweep(struct edge *e)
{
	for (unsigned i = 0; i < e->worker_count; i++)
		sweep_order(&e->workers[i].sweep, &e->workers[i].mailbox);
}

bool
edge_wants_events(const struct edge *e)
{
	return atomic_load_explicit(&e->wants_events, memory_order_relaxed);
}

size_t
edge_listener_count(const struct edge *e)
{
	return e->listener_count;
}

void
edge_listener_addr(const struct edge *e, size_t i, struct addr *out)
{
	ASSERT(i < e->listener_count);
	*out = e->listeners[i]->bound;
}

int
edge_listener_fd(const struct edge *e, size_t i)
{
	ASSERT(i < e->listener_count);
	return e->listeners[i]->fd;
}

static void
sum_counters(struct edge *e, struct edge_status *out)
{
	for (unsigned i = 0; i < e->worker_count; i++) {
		const struct counters *c = &e->workers[i].counters;

		out->connections_open += counter_read(&c->connections_open);
		out->connections_total += counter_read(&c->connections_total);
		out->bytes_in += counter_read(&c->bytes_in);
		out->bytes_out += counter_read(&c->bytes_out);
	}
	out->connections_total += counter_read(&e->lost_count);
}

static void
copy_recent(struct edge *e, struct edge_status *out)
{
	uint64_t total;

	pthread_mutex_lock(&e->recent_lock);
	total = e->recent_total;
	while (out->recent_count < EDGE_RECENT_COUNT && total > 0)
		out->recent[out->recent_count++] =
		    e->recent[--total % EDGE_RECENT_COUNT];
	pthread_mutex_unlock(&e->recent_lock);
}

void
edge_status(struct edge *e, struct edge_status *out)
{
	struct journal_counts counts;

	*out = (struct edge_status){ 0 };
	atomic_store(&e->keep_recent, true);
	sum_counters(e, out);
	out->connections_limit = atomic_load(&e->open_limit);
	journal_counts(e->journal, &counts);
	out->events_written = counts.written;
	out->events_dropped = counts.dropped;
	copy_recent(e, out);
}
