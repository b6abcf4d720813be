#include "policy/simulation.h"

#include <errno.h>
#include <stdlib.h>

#include "base/hash.h"

/* The wall limit of a run, as the configuration has it by default. */
#define WALL_LIMIT_MS 10000

/* ---- pools ---- */

struct simulated_member {
	char address[UPSTREAM_ADDRESS_SIZE];
	unsigned weight;
};

struct simulated_pool {
	struct simulator *simulator;
	bool by_hash;
	uint64_t turn;
	size_t count;
	struct simulated_member members[];
};

static bool
is_balance(const char *word)
{
	static const char *const words[] = { "round_robin", "least_connections",
		"random_two", "hash" };

	for (size_t i = 0; i < ARRAY_COUNT(words); i++)
		if (!strcmp(word, words[i]))
			return true;
	return false;
}

static int
read_member(struct simulated_member *m, struct span address, unsigned weight,
    struct text *error)
{
	struct upstream_address parsed;
	const char *why = NULL;

	if (upstream_address_parse(address, &parsed, &why) < 0) {
		text_add(error, "'");
		text_add_escaped(error, address, 80);
		text_addf(error, "': %s", why);
		return -EINVAL;
	}
	memcpy(m->address, parsed.text, sizeof(m->address));
	m->weight = weight;
	return 0;
}

static void *
pool_open(void *host_data, const struct policy_pool_settings *settings,
    struct text *error)
{
	struct simulated_pool *p;

	if (!is_balance(settings->balance)) {
		text_add(error, "unknown balance '");
		text_add_escaped(error, span_text(settings->balance), 40);
		text_add(error, "'");
		return NULL;
	}
	p = calloc(
	    1, sizeof(*p) + settings->count * sizeof(struct simulated_member));
	if (p == NULL) {
		text_add(error, "no memory");
		return NULL;
	}
	p->simulator = host_data;
	p->by_hash = !strcmp(settings->balance, "hash");
	p->count = settings->count;
	for (size_t i = 0; i < p->count; i++) {
		if (read_member(&p->members[i], settings->addresses[i],
			settings->weights[i], error) < 0) {
			free(p);
			return NULL;
		}
	}
	return p;
}

static void
pool_close(void *host_data, void *pool)
{
	(void)host_data;
	free(pool);
}

static bool
is_down(const struct simulation *s, const char *address)
{
	for (size_t i = 0; s != NULL && i < s->down_count; i++)
		if (!strcmp(s->down[i], address))
			return true;
	return false;
}

/* The member that has the n-th share of those that are up. */
static const struct simulated_member *
member_at(const struct simulated_pool *p, uint64_t n, unsigned *total)
{
	*total = 0;
	for (size_t i = 0; i < p->count; i++) {
		const struct simulated_member *m = &p->members[i];

		if (is_down(p->simulator->current, m->address))
			continue;
		*total += m->weight;
		if (n < *total)
			return m;
	}
	return NULL;
}

static uint64_t
pool_turn(struct simulated_pool *p, const struct addr *client, struct span key)
{
	char ip[ADDR_TEXT_SIZE];

	if (!p->by_hash)
		return p->turn++;
	addr_format_ip(client, ip);
	return hash_stable(key.len > 0 ? key : span_text(ip));
}

static bool
pool_pick(void *pool, const struct addr *client, struct span key,
    char out[UPSTREAM_ADDRESS_SIZE])
{
	const struct simulated_member *m;
	struct simulated_pool *p = pool;
	unsigned total;

	member_at(p, UINT64_MAX, &total);
	if (total == 0)
		return false;
	m = member_at(p, pool_turn(p, client, key) % total, &total);
	memcpy(out, m->address, UPSTREAM_ADDRESS_SIZE);
	return true;
}

/* ---- the connection ---- */

static struct simulation *
simulation_of(struct policy_conn *c)
{
	return CONTAINER_OF(c, struct simulation, conn);
}

static const struct hello *
get_hello(struct policy_conn *c)
{
	return &simulation_of(c)->hello;
}

static bool
get_endpoint(struct policy_conn *c, struct policy_endpoint *out)
{
	struct simulation *s = simulation_of(c);

	*out = s->endpoint;
	return s->has_endpoint;
}

