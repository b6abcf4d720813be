#include "unit.h"

#include <stdio.h>
#include <unistd.h>

#include "config.h"
#include "sys/geo.h"

#ifdef HAVE_GEO

/*
 * A writer for the smallest databases of MaxMind's format, version 2: a tree
 * of 24-bit records, sixteen zeros, the data, the marker and the description.
 */
#define MAX_NODES 512

struct writer {
	uint8_t data[4096];
	size_t data_len;
	uint32_t nodes[MAX_NODES][2]; /* 0: nothing; DATA + offset; or a node */
	uint32_t node_count;
};

#define DATA 0x800000u

static void
put(struct writer *w, const void *bytes, size_t len)
{
	ck_assert_uint_le(w->data_len + len, sizeof(w->data));
	memcpy(w->data + w->data_len, bytes, len);
	w->data_len += len;
}

static void
put_byte(struct writer *w, unsigned byte)
{
	uint8_t b = (uint8_t)byte;

	put(w, &b, 1);
}

static void
put_map(struct writer *w, unsigned pairs)
{
	put_byte(w, 7u << 5 | pairs);
}

static void
put_list(struct writer *w, unsigned count)
{
	put_byte(w, count);
	put_byte(w, 11 - 7);
}

static void
put_string(struct writer *w, const char *s)
{
	ck_assert_uint_lt(strlen(s), 29);
	put_byte(w, 2u << 5 | (unsigned)strlen(s));
	put(w, s, strlen(s));
}

static void
put_u16(struct writer *w, unsigned n)
{
	put_byte(w, 5u << 5 | 2);
	put_byte(w, n >> 8);
	put_byte(w, n & 0xff);
}

static void
put_u32(struct writer *w, uint32_t n)
{
	put_byte(w, 6u << 5 | 4);
	for (int shift = 24; shift >= 0; shift -= 8)
		put_byte(w, n >> shift & 0xff);
}

static void
put_u64(struct writer *w, uint64_t n)
{
	put_byte(w, 8);
	put_byte(w, 9 - 7);
	for (int shift = 56; shift >= 0; shift -= 8)
		put_byte(w, (unsigned)(n >> shift & 0xff));
}

static void
put_double(struct writer *w, double d)
{
	uint64_t n;

	memcpy(&n, &d, sizeof(n));
	put_byte(w, 3u << 5 | 8);
	for (int shift = 56; shift >= 0; shift -= 8)
		put_byte(w, (unsigned)(n >> shift & 0xff));
}

static void
put_named(struct writer *w, const char *key, const char *name)
{
	put_string(w, key);
	put_map(w, 1);
	put_string(w, "names");
	put_map(w, 1);
	put_string(w, "en");
	put_string(w, name);
}

static void
bits_of(const char *text, uint8_t out[16])
{
	struct addr a;

	ck_assert_int_eq(addr_parse(span_text(text), &a), 0);
	memset(out, 0, 16);
	if (a.family == ADDR_IP4)
		memcpy(out + 12, a.bytes, 4);
	else
		memcpy(out, a.bytes, 16);
}

/* `prefix` counts from the start of the IPv6 address; IPv4 is in ::/96. */
static void
route(struct writer *w, const char *text, unsigned prefix, uint32_t offset)
{
	uint8_t bits[16];
	uint32_t node = 0;

	bits_of(text, bits);
	for (unsigned i = 0; i < prefix; i++) {
		unsigned side = bits[i / 8] >> (7 - i % 8) & 1;

		if (i + 1 == prefix) {
			w->nodes[node][side] = DATA + offset;
			return;
		}
		if (w->nodes[node][side] == 0)
			w->nodes[node][side] = ++w->node_count - 1;
		node = w->nodes[node][side];
		ck_assert_uint_lt(node, MAX_NODES);
	}
}

static void
write_record(FILE *f, const struct writer *w, uint32_t record)
{
	uint32_t n = record;

	if (record == 0)
		n = w->node_count;
	else if (record >= DATA)
		n = w->node_count + 16 + (record - DATA);
	putc((int)(n >> 16 & 0xff), f);
	putc((int)(n >> 8 & 0xff), f);
	putc((int)(n & 0xff), f);
}

static void
put_description(struct writer *w, const struct writer *tree)
{
	put_map(w, 9);
	put_string(w, "node_count");
	put_u32(w, tree->node_count);
	put_string(w, "record_size");
	put_u16(w, 24);
	put_string(w, "ip_version");
	put_u16(w, 6);
	put_string(w, "database_type");
	put_string(w, "Lunette-Test");
	put_string(w, "languages");
	put_list(w, 1);
	put_string(w, "en");
	put_string(w, "binary_format_major_version");
	put_u16(w, 2);
	put_string(w, "binary_format_minor_version");
	put_u16(w, 0);
	put_string(w, "build_epoch");
	put_u64(w, 1700000000);
	put_string(w, "description");
	put_map(w, 1);
	put_string(w, "en");
	put_string(w, "made by a test");
}

static void
write_database(const struct writer *w, const char *path)
{
	static const char marker[] = "\xab\xcd\xefMaxMind.com";
	static const uint8_t zeros[16];
	static struct writer description;
	FILE *f = fopen(path, "wb");

	ck_assert_ptr_nonnull(f);
	for (uint32_t i = 0; i < w->node_count; i++) {
		write_record(f, w, w->nodes[i][0]);
		write_record(f, w, w->nodes[i][1]);
	}
	fwrite(zeros, 1, sizeof(zeros), f);
	fwrite(w->data, 1, w->data_len, f);
	fwrite(marker, 1, sizeof(marker) - 1, f);
	memset(&description, 0, sizeof(description));
	put_description(&description, w);
	fwrite(description.data, 1, description.data_len, f);
	ck_assert_int_eq(fclose(f), 0);
}

