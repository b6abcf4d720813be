#include "unit.h"

#include <pthread.h>

#include "hello_bytes.h"
#include "tls/digest.h"
#include "wire/ja4.h"

static struct bytes wire, block;
static uint8_t scratch[HELLO_MAX_BYTES];
static struct hello hello;
static char fingerprint[JA4_TEXT_SIZE];

static const char *
ja4_of(const struct hello_spec *spec)
{
	struct hello_result r;

	wire.len = 0;
	add_hello(&wire, spec, 16384);
	r = hello_parse(bytes_span(&wire), scratch, &hello);
	ck_assert_int_eq(r.parse, PARSE_OK);
	ck_assert_int_eq(ja4_fingerprint(&hello, fingerprint), 0);
	return fingerprint;
}

START_TEST(sha256_vectors)
{
	char hex[SHA256_HEX_SIZE];

	ck_assert_int_eq(sha256_hex(BYTES(""), hex), 0);
	ck_assert_str_eq(hex, "e3b0c44298fc1c149afbf4c8996fb924"
			      "27ae41e4649b934ca495991b7852b855");
	ck_assert_int_eq(sha256_hex(span_of(NULL, 0), hex), 0);
	ck_assert_str_eq(hex, "e3b0c44298fc1c149afbf4c8996fb924"
			      "27ae41e4649b934ca495991b7852b855");
	ck_assert_int_eq(sha256_hex(BYTES("abc"), hex), 0);
	ck_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223"
			      "b00361a396177a9cb410ff61f20015ad");
}
END_TEST

static void *
hash_often(void *arg)
{
	char hex[SHA256_HEX_SIZE];

	for (int i = 0; i < 1000; i++) {
		ck_assert_int_eq(sha256_hex(BYTES("abc"), hex), 0);
		if (strncmp(hex, "ba7816bf", 8) != 0)
			return NULL;
	}
	return arg;
}

START_TEST(any_thread_may_hash)
{
	pthread_t threads[4];
	void *result;

	for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, hash_often, threads), 0);
	for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
		ck_assert_int_eq(pthread_join(threads[i], &result), 0);
		ck_assert_ptr_nonnull(result);
	}
}
END_TEST

/* The extensions of the published example but for signature algorithms, in
 * its order, with GREASE at both ends. */
static void
add_chrome_extensions(void)
{
	block.len = 0;
	add_extension(&block, 0x1a1a, BYTES(""));
	add_extension(&block, 0x001b, BYTES("\2\0\2"));
	add_name(&block, BYTES("a.test"));
	add_extension(&block, 0x0033, BYTES(""));
	add_extension(&block, 0x0010, BYTES("\0\x0c\2h2\x08http/1.1"));
	add_extension(&block, 0x4469, BYTES("\0\3\2h2"));
	add_extension(&block, 0x0017, BYTES(""));
	add_extension(&block, 0x002d, BYTES("\1\1"));
	add_extension(&block, 0x000d,
	    BYTES("\0\x12\x1a\x1a\4\3\x08\4\4\1\5\3\x08\5\5\1\x08\6\6\1"));
	add_extension(&block, 0x0005, BYTES("\1\0\0\0\0"));
	add_extension(&block, 0x0023, BYTES(""));
	add_extension(&block, 0x0012, BYTES(""));
	add_extension(&block, 0x002b, BYTES("\6\x3a\x3a\3\4\3\3"));
	add_extension(&block, 0xff01, BYTES("\0"));
	add_extension(&block, 0x000b, BYTES("\1\0"));
	add_extension(&block, 0x000a, BYTES("\0\2\0\x1d"));
	add_extension(&block, 0x0015, BYTES("\0\0\0"));
	add_extension(&block, 0xfafa, BYTES("\0"));
}

static struct hello_spec
chrome_spec(void)
{
	struct hello_spec spec;

	add_chrome_extensions();
	spec = hello_spec_of(bytes_span(&block));
	spec.ciphers = BYTES("\x2a\x2a\x13\x01\x13\x02\x13\x03\xc0\x2b\xc0\x2f"
			     "\xc0\x2c\xc0\x30\xcc\xa9\xcc\xa8\xc0\x13\xc0\x14"
			     "\0\x9c\0\x9d\0\x2f\0\x35");
	return spec;
}

START_TEST(the_published_fingerprint_of_chrome)
{
	struct hello_spec spec = chrome_spec();

	ck_assert_str_eq(ja4_of(&spec), "t13d1516h2_8daaf6152771_e5627efa2ab1");
}
END_TEST

START_TEST(the_published_canonical_strings)
{
	static char ciphers[512], extensions[512];
	struct hello_spec spec = chrome_spec();
	struct ja4_parts parts;
	char hex[SHA256_HEX_SIZE];

	ja4_of(&spec);
	text_init(&parts.ciphers, ciphers, sizeof(ciphers));
	text_init(&parts.extensions, extensions, sizeof(extensions));
	ja4_build(&hello, &parts);
	ck_assert_str_eq(parts.prefix, "t13d1516h2");
	ck_assert_str_eq(ciphers,
	    "002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,"
	    "cca8,cca9");
	ck_assert_str_eq(extensions,
	    "0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,"
	    "ff01_0403,0804,0401,0503,0805,0501,0806,0601");
	ck_assert_int_eq(sha256_hex(span_of(extensions, 14 * 5 - 1), hex), 0);
	ck_assert_int_eq(strncmp(hex, "6d807ffa2a79", 12), 0);
}
END_TEST

