/* An agent's file: `agent`, and the endpoints that it binds. */
#include "unit.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_fixture.h"
#include "tls/stream.h"
#include "tls_support.h"

#define HEAD "version: 1\n"
#define EDGES "edges: [ edge.test ]"
#define DB "{ name: db, upstream: \"192.0.2.1:1\" }"
#define ONE "endpoints: [ " DB " ]\n"
/* The keys under test begin in line 4, column 3. */
#define AGENT(text) HEAD "agent:\n  " EDGES "\n  " text "\n" ONE
/* Line 6, column 3. */
#define ENDPOINT(text)                                                     \
	HEAD "agent: { " EDGES " }\n"                                      \
	     "certificates: [ { name: app, crt: a.pem } ]\n"               \
	     "endpoints:\n- { name: x, url: a.test, upstream: 1,\n  " text \
	     " }\n"
/* Line 4, column 3. */
#define RANDOM(text)                                  \
	HEAD "agent: { " EDGES ", local_ca: auto }\n" \
	     "endpoints: [ { name: x, upstream: 80,\n  " text " } ]\n"

static void
make_files(void)
{
	struct made *a = make((struct recipe){ .names = "DNS:a.test" });
	struct made *rsa = make(
	    (struct recipe){ .kind = MADE_RSA2048, .names = "DNS:a.test" });
	struct made *ca = make((struct recipe){ .ca = true });

	make_file("a.pem", join(a->crt, a->key_pem, NULL));
	make_file("a.crt", a->crt);
	make_file("a.key", a->key_pem);
	make_file("rsa.pem", join(rsa->crt, rsa->key_pem, NULL));
	make_file("ca.pem", ca->crt);
	make_file("ca2.pem", make((struct recipe){ .ca = true })->crt);
	make_file("ca.crl", make_crl(ca, NULL, 0, 0, 0));
	make_file("token", "secret-token-0123456789\n");
	make_file("blank", "secret token\n");
	make_file("empty", "\n");
	make_file("open", "secret-token-0123456789\n");
	ck_assert_int_eq(chmod(path_of("open"), 0644), 0);
	ck_assert_int_eq(chdir(make_folder()), 0);
}

/* Once: all tests share a process, and none changes them. */
static void
make_all(void)
{
	static bool made;

	if (!made)
		make_files();
	made = true;
}

