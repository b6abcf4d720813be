#include "config/schema.h"

/* Ranges, so that a slip in the unit shows. */
#define SECONDS(n) ((n)*UINT64_C(1000))
#define MINUTES(n) SECONDS(60 * (n))
#define HOURS(n) MINUTES(60 * (n))
#define DAYS(n) HOURS(24 * (n))
#define KIB(n) ((n)*UINT64_C(1024))
#define MIB(n) KIB(1024 * (n))
#define GIB(n) MIB(1024 * (n))

/* Where a value goes, and how it is read. */
#define IN(type, member)                         \
	.offset = offsetof(struct type, member), \
	.size = sizeof(((struct type *)0)->member)
#define RANGE(lo, hi) .min = (lo), .max = (hi)
#define DURATION(lo, hi) \
	.read = read_duration, .type = "duration", RANGE(lo, hi)
#define SIZE(lo, hi) .read = read_size, .type = "size", RANGE(lo, hi)
#define NUMBER(lo, hi) .read = read_number, .type = "number", RANGE(lo, hi)
#define BOOLEAN .read = read_boolean, .type = "boolean"
#define WORD(list) .read = read_word, .type = "word", .words = (list)
#define MAP(of) .read = read_section, .type = "map", .section = &(of)
#define LATER .read = NULL
#define SECTION(of)                                    \
	{                                              \
		.keys = (of), .count = ARRAY_COUNT(of) \
	}

/* In the order of their enums. */
static const char *const terminate_words[] = { "edge", "agent", "upstream",
	NULL };
static const char *const balance_words[] = { "round_robin", "least_connections",
	"random_two", "hash", NULL };
static const char *const tlv_words[] = { "authority", "alpn", "unique_id",
	"crc32c", "ssl", "client_certificate", NULL };
static const char *const format_words[] = { "term", "logfmt", "json", NULL };
static const char *const local_ca_words[] = { "off", "auto", NULL };
static const char *const auth_words[] = { "request", "require", NULL };
static const char *const level_words[] = { "debug", "info", "warn", "error",
	NULL };

static const struct key proxy_protocol_keys[] = {
	{ "accept", read_proxy_versions, "list of 1, 2", RANGE(1, 2),
	    .required = true,
	    .help = "The versions of the PROXY protocol that are taken." },
	{ "from", read_networks, "list of networks", RANGE(1, 10000),
	    IN(listen_settings, proxy_from), .required = true,
	    .help = "The peers that speak it; each must send a header." },
	{ "required", BOOLEAN, IN(listen_settings, proxy_required),
	    .fallback = "true",
	    .help = "Other peers are closed; if false, they are plain "
		    "clients." },
};
static const struct section proxy_protocol = SECTION(proxy_protocol_keys);

static const struct key listener_keys[] = {
	{ "address", read_listen_address, "address and port", .required = true,
	    .help = "Such as \":443\" (all addresses), \"192.0.2.1:443\", "
		    "\"[2001:db8::1]:443\"; port 0 takes a free one." },
	{ "proxy_protocol", MAP(proxy_protocol),
	    .help = "Says that a PROXY header comes before the TLS." },
};
const struct section schema_listener = SECTION(listener_keys);

static const struct key policy_keys[] = {
	{ "file", read_policy_file, "file",
	    .help = "The Lua script that decides about every connection." },
	{ "path", read_folders, "list of folders", RANGE(1, 64),
	    .help = "Where require() finds modules, besides the script's own "
		    "folder and the installed library." },
	{ "cpu", DURATION(1, SECONDS(10)), IN(policy_options, cpu_ms),
	    .fallback = "50ms",
	    .help = "CPU time of one run between two waits." },
	{ "wall", DURATION(1, MINUTES(10)), IN(policy_options, wall_ms),
	    .fallback = "10s",
	    .help = "Time of one run in all, its waits included." },
	{ "memory", SIZE(MIB(1), GIB(1)), IN(policy_options, memory_bytes),
	    .fallback = "64MiB", .help = "Memory of one worker's Lua state." },
	{ "run_memory", SIZE(KIB(64), GIB(1)),
	    IN(policy_options, run_memory_bytes), .fallback = "1MiB",
	    .help = "Memory that one run may allocate in all." },
	{ "jit", BOOLEAN, IN(policy_options, jit), .fallback = "false",
	    .help = "The just-in-time compiler. Compiled code is not "
		    "interrupted: on, a script that loops stops its worker." },
	{ "shadow", LATER },
};
static const struct section policy = SECTION(policy_keys);

static const struct key resolver_keys[] = {
	{ "servers", read_servers, "list of addresses and ports", RANGE(1, 16),
	    .shown = "the system's", .change = ON_RESTART,
	    .help = "Name servers for upstreams' names; port 53 if none is "
		    "given." },
};
static const struct section resolver = SECTION(resolver_keys);

