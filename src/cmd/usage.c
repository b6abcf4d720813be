#include "cmd/usage.h"

#define ALLOW_KEYLOG                                                      \
	{                                                                 \
		.name = "allow-keylog", .options = FLAG_SWITCH,           \
		.help = "write the secrets of TLS sessions to the file "  \
			"that SSLKEYLOGFILE names, to decrypt captures; " \
			"for debugging only"                              \
	}

static const struct flag tls_flags[] = {
	{ .name = "domain",
	    .value = "NAME",
	    .options = FLAG_COMMAS,
	    .help =
		"serve this name, exact or *.name; may be repeated; without "
		"it any name is served, with --edge a random one" },
	{ .name = "url",
	    .value = "tls://NAME",
	    .options = FLAG_COMMAS,
	    .help = "the same, written as a URL" },
	{ .name = "listen",
	    .value = "ADDR",
	    .path = "edge.listen.+.address",
	    .options = FLAG_COMMAS,
	    .help = "listen here; may be repeated; default :443, port 0 lets "
		    "the system choose" },
	{ .name = "balance",
	    .value = "HOW",
	    .path = "endpoints.*.balance",
	    .help = "with several ADDR: round_robin, least_connections, "
		    "random_two or hash; default round_robin" },
	{ .name = "terminate-at",
	    .value = "WHERE",
	    .help = "where TLS ends, and the bytes can be read: edge, agent or "
		    "upstream; default upstream, with --crt agent; without "
		    "--edge this process is edge and agent" },
	{ .name = "crt",
	    .value = "FILE",
	    .help = "the certificate and its chain, PEM, for TLS that ends "
		    "here; without it a local CA makes certificates; with "
		    "--terminate-at edge it is sent to --edge" },
	{ .name = "key",
	    .value = "FILE",
	    .help = "its private key, PEM, if --crt does not hold it" },
	{ .name = "mutual-tls-cas",
	    .value = "FILE",
	    .path = "endpoints.*.mutual_tls.cas.+",
	    .options = FLAG_REPEAT,
	    .help = "let in only clients with a certificate of these CAs, "
		    "PEM; may be repeated" },
	{ .name = "min-version",
	    .value = "1.2|1.3",
	    .path = "endpoints.*.min_version",
	    .help = "the oldest TLS that is spoken; default 1.2" },
	{ .name = "max-version",
	    .value = "1.2|1.3",
	    .path = "endpoints.*.max_version",
	    .help = "the newest TLS that is spoken; default 1.3" },
	{ .name = "alpn",
	    .value = "LIST",
	    .path = "endpoints.*.alpn.+",
	    .options = FLAG_COMMAS,
	    .help = "protocols to agree on, the preferred one first, such as "
		    "h2,http/1.1" },
	{ .name = "upstream-tls-verify",
	    .path = "endpoints.*.upstream_tls.verify",
	    .options = FLAG_SWITCH,
	    .help = "whether the certificate of a tls:// ADDR must be good "
		    "once TLS ended here; default true, but not for loopback "
		    "and Unix sockets" },
	{ .name = "upstream-tls-verify-cas",
	    .value = "FILE",
	    .path = "endpoints.*.upstream_tls.cas",
	    .help = "the CAs that it may come from, PEM; default the "
		    "system's" },
	{ .name = "cidr-allow",
	    .value = "LIST",
	    .path = "endpoints.*.ip_restriction.allow.+",
	    .options = FLAG_COMMAS,
	    .help = "networks whose clients may connect; all others are "
		    "refused" },
	{ .name = "cidr-deny",
	    .value = "LIST",
	    .path = "endpoints.*.ip_restriction.deny.+",
	    .options = FLAG_COMMAS,
	    .help = "networks that are refused although --cidr-allow has "
		    "them" },
	{ .name = "policy-file",
	    .value = "FILE",
	    .path = "edge.policy.file",
	    .help = "Lua script that decides on each connection; see "
		    "lunette-policy(7)" },
	{ .name = "proxy-proto",
	    .value = "1|2",
	    .path = "endpoints.*.proxy_proto",
	    .help = "send a PROXY header of this version to the upstream" },
	{ .name = "proxy-tlvs",
	    .value = "LIST",
	    .path = "endpoints.*.proxy_tlvs.+",
	    .options = FLAG_COMMAS,
	    .help = "what a version 2 header carries besides: authority, "
		    "alpn, unique_id, crc32c, ssl, client_certificate" },
	{ .name = "events",
	    .value = "FILE|stdout",
	    .options = FLAG_REPEAT,
	    .help = "write one JSON object a closed connection there" },
	{ .name = "metadata",
	    .value = "TEXT",
	    .path = "endpoints.*.metadata",
	    .help = "text that policies can read as conn.endpoint.metadata" },
	{ .name = "log",
	    .value = "TARGET",
	    .path = "edge.log.target",
	    .help = "stderr (default), stdout, false or a file; off while the "
		    "status screen shows" },
	{ .name = "log-format",
	    .value = "FORMAT",
	    .path = "edge.log.format",
	    .help = "term, logfmt or json; default term on a terminal, else "
		    "logfmt" },
	{ .name = "log-level",
	    .value = "LEVEL",
	    .path = "edge.log.level",
	    .help = "debug, info, warn or error; default info" },
	ALLOW_KEYLOG,
	{ .name = "edge",
	    .value = "HOST[:PORT]",
	    .path = "agent.edges.+",
	    .options = FLAG_COMMAS,
	    .help = "serve through this edge instead of listening here; port "
		    "443 if none is given; may be repeated" },
	{ .name = "authtoken-file",
	    .value = "FILE",
	    .path = "agent.authtoken_file",
	    .help = "the token that the edge knows this agent by; default "
		    "what LUNETTE_AUTHTOKEN holds" },
	{ .name = "authtoken",
	    .value = "TOKEN",
	    .help = "the same, for all to see who look at the command line in "
		    "time" },
	{ .name = "connect-cas",
	    .value = "host|FILE|sha256:HEX",
	    .path = "agent.connect_cas",
	    .help = "what the edge's certificate must come from: this host's "
		    "CAs (default) or those of a PEM file; or its "
		    "fingerprint" },
	{ .name = "name",
	    .value = "NAME",
	    .help = "what the endpoint is called in lists; with --edge" },
	{ .name = "pooling-enabled",
	    .path = "endpoints.*.pooling_enabled",
	    .options = FLAG_SWITCH,
	    .help = "other agents may serve the same name, and get a share of "
		    "its connections; with --edge" },
	{ .name = "connections",
	    .value = "COUNT",
	    .path = "agent.connections",
	    .help = "sessions with edges, or addresses of one, at a time; "
		    "default 2" },
	{ .name = "data-encryption",
	    .value = "auto|always",
	    .path = "agent.data_encryption",
	    .help = "what goes through TLS between here and the edge: with "
		    "auto (default) what the client's TLS does not encrypt" },
	{ .name = "proxy-url",
	    .value = "URL",
	    .path = "agent.proxy_url",
	    .help = "connect to the edge through this proxy, http:// or "
		    "socks5://" },
	{ .name = "web-addr",
	    .value = "ADDR|false",
	    .path = "agent.web_addr",
	    .help = "where this agent tells of itself over HTTP; default "
		    "127.0.0.1:4040" },
	{ .name = "config",
	    .value = "FILE",
	    .refused = "not for this command: use lunette edge -c FILE" },
};

