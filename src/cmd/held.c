#include "cmd/held.h"

#include <limits.h>
#include <stdlib.h>
#include <time.h>

#include "cmd/load.h"

#define LINE_SIZE 2048

/* Taken over for the time of a look at upstreams. */
struct collecting {
	struct held *held;
	struct look *look;
	bool failed;
};

static bool
add(struct held *h, struct findings *f, const char *fingerprint)
{
	void *grown =
	    realloc(h->fingerprints, (h->count + 1) * sizeof(*h->fingerprints));
	struct text t;

	if (grown == NULL) {
		findings_add(f, FINDING_ERROR, "out of memory");
		return false;
	}
	h->fingerprints = grown;
	text_init(&t, h->fingerprints[h->count], CERTIFICATE_FINGERPRINT_SIZE);
	text_add(&t, fingerprint);
	h->count++;
	return true;
}

void
held_fini(struct held *h)
{
	free(h->fingerprints);
	trust_put(h->ca);
	*h = (struct held){ .count = 0 };
}

/* --- files --- */

static void
add_common_name(struct text *out, const struct peer *p)
{
	text_addf(out, "SHA-256 %.*s", SPAN_ARG(p->fingerprint_sha256));
	if (p->subject.common_name.len > 0) {
		text_add(out, ", subject CN=");
		text_add_escaped(out, p->subject.common_name, 128);
	}
	text_add(out, ", valid from ");
	add_date(out, p->not_before);
	text_add(out, " to ");
	add_date(out, p->not_after);
}

/* A line for the first certificate of a file; NULL: an error line. */
static struct peer *
tell_file(struct findings *f, const char *what, const char *path)
{
	char storage[LINE_SIZE];
	struct text t;

	text_init(&t, storage, sizeof(storage));
	struct peer *p = peer_load(path, &t);

	if (p == NULL) {
		findings_add(f, FINDING_ERROR, "%s", t.data);
		return NULL;
	}
	text_clear(&t);
	add_common_name(&t, p);
	findings_add(f, FINDING_OK, "held here: %s %s: %s", what, path, t.data);
	return p;
}

bool
held_add_file(struct held *h, struct findings *f, const char *path)
{
	struct peer *p = tell_file(f, "certificate", path);
	char hex[CERTIFICATE_FINGERPRINT_SIZE];
	struct text t;
	bool good;

	if (p == NULL)
		return false;
	text_init(&t, hex, sizeof(hex));
	text_add_span(&t, p->fingerprint_sha256);
	good = add(h, f, hex);
	peer_free(p);
	return good;
}

static bool
add_local_ca(struct held *h, struct findings *f, const struct snapshot *s)
{
	char path[PATH_MAX], storage[LINE_SIZE];
	const char *cas = path;
	struct text error;
	struct peer *p;

	local_ca_path(s, path, sizeof(path));
	p = tell_file(f, "the local CA", path);
	if (p == NULL)
		return false;
	peer_free(p);
	text_init(&error, storage, sizeof(storage));
	h->ca = trust_load(&cas, 1, NULL, 0, &error);
	if (h->ca == NULL)
		findings_add(f, FINDING_ERROR, "%s", error.data);
	return h->ca != NULL;
}

/* --- the agent's certificates --- */

/* As a handshake would choose. */
static bool
choose(const struct snapshot *s, const struct endpoint *e,
    const struct host *name, struct key_choice *out)
{
	if (e->termination.certificate != NULL)
		return keyring_labelled(
		    s->keyring, e->termination.certificate, time(NULL), out);
	return keyring_find(s->keyring, host_span(name), time(NULL), out);
}

static bool
add_certificate(struct held *h, struct findings *f, const struct certificate *c)
{
	char storage[LINE_SIZE];
	struct text t;

	text_init(&t, storage, sizeof(storage));
	text_addf(&t, "SHA-256 %s, subject %s, valid from ",
	    certificate_fingerprint(c), certificate_subject(c));
	add_date(&t, certificate_not_before(c));
	text_add(&t, " to ");
	add_date(&t, certificate_not_after(c));
	findings_add(f, FINDING_OK, "held here: the %s certificate: %s",
	    key_kind_name(certificate_key_kind(c)), t.data);
	return add(h, f, certificate_fingerprint(c));
}

static bool
add_agents(struct held *h, struct findings *f, const struct snapshot *s,
    const struct endpoint *e, const struct host *name)
{
	struct key_choice keys;
	bool good = true;

	if (!choose(s, e, name, &keys)) {
		if (s->local_ca)
			return add_local_ca(h, f, s);
		findings_add(f, FINDING_ERROR,
		    "the agent has no certificate for %s", name->text);
		return false;
	}
	for (size_t i = 0; i < KEY_KIND_COUNT; i++)
		if (keys.by_kind[i] != NULL)
			good = add_certificate(h, f, keys.by_kind[i]) && good;
	key_choice_put(&keys);
	return good;
}

/* --- upstreams --- */

static void
on_leaf(void *owner, const char *where, const struct probe *p)
{
	struct collecting *c = owner;
	char storage[LINE_SIZE];
	struct text t;

	text_init(&t, storage, sizeof(storage));
	add_leaf(&t, p);
	findings_add(c->look->findings, FINDING_OK,
	    "held here: shown by the upstream at %s: %s", where, t.data);
	c->failed |= !add(c->held, c->look->findings, p->fingerprint);
}

bool
held_add_upstream(struct held *h, struct look *l, const struct look_target *t)
{
	struct collecting c = { .held = h, .look = l };

	l->who = "the upstream";
	l->failure = FINDING_WARN; /* another one may do */
	l->on_leaf = on_leaf;
	l->owner = &c;
	bool looked = look_at(l, t);

	l->owner = NULL;
	if (!looked)
		findings_add(l->findings, FINDING_ERROR, "out of memory");
	return looked && !c.failed;
}

static bool
add_upstreams(struct held *h, struct look *l, const struct endpoint *e,
    const struct host *name)
{
	bool good = true;

	for (size_t i = 0; good && i < e->upstream_count; i++) {
		struct look_target t = {
			.address = &e->upstreams[i].address,
			.name = name,
			.proxy_proto = e->proxy_proto,
		};

		good = held_add_upstream(h, l, &t);
	}
	if (good && h->count == 0)
		findings_add(l->findings, FINDING_ERROR,
		    "no upstream of endpoint %s shows a certificate", e->name);
	return good && h->count > 0;
}

bool
held_add_endpoint(struct held *h, struct look *l, const struct snapshot *s,
    const struct endpoint *e, const struct host *name)
{
	switch (e->terminate_at) {
	case TERMINATE_AGENT:
		return add_agents(h, l->findings, s, e, name);
	case TERMINATE_UPSTREAM:
		return add_upstreams(h, l, e, name);
	default:
		findings_add(l->findings, FINDING_ERROR,
		    "endpoint %s: terminate_at is edge: the edge ends TLS, "
		    "and can read and change what %s says and is told",
		    e->name, name->text);
		return false;
	}
}

/* --- comparing --- */

bool
held_has(const struct held *h, const struct probe *shown,
    const struct host *name, struct text *error)
{
	if (h->ca != NULL) {
		text_add(error, "the local CA held here has not made it: ");
		return probe_check(shown, h->ca, host_span(name), error) == 0;
	}
	text_add(error, "held here is");
	for (size_t i = 0; i < h->count; i++) {
		if (strcmp(h->fingerprints[i], shown->fingerprint) == 0)
			return true;
		text_addf(error, "%s SHA-256 %s", i > 0 ? " or" : "",
		    h->fingerprints[i]);
	}
	return false;
}
