/* The URL of a proxy. */
#include "tunnel/outbound.h"

#include <ctype.h>
#include <errno.h>

#include "tls/secret.h"

static const struct {
	const char *scheme;
	enum proxy_kind kind;
	const char *port; /* where none is written */
} schemes[] = {
	{ "http://", PROXY_KIND_HTTP, "80" },
	{ "socks5://", PROXY_KIND_SOCKS5, "1080" },
	{ "socks5h://", PROXY_KIND_SOCKS5, "1080" },
};

static int
hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (uint8_t)tolower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3986 section 2.1. */
static bool
decode(struct span text, char out[OUTBOUND_PROXY_FIELD])
{
	size_t len = 0;

	for (size_t i = 0; i < text.len; i++) {
		int c = text.data[i];

		if (c == '%') {
			int high =
			    text.len - i > 2 ? hex_digit(text.data[i + 1]) : -1;
			int low = high >= 0 ? hex_digit(text.data[i + 2]) : -1;

			if (low < 0)
				return false;
			c = high << 4 | low;
			i += 2;
		}
		if (c == '\0' || len + 1 >= OUTBOUND_PROXY_FIELD)
			return false;
		out[len++] = (char)c;
	}
	out[len] = '\0';
	return true;
}

static bool
take_credentials(struct span *rest, struct outbound_proxy *out)
{
	const uint8_t *at = memrchr(rest->data, '@', rest->len);
	const uint8_t *colon;
	struct span user, password = span_of(NULL, 0);

	if (!at)
		return true;
	user = span_of(rest->data, (size_t)(at - rest->data));
	*rest = span_of(at + 1, rest->len - user.len - 1);
	colon = memchr(user.data, ':', user.len);
	if (colon) {
		password = span_of(
		    colon + 1, user.len - (size_t)(colon + 1 - user.data));
		user.len = (size_t)(colon - user.data);
	}
	return decode(user, out->user) && decode(password, out->password);
}

static bool
has_port(struct span address)
{
	const uint8_t *colon = memrchr(address.data, ':', address.len);
	const uint8_t *bracket = memrchr(address.data, ']', address.len);

	return colon && (!bracket || colon > bracket);
}

static int
parse_address(struct span rest, const char *port, struct upstream_address *out)
{
	char storage[UPSTREAM_ADDRESS_SIZE];
	struct text text;

	while (rest.len > 0 && rest.data[rest.len - 1] == '/')
		rest.len--;
	text_init(&text, storage, sizeof(storage));
	text_add_span(&text, rest);
	if (!has_port(rest))
		text_addf(&text, ":%s", port);
	if (rest.len == 0 || text.truncated)
		return -EINVAL;
	return upstream_address_parse(text_span(&text), out, NULL);
}

int
outbound_proxy_parse(
    const char *url, struct outbound_proxy *out, const char **why)
{
	*out = (struct outbound_proxy){ .kind = PROXY_KIND_NONE };
	if (!url || url[0] == '\0')
		return 0;
	for (size_t i = 0; i < ARRAY_COUNT(schemes); i++) {
		size_t len = strlen(schemes[i].scheme);
		struct span rest;

		if (strncasecmp(url, schemes[i].scheme, len) != 0)
			continue;
		rest = span_text(url + len);
		out->kind = schemes[i].kind;
		*why = "its user or password is not well formed";
		if (!take_credentials(&rest, out))
			break;
		*why = "expected a host and a port";
		if (parse_address(rest, schemes[i].port, &out->address) == 0 &&
		    out->address.kind != UPSTREAM_UNIX)
			return 0;
		break;
	}
	if (out->kind == PROXY_KIND_NONE)
		*why = "a proxy is http:// or socks5:// and an address";
	outbound_proxy_wipe(out);
	return -EINVAL;
}

void
outbound_proxy_wipe(struct outbound_proxy *p)
{
	wipe(p, sizeof(*p));
}
