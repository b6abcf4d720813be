/*
 * Proofs of tokens, against what Python's hmac and hashlib give:
 *
 *	id    = sha256(b"lunette id" + token)[:8]
 *	pad   = hmac(sha256(token), b"lunette1 token\0" + bytes(range(32, 64)))
 *	proof = token ^ expand(pad, b"", len(token))
 */
#include "unit.h"

#include "bytes.h"
#include "hex.h"
#include "openssl_faults.h"
#include "tls/token.h"

#define TOKEN "lt_0123456789abcdefghijklmnopqrstuvwxyz"
#define PROOF                                                              \
	"fa4bb99bbe1120eea7575aa3729a88fc02160ef59c832e8aef5e6bf5ec8e7998" \
	"43ef2f0df5ce99"

static uint8_t binding[TOKEN_BINDING_BYTES];
static uint8_t hash[SHA256_BYTES]; /* of TOKEN */
static uint8_t out[TOKEN_MAX_BYTES + 1];

static void
setup(void)
{
	for (size_t i = 0; i < sizeof(binding); i++)
		binding[i] = (uint8_t)(32 + i);
	ck_assert_int_eq(sha256_bytes(BYTES(TOKEN), hash), 0);
}

START_TEST(a_token_has_this_id)
{
	ck_assert_int_eq(token_id(BYTES(TOKEN), out), 0);
	ASSERT_HEX(out, TOKEN_ID_BYTES, "fbdc31eab971eee7");
	ck_assert_int_eq(token_id(span_of(NULL, 0), out), 0);
}
END_TEST

START_TEST(a_token_has_this_proof)
{
	ck_assert_int_eq(token_prove(binding, BYTES(TOKEN), out), 0);
	ASSERT_HEX(out, strlen(TOKEN), PROOF);
	ck_assert_int_eq(token_recover(binding, hash, from_hex(PROOF), out), 0);
	ck_assert_mem_eq(out, TOKEN, strlen(TOKEN));
}
END_TEST

/* The proof of one session is no proof in another: what an impostor got he
 * cannot hand on. */
START_TEST(a_proof_is_of_one_session)
{
	struct span proof = from_hex(PROOF);

	for (size_t bit = 0; bit < 8 * sizeof(binding); bit++) {
		binding[bit / 8] ^= (uint8_t)(1 << bit % 8);
		memset(out, 0xee, sizeof(out));
		ck_assert_int_eq(
		    token_recover(binding, hash, proof, out), -EACCES);
		check_zeros(out, proof.len);
		binding[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}
END_TEST

START_TEST(a_proof_is_of_one_token)
{
	struct span proof = from_hex(PROOF);
	uint8_t changed[sizeof(TOKEN)], other[SHA256_BYTES];

	for (size_t bit = 0; bit < 8 * proof.len; bit++) {
		memcpy(changed, proof.data, proof.len);
		changed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_int_eq(token_recover(binding, hash,
				     span_of(changed, proof.len), out),
		    -EACCES);
	}
	for (size_t len = 0; len < proof.len; len++)
		ck_assert_int_eq(
		    token_recover(binding, hash, span_of(proof.data, len), out),
		    -EACCES);
	memcpy(other, hash, sizeof(other));
	other[31] ^= 1;
	ck_assert_int_eq(token_recover(binding, other, proof, out), -EACCES);
	check_zeros(out, proof.len);
}
END_TEST

/* Tokens from 16 to 256 bytes; more than 32 take several blocks of the pad. */
START_TEST(tokens_of_each_length)
{
	static uint8_t token[TOKEN_MAX_BYTES + 1], proof[TOKEN_MAX_BYTES + 1];
	static uint8_t before[TOKEN_MAX_BYTES];

	for (size_t i = 0; i < sizeof(token); i++)
		token[i] = (uint8_t)(i * 7);
	for (size_t len = 0; len <= sizeof(token); len++) {
		struct span s = span_of(token, len);
		bool good = len >= TOKEN_MIN_BYTES && len <= TOKEN_MAX_BYTES;

		memset(proof, 0xee, sizeof(proof));
		ck_assert_int_eq(
		    token_prove(binding, s, proof), good ? 0 : -EINVAL);
		if (!good)
			continue;
		ck_assert_uint_eq(proof[len], 0xee);
		ck_assert_mem_ne(proof, token, len);
		ck_assert_mem_ne(proof, before, TOKEN_MIN_BYTES);
		memcpy(before, proof, len);
		ck_assert_int_eq(sha256_bytes(s, hash), 0);
		ck_assert_int_eq(
		    token_recover(binding, hash, span_of(proof, len), out), 0);
		ck_assert_mem_eq(out, token, len);
	}
}
END_TEST

START_TEST(without_memory)
{
	struct span proof = from_hex(PROOF);

	/* What is fetched once in a process is not what is asked here. */
	ck_assert_int_eq(token_prove(binding, BYTES(TOKEN), out), 0);
	CHECK_WITHOUT_MEMORY(
	    token_id(BYTES(TOKEN), out), out, TOKEN_ID_BYTES, 1);
	CHECK_WITHOUT_MEMORY(
	    token_prove(binding, BYTES(TOKEN), out), out, strlen(TOKEN), 5);
	CHECK_WITHOUT_MEMORY(
	    token_recover(binding, hash, proof, out), out, proof.len, 5);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, a_token_has_this_id);
	tcase_add_test(tcase, a_token_has_this_proof);
	tcase_add_test(tcase, a_proof_is_of_one_session);
	tcase_add_test(tcase, a_proof_is_of_one_token);
	tcase_add_test(tcase, tokens_of_each_length);
	tcase_add_test(tcase, without_memory);
}

UNIT_MAIN("token", add_tests)
