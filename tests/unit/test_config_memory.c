/* Lets each allocation of a configuration fail in turn, through the linker's
 * --wrap: whatever fails, there is a reason and nothing is left behind. */
#include "unit.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config_fixture.h"
#include "tls_support.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
char *__real_strdup(const char *text);
int __real_asprintf(char **out, const char *format, ...);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
char *__wrap_strdup(const char *text);
int __wrap_asprintf(char **out, const char *format, ...) PRINTF_LIKE(2, 3);

/* The allocation that fails, counted from 1; 0: none. */
static unsigned fail_at;
static atomic_uint allocation_count; /* certificates have threads */
static unsigned allocations_used;    /* by the last build */

static bool
fails(void)
{
	return ++allocation_count == fail_at;
}

void *
__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *
__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}

void *
__wrap_reallocarray(void *old, size_t count, size_t size)
{
	return fails() ? NULL : __real_reallocarray(old, count, size);
}

char *
__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

int
__wrap_asprintf(char **out, const char *format, ...)
{
	va_list args;
	int len;

	if (fails()) {
		*out = NULL;
		return -1;
	}
	va_start(args, format);
	len = vasprintf(out, format, args);
	va_end(args);
	return len;
}

static const char good[] =
    "version: 1\n"
    "edge:\n"
    "  listen: [ \":443\", { address: \":444\",\n"
    "    proxy_protocol: { accept: [2], from: [10.0.0.0/8] } } ]\n"
    "  default_endpoint: a.test\n"
    "  user: nobody\n"
    "  policy: { file: /dev/null, path: [ / ] }\n"
    "  resolver: { servers: [ 127.0.0.1 ] }\n"
    "  geo: { database: /dev/null }\n"
    "  log: { target: x.log }\n"
    "endpoints:\n"
    "- url: tls://a.test\n"
    "  upstream: [ 192.0.2.1:1, { address: 192.0.2.2:1, weight: 2 } ]\n"
    "  ip_restriction: { allow: [ 192.0.2.0/24 ], deny: [ 192.0.2.6 ] }\n"
    "  policy: /dev/zero\n"
    "  metadata: text\n"
    "  labels: { a: b, c: d }\n"
    "- { url: \"tls://*.b.test\", upstream: [ 192.0.2.1:1 ] }\n"
    "events: [ { file: e, types: [ tcp_connection_closed.v0 ] } ]\n";

/* What ends TLS, and all that it reads. */
static const char ending[] =
    "version: 1\n"
    "edge: { local_ca: auto, state: s, session_tickets: { keys: a.pem } }\n"
    "certificates:\n"
    "- { name: app, crt: a.pem, ocsp: a.pem }\n"
    "- { folder: pairs, ocsp: off }\n"
    "endpoints:\n"
    "- url: tls://a.test\n"
    "  upstream: tls://192.0.2.1:1\n"
    "  terminate_at: edge\n"
    "  certificate: app\n"
    "  alpn: [ h2, http/1.1 ]\n"
    "  mutual_tls: { cas: [ ca.pem ], crls: ca.crl }\n"
    "  upstream_tls: { cas: ca.pem, server_name: b.test,\n"
    "    certificate: app }\n"
    "- { url: tls://b.test, upstream: \"192.0.2.1:1\",\n"
    "    terminate_at: edge, mutual_tls: { cas: ca.pem, crls: ca.crl } }\n";

static const char taking[] =
    "version: 1\n"
    "edge:\n"
    "  agents: { server_names: [ a.test ], authtokens_file: a.pem,\n"
    "    certificate: app }\n"
    "  base_domain: t.test\n"
    "certificates: [ { name: app, crt: a.pem } ]\n";

