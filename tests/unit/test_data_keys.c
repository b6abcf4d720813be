/*
 * The key schedule of data connections, against what Python's hmac and hashlib
 * and the AES-GCM of its cryptography package give for these inputs:
 *
 *	root    = bytes(range(32)); session = b"0123456789abcdef"
 *	mac     = expand(root, b"lunette1 preface\0", 32)
 *	P       = b"\xc5LUNET\1\1" + session + (7).to_bytes(8, "big")
 *	P      += hmac(mac, P)
 *	psk     = expand(root, b"lunette1 psk\0" + P[:32], 32)
 *	key     = expand(root, b"lunette1 open\0" + P[:32] + salt, 44)
 *	head    = b"\1\1\0\x30" + salt
 *	OPEN    = head + AESGCM(key[:32]).encrypt(key[32:], plain, P + head)
 *	key     = expand(root, b"lunette1 answer\0" + P[:32] + salt, 44)
 *	head    = b"\2\1\0\x20"
 *	ANSWER  = head + AESGCM(key[:32]).encrypt(key[32:], b"\1\4" + bytes(14),
 *	    P + head)
 */
#include "unit.h"

#include "base/hash.h"
#include "bytes.h"
#include "hex.h"
#include "openssl_faults.h"
#include "tls/data_keys.h"

#define SESSION "0123456789abcdef"
#define SALT "salt-salt-salt-s"
#define PLAIN "what is sealed in OPEN, 32 bytes"
#define PREFACE                            \
	"c54c554e45540101"                 \
	"30313233343536373839616263646566" \
	"0000000000000007"                 \
	"b8b8d97a739ec570bfdc94744ede6dac" \
	"12652698919d743ec5fbbc3a484204cd"
#define PSK                                \
	"844e4c1f6d338fae1722aa98069b6189" \
	"f4e052ca933f5eb1404eadbcf098513d"
#define OPEN                                                               \
	"0101003073616c742d73616c742d73616c742d73"                         \
	"632629595ea1694d0e196dc44313831788098debeb53d0130c9d336dfc82dbf5" \
	"145676556b736e482d04c889b83713ad"
#define ANSWER     \
	"02010020" \
	"e27d47de0b7c69c9cf81a68ce3d73e9e412f40ff81474932dc2ae23a2d285b91"

static bool salt_is_fixed;

void __real_random_bytes(void *out, size_t len);
void __wrap_random_bytes(void *out, size_t len);

void
__wrap_random_bytes(void *out, size_t len)
{
	__real_random_bytes(out, len);
	if (salt_is_fixed && len == DATA_SALT_BYTES)
		memcpy(out, SALT, len);
}

static struct data_keys keys;
static uint8_t preface[DATA_PREFACE_BYTES];
static uint8_t out[DATA_OPEN_MAX_BYTES + 1];
static size_t out_len;

static void
setup(void)
{
	uint8_t root[SHA256_BYTES];

	for (size_t i = 0; i < sizeof(root); i++)
		root[i] = (uint8_t)i;
	ck_assert_int_eq(
	    data_keys_from_root(&keys, root, (const uint8_t *)SESSION), 0);
	ck_assert_int_eq(
	    data_keys_make_preface(&keys, DATA_TLS, 7, preface), 0);
}

static struct data_binding
binding(void)
{
	struct data_binding b;

	memcpy(b.preface, preface, sizeof(b.preface));
	memcpy(b.salt, SALT, sizeof(b.salt));
	return b;
}

static struct data_record
open_record(struct span wire)
{
	struct data_record r;
	size_t needed;

	ck_assert_int_eq(data_open_record(wire, &r, &needed), PARSE_OK);
	return r;
}

static struct data_record
answer_record(struct span wire)
{
	struct data_record r;
	size_t needed;

	ck_assert_int_eq(data_answer_record(wire, &r, &needed), PARSE_OK);
	return r;
}

static int
unseal_open(struct span wire)
{
	struct data_record r = open_record(wire);

	return data_keys_unseal_open(&keys, preface, &r, out, &out_len);
}

static int
unseal_answer(struct span wire, enum data_reason *reason)
{
	struct data_record r = answer_record(wire);
	struct data_binding b = binding();

	return data_keys_unseal_answer(&keys, &b, &r, reason);
}

START_TEST(keys_are_those_of_the_schedule)
{
	struct data_binding b = binding();
	enum data_reason reason;

	ASSERT_HEX(keys.mac, SHA256_BYTES,
	    "54b5387e8acbc6ab0234304edd2aa680"
	    "2b4e3f72d842f508d5427167b2eda674");
	ASSERT_HEX(preface, sizeof(preface), PREFACE);
	ck_assert_int_eq(data_keys_psk(&keys, preface, out), 0);
	ASSERT_HEX(out, SHA256_BYTES, PSK);
	salt_is_fixed = true;
	ck_assert_int_eq(
	    data_keys_seal_open(&keys, preface, BYTES(PLAIN), out, &out_len),
	    0);
	ASSERT_HEX(out, out_len, OPEN);
	ck_assert_int_eq(unseal_open(from_hex(OPEN)), 0);
	ck_assert(span_equal(span_of(out, out_len), BYTES(PLAIN)));
	ck_assert_int_eq(data_keys_seal_answer(&keys, &b, DATA_DENIED, out), 0);
	ASSERT_HEX(out, DATA_ANSWER_BYTES, ANSWER);
	ck_assert_int_eq(unseal_answer(from_hex(ANSWER), &reason), 0);
	ck_assert_int_eq(reason, DATA_DENIED);
}
END_TEST