static const struct refusal agent_refusals[] = {
	{ HEAD "agent: {}\n" ONE, "t.yaml:2:8: 'edges' is missing" },
	{ HEAD "agent: []\n" ONE,
	    "t.yaml:2:8: 'agent': expected keys and values, found a list" },
	{ HEAD "agent: { " EDGES " }\nedge: {}\n" ONE,
	    "t.yaml:3:1: 'edge' is for an edge's file, and 'agent' makes this "
	    "an agent's" },
	{ HEAD "agent: { " EDGES " }\n",
	    "t.yaml:1:1: there is nothing to serve: no endpoint" },
	{ AGENT("edgs: x"),
	    "t.yaml:4:3: unknown key 'edgs'; did you mean 'edges'?" },
	/* Keys of an edge only. */
	{ AGENT("listen: [ \":443\" ]"),
	    "t.yaml:4:3: unknown key 'listen'; known here: edges, authtoken, "
	    "authtoken_file, connections, connect_cas, connect_timeout, "
	    "heartbeat_interval, heartbeat_tolerance, data_encryption, "
	    "proxy_url, metadata, web_addr, workers, policy, resolver, geo, "
	    "limits, timeouts, log, state, local_ca, session_tickets" },
	{ AGENT("timeouts: { proxy: 1s }"),
	    "t.yaml:4:15: 'proxy' is for an edge's file, and 'agent' makes "
	    "this an agent's" },
	{ HEAD "agent: { edges: edge.test }\n" ONE,
	    "t.yaml:2:17: 'edges': expected list of HOST or HOST:PORT, found "
	    "a text" },
	{ HEAD "agent: { edges: [] }\n" ONE,
	    "t.yaml:2:17: 'edges' must not be empty" },
	{ HEAD "agent: { edges: [ \"443\", tls://e.test, \"unix:/run/x\", "
	       "\"2001:db8::1\", \"e.test:0\", \"a b\" ] }\n" ONE,
	    "t.yaml:2:19: 'edges': '443': the host is missing: HOST:PORT\n"
	    "t.yaml:2:26: 'edges': 'tls://e.test': only HOST or HOST:PORT, "
	    "such as 'edge.example.com'\n"
	    "t.yaml:2:40: 'edges': 'unix:/run/x': only HOST or HOST:PORT, "
	    "such as 'edge.example.com'\n"
	    "t.yaml:2:55: 'edges': '2001:db8::1': an IPv6 address must be in "
	    "brackets: [2001:db8::1]:443\n"
	    "t.yaml:2:70: 'edges': 'e.test:0': the port must be a number from "
	    "1 to 65535\n"
	    "t.yaml:2:82: 'edges': 'a b': the name has a character that host "
	    "names do not have" },
	{ HEAD "agent: { edges: [ e.test, \"E.test:443\" ] }\n" ONE,
	    "t.yaml:2:27: 'edges': 'E.test:443' is listed twice" },
	/* No message shows a token. */
	{ AGENT("authtoken: [ secret ]"),
	    "t.yaml:4:14: 'authtoken': expected text, found a list" },
	{ AGENT("authtoken: sec ret"),
	    "t.yaml:4:14: 'authtoken': the token may hold printable ASCII "
	    "only, and no blanks" },
	{ AGENT("authtoken: \"\""), "t.yaml:4:14: 'authtoken' has no value" },
	{ AGENT("authtoken_file: none"),
	    "t.yaml:4:19: none: cannot be read: No such file or directory" },
	{ AGENT("authtoken_file: blank"),
	    "t.yaml:4:19: 'authtoken_file': the token may hold printable "
	    "ASCII only, and no blanks" },
	{ AGENT("authtoken_file: empty"),
	    "t.yaml:4:19: 'authtoken_file': the token is empty" },
	{ AGENT("authtoken_file: token\n  authtoken: x"),
	    "t.yaml:4:3: 'authtoken' and 'authtoken_file': one of them" },
	{ AGENT("connections: 0"),
	    "t.yaml:4:16: 'connections' must be a whole number from 1 to "
	    "10" },
	{ AGENT("connections: 11"),
	    "t.yaml:4:16: 'connections' must be a whole number from 1 to "
	    "10" },
	{ AGENT("connect_cas: none.pem"), "t.yaml:4:16: none.pem: cannot be "
					  "read: No such file or directory" },
	{ AGENT("connect_cas: a.crt"), "t.yaml:4:16: a.crt: \"\" is not a CA: "
				       "it has no basicConstraints" },
	{ AGENT("connect_cas: \"sha256:12\""),
	    "t.yaml:4:16: 'connect_cas': sha256: must be followed by the 64 "
	    "hexadecimal digits of a certificate's fingerprint" },
	{ AGENT("connect_timeout: 1ms"),
	    "t.yaml:4:20: 'connect_timeout' must be from 10ms to 1h" },
	{ AGENT("heartbeat_interval: 10"),
	    "t.yaml:4:23: 'heartbeat_interval': '10' needs a unit: ms, s, m, "
	    "h or d" },
	{ AGENT("heartbeat_tolerance: 0"),
	    "t.yaml:4:24: 'heartbeat_tolerance' must be from 100ms to 1h" },
	{ AGENT("data_encryption: on"),
	    "t.yaml:4:20: 'data_encryption': unknown word 'on'; known: auto, "
	    "always" },
	{ AGENT("proxy_url: \"http://user:secret@proxy.test\""),
	    "t.yaml:4:14: 'proxy_url': the port is missing: HOST:PORT" },
	{ AGENT("metadata: [ x ]"),
	    "t.yaml:4:13: 'metadata': expected text, found a list" },
	{ AGENT("web_addr: localhost:4040"),
	    "t.yaml:4:13: 'web_addr': 'localhost:4040': an IP address is "
	    "needed, not a name" },
	{ AGENT("web_addr: true"),
	    "t.yaml:4:13: 'web_addr': 'true': there is no port; write ':443' "
	    "or '127.0.0.1:443'" },
	{ AGENT("policy: { cpu: 5s, wall: 4s }"),
	    "t.yaml:4:11: 'cpu' is more than 'wall', the time of a run in "
	    "all" },
};

