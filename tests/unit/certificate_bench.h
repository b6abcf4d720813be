/* What the tests of certificates share: parsing, and what is refused. */
#ifndef TESTS_CERTIFICATE_BENCH_H
#define TESTS_CERTIFICATE_BENCH_H

#include <ctype.h>

#include "tls/private.h"
#include "tls_support.h"
#include "unit.h"

static char error_storage[512];
static struct text error;

static inline void
check_is_one_line(const char *s)
{
	ck_assert_int_gt(strlen(s), 0);
	for (; *s != '\0'; s++)
		ck_assert_msg(isprint((unsigned char)*s), "byte %d", *s);
}

/* Of one text, or of two. */
static inline struct certificate *
parse(const char *crt, const char *key)
{
	struct certificate *c;

	text_init(&error, error_storage, sizeof(error_storage));
	c = certificate_parse(span_text(crt), span_text(key), &error);
	if (c)
		ck_assert_str_eq(error_storage, "");
	else
		check_is_one_line(error_storage);
	return c;
}

static inline struct certificate *
parse_good(const char *crt, const char *key)
{
	struct certificate *c = parse(crt, key);

	ck_assert_msg(c != NULL, "%s", error_storage);
	return c;
}

static inline void
check_good(const char *crt, const char *key)
{
	certificate_put(parse_good(crt, key));
}

/* The message has this in it. */
static inline void
check_refused(const char *crt, const char *key, const char *message)
{
	ck_assert_ptr_null(parse(crt, key));
	ck_assert_msg(strstr(error_storage, message) != NULL,
	    "\"%s\" is not in \"%s\"", message, error_storage);
}

#endif
