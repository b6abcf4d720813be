#include "unit.h"

#include "bytes.h"
#include "hex.h"
#include "openssl_faults.h"
#include "tls/secret.h"

static uint8_t out[HKDF_MAX_BYTES];

/* RFC 4231, test cases 2 and 6, and no key at all. */
START_TEST(hmac_gives_what_is_published)
{
	uint8_t key[131];

	memset(key, 0xaa, sizeof(key));
	ck_assert_int_eq(hmac_sha256(span_text("Jefe"),
			     span_text("what do ya want for nothing?"), out),
	    0);
	ASSERT_HEX(out, SHA256_BYTES,
	    "5bdcc146bf60754e6a042426089575c7"
	    "5a003f089d2739839dec58b964ec3843");
	ck_assert_int_eq(hmac_sha256(span_of(key, sizeof(key)),
			     span_text("Test Using Larger Than Block-Size Key "
				       "- Hash Key First"),
			     out),
	    0);
	ASSERT_HEX(out, SHA256_BYTES,
	    "60e431591ee0b67f0d8a26aacbf5b77f"
	    "8e0bc6213728c5140546040f0ee37f54");
	ck_assert_int_eq(
	    hmac_sha256(span_of(NULL, 0), span_of(NULL, 0), out), 0);
	ASSERT_HEX(out, SHA256_BYTES,
	    "b613679a0814d9ec772f95d778c35fc5"
	    "ff1697c493715653c6c712144292c5ad");
}
END_TEST

START_TEST(hashes_of_parts)
{
	const struct span parts[] = { span_text("a"), span_of(NULL, 0),
		span_text("bc") };

	ck_assert_int_eq(sha256_parts(parts, 3, out), 0);
	ASSERT_HEX(out, SHA256_BYTES,
	    "ba7816bf8f01cfea414140de5dae2223"
	    "b00361a396177a9cb410ff61f20015ad");
	ck_assert_int_eq(sha256_bytes(span_of(NULL, 0), out), 0);
	ASSERT_HEX(out, SHA256_BYTES,
	    "e3b0c44298fc1c149afbf4c8996fb924"
	    "27ae41e4649b934ca495991b7852b855");
}
END_TEST

/* RFC 5869, test cases 1 and 3 (no info). */
START_TEST(hkdf_gives_what_is_published)
{
	ck_assert_int_eq(
	    hkdf_expand(from_hex("077709362c2e32df0ddc3f0dc47bba63"
				 "90b6c73bb50f9c3122ec844ad7c2b3e5")
			    .data,
		from_hex("f0f1f2f3f4f5f6f7f8f9"), out, 42),
	    0);
	ASSERT_HEX(out, 42,
	    "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
	    "34007208d5b887185865");
	ck_assert_int_eq(
	    hkdf_expand(from_hex("19ef24a32c717b167f33a91d6f648bdf"
				 "96596776afdb6377ac434c1c293ccb04")
			    .data,
		span_of(NULL, 0), out, 42),
	    0);
	ASSERT_HEX(out, 42,
	    "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
	    "9d201395faa4b61a96c8");
}
END_TEST

/* All lengths are the beginning of the same bytes; nothing behind is touched.
 */
START_TEST(hkdf_of_each_length)
{
	static uint8_t whole[HKDF_MAX_BYTES];
	const uint8_t key[SHA256_BYTES] = "a key of thirty-two bytes, here";

	ck_assert_int_eq(
	    hkdf_expand(key, BYTES("info"), whole, sizeof(whole)), 0);
	for (size_t len = 0; len < 300; len++) {
		memset(out, 0xee, sizeof(out));
		ck_assert_int_eq(hkdf_expand(key, BYTES("info"), out, len), 0);
		ck_assert_mem_eq(out, whole, len);
		ck_assert_uint_eq(out[len], 0xee);
	}
}
END_TEST

/* The GCM specification's test case 16. */
#define GCM_KEY                            \
	"feffe9928665731c6d6a8f9467308308" \
	"feffe9928665731c6d6a8f9467308308"
#define GCM_NONCE "cafebabefacedbaddecaf888"
#define GCM_AAD "feedfacedeadbeeffeedfacedeadbeefabaddad2"
#define GCM_PLAIN                          \
	"d9313225f88406e5a55909c5aff5269a" \
	"86a7a9531534f7da2e4c303d8a318a72" \
	"1c3c0c95956809532fcf0e2449a6b525" \
	"b16aedf5aa0de657ba637b39"
#define GCM_SEALED                         \
	"522dc1f099567d07f47f37a32a84427d" \
	"643a8cdcbfe5c0c97598a2bd2555d1aa" \
	"8cb08e48590dbb3da7b08b1056828838" \
	"c5f61e6393ba7a0abcc9f662"         \
	"76fc6ece0f4e1768cddf8853bb2d551b"

static struct seal_key
gcm_key(void)
{
	struct seal_key k;

	memcpy(k.key, from_hex(GCM_KEY).data, sizeof(k.key));
	memcpy(k.nonce, from_hex(GCM_NONCE).data, sizeof(k.nonce));
	return k;
}

