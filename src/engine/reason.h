/*
 * Close reasons: why a connection ended. One line a reason; the enum, the word
 * in events and logs, the counters and the manual's table come from here.
 */
#ifndef ENGINE_REASON_H
#define ENGINE_REASON_H

#define REASON_TABLE(X)                                                       \
	X(CLIENT_CLOSED, "client_closed", "the client ended the connection")  \
	X(UPSTREAM_CLOSED, "upstream_closed",                                 \
	    "the upstream ended the connection")                              \
	X(PROXY_MALFORMED, "proxy_malformed",                                 \
	    "the PROXY header was missing or not exactly right")              \
	X(PROXY_UNTRUSTED, "proxy_untrusted",                                 \
	    "the peer may not speak on a listener that takes PROXY headers")  \
	X(PROXY_TIMEOUT, "proxy_timeout",                                     \
	    "no whole PROXY header within its time")                          \
	X(HELLO_TIMEOUT, "hello_timeout",                                     \
	    "no whole ClientHello within timeouts.hello")                     \
	X(HELLO_MALFORMED, "hello_malformed",                                 \
	    "the ClientHello was not well formed; an alert was sent")         \
	X(NOT_TLS, "not_tls", "the first bytes were not TLS")                 \
	X(UNKNOWN_NAME, "unknown_name",                                       \
	    "no endpoint for the name, or no name and no default")            \
	X(DENIED_IP, "denied_ip", "refused by the endpoint's ip_restriction") \
	X(DENIED_POLICY, "denied_policy", "refused by the policy")            \
	X(POLICY_ERROR, "policy_error",                                       \
	    "the policy raised an error or its decision was not valid")       \
	X(POLICY_TIMEOUT, "policy_timeout",                                   \
	    "the policy used up its CPU or wall time")                        \
	X(POLICY_MEMORY, "policy_memory", "the policy used up its memory")    \
	X(HANDSHAKE_FAILED, "handshake_failed",                               \
	    "the TLS handshake with the client failed")                       \
	X(HANDSHAKE_TIMEOUT, "handshake_timeout",                             \
	    "the TLS handshake did not end within timeouts.handshake")        \
	X(CLIENT_CERTIFICATE_MISSING, "client_certificate_missing",           \
	    "the client gave no certificate where one is required")           \
	X(CLIENT_CERTIFICATE_INVALID, "client_certificate_invalid",           \
	    "the client's certificate was not accepted")                      \
	X(NO_CERTIFICATE, "no_certificate", "no certificate covers the name") \
	X(TLS_FAILED, "tls_failed",                                           \
	    "the client's TLS was broken after the handshake")                \
	X(ENDPOINT_OFFLINE, "endpoint_offline",                               \
	    "nothing serves the endpoint now")                                \
	X(AGENT_REFUSED, "agent_refused",                                     \
	    "the agent would not take the connection; the detail says why")   \
	X(AGENT_LOST, "agent_lost", "the agent went away, or did not answer") \
	X(UPSTREAM_REFUSED, "upstream_refused",                               \
	    "the upstream refused the connection")                            \
	X(UPSTREAM_TIMEOUT, "upstream_timeout",                               \
	    "the upstream did not answer within timeouts.connect")            \
	X(UPSTREAM_DNS, "upstream_dns", "the upstream's name has no address") \
	X(UPSTREAM_UNREACHABLE, "upstream_unreachable",                       \
	    "no route to the upstream, or its socket is missing")             \
	X(UPSTREAM_TLS_FAILED, "upstream_tls_failed",                         \
	    "the TLS with the upstream failed")                               \
	X(NO_LOCAL_PORT, "no_local_port",                                     \
	    "no local port was left for the upstream's address")              \
	X(IDLE_TIMEOUT, "idle_timeout", "no byte moved within timeouts.idle") \
	X(CLIENT_RESET, "client_reset", "the client reset the connection")    \
	X(UPSTREAM_RESET, "upstream_reset",                                   \
	    "the upstream reset the connection")                              \
	X(DRAIN, "drain", "still open at the end of timeouts.drain")          \
	X(CLOSED_BY_OPERATOR, "closed_by_operator",                           \
	    "the process was told to stop at once")                           \
	X(LIMIT, "limit", "a configured limit was reached")                   \
	X(NO_MEMORY, "no_memory", "memory ran out")                           \
	X(INTERNAL, "internal", "a system call failed unexpectedly")

enum reason {
	REASON_NONE,
#define REASON_ENUM(id, word, meaning) REASON_##id,
	REASON_TABLE(REASON_ENUM)
#undef REASON_ENUM
	    REASON_COUNT
};

const char *reason_word(enum reason r);
const char *reason_meaning(enum reason r);

#endif
