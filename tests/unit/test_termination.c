/* How an endpoint ends TLS and begins it again, and what of the edge belongs to
 * that. */
#include "unit.h"

#include <stdio.h>
#include <unistd.h>

#include "config_fixture.h"
#include "tls/stream.h"
#include "tls_support.h"

#define HEAD "version: 1\n"
#define ONE "endpoints: [ { url: tls://a.test, upstream: \"192.0.2.1:1\" } ]\n"
#define EDGE(text) HEAD "edge: { " text " }\n" ONE
/* The keys under test are in line 7. */
#define HERE(text)                                                   \
	HEAD "edge: { local_ca: auto }\n"                            \
	     "certificates: [ { name: app, crt: a.pem } ]\n"         \
	     "endpoints:\n- url: tls://a.test\n"                     \
	     "  upstream: tls://192.0.2.1:1\n  terminate_at: edge\n" \
	     "  " text "\n"
#define ELSEWHERE(text)                          \
	HEAD "endpoints:\n- url: tls://a.test\n" \
	     "  upstream: tls://192.0.2.1:1\n  " text "\n"

static void
make_all(void)
{
	struct made *ca = make((struct recipe){ .ca = true });
	struct made *a = make((struct recipe){ .names = "DNS:a.test" });

	make_file("a.pem", join(a->crt, a->key_pem, NULL));
	make_file("ca.pem", ca->crt);
	make_file("ca2.pem", make((struct recipe){ .ca = true })->crt);
	make_file("ca.crl", make_crl(ca, NULL, 0, 0, 0));
	ck_assert_int_eq(chdir(make_folder()), 0);
}

