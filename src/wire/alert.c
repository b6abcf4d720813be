#include "wire/alert.h"

#include <errno.h>

struct alert_entry {
	uint8_t number;
	const char *name;
};

static const struct alert_entry entries[] = {
#define ALERT_ENTRY(id, number, name) { (number), (name) },
	ALERT_TABLE(ALERT_ENTRY)
#undef ALERT_ENTRY
};

const char *const alert_names[] = {
#define ALERT_NAME(id, number, name) (name),
	ALERT_TABLE(ALERT_NAME)
#undef ALERT_NAME
};

size_t
alert_count(void)
{
	return ARRAY_COUNT(entries);
}

const char *
alert_name(uint8_t alert)
{
	for (size_t i = 0; i < ARRAY_COUNT(entries); i++) {
		if (entries[i].number == alert)
			return entries[i].name;
	}
	return NULL;
}

int
alert_parse(struct span name, uint8_t *out)
{
	for (size_t i = 0; i < ARRAY_COUNT(entries); i++) {
		if (span_is(name, entries[i].name)) {
			*out = entries[i].number;
			return 0;
		}
	}
	return -EINVAL;
}

void
alert_record(uint8_t alert, uint8_t out[ALERT_RECORD_BYTES])
{
	/* The version is what every client takes before a version is agreed. */
	static const uint8_t head[] = { 21, 3, 1, 0, 2, 2 };

	memcpy(out, head, sizeof(head));
	out[sizeof(head)] = alert;
}
