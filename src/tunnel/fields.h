/*
 * Messages as tables: one entry a field says its name, its kind, where it is in
 * the struct and its limits. Reading, writing and giving back derive from it,
 * so no field can be read and not freed, or written under another name.
 *
 * Inside tunnel/ only; tunnel/message.h is what others use.
 */
#ifndef TUNNEL_FIELDS_H
#define TUNNEL_FIELDS_H

#include "tunnel/message.h"

enum field_kind {
	FIELD_TEXT,	     /* char *, never NULL once read */
	FIELD_NULLABLE_TEXT, /* char *, NULL: null */
	FIELD_WORD,	     /* char [size], NUL-terminated */
	FIELD_BOOL,
	FIELD_NUMBER,  /* whole, from min to max; uint32_t, int64_t ... */
	FIELD_BYTES,   /* struct message_bytes, in base64 */
	FIELD_TEXTS,   /* struct message_texts */
	FIELD_LABELS,  /* struct message_labels */
	FIELD_OBJECT,  /* of `fields`; at `offset` is a bool, see `told` */
	FIELD_CONTENT, /* bool: there is something in it; not written */
	FIELD_BLANK,   /* written as "", not read */
};

struct field {
	const char *name;
	const char *also; /* another name under which it is read, or NULL */
	enum field_kind kind;
	size_t offset, size; /* of the member */
	uint64_t min, max;   /* a number's range; else bytes, of those in base64
				at   least min if there are any */
	size_t items;	     /* at most, of texts or labels */
	const struct fields *fields;
	size_t base; /* of an object: where the struct of its fields is */
	bool told;   /* an object's bool: it is there. False: no bool */
	bool spare;  /* not written when it is empty; objects as null */
};

struct fields {
	const struct field *items;
	size_t count;
};

/* For the tables. */
#define FIELD_AT(type, member)                   \
	.offset = offsetof(struct type, member), \
	.size = sizeof(((struct type *)0)->member)
#define TEXT_FIELD(n, type, member, limit)                       \
	{                                                        \
		.name = (n), .kind = FIELD_TEXT, .max = (limit), \
		FIELD_AT(type, member)                           \
	}
#define BOOL_FIELD(n, type, member)                                     \
	{                                                               \
		.name = (n), .kind = FIELD_BOOL, FIELD_AT(type, member) \
	}
#define NUMBER_FIELD(n, type, member, lo, hi)                                \
	{                                                                    \
		.name = (n), .kind = FIELD_NUMBER, .min = (lo), .max = (hi), \
		FIELD_AT(type, member)                                       \
	}
/* An object whose members are in the same struct, or in one inside of it. */
#define INNER_FIELDS(n, of)                                        \
	{                                                          \
		.name = (n), .kind = FIELD_OBJECT, .fields = &(of) \
	}
#define NESTED_FIELDS(n, type, member, of)                          \
	{                                                           \
		.name = (n), .kind = FIELD_OBJECT, .fields = &(of), \
		.base = offsetof(struct type, member)               \
	}
#define FIELDS_OF(table)                                      \
	{                                                     \
		.items = (table), .count = ARRAY_COUNT(table) \
	}

/* These do what message.h says of x_read, x_write and x_fini; `size` is that
 * of the struct, `max` that of the JSON. */
int fields_read(const struct fields *fields, struct span json, size_t max,
    void *out, size_t size, struct text *error) MUST_CHECK;
int fields_write(const struct fields *fields, const void *source, size_t max,
    struct span *out) MUST_CHECK;
void fields_fini(const struct fields *fields, void *target, size_t size);

/* x_read, x_write and x_fini of a message whose struct and table have the same
 * name. */
#define MESSAGE_READ(name)                                                  \
	int name##_read(                                                    \
	    struct span json, struct name *out, struct text *error)         \
	{                                                                   \
		return fields_read(&name##_fields, json, MESSAGE_MAX_BYTES, \
		    out, sizeof(*out), error);                              \
	}
#define MESSAGE_WRITE(name)                                           \
	int name##_write(const struct name *source, struct span *out) \
	{                                                             \
		return fields_write(                                  \
		    &name##_fields, source, MESSAGE_MAX_BYTES, out);  \
	}
#define MESSAGE_FINI(name)                                            \
	void name##_fini(struct name *target)                         \
	{                                                             \
		fields_fini(&name##_fields, target, sizeof(*target)); \
	}
#define MESSAGE_FUNCTIONS(name) \
	MESSAGE_READ(name)      \
	MESSAGE_WRITE(name)     \
	MESSAGE_FINI(name)

#endif
