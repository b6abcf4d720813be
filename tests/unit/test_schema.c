#include "unit.h"

#include <stdio.h>
#include <unistd.h>

#include "config_fixture.h"

/* A file that needs nothing but what a test adds to it. */
#define HEAD "version: 1\n"
#define ONE "endpoints: [ { url: tls://a.test, upstream: \"192.0.2.1:1\" } ]\n"
#define EDGE(text) HEAD "edge:\n  " text "\n" ONE
#define ENDPOINT(text)                           \
	HEAD "endpoints:\n- url: tls://a.test\n" \
	     "  upstream: 192.0.2.1:1\n  " text "\n"

static const struct refusal root_refusals[] = {
	{ ONE, "t.yaml:1:1: 'version' is missing" },
	{ "version: 2\n" ONE,
	    "t.yaml:1:10: version '2' is not known; this Lunette reads "
	    "version 1" },
	{ "version: \"1\"\n" ONE,
	    "t.yaml:1:10: version '1' is not known; this Lunette reads "
	    "version 1" },
	{ "version: [1]\n" ONE,
	    "t.yaml:1:10: 'version': expected 1, found a list" },
	{ HEAD "edges: {}\n" ONE,
	    "t.yaml:2:1: unknown key 'edges'; did you mean 'edge'?" },
	{ HEAD "zzzzzzzzzzz: {}\n" ONE,
	    "t.yaml:2:1: unknown key 'zzzzzzzzzzz'; known here: version, "
	    "edge, agent, certificates, endpoints, events" },
	{ HEAD "edge: 1\n" ONE,
	    "t.yaml:2:7: 'edge': expected keys and values, found a text" },
	{ HEAD "edge: []\n" ONE,
	    "t.yaml:2:7: 'edge': expected keys and values, found a list" },
	{ HEAD "endpoints: {}\n",
	    "t.yaml:2:12: 'endpoints': expected list of maps, found keys and "
	    "values" },
	{ HEAD "endpoints: [ x ]\n",
	    "t.yaml:2:14: 'endpoints': expected keys and values, found a "
	    "text" },
	{ HEAD, "t.yaml:1:1: there is nothing to serve: no endpoint and no "
		"policy" },
	{ HEAD "endpoints: []\n",
	    "t.yaml:1:1: there is nothing to serve: no endpoint and no "
	    "policy" },
	{ HEAD "cluster: {}\n" ONE,
	    "t.yaml:2:1: 'cluster' is not in this version of Lunette" },
	/* Everything is reported, not only what comes first. */
	{ "versin: 1\nedge: { hide_name: true, workers: 0 }\n"
	  "endpoints:\n- urs: tls://a\n- url: tls://b..c\n  upstream: x\n",
	    "t.yaml:1:1: unknown key 'versin'; did you mean 'version'?\n"
	    "t.yaml:2:9: unknown key 'hide_name'; did you mean "
	    "'hide_names'?\n"
	    "t.yaml:2:35: 'workers' must be auto or a whole number from 1 to "
	    "1024\n"
	    "t.yaml:4:3: unknown key 'urs'; did you mean 'url'?\n"
	    "t.yaml:4:3: 'url' is missing\n"
	    "t.yaml:5:8: 'url': 'tls://b..c' is not 'tls://' and a name: a "
	    "label of the name is empty\n"
	    "t.yaml:6:13: 'upstream': 'x': the port is missing: host:port\n"
	    "t.yaml:1:1: 'version' is missing\n"
	    "t.yaml:4:3: 'upstream' is missing, and there is no policy that "
	    "could choose one" },
};

