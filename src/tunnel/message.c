#include "tunnel/message.h"

#include <errno.h>
#include <stdlib.h>

#include "tunnel/fields.h"

void
message_wipe(struct span *json)
{
	uint8_t *data = (uint8_t *)(uintptr_t)json->data;

	if (data)
		explicit_bzero(data, json->len);
	free(data);
	*json = span_of(NULL, 0);
}

/* --- what has no fields --- */

static const struct fields no_fields = { NULL, 0 };

int
message_write_empty(struct span *out)
{
	return fields_write(&no_fields, NULL, MESSAGE_MAX_BYTES, out);
}

int
message_read_empty(struct span json, struct text *error)
{
	char nothing;

	return fields_read(
	    &no_fields, json, MESSAGE_MAX_BYTES, &nothing, 0, error);
}

/* --- what only has an error --- */

static const struct field error_response_table[] = {
	TEXT_FIELD("Error", error_response, error, MESSAGE_ERROR_TEXT_MAX),
};
static const struct fields error_response_fields =
    FIELDS_OF(error_response_table);

MESSAGE_FUNCTIONS(error_response)

/* --- commands --- */

static const struct field update_table[] = {
	TEXT_FIELD("Version", update, version, MESSAGE_WORD_MAX),
	BOOL_FIELD("PermitMajorVersion", update, permit_major_version),
};
static const struct fields update_fields = FIELDS_OF(update_table);

MESSAGE_FUNCTIONS(update)

static const struct field stop_tunnel_table[] = {
	TEXT_FIELD("Id", stop_tunnel, id, MESSAGE_ID_MAX),
	TEXT_FIELD("Message", stop_tunnel, message, MESSAGE_ERROR_TEXT_MAX),
	TEXT_FIELD("ErrorCode", stop_tunnel, error_code, MESSAGE_WORD_MAX),
};
static const struct fields stop_tunnel_fields = FIELDS_OF(stop_tunnel_table);

MESSAGE_FUNCTIONS(stop_tunnel)
