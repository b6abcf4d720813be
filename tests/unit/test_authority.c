#include "unit.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "faults.h"
#include "tls/authority.h"
#include "tls/private.h"
#include "tls_support.h"

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
int __real_renameat(int from, const char *old, int to, const char *new);
int __wrap_renameat(int from, const char *old, int to, const char *new);

FAULT(memory);
FAULT(rename);

void *
__wrap_calloc(size_t count, size_t size)
{
	return fault_hits(&memory_fault) ? NULL : __real_calloc(count, size);
}

int
__wrap_renameat(int from, const char *old, int to, const char *new)
{
	return fault_hits(&rename_fault) ? -1
					 : __real_renameat(from, old, to, new);
}

static char error_storage[512];
static struct text error;
static bool made;

static struct authority *
open_in(const char *folder)
{
	struct authority *a;

	text_init(&error, error_storage, sizeof(error_storage));
	a = authority_open(folder, &made, &error);
	ck_assert((a == NULL) == (error.len > 0));
	return a;
}

static struct authority *
open_good(const char *folder)
{
	struct authority *a = open_in(folder);

	ck_assert_msg(a != NULL, "%s", error_storage);
	return a;
}

static void
check_refused(const char *folder, const char *message)
{
	ck_assert_ptr_null(open_in(folder));
	ck_assert_msg(strstr(error_storage, message) != NULL,
	    "\"%s\" is not in \"%s\"", message, error_storage);
}

static struct host
host_of(const char *name)
{
	struct host h;

	ck_assert_int_eq(host_parse(span_text(name), &h, NULL), 0);
	return h;
}

static struct certificate *
issue_at(struct authority *a, const char *name, int64_t now)
{
	struct host h = host_of(name);
	struct certificate *c = authority_issue(a, &h, now);

	ck_assert_ptr_nonnull(c);
	return c;
}

static struct certificate *
issue(struct authority *a, const char *name)
{
	return issue_at(a, name, time(NULL));
}

static X509 *
read_ca_file(const char *path)
{
	FILE *file = fopen(path, "r");
	X509 *x;

	ck_assert_ptr_nonnull(file);
	x = PEM_read_X509(file, NULL, NULL, NULL);
	ck_assert_ptr_nonnull(x);
	fclose(file);
	return x;
}

static int
mode_of(const char *path)
{
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	return st.st_mode & 07777;
}

START_TEST(made_once_and_kept)
{
	const char *folder = path_of("deep/state");
	struct authority *a = open_good(folder);
	X509 *first, *again;

	ck_assert(made);
	ck_assert_int_eq(mode_of(folder), 0700);
	ck_assert_int_eq(mode_of(path_of("deep/state/local-ca.key")), 0600);
	ck_assert_int_eq(mode_of(path_of("deep/state/local-ca.pem")), 0644);
	ck_assert_str_eq(authority_path(a), path_of("deep/state/local-ca.pem"));
	first = read_ca_file(authority_path(a));
	authority_put(a);
	a = open_good(folder);
	ck_assert(!made);
	again = read_ca_file(authority_path(a));
	ck_assert_int_eq(X509_cmp(first, again), 0);
	X509_free(first);
	X509_free(again);
	authority_put(a);
}
END_TEST

START_TEST(what_the_ca_is)
{
	struct authority *a = open_good(make_folder());
	X509 *x = read_ca_file(authority_path(a));
	int days, seconds;

	ck_assert_int_eq(X509_check_ca(x), 1);
	ck_assert_int_eq(X509_get_pathlen(x), 0);
	ck_assert_uint_eq(
	    X509_get_key_usage(x), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
	ck_assert_uint_eq(X509_get_extended_key_usage(x), XKU_SSL_SERVER);
	ck_assert(EVP_PKEY_is_a(X509_get0_pubkey(x), "EC"));
	ck_assert_int_eq(X509_verify(x, X509_get0_pubkey(x)), 1);
	ck_assert_int_eq(ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(x),
			     X509_get0_notAfter(x)),
	    1);
	ck_assert_int_eq(days, 3650);
	ck_assert_int_lt(X509_cmp_current_time(X509_get0_notBefore(x)), 0);
	X509_free(x);
	authority_put(a);
}
END_TEST

/* As a browser: the chain, the purpose and the name. */
static int
verify(const char *ca_path, X509 *leaf, const char *name)
{
	X509 *ca = read_ca_file(ca_path);
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	int result;

	X509_STORE_add_cert(store, ca);
	X509_STORE_CTX_init(ctx, store, leaf, NULL);
	X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER);
	X509_VERIFY_PARAM_set_flags(
	    X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_X509_STRICT);
	X509_VERIFY_PARAM_set1_host(
	    X509_STORE_CTX_get0_param(ctx), name, strlen(name));
	X509_verify_cert(ctx);
	result = X509_STORE_CTX_get_error(ctx);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	X509_free(ca);
	return result;
}

