/*
 * Command-line flags: a table a command, and one parser for all of them.
 *
 * A `usage` describes one command: what it is for, its arguments, its flags,
 * its examples. The parser, --help and the shell completion all read it, so
 * that none of them can know a flag that the others do not. Parsing only
 * collects; what a flag means is either its path in the configuration tree or
 * the command's own business.
 *
 * Forms: `--flag value`, `--flag=value`, `-c value`, `--switch`,
 * `--switch=false`, `--` ends the flags, a single `-` is an argument.
 */
#ifndef CMD_FLAGS_H
#define CMD_FLAGS_H

#include "base/text.h"

enum flag_option {
	FLAG_REPEAT = 1 << 0, /* may be given more than once */
	FLAG_COMMAS = 1 << 1, /* the value is a list; implies FLAG_REPEAT */
	FLAG_SWITCH = 1 << 2, /* takes no value, but "=true" or "=false" */
};

struct flag {
	const char *name;  /* without the dashes */
	char letter;	   /* of the short form, 0: none */
	const char *value; /* its name in --help; NULL for a switch */
	const char *help;
	/* Where the value goes in the configuration tree; "*" stands for
	 * every endpoint, "+" appends. NULL: the command reads it itself. */
	const char *path;
	/* Not NULL: known, but refused with this text. */
	const char *refused;
	unsigned options;
};

struct usage {
	const char *command;   /* "tls" or "policy test" */
	const char *arguments; /* "ADDR", "FILE..."; "" for none */
	const char *summary;   /* one line, for the list of commands */
	const char *about;     /* the paragraph at the top of --help */
	const struct flag *flags;
	size_t flag_count;
	const char *examples; /* lines, each ended with a newline */
	size_t arguments_min, arguments_max;
};

struct flag_given {
	const struct flag *flag;
	struct span value; /* into argv; "true" or "false" for a switch */
};

struct flags {
	struct flag_given *given; /* in the order on the command line */
	size_t given_count;
	const char **arguments; /* into argv */
	size_t argument_count;
	bool help; /* --help was among them: nothing else counts */
};

/*
 * Reads argv after the command's own words. Returns 0; -EINVAL with one line in
 * `error` that says what was wrong and what is right; -ENOMEM. On 0 the caller
 * ends it with flags_fini.
 */
int flags_parse(const struct usage *u, int argc, char **argv, struct flags *out,
    struct text *error) MUST_CHECK;
void flags_fini(struct flags *f);

/* The last value of a flag, or `fallback` when it was not given. */
struct span flags_value(
    const struct flags *f, const char *name, const char *fallback);
bool flags_has(const struct flags *f, const char *name);

/* The next item of a comma-separated value; false at the end. Blanks around
 * items are dropped, empty items skipped. */
bool flags_next_item(struct span *rest, struct span *item);

/* The text of --help. */
void flags_write_help(const struct usage *u, struct text *out);

#endif
