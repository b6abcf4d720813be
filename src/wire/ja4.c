#include "wire/ja4.h"

#define EXT_SERVER_NAME 0x0000
#define EXT_ALPN 0x0010

/* Values in the order of their numbers. A list holds up to 32,767 of them and
 * comes from strangers: heapsort has no bad input and takes no memory. */
struct values {
	uint16_t at[HELLO_MAX_BYTES / 2];
	size_t count;
};

static void
swap(uint16_t *a, uint16_t *b)
{
	uint16_t kept = *a;

	*a = *b;
	*b = kept;
}

static void
sift_down(uint16_t *heap, size_t root, size_t count)
{
	for (;;) {
		size_t child = 2 * root + 1;

		if (child >= count)
			return;
		if (child + 1 < count && heap[child] < heap[child + 1])
			child++;
		if (heap[root] >= heap[child])
			return;
		swap(&heap[root], &heap[child]);
		root = child;
	}
}

static void
sort(struct values *v)
{
	for (size_t i = v->count / 2; i > 0; i--)
		sift_down(v->at, i - 1, v->count);
	for (size_t end = v->count; end > 1; end--) {
		swap(&v->at[0], &v->at[end - 1]);
		sift_down(v->at, 0, end - 1);
	}
}

/* Adds four hex digits. */
static void
add_hex(struct text *t, uint16_t value)
{
	static const char digits[] = "0123456789abcdef";

	for (int shift = 12; shift >= 0; shift -= 4)
		text_add_char(t, digits[value >> shift & 15]);
}

static void
add_values(struct text *t, const struct values *v)
{
	for (size_t i = 0; i < v->count; i++) {
		if (i > 0)
			text_add_char(t, ',');
		add_hex(t, v->at[i]);
	}
}

static const char *
version_name(uint16_t version)
{
	static const struct {
		uint16_t version;
		const char *name;
	} names[] = { { 0x0304, "13" }, { 0x0303, "12" }, { 0x0302, "11" },
		{ 0x0301, "10" }, { 0x0300, "s3" }, { 0x0002, "s2" },
		{ 0xfeff, "d1" }, { 0xfefd, "d2" }, { 0xfefc, "d3" } };

	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		if (names[i].version == version)
			return names[i].name;
	}
	return "00";
}

/* The highest version offered; without the extension, the hello's own. */
static uint16_t
version_of(const struct hello *h)
{
	struct span rest = h->supported_versions;
	uint16_t value, highest = 0;

	if (rest.len == 0)
		return h->legacy_version;
	while (hello_next_u16(&rest, &value)) {
		if (!hello_is_grease(value) && value > highest)
			highest = value;
	}
	return highest;
}

static bool
is_alphanumeric(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
	       (c >= 'a' && c <= 'z');
}

/*
 * The first and last character of the first name; of its hex form if either is
 * no letter or digit.
 */
static void
add_alpn(struct text *t, const struct hello *h)
{
	static const char digits[] = "0123456789abcdef";
	struct span rest = h->alpn, name;
	uint8_t first, last;

	if (!hello_next_alpn(&rest, &name) || name.len == 0) {
		text_add(t, "00");
		return;
	}
	first = name.data[0];
	last = name.data[name.len - 1];
	if (is_alphanumeric(first) && is_alphanumeric(last)) {
		text_add_char(t, (char)first);
		text_add_char(t, (char)last);
	} else {
		text_add_char(t, digits[first >> 4]);
		text_add_char(t, digits[last & 15]);
	}
}

static void
add_count(struct text *t, size_t count)
{
	if (count > 99)
		count = 99;
	text_add_char(t, (char)('0' + count / 10));
	text_add_char(t, (char)('0' + count % 10));
}

static void
take_values(struct values *v, struct span list)
{
	uint16_t value;

	v->count = 0;
	while (v->count < ARRAY_COUNT(v->at) && hello_next_u16(&list, &value)) {
		if (!hello_is_grease(value))
			v->at[v->count++] = value;
	}
}

/* The types but the two that the first part tells already. Returns the count
 * of all, those two included. */
static size_t
take_extensions(struct values *v, struct span block)
{
	struct span body;
	uint16_t type;
	size_t count = 0;

	v->count = 0;
	while (v->count < ARRAY_COUNT(v->at) &&
	       hello_next_extension(&block, &type, &body)) {
		if (hello_is_grease(type))
			continue;
		count++;
		if (type != EXT_SERVER_NAME && type != EXT_ALPN)
			v->at[v->count++] = type;
	}
	return count;
}

static size_t
add_ciphers(struct text *t, const struct hello *h)
{
	struct values ciphers;

	take_values(&ciphers, h->cipher_suites);
	sort(&ciphers);
	add_values(t, &ciphers);
	return ciphers.count;
}

/* Signature algorithms stay in the client's order. */
static size_t
add_extensions(struct text *t, const struct hello *h)
{
	struct values values;
	size_t count = take_extensions(&values, h->extensions);

	sort(&values);
	add_values(t, &values);
	take_values(&values, h->signature_algorithms);
	if (values.count > 0)
		text_add_char(t, '_');
	add_values(t, &values);
	return count;
}

void
ja4_build(const struct hello *h, struct ja4_parts *out)
{
	struct text prefix;

	text_init(&prefix, out->prefix, sizeof(out->prefix));
	text_add_char(&prefix, 't');
	text_add(&prefix, version_name(version_of(h)));
	text_add_char(&prefix, h->has_server_name ? 'd' : 'i');
	add_count(&prefix, add_ciphers(&out->ciphers, h));
	add_count(&prefix, add_extensions(&out->extensions, h));
	add_alpn(&prefix, h);
}
