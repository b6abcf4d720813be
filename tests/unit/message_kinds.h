/*
 * Every kind of message by its functions, for what holds for all of them.
 */
#ifndef TESTS_MESSAGE_KINDS_H
#define TESTS_MESSAGE_KINDS_H

#include "tunnel/message.h"

union any_message {
	struct auth auth;
	struct auth_response auth_response;
	struct srv_info_response srv_info_response;
	struct bind bind;
	struct bind_response bind_response;
	struct unbind unbind;
	struct start_labelled start_labelled;
	struct start_labelled_response start_labelled_response;
	struct error_response error_response;
	struct update update;
	struct stop_tunnel stop_tunnel;
	struct data_connections data_connections;
	struct data_end data_end;
	struct moving moving;
};

struct message_kind {
	const char *name;
	int (*read)(struct span json, union any_message *out, struct text *e);
	int (*write)(const union any_message *m, struct span *out);
	void (*fini)(union any_message *m);
};

#define OWNING_MESSAGES(X)         \
	X(auth)                    \
	X(auth_response)           \
	X(srv_info_response)       \
	X(bind)                    \
	X(bind_response)           \
	X(unbind)                  \
	X(start_labelled)          \
	X(start_labelled_response) \
	X(error_response)          \
	X(update)                  \
	X(stop_tunnel)
#define PLAIN_MESSAGES(X)   \
	X(data_connections) \
	X(data_end)         \
	X(moving)

#define X(kind)                                                               \
	static int read_##kind(                                               \
	    struct span json, union any_message *out, struct text *e)         \
	{                                                                     \
		return kind##_read(json, &out->kind, e);                      \
	}                                                                     \
	static int write_##kind(const union any_message *m, struct span *out) \
	{                                                                     \
		return kind##_write(&m->kind, out);                           \
	}
OWNING_MESSAGES(X)
PLAIN_MESSAGES(X)
#undef X
#define X(kind)                                       \
	static void fini_##kind(union any_message *m) \
	{                                             \
		kind##_fini(&m->kind);                \
	}
OWNING_MESSAGES(X)
#undef X

static void
fini_nothing(union any_message *m)
{
	(void)m;
}

static const struct message_kind message_kinds[] = {
#define X(kind) { #kind, read_##kind, write_##kind, fini_##kind },
	OWNING_MESSAGES(X)
#undef X
#define X(kind) { #kind, read_##kind, write_##kind, fini_nothing },
	    PLAIN_MESSAGES(X)
#undef X
};

#endif
