#include "tls/pem.h"

#include <openssl/crypto.h>
#include <stdlib.h>

struct base64 {
	uint32_t bits;
	unsigned count, pads;
	bool is_bad;
};

struct pem_reader
pem_reader_of(struct span text)
{
	if (text.len >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0)
		text = span_of(text.data + 3, text.len - 3);
	return (struct pem_reader){ text, 1 };
}

static bool
is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\v' || c == '\f';
}

/* The next line without its end and without blanks there. */
static struct span
take_line(struct pem_reader *r)
{
	struct span line = span_of(r->rest.data, 0);
	size_t used;

	while (line.len < r->rest.len && line.data[line.len] != '\n' &&
	       line.data[line.len] != '\r')
		line.len++;
	used = line.len;
	if (used < r->rest.len)
		used++;
	if (used < r->rest.len && r->rest.data[used - 1] == '\r' &&
	    r->rest.data[used] == '\n')
		used++;
	r->rest = span_of(r->rest.data + used, r->rest.len - used);
	r->line++;
	while (line.len > 0 && is_blank(line.data[line.len - 1]))
		line.len--;
	return line;
}

static bool
has_dashes(struct span line)
{
	return line.len >= 5 && memcmp(line.data, "-----", 5) == 0;
}

/* "-----BEGIN " or "-----END ", a label, "-----". */
static bool
is_boundary(struct span line, const char *begin, struct span *label)
{
	size_t at = strlen(begin);

	if (line.len <= at + 5 || memcmp(line.data, begin, at) != 0 ||
	    memcmp(line.data + line.len - 5, "-----", 5) != 0)
		return false;
	*label = span_of(line.data + at, line.len - at - 5);
	return true;
}

static int
base64_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

static void
add_digit(struct base64 *b, uint8_t c, struct pem_block *out)
{
	int value = base64_value(c);

	if (c == '=') {
		b->pads++;
		return;
	}
	if (value < 0 || b->pads > 0) {
		b->is_bad = true;
		return;
	}
	b->bits = b->bits << 6 | (uint32_t)value;
	if (++b->count % 4 != 0)
		return;
	out->der[out->len++] = (uint8_t)(b->bits >> 16);
	out->der[out->len++] = (uint8_t)(b->bits >> 8);
	out->der[out->len++] = (uint8_t)b->bits;
}

/* What a last group of two or three digits holds. */
static bool
finish_base64(struct base64 *b, struct pem_block *out)
{
	unsigned left = b->count % 4;

	if (b->is_bad || left == 1 || b->pads != (4 - left) % 4)
		return false;
	if (left > 1)
		out->der[out->len++] =
		    (uint8_t)(b->bits >> (left == 2 ? 4 : 10));
	if (left == 3)
		out->der[out->len++] = (uint8_t)(b->bits >> 2);
	return out->len > 0;
}

/* The lines up to the END line; false if there is none. */
static bool
take_body(struct pem_reader *r, struct span label, struct span *body)
{
	struct span end;

	*body = span_of(r->rest.data, 0);
	while (r->rest.len > 0) {
		struct span line = take_line(r);

		if (!has_dashes(line))
			continue;
		body->len = (size_t)(line.data - body->data);
		return is_boundary(line, "-----END ", &end) &&
		       span_equal(end, label);
	}
	return false;
}

/* Headers end with an empty line. */
static struct span
skip_headers(struct span body, bool *is_encrypted)
{
	struct pem_reader r = { body, 1 };
	struct span line = take_line(&r);

	if (line.len == 0 || !memchr(line.data, ':', line.len))
		return body;
	for (; line.len > 0; line = take_line(&r)) {
		if (memmem(line.data, line.len, "ENCRYPTED", 9))
			*is_encrypted = true;
	}
	return r.rest;
}

static const char *
decode(struct span body, struct pem_block *out)
{
	struct base64 b = { 0 };
	bool is_good;

	body = skip_headers(body, &out->is_encrypted);
	if (out->is_encrypted)
		return NULL;
	out->der = malloc(body.len / 4 * 3 + 3);
	if (!out->der)
		return "no memory";
	for (size_t i = 0; i < body.len; i++) {
		uint8_t c = body.data[i];

		if (c != '\n' && c != '\r' && !is_blank(c))
			add_digit(&b, c, out);
	}
	is_good = finish_base64(&b, out);
	OPENSSL_cleanse(&b, sizeof(b));
	return is_good ? NULL : "is damaged: its base64 is wrong";
}

enum parse
pem_next(struct pem_reader *r, struct pem_block *out, const char **why)
{
	struct span body;

	memset(out, 0, sizeof(*out));
	do {
		if (r->rest.len == 0)
			return PARSE_MORE;
		out->line = r->line;
	} while (!is_boundary(take_line(r), "-----BEGIN ", &out->label));
	*why = take_body(r, out->label, &body) ? decode(body, out)
					       : "has no END line of its own";
	if (!*why)
		return PARSE_OK;
	pem_wipe(out);
	return PARSE_BAD;
}

void
pem_wipe(struct pem_block *b)
{
	OPENSSL_cleanse(b->der, b->len);
	free(b->der);
	b->der = NULL;
	b->len = 0;
}
