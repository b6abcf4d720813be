/*
 * From what an agent asks for to an endpoint: which name, and on what terms.
 */
#ifndef TUNNEL_EDGE_OFFER_H
#define TUNNEL_EDGE_OFFER_H

#include "base/compiler.h"
#include "config/snapshot.h"
#include "engine/generation.h"
#include "tunnel/message.h"
#include "tunnel/ngrok_error.h"
#include "wire/host.h"

struct edge_session;

/* Why not: an error, and what it is about (may be empty). */
struct edge_refusal {
	enum ngrok_error error;
	char subject[256];
};

/* A name that agents connect to, so no endpoint's. */
bool edge_name_is_reserved(const struct snapshot *s, struct span name);

/* A name that the agent's token proves to have been given to it at random. */
bool edge_name_was_given(
    struct edge_session *es, const struct bind *b, const struct host *name);

/*
 * The name that was asked for. 0 with `name`, empty for a random one; or -1
 * with the refusal. Looks at the credential's rules and at what is reserved or
 * configured.
 */
int edge_offer_name(struct edge_session *es, const struct bind *b,
    struct host *name, struct edge_refusal *why) MUST_CHECK;

/* What does not depend on the name: 0, or -1 with the refusal. */
int edge_offer_check(const struct bind *b, struct edge_refusal *why) MUST_CHECK;

/* The endpoint, with one reference. NULL with the refusal. */
struct endpoint *edge_offer_endpoint(const struct generation *g,
    const struct bind *b, const struct host *name, struct edge_refusal *why);

void edge_refuse(
    struct edge_refusal *why, enum ngrok_error e, struct span subject);

#endif