static const struct flag edge_flags[] = {
	{ .name = "config",
	    .letter = 'c',
	    .value = "FILE",
	    .help = "the configuration; default " SYSTEM_CONFIG_FILE },
	ALLOW_KEYLOG,
};

static const struct flag agent_flags[] = {
	{ .name = "config",
	    .letter = 'c',
	    .value = "FILE",
	    .help = "the configuration; default " SYSTEM_AGENT_FILE },
	{ .name = "all",
	    .options = FLAG_SWITCH,
	    .help = "all endpoints of the file; the default without NAME" },
	{ .name = "log",
	    .value = "TARGET",
	    .path = "agent.log.target",
	    .help = "stderr, stdout, false or a file, whatever the file "
		    "says" },
	{ .name = "log-format",
	    .value = "FORMAT",
	    .path = "agent.log.format",
	    .help = "term, logfmt or json" },
	{ .name = "log-level",
	    .value = "LEVEL",
	    .path = "agent.log.level",
	    .help = "debug, info, warn or error" },
	ALLOW_KEYLOG,
};

static const struct flag check_flags[] = {
	{ .name = "config",
	    .letter = 'c',
	    .value = "FILE",
	    .options = FLAG_REPEAT,
	    .help = "the configuration of an edge or an agent; may be "
		    "repeated; default " SYSTEM_CONFIG_FILE
		    ", " SYSTEM_AGENT_FILE },
};

static const struct flag policy_flags[] = {
	{ .name = "path",
	    .value = "FOLDER",
	    .options = FLAG_REPEAT,
	    .help = "where require() looks before the installed library; may "
		    "be repeated" },
};

