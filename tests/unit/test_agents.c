/* `edge.agents`, and what of the edge belongs to it. */
#include "unit.h"

#include <stdio.h>
#include <unistd.h>

#include "config_fixture.h"
#include "tls_support.h"

#define HEAD "version: 1\n"
#define ONE "endpoints: [ { url: tls://a.test, upstream: \"192.0.2.1:1\" } ]\n"
#define MUST "server_names: [ c.test ], authtokens_file: tokens.yaml"
/* The section is in line 3, and begins in column 11. */
#define AGENTS(text)                           \
	HEAD "edge:\n  agents: { " text " }\n" \
	     "  local_ca: auto\n"
#define EDGE(text) HEAD "edge:\n  " text "\n" ONE
#define BESIDE(text) AGENTS(MUST) "  " text "\n" ONE

static void
make_all(void)
{
	make_file("tokens.yaml", "tokens: []\n");
	struct made *c = make((struct recipe){ .names = "DNS:c.test" });

	make_file("c.pem", join(c->crt, c->key_pem, NULL));
	ck_assert_int_eq(chdir(make_folder()), 0);
}

static const struct refusal refusals[] = {
	{ EDGE("agents: []"),
	    "t.yaml:3:11: 'agents': expected keys and values, found a list" },
	{ EDGE("agents: {}\n  local_ca: auto"),
	    "t.yaml:3:11: 'server_names' is missing\n"
	    "t.yaml:3:11: 'authtokens_file' is missing" },
	{ AGENTS("server_names: [ c.test ]"),
	    "t.yaml:3:11: 'authtokens_file' is missing" },
	{ AGENTS("server_names: c.test, authtokens_file: tokens.yaml"),
	    "t.yaml:3:27: 'server_names': expected list of host names, found "
	    "a text" },
	{ AGENTS("server_names: [], authtokens_file: tokens.yaml"),
	    "t.yaml:3:27: 'server_names' must not be empty" },
	{ AGENTS("server_names: [ \"*.c.test\", c..test, 192.0.2.1 ], "
		 "authtokens_file: tokens.yaml"),
	    "t.yaml:3:29: 'server_names': '*.c.test' is no host name: the "
	    "name has a character that host names do not have\n"
	    "t.yaml:3:41: 'server_names': 'c..test' is no host name: a label "
	    "of the name is empty\n"
	    "t.yaml:3:50: 'server_names': '192.0.2.1' is no host name: an IP "
	    "address, or a name that ends in a number, is no host name" },
	{ AGENTS("server_names: [ c.test, C.test. ], "
		 "authtokens_file: tokens.yaml"),
	    "t.yaml:3:37: 'server_names': 'c.test' is listed twice" },
	{ AGENTS("server_names: [ c.test ], authtokens_file: none.yaml"),
	    "t.yaml:3:56: cannot read: none.yaml: No such file or directory" },
	{ AGENTS("server_names: [ c.test ], authtokens_file: /"),
	    "t.yaml:3:56: cannot read: /: it is a folder" },
	{ AGENTS(MUST ", certificate: c"),
	    "t.yaml:3:82: 'certificate': no certificate has the name 'c'" },
	{ AGENTS(MUST ", data_encryption: never"),
	    "t.yaml:3:86: 'data_encryption': unknown word 'never'; known: "
	    "auto, always" },
	{ AGENTS(MUST ", data_connections: always"),
	    "t.yaml:3:87: 'data_connections': unknown word 'always'; known: "
	    "auto, never" },
	{ AGENTS(MUST ", heartbeat_interval: 99ms, heartbeat_tolerance: 2h"),
	    "t.yaml:3:89: 'heartbeat_interval' must be from 100ms to 1h\n"
	    "t.yaml:3:116: 'heartbeat_tolerance' must be from 100ms to 1h" },
	{ AGENTS(MUST ", limits: { sessions: 0, endpoints_per_session: x }"),
	    "t.yaml:3:89: 'sessions' must be a whole number from 1 to "
	    "10000000\n"
	    "t.yaml:3:115: 'endpoints_per_session' must be a whole number "
	    "from 1 to 10000000" },
	{ AGENTS(MUST ", tokens: x"),
	    "t.yaml:3:69: unknown key 'tokens'; known here: server_names, "
	    "certificate, authtokens_file, data_encryption, "
	    "data_connections, heartbeat_interval, heartbeat_tolerance, "
	    "limits" },
	/* A reserved name is nobody's endpoint. */
	{ AGENTS(MUST) "endpoints: [ { url: \"tls://C.test\", upstream: "
		       "192.0.2.1:1 } ]\n",
	    "t.yaml:5:21: 'tls://c.test' is reserved for agents, at "
	    "t.yaml:3:29" },
	/* Agents verify whom they connect to. */
	{ EDGE("agents: { " MUST " }"),
	    "t.yaml:3:29: no certificate covers 'c.test': add one to "
	    "'certificates', name one with 'certificate', or set "
	    "'edge.local_ca: auto'" },
	/* One without the other is in vain. */
	{ EDGE("base_domain: t.test"),
	    "t.yaml:3:3: 'base_domain' needs 'edge.agents': only agents get "
	    "names below it" },
	{ BESIDE("base_domain: \"*.t.test\""),
	    "t.yaml:5:16: 'base_domain': '*.t.test' is no host name: the name "
	    "has a character that host names do not have" },
	{ EDGE("listen: [ { address: \":443\", serves: agents } ]"),
	    "t.yaml:3:13: 'serves: agents' needs 'edge.agents'" },
	{ EDGE("listen: [ { address: \":443\", serves: all } ]"),
	    "t.yaml:3:40: 'serves': unknown word 'all'; known: both, agents, "
	    "clients" },
	{ BESIDE("listen: [ { address: \":443\", serves: clients } ]"),
	    "t.yaml:5:3: no listener serves agents, and there is "
	    "'edge.agents'" },
	{ BESIDE("listen: [ { address: \":443\", serves: agents } ]"),
	    "t.yaml:5:3: no listener serves clients" },
};