static const struct refusal endpoint_refusals[] = {
	{ HEAD "agent: { " EDGES " }\nendpoints: [ { upstream: 80 } ]\n",
	    "t.yaml:3:14: 'name' is missing" },
	{ HEAD "agent: { " EDGES " }\nendpoints: [ " DB ", " DB " ]\n",
	    "t.yaml:3:61: 'name': 'db' is an endpoint already, in line 3" },
	{ HEAD "agent: { " EDGES " }\n"
	       "endpoints: [ { name: -x, upstream: 1 },\n"
	       "  { name: a b, upstream: 1 } ]\n",
	    "t.yaml:3:22: 'name' must not hold blanks nor begin with '-'\n"
	    "t.yaml:4:11: 'name' must not hold blanks nor begin with '-'" },
	{ HEAD "agent: { " EDGES " }\nendpoints: [ { name: x } ]\n",
	    "t.yaml:3:14: 'upstream' is missing, and there is no policy that "
	    "could choose one" },
	{ HEAD "agent: { " EDGES " }\n"
	       "endpoints: [ { name: x, url: a.test, upstream: 1 },\n"
	       "  { name: y, url: tls://A.test, upstream: 1 } ]\n",
	    "t.yaml:4:19: 'tls://a.test' is an endpoint already, at "
	    "t.yaml:3:30" },
	{ HEAD "agent: { " EDGES " }\n"
	       "endpoints: [ { name: x, url: tls://*, upstream: 1 } ]\n",
	    "t.yaml:3:30: 'url': 'tls://*' names nothing; leave it out for a "
	    "random name" },
	{ HEAD "agent: { " EDGES " }\n"
	       "endpoints: [ { name: x, url: \"http://a.test\", upstream: 1 "
	       "} ]\n",
	    "t.yaml:3:30: 'url': 'http://a.test' is not 'tls://' and a name: "
	    "only tls:// URLs are served" },
	/* Where TLS ends. */
	{ ENDPOINT("terminate_at: upstream, certificate: app"),
	    "t.yaml:6:27: 'certificate' needs 'terminate_at: agent': the "
	    "client's TLS does not end here" },
	{ ENDPOINT("mutual_tls: { cas: ca.pem }"),
	    "t.yaml:6:3: 'mutual_tls' needs 'terminate_at: agent': the "
	    "client's TLS does not end here" },
	{ ENDPOINT("upstream_tls: { verify: false }"),
	    "t.yaml:6:3: 'upstream_tls' needs 'terminate_at: agent': what is "
	    "passed on is encrypted already\n"
	    "t.yaml:6:3: 'upstream_tls' needs an upstream with 'tls://'" },
	{ ENDPOINT("terminate_at: edge, min_version: 1.3, max_version: 1.3, "
		   "alpn: [ h2 ]"),
	    "t.yaml:6:23: 'min_version' needs 'terminate_at: agent': an agent "
	    "cannot tell the edge about it\n"
	    "t.yaml:6:41: 'max_version' needs 'terminate_at: agent': an agent "
	    "cannot tell the edge about it\n"
	    "t.yaml:6:59: 'alpn' needs 'terminate_at: agent': an agent cannot "
	    "tell the edge about it" },
	{ ENDPOINT("terminate_at: edge, handshakes_per_second: 5"),
	    "t.yaml:6:23: 'handshakes_per_second' needs 'terminate_at: "
	    "agent'" },
	{ ENDPOINT("terminate_at: edge, proxy_proto: 2, proxy_tlvs: [ ssl ]"),
	    "t.yaml:6:51: 'ssl' and 'client_certificate' need 'terminate_at: "
	    "agent': otherwise they are not known here" },
	{ ENDPOINT("terminate_at: edge, mutual_tls: { cas: ca.pem, mode: "
		   "request, crls: ca.crl }"),
	    "t.yaml:6:65: 'crls' needs 'terminate_at: agent': an agent cannot "
	    "tell the edge about them\n"
	    "t.yaml:6:56: 'mode: request' needs 'terminate_at: agent': the "
	    "edge requires a certificate" },
	{ ENDPOINT("terminate_at: edge, certificate: ap"),
	    "t.yaml:6:36: 'certificate': no certificate has the name 'ap'; "
	    "did you mean 'app'?" },
	{ ENDPOINT("terminate_at: agent, min_version: 1.3, max_version: 1.2"),
	    "t.yaml:6:37: 'min_version' is above 'max_version'" },
	{ HEAD "agent: { " EDGES " }\nendpoints: [ { name: x, url: b.test, "
	       "upstream: 1, terminate_at: agent } ]\n",
	    "t.yaml:3:65: no certificate covers 'b.test': add one to "
	    "'certificates', or set 'agent.local_ca: auto'" },
	{ HEAD "agent: { " EDGES " }\nendpoints: [ { name: x, upstream: 1, "
	       "terminate_at: agent } ]\n",
	    "t.yaml:3:52: the edge chooses the name, so that no certificate "
	    "can cover it: name one with 'certificate', or set "
	    "'agent.local_ca: auto'" },
	/* The published shape. */
	{ ENDPOINT("agent_tls_termination: {}"),
	    "t.yaml:6:26: 'server_certificate' is missing" },
	{ ENDPOINT("terminate_at: edge, agent_tls_termination: { "
		   "server_certificate: a.pem }"),
	    "t.yaml:6:23: 'agent_tls_termination' needs 'terminate_at: "
	    "agent'" },
	{ ENDPOINT("certificate: app, mutual_tls: { cas: ca.pem }, "
		   "agent_tls_termination: { server_certificate: a.pem,\n"
		   "  mutual_tls_certificate_authorities: ca2.pem }"),
	    "t.yaml:6:3: 'certificate' and "
	    "'agent_tls_termination.server_certificate': one of them\n"
	    "t.yaml:6:21: 'mutual_tls' and "
	    "'agent_tls_termination.mutual_tls_certificate_authorities': one "
	    "of them" },
	{ ENDPOINT("agent_tls_termination: { server_certificate: none.pem }"),
	    "t.yaml:6:48: none.pem: cannot be read: No such file or "
	    "directory" },
	{ ENDPOINT("agent_tls_termination: { server_certificate: a.crt, "
		   "server_private_key: rsa.pem }"),
	    "t.yaml:6:75: rsa.pem: the private key does not belong to the "
	    "certificate: it is for RSA, the certificate for ECDSA" },
	{ ENDPOINT("agent_tls_termination: { server_certificate: "
		   "\"-----BEGIN CERTIFICATE-----\" }"),
	    "t.yaml:6:48: 'server_certificate': a file is needed, not the PEM "
	    "text itself" },
	{ ENDPOINT("agent_tls_termination: { server_certificate: a.pem, "
		   "mutual_tls_certificate_authorities: [ a.crt ] }"),
	    "t.yaml:6:93: a.crt: \"\" is not a CA: it has no "
	    "basicConstraints" },
	/* What is wrong with it is all that is said, whatever the name. */
	{ HEAD "agent: { " EDGES " }\nendpoints: [ { name: x, upstream: 1,\n"
	       "  agent_tls_termination: { server_certificate: "
	       "\"-----BEGIN\" } },\n"
	       "  { name: y, url: b.test, upstream: 1,\n"
	       "  agent_tls_termination: {} } ]\n",
	    "t.yaml:4:48: 'server_certificate': a file is needed, not the PEM "
	    "text itself\n"
	    "t.yaml:6:26: 'server_certificate' is missing" },
	{ HEAD "agent: { " EDGES " }\nendpoints: [ { name: x, upstream: 1,\n"
	       "  agent_tls_termination: [], terminate_at: agent } ]\n",
	    "t.yaml:4:26: 'agent_tls_termination': expected keys and values, "
	    "found a list" },
	{ HEAD "agent: { " EDGES " }\n"
	       "certificates: [ { name: app, crt: a.pem } ]\n"
	       "endpoints: [ { name: x, url: b.test, upstream: 1,\n"
	       "  certificate: app, agent_tls_termination: {} } ]\n",
	    "t.yaml:5:44: 'server_certificate' is missing" },
	{ RANDOM("terminate_at: edge, certificate: x"),
	    "t.yaml:4:36: 'certificate': no certificate has the name 'x'" },
	{ HEAD "agent: { " EDGES " }\n"
	       "endpoints: [ { name: x, upstream: { proxy_protocol: 2 } } ]\n",
	    "t.yaml:3:35: 'address' is missing" },
	{ HEAD "agent: { " EDGES " }\n"
	       "endpoints: [ { name: x, upstream: { url: 1, address: 1, "
	       "proxy_protocol: 3 } } ]\n",
	    "t.yaml:3:73: 'proxy_protocol' must be a whole number from 1 to "
	    "2\n"
	    "t.yaml:3:37: 'url' and 'address' are the same: one of them" },
	{ HEAD "agent: { " EDGES " }\n"
	       "endpoints: [ { name: x, proxy_proto: 1,\n"
	       "  upstream: { url: 1, proxy_protocol: 1 } } ]\n",
	    "t.yaml:3:25: 'proxy_proto' and 'proxy_protocol' are the same: "
	    "one of them" },
	{ HEAD "agent: { " EDGES " }\n"
	       "endpoints: [ { name: x,\n"
	       "  upstream: [ { url: 1, proxy_protocol: 1 }, 2 ] } ]\n",
	    "t.yaml:4:25: 'proxy_protocol' is for all upstreams alike: set "
	    "'proxy_proto' of the endpoint" },
};

