#include "cmd/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cmd/held.h"
#include "cmd/load.h"
#include "sys/privileges.h"

#define LINE_SIZE 4096

struct comparison {
	const struct flags *flags;
	struct findings findings;
	struct errand errand;
	struct look look;
	struct snapshot *snapshot; /* NULL: no file */
	const struct endpoint *endpoint;
	struct host name; /* that the world asks for */
	struct upstream_address world;
	struct held held;
	struct trust *roots; /* of this host; NULL: none */
	unsigned different;
};

/* --- what is to be compared --- */

static bool
has_source(const struct flags *f)
{
	bool file = flags_has(f, "config"), crt = flags_has(f, "crt");
	bool upstream = flags_has(f, "upstream");

	if (file + crt + upstream <= 1)
		return true;
	say_error("-c FILE, --crt and --upstream: one of them says what is "
		  "held here");
	return false;
}

static bool
needs_file(const struct flags *f)
{
	return !flags_has(f, "crt") && !flags_has(f, "upstream");
}

static struct snapshot *
load_agents_file(const struct flags *f)
{
	const char *path = SYSTEM_AGENT_FILE;
	struct problems *p = problems_new();
	struct snapshot *s;

	if (flags_has(f, "config"))
		/* The value ends its word of argv. */
		path = (const char *)flags_value(f, "config", "").data;
	else if (access(path, F_OK) != 0 && errno == ENOENT)
		say_error("without -c FILE, --crt and --upstream it is "
			  "compared with what " SYSTEM_AGENT_FILE " says");
	s = p != NULL ? load_file(path, LOAD_AGENT, p) : NULL;
	if (p != NULL)
		print_problems(p, "");
	else
		say_error("out of memory");
	problems_free(p);
	return s;
}

static const struct endpoint *
find_by_name(const struct snapshot *s, const char *name)
{
	for (size_t i = 0; i < s->endpoint_count; i++)
		if (strcmp(s->endpoints[i]->name, name) == 0)
			return s->endpoints[i];
	return NULL;
}

/* The file does not know the name that the edge has chosen: with one such
 * endpoint it can be meant only. */
static const struct endpoint *
find_random(const struct snapshot *s)
{
	const struct endpoint *found = NULL;

	for (size_t i = 0; i < s->endpoint_count; i++) {
		if (!s->endpoints[i]->is_random)
			continue;
		if (found != NULL)
			return NULL;
		found = s->endpoints[i];
	}
	return found;
}

/* NAME is the name of an endpoint: the world knows that by its URL. */
static bool
take_domain(struct comparison *v, const struct endpoint *e)
{
	v->endpoint = e;
	v->name = e->domain;
	if (!e->is_random && e->domain.len > 0 && !host_is_wildcard(&e->domain))
		return true;
	say_error("endpoint %s has no name of its own in the file: which host "
		  "name, such as %s?",
	    e->name,
	    e->is_random ? "the one that the edge has chosen" : "one below it");
	return false;
}

/* False: NAME is no host name, or not one of the file's. */
static bool
find_endpoint(struct comparison *v, const char *name)
{
	const struct endpoint *named = find_by_name(v->snapshot, name);
	const char *why;
	bool is_host = host_parse(span_text(name), &v->name, &why) == 0;

	if (is_host)
		v->endpoint = snapshot_route(v->snapshot, host_span(&v->name));
	if (v->endpoint == NULL && named != NULL)
		return take_domain(v, named);
	if (v->endpoint == NULL && is_host)
		v->endpoint = find_random(v->snapshot);
	if (v->endpoint == NULL)
		say_error("the file has no endpoint for %s, and none that is "
			  "called so",
		    is_host ? v->name.text : "that name");
	return v->endpoint != NULL;
}

static bool
take_name(struct comparison *v, const char *name)
{
	const char *why;

	if (v->snapshot != NULL)
		return find_endpoint(v, name);
	if (host_parse(span_text(name), &v->name, &why) == 0)
		return true;
	say_error("NAME: %s", why);
	return false;
}

static bool
take_world(struct comparison *v)
{
	struct span where = flags_value(v->flags, "connect", v->name.text);
	const char *why;

	if (look_parse(where, &v->world, &why) == 0)
		return true;
	say_error("--connect: %s", why);
	return false;
}

/* --- what is held here --- */

static bool
add_given(struct comparison *v, const struct flag_given *g)
{
	/* The value ends its word of argv. */
	const char *text = (const char *)g->value.data, *why;
	struct upstream_address address;
	struct look_target t = { .address = &address, .name = &v->name };

	if (strcmp(g->flag->name, "crt") == 0)
		return held_add_file(&v->held, &v->findings, text);
	if (strcmp(g->flag->name, "upstream") != 0)
		return true;
	/* Was parsed before. */
	if (upstream_address_parse(g->value, &address, &why) < 0)
		return false;
	return held_add_upstream(&v->held, &v->look, &t);
}

