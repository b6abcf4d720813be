#include "unit.h"

#include "tls/trust.h"
#include "tls_support.h"

static char message[512];

/* The complaint about what is in the file, or "". */
static const char *
check(const struct made *ca, const char *certificates)
{
	const char *cas[] = { make_file("ca.pem", ca->crt) };
	const char *path = make_file("client.pem", certificates);
	struct trust *trust;
	struct text error;
	int result;

	text_init(&error, message, sizeof(message));
	trust = trust_load(cas, 1, NULL, 0, &error);
	ck_assert_msg(trust, "%s", message);
	result = trust_check_client(trust, path, &error);
	ck_assert_int_eq(result, error.len > 0 ? -1 : 0);
	trust_put(trust);
	return message;
}

START_TEST(a_client_of_the_ca_is_let_in)
{
	struct made *ca = make((struct recipe){ .ca = true });
	struct made *middle = make((struct recipe){ .ca = true, .issuer = ca });
	struct made *near = make((struct recipe){ .issuer = ca });
	struct made *far = make((struct recipe){
	    .issuer = middle, .extended_key_usage = "clientAuth" });

	ck_assert_str_eq(check(ca, near->crt), "");
	ck_assert_str_eq(check(ca, join(far->crt, middle->crt, NULL)), "");
	ck_assert_str_eq(check(ca, join(near->crt, near->key_pem, NULL)), "");
	/* Without what lies between. */
	ck_assert_ptr_nonnull(strstr(check(ca, far->crt), "issuer"));
}
END_TEST

START_TEST(others_are_not)
{
	struct made *ca = make((struct recipe){ .ca = true });
	struct made *other = make((struct recipe){ .ca = true });
	struct made *stranger = make((struct recipe){ .issuer = other });
	struct made *server = make((struct recipe){
	    .issuer = ca, .extended_key_usage = "serverAuth" });
	struct made *late = make((struct recipe){ .issuer = ca,
	    .not_before = -2 * MADE_DAY,
	    .not_after = -MADE_DAY });

	ck_assert_str_ne(check(ca, stranger->crt), "");
	/* The first one counts, whatever follows. */
	ck_assert_str_ne(check(ca, join(stranger->crt, other->crt, NULL)), "");
	ck_assert_ptr_nonnull(strstr(check(ca, server->crt), "purpose"));
	ck_assert_ptr_nonnull(strstr(check(ca, late->crt), "expired"));
}
END_TEST

START_TEST(a_file_without_certificates_is_refused)
{
	struct made *ca = make((struct recipe){ .ca = true });
	struct made *leaf = make((struct recipe){ .issuer = ca });

	ck_assert_ptr_nonnull(strstr(check(ca, ""), "client.pem: no cert"));
	ck_assert_ptr_nonnull(strstr(check(ca, leaf->key_pem), "no cert"));
	ck_assert_ptr_nonnull(
	    strstr(check(ca, "-----BEGIN CERTIFICATE-----\n"
			     "Proc-Type: 4,ENCRYPTED\n"
			     "DEK-Info: AES-256-CBC,00\n\nAAAA\n"
			     "-----END CERTIFICATE-----\n"),
		"no cert"));
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, a_client_of_the_ca_is_let_in);
	tcase_add_test(tcase, others_are_not);
	tcase_add_test(tcase, a_file_without_certificates_is_refused);
}

UNIT_MAIN("trust_check", add_tests)
