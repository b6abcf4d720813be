#include "tls/token.h"

#include <errno.h>

#include "tls/stream.h"

/* The zero byte at the end belongs to it, as to all labels of keys. */
static const char proof_label[] = "lunette1 token";

int
token_id(struct span token, uint8_t out[TOKEN_ID_BYTES])
{
	const struct span parts[] = { span_text("lunette id"), token };
	uint8_t hash[SHA256_BYTES];
	int result = sha256_parts(parts, ARRAY_COUNT(parts), hash);

	memcpy(out, hash, TOKEN_ID_BYTES);
	return result;
}

int
token_binding(const struct tls_stream *s, uint8_t out[TOKEN_BINDING_BYTES])
{
	struct tls_facts facts;

	memset(out, 0, TOKEN_BINDING_BYTES);
	tls_facts(s, &facts);
	if (facts.version != TLS_VERSION_1_3)
		return -EPERM;
	return tls_export(
	    s, "EXPORTER-lunette-token", NULL, out, TOKEN_BINDING_BYTES);
}

static bool
is_provable(size_t len)
{
	return len >= TOKEN_MIN_BYTES && len <= TOKEN_MAX_BYTES;
}

/* Pad and text change places: both ways are the same. */
static int
apply_pad(const uint8_t binding[TOKEN_BINDING_BYTES],
    const uint8_t sha256[SHA256_BYTES], struct span in, uint8_t *out)
{
	uint8_t message[sizeof(proof_label) + TOKEN_BINDING_BYTES];
	uint8_t key[SHA256_BYTES], pad[TOKEN_MAX_BYTES];
	int result;

	memcpy(message, proof_label, sizeof(proof_label));
	memcpy(message + sizeof(proof_label), binding, TOKEN_BINDING_BYTES);
	result = hmac_sha256(span_of(sha256, SHA256_BYTES),
	    span_of(message, sizeof(message)), key);
	if (result == 0)
		result = hkdf_expand(key, span_of(NULL, 0), pad, in.len);
	for (size_t i = 0; result == 0 && i < in.len; i++)
		out[i] = in.data[i] ^ pad[i];
	wipe(key, sizeof(key));
	wipe(pad, sizeof(pad));
	return result;
}

int
token_prove(const uint8_t binding[TOKEN_BINDING_BYTES], struct span token,
    uint8_t *proof)
{
	uint8_t hash[SHA256_BYTES];
	int result;

	if (!is_provable(token.len))
		return -EINVAL;
	result = sha256_bytes(token, hash);
	if (result == 0)
		result = apply_pad(binding, hash, token, proof);
	if (result < 0)
		memset(proof, 0, token.len);
	wipe(hash, sizeof(hash));
	return result;
}

int
token_recover(const uint8_t binding[TOKEN_BINDING_BYTES],
    const uint8_t sha256[SHA256_BYTES], struct span proof, uint8_t *token)
{
	uint8_t hash[SHA256_BYTES];
	int result = -EACCES;

	if (is_provable(proof.len))
		result = apply_pad(binding, sha256, proof, token);
	if (result == 0)
		result = sha256_bytes(span_of(token, proof.len), hash);
	if (result == 0 && !constant_time_equal(hash, sha256, SHA256_BYTES))
		result = -EACCES;
	if (result < 0)
		wipe(token, proof.len);
	return result;
}
