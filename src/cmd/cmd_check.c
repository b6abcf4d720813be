#include "cmd/commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cmd/leave.h"
#include "cmd/load.h"
#include "cmd/scripts.h"
#include "sys/privileges.h"
#include "tls/stream.h"
#include "tunnel/tokens.h"

#define FINDINGS_SIZE 262144
#define ENDPOINTS_SHOWN 100
#define CERTIFICATES_SHOWN 100
#define NAMES_SHOWN 10
#define DAY_S 86400

struct check {
	size_t error_count;
	char *storage;
	struct text out; /* of one script, or the summary */
};

static void
say(struct check *c, const char *line)
{
	c->error_count++;
	fprintf(stderr, "%s\n", line);
}

static void
check_scripts(struct check *c, const struct snapshot *s)
{
	struct script_settings settings;

	if (!script_settings_from(&settings, s)) {
		say(c, "edge.policy.path: too many folders");
		return;
	}
	for (size_t i = 0; i < s->script_count; i++) {
		text_clear(&c->out);
		c->error_count +=
		    policy_check(&settings.policy, s->scripts[i], &c->out);
		fputs(c->out.data, stderr);
	}
}

/* The section of the process itself, whose keys messages name. */
static const char *
self_of(const struct snapshot *s)
{
	return s->agent.enabled ? "agent" : "edge";
}

/* As a start would read them. */
static void
check_ticket_keys(struct check *c, const struct snapshot *s)
{
	struct tickets *t = s->ticket_keys != NULL ? tickets_new() : NULL;

	if (t == NULL)
		return;
	text_clear(&c->out);
	text_addf(&c->out, "%s.session_tickets.keys: ", self_of(s));
	if (tickets_use_file(t, s->ticket_keys, &c->out) != 0)
		say(c, c->out.data);
	tickets_free(t);
}

static void
check_tokens(struct check *c, const struct snapshot *s)
{
	struct problems *p;

	if (s->agents.authtokens_file == NULL)
		return;
	p = problems_new();
	token_set_put(p != NULL ? token_set_read(
				      s->agents.authtokens_file, p, s->warnings)
				: NULL);
	for (size_t i = 0; p != NULL && i < problems_count(p); i++)
		say(c, problems_get(p, i));
	problems_free(p);
}

static void
print_warnings(const struct snapshot *s)
{
	for (size_t i = 0; i < problems_count(s->warnings); i++)
		fprintf(stderr, "warning: %s\n", problems_get(s->warnings, i));
}

/* Not an error: the machine that checks need not be the one that will run. */
static void
check_file(const char *section, const char *key, const char *path, int err)
{
	if (err != 0)
		fprintf(stderr,
		    "warning: this machine could not start it: %s%s: %s: "
		    "%s%s\n",
		    section, key, path, strerror(-err),
		    err == -ENOENT ? "; make its folder first" : "");
}

static void
check_user(const char *user)
{
	int err = user == NULL ? 0 : privileges_user_exists(user);

	if (err != 0)
		fprintf(stderr,
		    "warning: this machine could not start it: edge.user: "
		    "%s: %s\n",
		    user,
		    err == -ENOENT ? "there is no such user" : strerror(-err));
}

static bool
is_log_file(const char *target)
{
	return target != NULL && strcmp(target, "stderr") != 0 &&
	       strcmp(target, "stdout") != 0 && strcmp(target, "false") != 0;
}

/* What lies outside the file, as a start would meet it here. */
static void
check_surroundings(const struct snapshot *s)
{
	const char *self = self_of(s);

	check_user(s->user);
	if (is_log_file(s->log_target))
		check_file(self, ".log.target", s->log_target,
		    leave_to_append(s->log_target));
	if (s->local_ca)
		check_file(self, ".state", s->state, leave_to_make(s->state));
	for (size_t i = 0; i < s->event_count; i++) {
		if (s->events[i].file != NULL)
			check_file("events", "", s->events[i].file,
			    leave_to_append(s->events[i].file));
	}
}

static void
add_count(struct text *out, const char *before, size_t count, const char *what)
{
	text_addf(
	    out, "%s%zu %s%s", before, count, what, count == 1 ? "" : "s");
}

/* All files that say which clients may come, and what is in them. */
static void
add_trust(struct text *out, struct trust *t)
{
	size_t crls = trust_crl_count(t);

	for (size_t i = 0; i < trust_file_count(t); i++)
		text_addf(out, "%s%s", i == 0 ? "" : ", ", trust_file(t, i));
	if (trust_ca_count(t) == 1 && crls == 0)
		return;
	add_count(out, " (", trust_ca_count(t), "CA");
	if (crls > 0)
		add_count(out, ", ", crls, "CRL");
	text_add_char(out, ')');
}

/* Which certificate is shown, and which clients must show. */
static void
add_termination(
    struct text *out, const struct snapshot *s, const struct endpoint *e)
{
	const struct termination_settings *t = &e->termination;

