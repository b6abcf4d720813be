/*
 * How the tables of the schema are written: one line a fact about a key. Inside
 * config/ only, for the files that hold tables.
 */
#ifndef CONFIG_KEYS_H
#define CONFIG_KEYS_H

#include "config/schema.h"

/* Ranges, so that a slip in the unit shows. */
#define SECONDS(n) ((n)*UINT64_C(1000))
#define MINUTES(n) SECONDS(60 * (n))
#define HOURS(n) MINUTES(60 * (n))
#define DAYS(n) HOURS(24 * (n))
#define KIB(n) ((n)*UINT64_C(1024))
#define MIB(n) KIB(1024 * (n))
#define GIB(n) MIB(1024 * (n))

/* Where a value goes, and how it is read. */
#define IN(type, member)                         \
	.offset = offsetof(struct type, member), \
	.size = sizeof(((struct type *)0)->member)
#define RANGE(lo, hi) .min = (lo), .max = (hi)
#define DURATION(lo, hi) \
	.read = read_duration, .type = "duration", RANGE(lo, hi)
#define SIZE(lo, hi) .read = read_size, .type = "size", RANGE(lo, hi)
#define NUMBER(lo, hi) .read = read_number, .type = "number", RANGE(lo, hi)
#define BOOLEAN .read = read_boolean, .type = "boolean"
#define WORD(list) .read = read_word, .type = "word", .words = (list)
#define MAP(of) .read = read_section, .type = "map", .section = &(of)
#define LATER .read = NULL
#define OF_EDGE .files = FILE_EDGE
#define OF_AGENT .files = FILE_AGENT
#define SECTION(of)                                    \
	{                                              \
		.keys = (of), .count = ARRAY_COUNT(of) \
	}

#endif
