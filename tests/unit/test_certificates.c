/* `certificates`: what is loaded, what is said about it, and which names it
 * covers. */
#include "unit.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_fixture.h"
#include "tls_support.h"

#define HEAD "version: 1\n"
#define ONE "endpoints: [ { url: tls://a.test, upstream: \"192.0.2.1:1\" } ]\n"
#define CERTIFICATES(text) HEAD "certificates:\n" text ONE

static void
save(const char *name, const struct made *m)
{
	char file[64];

	snprintf(file, sizeof(file), "%s.pem", name);
	make_file(file, m->crt);
	snprintf(file, sizeof(file), "%s.key", name);
	make_file(file, m->key_pem);
}

/* All that the texts below name, as relative paths. */
static void
make_all(void)
{
	struct made *a = make((struct recipe){ .names = "DNS:a.test" });
	struct made *b =
	    make((struct recipe){ .names = "DNS:b.test,DNS:*.w.test" });

	save("a", a);
	save("b", b);
	make_file("both.pem", join(b->crt, b->key_pem, NULL));
	save("expired", make((struct recipe){ .names = "DNS:e.test",
			    .not_before = -10 * MADE_DAY,
			    .not_after = -3 * MADE_DAY - 60 }));
	save("soon", make((struct recipe){ .names = "DNS:s.test",
			 .not_before = -10 * MADE_DAY,
			 .not_after = 5 * MADE_DAY + 60 }));
	save("early", make((struct recipe){ .names = "DNS:y.test",
			  .not_before = MADE_DAY,
			  .not_after = 90 * MADE_DAY }));
	save("responder", make((struct recipe){ .names = "DNS:o.test",
			      .ocsp_url = "http://127.0.0.1:1/" }));
	ck_assert_int_eq(chdir(make_folder()), 0);
	umask(077);
}

static const struct refusal refusals[] = {
	{ HEAD "certificates: {}\n" ONE,
	    "t.yaml:2:15: 'certificates': expected list of maps, found keys "
	    "and values" },
	{ CERTIFICATES("- x\n"),
	    "t.yaml:3:3: 'certificates': expected keys and values, found a "
	    "text" },
	{ CERTIFICATES("- { name: x, key: a.key }\n"),
	    "t.yaml:3:3: 'crt' or 'folder' is missing" },
	{ CERTIFICATES("- { crt: both.pem, kye: a.key }\n"),
	    "t.yaml:3:20: unknown key 'kye'; did you mean 'key'?" },
	{ CERTIFICATES("- { crt: both.pem, key: }\n"),
	    "t.yaml:3:25: 'key' has no value" },
	{ CERTIFICATES("- { folder: ., name: x }\n"),
	    "t.yaml:3:13: 'folder' stands without 'name', 'crt' and 'key'" },
	{ CERTIFICATES("- { folder: ., ocsp: a.pem }\n"),
	    "t.yaml:3:22: 'ocsp' of a folder is auto, fetch or off: one "
	    "response cannot be about several certificates" },
	{ CERTIFICATES("- folder: none\n"),
	    "t.yaml:3:11: cannot read: none: No such file or directory" },
	{ CERTIFICATES("- { crt: a.pem, key: a.key, ocsp: none }\n"),
	    "t.yaml:3:35: cannot read: none: No such file or directory" },
	{ CERTIFICATES("- { crt: a.pem, key: a.key, ocsp: fetch }\n"),
	    "t.yaml:3:10: 'ocsp: fetch': a.pem names no responder that could "
	    "be asked" },
	{ CERTIFICATES("- { crt: a.pem, key: a.key }\n"
		       "- { crt: a.pem, key: a.key }\n"),
	    "t.yaml:4:10: 'crt': 'a.pem' is listed already, in line 3" },
	{ CERTIFICATES("- { name: x, crt: a.pem, key: a.key }\n"
		       "- { name: x, crt: both.pem }\n"),
	    "t.yaml:4:19: the name 'x' has a certificate with a key of that "
	    "kind (ECDSA) already, in line 3" },
};

START_TEST(what_is_wrong_is_said)
{
	make_all();
	fixture_refused(&refusals[_i]);
}
END_TEST

/* What only tls/ can see: the place is the file's key, the words are its. */
static const struct {
	const char *text, *begins;
} files[] = {
	{ CERTIFICATES("- { crt: none.pem, key: a.key }\n"),
	    "t.yaml:3:10: none.pem: " },
	{ CERTIFICATES("- { crt: a.pem, key: none.key }\n"),
	    "t.yaml:3:22: none.key: " },
	{ CERTIFICATES("- { crt: a.key, key: a.pem }\n"),
	    "t.yaml:3:10: a.key: " },
	{ CERTIFICATES("- { crt: a.pem, key: a.pem }\n"),
	    "t.yaml:3:22: a.pem: " },
	{ CERTIFICATES("- { crt: a.pem }\n"), "t.yaml:3:10: a.pem: " },
	{ CERTIFICATES("- { crt: both.pem }\n- { crt: a.pem, key: b.key }\n"),
	    "t.yaml:4:" },
};

