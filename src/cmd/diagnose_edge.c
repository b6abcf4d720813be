#include "cmd/diagnose_edge.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "tls/probe.h"
#include "tunnel/visit.h"
#include "wire/alert.h"

#define LINE_SIZE 4096

/* One address of an edge, or the edge behind a proxy. */
struct stop {
	const struct edge_diagnosis *d;
	const struct edge_address *edge;
	struct addr addr; /* ADDR_NONE: the proxy finds it */
	char where[UPSTREAM_ADDRESS_SIZE + ADDR_TEXT_SIZE];
	/* Of a fault: an error where all depends on it, else a warning. */
	enum finding fault;
};

static void
good(const struct stop *s, const char *what, const char *text)
{
	findings_add(
	    s->d->findings, FINDING_OK, "%s %s: %s", what, s->where, text);
}

static bool
bad(const struct stop *s, const char *what, const char *text)
{
	findings_add(
	    s->d->findings, s->fault, "%s %s: %s", what, s->where, text);
	return false;
}

/* --- connecting --- */

static int
reach(const struct stop *s, const char **why)
{
	return visit_connect(s->d->errand, s->edge, &s->addr, s->d->proxy,
	    s->d->agent->connect_ms, why);
}

/* The descriptor, or -1 and a line. */
static int
check_connection(const struct stop *s)
{
	const char *what = s->d->proxy ? "connection by the proxy to" : "TCP";
	int64_t begun_us = clock_us();
	char storage[LINE_SIZE];
	struct text t;
	const char *why;
	int fd = reach(s, &why);

	text_init(&t, storage, sizeof(storage));
	if (fd < 0) {
		text_addf(&t, "%s: %s", why, log_errno_text(-fd));
		(void)bad(s, what, t.data);
		return -1;
	}
	text_addf(&t, "connected in %" PRId64 " ms",
	    (clock_us() - begun_us + 999) / 1000);
	good(s, what, t.data);
	return fd;
}

/* --- TLS --- */

/* What the edge's certificate must be for. */
static struct span
name_of(const struct edge_address *edge, char ip[ADDR_TEXT_SIZE])
{
	if (edge->address.kind == UPSTREAM_NAME)
		return host_span(&edge->address.name);
	addr_format_ip(&edge->address.addr, ip);
	return span_text(ip);
}

/* "ab:cd" and capitals were taken out when it was configured. */
static bool
is_pinned(const struct edge_trust *t, const struct probe *p)
{
	char hex[CERTIFICATE_FINGERPRINT_SIZE];
	struct text out;

	text_init(&out, hex, sizeof(hex));
	for (size_t i = 0; i < sizeof(t->pin); i++)
		text_addf(&out, "%02x", t->pin[i]);
	return strcmp(hex, p->fingerprint) == 0;
}

/* A clock that is wrong looks like a certificate that is. */
static void
add_clock(struct text *out, const struct probe *p)
{
	int64_t now = time(NULL);

	if (now >= p->not_before && now <= p->not_after)
		return;
	text_add(out, now < p->not_before ? "; by the clock of this host it is "
					    "not valid yet: "
					  : "; by the clock of this host it "
					    "has expired: ");
	text_add(out, "it says that today is ");
	add_date(out, now);
	text_add(out, ", is that so?");
}

static bool
check_certificate(const struct stop *s, const struct probe *p)
{
	const struct edge_trust *trust = s->d->trust;
	char storage[LINE_SIZE], reason[256], ip[ADDR_TEXT_SIZE];
	struct text t, why;
	bool trusted;

	text_init(&t, storage, sizeof(storage));
	text_init(&why, reason, sizeof(reason));
	add_leaf(&t, p);
	if (trust->pinned) {
		trusted = is_pinned(trust, p);
		if (!trusted)
			text_add(&t, ": it is not the pinned one "
				     "(connect_cas)");
	} else {
		trusted = probe_check(
			      p, trust->trust, name_of(s->edge, ip), &why) == 0;
		if (!trusted)
			text_addf(&t,
			    ": not good by connect_cas: %s; if what stands "
			    "between inspects TLS, it must let this name "
			    "through",
			    why.data);
		add_clock(&t, p);
	}
	if (!trusted)
		return bad(s, "certificate of", t.data);
	good(s, "certificate of", t.data);
	return true;
}

