#include "wire/upstream_address.h"

#include <errno.h>

#define TLS_PORT 443

static int
refuse(struct upstream_address *out, const char **why, const char *message)
{
	memset(out, 0, sizeof(*out));
	*why = message;
	return -EINVAL;
}

/* Takes the prefix off, if it is there. */
static bool
take_prefix(struct span *text, const char *prefix)
{
	size_t len = strlen(prefix);

	if (text->len < len || memcmp(text->data, prefix, len) != 0)
		return false;
	text->data += len;
	text->len -= len;
	return true;
}

static bool
is_number(struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
	}
	return text.len > 0;
}

/* From 1 to 65535, without leading zeros. */
static bool
parse_port(struct span text, uint16_t *port)
{
	uint32_t value = 0;

	if (!is_number(text) || text.len > 5 || text.data[0] == '0')
		return false;
	for (size_t i = 0; i < text.len; i++)
		value = value * 10 + (uint32_t)(text.data[i] - '0');
	*port = (uint16_t)value;
	return value <= UINT16_MAX;
}

static int
parse_unix(struct span path, struct upstream_address *out, const char **why)
{
	if (path.len == 0 || path.data[0] != '/')
		return refuse(
		    out, why, "the path of a Unix socket must be absolute");
	if (path.len >= sizeof(out->path))
		return refuse(out, why,
		    "the path of a Unix socket is longer than 107 bytes");
	if (memchr(path.data, 0, path.len))
		return refuse(
		    out, why, "the path of a Unix socket has a NUL byte");
	out->kind = UPSTREAM_UNIX;
	memcpy(out->path, path.data, path.len);
	return 0;
}

/*
 * Cuts "host:port" in two. A host in brackets is an IPv6 address; without them
 * it must not have a colon, so that "2001:db8::1:443" is not guessed at.
 */
static const char *
cut_port(struct span text, struct span *host, struct span *port, bool *has_port)
{
	const uint8_t *end = text.data + text.len;
	const uint8_t *colon = memchr(text.data, ':', text.len);

	if (text.data[0] == '[') {
		const uint8_t *close = memchr(text.data, ']', text.len);

		if (!close)
			return "the closing bracket is missing";
		*host = span_of(text.data + 1, (size_t)(close - text.data) - 1);
		colon = close + 1 < end ? close + 1 : NULL;
		if (colon && *colon != ':')
			return "after the bracket only :port may follow";
	} else {
		*host = span_of(
		    text.data, colon ? (size_t)(colon - text.data) : text.len);
		if (colon && memchr(colon + 1, ':', (size_t)(end - colon - 1)))
			return "an IPv6 address must be in brackets: "
			       "[2001:db8::1]:443";
	}
	*has_port = colon != NULL;
	if (colon)
		*port = span_of(colon + 1, (size_t)(end - colon - 1));
	return NULL;
}

static int
parse_host(struct span host, bool in_brackets, struct upstream_address *out,
    const char **why)
{
	const char *fault;

	if (in_brackets || addr_parse(host, &out->addr) == 0) {
		if (in_brackets && (!memchr(host.data, ':', host.len) ||
				       addr_parse(host, &out->addr) != 0))
			return refuse(out, why,
			    "what is in the brackets is no IPv6 address");
		out->kind = UPSTREAM_IP;
		out->addr.port = out->port;
		return 0;
	}
	out->kind = UPSTREAM_NAME;
	if (host_parse(host, &out->name, &fault) != 0)
		return refuse(out, why, fault);
	/* "unix:80", as it would be written, is read as a path. */
	if (span_is(host_span(&out->name), "unix"))
		return refuse(out, why,
		    "a host named unix needs a longer name or an address");
	return 0;
}

static int
parse_tcp(struct span text, struct upstream_address *out, const char **why)
{
	struct span host = span_text("localhost"), port = text;
	bool has_port = true;
	const char *fault = NULL;

	if (text.len == 0)
		return refuse(out, why, "the address is empty");
	if (!is_number(text))
		fault = cut_port(text, &host, &port, &has_port);
	if (fault)
		return refuse(out, why, fault);
	if (!has_port && !out->tls)
		return refuse(out, why, "the port is missing: host:port");
	out->port = TLS_PORT;
	if (has_port && !parse_port(port, &out->port))
		return refuse(
		    out, why, "the port must be a number from 1 to 65535");
	return parse_host(host, text.data[0] == '[', out, why);
}

/* One spelling for one upstream: it is the key under which it is shared. */
static void
write_canonical(struct upstream_address *a)
{
	char ip[ADDR_TEXT_SIZE];
	struct text t;

	text_init(&t, a->text, sizeof(a->text));
	if (a->tls)
		text_add(&t, "tls://");
	switch (a->kind) {
	case UPSTREAM_IP:
		addr_format(&a->addr, ip);
		text_add(&t, ip);
		break;
	case UPSTREAM_NAME:
		text_add_span(&t, host_span(&a->name));
		text_add_char(&t, ':');
		text_add_number(&t, a->port);
		break;
	case UPSTREAM_UNIX:
		text_addf(&t, "unix:%s", a->path);
		break;
	}
	ASSERT(!t.truncated);
}

int
upstream_address_parse(
    struct span text, struct upstream_address *out, const char **why)
{
	int err;

	memset(out, 0, sizeof(*out));
	if (take_prefix(&text, "unix:")) {
		err = parse_unix(text, out, why);
	} else {
		out->tls = take_prefix(&text, "tls://");
		if (!out->tls)
			take_prefix(&text, "tcp://");
		err = parse_tcp(text, out, why);
	}
	if (err == 0)
		write_canonical(out);
	return err;
}
