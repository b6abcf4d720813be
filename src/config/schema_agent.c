/* The keys of agents: `edge.agents` in an edge's file, `agent` in an agent's.
 */
#include "config/keys.h"

/* In the order of a bool. */
static const char *const encryption_words[] = { "auto", "always", NULL };
static const char *const connections_words[] = { "auto", "never", NULL };

static const struct key agents_limit_keys[] = {
	{ "sessions", NUMBER(1, 10000000), IN(snapshot, agents.sessions),
	    .shown = "off", .help = "Sessions of agents at one time." },
	{ "endpoints_per_session", NUMBER(1, 10000000),
	    IN(snapshot, agents.endpoints_per_session), .shown = "off",
	    .help = "Endpoints that one session may bind." },
};
static const struct section agents_limits = SECTION(agents_limit_keys);

static const struct key agents_keys[] = {
	{ "server_names", read_server_names, "list of host names", RANGE(1, 64),
	    .required = true,
	    .help = "The names by which agents connect. They are reserved: no "
		    "endpoint can have one, and none can be bound." },
	{ "certificate", read_text, "name of a certificate", RANGE(1, 64),
	    IN(snapshot, agents.certificate), .shown = "chosen by the name",
	    .help = "The one that agents are shown." },
	{ "authtokens_file", read_readable_file, "file",
	    IN(snapshot, agents.authtokens_file), .required = true,
	    .help = "The tokens of the agents that are let in, and what each "
		    "may bind; only its owner may be able to read it." },
	{ "data_encryption", WORD(encryption_words),
	    IN(snapshot, agents.encrypts_data), .fallback = "auto",
	    .help = "What goes through TLS between agent and edge: with auto "
		    "what the client's TLS does not encrypt there, with "
		    "always everything." },
	{ "data_connections", WORD(connections_words),
	    IN(snapshot, agents.no_data), .fallback = "auto",
	    .help = "Whether connections get one of their own to the agent: "
		    "with auto where that is possible, with never all share "
		    "the session's." },
	{ "heartbeat_interval", DURATION(100, HOURS(1)),
	    IN(snapshot, agents.heartbeat_interval_ms), .fallback = "10s",
	    .help = "The time between two checks of a session." },
	{ "heartbeat_tolerance", DURATION(100, HOURS(1)),
	    IN(snapshot, agents.heartbeat_tolerance_ms), .fallback = "15s",
	    .help = "How late the answer to a check may be; after that the "
		    "session is dead, and so are those of its data "
		    "connections that give no sign of life within 3 s." },
	{ "limits", MAP(agents_limits),
	    .help = "What the edge takes from agents at most." },
};
const struct section schema_agents = SECTION(agents_keys);

static const struct key agent_keys[] = {
	{ "edges", read_edges, "list of HOST or HOST:PORT", RANGE(1, 64),
	    .required = true, .change = ON_RESTART,
	    .help = "The edges to connect to; port 443 if none is given." },
	{ "authtoken", read_authtoken, "text", RANGE(1, 256),
	    .shown = "from the environment", .change = ON_RESTART,
	    .help = "The token that the edge knows the agent by. The "
		    "environment's LUNETTE_AUTHTOKEN has precedence." },
	{ "authtoken_file", read_authtoken_file, "file", RANGE(1, 256),
	    .change = ON_RESTART,
	    .help = "Instead of authtoken: a file that holds nothing else." },
	{ "connections", NUMBER(1, 10), IN(snapshot, agent.connections),
	    .fallback = "2", .change = ON_RESTART,
	    .help = "Sessions that are kept, each with another edge or "
		    "another address of one." },
	{ "connect_cas", read_connect_cas, "host, file or sha256:HEX",
	    IN(snapshot, agent.connect_cas), .fallback = "host",
	    .change = ON_RESTART,
	    .help = "What the edge's certificate must come from: the CAs of "
		    "this host, those of a PEM file, or it must itself have "
		    "this fingerprint." },
	{ "connect_timeout", DURATION(10, HOURS(1)),
	    IN(snapshot, agent.connect_ms), .fallback = "10s",
	    .change = ON_RESTART,
	    .help = "For one attempt to connect to an edge, TLS included." },
	{ "heartbeat_interval", DURATION(100, HOURS(1)),
	    IN(snapshot, agent.heartbeat_interval_ms), .fallback = "10s",
	    .change = ON_RESTART,
	    .help = "The time between two checks of a session." },
	{ "heartbeat_tolerance", DURATION(100, HOURS(1)),
	    IN(snapshot, agent.heartbeat_tolerance_ms), .fallback = "15s",
	    .change = ON_RESTART,
	    .help = "How late the answer to a check may be; after that the "
		    "session is dead, and so are those of its data "
		    "connections that give no sign of life within 3 s." },
	{ "data_encryption", WORD(encryption_words),
	    IN(snapshot, agent.encrypts_data), .fallback = "auto",
	    .change = ON_RESTART,
	    .help = "As edge.agents.data_encryption; always on one side is "
		    "enough." },
	{ "proxy_url", read_proxy_url, "http:// or socks5:// and HOST:PORT",
	    IN(snapshot, agent.proxy_url), .shown = "what the environment says",
	    .change = ON_RESTART,
	    .help = "The proxy through which edges are connected to; "
		    "USER:PASSWORD@ may stand before the host." },
	{ "metadata", read_metadata, "text", RANGE(0, 4096),
	    IN(snapshot, agent.metadata), .change = ON_RESTART,
	    .help = "Shown by the edge with the sessions of this agent." },
	{ "web_addr", read_web_addr, "address and port, or false",
	    IN(snapshot, agent.web_addr), .fallback = "127.0.0.1:4040",
	    .change = ON_RESTART,
	    .help = "Where the agent tells of itself over HTTP." },
};
const struct section schema_agent = {
	.keys = agent_keys,
	.count = ARRAY_COUNT(agent_keys),
	.also = &schema_process,
};

static const struct key agent_tls_keys[] = {
	{ "server_certificate", read_path, "file", .required = true,
	    IN(agent_tls_entry, crt),
	    .help = "The certificate and its chain, PEM, the leaf first." },
	{ "server_private_key", read_path, "file", IN(agent_tls_entry, key),
	    .shown = "in the same file",
	    .help = "The private key, PEM; it never leaves this machine." },
	{ "mutual_tls_certificate_authorities", read_paths,
	    "file or list of files", RANGE(1, 64), IN(agent_tls_entry, cas),
	    .shown = "none",
	    .help = "Clients must have a certificate of one of these CAs, "
		    "PEM." },
};
const struct section schema_agent_tls = SECTION(agent_tls_keys);
