#include "cmd/commands.h"

#include <errno.h>
#include <unistd.h>

#include "cmd/authtoken.h"
#include "cmd/diagnose_edge.h"
#include "cmd/diagnose_host.h"
#include "cmd/load.h"
#include "cmd/report.h"
#include "sys/privileges.h"
#include "tls/secret.h"

#define ERROR_SIZE 512

struct diagnosis {
	const struct flags *flags;
	const char *path; /* of the configuration; NULL: flags only */
	struct authtoken token;
	struct findings findings;
	struct errand errand;
	struct proxy_url proxy;
	struct edge_trust trust;
};

/* --- the configuration --- */

/* What a configuration must have besides; its endpoint is not bound. */
static bool
set_frame(struct tree *t)
{
	static const struct {
		const char *path, *value;
	} lines[] = {
		{ "version", "1" },
		{ "endpoints.0.name", "none" },
		{ "endpoints.0.upstream", "localhost:443" },
	};

	for (size_t i = 0; i < ARRAY_COUNT(lines); i++)
		if (tree_set(t, lines[i].path, span_text(lines[i].value),
			"flags") < 0)
			return false;
	return true;
}

/* Flags beat the file; its edges are not added to. */
static bool
apply_flags(const struct diagnosis *d, struct tree *t)
{
	if (d->path == NULL && !set_frame(t))
		return false;
	if (flags_has(d->flags, "edge") &&
	    tree_set(t, "agent.edges", span_text(""), "--edge") < 0)
		return false;
	return load_flags(t, d->flags) == 0;
}

/* The file's, unless another one is given. */
static bool
use_token(const struct diagnosis *d, struct snapshot *s, struct problems *p)
{
	/* The value ends its word of argv. */
	if (flags_has(d->flags, "authtoken-file"))
		return authtoken_use_file(
		    (const char *)flags_value(d->flags, "authtoken-file", "")
			.data,
		    s, p);
	return d->token.text == NULL || authtoken_use(&d->token, s, p);
}

static struct snapshot *
load(const struct diagnosis *d, struct problems *p)
{
	struct tree *t =
	    d->path != NULL ? load_tree(d->path, LOAD_AGENT, p) : tree_new();
	struct snapshot *s;

	if (t == NULL) {
		if (problems_count(p) == 0)
			problems_add_no_memory(p);
		return NULL;
	}
	if (!apply_flags(d, t)) {
		problems_add_no_memory(p);
		tree_free(t);
		return NULL;
	}
	s = load_from_tree(t, d->path != NULL ? d->path : "flags", p);
	if (s == NULL || use_token(d, s, p))
		return s;
	snapshot_put(s);
	return NULL;
}

static void
add_problems(struct findings *f, enum finding how, const struct problems *p)
{
	for (size_t i = 0; i < problems_count(p); i++)
		findings_add(f, how, "configuration: %s", problems_get(p, i));
}

static void
tell_configuration(struct diagnosis *d, const struct snapshot *s)
{
	struct findings *f = &d->findings;

	char storage[ERROR_SIZE];
	struct text edges;

	text_init(&edges, storage, sizeof(storage));
	for (size_t i = 0; i < s->agent.edge_count; i++)
		text_addf(&edges, "%s%s", i > 0 ? ", " : "",
		    s->agent.edges[i].address.text);
	findings_add(f, FINDING_OK, "configuration: %s: serves through %s",
	    d->path != NULL ? d->path : "command line", edges.data);
	add_problems(f, FINDING_WARN, s->warnings);
	if (s->agent.authtoken == NULL)
		findings_add(f, d->path != NULL ? FINDING_ERROR : FINDING_WARN,
		    "token: there is none, and no edge lets an agent in "
		    "without: LUNETTE_AUTHTOKEN, --authtoken-file or "
		    "'agent.authtoken_file'");
}

static struct snapshot *
check_configuration(struct diagnosis *d)
{
	struct problems *p = problems_new();
	struct snapshot *s;

	if (p == NULL) {
		findings_add(&d->findings, FINDING_ERROR, "out of memory");
		return NULL;
	}
	s = load(d, p);
	if (s != NULL)
		tell_configuration(d, s);
	else
		add_problems(&d->findings, FINDING_ERROR, p);
	problems_free(p);
	return s;
}

/* --- the way to the edges --- */

