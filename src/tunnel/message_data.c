#include <errno.h>

#include "tunnel/fields.h"

/* --- DataConnections --- */

static const struct field data_connections_table[] = {
	NUMBER_FIELD("First", data_connections, first, 1, DATA_COUNTER_MAX),
	NUMBER_FIELD("Count", data_connections, count, 1, DATA_CONNECTIONS_MAX),
	NUMBER_FIELD("Mode", data_connections, mode, 0, 1),
};
static const struct fields data_connections_fields =
    FIELDS_OF(data_connections_table);

int
data_connections_read(
    struct span json, struct data_connections *out, struct text *error)
{
	int result = fields_read(&data_connections_fields, json,
	    MESSAGE_MAX_BYTES, out, sizeof(*out), error);

	if (result < 0 || out->count - 1 <= DATA_COUNTER_MAX - out->first)
		return result;
	text_add(error, "First and Count go beyond the last counter");
	*out = (struct data_connections){ 0 };
	return -EPROTO;
}

MESSAGE_WRITE(data_connections)

/* --- DataEnd --- */

static const struct field data_end_table[] = {
	NUMBER_FIELD("Counter", data_end, counter, 1, DATA_COUNTER_MAX),
	{
	    .name = "Reason",
	    .kind = FIELD_WORD,
	    .max = sizeof(((struct data_end *)0)->reason) - 1,
	    FIELD_AT(data_end, reason),
	},
};
static const struct fields data_end_fields = FIELDS_OF(data_end_table);

MESSAGE_READ(data_end)
MESSAGE_WRITE(data_end)

/* --- Moving --- */

static const struct field moving_table[] = {
	NUMBER_FIELD("Drain", moving, drain_ns, 0, INT64_MAX),
};
static const struct fields moving_fields = FIELDS_OF(moving_table);

MESSAGE_READ(moving)
MESSAGE_WRITE(moving)
