/*
 * Host names, patterns, URLs, upstream addresses and alert names.
 *
 * Sources: base wire
 * Options: -max_len=400
 */
#include "fuzz.h"
#include "wire/alert.h"
#include "wire/routes.h"
#include "wire/upstream_address.h"

static bool
is_folded_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
	       c == '_' || c == '.';
}

/* The same again, when it is parsed again: one name has one form. */
static void
check_host(const struct host *h)
{
	struct host again;
	struct addr addr;

	ASSERT(h->len > 0 && h->len <= HOST_MAX_BYTES);
	ASSERT(strlen(h->text) == h->len);
	for (size_t i = 0; i < h->len; i++)
		ASSERT(is_folded_char(h->text[i]));
	ASSERT(host_parse(host_span(h), &again, NULL) == 0);
	ASSERT(span_equal(host_span(h), host_span(&again)));
	ASSERT(addr_parse(host_span(h), &addr) != 0);
	ASSERT(host_parse_pattern(host_span(h), &again, NULL) == 0);
	ASSERT(!host_is_wildcard(&again));
}

static void
check_empty(const struct host *h)
{
	ASSERT(h->len == 0 && h->text[0] == '\0');
}

static void
check_pattern(struct span s)
{
	struct host pattern, url;
	int err = host_parse_pattern(s, &pattern, NULL);

	if (err != 0) {
		check_empty(&pattern);
		return;
	}
	ASSERT(host_parse_url(s, &url, NULL) == 0);
	ASSERT(span_equal(host_span(&pattern), host_span(&url)));
	if (!host_is_wildcard(&pattern))
		check_host(&pattern);
}

/* A name is found under the wildcard of its parent, and by itself. */
static void
check_routes(const struct host *name)
{
	struct routes *r = routes_new();
	const char *dot = strchr(name->text, '.');
	char text[HOST_MAX_BYTES + 3];
	struct host wildcard;
	int exact, wild;

	ASSERT(r);
	if (dot) {
		text[0] = '*';
		memcpy(text + 1, dot, strlen(dot) + 1);
		ASSERT(
		    host_parse_pattern(span_text(text), &wildcard, NULL) == 0);
		ASSERT(routes_add(r, &wildcard, &wild) == 0);
		ASSERT(routes_find(r, host_span(name)) == &wild);
		ASSERT(!routes_find(r, span_text(dot + 1)));
	}
	ASSERT(!routes_get(r, name));
	ASSERT(routes_add(r, name, &exact) == 0);
	ASSERT(routes_find(r, host_span(name)) == &exact);
	routes_free(r);
}

/* The canonical form means the same, and only it is written. */
static void
check_upstream(struct span s)
{
	struct upstream_address a, again;
	const char *why = NULL;

	if (upstream_address_parse(s, &a, &why) != 0) {
		ASSERT(why && a.text[0] == '\0');
		return;
	}
	ASSERT(upstream_address_parse(span_text(a.text), &again, &why) == 0);
	ASSERT(strcmp(a.text, again.text) == 0);
	ASSERT(a.kind == again.kind && a.port == again.port);
	ASSERT(a.tls == again.tls);
	ASSERT(a.kind != UPSTREAM_UNIX || a.path[0] == '/');
	ASSERT(a.kind == UPSTREAM_UNIX || a.port > 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span s = span_of(data, size);
	struct host host;
	const char *why = NULL;
	uint8_t alert;

	if (host_parse(s, &host, &why) == 0) {
		check_host(&host);
		check_routes(&host);
	} else {
		ASSERT(why);
		check_empty(&host);
	}
	check_pattern(s);
	check_upstream(s);
	if (alert_parse(s, &alert) == 0)
		ASSERT(span_is(s, alert_name(alert)));
	return 0;
}
