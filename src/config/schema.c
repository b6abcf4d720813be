#include "config/schema.h"

#include "config/keys.h"

/* In the order of their enums. */
static const char *const format_words[] = { "term", "logfmt", "json", NULL };
static const char *const local_ca_words[] = { "off", "auto", NULL };
static const char *const serves_words[] = { "both", "agents", "clients", NULL };
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
	{ "serves", WORD(serves_words), IN(listen_settings, serves),
	    .fallback = "both",
	    .help = "Who may connect to it: agents need edge.agents." },
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
	    OF_EDGE, .fallback = "3s", .help = "For a whole PROXY header." },
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
	    .help = "For connections to end when the process stops." },
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

/* What every process has, an edge below `edge` and an agent below `agent`. */
static const struct key process_keys[] = {
	{ "workers", read_workers, "number or auto", RANGE(1, 1024),
	    .fallback = "auto", .change = ON_RESTART,
	    .help = "Worker threads; auto is one a core." },
	{ "policy", MAP(policy), .offset = offsetof(struct snapshot, policy),
	    .help = "The policy for all endpoints, and the limits of all "
		    "policies." },
	{ "resolver", MAP(resolver),
	    .help = "How names of upstreams become addresses." },
	{ "geo", MAP(geo), .help = "Country and network of clients." },
	{ "limits", MAP(limits), .offset = offsetof(struct snapshot, limits),
	    .help = "What the process takes at most." },
	{ "timeouts", MAP(timeouts),
	    .offset = offsetof(struct snapshot, timeouts),
	    .help = "How long the process waits in each state." },
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
};
const struct section schema_process = SECTION(process_keys);

static const struct key edge_keys[] = {
	{ "listen", read_listeners, "list of maps or addresses", RANGE(1, 256),
	    .section = &schema_listener, .list = true, .shown = ":443",
	    .help = "Where clients connect to." },
	{ "default_endpoint", read_default_endpoint, "URL of an endpoint",
	    .shown = "none: alert 112",
	    .help = "Takes clients without a name and names that no endpoint "
		    "has." },
	{ "hide_names", BOOLEAN, IN(snapshot, hide_names), .fallback = "false",
	    .help = "Answers a refused client as if the name did not exist." },
	{ "user", read_text, "user name", IN(snapshot, user), RANGE(1, 64),
	    .shown = "stay", .change = ON_RESTART,
	    .help = "The user to become once the listeners are bound." },
	{ "base_domain", read_base_domain, "host name", .shown = "none",
	    .help = "Agents that ask for no name get a random one below this "
		    "one." },
	{ "agents", read_agents, "map", .section = &schema_agents, .lazy = true,
	    .shown = "takes no agents",
	    .help = "The agents that connect to this edge." },
	{ "admin", LATER },
	{ "cluster", LATER },
};
static const struct section edge = {
	.keys = edge_keys,
	.count = ARRAY_COUNT(edge_keys),
	.also = &schema_process,
};

static const struct key event_keys[] = {
	{ "file", read_path, "file", IN(event_settings, file),
	    .help = "Events are appended to it, one JSON object a line." },
	{ "stdout", BOOLEAN, IN(event_settings, to_stdout), .shown = "false",
	    .help = "Events go to standard output instead." },
	{ "types", read_event_types, "list of words", RANGE(1, 64),
	    .shown = "all",
	    .help = "The events that this sink gets: "
		    "\"tcp_connection_closed.v0\", "
		    "\"certificate_expiring.v0\", "
		    "\"agent_session_start.v0\", "
		    "\"agent_session_stop.v0\", \"endpoint_online.v0\", "
		    "\"endpoint_offline.v0\"." },
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
	{ "edge", MAP(edge), OF_EDGE, .help = "The edge itself." },
	{ "agent", read_agent, "map", .section = &schema_agent, .lazy = true,
	    OF_AGENT,
	    .help = "The agent itself; this key makes the file an agent's. "
		    "It has all keys of edge that are for both files, too." },
	{ "certificates", read_certificates, "list of maps", RANGE(0, 1000000),
	    .section = &schema_certificate, .list = true,
	    .help = "What clients are shown whose TLS ends here; "
		    "chosen by the name they ask for." },
	{ "endpoints", read_endpoints, "list of maps", RANGE(0, 1000000),
	    .section = &schema_endpoint, .list = true,
	    .help = "The names that are served, and where they lead." },
	{ "events", read_events, "list of maps", RANGE(0, 16),
	    .section = &schema_event, .list = true,
	    .help = "Where events about connections go." },
	{ "cluster", LATER },
};
const struct section schema_root = SECTION(root_keys);
