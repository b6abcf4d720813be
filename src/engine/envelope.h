/*
 * The envelope that all events have around their object: id, type and time.
 */
#ifndef ENGINE_ENVELOPE_H
#define ENGINE_ENVELOPE_H

#include "base/json.h"

#define ENVELOPE_ID_SIZE 32

/* An id where there is no worker to count them: `prefix`, then random digits.
 * Any thread. */
void envelope_make_id(const char *prefix, char out[ENVELOPE_ID_SIZE]);

/* Opens the envelope and the object; what follows are the object's members. */
void envelope_open(
    struct json *j, const char *id, const char *type, int64_t wall_us);
void envelope_close(struct json *j);

#endif
