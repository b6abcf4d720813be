/*
 * Where the connection goes and whether it may: the name's endpoint and its
 * ip_restriction, the edge's script, the endpoint's script, and the restriction
 * again if a script chose another endpoint. Whatever fails denies.
 */
#include "engine/stage.h"

#include <stdlib.h>

#include "base/json.h"
#include "engine/edge_private.h"
#include "engine/policy_host.h"
#include "engine/terminate.h"
#include "engine/worker.h"

static const struct snapshot *
settings_of(const struct conn *c)
{
	return c->setup->generation->snapshot;
}

/* An outsider must not learn which names exist, if the operator says so. */
static uint8_t
denial_alert(const struct conn *c, uint8_t alert)
{
	return settings_of(c)->hide_names ? ALERT_UNRECOGNIZED_NAME : alert;
}

static void
take_endpoint(struct conn *c, struct endpoint *e)
{
	if (c->endpoint == e)
		return;
	if (c->endpoint)
		endpoint_put(c->endpoint);
	c->endpoint = e ? endpoint_get(e) : NULL;
}

/* The endpoint's ip_restriction; once for each endpoint. */
static bool
admit(struct conn *c)
{
	struct endpoint *e = c->endpoint;

	if (!e || c->setup->admitted == e)
		return true;
	if (e->allow || e->deny)
		c->restricted = true;
	if (!endpoint_allows(e, &c->facts.client)) {
		c->ip_denied = true;
		conn_refuse(c, REASON_DENIED_IP,
		    denial_alert(c, ALERT_ACCESS_DENIED), NULL);
		return false;
	}
	c->setup->admitted = e;
	return true;
}

/*
 * The endpoint of a name: what is configured under this very name goes before
 * what an agent has bound, a longer pattern before a shorter one, and the
 * default comes last. What came through a tunnel has its endpoint already.
 */
static void
find_endpoint(struct conn *c)
{
	const struct snapshot *settings = settings_of(c);
	struct span name = host_span(&c->setup->name);
	struct endpoint *bound;

	if (c->passage) {
		take_endpoint(c, c->passage->endpoint);
		return;
	}
	take_endpoint(c, snapshot_route(settings, name));
	bound = registry_find(c->worker->edge->registry, name);
	if (bound && endpoint_goes_before(
			 bound, c->endpoint, settings->default_endpoint, name))
		take_endpoint(c, bound);
	endpoint_put(bound);
}

static enum step
route(struct conn *c)
{
	struct setup *s = c->setup;
	const struct snapshot *settings = settings_of(c);

	s->routed = true;
	find_endpoint(c);
	if (c->policy)
		conn_set_deadline(c, settings->policy.wall_ms);
	return admit(c) ? STEP_AGAIN : STEP_CLOSE;
}

static const struct {
	enum reason reason;
} faults[] = {
	[POLICY_FAULT_ERROR] = { REASON_POLICY_ERROR },
	[POLICY_FAULT_TIMEOUT] = { REASON_POLICY_TIMEOUT },
	[POLICY_FAULT_MEMORY] = { REASON_POLICY_MEMORY },
	[POLICY_FAULT_LIMIT] = { REASON_LIMIT },
};

/* Keeps the reason where the event finds it. Without one there is nothing to
 * keep, and an idle connection stays small. */
static void
note_decision(struct conn *c, const char *reason, int line)
{
	struct record *r = reason || c->record ? conn_record(c) : NULL;

	c->decision_line = line;
	if (!r)
		return;
	free(r->reason);
	r->reason = reason ? strdup(reason) : NULL;
}

static enum step
fail(struct conn *c, const struct policy_outcome *o)
{
	note_decision(c, o->message, o->line);
	conn_deny(c, faults[o->fault].reason, NULL);
	return STEP_CLOSE;
}

static enum step
deny(struct conn *c, const struct decision *d)
{
	uint8_t alert = denial_alert(c, d->alert);

	c->denied = true;
	switch (d->close) {
	case DENY_ALERT:
		conn_refuse(c, REASON_DENIED_POLICY, alert, NULL);
		break;
	case DENY_CLOSE:
		conn_close(c, REASON_DENIED_POLICY, CLOSE_LINGER, NULL);
		break;
	case DENY_RESET:
		conn_close(c, REASON_DENIED_POLICY, CLOSE_RESET, NULL);
		break;
	case DENY_TARPIT:
		conn_set_deadline(c, settings_of(c)->timeouts.hello_ms);
		conn_close(c, REASON_DENIED_POLICY, CLOSE_TARPIT, NULL);
		break;
	}
	return STEP_CLOSE;
}

static bool
has_tag(const struct decision *d, const char *name)
{
	for (size_t i = 0; i < d->tag_count; i++)
		if (strcmp(d->tags[i].name, name) == 0)
			return true;
	return false;
}

/* The endpoint's script adds to what the edge's has said, and has the last word
 * on a name that both use. */
static void
add_tags(const struct setup *s, struct json *json)
{
	const struct decision *edge = &s->decisions[SCRIPT_EDGE];
	const struct decision *own = &s->decisions[SCRIPT_ENDPOINT];

	for (size_t i = 0; i < edge->tag_count; i++)
		if (!has_tag(own, edge->tags[i].name))
			json_text(
			    json, edge->tags[i].name, edge->tags[i].value);
	for (size_t i = 0; i < own->tag_count; i++)
		json_text(json, own->tags[i].name, own->tags[i].value);
}