static void
check_edges(struct diagnosis *d, const struct snapshot *s)
{
	struct edge_diagnosis way = {
		.findings = &d->findings,
		.errand = &d->errand,
		.agent = &s->agent,
		.trust = &d->trust,
		.proxy = edge_proxy_url(&s->agent) != NULL ? &d->proxy : NULL,
	};
	size_t count = s->agent.edge_count, working = 0;

	if (way.proxy != NULL && !diagnose_proxy(&way))
		return;
	for (size_t i = 0; i < count; i++)
		working += diagnose_edge(&way, &s->agent.edges[i], count == 1);
	if (working == 0 && count > 1)
		findings_add(&d->findings, FINDING_ERROR,
		    "none of the %zu edges will do", count);
}

static bool
prepare(struct diagnosis *d, const struct snapshot *s, struct text *error)
{
	const char *url = edge_proxy_url(&s->agent), *why;
	int err;

	if (url != NULL &&
	    proxy_url_parse(span_text(url), &d->proxy, &why) < 0) {
		text_addf(error, "%s: %s",
		    s->agent.proxy_url != NULL ? "agent.proxy_url"
					       : "http_proxy",
		    why);
		return false;
	}
	if (!edge_trust_load(&d->trust, s->agent.connect_cas, error))
		return false;
	err = errand_init(&d->errand, s->resolver_servers);
	if (err < 0)
		text_addf(error, "cannot start: %s", log_errno_text(-err));
	return err == 0;
}

static void
check_way(struct diagnosis *d, const struct snapshot *s)
{
	char storage[ERROR_SIZE];
	struct text error;

	text_init(&error, storage, sizeof(storage));
	if (prepare(d, s, &error)) {
		check_edges(d, s);
		errand_fini(&d->errand);
	} else {
		findings_add(&d->findings, FINDING_ERROR, "%s", error.data);
	}
	edge_trust_fini(&d->trust);
	wipe(&d->proxy, sizeof(d->proxy));
}

static int
conclude(struct findings *f)
{
	unsigned errors = f->counts[FINDING_ERROR];

	if (errors == 0)
		findings_add(f, FINDING_OK, "an agent can work here");
	else
		findings_add(f, FINDING_ERROR,
		    "an agent could not work here: %u error%s", errors,
		    errors == 1 ? "" : "s");
	return errors == 0 ? EXIT_DONE : EXIT_FAILED;
}

static int
examine(struct diagnosis *d)
{
	struct snapshot *s = check_configuration(d);

	if (s != NULL) {
		diagnose_host(&d->findings, s);
		check_way(d, s);
		snapshot_put(s);
	}
	return conclude(&d->findings);
}

/* --- the command --- */

/* False: it cannot be written, and a line has said why. */
static bool
open_report(const struct flags *f, int *fd)
{
	const char *path;

	*fd = -1;
	if (!flags_has(f, "write-report"))
		return true;
	/* The value ends its word of argv. */
	path = (const char *)flags_value(f, "write-report", "").data;
	*fd = report_open(path);
	if (*fd >= 0)
		return true;
	say_error("--write-report: %s: %s", path,
	    *fd == -EEXIST ? "there is something that is no regular file"
			   : log_errno_text(-*fd));
	return false;
}

static int
close_report(int fd, const struct findings *f, int code)
{
	int err = fd >= 0 ? report_write(fd, text_span(&f->all)) : 0;

	if (err == 0)
		return code;
	say_error("--write-report: %s", log_errno_text(-err));
	return EXIT_FAILED;
}

static int
run(struct diagnosis *d)
{
	int code, report;

	if (!findings_init(&d->findings) ||
	    !authtoken_take(&d->token, d->flags)) {
		say_error("out of memory");
		return EXIT_FAILED;
	}
	if (!open_report(d->flags, &report))
		return EXIT_FAILED;
	code = examine(d);
	return close_report(report, &d->findings, code);
}

int
cmd_diagnose(const struct flags *f)
{
	struct diagnosis d = { .flags = f };
	int code;

	/* Keys and the token are read, too. */
	privileges_hide_memory();
	if (flags_has(f, "config"))
		/* The value ends its word of argv. */
		d.path = (const char *)flags_value(f, "config", "").data;
	else if (!flags_has(f, "edge"))
		d.path = SYSTEM_AGENT_FILE;
	if (!flags_has(f, "config") && d.path != NULL &&
	    access(d.path, F_OK) != 0 && errno == ENOENT) {
		say_error("there is no " SYSTEM_AGENT_FILE "; name an edge "
			  "with --edge HOST, or another file with -c FILE");
		return EXIT_FAILED;
	}
	code = run(&d);
	findings_fini(&d.findings);
	authtoken_fini(&d.token);
	return code;
}