START_TEST(files_are_judged_and_blamed)
{
	char *lines;

	make_all();
	lines = fixture_problems(span_text(files[_i].text), NULL);
	ck_assert_msg(
	    !strncmp(lines, files[_i].begins, strlen(files[_i].begins)), "%s",
	    lines);
	/* One mistake is one line: no endpoint complains of it again. */
	ck_assert_ptr_null(strchr(lines, '\n'));
	free(lines);
}
END_TEST

START_TEST(pairs_are_loaded)
{
	struct snapshot *s;

	make_all();
	s = fixture_snapshot(
	    CERTIFICATES("- { name: app, crt: a.pem, key: a.key }\n"
			 "- { crt: both.pem, ocsp: off }\n"
			 "- { crt: responder.pem, key: responder.key,\n"
			 "    ocsp: fetch }\n"
			 "- { crt: b.pem, key: b.key, ocsp: a.pem }\n"));
	ck_assert_uint_eq(s->certificate_count, 4);
	ck_assert_uint_eq(keyring_count(s->keyring), 4);
	ck_assert_str_eq(s->certificates[0].label, "app");
	ck_assert_str_eq(s->certificates[0].crt, "a.pem");
	ck_assert_str_eq(s->certificates[0].key, "a.key");
	ck_assert(
	    !s->certificates[0].ocsp_off && !s->certificates[0].ocsp_fetch);
	ck_assert_ptr_null(s->certificates[1].label);
	ck_assert_ptr_null(s->certificates[1].key);
	ck_assert(s->certificates[1].ocsp_off);
	ck_assert_uint_eq(s->certificates[1].id, 1);
	ck_assert(s->certificates[2].ocsp_fetch);
	ck_assert_str_eq(s->certificates[3].ocsp_file, "a.pem");
	ck_assert(snapshot_has_certificate(s, "app"));
	ck_assert(!snapshot_has_certificate(s, "ap"));
	ck_assert_uint_eq(problems_count(s->warnings), 0);
	snapshot_put(s);
}
END_TEST

START_TEST(without_certificates_there_is_an_empty_keyring)
{
	struct snapshot *s = fixture_snapshot(HEAD "certificates: []\n" ONE);

	ck_assert_ptr_nonnull(s->keyring);
	ck_assert_uint_eq(keyring_count(s->keyring), 0);
	ck_assert(!snapshot_has_certificate(s, "app"));
	snapshot_put(s);
}
END_TEST

/* Same files under two names: one certificate in memory. */
START_TEST(the_same_files_are_read_once)
{
	struct certificate *first, *second;
	struct snapshot *s;

	make_all();
	s = fixture_snapshot(
	    CERTIFICATES("- { name: x, crt: a.pem, key: a.key }\n"
			 "- { name: y, crt: a.pem, key: a.key }\n"));
	ck_assert_uint_eq(s->certificate_count, 2);
	first = keyring_at(s->keyring, s->certificates[0].id);
	second = keyring_at(s->keyring, s->certificates[1].id);
	ck_assert_ptr_eq(first, second);
	certificate_put(first);
	certificate_put(second);
	snapshot_put(s);
}
END_TEST

/* A mistake in files that two entries name is one mistake. */
START_TEST(the_same_mistake_is_told_once)
{
	char *lines;

	make_all();
	lines =
	    fixture_problems(span_text(CERTIFICATES(
				 "- { name: x, crt: none.pem, key: a.key }\n"
				 "- { name: y, crt: none.pem, key: a.key }\n")),
		NULL);
	ck_assert_ptr_null(strchr(lines, '\n'));
	free(lines);
}
END_TEST

START_TEST(kinds_of_key_may_share_a_name)
{
	struct key_choice choice;
	struct snapshot *s;

	make_all();
	save("rsa", make((struct recipe){
			.kind = MADE_RSA2048, .names = "DNS:a.test" }));
	s = fixture_snapshot(
	    CERTIFICATES("- { name: x, crt: a.pem, key: a.key }\n"
			 "- { name: x, crt: rsa.pem, key: rsa.key }\n"));
	ck_assert(keyring_labelled(s->keyring, "x", 0, &choice));
	ck_assert_ptr_nonnull(choice.by_kind[KEY_RSA]);
	ck_assert_ptr_nonnull(choice.by_kind[KEY_ECDSA]);
	key_choice_put(&choice);
	snapshot_put(s);
}
END_TEST