START_TEST(what_a_leaf_is)
{
	struct authority *a = open_good(make_folder());
	struct certificate *c = issue(a, "App.Under_score.Test");
	X509 *x = certificate_leaf(c);
	int64_t now = time(NULL);

	ck_assert_uint_eq(certificate_name_count(c), 1);
	ck_assert_str_eq(certificate_name(c, 0), "app.under_score.test");
	ck_assert_str_eq(certificate_subject(c), "CN=app.under_score.test");
	ck_assert_int_eq(
	    verify(authority_path(a), x, "app.under_score.test"), X509_V_OK);
	ck_assert_int_eq(verify(authority_path(a), x, "b.test"),
	    X509_V_ERR_HOSTNAME_MISMATCH);
	ck_assert_int_eq(X509_check_ca(x), 0);
	ck_assert_uint_eq(X509_get_key_usage(x), KU_DIGITAL_SIGNATURE);
	ck_assert_uint_eq(X509_get_extended_key_usage(x), XKU_SSL_SERVER);
	ck_assert_int_le(certificate_not_before(c), now - 3590);
	ck_assert_int_le(certificate_not_after(c) - now, 90 * MADE_DAY);
	ck_assert_int_gt(certificate_not_after(c) - now, 89 * MADE_DAY);
	ck_assert_int_eq(ASN1_INTEGER_get(X509_get0_serialNumber(x)) == 0, 0);
	ck_assert_int_eq(X509_check_private_key(x, certificate_key(c)), 1);
	ck_assert_int_le(sk_X509_num(certificate_chain(c)), 0);
	certificate_put(c);
	authority_put(a);
}
END_TEST

/* 253 bytes in labels of 63, 63, 63 and 61. */
static const char *
longest_name(void)
{
	static char name[HOST_MAX_BYTES + 1];

	memset(name, 'x', HOST_MAX_BYTES);
	name[63] = name[127] = name[191] = '.';
	return name;
}

START_TEST(long_names_have_no_common_name)
{
	struct authority *a = open_good(make_folder());
	char name[66];
	struct certificate *c;

	memset(name, 'a', 65);
	name[32] = '.';
	name[64] = '\0';
	c = issue(a, name);
	ck_assert_str_eq(certificate_subject(c), join("CN=", name, NULL));
	certificate_put(c);
	name[64] = 'a';
	name[65] = '\0';
	c = issue(a, name);
	ck_assert_str_eq(certificate_subject(c), "");
	ck_assert_str_eq(certificate_name(c, 0), name);
	ck_assert_int_eq(
	    verify(authority_path(a), certificate_leaf(c), name), X509_V_OK);
	certificate_put(c);
	c = issue(a, longest_name());
	ck_assert_str_eq(certificate_name(c, 0), longest_name());
	ck_assert_int_eq(
	    verify(authority_path(a), certificate_leaf(c), longest_name()),
	    X509_V_OK);
	certificate_put(c);
	authority_put(a);
}
END_TEST

START_TEST(no_certificate_for_a_pattern)
{
	struct authority *a = open_good(make_folder());
	struct host none = { 0 }, pattern;

	ck_assert_int_eq(
	    host_parse_pattern(span_text("*.a.test"), &pattern, NULL), 0);
	ck_assert_ptr_null(authority_issue(a, &pattern, time(NULL)));
	ck_assert_ptr_null(authority_issue(a, &none, time(NULL)));
	authority_put(a);
}
END_TEST

START_TEST(kept_and_renewed)
{
	struct authority *a = open_good(make_folder());
	int64_t now = time(NULL);
	struct certificate *first = issue_at(a, "a.test", now);
	struct certificate *other = issue_at(a, "b.test", now);
	struct certificate *again = issue_at(a, "a.test", now + 59 * MADE_DAY);
	struct certificate *later = issue_at(a, "a.test", now + 61 * MADE_DAY);
	struct certificate *before;

	ck_assert_ptr_eq(first, again);
	ck_assert_ptr_ne(first, other);
	ck_assert_ptr_eq(certificate_key(first), certificate_key(other));
	ck_assert_int_ne(
	    ASN1_INTEGER_cmp(X509_get0_serialNumber(certificate_leaf(first)),
		X509_get0_serialNumber(certificate_leaf(other))),
	    0);
	ck_assert_ptr_ne(first, later);
	/* The clock went back. */
	before = issue_at(a, "a.test", now);
	ck_assert_ptr_ne(before, later);
	ck_assert_int_le(certificate_not_before(before), now);
	certificate_put(first);
	certificate_put(other);
	certificate_put(again);
	certificate_put(later);
	certificate_put(before);
	authority_put(a);
}
END_TEST