static const struct flag diagnose_flags[] = {
	{ .name = "edge",
	    .value = "HOST[:PORT]",
	    .path = "agent.edges.+",
	    .options = FLAG_COMMAS,
	    .help = "look at this edge, instead of those of the file; may be "
		    "repeated" },
	{ .name = "config",
	    .letter = 'c',
	    .value = "FILE",
	    .help = "the agent's configuration; default " SYSTEM_AGENT_FILE
		    ", with --edge none" },
	{ .name = "authtoken-file",
	    .value = "FILE",
	    .help = "try this token; default what LUNETTE_AUTHTOKEN holds, or "
		    "the file says" },
	{ .name = "connect-cas",
	    .value = "host|FILE|sha256:HEX",
	    .path = "agent.connect_cas",
	    .help = "what the edge's certificate must come from, as for "
		    "lunette tls" },
	{ .name = "proxy-url",
	    .value = "URL",
	    .path = "agent.proxy_url",
	    .help = "connect through this proxy, http:// or socks5://" },
	{ .name = "write-report",
	    .value = "FILE",
	    .help = "write all lines, and versions, to this file as well; no "
		    "token and no password is in it" },
};

static const struct flag verify_flags[] = {
	{ .name = "config",
	    .letter = 'c',
	    .value = "FILE",
	    .help = "the configuration of the agent that serves NAME; "
		    "default " SYSTEM_AGENT_FILE },
	{ .name = "connect",
	    .value = "HOST[:PORT]",
	    .help = "look there, for NAME; default NAME itself, port 443" },
	{ .name = "crt",
	    .value = "FILE",
	    .options = FLAG_REPEAT,
	    .help = "instead of a configuration: this certificate is held "
		    "here, PEM; may be repeated" },
	{ .name = "upstream",
	    .value = "ADDR",
	    .options = FLAG_REPEAT,
	    .help = "instead of a configuration: what this upstream shows is "
		    "held here; may be repeated" },
};

