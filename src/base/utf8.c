#include "base/utf8.h"

size_t
utf8_len(struct span s)
{
	uint8_t first = s.data[0], low = 0x80, high = 0xbf;
	size_t len;

	if (first < 0x80)
		return 1;
	if (first >= 0xc2 && first <= 0xdf)
		len = 2;
	else if (first >= 0xe0 && first <= 0xef)
		len = 3;
	else if (first >= 0xf0 && first <= 0xf4)
		len = 4;
	else
		return 0;
	if (first == 0xe0)
		low = 0xa0;
	else if (first == 0xed)
		high = 0x9f;
	else if (first == 0xf0)
		low = 0x90;
	else if (first == 0xf4)
		high = 0x8f;
	if (s.len < len || s.data[1] < low || s.data[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if ((s.data[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

void
text_add_utf8(struct text *t, struct span s)
{
	while (s.len > 0) {
		size_t len = utf8_len(s);

		if (len > 0)
			text_add_span(t, span_of(s.data, len));
		else
			text_add(t, UTF8_REPLACEMENT);
		len = len > 0 ? len : 1;
		s = span_of(s.data + len, s.len - len);
	}
}
