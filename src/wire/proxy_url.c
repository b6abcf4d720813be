#include "wire/proxy_url.h"

#include <errno.h>

static bool
take_prefix(struct span *text, const char *prefix)
{
	size_t len = strlen(prefix);

	if (text->len < len || memcmp(text->data, prefix, len) != 0)
		return false;
	*text = span_of(text->data + len, text->len - len);
	return true;
}

static int
digit_of(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte at `*at`, which moves behind it; -1 if it is not well encoded. */
static int
decode_byte(struct span text, size_t *at)
{
	int high, low;

	if (text.data[*at] != '%')
		return text.data[(*at)++];
	if (text.len - *at < 3)
		return -1;
	high = digit_of(text.data[*at + 1]);
	low = digit_of(text.data[*at + 2]);
	*at += 3;
	return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static const char *
decode(struct span text, char *out)
{
	size_t len = 0;

	for (size_t at = 0; at < text.len;) {
		int byte = decode_byte(text, &at);

		/* RFC 3986 section 2.1: a percent sign itself is "%25". */
		if (byte < 0)
			return "a percent sign in the user or the password "
			       "needs two hexadecimal digits: write it as %25";
		if (byte == 0)
			return "there is a NUL in the user or the password";
		if (len == PROXY_URL_CREDENTIAL_MAX)
			return "the user or the password is longer than 255 "
			       "bytes";
		out[len++] = (char)byte;
	}
	out[len] = '\0';
	return NULL;
}

/* RFC 7617 section 2: the user ends at the first colon. */
static const char *
parse_credentials(struct span text, struct proxy_url *out)
{
	const uint8_t *colon = memchr(text.data, ':', text.len);
	size_t user_len = colon ? (size_t)(colon - text.data) : text.len;
	const char *why = decode(span_of(text.data, user_len), out->user);

	if (why || !colon)
		return why;
	return decode(
	    span_of(colon + 1, text.len - user_len - 1), out->password);
}

static const char *
parse(struct span text, struct proxy_url *out)
{
	const uint8_t *at;
	const char *why;

	if (take_prefix(&text, "socks5://"))
		out->kind = PROXY_KIND_SOCKS5;
	else if (take_prefix(&text, "http://"))
		out->kind = PROXY_KIND_HTTP;
	else
		return "it must begin with http:// or socks5://";
	/* The last one: a password may hold others. */
	at = memrchr(text.data, '@', text.len);
	if (at) {
		size_t len = (size_t)(at - text.data);

		out->has_user = true;
		why = parse_credentials(span_of(text.data, len), out);
		if (why)
			return why;
		text = span_of(at + 1, text.len - len - 1);
	}
	if (text.len > 0 && text.data[text.len - 1] == '/')
		text.len--;
	if (memchr(text.data, '/', text.len))
		return "only HOST:PORT may follow, and no path";
	if (!memchr(text.data, ':', text.len))
		return "the port is missing: HOST:PORT";
	if (upstream_address_parse(text, &out->address, &why) < 0)
		return why;
	return out->address.kind == UPSTREAM_UNIX ? "the host is missing"
						  : NULL;
}

int
proxy_url_parse(struct span text, struct proxy_url *out, const char **why)
{
	memset(out, 0, sizeof(*out));
	*why = parse(text, out);
	if (!*why)
		return 0;
	explicit_bzero(out, sizeof(*out));
	return -EINVAL;
}