static const struct refusal refusals[] = {
	{ HERE("certificate: [ x ]"),
	    "t.yaml:8:16: 'certificate': expected name of a certificate, "
	    "found a list" },
	{ HERE("min_version: 1.1"),
	    "t.yaml:8:16: 'min_version' must be 1.2 or 1.3" },
	{ HERE("max_version: tls1.3"),
	    "t.yaml:8:16: 'max_version' must be 1.2 or 1.3" },
	{ HERE("min_version: 1.3\n  max_version: 1.2"),
	    "t.yaml:8:16: 'min_version' is above 'max_version'" },
	{ HERE("alpn: h2"),
	    "t.yaml:8:9: 'alpn': expected list of texts, found a text" },
	{ HERE("alpn: []"), "t.yaml:8:9: 'alpn' must not be empty" },
	{ HERE("alpn: [ \"\" ]"), "t.yaml:8:11: 'alpn' has no value" },
	{ HERE("alpn: [ h2, http/1.1, h2 ]"),
	    "t.yaml:8:25: 'alpn': 'h2' is listed twice" },
	{ HERE("mutual_tls: ca.pem"),
	    "t.yaml:8:15: 'mutual_tls': expected keys and values, found a "
	    "text" },
	{ HERE("mutual_tls: {}"), "t.yaml:8:15: 'cas' is missing" },
	{ HERE("mutual_tls: { cas: [] }"),
	    "t.yaml:8:22: 'cas' must not be empty" },
	{ HERE("mutual_tls: { cas: ca.pem, mode: requier }"),
	    "t.yaml:8:36: 'mode': unknown word 'requier'; did you mean "
	    "'require'?" },
	{ HERE("mutual_tls: { cas: ca.pem, ca: x }"),
	    "t.yaml:8:30: unknown key 'ca'; did you mean 'cas'?" },
	{ HERE("upstream_tls: { verify: maybe }"),
	    "t.yaml:8:27: 'verify' must be true or false" },
	{ HERE("upstream_tls: { verify: false, cas: ca.pem }"),
	    "t.yaml:8:34: 'cas' has no use with 'verify: false'" },
	{ HERE("upstream_tls: { server_name: a b }"),
	    "t.yaml:8:32: 'server_name': 'a b' is no IP address, and no name: "
	    "the name has a character that host names do not have" },
	{ HERE("upstream_tls: { certificate: ap }"),
	    "t.yaml:8:32: 'certificate': no certificate has the name 'ap'; "
	    "did you mean 'app'?" },
	{ HERE("handshakes_per_second: 0"),
	    "t.yaml:8:26: 'handshakes_per_second' must be a whole number from "
	    "1 to 10000000" },
	{ HERE("timeouts: { handshake: 1ms }"),
	    "t.yaml:8:26: 'handshake' must be from 10ms to 1h" },
	{ HERE("proxy_tlvs: [ ssl ]"),
	    "t.yaml:8:15: 'proxy_tlvs' needs 'proxy_proto: 2'" },
	{ HERE("proxy_proto: 1\n  proxy_tlvs: [ client_certificate ]"),
	    "t.yaml:9:15: 'proxy_tlvs' needs 'proxy_proto: 2'" },
	/* A key that would do nothing is told of. */
	{ ELSEWHERE("certificate: app"),
	    "t.yaml:5:3: 'certificate' needs 'terminate_at: edge': the "
	    "client's TLS does not end here" },
	{ ELSEWHERE("min_version: 1.3"),
	    "t.yaml:5:3: 'min_version' needs 'terminate_at: edge': the "
	    "client's TLS does not end here" },
	{ ELSEWHERE("max_version: 1.2"),
	    "t.yaml:5:3: 'max_version' needs 'terminate_at: edge': the "
	    "client's TLS does not end here" },
	{ ELSEWHERE("alpn: [ h2 ]"),
	    "t.yaml:5:3: 'alpn' needs 'terminate_at: edge': the client's TLS "
	    "does not end here" },
	{ ELSEWHERE("mutual_tls: { cas: ca.pem }"),
	    "t.yaml:5:3: 'mutual_tls' needs 'terminate_at: edge': the "
	    "client's TLS does not end here" },
	/* Not even a policy makes it ask by itself. */
	{ ELSEWHERE("policy: /dev/null\n  mutual_tls: { cas: ca.pem }"),
	    "t.yaml:6:3: 'mutual_tls' needs 'terminate_at: edge': the "
	    "client's TLS does not end here" },
	{ ELSEWHERE("upstream_tls: { verify: true }"),
	    "t.yaml:5:3: 'upstream_tls' needs 'terminate_at: edge': what is "
	    "passed on is encrypted already" },
	{ ELSEWHERE("handshakes_per_second: 5"),
	    "t.yaml:5:3: 'handshakes_per_second' needs 'terminate_at: "
	    "edge'" },
	{ ELSEWHERE("proxy_proto: 2\n  proxy_tlvs: [ client_certificate ]"),
	    "t.yaml:6:15: 'ssl' and 'client_certificate' need 'terminate_at: "
	    "edge': otherwise they are not known here" },
	{ HEAD "edge: { local_ca: auto }\nendpoints:\n- url: tls://a.test\n"
	       "  upstream: 192.0.2.1:1\n  terminate_at: edge\n"
	       "  upstream_tls: { verify: true }\n",
	    "t.yaml:7:3: 'upstream_tls' needs an upstream with 'tls://'" },
	{ EDGE("local_ca: on"),
	    "t.yaml:2:19: 'local_ca': unknown word 'on'; known: off, auto" },
	{ EDGE("session_tickets: { keys: none }"),
	    "t.yaml:2:34: cannot read: none: No such file or directory" },
	{ EDGE("session_tickets: { life: 8d }"),
	    "t.yaml:2:34: 'life' must be from 0 to 7d" },
	{ EDGE("limits: { handshakes_per_second: 0 }"),
	    "t.yaml:2:42: 'handshakes_per_second' must be a whole number from "
	    "1 to 10000000" },
	{ EDGE("limits: { handshakes_per_second_per_client: x }"),
	    "t.yaml:2:53: 'handshakes_per_second_per_client' must be a whole "
	    "number from 1 to 10000000" },
	{ EDGE("timeouts: { handshake: 2h }"),
	    "t.yaml:2:32: 'handshake' must be from 10ms to 1h" },
};