START_TEST(agent_says_what_is_wrong)
{
	make_all();
	fixture_refused(&agent_refusals[_i]);
}
END_TEST

START_TEST(endpoint_says_what_is_wrong)
{
	make_all();
	fixture_refused(&endpoint_refusals[_i]);
}
END_TEST

START_TEST(defaults_are_what_the_manual_says)
{
	struct snapshot *s =
	    fixture_snapshot(HEAD "agent: { " EDGES " }\n" ONE);
	const struct agent_settings *a = &s->agent;
	const struct endpoint *e = s->endpoints[0];

	ck_assert(a->enabled);
	ck_assert_uint_eq(a->edge_count, 1);
	ck_assert_str_eq(a->edges[0].text, "edge.test");
	ck_assert_uint_eq(a->edges[0].address.port, 443);
	ck_assert_ptr_null(a->authtoken);
	ck_assert_uint_eq(a->connections, 2);
	ck_assert_str_eq(a->connect_cas, "host");
	ck_assert_uint_eq(a->connect_ms, 10000);
	ck_assert_uint_eq(a->heartbeat_interval_ms, 10000);
	ck_assert_uint_eq(a->heartbeat_tolerance_ms, 15000);
	ck_assert(!a->encrypts_data);
	ck_assert_ptr_null(a->proxy_url);
	ck_assert_str_eq(a->metadata, "");
	ck_assert_str_eq(a->web_addr, "127.0.0.1:4040");
	ck_assert_uint_eq(a->web.port, 4040);
	ck_assert(!s->agents.enabled);
	/* It listens nowhere for clients. */
	ck_assert_uint_eq(s->listen_count, 0);
	ck_assert_uint_eq(s->timeouts.idle_ms, 300000);
	ck_assert_str_eq(s->log_target, "stderr");
	ck_assert_str_eq(e->name, "db");
	ck_assert(e->is_random);
	ck_assert_ptr_null(e->url);
	ck_assert_uint_eq(e->domain.len, 0);
	ck_assert_int_eq(e->terminate_at, TERMINATE_UPSTREAM);
	ck_assert_ptr_null(s->default_endpoint);
	snapshot_put(s);
}
END_TEST

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char full[] = HEAD
    "agent:\n"
    "  edges: [ A.test, \"b.test:8443\", \"[2001:db8::1]\", 192.0.2.9 ]\n"
    "  authtoken_file: token\n"
    "  connections: 10\n"
    "  connect_cas: ca.pem\n"
    "  connect_timeout: 1s\n"
    "  heartbeat_interval: 2s\n"
    "  heartbeat_tolerance: 3s\n"
    "  data_encryption: always\n"
    "  proxy_url: \"socks5://u:p@proxy.test:1080\"\n"
    "  metadata: of an agent\n"
    "  web_addr: \"[::1]:4041\"\n"
    "  workers: 3\n"
    "  policy: { file: /dev/null, cpu: 20ms }\n"
    "  resolver: { servers: [ \"127.0.0.1:5353\" ] }\n"
    "  limits: { connections: 7 }\n"
    "  timeouts: { connect: 1s, drain: 0 }\n"
    "  log: { target: stdout, format: json, level: debug }\n"
    "  state: /tmp/state\n"
    "  local_ca: auto\n"
    "  session_tickets: { life: 1h }\n"
    "certificates: [ { name: app, crt: a.crt, key: a.key } ]\n"
    "events: [ { stdout: true, types: [ agent_session_start.v0,\n"
    "  agent_session_stop.v0, endpoint_online.v0, endpoint_offline.v0 ] } ]\n"
    "endpoints:\n"
    "- name: first\n"
    "  url: tls://a.test\n"
    "  upstream: { url: 80, proxy_protocol: 2 }\n"
    "  agent_tls_termination:\n"
    "    server_certificate: a.crt\n"
    "    server_private_key: a.key\n"
    "    mutual_tls_certificate_authorities: [ ca.pem, ca2.pem ]\n"
    "  pooling_enabled: true\n"
    "  metadata: of an endpoint\n"
    "  labels: { team: db }\n"
    "  ip_restriction: { allow: [ 192.0.2.0/24 ] }\n"
    "- name: second\n"
    "  url: tls://\n"
    "  upstream: [ 1, { address: 2, weight: 3 } ]\n"
    "  terminate_at: agent\n"
    "  certificate: app\n"
    "  alpn: [ h2 ]\n"
    "  mutual_tls: { cas: ca.pem, mode: request }\n"
    "- name: third\n"
    "  url: \"*.b.test\"\n"
    "  upstream: tls://192.0.2.1\n"
    "  upstream_tls: { verify: false }\n"
    "  terminate_at: edge\n"
    "  certificate: app\n"
    "  mutual_tls: { cas: ca.pem }\n";

