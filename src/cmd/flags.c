#include "cmd/flags.h"

#include <errno.h>
#include <stdlib.h>

#include "base/nearest.h"

#define FLAG_NAMES_MAX 64

static const struct flag *
flag_by_name(const struct usage *u, struct span name)
{
	for (size_t i = 0; i < u->flag_count; i++) {
		if (span_is(name, u->flags[i].name))
			return &u->flags[i];
	}
	return NULL;
}

static const struct flag *
flag_by_letter(const struct usage *u, char letter)
{
	for (size_t i = 0; i < u->flag_count; i++) {
		if (u->flags[i].letter == letter)
			return &u->flags[i];
	}
	return NULL;
}

static void
say_unknown(const struct usage *u, struct span name, struct text *error)
{
	const char *names[FLAG_NAMES_MAX];
	size_t count = 0;

	for (size_t i = 0; i < u->flag_count && count < FLAG_NAMES_MAX; i++) {
		if (u->flags[i].refused == NULL)
			names[count++] = u->flags[i].name;
	}
	const char *nearest = nearest_word(name, names, count);

	text_add(error, "unknown flag --");
	text_add_escaped(error, name, 64);
	if (nearest != NULL)
		text_addf(error, "; did you mean --%s?", nearest);
	else
		text_addf(error, "; see lunette %s --help", u->command);
}

static bool
already_given(const struct flags *f, const struct flag *flag)
{
	for (size_t i = 0; i < f->given_count; i++) {
		if (f->given[i].flag == flag)
			return true;
	}
	return false;
}

/* Takes one flag with its value, if the flag allows it. */
static int
take(struct flags *f, const struct flag *flag, struct span value,
    struct text *error)
{
	bool repeat = flag->options & (FLAG_REPEAT | FLAG_COMMAS);

	if (flag->refused != NULL) {
		text_addf(error, "--%s: %s", flag->name, flag->refused);
		return -EINVAL;
	}
	if (!repeat && already_given(f, flag)) {
		text_addf(error, "--%s may be given only once", flag->name);
		return -EINVAL;
	}
	f->given[f->given_count++] = (struct flag_given){ flag, value };
	return 0;
}

static int
take_switch(struct flags *f, const struct flag *flag, const char *value,
    struct text *error)
{
	struct span word = span_text(value == NULL ? "true" : value);

	if (!span_is(word, "true") && !span_is(word, "false")) {
		text_addf(
		    error, "--%s takes true or false, not \"", flag->name);
		text_add_escaped(error, word, 64);
		text_add(error, "\"");
		return -EINVAL;
	}
	return take(f, flag, word, error);
}

/*
 * One flag, `value` being what stood behind "=" or NULL. Moves `*at` on when
 * the value is the next word.
 */
static int
take_word(struct flags *f, const struct flag *flag, const char *value, int argc,
    char **argv, int *at, struct text *error)
{
	if (flag->options & FLAG_SWITCH)
		return take_switch(f, flag, value, error);
	/* A refused flag is told as such, whether or not it has a value. */
	if (value == NULL && flag->refused == NULL) {
		/* "--crt --key": a forgotten value, not a file named "--key";
		 * who means that writes "--crt=--key". */
		if (*at + 1 >= argc || strncmp(argv[*at + 1], "--", 2) == 0) {
			text_addf(error, "--%s needs a value: --%s %s",
			    flag->name, flag->name, flag->value);
			return -EINVAL;
		}
		value = argv[++*at];
	}
	return take(f, flag, span_text(value), error);
}

static int
take_long(struct flags *f, const struct usage *u, int argc, char **argv,
    int *at, struct text *error)
{
	const char *word = argv[*at] + 2;
	const char *equals = strchr(word, '=');
	struct span name = span_of(
	    word, equals == NULL ? strlen(word) : (size_t)(equals - word));
	const struct flag *flag = flag_by_name(u, name);

	if (flag == NULL && span_is(name, "help")) {
		f->help = true;
		return 0;
	}
	if (flag == NULL) {
		say_unknown(u, name, error);
		return -EINVAL;
	}
	return take_word(
	    f, flag, equals == NULL ? NULL : equals + 1, argc, argv, at, error);
}

static int
take_short(struct flags *f, const struct usage *u, int argc, char **argv,
    int *at, struct text *error)
{
	const char *word = argv[*at];
	const struct flag *flag = flag_by_letter(u, word[1]);

	if (strcmp(word, "-h") == 0) {
		f->help = true;
		return 0;
	}
	if (flag == NULL) {
		text_add(error, "unknown flag ");
		text_add_escaped(error, span_text(word), 64);
		text_addf(error, "; see lunette %s --help", u->command);
		return -EINVAL;
	}
	return take_word(
	    f, flag, word[2] == '\0' ? NULL : word + 2, argc, argv, at, error);
}