static const char binding[] = "version: 1\n"
			      "agent:\n"
			      "  edges: [ e.test, f.test ]\n"
			      "  authtoken_file: a.pin\n"
			      "  connect_cas: ca.pem\n"
			      "  proxy_url: \"http://p.test:1\"\n"
			      "  metadata: text\n"
			      "certificates: [ { name: app, crt: a.pem } ]\n"
			      "endpoints:\n"
			      "- name: one\n"
			      "  url: a.test\n"
			      "  upstream: { url: 80, proxy_protocol: 1 }\n"
			      "  agent_tls_termination:\n"
			      "    server_certificate: a.pem\n"
			      "    mutual_tls_certificate_authorities: ca.pem\n"
			      "- name: two\n"
			      "  upstream: 81\n"
			      "  terminate_at: edge\n"
			      "  certificate: app\n"
			      "  mutual_tls: { cas: ca.pem }\n";

static const char bad[] =
    "version: 2\n"
    "edge: { default_endpoint: b.test, hide: 1, workers: x }\n"
    "endpoints:\n"
    "- { url: tls://a.test, policy: none.lua, upstream: y }\n"
    "- { url: tls://a.test, policy: none.lua, upstream: y }\n";

static const char *folder = "/tmp";

static bool
build(const char *text, size_t *problem_count)
{
	struct problems *p = problems_new();
	struct tree *t = tree_parse(FIXTURE_NAME, span_text(text), p);
	struct snapshot *s = t ? snapshot_build(t, folder, p) : NULL;
	bool built = s != NULL;

	/* What follows is Check's and ours, and must work. */
	allocations_used = allocation_count;
	fail_at = 0;
	*problem_count = problems_count(p);
	for (size_t i = 0; i < *problem_count; i++)
		ck_assert_uint_gt(strlen(problems_get(p, i)), 0);
	snapshot_put(s);
	tree_free(t);
	problems_free(p);
	return built;
}

/* How many allocations there are; those of Check come before and after. */
static unsigned
count_allocations(const char *text, bool *built)
{
	size_t problem_count;

	allocation_count = fail_at = 0;
	*built = build(text, &problem_count);
	ck_assert_int_eq(*built, problem_count == 0);
	return allocations_used;
}

START_TEST(any_allocation_may_fail)
{
	bool built;
	unsigned total = count_allocations(good, &built);

	ck_assert(built);
	ck_assert_uint_gt(total, 100);
	for (unsigned n = 1; n <= total; n++) {
		size_t problem_count;

		allocation_count = 0;
		fail_at = n;
		built = build(good, &problem_count);
		/* The list of problems alone may be missing: then all is
		 * well, and said to be not. */
		ck_assert_msg(problem_count > 0, "allocation %u", n);
		ck_assert(!built || n == 1);
	}
	ck_assert_uint_eq(count_allocations(good, &built), total);
}
END_TEST

static const char *const with_files[] = { ending, taking, binding };

START_TEST(any_allocation_for_certificates_may_fail)
{
	struct made *ca = make((struct recipe){ .ca = true });
	struct made *a = make((struct recipe){ .names = "DNS:a.test" });
	const char *text = with_files[_i];
	unsigned total;
	bool built;

	make_file("a.pem", join(a->crt, a->key_pem, NULL));
	make_file("ca.pem", ca->crt);
	make_file("ca.crl", make_crl(ca, NULL, 0, 0, 0));
	make_file("a.pin", "token");
	folder = make_folder();
	ck_assert_int_eq(mkdir(path_of("pairs"), 0700), 0);
	ck_assert_int_eq(link(path_of("a.pem"), path_of("pairs/x.pem")), 0);
	total = count_allocations(text, &built);
	ck_assert(built);
	for (unsigned n = 1; n <= total; n++) {
		size_t problem_count;

		allocation_count = 0;
		fail_at = n;
		built = build(text, &problem_count);
		/* tls/ can do without some of it. */
		ck_assert_msg(
		    built != (problem_count > 0) || n == 1, "allocation %u", n);
	}
}
END_TEST