static bool
find_held(struct comparison *v)
{
	const struct flags *f = v->flags;
	bool good = true;

	if (v->snapshot != NULL)
		return held_add_endpoint(
		    &v->held, &v->look, v->snapshot, v->endpoint, &v->name);
	for (size_t i = 0; i < f->given_count; i++)
		good = add_given(v, &f->given[i]) && good;
	if (good && v->held.count == 0)
		findings_add(&v->findings, FINDING_ERROR,
		    "no upstream shows a certificate");
	return good && v->held.count > 0;
}

static bool
check_upstreams(const struct flags *f)
{
	struct upstream_address address;
	const char *why;

	for (size_t i = 0; i < f->given_count; i++) {
		if (strcmp(f->given[i].flag->name, "upstream") == 0 &&
		    upstream_address_parse(f->given[i].value, &address, &why) <
			0) {
			say_error("--upstream: %s", why);
			return false;
		}
	}
	return true;
}

/* --- what the world is shown --- */

static void
add_opinion(struct comparison *v, const struct probe *p, struct text *out)
{
	char storage[256];
	struct text why;

	text_init(&why, storage, sizeof(storage));
	if (v->roots == NULL)
		text_add(out, "; this host has no CAs to check it by");
	else if (probe_check(p, v->roots, host_span(&v->name), &why) == 0)
		text_add(out, "; good by the CAs of this host");
	else
		text_addf(
		    out, "; not good by the CAs of this host: %s", why.data);
}

static void
on_leaf(void *owner, const char *where, const struct probe *p)
{
	struct comparison *v = owner;
	char storage[LINE_SIZE], reason[LINE_SIZE];
	struct text line, why;
	bool same;

	text_init(&line, storage, sizeof(storage));
	text_init(&why, reason, sizeof(reason));
	text_addf(&line, "shown at %s: ", where);
	add_leaf(&line, p);
	same = held_has(&v->held, p, &v->name, &why);
	if (!same)
		text_addf(&line, ": NOT the same: %s", why.data);
	add_opinion(v, p, &line);
	v->different += !same;
	findings_add(
	    &v->findings, same ? FINDING_OK : FINDING_ERROR, "%s", line.data);
	if (same && p->not_after < time(NULL))
		findings_add(&v->findings, FINDING_WARN,
		    "it has expired: clients will refuse it");
}

static bool
look_at_world(struct comparison *v)
{
	struct look_target t = { .address = &v->world, .name = &v->name };
	char storage[256];
	struct text unused;

	text_init(&unused, storage, sizeof(storage));
	v->roots = trust_system(&unused);
	v->look.who = v->name.text;
	v->look.failure = FINDING_ERROR;
	v->look.on_leaf = on_leaf;
	v->look.owner = v;
	v->look.shown = v->look.failed = v->look.unreachable = 0;
	return look_at(&v->look, &t);
}

static int
give_verdict(struct comparison *v)
{
	struct findings *f = &v->findings;

	if (v->different > 0)
		findings_add(f, FINDING_ERROR,
		    "NOT the same: somebody in between ends TLS");
	else if (v->look.shown == 0)
		findings_add(f, FINDING_ERROR,
		    "nothing can be said: the world is shown no certificate");
	else if (v->look.failed > 0)
		findings_add(f, FINDING_ERROR,
		    "not everything that the world may be shown could be "
		    "compared; what could is held here");
	else if (v->held.ca != NULL)
		findings_add(f, FINDING_OK,
		    "the certificate that the world is shown was made by the "
		    "local CA held here: the edge cannot read");
	else
		findings_add(f, FINDING_OK,
		    "the certificate that the world is shown is the one held "
		    "here: the edge cannot read");
	return v->different == 0 && v->look.shown > 0 && v->look.failed == 0
		   ? EXIT_DONE
		   : EXIT_FAILED;
}

static int
compare(struct comparison *v)
{
	if (!find_held(v))
		return EXIT_FAILED;
	if (look_at_world(v))
		return give_verdict(v);
	say_error("out of memory");
	return EXIT_FAILED;
}

static int
run(struct comparison *v)
{
	const char *servers =
	    v->snapshot != NULL ? v->snapshot->resolver_servers : NULL;
	int err = errand_init(&v->errand, servers), code = EXIT_FAILED;

	if (err < 0) {
		say_error("cannot start: %s", log_errno_text(-err));
		return EXIT_FAILED;
	}
	v->look.errand = &v->errand;
	v->look.findings = &v->findings;
	if (findings_init(&v->findings))
		code = compare(v);
	else
		say_error("out of memory");
	findings_fini(&v->findings);
	errand_fini(&v->errand);
	held_fini(&v->held);
	trust_put(v->roots);
	return code;
}

int
cmd_verify(const struct flags *f)
{
	struct comparison v = { .flags = f };
	int code = EXIT_USAGE;

	if (!has_source(f) || !check_upstreams(f))
		return EXIT_USAGE;
	/* Keys are read, too. */
	privileges_hide_memory();
	if (needs_file(f)) {
		v.snapshot = load_agents_file(f);
		if (v.snapshot == NULL)
			return EXIT_FAILED;
	}
	if (take_name(&v, f->arguments[0]) && take_world(&v))
		code = run(&v);
	if (v.snapshot != NULL)
		snapshot_put(v.snapshot);
	return code;
}
