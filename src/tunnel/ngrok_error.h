/*
 * Errors in answers to agents: a sentence for people, and on a line of its own
 * the number that ngrok documents for the same failure, which SDKs cut out by
 * pattern (`ERR_NGROK_334`). Failures for which nothing is documented have no
 * such line. One line a failure; all derives from the table.
 *
 * Source: ngrok/ngrok-docs, errors/err_ngrok_N.mdx.
 */
#ifndef TUNNEL_NGROK_ERROR_H
#define TUNNEL_NGROK_ERROR_H

#include "base/text.h"

/* Name, number (0: none), and the sentence around what it is about. */
#define NGROK_ERROR_TABLE(X)                                                   \
	/* Auth */                                                             \
	X(METADATA_LENGTH, 100, "The metadata is longer than ", " bytes.")     \
	X(TOKEN_MALFORMED, 105,                                                \
	    "The authtoken does not look like one of this edge's.", "")        \
	X(TOKEN_UNKNOWN, 107,                                                  \
	    "The authtoken is well formed, but this edge does not know it. "   \
	    "It may have been replaced or revoked.",                           \
	    "")                                                                \
	X(SESSION_LIMIT, 108, "This edge takes at most ",                      \
	    " agent sessions at once.")                                        \
	X(AUTH_INVALID, 109, "The authentication request is not valid: ", ".") \
	X(HEARTBEAT_INTERVAL, 111, "The heartbeat interval must be at least ", \
	    ".")                                                               \
	X(HEARTBEAT_TOLERANCE, 112,                                            \
	    "The heartbeat tolerance must be at least ", ".")                  \
	X(CREDENTIAL_REVOKED, 300, "The credential ",                          \
	    " has been revoked and is no longer valid.")                       \
	X(TOKEN_MISSING, 4018, "This edge needs an authtoken.", "")            \
	X(PROTOCOL_VERSION, 0,                                                 \
	    "None of the agent's protocol versions is known here; this edge "  \
	    "speaks ",                                                         \
	    ".")                                                               \
	X(TOO_MANY_ATTEMPTS, 0, "Too many failed attempts; try again later.",  \
	    "")                                                                \
	/* Bind */                                                             \
	X(BIND_INVALID, 301, "The bind request is not valid: ", ".")           \
	X(ACL_NAME, 316, "The credential does not permit binding the name ",   \
	    ".")                                                               \
	X(WILDCARD_NOT_RESERVED, 318,                                          \
	    "A wildcard must be reserved before it can be used: ", ".")        \
	X(NAME_NOT_RESERVED, 319,                                              \
	    "The name must be reserved before it can be used: ", ".")          \
	X(NAME_OF_ANOTHER, 320, "The name ",                                   \
	    " is reserved for another owner.")                                 \
	X(WILDCARD_NOT_EXACT, 321,                                             \
	    "A wildcard must be reserved exactly as it is used: ", ".")        \
	X(ENDPOINT_LIMIT, 324, "One agent session may bind at most ",          \
	    " endpoints.")                                                     \
	X(NAME_INVALID, 326, "The name cannot be used: ", ".")                 \
	X(PROTO_UNSUPPORTED, 332, "The protocol ",                             \
	    " is not supported; this edge has endpoints of tls only.")         \
	X(NAME_TAKEN, 334, "The endpoint ",                                    \
	    " is already online. Stop it first, or start all of them with "    \
	    "pooling enabled and the same settings.")                          \
	X(BIND_TOKEN_MALFORMED, 335, "The bind token is malformed.", "")       \
	X(CIDR_INVALID, 362, "The IP restriction has an invalid CIDR: ", ".")  \
	X(NAME_OF_EDGE, 381, "The name ",                                      \
	    " is already served by the edge itself.")                          \
	X(DENY_WITHOUT_ALLOW, 393,                                             \
	    "With CIDRs to deny there must be at least one to allow, or all "  \
	    "traffic would be denied. Use 0.0.0.0/0 and ::/0 to allow all "    \
	    "that is not denied.",                                             \
	    "")                                                                \
	X(ACL_LABEL, 399, "The credential does not permit binding the label ", \
	    ".")                                                               \
	X(MUTUAL_TLS_NEEDS_TERMINATION, 1694,                                  \
	    "Mutual TLS at the edge needs TLS termination at the edge.", "")   \
	X(MUTUAL_TLS_NO_CA, 1695,                                              \
	    "The CAs for mutual TLS hold no certificate in PEM.", "")          \
	X(TRAFFIC_POLICY, 9026,                                                \
	    "A traffic policy cannot be carried out by this edge; it is "      \
	    "refused rather than ignored.",                                    \
	    "")                                                                \
	X(CERTIFICATE_INVALID, 14001,                                          \
	    "The certificate and key for TLS termination are not valid: ",     \
	    ".")                                                               \
	X(MUTUAL_TLS_CA_INVALID, 14002,                                        \
	    "The CAs for mutual TLS are not valid: ", ".")                     \
	X(POOL_LIMIT, 18020, "The pool may hold at most ", " endpoints.")      \
	X(IP_POLICY_REF, 0, "This edge has no IP policies to refer to.", "")   \
	X(BINDING_UNSUPPORTED, 0, "The binding ",                              \
	    " is not supported; this edge has public endpoints only.")         \
	X(NO_BASE_DOMAIN, 0,                                                   \
	    "This edge gives no random names; a domain must be asked for.",    \
	    "")                                                                \
	X(NAME_RESERVED, 0, "The name ",                                       \
	    " is the edge's own, for agents to connect to.")                   \
	X(NO_LABELS, 0, "At least one label is needed.", "")                   \
	X(NOT_BOUND, 0, "There is no endpoint with the id ", ".")              \
	X(NO_MEMORY, 0, "The edge is out of memory.", "")                      \
	X(DRAINING, 0, "The edge is about to stop.", "")

enum ngrok_error {
#define X(name, number, before, after) NGROK_##name,
	NGROK_ERROR_TABLE(X)
#undef X
};

#define NGROK_ERROR_SIZE 1024 /* is enough for any text below */

/*
 * The text: the sentence about `subject` (a name, a number, or nothing;
 * escaped, at most 400 bytes of it), an empty line, and the line with the
 * number if there is one.
 */
void ngrok_error_text(
    struct text *out, enum ngrok_error e, struct span subject);

/* 334, or 0. */
unsigned ngrok_error_number(enum ngrok_error e);

/* Agent: the number in a text that an edge sent, or 0. */
unsigned ngrok_error_find(struct span text);

#endif
