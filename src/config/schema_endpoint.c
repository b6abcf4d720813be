/* The keys of an endpoint. */
#include "config/keys.h"

/* In the order of their enums. */
static const char *const terminate_words[] = { "edge", "agent", "upstream",
	NULL };
static const char *const balance_words[] = { "round_robin", "least_connections",
	"random_two", "hash", NULL };
static const char *const tlv_words[] = { "authority", "alpn", "unique_id",
	"crc32c", "ssl", "client_certificate", NULL };
static const char *const auth_words[] = { "request", "require", NULL };

static const struct key restriction_keys[] = {
	{ "allow", read_networks, "list of networks", RANGE(1, 100000),
	    IN(endpoint, allow), .shown = "all",
	    .help = "Clients that may connect." },
	{ "deny", read_networks, "list of networks", RANGE(1, 100000),
	    IN(endpoint, deny), .shown = "none",
	    .help = "Clients that may not, though allowed; needs allow." },
};
static const struct section restriction = SECTION(restriction_keys);

static const struct key health_keys[] = {
	{ "every", DURATION(50, HOURS(1)), IN(health_settings, every_ms),
	    .required = true,
	    .help = "The time between two checks of an upstream." },
	{ "fall", NUMBER(1, 100), IN(health_settings, fall), .fallback = "3",
	    .help = "Failures in a row that take it down." },
	{ "rise", NUMBER(1, 100), IN(health_settings, rise), .fallback = "2",
	    .help = "Successes in a row that bring it back." },
};
static const struct section health = SECTION(health_keys);

static const struct key endpoint_timeout_keys[] = {
	{ "handshake", DURATION(10, HOURS(1)), IN(endpoint, handshake_ms),
	    .shown = "the edge's",
	    .help = "As edge.timeouts.handshake, for this endpoint." },
	{ "connect", DURATION(10, HOURS(1)), IN(endpoint, connect_ms),
	    .shown = "the edge's",
	    .help = "As edge.timeouts.connect, for this endpoint." },
	{ "idle", DURATION(10, DAYS(30)), IN(endpoint, idle_ms),
	    .shown = "the edge's",
	    .help = "As edge.timeouts.idle, for this endpoint." },
};
static const struct section endpoint_timeouts = SECTION(endpoint_timeout_keys);

static const struct key upstream_keys[] = {
	{ "address", read_upstream_address, "address",
	    .shown = "required, or url",
	    .help = "host:port, [v6]:port, unix:/path, or a port of this "
		    "host." },
	{ "url", read_upstream_address, "address", OF_AGENT,
	    .shown = "required, or address",
	    .help = "The same as address; as the agents of others have it." },
	{ "weight", NUMBER(1, 256), IN(upstream_entry, upstream.weight),
	    .fallback = "1", .help = "Its share of the connections." },
	{ "proxy_protocol", NUMBER(1, 2), IN(upstream_entry, proxy_proto),
	    OF_AGENT, .shown = "none",
	    .help = "The same as the endpoint's proxy_proto; of an upstream "
		    "that is the only one." },
};
const struct section schema_upstream = SECTION(upstream_keys);

static const struct key mutual_tls_keys[] = {
	{ "cas", read_paths, "file or list of files", RANGE(1, 64),
	    IN(mutual_tls_entry, cas), .required = true,
	    .help = "Certificates of the CAs whose clients are let in, PEM." },
	{ "mode", WORD(auth_words), IN(mutual_tls_entry, mode),
	    .shown = "require",
	    .help = "Whether a client must have a certificate; with request "
		    "it may do without, but one that it shows must be good." },
	{ "crls", read_paths, "file or list of files", RANGE(1, 64),
	    IN(mutual_tls_entry, crls), .shown = "none",
	    .help = "Revocation lists, PEM; if there are any, each CA of a "
		    "client's chain must have one." },
};
const struct section schema_mutual_tls = SECTION(mutual_tls_keys);

static const struct key upstream_tls_keys[] = {
	{ "verify", read_verify, "boolean", IN(upstream_tls_settings, verify),
	    .shown = "true, but for loopback and Unix sockets",
	    .help = "Whether the upstream's certificate must be good." },
	{ "cas", read_upstream_cas, "file or list of files", RANGE(1, 64),
	    IN(upstream_tls_settings, trust), .shown = "the system's",
	    .help = "Certificates of the CAs that it may come from, PEM." },
	{ "server_name", read_server_name, "name or IP address",
	    IN(upstream_tls_settings, server_name), .shown = "the address's",
	    .help = "The name that is asked for and must be in its "
		    "certificate." },
	{ "certificate", read_text, "name of a certificate", RANGE(1, 64),
	    IN(upstream_tls_settings, certificate), .shown = "none",
	    .help = "What the edge shows when the upstream asks for a "
		    "certificate." },
};
static const struct section upstream_tls = SECTION(upstream_tls_keys);