START_TEST(what_is_wrong_is_said)
{
	make_all();
	fixture_refused(&refusals[_i]);
}
END_TEST

/* The words are those of tls/; the place is the file's that is wrong. */
static const struct {
	const char *text, *begins;
} files[] = {
	{ HERE("mutual_tls: { cas: none.pem }"), "t.yaml:8:22: none.pem: " },
	{ HERE("mutual_tls: { cas: [ ca.pem, a.pem ] }"),
	    "t.yaml:8:32: a.pem: " },
	{ HERE("mutual_tls: { cas: ca.pem, crls: [ ca.crl, none.crl ] }"),
	    "t.yaml:8:46: none.crl: " },
	{ HERE("mutual_tls: { cas: ca2.pem, crls: ca.crl }"),
	    "t.yaml:8:37: ca.crl: " },
	{ HERE("upstream_tls: { cas: a.pem }"), "t.yaml:8:24: a.pem: " },
};

START_TEST(files_are_judged_and_blamed)
{
	char *lines;

	make_all();
	lines = fixture_problems(span_text(files[_i].text), NULL);
	ck_assert_msg(
	    !strncmp(lines, files[_i].begins, strlen(files[_i].begins)), "%s",
	    lines);
	ck_assert_ptr_null(strchr(lines, '\n'));
	free(lines);
}
END_TEST

START_TEST(every_key_of_termination_is_read)
{
	const struct endpoint *e;
	struct snapshot *s;

	make_all();
	s = fixture_snapshot(
	    HERE("certificate: app\n  min_version: 1.3\n"
		 "  max_version: \"1.3\"\n  alpn: [ h2, http/1.1 ]\n"
		 "  mutual_tls: { cas: [ ca.pem, ca2.pem ], mode: request }\n"
		 "  upstream_tls: { verify: no, server_name: B.test.,\n"
		 "    certificate: app }\n"
		 "  handshakes_per_second: 100\n"
		 "  timeouts: { handshake: 5s }\n"
		 "  proxy_proto: 2\n  proxy_tlvs: [ client_certificate ]"));
	e = s->endpoints[0];
	ck_assert_int_eq(e->terminate_at, TERMINATE_EDGE);
	ck_assert_str_eq(e->termination.certificate, "app");
	ck_assert_uint_eq(e->termination.min_version, TLS_VERSION_1_3);
	ck_assert_uint_eq(e->termination.max_version, TLS_VERSION_1_3);
	ck_assert_uint_eq(e->termination.alpn_len, 12);
	ck_assert_mem_eq(e->termination.alpn, "\x02h2\x08http/1.1", 12);
	ck_assert_int_eq(e->termination.auth, CLIENT_AUTH_REQUEST);
	ck_assert_uint_eq(trust_ca_count(e->termination.trust), 2);
	ck_assert_int_eq(e->upstream_tls.verify, VERIFY_OFF);
	ck_assert_str_eq(e->upstream_tls.server_name, "b.test");
	ck_assert_str_eq(e->upstream_tls.certificate, "app");
	ck_assert_uint_eq(e->handshakes_per_second, 100);
	ck_assert_uint_eq(e->handshake_ms, 5000);
	ck_assert_uint_eq(
	    e->proxy_tlvs, PROXY_SEND_SSL | PROXY_SEND_CLIENT_CERTIFICATE);
	snapshot_put(s);
}
END_TEST

