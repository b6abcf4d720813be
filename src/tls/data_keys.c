#include "tls/data_keys.h"

#include <errno.h>

#include "base/hash.h"
#include "tls/session_context.h"

/* The zero byte at the end of a label belongs to it. */
#define LABEL(literal) span_of(literal, sizeof(literal))
#define INFO_MAX_BYTES 64

_Static_assert(DATA_TAG_BYTES == SEAL_TAG_BYTES, "one kind of tag");

/* HKDF-Expand(root, label | P[0..31] | salt, len). */
static int
derive(const uint8_t root[SHA256_BYTES], const struct span parts[3], void *out,
    size_t len)
{
	uint8_t info[INFO_MAX_BYTES];
	size_t at = 0;

	for (int i = 0; i < 3; i++) {
		ASSERT(parts[i].len <= sizeof(info) - at);
		if (parts[i].len > 0)
			memcpy(info + at, parts[i].data, parts[i].len);
		at += parts[i].len;
	}
	return hkdf_expand(root, span_of(info, at), out, len);
}

static struct span
signed_part(const uint8_t preface[DATA_PREFACE_BYTES])
{
	return span_of(preface, DATA_PREFACE_SIGNED_BYTES);
}

/* --- of a session --- */

void
data_keys_wipe(struct data_keys *k)
{
	wipe(k, sizeof(*k));
}

int
data_keys_from_root(struct data_keys *k, const uint8_t root[SHA256_BYTES],
    const uint8_t session[DATA_SESSION_BYTES])
{
	const struct span parts[3] = { LABEL("lunette1 preface") };
	int result;

	memcpy(k->session, session, sizeof(k->session));
	memcpy(k->root, root, sizeof(k->root));
	result = derive(k->root, parts, k->mac, sizeof(k->mac));
	if (result < 0)
		data_keys_wipe(k);
	return result;
}

static bool
may_carry(const struct tls_stream *s)
{
	struct tls_facts facts;

	tls_facts(s, &facts);
	return facts.version == TLS_VERSION_1_3 && !facts.resumed &&
	       span_is(facts.alpn, SESSION_ALPN);
}

int
data_keys_init(struct data_keys *k, const struct tls_stream *s,
    const uint8_t session[DATA_SESSION_BYTES])
{
	struct span context = span_of(session, DATA_SESSION_BYTES);
	uint8_t root[SHA256_BYTES];
	int result = -EPERM;

	memset(k, 0, sizeof(*k));
	if (may_carry(s))
		result = tls_export(
		    s, "EXPORTER-lunette-data", &context, root, sizeof(root));
	if (result == 0)
		result = data_keys_from_root(k, root, session);
	wipe(root, sizeof(root));
	return result;
}

/* --- of a connection --- */

static int
sign(const uint8_t mac[SHA256_BYTES], const uint8_t preface[DATA_PREFACE_BYTES],
    uint8_t out[DATA_MAC_BYTES])
{
	return hmac_sha256(
	    span_of(mac, SHA256_BYTES), signed_part(preface), out);
}

int
data_keys_make_preface(const struct data_keys *k, enum data_mode mode,
    uint64_t counter, uint8_t out[DATA_PREFACE_BYTES])
{
	struct data_preface p = { .mode = mode, .counter = counter };

	memcpy(p.session, k->session, sizeof(p.session));
	data_preface_write(&p, out);
	return sign(k->mac, out, out + DATA_PREFACE_SIGNED_BYTES);
}

/* For sessions that are not there: as much work as for one that is. */
static const struct data_keys dummy;

int
data_keys_check_preface(
    const struct data_keys *k, const uint8_t preface[DATA_PREFACE_BYTES])
{
	bool is_known = k != NULL;
	uint8_t expected[DATA_MAC_BYTES];
	struct data_preface p;
	bool is_right;

	if (data_preface_parse(span_of(preface, DATA_PREFACE_BYTES), &p) !=
	    PARSE_OK)
		return -EBADMSG;
	if (!is_known)
		k = &dummy;
	if (sign(k->mac, preface, expected) < 0)
		return -ENOMEM;
	is_right = constant_time_equal(expected, p.mac, sizeof(expected));
	is_right &=
	    constant_time_equal(k->session, p.session, sizeof(p.session));
	wipe(expected, sizeof(expected));
	return is_right && is_known ? 0 : -EBADMSG;
}

int
data_keys_psk(const struct data_keys *k,
    const uint8_t preface[DATA_PREFACE_BYTES], uint8_t out[SHA256_BYTES])
{
	const struct span parts[3] = { LABEL("lunette1 psk"),
		signed_part(preface) };

	return derive(k->root, parts, out, SHA256_BYTES);
}