static const struct refusal edge_refusals[] = {
	{ EDGE("listen: \":443\""),
	    "t.yaml:3:11: 'listen': expected list of maps or addresses, found "
	    "a text" },
	{ EDGE("listen: []"), "t.yaml:3:11: 'listen' must not be empty" },
	{ EDGE("listen: [ {} ]"), "t.yaml:3:13: 'address' is missing" },
	{ EDGE("listen: [ { address: } ]"),
	    "t.yaml:3:24: 'address' has no value" },
	{ EDGE("listen: [ { address: \"\" } ]"),
	    "t.yaml:3:24: 'address' has no value" },
	{ EDGE("listen: [ 443 ]"),
	    "t.yaml:3:13: 'address': '443': there is no port; write ':443' or "
	    "'127.0.0.1:443'" },
	{ EDGE("listen: [ \":x\" ]"),
	    "t.yaml:3:13: 'address': ':x': the port must be a number from 0 "
	    "to 65535" },
	{ EDGE("listen: [ \":65536\" ]"),
	    "t.yaml:3:13: 'address': ':65536': the port must be a number from "
	    "0 to 65535" },
	{ EDGE("listen: [ \"::1:443\" ]"),
	    "t.yaml:3:13: 'address': '::1:443': an IPv6 address needs "
	    "brackets, such as '[::1]:443'" },
	{ EDGE("listen: [ \"localhost:443\" ]"),
	    "t.yaml:3:13: 'address': 'localhost:443': an IP address is "
	    "needed, not a name" },
	{ EDGE("listen: [ \"[]:443\" ]"),
	    "t.yaml:3:13: 'address': '[]:443': an IP address is needed, not a "
	    "name" },
	{ EDGE("listen: [ \":443\", \"[::]:443\" ]"),
	    "t.yaml:3:21: '[::]:443' is listened on already" },
	{ EDGE("listen: [ { address: \":443\", adress: x } ]"),
	    "t.yaml:3:32: unknown key 'adress'; did you mean 'address'?" },
	{ EDGE("listen: [ { address: \":443\", proxy_protocol: {} } ]"),
	    "t.yaml:3:48: 'accept' is missing\n"
	    "t.yaml:3:48: 'from' is missing" },
	{ EDGE("listen: [ { address: \":443\", proxy_protocol: { accept: [3], "
	       "from: [10.0.0.0/8] } } ]"),
	    "t.yaml:3:59: 'accept': the PROXY protocol has versions 1 and 2" },
	{ EDGE("listen: [ { address: \":443\", proxy_protocol: { accept: [1], "
	       "from: [] } } ]"),
	    "t.yaml:3:69: 'from' must not be empty" },
	{ EDGE("listen: [ { address: \":443\", proxy_protocol: { accept: [1], "
	       "from: [10.0.0.1/8] } } ]"),
	    "t.yaml:3:70: 'from': '10.0.0.1/8' has bits set beyond its "
	    "prefix" },
	{ EDGE("listen: [ { address: \":443\", proxy_protocol: { accept: [1], "
	       "from: [10.0.0.0/8], required: maybe } } ]"),
	    "t.yaml:3:93: 'required' must be true or false" },
	{ EDGE("workers: many"), "t.yaml:3:12: 'workers' must be auto or a "
				 "whole number from 1 to 1024" },
	{ EDGE("workers: [1]"),
	    "t.yaml:3:12: 'workers': expected number or auto, found a list" },
	{ EDGE("default_endpoint: tls://b.test"),
	    "t.yaml:3:21: 'default_endpoint': there is no endpoint "
	    "'tls://b.test'; did you mean 'tls://a.test'?" },
	{ EDGE("default_endpoint: elsewhere.example"),
	    "t.yaml:3:21: 'default_endpoint': there is no endpoint "
	    "'elsewhere.example'" },
	{ EDGE("hide_names: \"true\""),
	    "t.yaml:3:15: 'hide_names' must be true or false" },
	{ EDGE("user: ~"), "t.yaml:3:9: 'user' has no value" },
	{ EDGE("policy: { file: none.lua }"),
	    "t.yaml:3:19: cannot read: none.lua: No such file or directory" },
	{ EDGE("policy: { file: / }"),
	    "t.yaml:3:19: cannot read: /: it is a folder" },
	{ EDGE("policy: { shadow: x.lua }"),
	    "t.yaml:3:13: 'shadow' is not in this version of Lunette" },
	{ EDGE("policy: { path: [ /nonexistent, /dev/null ] }"),
	    "t.yaml:3:21: cannot read: /nonexistent: No such file or "
	    "directory\n"
	    "t.yaml:3:35: cannot read: /dev/null: it is no folder" },
	{ EDGE("policy: { cpu: 11s }"),
	    "t.yaml:3:18: 'cpu' must be from 1ms to 10s" },
	{ EDGE("policy: { wall: 0 }"),
	    "t.yaml:3:19: 'wall' must be from 1ms to 10m" },
	{ EDGE("policy: { memory: 1KiB }"),
	    "t.yaml:3:21: 'memory' must be from 1MiB to 1GiB" },
	{ EDGE("policy: { memory: 1 apple }"),
	    "t.yaml:3:21: 'memory': '1 apple' has an unknown unit: KiB, MiB, "
	    "GiB, kB, MB or GB" },
	{ EDGE("policy: { run_memory: 65MiB }"),
	    "t.yaml:3:11: 'run_memory' is more than 'memory' of the whole "
	    "state" },
	{ EDGE("policy: { cpu: 5s, wall: 4s }"),
	    "t.yaml:3:11: 'cpu' is more than 'wall', the time of a run in "
	    "all" },
	{ EDGE("policy: { jit: 1 }"),
	    "t.yaml:3:18: 'jit' must be true or false" },
	{ EDGE("policy: x.lua"),
	    "t.yaml:3:11: 'policy': expected keys and values, found a text" },
	{ EDGE("resolver: { servers: [ dns.example ] }"),
	    "t.yaml:3:26: 'servers': 'dns.example' is no IP address with a "
	    "port" },
	{ EDGE("resolver: { servers: [ \"127.0.0.1:0\" ] }"),
	    "t.yaml:3:26: 'servers': '127.0.0.1:0' is no IP address with a "
	    "port" },
	{ EDGE("geo: { database: none.mmdb }"),
	    "t.yaml:3:20: cannot read: none.mmdb: No such file or directory" },
	{ EDGE("limits: { connections: 0 }"),
	    "t.yaml:3:26: 'connections' must be a whole number from 1 to "
	    "10000000" },
	{ EDGE("limits: { connections_per_client: \"5\" }"),
	    "t.yaml:3:37: 'connections_per_client' must be a whole number "
	    "from 1 to 10000000" },
	{ EDGE("timeouts: { hello: 3 }"),
	    "t.yaml:3:22: 'hello': '3' needs a unit: ms, s, "
	    "m, h or d" },
	{ EDGE("timeouts: { proxy: 1ms, connect: 2h, idle: 31d, drain: 25h }"),
	    "t.yaml:3:22: 'proxy' must be from 10ms to 1h\n"
	    "t.yaml:3:36: 'connect' must be from 10ms to 1h\n"
	    "t.yaml:3:46: 'idle' must be from 10ms to 30d\n"
	    "t.yaml:3:58: 'drain' must be from 0 to 1d" },
	{ EDGE("log: { format: xml }"),
	    "t.yaml:3:18: 'format': unknown word 'xml'; known: term, logfmt, "
	    "json" },
	{ EDGE("log: { level: warm }"),
	    "t.yaml:3:17: 'level': unknown word 'warm'; did you mean "
	    "'warn'?" },
	{ EDGE("admin: {}"),
	    "t.yaml:3:3: 'admin' is not in this version of Lunette" },
};