START_TEST(defaults_of_termination)
{
	const struct endpoint *e;
	struct snapshot *s;

	make_all();
	s = fixture_snapshot(
	    HERE("mutual_tls: { cas: ca.pem, crls: ca.crl }\n"
		 "  upstream_tls: { cas: ca.pem, server_name: \"::1\" }"));
	e = s->endpoints[0];
	ck_assert_ptr_null(e->termination.certificate);
	ck_assert_uint_eq(e->termination.min_version, TLS_VERSION_1_2);
	ck_assert_uint_eq(e->termination.max_version, TLS_VERSION_1_3);
	ck_assert_uint_eq(e->termination.alpn_len, 0);
	ck_assert_int_eq(e->termination.auth, CLIENT_AUTH_REQUIRE);
	ck_assert_uint_eq(trust_crl_count(e->termination.trust), 1);
	ck_assert_int_eq(e->upstream_tls.verify, VERIFY_AUTO);
	ck_assert_uint_eq(trust_ca_count(e->upstream_tls.trust), 1);
	ck_assert_str_eq(e->upstream_tls.server_name, "::1");
	ck_assert_uint_eq(e->handshakes_per_second, 0);
	ck_assert_uint_eq(e->handshake_ms, 10000);
	snapshot_put(s);
}
END_TEST

START_TEST(the_same_cas_are_shared)
{
	struct snapshot *s;

	make_all();
	s = fixture_snapshot(
	    HEAD "edge: { local_ca: auto }\n"
		 "endpoints:\n"
		 "- { url: tls://a.test, upstream: \"tls://192.0.2.1:1\",\n"
		 "    terminate_at: edge, mutual_tls: { cas: ca.pem },\n"
		 "    upstream_tls: { cas: [ ca.pem ], verify: true } }\n"
		 "- { url: tls://b.test, upstream: 192.0.2.1:1,\n"
		 "    terminate_at: edge, mutual_tls: { cas: [ ca.pem ] } }\n"
		 "- { url: tls://c.test, upstream: 192.0.2.1:1,\n"
		 "    terminate_at: edge,\n"
		 "    mutual_tls: { cas: ca.pem, crls: ca.crl } }\n");
	ck_assert_ptr_eq(s->endpoints[0]->termination.trust,
	    s->endpoints[1]->termination.trust);
	ck_assert_ptr_eq(s->endpoints[0]->termination.trust,
	    s->endpoints[0]->upstream_tls.trust);
	ck_assert_ptr_ne(s->endpoints[0]->termination.trust,
	    s->endpoints[2]->termination.trust);
	ck_assert_int_eq(s->endpoints[0]->upstream_tls.verify, VERIFY_ON);
	snapshot_put(s);
}
END_TEST

/* Both ends of what RFC 7301 allows. */
START_TEST(protocols_have_1_to_255_bytes)
{
	char text[1024], name[257], *lines;
	struct snapshot *s;

	make_all();
	memset(name, 'x', 256);
	name[256] = '\0';
	snprintf(text, sizeof(text), HERE("alpn: [ %s ]"), name);
	lines = fixture_problems(span_text(text), NULL);
	ck_assert_str_eq(lines,
	    "t.yaml:8:11: 'alpn': a protocol's name has at most 255 bytes");
	free(lines);
	name[255] = '\0';
	snprintf(text, sizeof(text), HERE("alpn: [ %s, y ]"), name);
	s = fixture_snapshot(text);
	ck_assert_uint_eq(s->endpoints[0]->termination.alpn_len, 258);
	ck_assert_uint_eq(s->endpoints[0]->termination.alpn[0], 255);
	snapshot_put(s);
}
END_TEST

START_TEST(a_policy_may_use_what_would_be_idle)
{
	make_all();
	snapshot_put(fixture_snapshot(
	    ELSEWHERE("policy: /dev/null\n  upstream_tls: { verify: true }\n"
		      "  handshakes_per_second: 5\n  proxy_proto: 2\n"
		      "  proxy_tlvs: [ ssl ]")));
}
END_TEST