START_TEST(a_bare_hello)
{
	struct hello_spec spec = hello_spec_of(BYTES(""));

	spec.has_extensions = false;
	spec.ciphers = BYTES("\x0a\x0a");
	ck_assert_str_eq(ja4_of(&spec), "t12i000000_000000000000_000000000000");
	spec.version = 0x0300;
	ck_assert_int_eq(strncmp(ja4_of(&spec), "ts3i", 4), 0);
	spec.version = 0x0302;
	ck_assert_int_eq(strncmp(ja4_of(&spec), "t11i", 4), 0);
	spec.version = 0x0305;
	ck_assert_int_eq(strncmp(ja4_of(&spec), "t00i", 4), 0);
}
END_TEST

START_TEST(only_a_name_and_alpn)
{
	struct hello_spec spec;

	block.len = 0;
	add_name(&block, BYTES("a.test"));
	add_extension(&block, 16, BYTES("\0\x09\x08http/1.1"));
	spec = hello_spec_of(bytes_span(&block));
	ck_assert_int_eq(strncmp(ja4_of(&spec), "t12d0302h1_", 11), 0);
	ck_assert_str_eq(fingerprint + 24, "000000000000");
}
END_TEST

static const struct {
	struct span list;
	const char *expected;
} alpn_cases[] = {
#define CASE(literal, expected)                                      \
	{                                                            \
		{ (const uint8_t *)(literal), sizeof(literal) - 1 }, \
		    (expected)                                       \
	}
	CASE("\0\2\1x", "xx"),
	CASE("\0\3\2hq", "hq"),
	CASE("\0\4\3h2c", "hc"),
	CASE("\0\2\1\xab", "ab"),
	CASE("\0\3\2\xab\xcd", "ad"),
	CASE("\0\3\2\x30\xab", "3b"),
	CASE("\0\5\4\x30\x31\xab\xcd", "3d"),
	CASE("\0\5\4\x30\xab\xcd\x31", "01"),
	CASE("\0\3\2-1", "21"),
#undef CASE
};

START_TEST(alpn_characters)
{
	struct hello_spec spec;

	block.len = 0;
	add_extension(&block, 16, alpn_cases[_i].list);
	spec = hello_spec_of(bytes_span(&block));
	ja4_of(&spec);
	ck_assert_int_eq(
	    strncmp(fingerprint + 8, alpn_cases[_i].expected, 2), 0);
}
END_TEST

START_TEST(long_lists_are_counted_as_99)
{
	static struct bytes ciphers;
	struct hello_spec spec;

	for (size_t count = 99; count <= 100; count++) {
		ciphers.len = 0;
		for (size_t i = 0; i < count; i++)
			add_u16(&ciphers, 0x1301);
		spec = hello_spec_of(BYTES(""));
		spec.ciphers = bytes_span(&ciphers);
		ck_assert_int_eq(strncmp(ja4_of(&spec), "t12i9900", 8), 0);
	}
	ciphers.len = 0;

	block.len = 0;
	for (size_t i = 0; i < 300; i++)
		add_extension(&block, 60000 - i, BYTES(""));
	for (size_t i = 0; i < 30000; i++)
		add_u16(&ciphers, 60000 - i);
	spec = hello_spec_of(bytes_span(&block));
	spec.ciphers = bytes_span(&ciphers);
	ck_assert_int_eq(strncmp(ja4_of(&spec), "t12i9999", 8), 0);
}
END_TEST

/* The largest hellos of one kind of list each: nothing is cut off. */
START_TEST(storage_is_enough_for_any_hello)
{
	static char storage[JA4_STORAGE_SIZE];
	static struct bytes list;
	struct hello_spec spec;
	struct ja4_parts parts;
	size_t size;

	for (size_t count = 100; count <= 32600; count += 3250) {
		list.len = block.len = 0;
		add_u16(&list, 2 * count);
		for (size_t i = 0; i < count; i++)
			add_u16(&list, 0x0403);
		add_extension(&block, 13, bytes_span(&list));
		spec = hello_spec_of(bytes_span(&block));
		ja4_of(&spec);
		size = ja4_ciphers_size(&hello);
		text_init(&parts.ciphers, storage, size);
		text_init(
		    &parts.extensions, storage + size, sizeof(storage) - size);
		ja4_build(&hello, &parts);
		ck_assert(!parts.ciphers.truncated);
		ck_assert(!parts.extensions.truncated);
		ck_assert_uint_eq(parts.extensions.len, 5 * count + 4);
	}
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, sha256_vectors);
	tcase_add_test(tcase, any_thread_may_hash);
	tcase_add_test(tcase, the_published_fingerprint_of_chrome);
	tcase_add_test(tcase, the_published_canonical_strings);
	tcase_add_test(tcase, a_bare_hello);
	tcase_add_test(tcase, only_a_name_and_alpn);
	tcase_add_loop_test(tcase, alpn_characters, 0, ARRAY_COUNT(alpn_cases));
	tcase_add_test(tcase, long_lists_are_counted_as_99);
	tcase_add_test(tcase, storage_is_enough_for_any_hello);
}

UNIT_MAIN("digest", add_tests)