static const struct refusal endpoint_refusals[] = {
	{ HEAD "endpoints:\n- url: tls://\n  upstream: 192.0.2.1:1\n",
	    "t.yaml:3:8: 'url': 'tls://' names nothing; give the endpoint a "
	    "name and set 'edge.default_endpoint' to it" },
	{ HEAD "endpoints:\n- url: tls://*\n  upstream: 192.0.2.1:1\n",
	    "t.yaml:3:8: 'url': 'tls://*' names nothing; give the endpoint a "
	    "name and set 'edge.default_endpoint' to it" },
	{ HEAD "endpoints:\n- url: tls://a.test\n",
	    "t.yaml:3:3: 'upstream' is missing, and there is no policy that "
	    "could choose one" },
	{ HEAD "endpoints:\n- url: tls://a.test\n  upstream: 192.0.2.1:1\n"
	       "- url: tls://A.TEST.\n  upstream: 192.0.2.1:1\n",
	    "t.yaml:5:8: 'tls://a.test' is an endpoint already, at "
	    "t.yaml:3:8" },
	{ HEAD "endpoints:\n- url: tls://a.test\n  upstream: []\n",
	    "t.yaml:4:13: 'upstream' must not be empty" },
	{ HEAD "endpoints:\n- url: tls://a.test\n  upstream: [ { address: "
	       "192.0.2.1:1, weight: 257 }, { weight: 1 }, [ x ] ]\n",
	    "t.yaml:4:47: 'weight' must be a whole number from 1 to 256\n"
	    "t.yaml:4:54: 'address' is missing\n"
	    "t.yaml:4:69: 'upstream': expected keys and values, found a "
	    "list" },
	{ HEAD "endpoints:\n- url: tls://a.test\n  upstream: [ 192.0.2.1:1, "
	       "tcp://192.0.2.1:1 ]\n",
	    "t.yaml:4:28: upstream '192.0.2.1:1' is listed twice; give it a "
	    "weight" },
	{ ENDPOINT("terminate_at: agent"),
	    "t.yaml:5:17: 'terminate_at: agent' is for an agent's file: the "
	    "endpoints of agents are not configured at the edge" },
	{ ENDPOINT("terminate_at: nowhere"),
	    "t.yaml:5:17: 'terminate_at': unknown word 'nowhere'; known: "
	    "edge, agent, upstream" },
	{ ENDPOINT("balance: hasch"),
	    "t.yaml:5:12: 'balance': unknown word 'hasch'; did you mean "
	    "'hash'?" },
	{ ENDPOINT("health: { fall: 0, rise: 101 }"),
	    "t.yaml:5:19: 'fall' must be a whole number from 1 to 100\n"
	    "t.yaml:5:28: 'rise' must be a whole number from 1 to 100\n"
	    "t.yaml:5:11: 'every' is missing" },
	{ ENDPOINT("health: { every: 10ms }"),
	    "t.yaml:5:20: 'every' must be from 50ms to 1h" },
	{ ENDPOINT("ip_restriction: {}"), "t.yaml:5:19: 'allow' is missing" },
	{ ENDPOINT("ip_restriction: { allow: [] }"),
	    "t.yaml:5:28: 'allow' must not be empty" },
	{ ENDPOINT("ip_restriction: { deny: [ 192.0.2.0/24 ] }"),
	    "t.yaml:5:19: 'deny' without 'allow' lets nobody in; to let "
	    "everybody else in add 'allow: [\"0.0.0.0/0\", \"::/0\"]'" },
	{ ENDPOINT("ip_restriction: { allow: [ 192.0.2.0/33 ] }"),
	    "t.yaml:5:30: 'allow': '192.0.2.0/33' has no valid prefix length "
	    "after the slash" },
	{ ENDPOINT("proxy_proto: 3"),
	    "t.yaml:5:16: 'proxy_proto' must be a whole number from 0 to 2" },
	{ ENDPOINT("proxy_tlvs: [ alpn ]"),
	    "t.yaml:5:15: 'proxy_tlvs' needs 'proxy_proto: 2'" },
	{ ENDPOINT("proxy_proto: 2\n  proxy_tlvs: [ alp ]"),
	    "t.yaml:6:17: 'proxy_tlvs': unknown word 'alp'; did you mean "
	    "'alpn'?" },
	{ ENDPOINT("policy: none.lua"),
	    "t.yaml:5:11: cannot read: none.lua: No such file or directory" },
	{ ENDPOINT("policy: { file: x }"),
	    "t.yaml:5:11: 'policy': expected file, found keys and values" },
	{ ENDPOINT("timeouts: { hello: 1s }"),
	    "t.yaml:5:15: unknown key 'hello'; known here: handshake, connect, "
	    "idle" },
	{ ENDPOINT("timeouts: { connect: 1, idle: soon }"),
	    "t.yaml:5:24: 'connect': '1' needs a unit: ms, s, "
	    "m, h or d\n"
	    "t.yaml:5:33: 'idle': 'soon' must start with a whole number" },
	{ ENDPOINT("bytes_per_second: 100"),
	    "t.yaml:5:21: 'bytes_per_second' must be from 1KiB to 1TiB" },
	{ ENDPOINT("metadata: [ x ]"),
	    "t.yaml:5:13: 'metadata': expected text, found a list" },
	{ ENDPOINT("labels: [ x ]"),
	    "t.yaml:5:11: 'labels': expected names and values, at most 64" },
	{ ENDPOINT("labels: { team: [ x ] }"),
	    "t.yaml:5:19: 'labels': the value of 'team' must be a text" },
	{ ENDPOINT("pooling_enabled: true"),
	    "t.yaml:5:3: 'pooling_enabled' is for an agent's file, and this is "
	    "an edge's: it has no 'agent'" },
	{ ENDPOINT("name: db"),
	    "t.yaml:5:3: 'name' is for an agent's file, and this is an "
	    "edge's: it has no 'agent'" },
	{ ENDPOINT("agent_tls_termination: {}"),
	    "t.yaml:5:3: 'agent_tls_termination' is for an agent's file, and "
	    "this is an edge's: it has no 'agent'" },
	{ HEAD "endpoints:\n- url: tls://a.test\n  upstream: { url: "
	       "192.0.2.1:1 }\n",
	    "t.yaml:4:15: 'url' is for an agent's file, and this is an "
	    "edge's: it has no 'agent'\n"
	    "t.yaml:4:13: 'address' is missing" },
};

