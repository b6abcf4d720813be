#include "unit.h"

#include <errno.h>

#include "bytes.h"
#include "wire/upstream_address.h"

static const struct {
	const char *text;
	const char *expected; /* canonical; NULL: refused */
	enum upstream_kind kind;
	uint16_t port;
} addresses[] = {
	{ "443", "localhost:443", UPSTREAM_NAME, 443 },
	{ "tcp://443", "localhost:443", UPSTREAM_NAME, 443 },
	{ "tls://8443", "tls://localhost:8443", UPSTREAM_NAME, 8443 },
	{ "a.test:1", "a.test:1", UPSTREAM_NAME, 1 },
	{ "A.test.:65535", "a.test:65535", UPSTREAM_NAME, 65535 },
	{ "tcp://a.test:80", "a.test:80", UPSTREAM_NAME, 80 },
	{ "tls://a.test", "tls://a.test:443", UPSTREAM_NAME, 443 },
	{ "tls://a.test:8443", "tls://a.test:8443", UPSTREAM_NAME, 8443 },
	{ "unix.test:80", "unix.test:80", UPSTREAM_NAME, 80 },
	{ "tls:80", "tls:80", UPSTREAM_NAME, 80 },
	{ "192.0.2.1:80", "192.0.2.1:80", UPSTREAM_IP, 80 },
	{ "tls://192.0.2.1", "tls://192.0.2.1:443", UPSTREAM_IP, 443 },
	{ "[2001:DB8::1]:80", "[2001:db8::1]:80", UPSTREAM_IP, 80 },
	{ "[::ffff:192.0.2.1]:80", "192.0.2.1:80", UPSTREAM_IP, 80 },
	{ "tls://[::1]", "tls://[::1]:443", UPSTREAM_IP, 443 },
	{ "unix:/run/a.sock", "unix:/run/a.sock", UPSTREAM_UNIX, 0 },
	{ "unix:/a:b c", "unix:/a:b c", UPSTREAM_UNIX, 0 },
	{ .text = "" },
	{ .text = "tls://" },
	{ .text = "tcp://" },
	{ .text = "0" },
	{ .text = "65536" },
	{ .text = "080" },
	{ .text = "-1" },
	{ .text = "+80" },
	{ .text = "a.test" },
	{ .text = "tcp://a.test" },
	{ .text = "192.0.2.1" },
	{ .text = "a.test:" },
	{ .text = "tls://a.test:" },
	{ .text = "a.test:0" },
	{ .text = "a.test:http" },
	{ .text = "a.test:80 " },
	{ .text = " a.test:80" },
	{ .text = "a.test:80:80" },
	{ .text = "2001:db8::1:80" },
	{ .text = "::1" },
	{ .text = "[::1]" },
	{ .text = "[::1" },
	{ .text = "[" },
	{ .text = "[]:80" },
	{ .text = "[::1]x80" },
	{ .text = "[::1]:" },
	{ .text = "[192.0.2.1]:80" },
	{ .text = "[a.test]:80" },
	{ .text = ":80" },
	{ .text = "192.0.2.256:80" },
	{ .text = "127.1:80" },
	{ .text = "*.test:80" },
	{ .text = "http://a.test:80" },
	{ .text = "tls://tls://a.test:80" },
	{ .text = "a_b/c:80" },
	{ .text = "uNix:8" },
	{ .text = "unix.:8" },
	{ .text = "tls://unix:8" },
	{ .text = "unix:" },
	{ .text = "unix:a.sock" },
	{ .text = "unix:@abstract" },
};

START_TEST(addresses_as_people_write_them)
{
	struct upstream_address a;
	const char *why = NULL;
	int err =
	    upstream_address_parse(span_text(addresses[_i].text), &a, &why);

	if (!addresses[_i].expected) {
		ck_assert_int_eq(err, -EINVAL);
		ck_assert_ptr_nonnull(why);
		ck_assert_str_eq(a.text, "");
		return;
	}
	ck_assert_int_eq(err, 0);
	ck_assert_str_eq(a.text, addresses[_i].expected);
	ck_assert_int_eq(a.kind, addresses[_i].kind);
	ck_assert_uint_eq(a.port, addresses[_i].port);
	ck_assert_int_eq(a.tls, strncmp(addresses[_i].text, "tls://", 6) == 0);
	if (a.kind == UPSTREAM_IP)
		ck_assert_uint_eq(a.addr.port, a.port);
	if (a.kind == UPSTREAM_UNIX)
		ck_assert_str_eq(a.path, addresses[_i].text + 5);
}
END_TEST

/* The canonical text means the same as what it was made from. */
START_TEST(canonical_text_is_a_fixed_point)
{
	struct upstream_address a, again;
	const char *why;

	if (!addresses[_i].expected)
		return;
	ck_assert_int_eq(
	    upstream_address_parse(span_text(addresses[_i].text), &a, &why), 0);
	ck_assert_int_eq(
	    upstream_address_parse(span_text(a.text), &again, &why), 0);
	ck_assert_mem_eq(&a, &again, sizeof(a));
}
END_TEST

START_TEST(paths_fit_sun_path)
{
	char text[5 + 200] = "unix:/";
	struct upstream_address a;
	const char *why;

	memset(text + 6, 'x', sizeof(text) - 6);
	ck_assert_int_eq(
	    upstream_address_parse(span_of(text, 5 + 107), &a, &why), 0);
	ck_assert_uint_eq(strlen(a.path), 107);
	ck_assert_int_eq(
	    upstream_address_parse(span_of(text, 5 + 108), &a, &why), -EINVAL);
	ck_assert_int_eq(
	    upstream_address_parse(BYTES("unix:/a\0b"), &a, &why), -EINVAL);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(
	    tcase, addresses_as_people_write_them, 0, ARRAY_COUNT(addresses));
	tcase_add_loop_test(
	    tcase, canonical_text_is_a_fixed_point, 0, ARRAY_COUNT(addresses));
	tcase_add_test(tcase, paths_fit_sun_path);
}

UNIT_MAIN_TOGETHER("upstream_address", add_tests)