static bool
knows_endpoint(struct policy_conn *c, struct span url)
{
	struct simulation *s = simulation_of(c);
	struct host parsed;

	if (s->any_endpoint)
		return host_parse_url(url, &parsed, NULL) == 0;
	for (size_t i = 0; i < s->endpoint_count; i++)
		if (span_is(url, s->endpoints[i]))
			return true;
	return false;
}

static void
add_log(struct policy_conn *c, struct span json)
{
	struct simulation *s = simulation_of(c);

	text_add_span(&s->logs, json);
	text_add(&s->logs, "\n");
}

static int
add_track(struct policy_conn *c, struct span key)
{
	struct simulation *s = simulation_of(c);

	if (s->tracked.size - s->tracked.len < key.len + 2)
		return -E2BIG;
	text_add_span(&s->tracked, key);
	text_add(&s->tracked, "\n");
	return 0;
}

static const char *
find_pair(const struct simulated_pair *pairs, size_t count, struct span name)
{
	for (size_t i = 0; i < count; i++)
		if (span_is(name, pairs[i].name))
			return pairs[i].value;
	return NULL;
}

static uint32_t
get_active(void *host_data, struct span key)
{
	const struct simulation *s = ((struct simulator *)host_data)->current;
	const char *count =
	    s ? find_pair(s->active, s->active_count, key) : NULL;

	return count ? (uint32_t)strtoul(count, NULL, 10) : 0;
}

static bool
get_geo(void *host_data, const struct addr *client, const char *name, char *out,
    size_t size)
{
	const struct simulation *s = ((struct simulator *)host_data)->current;
	const char *value;
	struct text t;

	(void)client;
	value = s ? find_pair(s->geo, s->geo_count, span_text(name)) : NULL;
	if (value == NULL)
		return false;
	text_init(&t, out, size);
	text_add(&t, value);
	return !t.truncated;
}

const struct policy_host *
simulation_host(void)
{
	static const struct policy_host host = {
		.hello = get_hello,
		.endpoint = get_endpoint,
		.knows_endpoint = knows_endpoint,
		.knows_certificate = simulation_knows_certificate,
		.tls = simulation_tls,
		.peer = simulation_peer,
		.log = add_log,
		.track = add_track,
		.active = get_active,
		.pool_open = pool_open,
		.pool_close = pool_close,
		.pool_pick = pool_pick,
		.geo = get_geo,
	};

	return &host;
}

/* ---- a run ---- */

static const struct resolver_answer *
find_answer(const struct simulation *s, const struct host *name)
{
	static const struct resolver_answer none = { .error = -ENOENT };

	for (size_t i = 0; i < s->answer_count; i++)
		if (span_is(host_span(name), s->answers[i].name))
			return &s->answers[i].answer;
	return &none;
}

/* False where the engine would end the run: when the wall limit is met, and
 * when the handshake fails. */
static bool
go_on(struct simulation *s, struct policy_run *run)
{
	const struct policy_outcome *o = policy_outcome(run);

	if (o->wait == POLICY_WAIT_RESOLVE) {
		policy_resume(run, find_answer(s, &o->resolve_name));
		return true;
	}
	if (o->wait == POLICY_WAIT_TERMINATE) {
		if (!simulation_terminate(s, &o->termination))
			return false;
		policy_resume(run, NULL);
		return true;
	}
	s->waited_ms += o->sleep_ms;
	s->waited_too_long = s->waited_ms > WALL_LIMIT_MS;
	if (!s->waited_too_long)
		policy_resume(run, NULL);
	return !s->waited_too_long;
}

static void
take_outcome(struct simulation *s, struct policy_run *run)
{
	struct policy_outcome *o = policy_outcome(run);

	s->outcome = *o;
	s->outcome.termination = (struct decision_termination){ .auth = -1 };
	if (o->state == POLICY_DECIDED)
		decision_init(&o->decision);
	else
		decision_init(&s->outcome.decision);
}

void
simulation_run(struct simulator *simulator, struct policy *p,
    struct simulation *s, const struct policy_failure *failure)
{
	struct policy_run *run;

	simulator->current = s;
	run = policy_start(p, 0, &s->conn, failure);
	if (run == NULL) {
		s->outcome.state = POLICY_FAILED;
		s->outcome.fault = POLICY_FAULT_MEMORY;
		decision_init(&s->outcome.decision);
	} else {
		while (policy_outcome(run)->state == POLICY_WAITING &&
		       go_on(s, run))
			;
		take_outcome(s, run);
		policy_finish(run);
	}
	simulator->current = NULL;
}