#define EVENTS(text) HEAD ONE "events: " text "\n"

static const struct refusal event_refusals[] = {
	{ EVENTS("[ {} ]"),
	    "t.yaml:3:11: an event sink needs 'file' or 'stdout: true', one "
	    "of them" },
	{ EVENTS("[ { stdout: false } ]"),
	    "t.yaml:3:11: an event sink needs 'file' or 'stdout: true', one "
	    "of them" },
	{ EVENTS("[ { stdout: true, file: x } ]"),
	    "t.yaml:3:11: an event sink needs 'file' or 'stdout: true', one "
	    "of them" },
	{ EVENTS("[ x ]"),
	    "t.yaml:3:11: 'events': expected keys and values, found a text" },
	{ EVENTS("[ { file: x }, { file: x } ]"),
	    "t.yaml:3:24: events go to the same place as in line 3" },
	{ EVENTS("[ { stdout: true }, { stdout: true } ]"),
	    "t.yaml:3:29: events go to the same place as in line 3" },
	{ EVENTS("[ { file: x, types: [] } ]"),
	    "t.yaml:3:29: 'types' must not be empty" },
	{ EVENTS("[ { file: x, types: [ tcp_connection_close.v0 ] } ]"),
	    "t.yaml:3:31: 'types': unknown event 'tcp_connection_close.v0'; "
	    "did you mean 'tcp_connection_closed.v0'?" },
	{ EVENTS("[ { file: x, types: [ zebra ] } ]"),
	    "t.yaml:3:31: 'types': unknown event 'zebra'; known: "
	    "'tcp_connection_closed.v0', 'certificate_expiring.v0', "
	    "'agent_session_start.v0', 'agent_session_stop.v0', "
	    "'endpoint_online.v0', 'endpoint_offline.v0'" },
	{ EVENTS("[ { file: x, types: [ config_reloaded.v0 ] } ]"),
	    "t.yaml:3:31: 'config_reloaded.v0' is not in this version of "
	    "Lunette" },
	{ EVENTS("[ { file: x, typs: [] } ]"),
	    "t.yaml:3:22: unknown key 'typs'; did you mean 'types'?" },
};