START_TEST(a_preface_is_checked)
{
	struct data_keys other = keys;
	uint8_t changed[DATA_PREFACE_BYTES];

	ck_assert_int_eq(data_keys_check_preface(&keys, preface), 0);
	ck_assert_int_eq(data_keys_check_preface(NULL, preface), -EBADMSG);
	for (size_t bit = 0; bit < 8 * sizeof(preface); bit++) {
		memcpy(changed, preface, sizeof(changed));
		changed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_int_eq(
		    data_keys_check_preface(&keys, changed), -EBADMSG);
	}
	/* A right HMAC of another session is none of this one. */
	other.session[0] ^= 1;
	ck_assert_int_eq(data_keys_check_preface(&other, preface), -EBADMSG);
}
END_TEST

/* What nobody has is not the key of sessions that nobody has either. */
START_TEST(the_dummy_key_opens_nothing)
{
	static const struct data_keys zeros;

	ck_assert_int_eq(
	    data_keys_make_preface(&zeros, DATA_RAW, 1, preface), 0);
	ck_assert_int_eq(data_keys_check_preface(NULL, preface), -EBADMSG);
}
END_TEST

START_TEST(each_counter_and_mode_has_its_own_psk)
{
	uint8_t a[SHA256_BYTES], b[SHA256_BYTES], again[DATA_PREFACE_BYTES];

	ck_assert_int_eq(data_keys_psk(&keys, preface, a), 0);
	ck_assert_int_eq(data_keys_make_preface(&keys, DATA_TLS, 8, again), 0);
	ck_assert_int_eq(data_keys_psk(&keys, again, b), 0);
	ck_assert_mem_ne(a, b, sizeof(a));
	ck_assert_int_eq(data_keys_make_preface(&keys, DATA_RAW, 7, again), 0);
	ck_assert_int_eq(data_keys_psk(&keys, again, b), 0);
	ck_assert_mem_ne(a, b, sizeof(a));
}
END_TEST

START_TEST(an_open_goes_through)
{
	static const size_t sizes[] = { 16, 17, 100, 1000,
		DATA_OPEN_PLAIN_MAX_BYTES };
	static uint8_t plain[DATA_OPEN_PLAIN_MAX_BYTES];
	static uint8_t sealed[DATA_OPEN_MAX_BYTES], again[DATA_OPEN_MAX_BYTES];

	for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
		struct span s = span_of(plain, sizes[i]);

		memset(plain, (int)i, sizeof(plain));
		ck_assert_int_eq(
		    data_keys_seal_open(&keys, preface, s, sealed, &out_len),
		    0);
		ck_assert_uint_eq(out_len, 36 + sizes[i]);
		/* A new salt each time: no key seals two records. */
		ck_assert_int_eq(
		    data_keys_seal_open(&keys, preface, s, again, &out_len), 0);
		ck_assert_mem_ne(sealed + 4, again + 4, DATA_SALT_BYTES);
		ck_assert_mem_ne(sealed + 20, again + 20, 16);
		ck_assert_int_eq(unseal_open(span_of(sealed, out_len)), 0);
		ck_assert(span_equal(span_of(out, out_len), s));
	}
}
END_TEST

