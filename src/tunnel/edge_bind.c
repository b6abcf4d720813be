#include "tunnel/edge_bind.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tunnel/edge_calls.h"
#include "tunnel/edge_events.h"
#include "tunnel/edge_offer.h"
#include "tunnel/edge_private.h"
#include "tunnel/edge_session.h"

/* That even one random name of so many is taken will not happen. */
#define MAX_COLLISIONS 64

static struct registry *
registry_of(const struct edge_session *es)
{
	return edge_registry(es->tw->worker->edge);
}

/* --- ids --- */

static struct edge_bind *
find_bind(const struct edge_session *es, const char *id)
{
	LIST_FOREACH (node, &es->binds) {
		struct edge_bind *b = LIST_ENTRY(node, struct edge_bind, node);

		if (strcmp(b->uplink.endpoint_id, id) == 0)
			return b;
	}
	return NULL;
}

static struct edge_labelled *
find_labelled(const struct edge_session *es, const char *id)
{
	LIST_FOREACH (node, &es->labelled) {
		struct edge_labelled *l =
		    LIST_ENTRY(node, struct edge_labelled, node);

		if (strcmp(l->id, id) == 0)
			return l;
	}
	return NULL;
}

static bool
is_good_id(const char *id)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_-.";
	size_t len = strlen(id);

	return len > 0 && len <= DATA_ENDPOINT_MAX_BYTES &&
	       strspn(id, allowed) == len;
}

/* An agent that binds again has its id from us and keeps it. */
static void
choose_id(struct edge_session *es, const char *asked,
    char out[DATA_ENDPOINT_MAX_BYTES + 1])
{
	char made[32];

	if (is_good_id(asked) && !find_bind(es, asked) &&
	    !find_labelled(es, asked)) {
		memcpy(out, asked, strlen(asked) + 1);
		return;
	}
	worker_make_id(es->tw->worker, "bd_", made);
	memcpy(out, made, strlen(made) + 1);
}

/* --- binding --- */

static void
free_bind(struct uplink *u)
{
	struct edge_bind *b = CONTAINER_OF(u, struct edge_bind, uplink);

	edge_session_put(b->session);
	free(b);
}

static struct edge_bind *
new_bind(struct edge_session *es, const char *id)
{
	struct edge_bind *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->uplink = (struct uplink){
		.free = free_bind,
		.on_call = edge_on_call,
		.mailbox = &es->tw->worker->mailbox,
		.agent = es->peer,
		.is_lunette = session_is_lunette(es->session),
		.cut_for = &es->cut_for,
		.in_doubt = &es->in_doubt,
	};
	atomic_init(&b->uplink.refs, 1);
	memcpy(b->uplink.session_id, es->id, sizeof(es->id));
	choose_id(es, id, b->uplink.endpoint_id);
	b->session = edge_session_get(es);
	list_init(&b->node);
	return b;
}

static void
enter(struct edge_session *es, struct edge_bind *b, bool first)
{
	list_append(&es->binds, &b->node);
	es->bind_count++;
	LOG_INFO("an endpoint is bound", LOG_TEXT("url", b->endpoint->url),
	    LOG_TEXT("session", es->id),
	    LOG_TEXT("credential", credential_name(es->credential)),
	    LOG_TEXT(
		"terminate_at", terminate_at_name(b->endpoint->terminate_at)));
	if (first)
		edge_event_endpoint(es, b->endpoint, true);
}

static int
refuse(struct edge_refusal *why, enum ngrok_error e, const char *subject)
{
	edge_refuse(why, e, span_text(subject));
	return -1;
}

static int
refuse_result(
    struct edge_refusal *why, enum bind_result result, const char *url)
{
	char number[32];
	struct text text;

	switch (result) {
	case BIND_TAKEN:
	case BIND_DIFFERS:
		return refuse(why, NGROK_NAME_TAKEN, url);
	case BIND_FULL:
		text_init(&text, number, sizeof(number));
		text_add_number(&text, POOL_MAX_UPLINKS);
		return refuse(why, NGROK_POOL_LIMIT, number);
	default:
		return refuse(why, NGROK_NO_MEMORY, NULL);
	}
}