START_TEST(root_says_what_is_wrong_and_where)
{
	fixture_refused(&root_refusals[_i]);
}
END_TEST

START_TEST(edge_says_what_is_wrong_and_where)
{
	fixture_refused(&edge_refusals[_i]);
}
END_TEST

START_TEST(endpoint_says_what_is_wrong_and_where)
{
	fixture_refused(&endpoint_refusals[_i]);
}
END_TEST

START_TEST(events_say_what_is_wrong_and_where)
{
	fixture_refused(&event_refusals[_i]);
}
END_TEST

/* An upstream that is one of our listeners would be a loop. */
static const struct {
	const char *listen, *upstream;
	bool loops;
} loops[] = {
	{ ":443", "127.0.0.1:443", true },
	{ ":443", "443", true },
	{ ":443", "[::1]:443", true },
	{ ":443", "localhost:443", true },
	{ ":443", "app.localhost:443", true },
	{ ":443", "0.0.0.0:443", true },
	{ ":443", "tls://127.0.0.1", true },
	{ ":443", "127.0.0.1:444", false },
	{ ":443", "192.0.2.1:443", false },
	{ ":443", "app.example:443", false },
	{ ":443", "notlocalhost:443", false },
	{ ":443", "unix:/run/x", false },
	{ "0.0.0.0:443", "127.9.9.9:443", true },
	{ "0.0.0.0:443", "[::1]:443", false },
	{ "127.0.0.1:443", "127.0.0.1:443", true },
	{ "127.0.0.1:443", "[::ffff:127.0.0.1]:443", true },
	{ "127.0.0.1:443", "127.0.0.2:443", false },
	{ "127.0.0.1:443", "[::1]:443", false },
	{ "127.0.0.1:443", "0.0.0.0:443", true },
	{ "192.0.2.1:443", "192.0.2.1:443", true },
	{ "192.0.2.1:443", "127.0.0.1:443", false },
	{ "192.0.2.1:443", "localhost:443", false },
	{ ":0", "127.0.0.1:443", false },
};

START_TEST(own_listeners_are_no_upstreams)
{
	char text[512], expected[512], *lines;

	snprintf(text, sizeof(text),
	    "version: 1\nedge: { listen: [ \"%s\" ] }\n"
	    "endpoints: [ { url: tls://a.test, upstream: \"%s\" } ]\n",
	    loops[_i].listen, loops[_i].upstream);
	lines = fixture_problems(span_text(text), NULL);
	snprintf(expected, sizeof(expected), "is this edge's own listener '%s'",
	    loops[_i].listen);
	ck_assert_msg(
	    (lines[0] != '\0') == loops[_i].loops, "%s%s", text, lines);
	ck_assert(!loops[_i].loops || strstr(lines, expected) != NULL);
	ck_assert(!loops[_i].loops || !strncmp(lines, "t.yaml:3:45: ", 13));
	free(lines);
}
END_TEST

