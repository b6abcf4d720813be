#include "control/agent_web.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/agent_html.h"
#include "control/agent_json.h"
#include "control/agent_routes.h"
#include "control/host_guard.h"
#include "control/web_server.h"

#define DOCUMENT_FIRST ((size_t)16 * 1024)
#define DOCUMENT_MAX ((size_t)16 * 1024 * 1024)
#define ERROR_BYTES 1024
#define JSON_TYPE "application/json"

struct agent_web {
	struct agent_web_source source;
	struct host_guard *guard;
	struct web_server *server;
};

static void
refuse(struct web_answer *a, unsigned status, const char *message,
    const char *detail)
{
	struct text t;

	a->status = status;
	a->type = JSON_TYPE;
	a->body = malloc(ERROR_BYTES);
	if (!a->body)
		return;
	text_init(&t, a->body, ERROR_BYTES);
	agent_json_error(status, message, detail, &t);
	a->len = t.len;
}

/* Writes the document into more and more memory until it fits. */
static void
write_document(const struct agent_route *r, const struct agent_view *v,
    const struct view_endpoint *e, struct web_answer *a)
{
	for (size_t size = DOCUMENT_FIRST; size <= DOCUMENT_MAX; size *= 2) {
		char *storage = malloc(size);
		struct text t;

		if (!storage)
			break;
		text_init(&t, storage, size);
		r->write(v, e, &t);
		if (!t.truncated) {
			a->status = 200;
			a->type = r->content_type;
			a->body = storage;
			a->len = t.len;
			return;
		}
		free(storage);
	}
	refuse(a, 503, "no memory", "the document is too large");
}

static void
answer_route(struct agent_web *w, const struct agent_route *r, struct span name,
    struct web_answer *a)
{
	const struct view_endpoint *e = NULL;
	struct agent_view v;

	if (agent_view_take(&v, &w->source, clock_us()) < 0) {
		refuse(a, 503, "no memory", "try again");
		return;
	}
	if (name.len > 0)
		e = agent_route_endpoint(r, &v, name);
	if (name.len > 0 && !e)
		refuse(
		    a, 404, "not found", "no endpoint of that name is running");
	else
		write_document(r, &v, e, a);
	agent_view_fini(&v);
}

static bool
is_reading(const char *method)
{
	return !strcmp(method, "GET") || !strcmp(method, "HEAD");
}

/* On the server's thread. Whom it may not answer learns nothing else. */
static void
answer(void *data, const struct web_request *q, struct web_answer *a)
{
	struct agent_web *w = data;
	char storage[AGENT_VIEW_TEXT_MAX * 3 + 1];
	const struct agent_route *r;
	struct text name;

	if (!host_guard_allows(w->guard, q->host, &q->local)) {
		refuse(a, 403, "host not allowed",
		    "only localhost, this address and hosts that the "
		    "configuration allows are answered");
		a->closes = true;
		return;
	}
	if (!is_reading(q->method)) {
		refuse(a, 405, "method not allowed",
		    "endpoints come from the agent's configuration; they "
		    "cannot be started, changed or stopped here");
		a->allow = "GET, HEAD";
		return;
	}
	if (q->has_body) {
		refuse(a, 400, "bad request", "GET and HEAD have no body");
		return;
	}
	text_init(&name, storage, sizeof(storage));
	r = agent_route_find(q->path, &name);
	if (r)
		answer_route(w, r, text_span(&name), a);
	else
		refuse(a, 404, "not found", "GET /api lists what there is");
}

static void
tell_address(const struct agent_web *w, const struct addr *wanted)
{
	struct addr a;

	agent_web_address(w, &a);
	if (wanted->port != 0 && wanted->port != a.port)
		LOG_WARN("web_addr is taken, the next free port serves",
		    LOG_ADDR("web_addr", wanted), LOG_ADDR("address", &a));
	else
		LOG_INFO("web address", LOG_ADDR("address", &a));
}

static int
make_guard(const struct agent_web_settings *settings, struct host_guard **out)
{
	size_t bad;
	int err = host_guard_new(
	    settings->allow_hosts, settings->allow_host_count, out, &bad);

	if (err == -EINVAL)
		LOG_ERROR(
		    "web_allow_hosts takes addresses, networks, names and "
		    ".suffixes",
		    LOG_TEXT("entry", settings->allow_hosts[bad]));
	return err;
}

static int
start_server(struct agent_web *w, const struct addr *address)
{
	struct web_settings s = {
		.address = *address,
		.ports = AGENT_WEB_PORTS,
		.thread_name = "agent-web",
		.answer = answer,
		.data = w,
		.content_policy = AGENT_HTML_CSP,
	};

	return web_server_new(&s, &w->server);
}

int
agent_web_new(const struct agent_web_settings *settings,
    const struct agent_web_source *source, struct agent_web **out)
{
	struct agent_web *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return -ENOMEM;
	w->source = *source;
	err = make_guard(settings, &w->guard);
	if (err == 0)
		err = start_server(w, &settings->address);
	if (err < 0) {
		agent_web_free(w);
		return err;
	}
	tell_address(w, &settings->address);
	*out = w;
	return 0;
}

void
agent_web_free(struct agent_web *w)
{
	if (!w)
		return;
	web_server_free(w->server);
	host_guard_free(w->guard);
	free(w);
}

void
agent_web_address(const struct agent_web *w, struct addr *out)
{
	web_server_address(w->server, out);
}
