/*
 * An agent's token as flags and the environment give it. No message shows it,
 * and it is wiped where it was found and when it is done with.
 */
#ifndef CMD_AUTHTOKEN_H
#define CMD_AUTHTOKEN_H

#include "cmd/flags.h"
#include "config/snapshot.h"

struct authtoken {
	char *text;	  /* NULL: none was given */
	const char *from; /* for messages */
};

/*
 * Takes it from --authtoken, with a warning, or unless there is
 * --authtoken-file from LUNETTE_AUTHTOKEN, and wipes it there. False without
 * memory. The caller ends it with authtoken_fini.
 */
bool authtoken_take(struct authtoken *t, const struct flags *f) MUST_CHECK;
void authtoken_fini(struct authtoken *t);

/* Puts it into a snapshot of an agent that nobody shares yet, if it was given.
 * False with a problem when it is no token, or when there is none at all. */
bool authtoken_use(const struct authtoken *t, struct snapshot *s,
    struct problems *p) MUST_CHECK;

/* The same with what a file holds, which nobody but its owner may be able to
 * read. */
bool authtoken_use_file(
    const char *path, struct snapshot *s, struct problems *p) MUST_CHECK;

#endif