static const struct key geo_keys[] = {
	{ "database", read_readable_file, "file", IN(snapshot, geo_database),

	    .help = "A MaxMind database: gives conn.geo and conn.as to "
		    "policies." },
};
static const struct section geo = SECTION(geo_keys);

static const struct key limit_keys[] = {
	{ "connections", NUMBER(1, 10000000), IN(limit_settings, connections),
	    .shown = "from the limit of descriptors",
	    .help = "Connections of the process at one time." },
	{ "connections_per_client", NUMBER(1, 10000000),
	    IN(limit_settings, connections_per_client), .shown = "off",
	    .help = "Connections of one client address at one time." },
	{ "handshakes_per_second", NUMBER(1, 10000000),
	    IN(limit_settings, handshakes_per_second), .shown = "off",
	    .help = "TLS handshakes of the process that begin in a second." },
	{ "handshakes_per_second_per_client", NUMBER(1, 10000000),
	    IN(limit_settings, handshakes_per_second_per_client),
	    .shown = "off",
	    .help = "TLS handshakes of one client address that begin in a "
		    "second." },
};
static const struct section limits = SECTION(limit_keys);

static const struct key timeout_keys[] = {
	{ "proxy", DURATION(10, HOURS(1)), IN(timeout_settings, proxy_ms),
	    .fallback = "3s", .help = "For a whole PROXY header." },
	{ "hello", DURATION(10, HOURS(1)), IN(timeout_settings, hello_ms),
	    .fallback = "3s", .help = "For a whole ClientHello." },
	{ "handshake", DURATION(10, HOURS(1)),
	    IN(timeout_settings, handshake_ms), .fallback = "10s",
	    .help = "For the whole TLS handshake, with a client and with an "
		    "upstream." },
	{ "connect", DURATION(10, HOURS(1)), IN(timeout_settings, connect_ms),
	    .fallback = "3s", .help = "For one attempt to reach an upstream." },
	{ "idle", DURATION(10, DAYS(30)), IN(timeout_settings, idle_ms),
	    .fallback = "5m", .help = "Without a byte in either direction." },
	{ "drain", DURATION(0, DAYS(1)), IN(timeout_settings, drain_ms),
	    .fallback = "30s",
	    .help = "For connections to end when the edge stops." },
};
static const struct section timeouts = SECTION(timeout_keys);

static const struct key log_keys[] = {
	{ "target", read_log_target, "stderr, stdout, false or file",
	    .fallback = "stderr", .change = ON_RESTART,
	    .help = "Where the log goes." },
	{ "format", WORD(format_words), IN(snapshot, log_format),
	    .fallback = "logfmt", .change = ON_RESTART,
	    .help = "For people, for tools or for machines." },
	{ "level", WORD(level_words), IN(snapshot, log_level),
	    .fallback = "info", .change = ON_RESTART,
	    .help = "The least important lines that are written." },
};
static const struct section log_section = SECTION(log_keys);

static const struct key ticket_keys[] = {
	{ "keys", read_readable_file, "file", IN(snapshot, ticket_keys),
	    .shown = "made and rotated here",
	    .help = "Keys of 80 bytes, raw or in base64 a line each; all of "
		    "them open, the last but one seals (the only one, if "
		    "there is one): so a new key is known to every edge "
		    "before it is used. For several edges that know each "
		    "other's sessions." },
	{ "life", DURATION(0, DAYS(7)), IN(snapshot, session_life_ms),
	    .fallback = "2h",
	    .help = "How long after its full handshake a session may be "
		    "resumed; 0 is never." },
};
static const struct section session_tickets = SECTION(ticket_keys);

