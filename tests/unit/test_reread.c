/* Whoever gave up root must still be able to read what a reload reads. */
#include "unit.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/reread.h"
#include "config_fixture.h"
#include "tls_support.h"

static const char text[] =
    "version: 1\n"
    "edge: { session_tickets: { keys: tickets }, local_ca: auto,\n"
    "  agents: { server_names: [ c.test ], authtokens_file: tokens } }\n"
    "certificates:\n"
    "- { crt: a.pem, key: a.key, ocsp: a.ocsp }\n"
    "- { folder: pairs }\n"
    "endpoints:\n"
    "- url: tls://a.test\n"
    "  terminate_at: edge\n"
    "  upstream: tls://192.0.2.1:1\n"
    "  mutual_tls: { cas: ca.pem, crls: ca.crl }\n"
    "  upstream_tls: { cas: ca2.pem }\n"
    "- { url: tls://b.test, upstream: \"192.0.2.1:1\" }\n";

static const char *const files[] = { "tickets", "a.pem", "a.key", "a.ocsp",
	"pairs", "ca.pem", "ca.crl", "ca2.pem", "tokens" };

static struct snapshot *
make_snapshot(void)
{
	struct made *ca = make((struct recipe){ .ca = true });
	struct made *a = make((struct recipe){ .names = "DNS:a.test" });

	make_file("a.pem", a->crt);
	make_file("a.key", a->key_pem);
	make_file("a.ocsp", "");
	make_file("tickets", "");
	make_file("tokens", "");
	make_file("ca.pem", ca->crt);
	make_file("ca2.pem", make((struct recipe){ .ca = true })->crt);
	make_file("ca.crl", make_crl(ca, NULL, 0, 0, 0));
	ck_assert_int_eq(chdir(make_folder()), 0);
	ck_assert_int_eq(mkdir("pairs", 0700), 0);
	return fixture_snapshot(text);
}

START_TEST(all_can_be_read)
{
	struct snapshot *s = make_snapshot();
	char storage[256];
	struct text error;

	text_init(&error, storage, sizeof(storage));
	ck_assert_msg(reread_possible(s, &error), "%s", storage);
	ck_assert_str_eq(storage, "");
	snapshot_put(s);
}
END_TEST

START_TEST(each_file_that_is_gone_is_named)
{
	struct snapshot *s = make_snapshot();
	char storage[256], wanted[256];
	struct text error;

	ck_assert_int_eq(rename(files[_i], "away"), 0);
	text_init(&error, storage, sizeof(storage));
	ck_assert(!reread_possible(s, &error));
	snprintf(
	    wanted, sizeof(wanted), "%s: No such file or directory", files[_i]);
	ck_assert_str_eq(storage, wanted);
	snapshot_put(s);
}
END_TEST

/* As after a start as root with edge.user. */
START_TEST(a_key_of_root_only_is_named)
{
	struct snapshot *s = make_snapshot();
	char storage[256];
	struct text error;

	if (geteuid() == 0) {
		ck_assert_int_eq(chmod(".", 0711), 0);
		ck_assert_int_eq(setuid(65534), 0);
		text_init(&error, storage, sizeof(storage));
		ck_assert(!reread_possible(s, &error));
		ck_assert_str_eq(storage, "a.key: Permission denied");
	}
	snapshot_put(s);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, all_can_be_read);
	tcase_add_loop_test(
	    tcase, each_file_that_is_gone_is_named, 0, (int)ARRAY_COUNT(files));
	tcase_add_test(tcase, a_key_of_root_only_is_named);
}

UNIT_MAIN("reread", add_tests)