static bool
check_version(const struct stop *s, const struct probe *p)
{
	if (p->version != TLS_VERSION_1_3)
		return bad(s, "TLS with",
		    "only TLS 1.2 is agreed on, an agent needs 1.3: something "
		    "in between may end it");
	if (strcmp(p->alpn, SESSION_ALPN) != 0)
		return bad(s, "TLS with",
		    "it does not speak " SESSION_ALPN
		    ": is this an edge that takes agents, by this name "
		    "(edge.agents.server_names)?");
	good(s, "TLS with", "TLS 1.3, " SESSION_ALPN);
	return true;
}

static bool
note_failure(const struct stop *s, const struct probe *p)
{
	char storage[LINE_SIZE];
	struct text t;

	text_init(&t, storage, sizeof(storage));
	text_addf(&t, "no handshake: %s", p->detail);
	if (p->fault == TLS_FAULT_ALERT_RECEIVED &&
	    (p->alert == ALERT_NO_APPLICATION_PROTOCOL ||
		p->alert == ALERT_UNRECOGNIZED_NAME))
		text_add(&t, ": is this an edge that takes agents, by this "
			     "name (edge.agents.server_names)?");
	return bad(s, "TLS with", t.data);
}

static bool
judge(const struct stop *s, const struct probe *p)
{
	bool works = p->done ? check_version(s, p) : note_failure(s, p);

	/* Told in any case: it shows who is at the other end. */
	return (!p->has_leaf || check_certificate(s, p)) && works;
}

/* Takes the descriptor. */
static bool
check_tls(const struct stop *s, int fd)
{
	static const uint8_t alpn[] = "\x09" SESSION_ALPN;
	char ip[ADDR_TEXT_SIZE];
	struct probe_settings settings = {
		.server_name = name_of(s->edge, ip),
		.alpn = span_of(alpn, sizeof(alpn) - 1),
		.deadline_ms = clock_ms() + s->d->agent->connect_ms,
	};
	struct probe p;
	bool works;

	if (probe_run(fd, &settings, &p) < 0)
		works = bad(s, "TLS with", "out of memory");
	else
		works = judge(s, &p);
	close(fd);
	probe_fini(&p);
	return works;
}

/* --- the protocol --- */

static bool
note_login(const struct stop *s, const struct visit *v)
{
	char storage[LINE_SIZE];
	struct text t;

	text_init(&t, storage, sizeof(storage));
	if (s->d->agent->authtoken == NULL)
		return true; /* was told before */
	if (!v->logged_in) {
		text_addf(
		    &t, "the edge does not let this agent in: %s", v->error);
		return bad(s, "token at", t.data);
	}
	text_add(&t, "let in");
	if (v->account[0] != '\0')
		text_addf(&t, " as %s", v->account);
	if (v->edge_version[0] != '\0')
		text_addf(&t, "; the edge has version %s", v->edge_version);
	good(s, "token at", t.data);
	return true;
}

static bool
note_visit(const struct stop *s, const struct visit *v)
{
	char storage[LINE_SIZE];
	struct text t;

	text_init(&t, storage, sizeof(storage));
	if (v->round_trip_us < 0) {
		text_addf(&t, "%s: %s",
		    v->reached == VISIT_HANDSHAKE ? "no session" : "no answer",
		    v->error);
		return bad(s, "protocol with", t.data);
	}
	text_add(&t, "a question is answered");
	if (v->region[0] != '\0')
		text_addf(&t, ", region %s", v->region);
	good(s, "protocol with", t.data);
	text_clear(&t);
	text_addf(&t, "%" PRId64 ".%" PRId64 " ms", v->round_trip_us / 1000,
	    v->round_trip_us % 1000 / 100);
	good(s, "round trip to", t.data);
	return note_login(s, v);
}

static bool
check_protocol(const struct stop *s)
{
	struct visit_settings settings = {
		.errand = s->d->errand,
		.agent = s->d->agent,
		.edge = s->edge,
		.trust = s->d->trust,
	};
	struct visit v;
	const char *why;
	int fd = reach(s, &why);

	if (fd < 0)
		return bad(s, "second connection to", why);
	visit_edge(&settings, fd, &v);
	return note_visit(s, &v);
}

static bool
check_stop(const struct stop *s)
{
	int fd = check_connection(s);

	return fd >= 0 && check_tls(s, fd) && check_protocol(s);
}

/* --- addresses --- */