/* Takes the endpoint. */
static struct edge_bind *
bind_endpoint(struct edge_session *es, const struct bind *request,
    struct endpoint *e, struct edge_refusal *why)
{
	struct edge_bind *b = new_bind(es, request->id);
	enum bind_result result = BIND_NO_MEMORY;

	if (b)
		result = registry_bind(
		    registry_of(es), e, es->owner, &b->uplink, &b->endpoint);
	if (result != BIND_FIRST && result != BIND_JOINED) {
		(void)refuse_result(why, result, e->url);
		if (b)
			uplink_put(&b->uplink);
		endpoint_put(e);
		return NULL;
	}
	endpoint_put(e);
	enter(es, b, result == BIND_FIRST);
	return b;
}

static struct edge_bind *
bind_name(struct edge_session *es, const struct bind *request,
    const struct host *name, struct edge_refusal *why)
{
	struct endpoint *e =
	    edge_offer_endpoint(es->tw->worker->generation, request, name, why);

	return e ? bind_endpoint(es, request, e, why) : NULL;
}

static bool
is_free(const struct edge_session *es, const struct host *name)
{
	const struct snapshot *s = edge_session_settings(es);
	struct endpoint *there;

	if (edge_name_is_reserved(s, host_span(name)) ||
	    routes_get(s->routes, name))
		return false;
	there = registry_get(registry_of(es), name);
	endpoint_put(there);
	return !there;
}

/* The same client gets the same ones in the same order, but for those that it
 * has already. */
static int
random_name(
    struct edge_session *es, struct host *name, struct edge_refusal *why)
{
	const struct snapshot *s = edge_session_settings(es);

	for (uint32_t i = 0; i < MAX_COLLISIONS; i++) {
		int error = names_random(atomic_load(&es->tunnel->names),
		    es->owner, es->client_id, es->random_count, i,
		    &s->base_domain, name);

		if (error == -ENOMEM)
			return refuse(why, NGROK_NO_MEMORY, NULL);
		if (error < 0)
			return refuse(
			    why, NGROK_NAME_INVALID, "it is too long");
		if (is_free(es, name))
			return 0;
	}
	return refuse(why, NGROK_NAME_TAKEN, name->text);
}

static int
check_limit(const struct edge_session *es, struct edge_refusal *why)
{
	uint64_t limit =
	    edge_session_settings(es)->agents.endpoints_per_session;
	char number[32];
	struct text text;

	if (limit == 0 || es->bind_count < limit)
		return 0;
	text_init(&text, number, sizeof(number));
	text_add_number(&text, limit);
	return refuse(why, NGROK_ENDPOINT_LIMIT, number);
}

static int
check_draining(const struct edge_session *es, struct edge_refusal *why)
{
	return es->tw->draining ? refuse(why, NGROK_DRAINING, NULL) : 0;
}

/* The endpoint that is bound, or NULL and why not. */
static struct edge_bind *
bind_request(struct edge_session *es, const struct bind *request,
    struct edge_refusal *why)
{
	struct host name;
	struct edge_bind *b;
	bool is_new;

	if (check_draining(es, why) < 0 || check_limit(es, why) < 0 ||
	    edge_offer_check(request, why) < 0 ||
	    edge_offer_name(es, request, &name, why) < 0)
		return NULL;
	is_new = name.len == 0;
	if (is_new && random_name(es, &name, why) < 0)
		return NULL;
	b = bind_name(es, request, &name, why);
	if (!b)
		return NULL;
	b->is_random = is_new || edge_name_was_given(es, request, &name);
	es->random_count += is_new;
	return b;
}

static void
log_refusal(struct edge_session *es, char *text)
{
	char *end = strchr(text, '\n');

	EDGE_COUNT(es->tunnel, binds_refused);
	if (end)
		*end = '\0';
	LOG_LIMITED(LOG_LEVEL_WARN, "an endpoint is refused",
	    LOG_TEXT("session", es->id),
	    LOG_TEXT("credential", credential_name(es->credential)),
	    LOG_TEXT("error", text));
}

static void
answer_refused(
    struct edge_session *es, uint32_t id, const struct edge_refusal *why)
{
	char text[NGROK_ERROR_SIZE];
	struct bind_response r = {
		.error = edge_error(text, why->error, why->subject),
	};
	struct span answer;

	edge_session_answer(es, id, bind_response_write(&r, &answer), &answer);
	log_refusal(es, text);
}

