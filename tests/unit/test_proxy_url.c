#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "wire/proxy_url.h"

static const struct {
	const char *text;
	enum proxy_kind kind;
	const char *user, *password; /* user NULL: none */
	const char *address;
} good[] = {
	{ "http://proxy.test:3128", PROXY_KIND_HTTP, NULL, "",
	    "proxy.test:3128" },
	{ "http://proxy.test:3128/", PROXY_KIND_HTTP, NULL, "",
	    "proxy.test:3128" },
	{ "socks5://192.0.2.1:1080", PROXY_KIND_SOCKS5, NULL, "",
	    "192.0.2.1:1080" },
	{ "socks5://[2001:db8::1]:1080", PROXY_KIND_SOCKS5, NULL, "",
	    "[2001:db8::1]:1080" },
	{ "http://u@p.test:1", PROXY_KIND_HTTP, "u", "", "p.test:1" },
	{ "http://u:@p.test:1", PROXY_KIND_HTTP, "u", "", "p.test:1" },
	{ "http://:w@p.test:1", PROXY_KIND_HTTP, "", "w", "p.test:1" },
	{ "http://u:a:b@c@p.test:1", PROXY_KIND_HTTP, "u", "a:b@c",
	    "p.test:1" },
	{ "socks5://u%40x:%41%62%25@p.test:1", PROXY_KIND_SOCKS5, "u@x", "Ab%",
	    "p.test:1" },
	{ "http://u:a%2Fb@p.test:1", PROXY_KIND_HTTP, "u", "a/b", "p.test:1" },
};

START_TEST(good_ones_are_read)
{
	struct proxy_url url;
	const char *why;

	ck_assert_int_eq(
	    proxy_url_parse(span_text(good[_i].text), &url, &why), 0);
	ck_assert_int_eq(url.kind, good[_i].kind);
	ck_assert_int_eq(url.has_user, good[_i].user != NULL);
	ck_assert_str_eq(url.user, good[_i].user ? good[_i].user : "");
	ck_assert_str_eq(url.password, good[_i].password);
	ck_assert_str_eq(url.address.text, good[_i].address);
	ck_assert(!url.address.tls);
}
END_TEST

static const struct {
	const char *text, *why;
} bad[] = {
	{ "", "it must begin with http:// or socks5://" },
	{ "proxy.test:3128", "it must begin with http:// or socks5://" },
	{ "https://proxy.test:3128",
	    "it must begin with http:// or socks5://" },
	{ "HTTP://proxy.test:3128", "it must begin with http:// or socks5://" },
	{ "http://", "the port is missing: HOST:PORT" },
	{ "http:///", "the port is missing: HOST:PORT" },
	{ "http://proxy.test", "the port is missing: HOST:PORT" },
	{ "http://3128", "the port is missing: HOST:PORT" },
	{ "http://:3128", "the name is empty" },
	{ "http://proxy.test:0", "the port must be a number from 1 to 65535" },
	{ "http://proxy.test:3128/path", "only HOST:PORT may follow, and no "
					 "path" },
	{ "http://unix:/run/x", "only HOST:PORT may follow, and no path" },
	{ "http://tls://p.test:1", "only HOST:PORT may follow, and no path" },
	{ "http://a b:1", "the name has a character that host names do not "
			  "have" },
	{ "http://u%@p.test:1",
	    "a percent sign in the user or the password needs two "
	    "hexadecimal digits: write it as %25" },
	{ "http://u:%4@p.test:1",
	    "a percent sign in the user or the password needs two "
	    "hexadecimal digits: write it as %25" },
	{ "http://u:%4g@p.test:1",
	    "a percent sign in the user or the password needs two "
	    "hexadecimal digits: write it as %25" },
	{ "http://u:%00@p.test:1",
	    "there is a NUL in the user or the password" },
};

START_TEST(bad_ones_are_refused_and_wiped)
{
	static const struct proxy_url nothing;
	struct proxy_url url;
	const char *why;

	ck_assert_int_eq(
	    proxy_url_parse(span_text(bad[_i].text), &url, &why), -EINVAL);
	ck_assert_msg(!strcmp(why, bad[_i].why), "%s: %s", bad[_i].text, why);
	ck_assert_mem_eq(&url, &nothing, sizeof(url));
}
END_TEST

START_TEST(credentials_have_a_limit)
{
	char text[1024];
	struct proxy_url url;
	const char *why;

	snprintf(text, sizeof(text), "http://%0255d:%0255d@p.test:1", 7, 7);
	ck_assert_int_eq(proxy_url_parse(span_text(text), &url, &why), 0);
	ck_assert_uint_eq(strlen(url.user), 255);
	snprintf(text, sizeof(text), "http://%0256d:x@p.test:1", 7);
	ck_assert_int_eq(proxy_url_parse(span_text(text), &url, &why), -EINVAL);
	ck_assert_str_eq(
	    why, "the user or the password is longer than 255 bytes");
	snprintf(text, sizeof(text), "http://x:%0256d@p.test:1", 7);
	ck_assert_int_eq(proxy_url_parse(span_text(text), &url, &why), -EINVAL);
}
END_TEST

START_TEST(every_truncation_is_judged)
{
	const char *text = "socks5://u%40x:%41%62%25@proxy.test:1080/";
	struct proxy_url url;
	const char *why;

	for (size_t len = 0; len < strlen(text); len++) {
		/* Of its own size, for the sanitizer. */
		char *copy = malloc(len + 1);

		memcpy(copy, text, len);
		if (proxy_url_parse(span_of(copy, len), &url, &why) < 0)
			ck_assert_ptr_nonnull(why);
		free(copy);
	}
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(
	    tcase, good_ones_are_read, 0, (int)ARRAY_COUNT(good));
	tcase_add_loop_test(
	    tcase, bad_ones_are_refused_and_wiped, 0, (int)ARRAY_COUNT(bad));
	tcase_add_test(tcase, credentials_have_a_limit);
	tcase_add_test(tcase, every_truncation_is_judged);
}

UNIT_MAIN_TOGETHER("proxy_url", add_tests)
