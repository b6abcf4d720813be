#include "engine/envelope.h"

#include "base/hash.h"

#define RANDOM_BYTES 13

void
envelope_make_id(const char *prefix, char out[ENVELOPE_ID_SIZE])
{
	uint8_t bytes[RANDOM_BYTES];
	struct text t;

	random_bytes(bytes, sizeof(bytes));
	text_init(&t, out, ENVELOPE_ID_SIZE);
	text_add(&t, prefix);
	for (size_t i = 0; i < sizeof(bytes); i++)
		text_addf(&t, "%02x", bytes[i]);
}

void
envelope_open(struct json *j, const char *id, const char *type, int64_t wall_us)
{
	json_open(j, NULL);
	json_text(j, "event_id", id);
	json_text(j, "event_type", type);
	json_time(j, "event_timestamp", wall_us);
	json_open(j, "object");
}

void
envelope_close(struct json *j)
{
	json_close(j);
	json_close(j);
}