static void
add_addresses(struct text *out, const struct resolver_answer *a)
{
	char ip[ADDR_TEXT_SIZE];

	for (size_t i = 0; i < a->count; i++) {
		addr_format_ip(&a->addrs[i], ip);
		text_addf(out, "%s%s", i > 0 ? ", " : "", ip);
	}
}

/* False and a line: it has none. */
static bool
resolve(const struct edge_diagnosis *d, const struct host *name,
    enum finding fault, struct resolver_answer *a)
{
	int64_t begun_us = clock_us();
	int err = errand_resolve(d->errand, name, a);
	char storage[LINE_SIZE];
	struct text t;

	if (err < 0 || a->count == 0) {
		findings_add(d->findings, fault, "name %s: no address: %s",
		    name->text,
		    err == 0 || err == -ENOENT ? "there is no such name"
					       : log_errno_text(-err));
		return false;
	}
	text_init(&t, storage, sizeof(storage));
	add_addresses(&t, a);
	findings_add(d->findings, FINDING_OK, "name %s: %s, in %" PRId64 " ms",
	    name->text, t.data, (clock_us() - begun_us + 999) / 1000);
	return true;
}

static bool
check_addr(struct stop *s, const struct addr *addr)
{
	struct text where;
	char text[ADDR_TEXT_SIZE];

	s->addr = *addr;
	s->addr.port = s->edge->address.port;
	addr_format(&s->addr, text);
	text_init(&where, s->where, sizeof(s->where));
	text_add(&where, text);
	return check_stop(s);
}

static bool
check_name(struct stop *s, bool only)
{
	const struct upstream_address *at = &s->edge->address;
	enum finding fault = s->fault;
	struct resolver_answer a;
	unsigned working = 0;

	if (!resolve(s->d, &at->name, fault, &a))
		return false;
	s->fault = only && a.count == 1 ? FINDING_ERROR : FINDING_WARN;
	for (size_t i = 0; i < a.count; i++)
		working += check_addr(s, &a.addrs[i]);
	if (working == 0 && a.count > 1)
		findings_add(s->d->findings, fault,
		    "edge %s: none of its %zu addresses will do", at->text,
		    a.count);
	return working > 0;
}

bool
diagnose_edge(
    const struct edge_diagnosis *d, const struct edge_address *edge, bool only)
{
	struct stop s = {
		.d = d,
		.edge = edge,
		.addr = { .family = ADDR_NONE },
		.fault = only ? FINDING_ERROR : FINDING_WARN,
	};
	struct text where;

	if (d->proxy != NULL) {
		text_init(&where, s.where, sizeof(s.where));
		text_add(&where, edge->address.text);
		return check_stop(&s);
	}
	if (edge->address.kind == UPSTREAM_IP)
		return check_addr(&s, &edge->address.addr);
	return check_name(&s, only);
}

/* --- the proxy --- */

static bool
connect_to_proxy(const struct edge_diagnosis *d, struct addr addr)
{
	char where[ADDR_TEXT_SIZE];
	int fd;

	addr.port = d->proxy->address.port;
	addr_format(&addr, where);
	fd = errand_connect(&addr, d->agent->connect_ms);
	if (fd < 0) {
		findings_add(d->findings, FINDING_WARN,
		    "proxy at %s: cannot connect: %s", where,
		    log_errno_text(-fd));
		return false;
	}
	close(fd);
	findings_add(d->findings, FINDING_OK, "proxy at %s: connected", where);
	return true;
}

bool
diagnose_proxy(const struct edge_diagnosis *d)
{
	const struct upstream_address *at = &d->proxy->address;
	struct resolver_answer a = { .count = 1, .addrs = { at->addr } };
	bool works = false;

	/* Its user and password are in no line. */
	findings_add(d->findings, FINDING_OK, "proxy: %s://%s%s",
	    d->proxy->kind == PROXY_KIND_HTTP ? "http" : "socks5", at->text,
	    d->proxy->has_user ? ", with a user" : "");
	if (at->kind == UPSTREAM_NAME &&
	    !resolve(d, &at->name, FINDING_ERROR, &a))
		return false;
	for (size_t i = 0; i < a.count; i++)
		works |= connect_to_proxy(d, a.addrs[i]);
	if (!works)
		findings_add(d->findings, FINDING_ERROR,
		    "the proxy %s cannot be connected to", at->text);
	return works;
}
