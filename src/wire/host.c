#include "wire/host.h"

#include <errno.h>

#define LABEL_MAX_BYTES 63

static int
refuse(struct host *out, const char **why, const char *message)
{
	memset(out, 0, sizeof(*out));
	if (why)
		*why = message;
	return -EINVAL;
}

static char
fold(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c - 'A' + 'a');
	return (char)c;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_host_char(char c)
{
	return (c >= 'a' && c <= 'z') || is_digit(c) || c == '-' || c == '_';
}

static bool
is_hex_digit(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f');
}

/*
 * Whether a resolver would take the host for an IPv4 address: the last label is
 * a number, decimal or with 0x. inet_aton(3) also reads "127.1", "0x7f.1" and
 * "2130706433", and a name that is an address for one part of a system and a
 * name for another is a way round rules. No top-level domain is a number.
 */
static bool
ends_in_number(const char *text, size_t len)
{
	size_t start = len;
	bool (*is_member)(char) = is_digit;

	while (start > 0 && text[start - 1] != '.')
		start--;
	if (len - start >= 2 && text[start] == '0' && text[start + 1] == 'x') {
		start += 2;
		is_member = is_hex_digit;
	}
	for (size_t i = start; i < len; i++) {
		if (!is_member(text[i]))
			return false;
	}
	return true;
}

/* NULL if the labels are all right, or what is wrong. */
static const char *
label_fault(const char *text, size_t len)
{
	size_t label = 0;

	for (size_t i = 0; i < len; i++) {
		if (text[i] == '.') {
			if (label == 0)
				return "a label of the name is empty";
			label = 0;
		} else if (!is_host_char(text[i])) {
			return "the name has a character that host names do "
			       "not have";
		} else if (++label > LABEL_MAX_BYTES) {
			return "a label of the name is longer than 63 bytes";
		}
	}
	return label == 0 ? "a label of the name is empty" : NULL;
}

/* `out` already holds `at` bytes ("*." or nothing) of a pattern. */
static int
parse_from(struct span text, size_t at, struct host *out, const char **why)
{
	const char *fault;

	if (text.len > 0 && text.data[text.len - 1] == '.')
		text.len--;
	if (text.len == 0)
		return refuse(out, why, "the name is empty");
	if (text.len > HOST_MAX_BYTES - at)
		return refuse(out, why, "the name is longer than 253 bytes");
	for (size_t i = 0; i < text.len; i++)
		out->text[at + i] = fold(text.data[i]);
	fault = label_fault(out->text + at, text.len);
	if (fault)
		return refuse(out, why, fault);
	if (ends_in_number(out->text + at, text.len))
		return refuse(out, why,
		    "an IP address, or a name that ends in a number, is no "
		    "host name");
	out->len = (uint8_t)(at + text.len);
	out->text[out->len] = '\0';
	return 0;
}

int
host_parse(struct span text, struct host *out, const char **why)
{
	memset(out, 0, sizeof(*out));
	return parse_from(text, 0, out, why);
}

int
host_parse_pattern(struct span text, struct host *out, const char **why)
{
	memset(out, 0, sizeof(*out));
	if (text.len < 2 || memcmp(text.data, "*.", 2) != 0)
		return parse_from(text, 0, out, why);
	memcpy(out->text, "*.", 2);
	return parse_from(span_of(text.data + 2, text.len - 2), 2, out, why);
}

bool
host_is_wildcard(const struct host *pattern)
{
	return pattern->len > 2 && pattern->text[0] == '*';
}

/* The byte of `text` where `needle` begins, or text.len. */
static size_t
find(struct span text, const char *needle)
{
	size_t len = strlen(needle);

	for (size_t i = 0; i + len <= text.len; i++) {
		if (memcmp(text.data + i, needle, len) == 0)
			return i;
	}
	return text.len;
}

int
host_parse_url(struct span text, struct host *out, const char **why)
{
	size_t scheme = find(text, "://");
	size_t colon;

	if (scheme < text.len) {
		if (!span_is(span_of(text.data, scheme), "tls"))
			return refuse(out, why, "only tls:// URLs are served");
		text = span_of(text.data + scheme + 3, text.len - scheme - 3);
	}
	colon = find(text, ":");
	if (colon < text.len) {
		if (!span_is(
			span_of(text.data + colon, text.len - colon), ":443"))
			return refuse(out, why,
			    "the port of a URL can only be 443; where the edge "
			    "listens is set elsewhere");
		text.len = colon;
	}
	return host_parse_pattern(text, out, why);
}
