/*
 * What the tests of src/config share: configurations as text, snapshots of
 * them, and the exact lines of what is wrong with them.
 */
#ifndef TESTS_CONFIG_FIXTURE_H
#define TESTS_CONFIG_FIXTURE_H

#include "config/snapshot.h"

#define FIXTURE_NAME "t.yaml"

/* A text that is refused, and all that is said about it, joined by newlines. */
struct refusal {
	const char *text, *lines;
};

/* What is said about a text; empty if it is taken. The caller frees it. */
char *fixture_problems(struct span text, struct snapshot **out);

/* As a snapshot; fails the test when it is refused. */
struct snapshot *fixture_snapshot(const char *text);

/* Fails the test unless the text is refused with exactly these lines. */
void fixture_refused(const struct refusal *r);

/* All that the problems say, a line each. The caller frees it. */
char *fixture_lines(const struct problems *p);

#endif