static const struct key edge_keys[] = {
	{ "listen", read_listeners, "list of maps or addresses", RANGE(1, 256),
	    .section = &schema_listener, .list = true, .shown = ":443",
	    .help = "Where clients connect to." },
	{ "workers", read_workers, "number or auto", RANGE(1, 1024),
	    .fallback = "auto", .change = ON_RESTART,
	    .help = "Worker threads; auto is one a core." },
	{ "default_endpoint", read_default_endpoint, "URL of an endpoint",
	    .shown = "none: alert 112",
	    .help = "Takes clients without a name and names that no endpoint "
		    "has." },
	{ "hide_names", BOOLEAN, IN(snapshot, hide_names), .fallback = "false",
	    .help = "Answers a refused client as if the name did not exist." },
	{ "user", read_text, "user name", IN(snapshot, user), RANGE(1, 64),
	    .shown = "stay", .change = ON_RESTART,
	    .help = "The user to become once the listeners are bound." },
	{ "policy", MAP(policy), .offset = offsetof(struct snapshot, policy),
	    .help = "The edge's policy and the limits of all policies." },
	{ "resolver", MAP(resolver),
	    .help = "How names of upstreams become addresses." },
	{ "geo", MAP(geo), .help = "Country and network of clients." },
	{ "limits", MAP(limits), .offset = offsetof(struct snapshot, limits),
	    .help = "What the edge takes at most." },
	{ "timeouts", MAP(timeouts),
	    .offset = offsetof(struct snapshot, timeouts),
	    .help = "How long the edge waits in each state." },
	{ "log", MAP(log_section), .help = "The log." },
	{ "state", read_path, "folder", IN(snapshot, state),
	    .shown = "see FILES", .change = ON_RESTART,
	    .help = "Where what must outlive the process is kept: the local "
		    "CA." },
	{ "local_ca", WORD(local_ca_words), IN(snapshot, local_ca),
	    .fallback = "off",
	    .help = "Whether names of endpoints that end TLS here, and that "
		    "no certificate covers, get one from a CA that is made "
		    "in the state folder." },
	{ "session_tickets", MAP(session_tickets),
	    .help = "How clients resume TLS sessions that ended here." },
	{ "agents", LATER },
	{ "admin", LATER },
	{ "base_domain", LATER },
	{ "cluster", LATER },
};
static const struct section edge = SECTION(edge_keys);

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
	{ "address", read_upstream_address, "address", .required = true,
	    .help = "host:port, [v6]:port, unix:/path, or a port of this "
		    "host." },
	{ "weight", NUMBER(1, 256), IN(upstream_settings, weight),
	    .fallback = "1", .help = "Its share of the connections." },
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
	{ "url", read_url, "tls:// and a name", .required = true,
	    .help = "The name that clients ask for (SNI); \"tls://*.name\" is "
		    "all names below it." },
	{ "upstream", read_upstreams, "address, or list of them or of maps",
	    RANGE(1, 256), .section = &schema_upstream, .list = true,
	    .shown = "none: a policy chooses",
	    .help = "Where its connections go." },
	{ "terminate_at", WORD(terminate_words), .later = 1 << 1,
	    IN(endpoint, terminate_at), .fallback = "upstream",
	    .help = "Who ends the client's TLS: this edge, which can then "
		    "read the bytes, or the upstream." },
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
	{ "name", LATER },
	{ "pooling_enabled", LATER },
	{ "agent_tls_termination", LATER },
};
const struct section schema_endpoint = SECTION(endpoint_keys);

static const struct key event_keys[] = {
	{ "file", read_path, "file", IN(event_settings, file),
	    .help = "Events are appended to it, one JSON object a line." },
	{ "stdout", BOOLEAN, IN(event_settings, to_stdout), .shown = "false",
	    .help = "Events go to standard output instead." },
	{ "types", read_event_types, "list of words", RANGE(1, 64),
	    .shown = "all",
	    .help = "The events that this sink gets: "
		    "\"tcp_connection_closed.v0\", "
		    "\"certificate_expiring.v0\"." },
};
const struct section schema_event = SECTION(event_keys);

static const struct key certificate_keys[] = {
	{ "name", read_text, "text", RANGE(1, 64),
	    IN(certificate_entry, pair.label), .shown = "none",
	    .help = "By which endpoints and policies name it; shared only by "
		    "certificates with different kinds of key." },
	{ "crt", read_path, "file", IN(certificate_entry, pair.crt),
	    .help = "The certificate and its chain, PEM, the leaf first." },
	{ "key", read_path, "file", IN(certificate_entry, pair.key),
	    .shown = "in crt", .help = "The private key, PEM." },
	{ "folder", read_path, "folder", IN(certificate_entry, folder),
	    .help = "Instead of crt: all NAME.crt and NAME.pem in a folder, "
		    "each with the key in NAME.key or in the same file." },
	{ "ocsp", read_ocsp, "auto, fetch, off or file", .shown = "auto",
	    .help = "Where the stapled OCSP response comes from: the CA's "
		    "responder (fetch; auto only if the certificate must be "
		    "stapled) or a file, DER." },
};
const struct section schema_certificate = SECTION(certificate_keys);

static const struct key root_keys[] = {
	{ "version", read_version, "1", .required = true,
	    .help = "The version of the file's format." },
	{ "edge", MAP(edge), .help = "The edge itself." },
	{ "certificates", read_certificates, "list of maps", RANGE(0, 1000000),
	    .section = &schema_certificate, .list = true,
	    .help = "What the edge shows to clients whose TLS ends here; "
		    "chosen by the name they ask for." },
	{ "endpoints", read_endpoints, "list of maps", RANGE(0, 1000000),
	    .section = &schema_endpoint, .list = true,
	    .help = "The names that are served, and where they lead." },
	{ "events", read_events, "list of maps", RANGE(0, 16),
	    .section = &schema_event, .list = true,
	    .help = "Where events about connections go." },
	{ "cluster", LATER },
	{ "agent", LATER },
};
const struct section schema_root = SECTION(root_keys);
