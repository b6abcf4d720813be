/*
 * Offers: the agent's endpoints as they stand with one session. What the edge
 * was asked is kept as text: a reload that changes nothing of it leaves the
 * endpoint online.
 */
#include "tunnel/agent_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "tls/secret.h"
#include "tunnel/message.h"

#define RETRY_FIRST_MS 1000
#define RETRY_MAX_MS 30000

/* For people: what the status shows of the endpoint with this index. */
static void
note(const struct offer *o, const char *url, const char *error, bool online)
{
	struct agent *a = o->session->link->at->agent;
	struct agent_endpoint_status *st;
	struct text t;

	pthread_mutex_lock(&a->lock);
	if (o->endpoint->index < a->endpoint_count) {
		st = &a->endpoints[o->endpoint->index];
		text_init(&t, st->error, sizeof(st->error));
		text_add(&t, error);
		if (url[0]) {
			text_init(&t, st->url, sizeof(st->url));
			text_add(&t, url);
		}
		st->online = online;
	}
	pthread_mutex_unlock(&a->lock);
}

/* --- what is asked --- */

struct request {
	struct bind bind;
	struct message_texts allow, deny; /* owned, as texts */
	struct span crt, key, cas;	  /* from files; owned */
};

static void
texts_fini(struct message_texts *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->items[i]);
	free(t->items);
}

static bool
add_network(const struct network *net, void *arg)
{
	struct message_texts *t = arg;
	char ip[ADDR_TEXT_SIZE];

	addr_format_ip(&net->base, ip);
	if (asprintf(&t->items[t->count], "%s/%u", ip, net->prefix) < 0)
		return false;
	t->count++;
	return true;
}

static bool
list_networks(const struct netset *set, struct message_texts *out)
{
	if (!set)
		return true;
	out->items = calloc(netset_count(set) + 1, sizeof(*out->items));
	return out->items && netset_walk(set, add_network, out);
}

static void
request_fini(struct request *r)
{
	struct span *files[] = { &r->crt, &r->key, &r->cas };

	for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
		if (files[i]->data)
			wipe((void *)(uintptr_t)files[i]->data, files[i]->len);
		free((void *)(uintptr_t)files[i]->data);
	}
	texts_fini(&r->allow);
	texts_fini(&r->deny);
}

static int
read_file(const char *path, struct span *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint8_t *data = NULL;
	ssize_t n = -1;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) == 0 && st.st_size <= MESSAGE_PEM_MAX)
		data = malloc((size_t)st.st_size + 1);
	if (data)
		n = read(fd, data, (size_t)st.st_size);
	close(fd);
	if (n < 0) {
		free(data);
		return -EIO;
	}
	*out = span_of(data, (size_t)n);
	return 0;
}

/* The edge takes one bundle. Lists of revoked certificates stay behind: the
 * settings have refused them. */
static int
read_cas(const struct trust *t, struct span *out)
{
	struct span file;
	int error = 0;

	for (size_t i = 0; i < trust_file_count(t) && error == 0; i++) {
		uint8_t *joined;

		error = read_file(trust_file(t, i), &file);
		if (error < 0)
			break;
		joined = realloc(
		    (void *)(uintptr_t)out->data, out->len + file.len + 1);
		if (joined) {
			memcpy(joined + out->len, file.data, file.len);
			*out = span_of(joined, out->len + file.len);
		} else {
			error = -ENOMEM;
		}
		free((void *)(uintptr_t)file.data);
	}
	return error;
}

static struct message_bytes
lend_bytes(struct span s)
{
	return (struct message_bytes){ (uint8_t *)(uintptr_t)s.data, s.len };
}

/* Only what was said in so many words leaves this machine: terminate_at: edge
 * with a pair of its own. */
static int
add_termination(struct request *r, const struct endpoint *e)
{
	struct bind_options *o = &r->bind.options;
	int error = 0;

	o->mutual_tls_at_agent = e->terminate_at == TERMINATE_AGENT &&
				 e->termination.auth != CLIENT_AUTH_NONE;
	o->terminate_at = (char *)(uintptr_t)terminate_at_name(e->terminate_at);
	if (e->terminate_at != TERMINATE_EDGE)
		return 0;
	o->ends_at_edge = true;
	if (e->bind_crt)
		error = read_file(e->bind_crt, &r->crt);
	if (error == 0 && e->bind_key)
		error = read_file(e->bind_key, &r->key);
	if (error == 0 && e->termination.trust)
		error = read_cas(e->termination.trust, &r->cas);
	o->cert = lend_bytes(r->crt);
	o->key = lend_bytes(e->bind_key ? r->key : r->crt);
	o->has_mutual_tls_at_edge = e->termination.trust != NULL;
	o->mutual_tls_ca = lend_bytes(r->cas);
	return error;
}