START_TEST(folders_hold_pairs)
{
	struct snapshot *s;

	make_all();
	ck_assert_int_eq(mkdir("pairs", 0700), 0);
	ck_assert_int_eq(rename("a.pem", "pairs/a.crt"), 0);
	ck_assert_int_eq(rename("a.key", "pairs/a.key"), 0);
	ck_assert_int_eq(rename("both.pem", "pairs/both.pem"), 0);
	make_file("pairs/.hidden.pem", "");
	make_file("pairs/readme.txt", "");
	s = fixture_snapshot(CERTIFICATES("- { folder: pairs, ocsp: fetch }\n"
					  "- { crt: pairs/both.pem }\n"));
	/* Named twice, held once. */
	ck_assert_uint_eq(s->certificate_count, 2);
	ck_assert_uint_eq(keyring_count(s->keyring), 2);
	ck_assert_str_eq(s->certificates[0].crt, "pairs/a.crt");
	ck_assert_str_eq(s->certificates[0].key, "pairs/a.key");
	ck_assert(s->certificates[0].ocsp_fetch);
	ck_assert_str_eq(s->certificates[1].crt, "pairs/both.pem");
	ck_assert_ptr_null(s->certificates[1].key);
	ck_assert_uint_eq(s->certificate_folder_count, 1);
	ck_assert_str_eq(s->certificate_folders[0].path, "pairs");
	snapshot_put(s);
}
END_TEST

START_TEST(a_folder_is_blamed_for_its_files)
{
	static const char text[] = CERTIFICATES("- folder: pairs\n");
	char *lines;

	make_all();
	ck_assert_int_eq(mkdir("pairs", 0700), 0);
	make_file("pairs/bad.pem", "nothing");
	lines = fixture_problems(span_text(text), NULL);
	ck_assert_msg(
	    !strncmp(lines, "t.yaml:3:11: pairs/bad.pem: ", 28), "%s", lines);
	free(lines);
}
END_TEST

static const struct {
	const char *text, *warnings;
} warnings[] = {
	{ CERTIFICATES("- { crt: expired.pem, key: expired.key }\n"),
	    "t.yaml:3:10: expired.pem: expired 3 days ago" },
	{ CERTIFICATES("- { crt: soon.pem, key: soon.key }\n"),
	    "t.yaml:3:10: soon.pem: expires in 5 days" },
	{ CERTIFICATES("- { crt: early.pem, key: early.key }\n"),
	    "t.yaml:3:10: early.pem: is not valid yet" },
	{ CERTIFICATES("- { crt: a.pem, key: open.key }\n"),
	    "t.yaml:3:22: every user of this machine can read the private "
	    "key: chmod o-rwx open.key" },
	{ CERTIFICATES("- crt: open.pem\n"),
	    "t.yaml:3:8: every user of this machine can read the private "
	    "key: chmod o-rwx open.pem" },
};

START_TEST(what_is_odd_is_warned_of)
{
	struct snapshot *s;
	char *lines;

	make_all();
	ck_assert_int_eq(link("a.key", "open.key"), 0);
	ck_assert_int_eq(link("both.pem", "open.pem"), 0);
	ck_assert_int_eq(chmod("open.key", 0644), 0);
	ck_assert_int_eq(chmod("open.pem", 0604), 0);
	s = fixture_snapshot(warnings[_i].text);
	lines = fixture_lines(s->warnings);
	ck_assert_str_eq(lines, warnings[_i].warnings);
	free(lines);
	snapshot_put(s);
}
END_TEST

#define EDGE_AT(edge, url, more)                                         \
	HEAD "edge: { " edge " }\ncertificates:\n"                       \
	     "- { name: app, crt: a.pem, key: a.key }\n"                 \
	     "- { crt: both.pem }\n"                                     \
	     "endpoints:\n- url: " url "\n  upstream: \"192.0.2.1:1\"\n" \
	     "  terminate_at: edge\n" more

#define NONE_COVERS(name)                           \
	"t.yaml:9:17: no certificate covers '" name \
	"': add one to 'certificates', or set "     \
	"'edge.local_ca: auto'"

