#include "control/host_guard.h"

#include <errno.h>
#include <stdlib.h>

#include "base/units.h"
#include "wire/host.h"

struct rule {
	enum { RULE_NETWORK, RULE_NAME, RULE_BELOW } kind;
	struct network network;
	struct host name;
};

struct host_guard {
	size_t count;
	struct rule rules[];
};

static int
read_rule(struct span text, struct rule *out)
{
	const char *why;

	if (network_parse(text, &out->network, &why) == 0) {
		out->kind = RULE_NETWORK;
		return 0;
	}
	out->kind = RULE_NAME;
	if (text.len > 0 && text.data[0] == '.') {
		out->kind = RULE_BELOW;
		text = span_of(text.data + 1, text.len - 1);
	}
	return host_parse(text, &out->name, NULL);
}

int
host_guard_new(const char *const *rules, size_t count, struct host_guard **out,
    size_t *bad)
{
	struct host_guard *g =
	    calloc(1, sizeof(*g) + count * sizeof(g->rules[0]));

	if (!g)
		return -ENOMEM;
	for (g->count = 0; g->count < count; g->count++) {
		struct span text = span_text(rules[g->count]);
		int err = read_rule(text, &g->rules[g->count]);

		if (err < 0) {
			*bad = g->count;
			free(g);
			return err;
		}
	}
	*out = g;
	return 0;
}

void
host_guard_free(struct host_guard *g)
{
	free(g);
}

static bool
is_below(struct span name, struct span parent)
{
	size_t extra = name.len - parent.len;

	return name.len > parent.len + 1 && name.data[extra - 1] == '.' &&
	       span_equal(span_of(name.data + extra, parent.len), parent);
}

static bool
allows_name(const struct host_guard *g, const struct host *h)
{
	struct span name = host_span(h), localhost = span_text("localhost");

	if (span_equal(name, localhost) || is_below(name, localhost))
		return true;
	for (size_t i = 0; i < g->count; i++) {
		const struct rule *r = &g->rules[i];

		if (r->kind == RULE_NAME &&
		    span_equal(name, host_span(&r->name)))
			return true;
		if (r->kind == RULE_BELOW &&
		    is_below(name, host_span(&r->name)))
			return true;
	}
	return false;
}

static bool
allows_address(
    const struct host_guard *g, const struct addr *a, const struct addr *local)
{
	if (addr_is_loopback(a) || addr_same_ip(a, local))
		return true;
	for (size_t i = 0; i < g->count; i++) {
		const struct rule *r = &g->rules[i];

		if (r->kind == RULE_NETWORK && network_contains(&r->network, a))
			return true;
	}
	return false;
}

/* "" or ":" and a number, which RFC 3986 section 3.2.3 lets be empty. */
static bool
is_port(struct span s)
{
	uint64_t port;

	if (s.len == 0)
		return true;
	if (s.data[0] != ':')
		return false;
	return s.len == 1 || number_parse(span_of(s.data + 1, s.len - 1), 0,
				 65535, &port) == 0;
}

/* Splits off the port. False for what is no host and port. */
static bool
split(struct span value, struct span *host, bool *is_bracketed)
{
	const uint8_t *end;
	size_t len;

	*is_bracketed = value.len > 0 && value.data[0] == '[';
	end = value.len > 0
		  ? memchr(value.data, *is_bracketed ? ']' : ':', value.len)
		  : NULL;
	if (*is_bracketed) {
		if (!end)
			return false;
		*host = span_of(value.data + 1, (size_t)(end - value.data) - 1);
		len = host->len + 2;
	} else {
		len = end ? (size_t)(end - value.data) : value.len;
		*host = span_of(value.data, len);
	}
	return is_port(span_of(value.data + len, value.len - len));
}

bool
host_guard_allows(
    const struct host_guard *g, struct span value, const struct addr *local)
{
	struct span text;
	struct host name;
	struct addr a;
	bool is_bracketed;

	if (!split(value, &text, &is_bracketed) || text.len == 0)
		return false;
	/* An address with colons needs its brackets, and only that one. The
	 * IPv4-mapped ones are family ADDR_IP4 by then, and welcome. */
	if (addr_parse(text, &a) == 0)
		return is_bracketed ==
			   (memchr(text.data, ':', text.len) != NULL) &&
		       allows_address(g, &a, local);
	return !is_bracketed && host_parse(text, &name, NULL) == 0 &&
	       allows_name(g, &name);
}