static int
make_request(struct request *r, const struct endpoint *e, const char *token)
{
	struct bind_options *o = &r->bind.options;

	*r = (struct request){ 0 };
	r->bind.id = message_lend("");
	r->bind.proto = message_lend("tls");
	r->bind.forwards_to = message_lend(
	    e->upstream_count > 0 ? e->upstreams[0].address.text : "");
	r->bind.forwards_proto = message_lend("");
	r->bind.name = message_lend(e->name);
	r->bind.token = message_lend(token);
	r->bind.ip_policy_ref = r->bind.description = message_lend("");
	r->bind.metadata = message_lend(e->metadata);
	r->bind.pooling_enabled = e->pooling_enabled;
	o->url = message_lend(e->is_random ? "" : e->url);
	o->domain = message_lend(e->is_random ? "" : e->domain.text);
	o->hostname = o->subdomain = message_lend("");
	if (!list_networks(e->allow, &r->allow) ||
	    !list_networks(e->deny, &r->deny))
		return -ENOMEM;
	o->allow_cidrs = r->allow;
	o->deny_cidrs = r->deny;
	return add_termination(r, e);
}

/* The same request always has the same digest; the text itself may hold a key.
 */
static char *
digest_of(struct span json)
{
	char hex[SHA256_HEX_SIZE];

	return sha256_hex(json, hex) == 0 ? strdup(hex) : NULL;
}

/* --- asking --- */

static uint64_t
now_of(const struct offer *o)
{
	return o->session->link->at->worker->now_ms;
}

static void
refused(struct offer *o, const char *why)
{
	uint64_t pause = RETRY_MAX_MS;

	if (o->refusals < 5)
		pause = (uint64_t)RETRY_FIRST_MS << o->refusals;
	o->refusals++;
	o->state = BIND_REFUSED;
	o->again_ms = now_of(o) + pause / 2 + random_quick() % (pause / 2 + 1);
	LOG_ERROR("an endpoint is not online",
	    LOG_TEXT("edge", o->session->server_name.text),
	    LOG_TEXT("endpoint",
		o->endpoint->name ? o->endpoint->name : o->endpoint->url),
	    LOG_TEXT("error", why));
	note(o, "", why, false);
	link_plan(o->session->link);
}

static void
keep(char **where, const char *text)
{
	free(*where);
	*where = strdup(text);
}

static void
bound(struct offer *o, const struct bind_response *r)
{
	struct text id;

	text_init(&id, o->id, sizeof(o->id));
	text_add(&id, r->id);
	if (id.truncated || id.len == 0) {
		refused(o, "the edge's id for it is not well formed");
		return;
	}
	o->state = BIND_DONE;
	o->refusals = 0;
	keep(&o->url, r->url);
	keep(&o->token, r->token);
	LOG_INFO("an endpoint is online",
	    LOG_TEXT("edge", o->session->server_name.text),
	    LOG_TEXT("url", r->url),
	    LOG_TEXT("endpoint", o->endpoint->name ? o->endpoint->name : ""),
	    LOG_TEXT(
		"terminate_at", terminate_at_name(o->endpoint->terminate_at)));
	note(o, r->url, "", true);
}

/* The offer may have gone meanwhile: it is found again by its number. */
struct asked {
	struct agent_session *session;
	unsigned serial;
};

static struct offer *
find_asked(const struct asked *a)
{
	for (size_t i = 0; i < a->session->offer_count; i++)
		if (a->session->offers[i].serial == a->serial)
			return &a->session->offers[i];
	return NULL;
}

static void
on_bind_reply(struct session *session, void *owner, enum session_reply reply,
    struct span json)
{
	struct asked *a = owner;
	struct offer *o = find_asked(a);
	char storage[MESSAGE_ERROR_SIZE];
	struct bind_response response;
	struct text error;

	(void)session;
	free(a);
	text_init(&error, storage, sizeof(storage));
	if (!o || reply == SESSION_REPLY_ENDED)
		return;
	if (reply != SESSION_REPLY_OK) {
		refused(o, "the edge does not answer");
		return;
	}
	if (bind_response_read(json, &response, &error) < 0) {
		refused(o, error.data);
		return;
	}
	if (response.error && response.error[0])
		refused(o, response.error);
	else
		bound(o, &response);
	bind_response_fini(&response);
}

static void
ask(struct offer *o, struct span json)
{
	struct asked *a = calloc(1, sizeof(*a));

	o->state = BIND_ASKED;
	if (a) {
		*a = (struct asked){ o->session, o->serial };
		if (session_request(o->session->session, MESSAGE_BIND, json,
			on_bind_reply, a) == 0)
			return;
		free(a);
	}
	refused(o, "no memory to ask the edge, or too many requests");
}

