#include "config/snapshot.h"

#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "config/schema.h"

/* Not in the file: what it bounds is our own business. */
#define LINGER_MS 2000

static struct snapshot *
snapshot_new(void)
{
	struct snapshot *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	atomic_init(&s->refs, 1);
	s->begun_wall_us = clock_wall_us();
	s->edge_script = -1;
	s->timeouts.linger_ms = LINGER_MS;
	s->routes = routes_new();
	s->keyring = keyring_new();
	s->warnings = problems_new();
	if (s->routes != NULL && s->keyring != NULL && s->warnings != NULL)
		return s;
	snapshot_put(s);
	return NULL;
}

bool
config_is_agents(const struct node *root)
{
	return node_get(root, "agent") != NULL;
}

struct snapshot *
snapshot_build(struct tree *t, const char *folder, struct problems *p)
{
	const struct node *root = tree_root(t);
	struct reader r = { .folder = folder, .problems = p };

	r.file = config_is_agents(root) ? FILE_AGENT : FILE_EDGE;
	r.s = snapshot_new();
	if (r.s == NULL) {
		reader_no_memory(&r);
		return NULL;
	}
	section_defaults(&r, &schema_root, r.s);
	section_read(&r, root, "configuration", &schema_root, r.s);
	reader_default_state(&r);
	certificates_load(&r);
	check_snapshot(&r, root);
	certificates_done(&r);
	trusts_done(&r);
	free(r.endpoint_nodes);
	index_fini(&r.scripts);
	index_fini(&r.names);
	if (r.failed) {
		snapshot_put(r.s);
		return NULL;
	}
	return r.s;
}

struct snapshot *
snapshot_get(struct snapshot *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

static void
free_texts(char **texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(texts[i]);
	free(texts);
}

static void
free_listeners(struct snapshot *s)
{
	for (size_t i = 0; i < s->listen_count; i++) {
		free(s->listens[i].address);
		netset_free(s->listens[i].proxy_from);
	}
	free(s->listens);
}

static void
free_events(struct snapshot *s)
{
	for (size_t i = 0; i < s->event_count; i++) {
		free(s->events[i].file);
		free_texts(s->events[i].types, s->events[i].type_count);
	}
	free(s->events);
}

static void
free_certificates(struct snapshot *s)
{
	for (size_t i = 0; i < s->certificate_count; i++) {
		free(s->certificates[i].label);
		free(s->certificates[i].crt);
		free(s->certificates[i].key);
		free(s->certificates[i].ocsp_file);
	}
	free(s->certificates);
	for (size_t i = 0; i < s->certificate_folder_count; i++)
		free(s->certificate_folders[i].path);
	free(s->certificate_folders);
	keyring_put(s->keyring);
	free(s->ticket_keys);
}

static void
free_agents(struct agents_settings *a)
{
	free(a->server_names);
	free(a->certificate);
	free(a->authtokens_file);
}

static void
free_secret(char *text)
{
	if (text != NULL)
		explicit_bzero(text, strlen(text));
	free(text);
}

static void
free_agent(struct agent_settings *a)
{
	for (size_t i = 0; i < a->edge_count; i++)
		free(a->edges[i].text);
	free(a->edges);
	free(a->connect_cas);
	free(a->metadata);
	free(a->web_addr);
	free_secret(a->authtoken);
	free_secret(a->proxy_url);
}

static void
snapshot_free(struct snapshot *s)
{
	routes_free(s->routes);
	problems_free(s->warnings);
	for (size_t i = 0; i < s->endpoint_count; i++)
		endpoint_put(s->endpoints[i]);
	free(s->endpoints);
	free_listeners(s);
	free_events(s);
	free_certificates(s);
	free_agents(&s->agents);
	free_agent(&s->agent);
	free_texts(s->scripts, s->script_count);
	free_texts(s->policy.path, s->policy.path_count);
	free(s->user);
	free(s->state);
	free(s->keylog);
	free(s->resolver_servers);
	free(s->geo_database);
	free(s->log_target);
	free(s);
}

void
snapshot_put(struct snapshot *s)
{
	if (s == NULL)
		return;
	/* Whoever frees must see what the others wrote before they let go. */
	if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
		snapshot_free(s);
}

struct endpoint *
snapshot_route(const struct snapshot *s, struct span name)
{
	struct endpoint *e = NULL;
	struct host host;

	if (name.len > 0) {
		/* What is no host name leads nowhere, not to the default. */
		if (host_parse(name, &host, NULL) < 0)
			return NULL;
		e = routes_find(s->routes, host_span(&host));
	}
	return e != NULL ? e : s->default_endpoint;
}

struct endpoint *
snapshot_endpoint(const struct snapshot *s, struct span url)
{
	struct endpoint *any = s->default_endpoint;
	struct host domain;

	if (span_is(url, "tls://"))
		return any != NULL && any->domain.len == 0 ? any : NULL;
	if (host_parse_url(url, &domain, NULL) < 0)
		return NULL;
	return routes_get(s->routes, &domain);
}

bool
snapshot_has_certificate(const struct snapshot *s, const char *label)
{
	struct key_choice choice;
	bool found = keyring_labelled(s->keyring, label, time(NULL), &choice);

	if (found)
		key_choice_put(&choice);
	return found;
}

const char *
terminate_at_name(enum terminate_at t)
{
	switch (t) {
	case TERMINATE_EDGE:
		return "edge";
	case TERMINATE_AGENT:
		return "agent";
	default:
		return "upstream";
	}
}