	if (t->certificate != NULL)
		text_addf(out, ", certificate %s", t->certificate);
	else
		text_addf(out, ", certificate by name%s",
		    s->local_ca ? " or from the local CA" : "");
	if (t->min_version == t->max_version)
		text_addf(out, ", TLS %s only",
		    t->min_version == TLS_VERSION_1_3 ? "1.3" : "1.2");
}

static void
add_clients(struct text *out, const struct termination_settings *t)
{
	if (t->trust == NULL)
		return;
	text_addf(out, ", %s client certificates of ",
	    t->auth == CLIENT_AUTH_REQUIRE ? "requires" : "asks for");
	add_trust(out, t->trust);
}

/* What leaves this machine for the edge to end TLS with. */
static void
add_sent(struct text *out, const struct endpoint *e)
{
	if (e->bind_crt == NULL)
		text_add(out, ", certificate of the edge");
	else
		text_addf(out, ", SENDS the certificate %s and the key %s",
		    e->bind_crt, e->bind_key);
}

static void
add_end(struct text *out, const struct snapshot *s, const struct endpoint *e)
{
	static const char *const readers[] = {
		[TERMINATE_EDGE] = " (edge and agent can read the bytes)",
		[TERMINATE_AGENT] = " (the edge cannot read the bytes)",
		[TERMINATE_UPSTREAM] = " (neither edge nor agent can read "
				       "the bytes)",
	};
	bool agent = s->agent.enabled;

	text_addf(out, ", TLS ends at: %s%s",
	    terminate_at_name(e->terminate_at),
	    agent ? readers[e->terminate_at] : "");
	if (e->terminate_at == (agent ? TERMINATE_AGENT : TERMINATE_EDGE))
		add_termination(out, s, e);
	else if (e->terminate_at == TERMINATE_EDGE)
		add_sent(out, e);
	add_clients(out, &e->termination);
}

static void
add_endpoint(
    struct text *out, const struct snapshot *s, const struct endpoint *e)
{
	text_add(out, "  ");
	if (e->name != NULL)
		text_addf(out, "%s: ", e->name);
	if (e->is_random)
		text_add(out, "a random name");
	else
		text_addf(out, "%s%s", e->url,
		    e->domain.len == 0 ? " (any name)" : "");
	add_end(out, s, e);
	for (size_t i = 0; i < e->upstream_count; i++)
		text_addf(out, "%s%s", i == 0 ? ", to " : ", ",
		    e->upstreams[i].address.text);
	if (e->upstream_tls.verify == VERIFY_OFF)
		text_add(out, " (certificate not verified)");
	if (e->upstream_count == 0)
		text_add(out, ", no upstream: the policy must name one");
	if (e->proxy_proto > 0)
		text_addf(out, ", PROXY v%u", e->proxy_proto);
	if (e->allow != NULL || e->deny != NULL)
		text_add(out, ", IP restriction");
	if (e->pooling_enabled)
		text_add(out, ", pooling");
	text_add_char(out, '\n');
}

static void
add_listeners(struct text *out, const struct snapshot *s)
{
	static const char *const served[] = {
		[SERVES_BOTH] = "",
		[SERVES_AGENTS] = " for agents",
		[SERVES_CLIENTS] = " for clients",
	};

	for (size_t i = 0; i < s->listen_count; i++)
		text_addf(out, "  listens on %s%s%s\n", s->listens[i].address,
		    served[s->listens[i].serves],
		    s->listens[i].proxy_accept != 0 ? " (takes PROXY headers)"
						    : "");
}

/* The agents that an edge takes. */
static void
add_agents(struct text *out, const struct snapshot *s)
{
	const struct agents_settings *a = &s->agents;

	if (!a->enabled)
		return;
	text_add(out, "  takes agents at");
	for (size_t i = 0; i < a->server_name_count; i++)
		text_addf(
		    out, "%s %s", i > 0 ? "," : "", a->server_names[i].text);
	text_addf(out, ", tokens in %s", a->authtokens_file);
	if (s->base_domain.len > 0)
		text_addf(out, ", random names below %s", s->base_domain.text);
	text_add_char(out, '\n');
}

static const char *
trusted(const struct agent_settings *a)
{
	if (a->connect_cas == NULL || !strcmp(a->connect_cas, "host"))
		return "the CAs of this host";
	return a->connect_cas;
}

/* How an agent comes to its edges; no token and no password of a proxy. */
static void
add_edges(struct text *out, const struct snapshot *s)
{
	const struct agent_settings *a = &s->agent;

	if (!a->enabled)
		return;
	text_add(out, "  serves through");
	for (size_t i = 0; i < a->edge_count; i++)
		text_addf(
		    out, "%s %s", i > 0 ? "," : "", a->edges[i].address.text);
	add_count(out, ", ", a->connections, "session");
	text_addf(out, ", edge trusted by %s%s\n", trusted(a),
	    a->proxy_url != NULL ? ", by way of a proxy" : "");
	if (a->authtoken == NULL)
		text_add(out, "  authtoken from the environment\n");
	if (a->web_addr != NULL)
		text_addf(out, "  tells of itself on http://%s\n", a->web_addr);
}