static int
choose_under_fault(unsigned n, bool *failed)
{
	static const char *const names[] = { "a", "b" };
	static const char text[] =
	    "version: 1\nagent: { edges: [ e.test ] }\nendpoints:\n"
	    "- { name: a, url: a.test, upstream: 1 }\n"
	    "- { name: b, url: b.test, upstream: 1 }\n"
	    "- { name: c, url: c.test, upstream: 1 }\n";
	struct snapshot *s = fixture_snapshot(text);
	struct problems *p = problems_new();
	int err;

	allocation_count = 0;
	fail_at = n;
	err = snapshot_choose(s, names, 2, p);
	fail_at = 0;
	*failed = allocation_count >= n;
	ck_assert_int_eq(err<0, problems_count(p)> 0);
	ck_assert_uint_eq(s->endpoint_count, err < 0 ? 3 : 2);
	problems_free(p);
	snapshot_put(s);
	return err;
}

START_TEST(any_allocation_of_a_choice_may_fail)
{
	bool failed = true;

	for (unsigned n = 1; failed; n++)
		ck_assert_int_eq(choose_under_fault(n, &failed) < 0, failed);
}
END_TEST

START_TEST(any_allocation_may_fail_on_the_way_to_a_refusal)
{
	bool built;
	unsigned total = count_allocations(bad, &built);

	ck_assert(!built);
	for (unsigned n = 1; n <= total; n++) {
		size_t problem_count;

		allocation_count = 0;
		fail_at = n;
		built = build(bad, &problem_count);
		ck_assert_uint_gt(problem_count, 0);
		ck_assert(!built);
	}
}
END_TEST

START_TEST(any_allocation_of_a_file_may_fail)
{
	char path[] = "/tmp/test_config_memory.XXXXXX";
	int fd = mkstemp(path);
	struct tree *t = NULL;
	unsigned n = 0;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, good, sizeof(good) - 1), sizeof(good) - 1);
	close(fd);
	while (t == NULL) {
		struct problems *p = problems_new();

		allocation_count = 0;
		fail_at = ++n;
		t = tree_read_file(path, p);
		fail_at = 0;
		ck_assert_int_eq(t == NULL, problems_count(p) > 0);
		problems_free(p);
	}
	tree_free(t);
	ck_assert_uint_gt(n, 100);
	unlink(path);
}
END_TEST

static const struct {
	const char *path, *value;
} settings[] = {
	{ "version", "1" },
	{ "endpoints.0.url", "tls://" },
	{ "endpoints.0.upstream.+", "192.0.2.1:1" },
	{ "endpoints.0.upstream.+", "192.0.2.2:1" },
	{ "endpoints.0.upstream.1", "192.0.2.3:1" },
	{ "edge.listen.+.address", ":0" },
};

static int
set_all(struct tree *t)
{
	for (size_t i = 0; i < ARRAY_COUNT(settings); i++) {
		int err = tree_set(t, settings[i].path,
		    span_text(settings[i].value), settings[i].path);

		if (err < 0)
			return err;
	}
	return 0;
}

START_TEST(any_allocation_of_a_flag_may_fail)
{
	int err = -ENOMEM;
	unsigned n = 0;

	while (err < 0) {
		struct tree *t;

		allocation_count = 0;
		fail_at = ++n;
		t = tree_new();
		err = t != NULL ? set_all(t) : -ENOMEM;
		fail_at = 0;
		ck_assert_int_eq(err < 0, allocation_count >= n);
		tree_free(t);
	}
	ck_assert_uint_gt(n, 20);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, any_allocation_may_fail);
	tcase_add_loop_test(tcase, any_allocation_for_certificates_may_fail, 0,
	    (int)ARRAY_COUNT(with_files));
	tcase_add_test(tcase, any_allocation_of_a_choice_may_fail);
	tcase_add_test(tcase, any_allocation_may_fail_on_the_way_to_a_refusal);
	tcase_add_test(tcase, any_allocation_of_a_file_may_fail);
	tcase_add_test(tcase, any_allocation_of_a_flag_may_fail);
}

UNIT_MAIN("config_memory", add_tests)