static const struct key endpoint_keys[] = {
	{ "name", read_endpoint_name, "text", RANGE(1, 64), IN(endpoint, name),
	    OF_AGENT, .required = true,
	    .help = "By which lunette agent starts it; unique in its file." },
	{ "url", read_url, "tls:// and a name",
	    .shown = "required; an agent's: a random name",
	    .help = "The name that clients ask for (SNI); \"tls://*.name\" is "
		    "all names below it. Without it the edge chooses one for "
		    "an agent's endpoint." },
	{ "upstream", read_upstreams, "address, or list of them or of maps",
	    RANGE(1, 256), .section = &schema_upstream, .list = true,
	    .shown = "none: a policy chooses",
	    .help = "Where its connections go." },
	{ "terminate_at", read_terminate_at, "word", .words = terminate_words,
	    IN(endpoint, terminate_at), .fallback = "upstream",
	    .help = "Who ends the client's TLS, and can then read the bytes: "
		    "the edge, the agent (only in its own file), or the "
		    "upstream." },
	{ "agent_tls_termination", read_agent_tls, "map", OF_AGENT,
	    .section = &schema_agent_tls, .lazy = true, .shown = "none",
	    .help = "TLS that ends at the agent, with a certificate of its "
		    "own; brings terminate_at: agent." },
	{ "certificate", read_text, "name of a certificate", RANGE(1, 64),
	    IN(endpoint, termination.certificate),
	    .shown = "chosen by the name asked for",
	    .help = "The one that is shown whatever name is asked for." },
	{ "min_version", read_tls_version, "1.2 or 1.3",
	    IN(endpoint, termination.min_version), .fallback = "1.2",
	    .help = "The oldest version of TLS that is spoken." },
	{ "max_version", read_tls_version, "1.2 or 1.3",
	    IN(endpoint, termination.max_version), .fallback = "1.3",
	    .help = "The newest one." },
	{ "alpn", read_alpn, "list of texts", RANGE(1, 64), .shown = "none",
	    .help = "The protocols that may be agreed on, the preferred one "
		    "first; a client that offers only others is refused." },
	{ "mutual_tls", read_mutual_tls, "map", .section = &schema_mutual_tls,
	    .shown = "none", .help = "Asks clients for a certificate." },
	{ "handshakes_per_second", NUMBER(1, 10000000),
	    IN(endpoint, handshakes_per_second), .shown = "off",
	    .help = "TLS handshakes of the endpoint that begin in a second." },
	{ "upstream_tls", MAP(upstream_tls),
	    .offset = offsetof(struct endpoint, upstream_tls),
	    .help = "How TLS is spoken to upstreams with tls://, where the "
		    "client's TLS ended here." },
	{ "balance", WORD(balance_words), IN(endpoint, balance),
	    .fallback = "round_robin",
	    .help = "How one of several upstreams is chosen." },
	{ "health", MAP(health), .offset = offsetof(struct endpoint, health),
	    .shown = "no checks",
	    .help = "Connects to its upstreams now and then." },
	{ "ip_restriction", read_restriction, "map", .section = &restriction,
	    .help = "The client addresses that may connect." },
	{ "proxy_proto", NUMBER(0, 2), IN(endpoint, proxy_proto),
	    .fallback = "0",
	    .help = "Version of the PROXY header sent to the upstream; 0 is "
		    "none." },
	{ "proxy_tlvs", read_proxy_tlvs, "list of words", RANGE(1, 6),
	    .words = tlv_words, IN(endpoint, proxy_tlvs), .shown = "none",
	    .help = "What the header of version 2 tells besides addresses." },
	{ "policy", read_endpoint_policy, "file",
	    .help = "A Lua script that decides about its connections, after "
		    "the edge's." },
	{ "timeouts", MAP(endpoint_timeouts), .help = "Its own timeouts." },
	{ "bytes_per_second", SIZE(KIB(1), GIB(1024)),
	    IN(endpoint, bytes_per_second), .shown = "off",
	    .help = "The most that one connection carries in each "
		    "direction." },
	{ "metadata", read_metadata, "text", RANGE(0, 4096),
	    IN(endpoint, metadata),
	    .help = "For policies, as conn.endpoint.metadata." },
	{ "labels", read_labels, "map of texts", RANGE(0, 64),
	    .help = "For policies, as conn.endpoint.labels." },
	{ "pooling_enabled", BOOLEAN, IN(endpoint, pooling_enabled), OF_AGENT,
	    .fallback = "false",
	    .help = "Whether endpoints of several agents may have the name at "
		    "a time and share its connections; all of them must say "
		    "so." },
};
const struct section schema_endpoint = SECTION(endpoint_keys);