/* A leaf never outlives its CA. */
START_TEST(at_the_end_of_the_ca)
{
	struct authority *a = open_good(make_folder());
	int64_t now = time(NULL) + 3640 * (int64_t)MADE_DAY;
	struct certificate *c = issue_at(a, "a.test", now);
	int64_t days = (certificate_not_after(c) - now) / MADE_DAY;

	ck_assert_int_le(days, 10);
	ck_assert_int_ge(days, 9);
	certificate_put(c);
	authority_put(a);
}
END_TEST

START_TEST(the_least_recently_used_goes)
{
	struct authority *a = open_good(make_folder());
	struct certificate *first = issue(a, "first.test");
	struct certificate *second = issue(a, "second.test"), *c;
	char name[32];

	for (int i = 2; i < AUTHORITY_MAX_LEAVES; i++) {
		snprintf(name, sizeof(name), "h%d.test", i);
		certificate_put(issue(a, name));
	}
	c = issue(a, "first.test");
	ck_assert_ptr_eq(c, first);
	certificate_put(c);
	certificate_put(issue(a, "one-more.test"));
	c = issue(a, "first.test");
	ck_assert_ptr_eq(c, first);
	certificate_put(c);
	c = issue(a, "second.test");
	ck_assert_ptr_ne(c, second);
	certificate_put(c);
	certificate_put(first);
	certificate_put(second);
	authority_put(a);
}
END_TEST

/* --- files --- */

START_TEST(files_that_are_refused)
{
	const char *folder = make_folder();
	struct made *leaf = make((struct recipe){ .names = "DNS:a.test" });
	struct made *expired = make((struct recipe){
	    .ca = true, .not_before = -9 * MADE_DAY, .not_after = -MADE_DAY });
	struct made *future = make((struct recipe){
	    .ca = true, .not_before = MADE_DAY, .not_after = 9 * MADE_DAY });
	struct made *good = make((struct recipe){ .ca = true });
	const char *key;

	key = make_file("local-ca.key", good->key_pem);
	make_file("local-ca.pem", good->crt);
	ck_assert_int_eq(chmod(key, 0640), 0);
	check_refused(folder, "only its owner");
	ck_assert_int_eq(chmod(key, 0604), 0);
	check_refused(folder, "only its owner");
	ck_assert_int_eq(unlink(key), 0);
	check_refused(folder, "local-ca.key");
	make_file("local-ca.key", "");
	check_refused(folder, "local-ca.key is empty");
	make_file("local-ca.key", leaf->key_pem);
	check_refused(folder, "does not belong");
	make_file("local-ca.pem", leaf->crt);
	check_refused(folder, "it is not the certificate of a CA");
	make_file("local-ca.pem", expired->crt);
	make_file("local-ca.key", expired->key_pem);
	check_refused(folder, "the local CA has expired");
	make_file("local-ca.pem", future->crt);
	make_file("local-ca.key", future->key_pem);
	check_refused(folder, "not valid yet");
	make_file("local-ca.pem", "");
	check_refused(folder, "it is empty");
}
END_TEST

START_TEST(folders_that_are_refused)
{
	const char *open_folder = path_of("open");

	make_file("file", "x");
	check_refused(path_of("file/below"), "below cannot be made: ");
	check_refused(path_of("file"), "file cannot be opened: ");
	ck_assert_int_eq(mkdir(open_folder, 0700), 0);
	ck_assert_int_eq(chmod(open_folder, 0777), 0);
	check_refused(open_folder, "everybody may write to it");
	ck_assert_int_eq(access(path_of("open/local-ca.key"), F_OK), -1);
}
END_TEST

/* A key without its certificate: whoever made it did not finish. */
START_TEST(what_was_begun_is_made_anew)
{
	const char *folder = make_folder();

	make_file("local-ca.key", "half");
	make_file("local-ca.pem.new", "half");
	authority_put(open_good(folder));
	ck_assert(made);
	ck_assert_int_eq(access(path_of("local-ca.pem.new"), F_OK), -1);
	authority_put(open_good(folder));
	ck_assert(!made);
}
END_TEST