START_TEST(defaults_are_what_the_manual_says)
{
	struct snapshot *s = fixture_snapshot(HEAD ONE);
	struct endpoint *e = s->endpoints[0];

	ck_assert_uint_eq(s->listen_count, 1);
	ck_assert_str_eq(s->listens[0].address, ":443");
	ck_assert_uint_eq(s->listens[0].addr.port, 443);
	ck_assert_int_eq(s->listens[0].addr.family, ADDR_IP6);
	ck_assert_uint_eq(s->listens[0].proxy_accept, 0);
	ck_assert_uint_eq(s->workers, 0);
	ck_assert_ptr_null(s->user);
	ck_assert_ptr_null(s->default_endpoint);
	ck_assert(!s->hide_names);
	ck_assert_int_eq(s->edge_script, -1);
	ck_assert_uint_eq(s->policy.cpu_ms, 50);
	ck_assert_uint_eq(s->policy.wall_ms, 10000);
	ck_assert_uint_eq(s->policy.memory_bytes, 64 << 20);
	ck_assert_uint_eq(s->policy.run_memory_bytes, 1 << 20);
	ck_assert(!s->policy.jit);
	ck_assert_uint_eq(s->timeouts.proxy_ms, 3000);
	ck_assert_uint_eq(s->timeouts.hello_ms, 3000);
	ck_assert_uint_eq(s->timeouts.handshake_ms, 10000);
	ck_assert_uint_eq(s->timeouts.connect_ms, 3000);
	ck_assert_uint_eq(s->timeouts.idle_ms, 300000);
	ck_assert_uint_eq(s->timeouts.drain_ms, 30000);
	ck_assert_uint_eq(s->timeouts.linger_ms, 2000);
	ck_assert_uint_eq(s->limits.connections, 0);
	ck_assert_uint_eq(s->limits.connections_per_client, 0);
	ck_assert_uint_eq(s->event_count, 0);
	ck_assert_ptr_null(s->resolver_servers);
	ck_assert_ptr_null(s->geo_database);
	ck_assert_str_eq(s->log_target, "stderr");
	ck_assert_int_eq(s->log_format, LOG_FORMAT_LOGFMT);
	ck_assert_int_eq(s->log_level, LOG_LEVEL_INFO);
	ck_assert_int_eq(e->terminate_at, TERMINATE_UPSTREAM);
	ck_assert_int_eq(e->balance, BALANCE_ROUND_ROBIN);
	ck_assert_uint_eq(e->health.every_ms, 0);
	ck_assert_uint_eq(e->proxy_proto, 0);
	ck_assert_uint_eq(e->proxy_tlvs, 0);
	ck_assert_ptr_null(e->allow);
	ck_assert_ptr_null(e->deny);
	ck_assert_int_eq(e->policy_script, -1);
	ck_assert_uint_eq(e->connect_ms, 3000);
	ck_assert_uint_eq(e->idle_ms, 300000);
	ck_assert_uint_eq(e->bytes_per_second, 0);
	ck_assert_str_eq(e->metadata, "");
	ck_assert_uint_eq(e->upstream_count, 1);
	ck_assert_uint_eq(e->upstreams[0].weight, 1);
	ck_assert(!e->pooling_enabled);
	ck_assert(!e->is_random);
	ck_assert_int_eq(s->listens[0].serves, SERVES_BOTH);
	ck_assert(!s->agents.enabled);
	ck_assert(!s->agent.enabled);
	ck_assert_uint_eq(s->base_domain.len, 0);
	snapshot_put(s);
}
END_TEST

static const char full_edge[] = HEAD
    "edge:\n"
    "  listen:\n"
    "  - \":8443\"\n"
    "  - address: \"[::1]:0\"\n"
    "    proxy_protocol: { accept: [2], from: [10.0.0.0/8], required: no }\n"
    "  - { address: \"0.0.0.0:443\" }\n"
    "  workers: 3\n"
    "  default_endpoint: a.test\n"
    "  hide_names: true\n"
    "  user: nobody\n"
    "  policy: { path: [ / ], cpu: 20ms, wall: 1s, memory: 8MiB,\n"
    "    run_memory: 256KiB, jit: on }\n"
    "  resolver: { servers: [ \"127.0.0.1:5353\", \"::1\", \"[::1]:54\" ] }\n"
    "  geo: { database: /dev/null }\n"
    "  limits: { connections: 1000, connections_per_client: 10 }\n"
    "  timeouts: { proxy: 1s, hello: 2s, connect: 4s, idle: 1h, drain: 0 }\n"
    "  log: { target: \"false\", format: json, level: debug }\n"
    "events:\n"
    "- { file: /var/log/e.jsonl, types: [ tcp_connection_closed.v0,\n"
    "    certificate_expiring.v0 ] }\n"
    "- { stdout: true }\n" ONE;