START_TEST(what_is_wrong_is_said)
{
	make_all();
	fixture_refused(&refusals[_i]);
}
END_TEST

START_TEST(defaults_are_what_the_manual_says)
{
	struct snapshot *s;

	make_all();
	/* Agents alone are something to serve. */
	s = fixture_snapshot(AGENTS(MUST));
	ck_assert(s->agents.enabled);
	ck_assert_uint_eq(s->agents.server_name_count, 1);
	ck_assert_str_eq(s->agents.server_names[0].text, "c.test");
	ck_assert_str_eq(s->agents.authtokens_file, "tokens.yaml");
	ck_assert_ptr_null(s->agents.certificate);
	ck_assert(!s->agents.encrypts_data);
	ck_assert(!s->agents.no_data);
	ck_assert_uint_eq(s->agents.heartbeat_interval_ms, 10000);
	ck_assert_uint_eq(s->agents.heartbeat_tolerance_ms, 15000);
	ck_assert_uint_eq(s->agents.sessions, 0);
	ck_assert_uint_eq(s->agents.endpoints_per_session, 0);
	ck_assert_uint_eq(s->base_domain.len, 0);
	ck_assert(!s->agent.enabled);
	snapshot_put(s);
}
END_TEST

static const char full[] =
    HEAD "edge:\n"
	 "  listen:\n"
	 "  - { address: \":443\", serves: clients }\n"
	 "  - { address: \":444\", serves: agents }\n"
	 "  - { address: \":445\", serves: both }\n"
	 "  base_domain: T.test\n"
	 "  agents:\n"
	 "    server_names: [ C.test, d.test ]\n"
	 "    certificate: own\n"
	 "    authtokens_file: tokens.yaml\n"
	 "    data_encryption: always\n"
	 "    data_connections: never\n"
	 "    heartbeat_interval: 100ms\n"
	 "    heartbeat_tolerance: 1h\n"
	 "    limits: { sessions: 10, endpoints_per_session: 3 }\n"
	 "certificates: [ { name: own, crt: c.pem } ]\n"
	 "endpoints:\n"
	 "- { url: \"tls://*.test\", upstream: \"192.0.2.1:1\" }\n";

START_TEST(every_key_is_read)
{
	struct snapshot *s;

	make_all();
	s = fixture_snapshot(full);
	ck_assert_int_eq(s->listens[0].serves, SERVES_CLIENTS);
	ck_assert_int_eq(s->listens[1].serves, SERVES_AGENTS);
	ck_assert_int_eq(s->listens[2].serves, SERVES_BOTH);
	ck_assert_str_eq(s->base_domain.text, "t.test");
	ck_assert_uint_eq(s->agents.server_name_count, 2);
	ck_assert_str_eq(s->agents.server_names[0].text, "c.test");
	ck_assert_str_eq(s->agents.certificate, "own");
	ck_assert(s->agents.encrypts_data);
	ck_assert(s->agents.no_data);
	ck_assert_uint_eq(s->agents.heartbeat_interval_ms, 100);
	ck_assert_uint_eq(s->agents.heartbeat_tolerance_ms, 3600000);
	ck_assert_uint_eq(s->agents.sessions, 10);
	ck_assert_uint_eq(s->agents.endpoints_per_session, 3);
	snapshot_put(s);
}
END_TEST

/* A certificate with the name will do, or any that is named. */
START_TEST(agents_need_a_certificate)
{
	make_all();
	snapshot_put(
	    fixture_snapshot(HEAD "edge: { agents: { " MUST " } }\n"
				  "certificates: [ { crt: c.pem } ]\n"));
	snapshot_put(fixture_snapshot(
	    HEAD "edge: { agents: { server_names: [ other.test ],\n"
		 "  authtokens_file: tokens.yaml, certificate: c } }\n"
		 "certificates: [ { name: c, crt: c.pem } ]\n"));
}
END_TEST

START_TEST(a_base_domain_leaves_room)
{
	char text[1024], name[256];
	size_t longest = 253 - 64;

	make_all();
	for (size_t i = 0; i < sizeof(name); i++)
		name[i] = i % 2 == 0 ? 'x' : '.';
	/* An odd length ends in a letter. */
	ck_assert_uint_eq(longest % 2, 1);
	snprintf(text, sizeof(text), BESIDE("base_domain: %.*s"), (int)longest,
	    name);
	snapshot_put(fixture_snapshot(text));
	snprintf(text, sizeof(text), BESIDE("base_domain: %.*s"),
	    (int)longest + 2, name);
	fixture_refused(&(struct refusal){ text,
	    "t.yaml:5:16: 'base_domain' is too long for names below it" });
}
END_TEST

START_TEST(every_truncation_is_judged)
{
	make_all();
	for (size_t len = 0; len <= sizeof(full) - 1; len++)
		free(fixture_problems(span_of(full, len), NULL));
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(
	    tcase, what_is_wrong_is_said, 0, (int)ARRAY_COUNT(refusals));
	tcase_add_test(tcase, defaults_are_what_the_manual_says);
	tcase_add_test(tcase, every_key_is_read);
	tcase_add_test(tcase, agents_need_a_certificate);
	tcase_add_test(tcase, a_base_domain_leaves_room);
	tcase_add_test(tcase, every_truncation_is_judged);
}

UNIT_MAIN_TOGETHER("agents", add_tests)