static void
check_full_agent(const struct snapshot *s)
{
	const struct agent_settings *a = &s->agent;

	ck_assert_uint_eq(a->edge_count, 4);
	ck_assert_str_eq(a->edges[0].text, "A.test");
	ck_assert_str_eq(a->edges[0].address.text, "a.test:443");
	ck_assert(!a->edges[0].address.tls);
	ck_assert_str_eq(a->edges[1].address.text, "b.test:8443");
	ck_assert_str_eq(a->edges[2].address.text, "[2001:db8::1]:443");
	ck_assert_int_eq(a->edges[3].address.kind, UPSTREAM_IP);
	ck_assert_str_eq(a->authtoken, "secret-token-0123456789");
	ck_assert_uint_eq(a->connections, 10);
	ck_assert_str_eq(a->connect_cas, "ca.pem");
	ck_assert_uint_eq(a->connect_ms, 1000);
	ck_assert_uint_eq(a->heartbeat_interval_ms, 2000);
	ck_assert_uint_eq(a->heartbeat_tolerance_ms, 3000);
	ck_assert(a->encrypts_data);
	ck_assert_str_eq(a->proxy_url, "socks5://u:p@proxy.test:1080");
	ck_assert_str_eq(a->metadata, "of an agent");
	ck_assert_str_eq(a->web_addr, "[::1]:4041");
	ck_assert_int_eq(a->web.family, ADDR_IP6);
	ck_assert_uint_eq(a->web.port, 4041);
	/* What every process has. */
	ck_assert_uint_eq(s->workers, 3);
	ck_assert_str_eq(s->scripts[s->edge_script], "/dev/null");
	ck_assert_uint_eq(s->policy.cpu_ms, 20);
	ck_assert_str_eq(s->resolver_servers, "127.0.0.1:5353");
	ck_assert_uint_eq(s->limits.connections, 7);
	ck_assert_uint_eq(s->timeouts.connect_ms, 1000);
	ck_assert_uint_eq(s->timeouts.drain_ms, 0);
	ck_assert_str_eq(s->log_target, "stdout");
	ck_assert_int_eq(s->log_format, LOG_FORMAT_JSON);
	ck_assert_int_eq(s->log_level, LOG_LEVEL_DEBUG);
	ck_assert_str_eq(s->state, "/tmp/state");
	ck_assert(s->local_ca);
	ck_assert_uint_eq(s->session_life_ms, 3600000);
	ck_assert_uint_eq(s->event_count, 1);
	ck_assert_uint_eq(s->events[0].type_count, 4);
}