START_TEST(every_key_of_the_edge_is_read)
{
	struct snapshot *s = fixture_snapshot(full_edge);
	struct addr trusted;

	ck_assert_uint_eq(s->listen_count, 3);
	ck_assert_uint_eq(s->listens[1].addr.port, 0);
	ck_assert_uint_eq(s->listens[1].proxy_accept, 1 << 2);
	ck_assert(!s->listens[1].proxy_required);
	ck_assert_int_eq(addr_parse(span_text("10.1.2.3"), &trusted), 0);
	ck_assert(netset_lookup(s->listens[1].proxy_from, &trusted, NULL));
	ck_assert_int_eq(s->listens[2].addr.family, ADDR_IP4);
	ck_assert_uint_eq(s->workers, 3);
	ck_assert_ptr_eq(s->default_endpoint, s->endpoints[0]);
	ck_assert(s->hide_names);
	ck_assert_str_eq(s->user, "nobody");
	ck_assert_uint_eq(s->policy.path_count, 1);
	ck_assert_str_eq(s->policy.path[0], "/");
	ck_assert_uint_eq(s->policy.cpu_ms, 20);
	ck_assert_uint_eq(s->policy.wall_ms, 1000);
	ck_assert_uint_eq(s->policy.memory_bytes, 8 << 20);
	ck_assert_uint_eq(s->policy.run_memory_bytes, 256 << 10);
	ck_assert(s->policy.jit);
	ck_assert_str_eq(
	    s->resolver_servers, "127.0.0.1:5353,[::1]:53,[::1]:54");
	ck_assert_str_eq(s->geo_database, "/dev/null");
	ck_assert_uint_eq(s->limits.connections, 1000);
	ck_assert_uint_eq(s->limits.connections_per_client, 10);
	ck_assert_uint_eq(s->timeouts.proxy_ms, 1000);
	ck_assert_uint_eq(s->timeouts.hello_ms, 2000);
	ck_assert_uint_eq(s->timeouts.connect_ms, 4000);
	ck_assert_uint_eq(s->timeouts.idle_ms, 3600000);
	ck_assert_uint_eq(s->timeouts.drain_ms, 0);
	ck_assert_str_eq(s->log_target, "false");
	ck_assert_int_eq(s->log_format, LOG_FORMAT_JSON);
	ck_assert_int_eq(s->log_level, LOG_LEVEL_DEBUG);
	ck_assert_uint_eq(s->event_count, 2);
	ck_assert_str_eq(s->events[0].file, "/var/log/e.jsonl");
	ck_assert_uint_eq(s->events[0].type_count, 2);
	ck_assert_ptr_null(s->events[1].file);
	ck_assert_uint_eq(s->events[1].type_count, 0);
	ck_assert_uint_eq(s->endpoints[0]->connect_ms, 4000);
	snapshot_put(s);
}
END_TEST

static const char full_endpoint[] =
    HEAD "endpoints:\n"
	 "- url: tls://*.Wild.test:443\n"
	 "  upstream: [ { address: 192.0.2.1:1, weight: 256 }, tls://b.test ]\n"
	 "  terminate_at: upstream\n"
	 "  balance: random_two\n"
	 "  health: { every: 5s, fall: 4 }\n"
	 "  ip_restriction: { allow: [ 192.0.2.0/24 ], deny: [ 192.0.2.66 ] }\n"
	 "  proxy_proto: 2\n"
	 "  proxy_tlvs: [ authority, crc32c ]\n"
	 "  policy: /dev/null\n"
	 "  timeouts: { connect: 100ms, idle: 1d }\n"
	 "  bytes_per_second: 1MiB\n"
	 "  metadata: some text\n"
	 "  labels: { team: db, tier: \"1\" }\n";

START_TEST(every_key_of_an_endpoint_is_read)
{
	struct snapshot *s = fixture_snapshot(full_endpoint);
	struct endpoint *e = s->endpoints[0];

	ck_assert_str_eq(e->url, "tls://*.wild.test");
	ck_assert_str_eq(e->domain.text, "*.wild.test");
	ck_assert_uint_eq(e->index, 0);
	ck_assert_uint_eq(e->upstream_count, 2);
	ck_assert_uint_eq(e->upstreams[0].weight, 256);
	ck_assert_str_eq(e->upstreams[0].address.text, "192.0.2.1:1");
	ck_assert_str_eq(e->upstreams[1].address.name.text, "b.test");
	ck_assert_uint_eq(e->upstreams[1].address.port, 443);
	ck_assert_int_eq(e->balance, BALANCE_RANDOM_TWO);
	ck_assert_uint_eq(e->health.every_ms, 5000);
	ck_assert_uint_eq(e->health.fall, 4);
	ck_assert_uint_eq(e->health.rise, 2);
	ck_assert_uint_eq(netset_count(e->allow), 1);
	ck_assert_uint_eq(netset_count(e->deny), 1);
	ck_assert_uint_eq(e->proxy_proto, 2);
	ck_assert_uint_eq(
	    e->proxy_tlvs, PROXY_SEND_AUTHORITY | PROXY_SEND_CRC32C);
	ck_assert_int_eq(e->policy_script, 0);
	ck_assert_str_eq(s->scripts[0], "/dev/null");
	ck_assert_uint_eq(e->connect_ms, 100);
	ck_assert_uint_eq(e->idle_ms, 86400000);
	ck_assert_uint_eq(e->bytes_per_second, 1 << 20);
	ck_assert_str_eq(e->metadata, "some text");
	ck_assert_uint_eq(e->label_count, 2);
	ck_assert_str_eq(e->label_names[1], "tier");
	ck_assert_str_eq(e->label_values[1], "1");
	snapshot_put(s);
}
END_TEST