static uint32_t
put_place(struct writer *w)
{
	uint32_t at = (uint32_t)w->data_len;

	put_map(w, 6);
	put_string(w, "country");
	put_map(w, 2);
	put_string(w, "iso_code");
	put_string(w, "CH");
	put_string(w, "names");
	put_map(w, 1);
	put_string(w, "en");
	put_string(w, "Switzerland");
	put_string(w, "continent");
	put_map(w, 1);
	put_string(w, "code");
	put_string(w, "EU");
	put_named(w, "city", "Z\xc3\xbcrich");
	put_string(w, "subdivisions");
	put_list(w, 1);
	put_map(w, 1);
	put_string(w, "names");
	put_map(w, 1);
	put_string(w, "en");
	put_string(w, "Zurich");
	put_string(w, "location");
	put_map(w, 3);
	put_string(w, "latitude");
	put_double(w, 47.3667);
	put_string(w, "longitude");
	put_double(w, -8.55);
	put_string(w, "accuracy_radius");
	put_u16(w, 20);
	put_string(w, "is_anonymous");
	put_map(w, 0);
	return at;
}

static uint32_t
put_network(struct writer *w)
{
	uint32_t at = (uint32_t)w->data_len;

	put_map(w, 2);
	put_string(w, "autonomous_system_number");
	put_u32(w, 4200000001u);
	/* Over 28 bytes: a key of the long form. */
	put_byte(w, 2u << 5 | 29);
	put_byte(w, (unsigned)strlen("autonomous_system_organization") - 29);
	put(w, "autonomous_system_organization",
	    strlen("autonomous_system_organization"));
	put_string(w, "Example Networks");
	return at;
}

static char path[] = "/tmp/test_geo.XXXXXX";

static struct geo *
open_example(void)
{
	static struct writer w;
	char message[256];
	struct text error;
	struct geo *g;
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	close(fd);
	w.node_count = 1;
	route(&w, "192.0.2.0", 96 + 24, put_place(&w));
	route(&w, "2001:db8::", 32, put_network(&w));
	write_database(&w, path);
	text_init(&error, message, sizeof(message));
	g = geo_open(path, &error);
	ck_assert_msg(g != NULL, "%s", message);
	unlink(path);
	return g;
}

static bool
look(const struct geo *g, const char *ip, const char *field, char *out,
    size_t size)
{
	struct addr a;

	ck_assert_int_eq(addr_parse(span_text(ip), &a), 0);
	return geo_lookup(g, &a, field, out, size);
}

static void
expect(const struct geo *g, const char *ip, const char *field, const char *want)
{
	char got[64];

	ck_assert_msg(
	    look(g, ip, field, got, sizeof(got)), "no %s of %s", field, ip);
	ck_assert_str_eq(got, want);
}

START_TEST(every_field_is_found)
{
	struct geo *g = open_example();

	expect(g, "192.0.2.7", "country_code", "CH");
	expect(g, "192.0.2.7", "country", "Switzerland");
	expect(g, "192.0.2.7", "continent_code", "EU");
	expect(g, "192.0.2.7", "city", "Z\xc3\xbcrich");
	expect(g, "192.0.2.7", "subdivision", "Zurich");
	expect(g, "192.0.2.7", "latitude", "47.3667");
	expect(g, "192.0.2.7", "longitude", "-8.55");
	expect(g, "192.0.2.7", "radius", "20");
	expect(g, "2001:db8::1", "as.number", "4200000001");
	expect(g, "2001:db8::1", "as.organization", "Example Networks");
	geo_close(g);
}
END_TEST

START_TEST(what_is_not_there_is_false)
{
	struct geo *g = open_example();
	struct addr none = { .family = ADDR_NONE };
	char out[64];

	ck_assert(!look(g, "192.0.3.1", "country_code", out, sizeof(out)));
	ck_assert(!look(g, "192.0.2.1", "as.number", out, sizeof(out)));
	ck_assert(!look(g, "192.0.2.1", "continent", out, sizeof(out)));
	ck_assert(!look(g, "192.0.2.1", "colour", out, sizeof(out)));
	ck_assert(!geo_lookup(g, &none, "country_code", out, sizeof(out)));
	ck_assert(!look(g, "192.0.2.1", "country", out, 5));
	ck_assert(look(g, "192.0.2.1", "country_code", out, 3));
	geo_close(g);
}
END_TEST

START_TEST(a_file_that_is_none_says_so)
{
	char message[256];
	struct text error;

	text_init(&error, message, sizeof(message));
	ck_assert_ptr_null(geo_open("/nonexistent.mmdb", &error));
	ck_assert_ptr_nonnull(strstr(message, "/nonexistent.mmdb: "));
	text_clear(&error);
	ck_assert_ptr_null(geo_open("/dev/null", &error));
	ck_assert_uint_gt(error.len, strlen("/dev/null: "));
	geo_close(NULL);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, every_field_is_found);
	tcase_add_test(tcase, what_is_not_there_is_false);
	tcase_add_test(tcase, a_file_that_is_none_says_so);
}

#else

START_TEST(without_the_library_opening_says_so)
{
	char message[256];
	struct text error;

	text_init(&error, message, sizeof(message));
	ck_assert_ptr_null(geo_open("any.mmdb", &error));
	ck_assert_ptr_nonnull(strstr(message, "without libmaxminddb"));
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, without_the_library_opening_says_so);
}

#endif

UNIT_MAIN("geo", add_tests)
