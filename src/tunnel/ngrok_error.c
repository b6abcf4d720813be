#include "tunnel/ngrok_error.h"

#define SUBJECT_MAX 400
#define PATTERN "ERR_NGROK_"
#define NUMBER_MAX_DIGITS 6

static const struct {
	unsigned number;
	const char *before, *after;
} errors[] = {
#define X(name, number, before, after) { number, before, after },
	NGROK_ERROR_TABLE(X)
#undef X
};

void
ngrok_error_text(struct text *out, enum ngrok_error e, struct span subject)
{
	ASSERT((size_t)e < ARRAY_COUNT(errors));
	text_add(out, errors[e].before);
	if (errors[e].after[0] != '\0')
		text_add_escaped(out, subject, SUBJECT_MAX);
	text_add(out, errors[e].after);
	if (errors[e].number != 0)
		text_addf(out, "\n\n" PATTERN "%u", errors[e].number);
}

unsigned
ngrok_error_number(enum ngrok_error e)
{
	ASSERT((size_t)e < ARRAY_COUNT(errors));
	return errors[e].number;
}

/* Of digits up to the first other byte; 0 if there are none or too many. */
static unsigned
read_digits(struct span text)
{
	unsigned number = 0;

	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			break;
		if (i == NUMBER_MAX_DIGITS)
			return 0;
		number = number * 10 + (text.data[i] - '0');
	}
	return number;
}

unsigned
ngrok_error_find(struct span text)
{
	const uint8_t *at;

	if (text.len == 0)
		return 0;
	at = memmem(text.data, text.len, PATTERN, strlen(PATTERN));
	if (!at)
		return 0;
	at += strlen(PATTERN);
	return read_digits(span_of(at, text.len - (size_t)(at - text.data)));
}