/* The list of one is the shortest way to break a limit. */
START_TEST(at_most_256_upstreams)
{
	char *text, *lines;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	fputs(HEAD "endpoints:\n- url: tls://a.test\n  upstream:\n", out);
	for (int i = 1; i <= 257; i++)
		fprintf(out, "  - 192.0.2.1:%d\n", i);
	fclose(out);
	lines = fixture_problems(span_of(text, size), NULL);
	ck_assert_str_eq(
	    lines, "t.yaml:261:5: 'upstream' has more than 256 entries");
	free(lines);
	free(text);
}
END_TEST

/* One byte more than may be, and then exactly so many. */
static void
check_longest(
    const char *head, size_t longest, const char *tail, const char *said)
{
	char text[8192];
	int len;

	len = snprintf(
	    text, sizeof(text), "%s%0*d%s", head, (int)longest + 1, 7, tail);
	ck_assert_int_lt(len, (int)sizeof(text));
	fixture_refused(&(struct refusal){ text, said });
	snprintf(text, sizeof(text), "%s%0*d%s", head, (int)longest, 7, tail);
	snapshot_put(fixture_snapshot(text));
}

START_TEST(texts_have_limits)
{
	check_longest(HEAD "edge: { user: u", 63, " }\n" ONE,
	    "t.yaml:2:15: 'user' is longer than 64 bytes");
	check_longest(HEAD
	    "endpoints: [ { url: tls://a.test, upstream: 192.0.2.1:1,\n"
	    "metadata: x",
	    4095, " } ]\n",
	    "t.yaml:3:11: 'metadata' is longer than 4096 bytes");
	check_longest(HEAD
	    "endpoints: [ { url: tls://a.test, upstream: 192.0.2.1:1,\n"
	    "labels: { a: x",
	    1023, " } } ]\n",
	    "t.yaml:3:11: 'labels': a name has at most 64 bytes, a value "
	    "1024");
	check_longest(HEAD
	    "endpoints: [ { url: tls://a.test, upstream: 192.0.2.1:1,\n"
	    "labels: { x",
	    63, ": x } } ]\n",
	    "t.yaml:3:11: 'labels': a name has at most 64 bytes, a value "
	    "1024");
}
END_TEST

START_TEST(metadata_and_labels_may_be_empty)
{
	struct snapshot *s =
	    fixture_snapshot(ENDPOINT("metadata: \"\"\n  labels: { a: }"));

	ck_assert_str_eq(s->endpoints[0]->metadata, "");
	ck_assert_str_eq(s->endpoints[0]->label_values[0], "");
	snapshot_put(s);
}
END_TEST

START_TEST(a_policy_may_choose_the_upstream)
{
	snapshot_put(
	    fixture_snapshot(HEAD "edge: { policy: { file: /dev/null } }\n"));
	snapshot_put(
	    fixture_snapshot(HEAD "edge: { policy: { file: /dev/null } }\n"
				  "endpoints: [ { url: tls://a.test } ]\n"));
	snapshot_put(fixture_snapshot(
	    HEAD "endpoints: [ { url: tls://a.test, policy: /dev/null } ]\n"));
}
END_TEST

/* Whatever is cut off, there is a snapshot or a reason. */
START_TEST(every_truncation_is_judged)
{
	for (size_t len = 0; len <= sizeof(full_edge) - 1; len++)
		free(fixture_problems(span_of(full_edge, len), NULL));
	for (size_t len = 0; len <= sizeof(full_endpoint) - 1; len++)
		free(fixture_problems(span_of(full_endpoint, len), NULL));
}
END_TEST

#define ADD_TABLE(test, table) \
	tcase_add_loop_test(tcase, test, 0, ARRAY_COUNT(table))

static void
add_tests(TCase *tcase)
{
	ADD_TABLE(root_says_what_is_wrong_and_where, root_refusals);
	ADD_TABLE(edge_says_what_is_wrong_and_where, edge_refusals);
	ADD_TABLE(endpoint_says_what_is_wrong_and_where, endpoint_refusals);
	ADD_TABLE(events_say_what_is_wrong_and_where, event_refusals);
	ADD_TABLE(own_listeners_are_no_upstreams, loops);
	tcase_add_test(tcase, defaults_are_what_the_manual_says);
	tcase_add_test(tcase, every_key_of_the_edge_is_read);
	tcase_add_test(tcase, every_key_of_an_endpoint_is_read);
	tcase_add_test(tcase, at_most_256_upstreams);
	tcase_add_test(tcase, texts_have_limits);
	tcase_add_test(tcase, metadata_and_labels_may_be_empty);
	tcase_add_test(tcase, a_policy_may_choose_the_upstream);
	tcase_add_test(tcase, every_truncation_is_judged);
}

UNIT_MAIN_TOGETHER("schema", add_tests)