static void
check_full_endpoints(const struct snapshot *s)
{
	const struct endpoint *e = s->endpoints[0];

	ck_assert_str_eq(e->name, "first");
	ck_assert_str_eq(e->url, "tls://a.test");
	ck_assert(!e->is_random);
	ck_assert_str_eq(e->upstreams[0].address.text, "localhost:80");
	ck_assert_uint_eq(e->proxy_proto, 2);
	ck_assert_int_eq(e->terminate_at, TERMINATE_AGENT);
	ck_assert_str_eq(e->termination.certificate, "endpoint first");
	ck_assert(snapshot_has_certificate(s, "endpoint first"));
	ck_assert_int_eq(e->termination.auth, CLIENT_AUTH_REQUIRE);
	ck_assert_uint_eq(trust_ca_count(e->termination.trust), 2);
	ck_assert(e->pooling_enabled);
	ck_assert_str_eq(e->metadata, "of an endpoint");
	ck_assert_uint_eq(e->label_count, 1);
	ck_assert_uint_eq(netset_count(e->allow), 1);
	ck_assert_ptr_null(e->bind_crt);
	e = s->endpoints[1];
	ck_assert(e->is_random);
	ck_assert_ptr_null(e->url);
	ck_assert_str_ne(e->id, s->endpoints[0]->id);
	ck_assert_uint_eq(e->upstream_count, 2);
	ck_assert_uint_eq(e->upstreams[1].weight, 3);
	ck_assert_int_eq(e->terminate_at, TERMINATE_AGENT);
	ck_assert_int_eq(e->termination.auth, CLIENT_AUTH_REQUEST);
	ck_assert_uint_eq(e->termination.alpn_len, 3);
	e = s->endpoints[2];
	ck_assert_str_eq(e->domain.text, "*.b.test");
	ck_assert_int_eq(e->terminate_at, TERMINATE_EDGE);
	ck_assert_str_eq(e->bind_crt, "a.crt");
	ck_assert_str_eq(e->bind_key, "a.key");
	ck_assert_int_eq(e->termination.auth, CLIENT_AUTH_REQUIRE);
	ck_assert_int_eq(e->upstream_tls.verify, VERIFY_OFF);
}

START_TEST(every_key_is_read)
{
	struct snapshot *s;

	make_all();
	s = fixture_snapshot(full);
	check_full_agent(s);
	check_full_endpoints(s);
	ck_assert_ptr_eq(
	    snapshot_route(s, span_text("a.test")), s->endpoints[0]);
	ck_assert_ptr_eq(
	    snapshot_route(s, span_text("x.b.test")), s->endpoints[2]);
	ck_assert_ptr_null(snapshot_route(s, span_text("c.test")));
	snapshot_put(s);
}
END_TEST