START_TEST(without_a_disk)
{
	const char *folder = make_folder();

	for (unsigned n = 1; n <= 2; n++) {
		struct authority *a;

		fault_set(&rename_fault, n, ENOSPC);
		text_init(&error, error_storage, sizeof(error_storage));
		UNDER_FAULTS(a = authority_open(folder, &made, &error));
		ck_assert_ptr_null(a);
		ck_assert_ptr_nonnull(
		    strstr(error_storage, "cannot be written"));
		ck_assert_int_eq(access(path_of("local-ca.pem"), F_OK), -1);
		ck_assert_int_eq(access(path_of("local-ca.pem.new"), F_OK), -1);
		ck_assert_int_eq(access(path_of("local-ca.key.new"), F_OK), -1);
	}
	authority_put(open_good(folder));
	ck_assert(made);
}
END_TEST

/* Whatever fails, there is one CA afterwards. */
START_TEST(without_memory)
{
	const char *folder = make_folder();
	struct authority *a = NULL;
	struct certificate *c = NULL;
	struct host name = host_of("a.test");

	for (unsigned n = 1; !a; n++) {
		fault_set(&memory_fault, n, ENOMEM);
		text_init(&error, error_storage, sizeof(error_storage));
		UNDER_FAULTS(a = authority_open(folder, &made, &error));
		ck_assert((a == NULL) == (error.len > 0));
		ck_assert_uint_lt(n, 100);
	}
	for (unsigned n = 1; !c; n++) {
		fault_set(&memory_fault, n, ENOMEM);
		UNDER_FAULTS(c = authority_issue(a, &name, time(NULL)));
		ck_assert_uint_lt(n, 100);
	}
	certificate_put(c);
	fault_set(&memory_fault, 0, 0);
	certificate_put(issue(a, "a.test"));
	authority_put(a);
}
END_TEST

/* Processes that start together end up with one CA. */
START_TEST(one_ca_for_all_processes)
{
	const char *folder = path_of("shared");
	pid_t children[6];
	int status, makers = 0, start[2];
	char byte;

	ck_assert_int_eq(pipe(start), 0);
	for (size_t i = 0; i < ARRAY_COUNT(children); i++) {
		children[i] = fork();
		ck_assert_int_ge(children[i], 0);
		if (children[i] == 0) {
			struct authority *a;

			close(start[1]);
			if (read(start[0], &byte, 1) != 0)
				_exit(9);
			a = open_in(folder);
			_exit(a ? made : 9);
		}
	}
	close(start[1]);
	for (size_t i = 0; i < ARRAY_COUNT(children); i++) {
		ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
		ck_assert(WIFEXITED(status));
		ck_assert_int_le(WEXITSTATUS(status), 1);
		makers += WEXITSTATUS(status);
	}
	close(start[0]);
	ck_assert_int_eq(makers, 1);
	authority_put(open_good(folder));
}
END_TEST

/* --- threads --- */

static void *
issue_often(void *arg)
{
	char name[32];

	for (int i = 0; i < 200; i++) {
		struct host h;
		struct certificate *c;

		snprintf(name, sizeof(name), "h%d.test", i % 10);
		if (host_parse(span_text(name), &h, NULL) < 0)
			return NULL;
		c = authority_issue(arg, &h, time(NULL));
		if (!c || !certificate_covers(c, host_span(&h)))
			return NULL;
		certificate_put(c);
	}
	return arg;
}

START_TEST(any_thread_may_ask)
{
	struct authority *a = open_good(make_folder());
	pthread_t threads[4];
	void *result;

	ck_assert_ptr_eq(authority_get(a), a);
	for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, issue_often, a), 0);
	for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
		ck_assert_int_eq(pthread_join(threads[i], &result), 0);
		ck_assert_ptr_nonnull(result);
	}
	authority_put(a);
	authority_put(a);
	authority_put(NULL);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, made_once_and_kept);
	tcase_add_test(tcase, what_the_ca_is);
	tcase_add_test(tcase, what_a_leaf_is);
	tcase_add_test(tcase, long_names_have_no_common_name);
	tcase_add_test(tcase, no_certificate_for_a_pattern);
	tcase_add_test(tcase, kept_and_renewed);
	tcase_add_test(tcase, at_the_end_of_the_ca);
	tcase_add_test(tcase, the_least_recently_used_goes);
	tcase_add_test(tcase, files_that_are_refused);
	tcase_add_test(tcase, folders_that_are_refused);
	tcase_add_test(tcase, what_was_begun_is_made_anew);
	tcase_add_test(tcase, without_a_disk);
	tcase_add_test(tcase, without_memory);
	tcase_add_test(tcase, one_ca_for_all_processes);
	tcase_add_test(tcase, any_thread_may_ask);
}

UNIT_MAIN("authority", add_tests)
