#include "base/base64.h"

#include <errno.h>

static const char alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t
base64_encode(struct span bytes, char *out)
{
	char *at = out;

	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t left = bytes.len - i;
		uint32_t group = (uint32_t)bytes.data[i] << 16;

		if (left > 1)
			group |= (uint32_t)bytes.data[i + 1] << 8;
		if (left > 2)
			group |= bytes.data[i + 2];
		*at++ = alphabet[group >> 18];
		*at++ = alphabet[group >> 12 & 63];
		*at++ = left > 1 ? alphabet[group >> 6 & 63] : '=';
		*at++ = left > 2 ? alphabet[group & 63] : '=';
	}
	*at = '\0';
	return (size_t)(at - out);
}

/* -1: not of the alphabet. */
static int
digit(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static size_t
padding_of(struct span text)
{
	if (text.len == 0 || text.data[text.len - 1] != '=')
		return 0;
	return text.data[text.len - 2] == '=' ? 2 : 1;
}

int
base64_decode(struct span text, uint8_t *out, size_t *len)
{
	size_t padding, digits;
	uint32_t bits = 0;

	*len = 0;
	if (text.len % 4 != 0)
		return -EINVAL;
	padding = padding_of(text);
	digits = text.len - padding;
	for (size_t i = 0; i < digits; i++) {
		int value = digit(text.data[i]);

		if (value < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)value;
		if (i % 4 != 0)
			out[(*len)++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
	}
	/* Bits that no byte takes must be zero: one text for one meaning. */
	if (padding > 0 && (bits & (padding == 1 ? 3 : 15)) != 0)
		return -EINVAL;
	return 0;
}