static void
answer_bound(struct edge_session *es, uint32_t id, const struct bind *request,
    const struct edge_bind *b)
{
	const struct endpoint *e = b->endpoint;
	char token[BIND_TOKEN_SIZE];
	struct bind_response r = {
		.id = message_lend(b->uplink.endpoint_id),
		.url = e->url,
		.proto = message_lend("tls"),
		.error = message_lend(""),
		.options = request->options,
		.token = token,
	};
	int written = names_bind_token(
	    atomic_load(&es->tunnel->names), es->owner, &e->domain, token);
	struct span answer;

	r.options.url = e->url;
	r.options.hostname = message_lend(e->domain.text);
	r.options.terminate_at =
	    message_lend(terminate_at_name(e->terminate_at));
	if (written == 0)
		written = b->uplink.is_lunette
			      ? bind_response_write(&r, &answer)
			      : bind_response_write_whole(&r, &answer);
	edge_session_answer(es, id, written, &answer);
}

void
edge_on_bind(struct edge_session *es, uint32_t id, struct span json)
{
	char storage[MESSAGE_ERROR_SIZE];
	struct edge_refusal why;
	struct edge_bind *b = NULL;
	struct text error;
	struct bind request;
	int read;

	text_init(&error, storage, sizeof(storage));
	read = bind_read(json, &request, &error);
	if (read == -ENOMEM)
		edge_refuse(&why, NGROK_NO_MEMORY, span_text(""));
	else if (read < 0)
		edge_refuse(&why, NGROK_BIND_INVALID, text_span(&error));
	else
		b = bind_request(es, &request, &why);
	if (b)
		answer_bound(es, id, &request, b);
	else
		answer_refused(es, id, &why);
	bind_fini(&request);
}

/* --- unbinding --- */

static void
unbind(struct edge_session *es, struct edge_bind *b)
{
	list_remove(&b->node);
	es->bind_count--;
	atomic_store(&b->uplink.gone, true);
	if (registry_unbind(registry_of(es), b->endpoint, &b->uplink))
		edge_event_endpoint(es, b->endpoint, false);
	endpoint_put(b->endpoint);
	b->endpoint = NULL;
	uplink_put(&b->uplink);
}

static void
drop_labelled(struct edge_session *es, struct edge_labelled *l)
{
	struct start_labelled owned = {
		.labels = l->labels,
		.forwards_to = l->forwards_to,
		.metadata = l->metadata,
	};

	edge_event_labelled(es, l, false);
	list_remove(&l->node);
	es->bind_count--;
	start_labelled_fini(&owned);
	free(l);
}

void
edge_unbind_all(struct edge_session *es)
{
	while (!list_empty(&es->binds))
		unbind(es, LIST_ENTRY(es->binds.next, struct edge_bind, node));
	while (!list_empty(&es->labelled))
		drop_labelled(es,
		    LIST_ENTRY(es->labelled.next, struct edge_labelled, node));
}

/* SDKs unbind the same id several times and take an error badly. */
void
edge_on_unbind(struct edge_session *es, uint32_t id, struct span json)
{
	char storage[MESSAGE_ERROR_SIZE];
	struct error_response r = { .error = message_lend("") };
	struct edge_labelled *l;
	struct edge_bind *b;
	struct span answer;
	struct text error;
	struct unbind u;

	text_init(&error, storage, sizeof(storage));
	if (unbind_read(json, &u, &error) == 0) {
		b = find_bind(es, u.id);
		l = find_labelled(es, u.id);
		if (b)
			unbind(es, b);
		if (l)
			drop_labelled(es, l);
	} else {
		r.error = storage;
	}
	unbind_fini(&u);
	edge_session_answer(es, id, error_response_write(&r, &answer), &answer);
}

static void
ignore_reply(
    struct session *s, void *owner, enum session_reply reply, struct span json)
{
	(void)s;
	(void)owner;
	(void)reply;
	(void)json;
}