/* --- OPEN and ANSWER --- */

static int
derive_seal_key(const struct data_keys *k, struct span label,
    const struct data_binding *to, struct seal_key *out)
{
	const struct span parts[3] = { label, signed_part(to->preface),
		span_of(to->salt, sizeof(to->salt)) };

	_Static_assert(sizeof(*out) == 44, "key and nonce, nothing between");
	return derive(k->root, parts, out, sizeof(*out));
}

/* P and the head of the record. */
struct associated {
	uint8_t bytes[DATA_PREFACE_BYTES + DATA_OPEN_HEAD_BYTES];
};

static struct span
associate(struct associated *a, const struct data_binding *to, struct span head)
{
	memcpy(a->bytes, to->preface, DATA_PREFACE_BYTES);
	memcpy(a->bytes + DATA_PREFACE_BYTES, head.data, head.len);
	return span_of(a->bytes, DATA_PREFACE_BYTES + head.len);
}

static int
seal(const struct seal_key *key, const struct data_binding *to,
    struct span head, struct span plain, uint8_t *out)
{
	struct associated a;

	return secret_seal(key, associate(&a, to, head), plain, out);
}

static int
unseal(const struct seal_key *key, const struct data_binding *to,
    const struct data_record *record, uint8_t *out)
{
	struct associated a;

	return secret_unseal(
	    key, associate(&a, to, record->head), record->sealed, out);
}

int
data_keys_seal_open(const struct data_keys *k,
    const uint8_t preface[DATA_PREFACE_BYTES], struct span plain, uint8_t *out,
    size_t *len)
{
	struct data_binding to;
	struct seal_key key;
	int result;

	memcpy(to.preface, preface, sizeof(to.preface));
	random_bytes(to.salt, sizeof(to.salt));
	data_open_head(out, plain.len + DATA_TAG_BYTES, to.salt);
	result = derive_seal_key(k, LABEL("lunette1 open"), &to, &key);
	if (result == 0)
		result = seal(&key, &to, span_of(out, DATA_OPEN_HEAD_BYTES),
		    plain, out + DATA_OPEN_HEAD_BYTES);
	wipe(&key, sizeof(key));
	*len =
	    result == 0 ? DATA_OPEN_HEAD_BYTES + plain.len + DATA_TAG_BYTES : 0;
	return result;
}

int
data_keys_unseal_open(const struct data_keys *k,
    const uint8_t preface[DATA_PREFACE_BYTES], const struct data_record *record,
    uint8_t *out, size_t *len)
{
	struct data_binding to;
	struct seal_key key;
	int result;

	ASSERT(record->salt.len == sizeof(to.salt));
	memcpy(to.preface, preface, sizeof(to.preface));
	memcpy(to.salt, record->salt.data, sizeof(to.salt));
	result = derive_seal_key(k, LABEL("lunette1 open"), &to, &key);
	if (result == 0)
		result = unseal(&key, &to, record, out);
	wipe(&key, sizeof(key));
	*len = result == 0 ? record->sealed.len - DATA_TAG_BYTES : 0;
	return result;
}

int
data_keys_seal_answer(const struct data_keys *k, const struct data_binding *to,
    enum data_reason reason, uint8_t out[DATA_ANSWER_BYTES])
{
	uint8_t plain[DATA_ANSWER_PLAIN_BYTES];
	struct seal_key key;
	int result;

	data_answer_head(out);
	data_answer_write(reason, plain);
	result = derive_seal_key(k, LABEL("lunette1 answer"), to, &key);
	if (result == 0)
		result = seal(&key, to, span_of(out, DATA_ANSWER_HEAD_BYTES),
		    span_of(plain, sizeof(plain)),
		    out + DATA_ANSWER_HEAD_BYTES);
	wipe(&key, sizeof(key));
	return result;
}

int
data_keys_unseal_answer(const struct data_keys *k,
    const struct data_binding *to, const struct data_record *record,
    enum data_reason *reason)
{
	uint8_t plain[DATA_ANSWER_PLAIN_BYTES];
	struct seal_key key;
	int result;

	ASSERT(record->sealed.len == sizeof(plain) + DATA_TAG_BYTES);
	result = derive_seal_key(k, LABEL("lunette1 answer"), to, &key);
	if (result == 0)
		result = unseal(&key, to, record, plain);
	if (result == 0)
		result = data_answer_read(plain, reason);
	wipe(&key, sizeof(key));
	return result;
}