static void
record_tags(struct conn *c, const struct decision *d)
{
	struct record *r = d->tag_count > 0 ? conn_record(c) : NULL;
	char members[8192];
	struct text text;
	struct json json;

	if (!r)
		return;
	text_init(&text, members, sizeof(members));
	json_init(&json, &text);
	add_tags(c->setup, &json);
	if (text.truncated) {
		LOG_LIMITED(LOG_LEVEL_WARN,
		    "tags over 8 KiB are left out of the event",
		    LOG_TEXT("id", c->facts.id));
		return;
	}
	free(r->tags);
	r->tags = strdup(members);
}

/* Agents may have gone while the script ran: then there is none. */
static void
choose_endpoint(struct conn *c, struct span url)
{
	struct endpoint *e = snapshot_endpoint(settings_of(c), url);
	struct endpoint *bound = NULL;
	struct host domain;

	if (!e && host_parse_url(url, &domain, NULL) == 0)
		bound = registry_get(c->worker->edge->registry, &domain);
	take_endpoint(c, e ? e : bound);
	endpoint_put(bound);
}

/*
 * The edge's script has sent the connection to an endpoint: that one's script
 * is asked, also if a retry has led there and another's was asked before.
 */
static void
redirect(struct conn *c, const char *url)
{
	struct setup *s = c->setup;
	struct endpoint *before = c->endpoint;

	choose_endpoint(c, span_text(url));
	if (s->script != SCRIPT_EDGE || c->endpoint == before)
		return;
	decision_fini(&s->decisions[SCRIPT_ENDPOINT]);
	s->asked[SCRIPT_ENDPOINT] = s->retrying = false;
}

static enum step
take_decision(struct conn *c, struct policy_outcome *o)
{
	struct setup *s = c->setup;
	struct decision *d = &s->decisions[s->script];

	decision_fini(d);
	*d = o->decision;
	decision_init(&o->decision);
	note_decision(c, d->reason, d->line);
	record_tags(c, d);
	if (!d->allow)
		return deny(c, d);
	if (d->endpoint)
		redirect(c, d->endpoint);
	return STEP_AGAIN;
}

/* A script waits in the middle for the client's handshake. */
static enum step
wait_for_script(struct conn *c)
{
	enum step step;

	if (!policy_host_terminates(c))
		return STEP_WAIT;
	step = terminate_step(c);
	if (step == STEP_CLOSE)
		policy_host_cancel(c);
	if (step != STEP_NEXT)
		return step;
	policy_host_terminated(c);
	return c->reason == REASON_NONE ? STEP_AGAIN : STEP_CLOSE;
}

static enum step
take_outcome(struct conn *c)
{
	struct setup *s = c->setup;
	struct policy_outcome *o = policy_outcome(s->run);
	enum step step = STEP_AGAIN;

	switch (o->state) {
	case POLICY_WAITING:
		return wait_for_script(c);
	case POLICY_FAILED:
		return fail(c, o);
	case POLICY_DECIDED:
		if (o->decided)
			step = take_decision(c, o);
		else if (s->retrying)
			s->dial.given_up = true;
		break;
	}
	policy_finish(s->run);
	s->run = NULL;
	return step;
}

static enum step
ask(struct conn *c, enum script_of which)
{
	c->setup->asked[which] = true;
	if (policy_host_script(c, which) < 0)
		return STEP_AGAIN;
	return policy_host_start(c, which, NULL) ? STEP_AGAIN : STEP_CLOSE;
}

static bool
has_upstream(const struct setup *s)
{
	return s->decisions[SCRIPT_EDGE].upstream ||
	       s->decisions[SCRIPT_ENDPOINT].upstream;
}

static enum step
conclude(struct conn *c)
{
	struct setup *s = c->setup;

	if (!admit(c))
		return STEP_CLOSE;
	if (!c->endpoint && !has_upstream(s)) {
		conn_refuse(c, REASON_UNKNOWN_NAME, ALERT_UNRECOGNIZED_NAME,
		    s->name.len > 0 ? NULL : "no server name");
		return STEP_CLOSE;
	}
	if (!terminate_suits(c)) {
		conn_deny(c, REASON_POLICY_ERROR,
		    "endpoint: its mutual_tls is not what was asked for");
		return STEP_CLOSE;
	}
	if (terminate_is_missed(c)) {
		conn_deny(c, REASON_POLICY_ERROR,
		    "mutual_tls or another rule for TLS, but it passes "
		    "through");
		return STEP_CLOSE;
	}
	s->retrying = false;
	conn_note_time(c, TIMING_POLICY);
	return STEP_NEXT;
}

enum step
stage_policy(struct conn *c)
{
	struct setup *s = c->setup;

	if (!s->routed)
		return route(c);
	if (s->run)
		return take_outcome(c);
	if (!s->asked[SCRIPT_EDGE])
		return ask(c, SCRIPT_EDGE);
	if (!s->asked[SCRIPT_ENDPOINT])
		return ask(c, SCRIPT_ENDPOINT);
	return conclude(c);
}