/* Other lengths are another record; the layout refuses other first bytes. */
START_TEST(each_bit_of_an_open_counts)
{
	struct span good = from_hex(OPEN);
	uint8_t changed[128];

	for (size_t bit = 8 * 4; bit < 8 * good.len; bit++) {
		memcpy(changed, good.data, good.len);
		changed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_int_eq(
		    unseal_open(span_of(changed, good.len)), -EBADMSG);
		ck_assert_uint_eq(out_len, 0);
	}
	for (size_t bit = 0; bit < 8 * sizeof(preface); bit++) {
		preface[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_int_eq(unseal_open(good), -EBADMSG);
		preface[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	/* The head is sealed as well: a shorter L takes another tag. */
	memcpy(changed, good.data, good.len);
	changed[3]--;
	ck_assert_int_eq(unseal_open(span_of(changed, good.len)), -EBADMSG);
	keys.root[0] ^= 1;
	ck_assert_int_eq(unseal_open(good), -EBADMSG);
}
END_TEST

START_TEST(each_bit_of_an_answer_counts)
{
	struct span good = from_hex(ANSWER);
	struct data_record r = answer_record(good);
	struct data_binding b = binding();
	uint8_t changed[DATA_ANSWER_BYTES];
	enum data_reason reason;

	for (size_t bit = 8 * 4; bit < 8 * good.len; bit++) {
		memcpy(changed, good.data, good.len);
		changed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_int_eq(
		    unseal_answer(span_of(changed, good.len), &reason),
		    -EBADMSG);
	}
	for (size_t bit = 0; bit < 8 * sizeof(b); bit++) {
		uint8_t *bytes = (uint8_t *)&b;

		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_int_eq(
		    data_keys_unseal_answer(&keys, &b, &r, &reason), -EBADMSG);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}
END_TEST

START_TEST(all_answers_go_through)
{
	struct data_binding b = binding();
	enum data_reason reason;

	for (unsigned i = 0; i < DATA_REASON_COUNT; i++) {
		ck_assert_int_eq(data_keys_seal_answer(&keys, &b, i, out), 0);
		ck_assert_int_eq(
		    unseal_answer(span_of(out, DATA_ANSWER_BYTES), &reason), 0);
		ck_assert_int_eq(reason, i);
	}
}
END_TEST

/* Well sealed is not yet well formed. */
START_TEST(an_answer_with_another_content)
{
	struct data_binding b = binding();
	uint8_t info[64] = "lunette1 answer";
	uint8_t wire[DATA_ANSWER_BYTES], associated[DATA_PREFACE_BYTES + 4];
	uint8_t plain[DATA_ANSWER_PLAIN_BYTES] = { 1, 10 };
	enum data_reason reason;
	struct seal_key key;

	memcpy(info + 16, preface, 32);
	memcpy(info + 48, b.salt, 16);
	ck_assert_int_eq(hkdf_expand(keys.root, span_of(info, 64),
			     (uint8_t *)&key, sizeof(key)),
	    0);
	data_answer_head(wire);
	memcpy(associated, preface, sizeof(preface));
	memcpy(associated + sizeof(preface), wire, 4);
	ck_assert_int_eq(secret_seal(&key, span_of(associated, 68),
			     span_of(plain, sizeof(plain)), wire + 4),
	    0);
	ck_assert_int_eq(
	    unseal_answer(span_of(wire, sizeof(wire)), &reason), -EBADMSG);
	plain[1] = 9;
	ck_assert_int_eq(secret_seal(&key, span_of(associated, 68),
			     span_of(plain, sizeof(plain)), wire + 4),
	    0);
	ck_assert_int_eq(
	    unseal_answer(span_of(wire, sizeof(wire)), &reason), 0);
}
END_TEST

START_TEST(nothing_is_left_of_wiped_keys)
{
	data_keys_wipe(&keys);
	check_zeros(&keys, sizeof(keys));
	data_keys_wipe(&keys);
}
END_TEST

START_TEST(without_memory)
{
	struct data_keys k;
	struct data_binding b = binding();
	struct span open = from_hex(OPEN), answer = from_hex(ANSWER);
	struct data_record r = open_record(open), a = answer_record(answer);
	enum data_reason reason;
	static const uint8_t nothing[1];

	/* What is fetched once in a process is not what is asked here. */
	ck_assert_int_eq(unseal_open(open), 0);
	CHECK_WITHOUT_MEMORY(
	    data_keys_from_root(&k, keys.root, keys.session), &k, sizeof(k), 3);
	CHECK_WITHOUT_MEMORY(
	    data_keys_make_preface(&keys, DATA_RAW, 1, out), out + 32, 32, 3);
	CHECK_WITHOUT_MEMORY(
	    data_keys_check_preface(&keys, preface), nothing, 0, 3);
	CHECK_WITHOUT_MEMORY(
	    data_keys_psk(&keys, preface, out), out, SHA256_BYTES, 3);
	CHECK_WITHOUT_MEMORY(
	    data_keys_seal_open(&keys, preface, BYTES(PLAIN), out, &out_len),
	    nothing, 0, 5);
	CHECK_WITHOUT_MEMORY(
	    data_keys_unseal_open(&keys, preface, &r, out, &out_len), nothing,
	    0, 5);
	CHECK_WITHOUT_MEMORY(
	    data_keys_seal_answer(&keys, &b, DATA_LIMIT, out), nothing, 0, 5);
	CHECK_WITHOUT_MEMORY(
	    data_keys_unseal_answer(&keys, &b, &a, &reason), nothing, 0, 5);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, keys_are_those_of_the_schedule);
	tcase_add_test(tcase, a_preface_is_checked);
	tcase_add_test(tcase, the_dummy_key_opens_nothing);
	tcase_add_test(tcase, each_counter_and_mode_has_its_own_psk);
	tcase_add_test(tcase, an_open_goes_through);
	tcase_add_test(tcase, each_bit_of_an_open_counts);
	tcase_add_test(tcase, each_bit_of_an_answer_counts);
	tcase_add_test(tcase, all_answers_go_through);
	tcase_add_test(tcase, an_answer_with_another_content);
	tcase_add_test(tcase, nothing_is_left_of_wiped_keys);
	tcase_add_test(tcase, without_memory);
}

UNIT_MAIN("data keys", add_tests)