static void
add_certificate(struct text *out, const struct snapshot *s,
    const struct certificate_settings *pair)
{
	struct certificate *c = keyring_at(s->keyring, pair->id);
	int64_t left = certificate_not_after(c) - time(NULL);

	text_addf(out, "  certificate %s%s%s:", pair->crt,
	    pair->label != NULL ? " named " : "",
	    pair->label != NULL ? pair->label : "");
	for (size_t i = 0; i < certificate_name_count(c) && i < NAMES_SHOWN;
	     i++)
		text_addf(
		    out, "%s %s", i > 0 ? "," : "", certificate_name(c, i));
	if (certificate_name_count(c) > NAMES_SHOWN)
		text_addf(out, " and %zu more names",
		    certificate_name_count(c) - NAMES_SHOWN);
	text_addf(out, " (%s, ", key_kind_name(certificate_key_kind(c)));
	if (left < 0)
		text_add(out, "expired)\n");
	else
		text_addf(out, "%" PRId64 " days left)\n", left / DAY_S);
	certificate_put(c);
}

static void
add_certificates(struct text *out, const struct snapshot *s)
{
	size_t count = s->certificate_count;
	size_t shown = count < CERTIFICATES_SHOWN ? count : CERTIFICATES_SHOWN;

	for (size_t i = 0; i < shown; i++)
		add_certificate(out, s, &s->certificates[i]);
	if (shown < count)
		text_addf(out, "  and %zu more certificates\n", count - shown);
	if (s->local_ca)
		text_addf(out, "  local CA in %s\n", s->state);
}

static int
print_summary(struct check *c, const char *path, const struct snapshot *s)
{
	size_t shown = s->endpoint_count < ENDPOINTS_SHOWN ? s->endpoint_count
							   : ENDPOINTS_SHOWN;

	text_clear(&c->out);
	text_addf(&c->out, "%s: fine", path);
	if (s->agent.enabled)
		add_count(
		    &c->out, ": an agent of ", s->agent.edge_count, "edge");
	else
		add_count(&c->out, ": ", s->listen_count, "listener");
	add_count(&c->out, ", ", s->endpoint_count, "endpoint");
	add_count(&c->out, ", ", s->certificate_count, "certificate");
	add_count(&c->out, ", ", s->script_count, "policy script");
	add_count(&c->out, ", ", s->event_count, "event target");
	text_add_char(&c->out, '\n');
	add_listeners(&c->out, s);
	add_agents(&c->out, s);
	add_edges(&c->out, s);
	add_certificates(&c->out, s);
	for (size_t i = 0; i < shown; i++)
		add_endpoint(&c->out, s, s->endpoints[i]);
	if (shown < s->endpoint_count)
		text_addf(&c->out, "  and %zu more endpoints\n",
		    s->endpoint_count - shown);
	if (s->default_endpoint != NULL)
		text_addf(&c->out, "  any other name: %s\n",
		    s->default_endpoint->url);
	return print_text(text_span(&c->out));
}

static int
check_loaded(struct check *c, const char *path, const struct snapshot *s)
{
	check_scripts(c, s);
	check_ticket_keys(c, s);
	check_tokens(c, s);
	check_surroundings(s);
	print_warnings(s);
	return c->error_count == 0 ? print_summary(c, path, s) : EXIT_FAILED;
}

static int
check_one(struct check *c, const char *path)
{
	struct problems *p = problems_new();
	int code = EXIT_FAILED;

	if (p == NULL) {
		say(c, "out of memory");
		return code;
	}
	struct snapshot *s = load_file(path, LOAD_ANY, p);

	c->error_count = problems_count(p);
	print_problems(p, "");
	if (s != NULL) {
		code = check_loaded(c, path, s);
		snapshot_put(s);
	}
	problems_free(p);
	if (c->error_count > 0)
		fprintf(stderr, "%zu error%s in %s\n", c->error_count,
		    c->error_count == 1 ? "" : "s", path);
	return code;
}

/* Those of them that there are; the edge's if there is none. */
static int
check_system_files(struct check *c)
{
	bool agent = access(SYSTEM_AGENT_FILE, F_OK) == 0;
	int code = EXIT_DONE;

	if (!agent || access(SYSTEM_CONFIG_FILE, F_OK) == 0)
		code = check_one(c, SYSTEM_CONFIG_FILE);
	if (agent && check_one(c, SYSTEM_AGENT_FILE) != EXIT_DONE)
		code = EXIT_FAILED;
	return code;
}

int
cmd_check(const struct flags *f)
{
	struct check c = { .storage = malloc(FINDINGS_SIZE) };
	int code = EXIT_DONE;

	if (c.storage == NULL) {
		say_error("out of memory");
		return EXIT_FAILED;
	}
	text_init(&c.out, c.storage, FINDINGS_SIZE);
	/* Keys are read here, too. */
	privileges_hide_memory();
	for (size_t i = 0; i < f->given_count; i++) {
		/* The value ends its word of argv. */
		if (check_one(&c, (const char *)f->given[i].value.data) !=
		    EXIT_DONE)
			code = EXIT_FAILED;
	}
	if (f->given_count == 0)
		code = check_system_files(&c);
	free(c.storage);
	return code;
}