static int
check_arguments(
    const struct usage *u, const struct flags *f, struct text *error)
{
	if (f->argument_count < u->arguments_min) {
		text_addf(error, "%s is missing: lunette %s %s", u->arguments,
		    u->command, u->arguments);
		return -EINVAL;
	}
	if (f->argument_count > u->arguments_max) {
		text_add(error, "unexpected argument \"");
		text_add_escaped(
		    error, span_text(f->arguments[u->arguments_max]), 64);
		text_addf(error, "\"; see lunette %s --help", u->command);
		return -EINVAL;
	}
	return 0;
}

static int
parse_words(const struct usage *u, int argc, char **argv, struct flags *f,
    struct text *error)
{
	bool flags_ended = false;
	int r = 0;

	for (int i = 0; i < argc && r == 0 && !f->help; i++) {
		const char *word = argv[i];

		if (flags_ended || word[0] != '-' || word[1] == '\0')
			f->arguments[f->argument_count++] = word;
		else if (strcmp(word, "--") == 0)
			flags_ended = true;
		else if (word[1] == '-')
			r = take_long(f, u, argc, argv, &i, error);
		else
			r = take_short(f, u, argc, argv, &i, error);
	}
	return r;
}

int
flags_parse(const struct usage *u, int argc, char **argv, struct flags *out,
    struct text *error)
{
	size_t room = (size_t)argc + 1;

	*out = (struct flags){ 0 };
	out->given = calloc(room, sizeof(*out->given));
	out->arguments = calloc(room, sizeof(*out->arguments));
	int r = -ENOMEM;

	if (out->given == NULL || out->arguments == NULL)
		goto fail;
	r = parse_words(u, argc, argv, out, error);
	if (r == 0 && !out->help)
		r = check_arguments(u, out, error);
	if (r != 0)
		goto fail;
	return 0;
fail:
	flags_fini(out);
	return r;
}

void
flags_fini(struct flags *f)
{
	free(f->given);
	free(f->arguments);
	*f = (struct flags){ 0 };
}

struct span
flags_value(const struct flags *f, const char *name, const char *fallback)
{
	struct span value = span_text(fallback);

	for (size_t i = 0; i < f->given_count; i++) {
		if (strcmp(f->given[i].flag->name, name) == 0)
			value = f->given[i].value;
	}
	return value;
}

bool
flags_has(const struct flags *f, const char *name)
{
	for (size_t i = 0; i < f->given_count; i++) {
		if (strcmp(f->given[i].flag->name, name) == 0)
			return true;
	}
	return false;
}

static struct span
trim(struct span s)
{
	while (s.len > 0 && s.data[0] == ' ')
		s = span_of(s.data + 1, s.len - 1);
	while (s.len > 0 && s.data[s.len - 1] == ' ')
		s.len--;
	return s;
}

bool
flags_next_item(struct span *rest, struct span *item)
{
	while (rest->len > 0) {
		const uint8_t *comma = memchr(rest->data, ',', rest->len);
		size_t len =
		    comma == NULL ? rest->len : (size_t)(comma - rest->data);
		size_t used = comma == NULL ? len : len + 1;

		*item = trim(span_of(rest->data, len));
		*rest = span_of(rest->data + used, rest->len - used);
		if (item->len > 0)
			return true;
	}
	return false;
}

/* Words of `words` in lines of at most 78 columns, behind `indent` blanks; the
 * first line goes on where `out` is, at column `at`. */
static void
add_wrapped(struct text *out, const char *words, int indent, int at)
{
	for (bool first = true; *words != '\0'; first = false) {
		int len = (int)strcspn(words, " ");

		if (!first && at + 1 + len > 78) {
			text_addf(out, "\n%*s", indent, "");
			at = indent;
		} else if (!first) {
			text_add_char(out, ' ');
			at++;
		}
		text_add_span(out, span_of(words, (size_t)len));
		at += len;
		words += len;
		words += *words == ' ';
	}
	text_add_char(out, '\n');
}

#define HELP_COLUMN 30

static void
add_flag_help(struct text *out, const struct flag *flag)
{
	size_t start = out->len;

	if (flag->letter != '\0')
		text_addf(out, "  -%c, --%s", flag->letter, flag->name);
	else
		text_addf(out, "      --%s", flag->name);
	if (flag->value != NULL)
		text_addf(out, " %s", flag->value);
	int at = (int)(out->len - start);

	if (at + 2 > HELP_COLUMN) {
		text_add_char(out, '\n');
		at = 0;
	}
	text_addf(out, "%*s", HELP_COLUMN - at, "");
	add_wrapped(out, flag->help, HELP_COLUMN, HELP_COLUMN);
}

void
flags_write_help(const struct usage *u, struct text *out)
{
	text_addf(out, "Usage: lunette %s%s%s%s\n\n", u->command,
	    u->flag_count > 0 ? " [flags]" : "",
	    u->arguments[0] != '\0' ? " " : "", u->arguments);
	add_wrapped(out, u->about, 0, 0);
	text_add(out, "\nFlags:\n");
	for (size_t i = 0; i < u->flag_count; i++) {
		if (u->flags[i].refused == NULL)
			add_flag_help(out, &u->flags[i]);
	}
	text_addf(out, "  -h, --help%*sthis text\n", HELP_COLUMN - 12, "");
	text_addf(out, "\nExamples:\n%s", u->examples);
}