static void
bind_offer(struct offer *o)
{
	struct request request;
	struct span json = span_of(NULL, 0);
	int error = make_request(&request, o->endpoint, o->token);

	if (error == 0)
		error = bind_write(&request.bind, &json);
	request_fini(&request);
	if (error < 0)
		refused(o, log_errno_text(-error));
	else
		ask(o, json);
	message_wipe(&json);
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
unbind_offer(struct offer *o)
{
	struct unbind unbind = { .id = o->id };
	struct span json;

	if (o->state != BIND_DONE)
		return;
	o->state = BIND_NEW;
	note(o, "", "", false);
	if (unbind_write(&unbind, &json) < 0)
		return;
	(void)!session_request(
	    o->session->session, MESSAGE_UNBIND, json, ignore_reply, NULL);
	message_wipe(&json);
}

void
offers_stopped(struct offer *o, const char *why)
{
	o->refusals = 5; /* the longest pause */
	refused(o, why && why[0] ? why : "the edge has stopped it");
}

/* --- a whole set of them --- */

static void
offer_fini(struct offer *o)
{
	endpoint_put(o->endpoint);
	free(o->digest);
	free(o->url);
	if (o->token)
		wipe(o->token, strlen(o->token));
	free(o->token);
}

/* What would be asked for it now, without the token that the edge gave. */
static char *
digest_of_endpoint(const struct endpoint *e)
{
	struct request request;
	struct span json = span_of(NULL, 0);
	char *digest = NULL;

	if (make_request(&request, e, "") == 0 &&
	    bind_write(&request.bind, &json) == 0)
		digest = digest_of(json);
	request_fini(&request);
	message_wipe(&json);
	return digest;
}

/* The old offer that stands for the same at the edge; it is emptied. */
static bool
take_same(struct offer *old, size_t count, struct offer *new)
{
	for (size_t i = 0; i < count; i++) {
		if (!old[i].digest || !new->digest ||
		    strcmp(old[i].digest, new->digest) != 0)
			continue;
		new->state = old[i].state;
		new->serial = old[i].serial;
		new->refusals = old[i].refusals;
		new->again_ms = old[i].again_ms;
		memcpy(new->id, old[i].id, sizeof(new->id));
		new->url = old[i].url;
		new->token = old[i].token;
		old[i].url = old[i].token = NULL;
		free(old[i].digest);
		old[i].digest = NULL;
		old[i].state = BIND_NEW;
		if (new->state == BIND_DONE)
			note(new, new->url ? new->url : "", "", true);
		return true;
	}
	return false;
}

void
offers_sync(struct agent_session *s, const struct snapshot *snapshot)
{
	size_t old_count = s->offer_count;
	struct offer *old = s->offers;
	struct offer *list =
	    calloc(snapshot->endpoint_count + 1, sizeof(*list));
	const char *token;

	if (!list) {
		LOG_ERROR("no memory for the endpoints: the old ones stay");
		return;
	}
	s->offers = list;
	s->offer_count = snapshot->endpoint_count;
	for (size_t i = 0; i < s->offer_count; i++) {
		struct offer *o = &list[i];

		o->session = s;
		o->endpoint = endpoint_get(snapshot->endpoints[i]);
		o->digest = digest_of_endpoint(o->endpoint);
		if (take_same(old, old_count, o))
			continue;
		o->serial = ++s->serials;
		token = o->digest ? link_token(s->link, o->digest) : NULL;
		o->token = token ? strdup(token) : NULL;
	}
	for (size_t i = 0; i < old_count; i++) {
		unbind_offer(&old[i]);
		offer_fini(&old[i]);
	}
	free(old);
	for (size_t i = 0; i < s->offer_count; i++)
		if (list[i].state == BIND_NEW)
			bind_offer(&list[i]);
}

void
offers_withdraw(struct agent_session *s)
{
	for (size_t i = 0; i < s->offer_count; i++)
		unbind_offer(&s->offers[i]);
}

void
offers_forget(struct agent_session *s)
{
	for (size_t i = 0; i < s->offer_count; i++) {
		struct offer *o = &s->offers[i];

		if (o->state == BIND_DONE)
			note(o, "", "", false);
		if (o->digest && o->token) {
			link_keep_token(s->link, o->digest, o->token);
			o->digest = o->token = NULL;
		}
		offer_fini(o);
	}
	free(s->offers);
	s->offers = NULL;
	s->offer_count = 0;
}

struct offer *
offers_find(struct agent_session *s, struct span id)
{
	for (size_t i = 0; i < s->offer_count; i++)
		if (s->offers[i].state == BIND_DONE &&
		    span_is(id, s->offers[i].id))
			return &s->offers[i];
	return NULL;
}

uint64_t
offers_retry(struct agent_session *s, uint64_t now_ms)
{
	uint64_t next = 0;

	for (size_t i = 0; i < s->offer_count; i++) {
		struct offer *o = &s->offers[i];

		if (o->state != BIND_REFUSED)
			continue;
		if (o->again_ms <= now_ms)
			bind_offer(o);
		else if (next == 0 || o->again_ms - now_ms < next)
			next = o->again_ms - now_ms;
	}
	return next;
}