START_TEST(keys_of_the_edge_are_read)
{
	struct snapshot *s = fixture_snapshot(
	    EDGE("state: /srv/x, local_ca: auto, timeouts: { handshake: 2s },\n"
		 "session_tickets: { keys: /dev/null, life: 10m },\n"
		 "limits: { handshakes_per_second: 7,\n"
		 "  handshakes_per_second_per_client: 3 }"));

	ck_assert_str_eq(s->state, "/srv/x");
	ck_assert(s->local_ca);
	ck_assert_uint_eq(s->timeouts.handshake_ms, 2000);
	ck_assert_uint_eq(s->endpoints[0]->handshake_ms, 2000);
	ck_assert_str_eq(s->ticket_keys, "/dev/null");
	ck_assert_uint_eq(s->session_life_ms, 600000);
	ck_assert_uint_eq(s->limits.handshakes_per_second, 7);
	ck_assert_uint_eq(s->limits.handshakes_per_second_per_client, 3);
	ck_assert_ptr_null(s->keylog);
	snapshot_put(s);
}
END_TEST

START_TEST(defaults_of_the_edge)
{
	struct snapshot *s = fixture_snapshot(HEAD ONE);

	ck_assert(!s->local_ca);
	ck_assert_uint_eq(s->timeouts.handshake_ms, 10000);
	ck_assert_ptr_null(s->ticket_keys);
	ck_assert_uint_eq(s->session_life_ms, 7200000);
	ck_assert_uint_eq(s->limits.handshakes_per_second, 0);
	ck_assert_uint_eq(s->limits.handshakes_per_second_per_client, 0);
	ck_assert_int_eq(s->endpoints[0]->termination.auth, CLIENT_AUTH_NONE);
	ck_assert_int_eq(s->endpoints[0]->upstream_tls.verify, VERIFY_AUTO);
	snapshot_put(s);
}
END_TEST

static const struct {
	const char *service, *own, *home;
	const char *of_root, *of_others;
} states[] = {
	{ "/run/s:/run/t", "/x", "/h", "/run/s", "/run/s" },
	{ NULL, "/x", "/h", STATE_FOLDER, "/x/lunette" },
	{ NULL, "x", "/h", STATE_FOLDER, "/h/.local/state/lunette" },
	{ NULL, "", "", STATE_FOLDER, STATE_FOLDER },
	{ "", NULL, "/h", STATE_FOLDER, "/h/.local/state/lunette" },
};

static void
set_or_unset(const char *name, const char *value)
{
	if (value != NULL)
		setenv(name, value, 1);
	else
		unsetenv(name);
}

START_TEST(the_state_folder_has_a_default)
{
	struct snapshot *s;

	set_or_unset("STATE_DIRECTORY", states[_i].service);
	set_or_unset("XDG_STATE_HOME", states[_i].own);
	set_or_unset("HOME", states[_i].home);
	s = fixture_snapshot(HEAD ONE);
	ck_assert_str_eq(s->state,
	    geteuid() == 0 ? states[_i].of_root : states[_i].of_others);
	snapshot_put(s);
	/* A reload after the change to edge.user finds the same folder. */
	if (geteuid() == 0 && setuid(65534) == 0) {
		s = fixture_snapshot(HEAD ONE);
		ck_assert_str_eq(s->state, states[_i].of_root);
		snapshot_put(s);
	}
}
END_TEST

#define ADD_TABLE(test, table) \
	tcase_add_loop_test(tcase, test, 0, ARRAY_COUNT(table))

static void
add_tests(TCase *tcase)
{
	ADD_TABLE(what_is_wrong_is_said, refusals);
	ADD_TABLE(files_are_judged_and_blamed, files);
	tcase_add_test(tcase, every_key_of_termination_is_read);
	tcase_add_test(tcase, defaults_of_termination);
	tcase_add_test(tcase, the_same_cas_are_shared);
	tcase_add_test(tcase, protocols_have_1_to_255_bytes);
	tcase_add_test(tcase, a_policy_may_use_what_would_be_idle);
	tcase_add_test(tcase, keys_of_the_edge_are_read);
	tcase_add_test(tcase, defaults_of_the_edge);
	ADD_TABLE(the_state_folder_has_a_default, states);
}

UNIT_MAIN("termination", add_tests)