/* An endpoint that ends TLS must have something to show. */
static const struct refusal coverage[] = {
	{ EDGE_AT("", "tls://a.test", ""), "" },
	{ EDGE_AT("", "tls://A.test", ""), "" },
	{ EDGE_AT("", "tls://b.test", ""), "" },
	{ EDGE_AT("", "tls://x.w.test", ""), "" },
	{ EDGE_AT("", "tls://*.w.test", ""), "" },
	/* Some of its names are covered, the rest is refused at run time. */
	{ EDGE_AT("", "tls://*.test", ""), "" },
	{ EDGE_AT("", "tls://w.test", ""), NONE_COVERS("w.test") },
	{ EDGE_AT("", "tls://y.x.w.test", ""), NONE_COVERS("y.x.w.test") },
	{ EDGE_AT("", "tls://*.x.w.test", ""), NONE_COVERS("*.x.w.test") },
	{ EDGE_AT("", "tls://c.test", ""), NONE_COVERS("c.test") },
	{ EDGE_AT("", "tls://localhost", ""), NONE_COVERS("localhost") },
	{ EDGE_AT("", "tls://c.test", "  certificate: app\n"), "" },
	{ EDGE_AT("local_ca: auto", "tls://c.test", ""), "" },
	{ EDGE_AT("", "tls://c.test", "  policy: /dev/null\n"), "" },
	{ EDGE_AT("", "tls://a.test", "  certificate: ap\n"),
	    "t.yaml:10:16: 'certificate': no certificate has the name 'ap'; "
	    "did you mean 'app'?" },
	{ EDGE_AT("", "tls://a.test", "  certificate: zebra\n"),
	    "t.yaml:10:16: 'certificate': no certificate has the name "
	    "'zebra'" },
	{ HEAD "endpoints:\n- url: tls://a.test\n  upstream: 192.0.2.1:1\n"
	       "  terminate_at: edge\n",
	    "t.yaml:5:17: no certificate covers 'a.test': add one to "
	    "'certificates', or set 'edge.local_ca: auto'" },
	{ HEAD "endpoints:\n- url: tls://a.test\n  upstream: 192.0.2.1:1\n"
	       "  terminate_at: edge\n  certificate: app\n",
	    "t.yaml:6:16: 'certificate': no certificate has the name "
	    "'app'" },
};

START_TEST(names_need_a_certificate)
{
	char *lines;

	make_all();
	lines = fixture_problems(span_text(coverage[_i].text), NULL);
	ck_assert_msg(!strcmp(lines, coverage[_i].lines), "%s\n%s",
	    coverage[_i].text, lines);
	free(lines);
}
END_TEST

static const struct {
	const char *text, *warnings;
} doubts[] = {
	{ EDGE_AT("default_endpoint: a.test", "tls://a.test", ""),
	    "t.yaml:2:27: names that no certificate covers are refused: give "
	    "'tls://a.test' a 'certificate', or set 'edge.local_ca: auto'" },
	{ EDGE_AT("default_endpoint: a.test", "tls://a.test",
	      "  certificate: app\n"),
	    "" },
	{ EDGE_AT(
	      "default_endpoint: a.test, local_ca: auto", "tls://a.test", ""),
	    "" },
	{ EDGE_AT("", "tls://c.test", "  certificate: app\n"),
	    "t.yaml:10:16: the certificate 'app' is not for 'c.test': clients "
	    "will not accept it" },
	{ EDGE_AT("", "tls://*.c.test", "  certificate: app\n"), "" },
	{ EDGE_AT("policy: { file: /dev/null }", "tls://c.test", ""),
	    "t.yaml:9:17: no certificate covers 'c.test': unless the policy "
	    "names one, clients are refused" },
};

START_TEST(doubtful_names_are_warned_of)
{
	struct snapshot *s;
	char *lines;

	make_all();
	s = fixture_snapshot(doubts[_i].text);
	lines = fixture_lines(s->warnings);
	ck_assert_str_eq(lines, doubts[_i].warnings);
	free(lines);
	snapshot_put(s);
}
END_TEST

#define ADD_TABLE(test, table) \
	tcase_add_loop_test(tcase, test, 0, ARRAY_COUNT(table))

static void
add_tests(TCase *tcase)
{
	ADD_TABLE(what_is_wrong_is_said, refusals);
	ADD_TABLE(files_are_judged_and_blamed, files);
	tcase_add_test(tcase, pairs_are_loaded);
	tcase_add_test(tcase, without_certificates_there_is_an_empty_keyring);
	tcase_add_test(tcase, the_same_files_are_read_once);
	tcase_add_test(tcase, the_same_mistake_is_told_once);
	tcase_add_test(tcase, kinds_of_key_may_share_a_name);
	tcase_add_test(tcase, folders_hold_pairs);
	tcase_add_test(tcase, a_folder_is_blamed_for_its_files);
	ADD_TABLE(what_is_odd_is_warned_of, warnings);
	ADD_TABLE(names_need_a_certificate, coverage);
	ADD_TABLE(doubtful_names_are_warned_of, doubts);
}

UNIT_MAIN("certificates", add_tests)
