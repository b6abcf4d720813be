#include "cmd/tls_tree.h"

#include <stdio.h>
#include <unistd.h>

#define PATH_SIZE 128
#define URL_SIZE 512

/* By which endpoints and policies name the certificate of --crt. */
#define CRT_LABEL "crt"

/* What an agent's endpoint is called that --name gives no name. */
#define ENDPOINT_NAME "command_line"

/* The tree under construction; the first failure (no memory) sticks. */
struct builder {
	const struct tls_command *command;
	struct tree *tree;
	const char *flag; /* where the next values come from: "--domain" */
	char flag_text[64];
	size_t endpoint_count;
	int err;
};

/* Paths are those of an edge's file; what stands there below `edge` an agent
 * has below `agent`. */
static void
set(struct builder *b, const char *path, struct span value)
{
	static const char edge[] = "edge.";
	char storage[PATH_SIZE];
	struct text own;

	text_init(&own, storage, sizeof(storage));
	if (b->command->through_edge && !strncmp(path, edge, strlen(edge)))
		text_addf(&own, "agent.%s", path + strlen(edge));
	else
		text_add(&own, path);
	ASSERT(!own.truncated);
	if (b->err == 0)
		b->err = tree_set(b->tree, own.data, value, b->flag);
}

/* A setting of one endpoint. */
static void
set_endpoint(
    struct builder *b, size_t index, const char *key, struct span value)
{
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "endpoints.%zu.%s", index, key);
	set(b, path, value);
}

static void
set_all_endpoints(struct builder *b, const char *key, struct span value)
{
	for (size_t i = 0; i < b->endpoint_count; i++)
		set_endpoint(b, i, key, value);
}

static void
add_endpoint(struct builder *b, struct span url)
{
	set_endpoint(b, b->endpoint_count++, "url", url);
}

static void
add_domain(struct builder *b, struct span name)
{
	char storage[URL_SIZE];
	struct text url;

	text_init(&url, storage, sizeof(storage));
	text_add(&url, "tls://");
	text_add_span(&url, name);
	add_endpoint(b, text_span(&url));
}

static void
add_endpoints(struct builder *b, const struct flags *f)
{
	for (size_t i = 0; i < f->given_count; i++) {
		const struct flag_given *g = &f->given[i];
		bool domain = strcmp(g->flag->name, "domain") == 0;
		struct span rest = g->value, item;

		if (!domain && strcmp(g->flag->name, "url") != 0)
			continue;
		b->flag = domain ? "--domain" : "--url";
		while (flags_next_item(&rest, &item))
			(domain ? add_domain : add_endpoint)(b, item);
	}
	b->flag = "--domain";
	if (b->endpoint_count == 0)
		add_endpoint(b, span_text("tls://"));
}

/* With --name there is one endpoint. */
static void
add_names(struct builder *b, const struct flags *f)
{
	char storage[64];
	struct text name;

	b->flag = "--name";
	if (flags_has(f, "name")) {
		set_endpoint(b, 0, "name", flags_value(f, "name", ""));
		return;
	}
	for (size_t i = 0; i < b->endpoint_count; i++) {
		text_init(&name, storage, sizeof(storage));
		text_add(&name, ENDPOINT_NAME);
		if (i > 0)
			text_addf(&name, "-%zu", i + 1);
		set_endpoint(b, i, "name", text_span(&name));
	}
}

static void
add_upstreams(struct builder *b, const struct flags *f)
{
	bool one = f->argument_count == 1;

	b->flag = "ADDR";
	for (size_t i = 0; i < f->argument_count; i++)
		set_all_endpoints(b, one ? "upstream" : "upstream.+",
		    span_text(f->arguments[i]));
}

static void
set_path(struct builder *b, const char *path, struct span value)
{
	if (strncmp(path, "endpoints.*.", 12) == 0)
		set_all_endpoints(b, path + 12, value);
	else
		set(b, path, value);
}

static void
apply_flag(struct builder *b, const struct flag_given *g)
{
	struct span rest = g->value, item;

	snprintf(b->flag_text, sizeof(b->flag_text), "--%s", g->flag->name);
	b->flag = b->flag_text;
	if (strcmp(g->flag->name, "events") == 0) {
		if (span_is(g->value, "stdout"))
			set(b, "events.+.stdout", span_text("true"));
		else
			set(b, "events.+.file", g->value);
	} else if (g->flag->path != NULL && g->flag->options & FLAG_COMMAS) {
		while (flags_next_item(&rest, &item))
			set_path(b, g->flag->path, item);
	} else if (g->flag->path != NULL) {
		set_path(b, g->flag->path, g->value);
	}
}

static void
set_file(struct builder *b, const struct flags *f, const char *name,
    const char *path)
{
	if (!flags_has(f, name))
		return;
	snprintf(b->flag_text, sizeof(b->flag_text), "--%s", name);
	b->flag = b->flag_text;
	set(b, path, flags_value(f, name, ""));
}

/* Whatever name is asked for, the pair that was given is shown, here or by the
 * edge; without one there is the local CA here. In this process alone the agent
 * and the edge are the same. */
static void
add_termination(struct builder *b, const struct tls_command *c)
{
	bool own = flags_has(c->flags, "crt");
	enum terminate_at end = c->through_edge ? c->end : TERMINATE_EDGE;

	set_file(b, c->flags, "crt", "certificates.0.crt");
	set_file(b, c->flags, "key", "certificates.0.key");
	b->flag = own ? "--crt" : "--terminate-at";
	if (own)
		set(b, "certificates.0.name", span_text(CRT_LABEL));
	if (c->end == TERMINATE_UPSTREAM)
		return;
	set_all_endpoints(b, "terminate_at", span_text(terminate_at_name(end)));
	if (own)
		set_all_endpoints(b, "certificate", span_text(CRT_LABEL));
	else if (c->ends_here)
		set(b, "edge.local_ca", span_text("auto"));
}

static void
add_defaults(struct builder *b, const struct tls_command *c)
{
	b->flag = "--listen";
	if (!flags_has(c->flags, "listen") && !c->through_edge)
		set(b, "edge.listen.+.address", span_text(":443"));
	b->flag = "--log";
	if (!flags_has(c->flags, "log") && c->screen)
		set(b, "edge.log.target", span_text("false"));
	b->flag = "--log-format";
	if (!flags_has(c->flags, "log-format"))
		set(b, "edge.log.format",
		    span_text(isatty(STDERR_FILENO) ? "term" : "logfmt"));
}

struct tree *
tls_tree_new(const struct tls_command *c)
{
	struct builder b = { .command = c, .tree = tree_new() };

	if (b.tree == NULL)
		return NULL;
	b.flag = "version";
	set(&b, "version", span_text("1"));
	add_endpoints(&b, c->flags);
	if (c->through_edge)
		add_names(&b, c->flags);
	add_upstreams(&b, c->flags);
	for (size_t i = 0; i < c->flags->given_count; i++)
		apply_flag(&b, &c->flags->given[i]);
	add_termination(&b, c);
	add_defaults(&b, c);
	if (b.err == 0)
		return b.tree;
	tree_free(b.tree);
	return NULL;
}