START_TEST(another_name_in_the_certificate_is_odd)
{
	struct snapshot *s;

	make_all();
	s = fixture_snapshot(
	    HEAD "agent: { " EDGES " }\n"
		 "endpoints: [ { name: x, url: b.test, upstream: 1,\n"
		 "  agent_tls_termination: { server_certificate: a.pem } } "
		 "]\n");
	ck_assert_uint_eq(problems_count(s->warnings), 1);
	ck_assert_str_eq(problems_get(s->warnings, 0),
	    "t.yaml:4:48: the certificate 'endpoint x' is not for 'b.test': "
	    "clients will not accept it");
	snapshot_put(s);
}
END_TEST

/* What is sent to the edge: one pair, whose key may be in the same file. */
START_TEST(one_pair_can_be_sent)
{
	struct snapshot *s;

	make_all();
	s = fixture_snapshot(ENDPOINT("terminate_at: edge, certificate: app"));
	ck_assert_str_eq(s->endpoints[0]->bind_crt, "a.pem");
	ck_assert_str_eq(s->endpoints[0]->bind_key, "a.pem");
	snapshot_put(s);
	s = fixture_snapshot(ENDPOINT("terminate_at: edge"));
	ck_assert_ptr_null(s->endpoints[0]->bind_crt);
	ck_assert_ptr_null(s->endpoints[0]->bind_key);
	snapshot_put(s);
	fixture_refused(&(struct refusal){ HEAD
	    "agent: { " EDGES " }\n"
	    "certificates: [ { name: app, crt: a.pem },\n"
	    "  { name: app, crt: rsa.pem } ]\n"
	    "endpoints: [ { name: x, url: a.test, upstream: 1,\n"
	    "  terminate_at: edge, certificate: app } ]\n",
	    "t.yaml:6:36: 'app' is the name of 2 certificates; an agent can "
	    "send one to the edge" });
}
END_TEST

static const struct {
	const char *text, *kept;
} casings[] = {
	{ "host", "host" },
	{ "\"sha256:" HEX64 "\"", "sha256:" HEX64 },
	{ "\"sha256:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:"
	  "01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF\"",
	    "sha256:" HEX64 },
	{ "\"sha256:" HEX64 "0\"", NULL },
	{ "\"sha256:x" HEX64 "\"", NULL },
	{ "\"sha256:\"", NULL },
};

START_TEST(pins_are_kept_in_one_form)
{
	char text[512], *lines;
	struct snapshot *s;

	make_all();
	snprintf(
	    text, sizeof(text), AGENT("connect_cas: %s"), casings[_i].text);
	lines = fixture_problems(span_text(text), &s);
	ck_assert_msg((s != NULL) == (casings[_i].kept != NULL), "%s", lines);
	if (s != NULL)
		ck_assert_str_eq(s->agent.connect_cas, casings[_i].kept);
	snapshot_put(s);
	free(lines);
}
END_TEST

START_TEST(the_web_address_may_be_off)
{
	struct snapshot *s = fixture_snapshot(AGENT("web_addr: false"));

	ck_assert_ptr_null(s->agent.web_addr);
	ck_assert_int_eq(s->agent.web.family, ADDR_NONE);
	snapshot_put(s);
}
END_TEST

START_TEST(a_token_that_others_can_read_is_refused)
{
	char *lines;

	make_all();
	lines =
	    fixture_problems(span_text(AGENT("authtoken_file: open")), NULL);
	ck_assert_msg(
	    strstr(lines, "t.yaml:4:19: open: ") != NULL, "%s", lines);
	free(lines);
}
END_TEST

START_TEST(a_short_token_is_odd)
{
	struct snapshot *s =
	    fixture_snapshot(AGENT("authtoken: 0123456789abcde"));

	ck_assert_uint_eq(problems_count(s->warnings), 1);
	ck_assert_str_eq(problems_get(s->warnings, 0),
	    "t.yaml:4:14: 'authtoken': the token is shorter than 16 bytes: it "
	    "can be guessed, and is sent to the edge instead of proven");
	snapshot_put(s);
	s = fixture_snapshot(AGENT("authtoken: 0123456789abcdef"));
	ck_assert_uint_eq(problems_count(s->warnings), 0);
	snapshot_put(s);
}
END_TEST