static void
tell_stopped(struct edge_session *es, const char *id, enum ngrok_error why,
    const char *subject)
{
	char code[32], text[NGROK_ERROR_SIZE];
	struct stop_tunnel stop = {
		.id = message_lend(id),
		.message = edge_error(text, why, subject),
		.error_code = code,
	};
	struct span json;

	snprintf(code, sizeof(code), "ERR_NGROK_%u", ngrok_error_number(why));
	LOG_WARN("an endpoint is no longer allowed", LOG_TEXT("name", subject),
	    LOG_TEXT("credential", credential_name(es->credential)));
	if (stop_tunnel_write(&stop, &json) < 0)
		return;
	(void)!session_request(
	    es->session, MESSAGE_STOP_TUNNEL, json, ignore_reply, NULL);
	message_wipe(&json);
}

static void
unbind_forbidden_names(struct edge_session *es)
{
	LIST_FOREACH_SAFE (node, &es->binds) {
		struct edge_bind *b = LIST_ENTRY(node, struct edge_bind, node);
		const struct host *name = &b->endpoint->domain;

		if (b->is_random || credential_may_bind(es->credential, name))
			continue;
		tell_stopped(
		    es, b->uplink.endpoint_id, NGROK_ACL_NAME, name->text);
		unbind(es, b);
	}
}

/* --- labels --- */

#define LABEL_TEXT_SIZE 256

/* False: all are allowed. Else `out` is the first that is not. */
static bool
find_forbidden_label(const struct edge_session *es,
    const struct message_labels *labels, char out[LABEL_TEXT_SIZE])
{
	struct text text;

	for (size_t i = 0; i < labels->count; i++) {
		const struct message_label *l = &labels->items[i];

		if (credential_may_label(es->credential, l->name, l->value))
			continue;
		text_init(&text, out, LABEL_TEXT_SIZE);
		text_addf(&text, "%.100s=%.100s", l->name, l->value);
		return true;
	}
	return false;
}

static void
drop_forbidden_labels(struct edge_session *es)
{
	char label[LABEL_TEXT_SIZE];

	LIST_FOREACH_SAFE (node, &es->labelled) {
		struct edge_labelled *l =
		    LIST_ENTRY(node, struct edge_labelled, node);

		if (!find_forbidden_label(es, &l->labels, label))
			continue;
		tell_stopped(es, l->id, NGROK_ACL_LABEL, label);
		drop_labelled(es, l);
	}
}

void
edge_unbind_forbidden(struct edge_session *es)
{
	unbind_forbidden_names(es);
	drop_forbidden_labels(es);
}

static int
judge_labels(const struct edge_session *es, const struct start_labelled *s,
    struct edge_refusal *why)
{
	char label[LABEL_TEXT_SIZE];

	if (s->labels.count == 0)
		return refuse(why, NGROK_NO_LABELS, NULL);
	if (find_forbidden_label(es, &s->labels, label))
		return refuse(why, NGROK_ACL_LABEL, label);
	return check_limit(es, why);
}

/* Takes the labels out of the request. */
static struct edge_labelled *
keep_labelled(struct edge_session *es, struct start_labelled *s)
{
	struct edge_labelled *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	choose_id(es, "", l->id);
	l->labels = s->labels;
	l->forwards_to = s->forwards_to;
	l->metadata = s->metadata;
	s->labels = (struct message_labels){ 0 };
	s->forwards_to = s->metadata = NULL;
	list_append(&es->labelled, &l->node);
	es->bind_count++;
	edge_event_labelled(es, l, true);
	return l;
}

void
edge_on_labelled(struct edge_session *es, uint32_t id, struct span json)
{
	char storage[MESSAGE_ERROR_SIZE], text[NGROK_ERROR_SIZE];
	struct start_labelled_response r = { .id = message_lend(""),
		.error = message_lend("") };
	struct edge_labelled *l = NULL;
	struct edge_refusal why;
	struct start_labelled s;
	struct span answer;
	struct text error;

	text_init(&error, storage, sizeof(storage));
	edge_refuse(&why, NGROK_NO_MEMORY, span_text(""));
	if (start_labelled_read(json, &s, &error) < 0)
		edge_refuse(&why, NGROK_BIND_INVALID, text_span(&error));
	else if (judge_labels(es, &s, &why) == 0)
		l = keep_labelled(es, &s);
	start_labelled_fini(&s);
	if (l)
		r.id = l->id;
	else
		r.error = edge_error(text, why.error, why.subject);
	edge_session_answer(
	    es, id, start_labelled_response_write(&r, &answer), &answer);
	if (!l)
		log_refusal(es, text);
}
