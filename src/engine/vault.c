#include "engine/vault.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static bool
open_keylog(struct vault *v, const struct snapshot *s, struct text *error)
{
	if (!s->keylog)
		return true;
	v->keylog_fd =
	    open(s->keylog, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (v->keylog_fd < 0) {
		text_addf(error, "cannot write the key log %s: %s", s->keylog,
		    log_errno_text(errno));
		return false;
	}
	LOG_WARN("the secrets of all TLS connections are written to a file: "
		 "whoever reads it can read them",
	    LOG_TEXT("file", s->keylog));
	return true;
}

bool
vault_init(struct vault *v, const struct snapshot *s, struct text *error)
{
	v->tickets = tickets_new();
	if (!v->tickets) {
		text_add(error, "no memory for the ticket keys");
		return false;
	}
	return open_keylog(v, s, error);
}

void
vault_fini(struct vault *v)
{
	struct rates *limits = atomic_load(&v->handshakes);

	if (limits)
		rates_free(limits);
	if (v->tickets)
		tickets_free(v->tickets);
	authority_put(v->authority);
	if (v->keylog_fd >= 0)
		close(v->keylog_fd);
}

/* Certificates that it has made stay the same over reloads. */
static bool
share_authority(struct vault *v, struct generation *g, struct text *error)
{
	const struct snapshot *s = g->snapshot;
	bool made = false;

	if (!s->local_ca)
		return true;
	if (!v->authority) {
		v->authority = authority_open(s->state, &made, error);
		if (!v->authority)
			return false;
		LOG_WARN("names without a certificate get one of the local CA, "
			 "which clients must be told to trust",
		    LOG_TEXT("ca", authority_path(v->authority)),
		    LOG_TEXT("made", made ? "now" : "before"));
	}
	g->authority = authority_get(v->authority);
	return true;
}

static bool
needs_system_trust(const struct snapshot *s)
{
	/* A script may name any upstream. */
	if (s->script_count > 0 &&
	    (s->local_ca || keyring_count(s->keyring) > 0))
		return true;
	for (size_t i = 0; i < s->endpoint_count; i++) {
		const struct endpoint *e = s->endpoints[i];

		if (e->terminate_at != TERMINATE_EDGE ||
		    e->upstream_tls.trust ||
		    e->upstream_tls.verify == VERIFY_OFF)
			continue;
		for (size_t j = 0; j < e->upstream_count; j++)
			if (e->upstreams[j].address.tls)
				return true;
	}
	return false;
}

/* Without it an upstream that is to be verified by it is refused. */
static void
read_system_trust(struct generation *g)
{
	char storage[256];
	struct text error;

	if (!needs_system_trust(g->snapshot))
		return;
	text_init(&error, storage, sizeof(storage));
	g->system_trust = trust_system(&error);
	if (!g->system_trust)
		LOG_WARN("the system's CAs cannot be read",
		    LOG_TEXT("error", error.data));
}

static bool
limits_handshakes(const struct snapshot *s)
{
	if (s->limits.handshakes_per_second > 0 ||
	    s->limits.handshakes_per_second_per_client > 0)
		return true;
	for (size_t i = 0; i < s->endpoint_count; i++)
		if (s->endpoints[i]->handshakes_per_second > 0)
			return true;
	return false;
}

/* Workers may look at it while it is made. */
static bool
prepare_limits(struct vault *v, const struct snapshot *s, struct text *error)
{
	if (atomic_load(&v->handshakes) || !limits_handshakes(s))
		return true;
	atomic_store(&v->handshakes, rates_new());
	if (atomic_load(&v->handshakes))
		return true;
	text_add(error, "no memory for the handshake limits");
	return false;
}

bool
vault_prepare(struct vault *v, struct generation *g, struct text *error)
{
	if (!share_authority(v, g, error) ||
	    !prepare_limits(v, g->snapshot, error))
		return false;
	read_system_trust(g);
	return tickets_use_file(v->tickets, g->snapshot->ticket_keys, error) ==
	       0;
}