START_TEST(texts_have_limits)
{
	char text[8192], *lines;
	struct snapshot *s;

	snprintf(text, sizeof(text), AGENT("authtoken: t%0255d"), 7);
	s = fixture_snapshot(text);
	ck_assert_uint_eq(strlen(s->agent.authtoken), AUTHTOKEN_MAX_BYTES);
	snapshot_put(s);
	snprintf(text, sizeof(text), AGENT("authtoken: t%0256d"), 7);
	fixture_refused(&(struct refusal){ text,
	    "t.yaml:4:14: 'authtoken': the token is longer than 256 bytes" });
	snprintf(text, sizeof(text), AGENT("metadata: t%04095d"), 7);
	snapshot_put(fixture_snapshot(text));
	snprintf(text, sizeof(text), AGENT("metadata: t%04096d"), 7);
	fixture_refused(&(struct refusal){
	    text, "t.yaml:4:13: 'metadata' is longer than 4096 bytes" });
	snprintf(text, sizeof(text),
	    HEAD "agent: { " EDGES " }\n"
		 "endpoints: [ { name: x%064d, upstream: 1 } ]\n",
	    7);
	lines = fixture_problems(span_text(text), NULL);
	ck_assert_str_eq(lines, "t.yaml:3:22: 'name' is longer than 64 bytes");
	free(lines);
}
END_TEST

START_TEST(a_token_can_be_set_until_it_is_shared)
{
	struct snapshot *s = fixture_snapshot(AGENT("authtoken: old"));

	ck_assert_ptr_null(snapshot_set_authtoken(s, span_text("new")));
	ck_assert_str_eq(s->agent.authtoken, "new");
	ck_assert_str_eq(snapshot_set_authtoken(s, span_text("")), "is empty");
	ck_assert_ptr_nonnull(snapshot_set_authtoken(s, span_text("a\tb")));
	ck_assert_str_eq(s->agent.authtoken, "new");
	snapshot_put(s);
}
END_TEST

static const char three[] =
    HEAD "agent: { " EDGES " }\n"
	 "endpoints: [ { name: db, url: db.test, upstream: 1 },\n"
	 "  { name: web, url: web.test, upstream: 2 },\n"
	 "  { name: mail, upstream: 3 } ]\n";

START_TEST(endpoints_are_chosen_by_name)
{
	static const char *const names[] = { "mail", "web", "mail" };
	struct snapshot *s = fixture_snapshot(three);
	struct problems *p = problems_new();

	ck_assert_int_eq(snapshot_choose(s, names, 3, p), 0);
	ck_assert_uint_eq(s->endpoint_count, 2);
	ck_assert_str_eq(s->endpoints[0]->name, "web");
	ck_assert_uint_eq(s->endpoints[1]->index, 1);
	ck_assert_ptr_null(snapshot_route(s, span_text("db.test")));
	ck_assert_ptr_eq(
	    snapshot_route(s, span_text("web.test")), s->endpoints[0]);
	problems_free(p);
	snapshot_put(s);
}
END_TEST

START_TEST(a_name_that_there_is_not_is_told)
{
	static const char *const names[] = { "wbe", "db", "elsewhere" };
	struct snapshot *s = fixture_snapshot(three);
	struct problems *p = problems_new();
	char *lines;

	ck_assert_int_eq(snapshot_choose(s, names, 3, p), -1);
	lines = fixture_lines(p);
	ck_assert_str_eq(lines,
	    "NAME: there is no endpoint 'wbe'; did you mean 'web'?\n"
	    "NAME: there is no endpoint 'elsewhere'");
	ck_assert_uint_eq(s->endpoint_count, 3);
	free(lines);
	problems_free(p);
	snapshot_put(s);
}
END_TEST

START_TEST(every_truncation_is_judged)
{
	make_all();
	for (size_t len = 0; len <= sizeof(full) - 1; len++)
		free(fixture_problems(span_of(full, len), NULL));
}
END_TEST

#define ADD_TABLE(test, table) \
	tcase_add_loop_test(tcase, test, 0, ARRAY_COUNT(table))

static void
add_tests(TCase *tcase)
{
	ADD_TABLE(agent_says_what_is_wrong, agent_refusals);
	ADD_TABLE(endpoint_says_what_is_wrong, endpoint_refusals);
	ADD_TABLE(pins_are_kept_in_one_form, casings);
	tcase_add_test(tcase, defaults_are_what_the_manual_says);
	tcase_add_test(tcase, every_key_is_read);
	tcase_add_test(tcase, another_name_in_the_certificate_is_odd);
	tcase_add_test(tcase, one_pair_can_be_sent);
	tcase_add_test(tcase, the_web_address_may_be_off);
	tcase_add_test(tcase, a_token_that_others_can_read_is_refused);
	tcase_add_test(tcase, a_short_token_is_odd);
	tcase_add_test(tcase, texts_have_limits);
	tcase_add_test(tcase, a_token_can_be_set_until_it_is_shared);
	tcase_add_test(tcase, endpoints_are_chosen_by_name);
	tcase_add_test(tcase, a_name_that_there_is_not_is_told);
	tcase_add_test(tcase, every_truncation_is_judged);
}

UNIT_MAIN_TOGETHER("agent_file", add_tests)