static const struct usage usages[COMMAND_COUNT] = {
	[COMMAND_TLS] = {
		.command = "tls",
		.arguments = "ADDR...",
		.arguments_min = 1,
		.arguments_max = 64,
		.summary = "one TLS endpoint now, without a file",
		.about = "Accepts TLS connections, looks at the name that the "
			 "client asks for, and passes the bytes on to ADDR: a "
			 "port on localhost, host:port, [v6]:port, "
			 "tcp://host:port, tls://host:port or unix:/path. "
			 "They stay encrypted on the way, unless "
			 "--terminate-at edge or --crt ends TLS here; then "
			 "tls:// encrypts them again. With several ADDR "
			 "connections are balanced between them. With --edge "
			 "clients connect to an edge elsewhere, which this "
			 "process, an agent then, gets them from.",
		.flags = tls_flags,
		.flag_count = ARRAY_COUNT(tls_flags),
		.examples =
		    "  lunette tls 8443\n"
		    "  lunette tls 10.0.0.5:443 --domain app.example.com\n"
		    "  lunette tls 80 --terminate-at edge --domain "
		    "app.example.com\n"
		    "  lunette tls 80 --crt app.pem --key app.key\n"
		    "  lunette tls unix:/run/mqtt.sock --listen :8883 "
		    "--proxy-proto 2\n"
		    "  lunette tls 8443 --listen :9443 "
		    "--policy-file allow.lua --events stdout\n"
		    "  lunette tls 443 --domain app.example.com "
		    "--edge edge.example.com\n",
	},
	[COMMAND_EDGE] = {
		.command = "edge",
		.arguments = "",
		.summary = "run an edge from its configuration file",
		.about = "Runs an edge as its file says; see lunette.yaml(5). "
			 "SIGHUP reloads the file, SIGTERM and SIGINT let "
			 "connections finish and stop, a second one stops at "
			 "once, SIGUSR1 opens log and event files again.",
		.flags = edge_flags,
		.flag_count = ARRAY_COUNT(edge_flags),
		.examples = "  lunette edge\n"
			    "  lunette edge -c ./edge.yaml\n",
	},
	[COMMAND_AGENT] = {
		.command = "agent",
		.arguments = "[NAME...]",
		.arguments_max = 10000,
		.summary = "serve endpoints of this host through an edge",
		.about = "Connects to the edges of its file, binds the "
			 "endpoints with these names, or all of them, and "
			 "passes their connections on to upstreams; see "
			 "lunette.yaml(5). Signals are as for lunette edge.",
		.flags = agent_flags,
		.flag_count = ARRAY_COUNT(agent_flags),
		.examples = "  lunette agent\n"
			    "  lunette agent -c ./agent.yaml db web\n",
	},
	[COMMAND_CHECK] = {
		.command = "check",
		.arguments = "",
		.summary = "validate configuration, certificates and policies",
		.about = "Reads each file as the edge would, compiles its "
			 "policies, loads its certificates, prints every error "
			 "with file, line and column, then what would run. "
			 "Opens no socket and changes nothing. Exit 1 if there "
			 "was any error.",
		.flags = check_flags,
		.flag_count = ARRAY_COUNT(check_flags),
		.examples = "  lunette check -c edge.yaml\n"
			    "  lunette check && systemctl reload lunette\n",
	},
	[COMMAND_POLICY_CHECK] = {
		.command = "policy check",
		.arguments = "FILE...",
		.arguments_min = 1,
		.arguments_max = 10000,
		.summary = "compile policy scripts and look for mistakes",
		.about = "Compiles each script, loads it in the sandbox and "
			 "reports unknown globals, unknown keys in decisions "
			 "and unknown library names with file and line. Exit "
			 "1 if there was any.",
		.flags = policy_flags,
		.flag_count = ARRAY_COUNT(policy_flags),
		.examples = "  lunette policy check allow.lua\n",
	},
	[COMMAND_POLICY_TEST] = {
		.command = "policy test",
		.arguments = "FILE...",
		.arguments_min = 1,
		.arguments_max = 10000,
		.summary = "run the tests of policy scripts",
		.about = "Runs test scripts, which make decisions on the real "
			 "engine and assert on them; see lunette-policy(7). "
			 "The last line counts what passed and failed. Exit 1 "
			 "if a test failed or none ran.",
		.flags = policy_flags,
		.flag_count = ARRAY_COUNT(policy_flags),
		.examples = "  lunette policy test policies/*_test.lua\n",
	},
	[COMMAND_DIAGNOSE] = {
		.command = "diagnose",
		.arguments = "",
		.summary = "find out why an agent cannot reach its edge",
		.about = "Does what an agent would do, step by step, and "
			 "prints a line for each: configuration, limits of "
			 "this host, clock, proxy, names, addresses, TLS, the "
			 "protocol, the token. Serves nothing and changes "
			 "nothing. Exit 1 if an agent could not work.",
		.flags = diagnose_flags,
		.flag_count = ARRAY_COUNT(diagnose_flags),
		.examples =
		    "  lunette diagnose\n"
		    "  lunette diagnose -c ./agent.yaml "
		    "--write-report report.txt\n"
		    "  lunette diagnose --edge connect.example.com\n",
	},
	[COMMAND_VERIFY] = {
		.command = "verify",
		.arguments = "NAME",
		.arguments_min = 1,
		.arguments_max = 1,
		.summary = "compare what the world is shown with what is held "
			   "here",
		.about = "Connects to NAME as any client would, at each of "
			 "its addresses and with each version of TLS, and "
			 "compares the certificate that is shown with the one "
			 "that the agent or its upstream holds. If they are "
			 "the same, nobody in between has ended TLS, and the "
			 "edge cannot read. NAME may also be the name of an "
			 "endpoint. Exit 1 if they differ or could not be "
			 "compared.",
		.flags = verify_flags,
		.flag_count = ARRAY_COUNT(verify_flags),
		.examples = "  lunette verify app.example.com\n"
			    "  lunette verify db.example.com -c agent.yaml\n"
			    "  lunette verify app.example.com --crt app.pem\n"
			    "  lunette verify app.example.com --upstream "
			    "10.0.0.5:443\n"
			    "  lunette verify app.example.com --connect "
			    "edge.example.com\n",
	},
	[COMMAND_VERSION] = {
		.command = "version",
		.arguments = "",
		.summary = "print the versions of Lunette and its libraries",
		.about = "Prints the version of Lunette, of the libraries in "
			 "use and which optional parts were built in.",
		.examples = "  lunette version\n",
	},
};

const struct usage *
usage_of(enum command c)
{
	ASSERT(c < COMMAND_COUNT);
	return &usages[c];
}

void
usage_write_overview(struct text *out)
{
	text_add(out, "Usage: lunette COMMAND [flags] [arguments]\n\n"
		      "A TLS edge: routes TLS connections by name, still "
		      "encrypted or ended here,\nas a Lua policy "
		      "decides.\n\n"
		      "Commands:\n");
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		text_addf(
		    out, "  %-14s %s\n", usages[i].command, usages[i].summary);
	text_add(out, "\nlunette COMMAND --help tells more about each, with "
		      "examples.\n");
}
