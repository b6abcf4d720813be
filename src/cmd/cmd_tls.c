#include "cmd/commands.h"

#include <stdio.h>
#include <unistd.h>

#include "cmd/keylog.h"
#include "cmd/run.h"
#include "cmd/screen.h"

#define PATH_SIZE 128
#define URL_SIZE 512

/* By which endpoints and policies name the certificate of --crt. */
#define CRT_LABEL "crt"

struct tls_command {
	const struct flags *flags;
	bool ends_here; /* TLS */
	bool screen;
};

/* The tree under construction; the first failure (no memory) sticks. */
struct builder {
	struct tree *tree;
	const char *flag; /* where the next values come from: "--domain" */
	char flag_text[64];
	size_t endpoint_count;
	int err;
};

static void
set(struct builder *b, const char *path, struct span value)
{
	if (b->err == 0)
		b->err = tree_set(b->tree, path, value, b->flag);
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

/* Whatever name is asked for, the pair that was given is shown; without one
 * there is the local CA. */
static void
add_termination(struct builder *b, const struct tls_command *c)
{
	bool own = flags_has(c->flags, "crt");

	set_file(b, c->flags, "crt", "certificates.0.crt");
	set_file(b, c->flags, "key", "certificates.0.key");
	b->flag = own ? "--crt" : "--terminate-at";
	if (own)
		set(b, "certificates.0.name", span_text(CRT_LABEL));
	if (!c->ends_here)
		return;
	set_all_endpoints(b, "terminate_at", span_text("edge"));
	if (own)
		set_all_endpoints(b, "certificate", span_text(CRT_LABEL));
	else
		set(b, "edge.local_ca", span_text("auto"));
}

static void
add_defaults(struct builder *b, const struct tls_command *c)
{
	b->flag = "--listen";
	if (!flags_has(c->flags, "listen"))
		set(b, "edge.listen.+.address", span_text(":443"));
	b->flag = "--log";
	if (!flags_has(c->flags, "log") && c->screen)
		set(b, "edge.log.target", span_text("false"));
	b->flag = "--log-format";
	if (!flags_has(c->flags, "log-format"))
		set(b, "edge.log.format",
		    span_text(isatty(STDERR_FILENO) ? "term" : "logfmt"));
}

static struct tree *
build_tree(const struct tls_command *c)
{
	struct builder b = { .tree = tree_new() };

	if (b.tree == NULL)
		return NULL;
	b.flag = "version";
	set(&b, "version", span_text("1"));
	add_endpoints(&b, c->flags);
	add_upstreams(&b, c->flags);
	for (size_t i = 0; i < c->flags->given_count; i++)
		apply_flag(&b, &c->flags->given[i]);
	add_termination(&b, c);
	add_defaults(&b, c);
	if (b.err != 0) {
		tree_free(b.tree);
		return NULL;
	}
	return b.tree;
}

static struct snapshot *
load(void *context, struct problems *p)
{
	struct tree *t = build_tree(context);
	struct origin nowhere = { .source = "lunette tls" };

	if (t == NULL) {
		problems_add(p, &nowhere, "out of memory");
		return NULL;
	}
	struct snapshot *s = snapshot_build(t, ".", p);

	tree_free(t);
	return s;
}

/* In this process the agent and the edge are the same. */
static bool
find_end(struct tls_command *c)
{
	bool own = flags_has(c->flags, "crt") || flags_has(c->flags, "key");
	struct span where =
	    flags_value(c->flags, "terminate-at", own ? "agent" : "upstream");

	c->ends_here = span_is(where, "edge") || span_is(where, "agent");
	if (c->ends_here || span_is(where, "upstream"))
		return true;
	say_error("--terminate-at is edge, agent or upstream, not %.*s",
	    SPAN_ARG(where));
	return false;
}

/* What was asked for and would not happen is refused. A policy may end TLS on
 * its own, and use some of it then. */
static bool
check_termination(const struct tls_command *c)
{
	static const struct {
		const char *name;
		bool for_policy;
	} needing[] = {
		{ "crt", true },
		{ "key", true },
		{ "mutual-tls-cas", false },
		{ "min-version", false },
		{ "max-version", false },
		{ "alpn", false },
		{ "upstream-tls-verify", true },
		{ "upstream-tls-verify-cas", true },
	};
	bool policy = flags_has(c->flags, "policy-file");

	for (size_t i = 0; !c->ends_here && i < ARRAY_COUNT(needing); i++) {
		if (!flags_has(c->flags, needing[i].name) ||
		    (policy && needing[i].for_policy))
			continue;
		say_error("--%s needs --terminate-at edge: without it TLS "
			  "does not end here",
		    needing[i].name);
		return false;
	}
	if (flags_has(c->flags, "key") && !flags_has(c->flags, "crt")) {
		say_error("--key needs --crt, the certificate that it "
			  "belongs to");
		return false;
	}
	return true;
}

/* The schema says the same for files; here the advice names the flags. */
static bool
check_networks(const struct flags *f)
{
	if (!flags_has(f, "cidr-deny") || flags_has(f, "cidr-allow"))
		return true;
	say_error("--cidr-deny alone would refuse everybody, since only what "
		  "--cidr-allow has is allowed: add --cidr-allow "
		  "0.0.0.0/0,::/0 to allow all others");
	return false;
}

/* Only where nothing else writes to the terminal. */
static bool
wants_screen(const struct flags *f)
{
	struct span log = flags_value(f, "log", "false");

	for (size_t i = 0; i < f->given_count; i++) {
		if (strcmp(f->given[i].flag->name, "events") == 0 &&
		    span_is(f->given[i].value, "stdout"))
			return false;
	}
	return screen_possible() && !span_is(log, "stdout") &&
	       (!span_is(log, "stderr") || !isatty(STDERR_FILENO));
}

int
cmd_tls(const struct flags *f)
{
	struct tls_command c = { .flags = f };
	const char *keylog;

	if (!find_end(&c) || !check_termination(&c) || !check_networks(f) ||
	    !keylog_file(f, &keylog))
		return EXIT_USAGE;
	c.screen = wants_screen(f);
	struct run_source source = {
		.load = load,
		.context = &c,
		.problem_prefix = "lunette: ",
		.problem_code = EXIT_USAGE,
		.from_flags = true,
		.screen = c.screen,
		.keylog = keylog,
	};
	return run_edge(&source);
}
