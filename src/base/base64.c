#include "base/base64.h"

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "abcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base32_digits[] = "abcdefghijklmnopqrstuvwxyz234567";

/* Three bytes, or the last one or two, as four characters. */
static void
write_group(const uint8_t *bytes, size_t len, char out[4])
{
	uint32_t bits = (uint32_t)bytes[0] << 16;

	if (len > 1)
		bits |= (uint32_t)bytes[1] << 8;
	if (len > 2)
		bits |= bytes[2];
	out[0] = base64_digits[bits >> 18];
	out[1] = base64_digits[bits >> 12 & 63];
	out[2] = base64_digits[bits >> 6 & 63];
	out[3] = base64_digits[bits & 63];
	memset(out + 1 + len, '=', 3 - len);
}

void
base64_write(struct span bytes, char *out)
{
	for (size_t at = 0; at < bytes.len; at += 3, out += 4) {
		size_t left = bytes.len - at;

		write_group(bytes.data + at, left < 3 ? left : 3, out);
	}
	*out = '\0';
}

void
base32_write(struct span bytes, char *out)
{
	unsigned bits = 0, count = 0;

	for (size_t i = 0; i < bytes.len; i++) {
		bits = bits << 8 | bytes.data[i];
		for (count += 8; count >= 5; count -= 5)
			*out++ = base32_digits[bits >> (count - 5) & 31];
		bits &= (1u << count) - 1;
	}
	if (count > 0)
		*out++ = base32_digits[bits << (5 - count) & 31];
	*out = '\0';
}

/* Without a table: what is read may be a key, and a table's cache lines would
 * tell of it. -1: no digit. */
static int
digit_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four characters, of which the last `padding` are '='; the bytes. False if
 * they are not digits, or say more than the bytes. */
static bool
read_group(const uint8_t *in, size_t padding, uint8_t *out)
{
	uint32_t bits = 0;

	for (size_t i = 0; i < 4; i++) {
		int value = i < 4 - padding ? digit_value(in[i]) : 0;

		if (value < 0)
			return false;
		bits = bits << 6 | (uint32_t)value;
	}
	if (bits & ((1u << 8 * padding) - 1))
		return false;
	for (size_t i = 0; i < 3 - padding; i++)
		out[i] = (uint8_t)(bits >> (16 - 8 * i));
	return true;
}

bool
base64_read(struct span text, uint8_t *out, size_t *len)
{
	size_t padding = 0;

	*len = 0;
	if (text.len % 4 != 0)
		return false;
	while (padding < 2 && text.len > padding &&
	       text.data[text.len - 1 - padding] == '=')
		padding++;
	for (size_t at = 0; at < text.len; at += 4) {
		size_t here = at + 4 == text.len ? padding : 0;

		if (!read_group(text.data + at, here, out + *len))
			return false;
		*len += 3 - here;
	}
	return true;
}