START_TEST(sealing_gives_what_is_published)
{
	struct seal_key k = gcm_key();

	ck_assert_int_eq(
	    secret_seal(&k, from_hex(GCM_AAD), from_hex(GCM_PLAIN), out), 0);
	ASSERT_HEX(out, strlen(GCM_SEALED) / 2, GCM_SEALED);
	ck_assert_int_eq(
	    secret_unseal(&k, from_hex(GCM_AAD), from_hex(GCM_SEALED), out), 0);
	ASSERT_HEX(out, strlen(GCM_PLAIN) / 2, GCM_PLAIN);
}
END_TEST

static void
check_refused(const struct seal_key *k, struct span aad, struct span sealed)
{
	memset(out, 0xee, sizeof(out));
	ck_assert_int_eq(secret_unseal(k, aad, sealed, out), -EBADMSG);
	if (sealed.len > SEAL_TAG_BYTES)
		check_zeros(out, sealed.len - SEAL_TAG_BYTES);
}

START_TEST(what_was_changed_is_not_unsealed)
{
	struct seal_key k = gcm_key();
	struct span sealed = from_hex(GCM_SEALED), aad = from_hex(GCM_AAD);
	uint8_t copy[256];

	for (size_t bit = 0; bit < 8 * sealed.len; bit++) {
		memcpy(copy, sealed.data, sealed.len);
		copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
		check_refused(&k, aad, span_of(copy, sealed.len));
	}
	for (size_t bit = 0; bit < 8 * aad.len; bit++) {
		memcpy(copy, aad.data, aad.len);
		copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
		check_refused(&k, span_of(copy, aad.len), sealed);
	}
	for (size_t len = 0; len < sealed.len; len++)
		check_refused(&k, aad, span_of(sealed.data, len));
	k.nonce[11] ^= 1;
	check_refused(&k, aad, sealed);
	k.nonce[11] ^= 1;
	k.key[31] ^= 1;
	check_refused(&k, aad, sealed);
}
END_TEST

START_TEST(nothing_can_be_sealed_too)
{
	struct seal_key k = gcm_key();
	uint8_t sealed[SEAL_TAG_BYTES], none[1];

	ck_assert_int_eq(
	    secret_seal(&k, from_hex(GCM_AAD), span_of(none, 0), sealed), 0);
	ck_assert_int_eq(secret_unseal(&k, from_hex(GCM_AAD),
			     span_of(sealed, sizeof(sealed)), none),
	    0);
	sealed[0] ^= 1;
	ck_assert_int_eq(secret_unseal(&k, from_hex(GCM_AAD),
			     span_of(sealed, sizeof(sealed)), none),
	    -EBADMSG);
}
END_TEST

START_TEST(comparing_and_wiping)
{
	uint8_t a[64], b[64];

	memset(a, 7, sizeof(a));
	memcpy(b, a, sizeof(b));
	ck_assert(constant_time_equal(a, b, sizeof(a)));
	for (size_t i = 0; i < sizeof(a); i++) {
		b[i] ^= 0x80;
		ck_assert(!constant_time_equal(a, b, sizeof(a)));
		ck_assert(constant_time_equal(a, b, i));
		b[i] ^= 0x80;
	}
	wipe(a, sizeof(a));
	check_zeros(a, sizeof(a));
}
END_TEST

START_TEST(without_memory)
{
	struct seal_key k = gcm_key();
	struct span aad = from_hex(GCM_AAD), plain = from_hex(GCM_PLAIN);
	struct span sealed = from_hex(GCM_SEALED);

	/* What is fetched once in a process is not what is asked here. */
	ck_assert_int_eq(sha256_bytes(plain, out), 0);
	ck_assert_int_eq(hkdf_expand(k.key, aad, out, 100), 0);
	ck_assert_int_eq(secret_seal(&k, aad, plain, out), 0);

	CHECK_WITHOUT_MEMORY(sha256_bytes(plain, out), out, SHA256_BYTES, 1);
	CHECK_WITHOUT_MEMORY(
	    hmac_sha256(aad, plain, out), out, SHA256_BYTES, 3);
	CHECK_WITHOUT_MEMORY(hkdf_expand(k.key, aad, out, 100), out, 100, 3);
	CHECK_WITHOUT_MEMORY(secret_seal(&k, aad, plain, out), out,
	    plain.len + SEAL_TAG_BYTES, 2);
	CHECK_WITHOUT_MEMORY(
	    secret_unseal(&k, aad, sealed, out), out, plain.len, 2);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, hmac_gives_what_is_published);
	tcase_add_test(tcase, hashes_of_parts);
	tcase_add_test(tcase, hkdf_gives_what_is_published);
	tcase_add_test(tcase, hkdf_of_each_length);
	tcase_add_test(tcase, sealing_gives_what_is_published);
	tcase_add_test(tcase, what_was_changed_is_not_unsealed);
	tcase_add_test(tcase, nothing_can_be_sealed_too);
	tcase_add_test(tcase, comparing_and_wiping);
	tcase_add_test(tcase, without_memory);
}

UNIT_MAIN("secret", add_tests)
