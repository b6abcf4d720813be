#include "tunnel/names.h"

#include <errno.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/hash.h"
#include "tls/secret.h"
#include "tunnel/message.h"
#include "tunnel/state_key.h"

#define CLIENT_BYTES 20
#define RANDOM_LABEL_BITS_BYTES 10

struct names {
	uint8_t key[STATE_KEY_BYTES];
};

struct names *
names_open(const char *folder, struct text *error)
{
	struct names *n = calloc(1, sizeof(*n));

	if (!n) {
		text_add(error, "out of memory");
		return NULL;
	}
	if (state_key_open(folder, n->key, error) == 0)
		return n;
	names_free(n);
	return NULL;
}

void
names_free(struct names *n)
{
	if (n)
		wipe(n, sizeof(*n));
	free(n);
}

void
names_new_client(char out[CLIENT_ID_SIZE])
{
	uint8_t bytes[CLIENT_BYTES];

	random_bytes(bytes, sizeof(bytes));
	memcpy(out, "ag_", 3);
	base32_write(span_of(bytes, sizeof(bytes)), out + 3);
}

/* --- what is hashed: no two different lists give the same bytes --- */

struct input {
	uint8_t bytes[1024];
	size_t len;
	bool overflow;
};

static void
put(struct input *in, const void *bytes, size_t len)
{
	if (len > sizeof(in->bytes) - in->len) {
		in->overflow = true;
		return;
	}
	if (len > 0)
		memcpy(in->bytes + in->len, bytes, len);
	in->len += len;
}

static void
put_text(struct input *in, struct span text)
{
	const uint8_t len[2] = { (uint8_t)(text.len >> 8), (uint8_t)text.len };

	if (text.len > sizeof(in->bytes))
		in->overflow = true;
	put(in, len, sizeof(len));
	put(in, text.data, text.len);
}

static void
put_number(struct input *in, uint32_t number)
{
	const uint8_t bytes[4] = { (uint8_t)(number >> 24),
		(uint8_t)(number >> 16), (uint8_t)(number >> 8),
		(uint8_t)number };

	put(in, bytes, sizeof(bytes));
}

/* With the zero byte at the label's end. */
static void
begin(struct input *in, const char *label, const char *credential)
{
	in->len = 0;
	in->overflow = false;
	put(in, label, strlen(label) + 1);
	put_text(in, span_text(credential));
}

/* Nothing that long comes out of a message or the file of tokens. */
static int
finish(const struct names *n, struct input *in, uint8_t out[SHA256_BYTES])
{
	if (in->overflow)
		return -ENAMETOOLONG;
	return hmac_sha256(
	    span_of(n->key, sizeof(n->key)), span_of(in->bytes, in->len), out);
}

/* As text, which is what is sent. */
static int
finish_text(const struct names *n, struct input *in, char out[COOKIE_SIZE])
{
	uint8_t mac[SHA256_BYTES];
	int result = finish(n, in, mac);

	out[0] = '\0';
	if (result == 0)
		base64_write(span_of(mac, sizeof(mac)), out);
	wipe(mac, sizeof(mac));
	return result;
}

/* --- cookies --- */

int
names_cookie(const struct names *n, const char *credential, const char *client,
    char out[COOKIE_SIZE])
{
	struct input in;

	begin(&in, "lunette cookie", credential);
	put_text(&in, span_text(client));
	return finish_text(n, &in, out);
}

int
names_check_cookie(const struct names *n, const char *credential,
    const char *client, const char *cookie)
{
	char expected[COOKIE_SIZE];
	int result = names_cookie(n, credential, client, expected);

	if (result == 0 &&
	    (strlen(cookie) != COOKIE_SIZE - 1 ||
		!constant_time_equal(expected, cookie, COOKIE_SIZE - 1)))
		result = -EACCES;
	wipe(expected, sizeof(expected));
	return result == -ENAMETOOLONG ? -EACCES : result;
}

/* --- random names --- */

int
names_random(const struct names *n, const char *credential, const char *client,
    uint32_t index, uint32_t collisions, const struct host *base_domain,
    struct host *out)
{
	char text[RANDOM_LABEL_BYTES + 1 + HOST_MAX_BYTES + 1];
	uint8_t mac[SHA256_BYTES];
	struct input in;
	int result;

	memset(out, 0, sizeof(*out));
	begin(&in, "lunette name", credential);
	put_text(&in, span_text(client));
	put_number(&in, index);
	put_number(&in, collisions);
	result = finish(n, &in, mac);
	if (result < 0)
		return result;
	base32_write(span_of(mac, RANDOM_LABEL_BITS_BYTES), text);
	text[RANDOM_LABEL_BYTES] = '.';
	memcpy(text + RANDOM_LABEL_BYTES + 1, base_domain->text,
	    base_domain->len + 1u);
	return host_parse(span_text(text), out, NULL) < 0 ? -ENAMETOOLONG : 0;
}

/* --- bind tokens: a MAC, a dot, the name --- */

static int
name_mac(const struct names *n, const char *credential, const struct host *name,
    char out[COOKIE_SIZE])
{
	struct input in;

	begin(&in, "lunette bind", credential);
	put_text(&in, host_span(name));
	return finish_text(n, &in, out);
}

int
names_bind_token(const struct names *n, const char *credential,
    const struct host *name, char out[BIND_TOKEN_SIZE])
{
	int result = name_mac(n, credential, name, out);

	if (result < 0)
		return result;
	out[COOKIE_SIZE - 1] = '.';
	memcpy(out + COOKIE_SIZE, name->text, name->len + 1u);
	return 0;
}

int
names_read_bind_token(const struct names *n, const char *credential,
    const char *token, struct host *out)
{
	char expected[COOKIE_SIZE];
	int result;

	memset(out, 0, sizeof(*out));
	if (strlen(token) <= COOKIE_SIZE || token[COOKIE_SIZE - 1] != '.' ||
	    host_parse_pattern(span_text(token + COOKIE_SIZE), out, NULL) < 0)
		return -EINVAL;
	result = name_mac(n, credential, out, expected);
	if (result == 0 &&
	    !constant_time_equal(expected, token, COOKIE_SIZE - 1))
		result = -EACCES;
	wipe(expected, sizeof(expected));
	if (result < 0)
		memset(out, 0, sizeof(*out));
	return result == -ENAMETOOLONG ? -EACCES : result;
}
