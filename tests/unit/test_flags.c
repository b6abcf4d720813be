#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "cmd/flags.h"
#include "cmd/usage.h"

static const struct flag table[] = {
	{ .name = "config", .letter = 'c', .value = "FILE", .help = "h" },
	{ .name = "domain",
	    .value = "NAME",
	    .help = "h",
	    .options = FLAG_COMMAS },
	{ .name = "quiet", .help = "h", .options = FLAG_SWITCH },
	{ .name = "crt", .value = "FILE", .refused = "not today" },
};

static const struct usage usage = {
	.command = "try",
	.arguments = "ADDR...",
	.arguments_min = 0,
	.arguments_max = 2,
	.summary = "s",
	.about = "Tries.",
	.flags = table,
	.flag_count = ARRAY_COUNT(table),
	.examples = "  lunette try\n",
};

#define WORDS_MAX 8

/*
 * `shown` is what came out: "flag=value" for each flag, "[argument]" for each
 * argument, in order. `error` is a part of the message; exactly one of the two
 * is set.
 */
static const struct {
	const char *argv[WORDS_MAX];
	const char *shown, *error;
} cases[] = {
	{ { NULL }, "", NULL },
	{ { "--config", "a.yaml" }, "config=a.yaml;", NULL },
	{ { "--config=a.yaml" }, "config=a.yaml;", NULL },
	{ { "--config=" }, "config=;", NULL },
	{ { "--config=a=b" }, "config=a=b;", NULL },
	{ { "--config=--quiet" }, "config=--quiet;", NULL },
	{ { "-c", "a.yaml" }, "config=a.yaml;", NULL },
	{ { "-ca.yaml" }, "config=a.yaml;", NULL },
	{ { "--config", "-" }, "config=-;", NULL },
	{ { "--quiet" }, "quiet=true;", NULL },
	{ { "--quiet=false", "x" }, "quiet=false;[x]", NULL },
	{ { "--quiet", "false" }, "quiet=true;[false]", NULL },
	{ { "443", "--domain", "a", "--domain=b" }, "domain=a;domain=b;[443]",
	    NULL },
	{ { "--", "--config", "-c" }, "[--config][-c]", NULL },
	{ { "-" }, "[-]", NULL },
	{ { "" }, "[]", NULL },
	{ { "--help" }, "help", NULL },
	{ { "-h" }, "help", NULL },
	{ { "--domain", "a", "--help", "--nonsense" }, "help", NULL },
	{ { "--config" }, NULL, "--config needs a value: --config FILE" },
	{ { "--config", "--quiet" }, NULL, "--config needs a value" },
	{ { "-c" }, NULL, "--config needs a value" },
	{ { "--config", "a", "-c", "b" }, NULL,
	    "--config may be given only once" },
	{ { "--confg", "a" }, NULL, "--confg; did you mean --config?" },
	{ { "--zzzzzzzz" }, NULL, "see lunette try --help" },
	{ { "--=x" }, NULL, "unknown flag --" },
	{ { "-x" }, NULL, "unknown flag -x" },
	{ { "--quiet=maybe" }, NULL, "takes true or false, not \"maybe\"" },
	{ { "--crt" }, NULL, "--crt: not today" },
	{ { "--crt", "a.pem" }, NULL, "--crt: not today" },
	{ { "--crt=a.pem" }, NULL, "--crt: not today" },
	{ { "a", "b", "c" }, NULL, "unexpected argument \"c\"" },
	{ { "--bad\n\033[2J" }, NULL, "--bad\\x0a\\x1b[2J" },
};

static void
show(const struct flags *f, struct text *out)
{
	if (f->help) {
		text_add(out, "help");
		return;
	}
	for (size_t i = 0; i < f->given_count; i++) {
		text_addf(out, "%s=", f->given[i].flag->name);
		text_add_span(out, f->given[i].value);
		text_add_char(out, ';');
	}
	for (size_t i = 0; i < f->argument_count; i++)
		text_addf(out, "[%s]", f->arguments[i]);
}

START_TEST(each_form_is_read_or_refused)
{
	char *argv[WORDS_MAX], words[WORDS_MAX][64];
	char storage[512], error_storage[512];
	struct text shown, error;
	struct flags f;
	int argc = 0;

	for (; argc < WORDS_MAX && cases[_i].argv[argc] != NULL; argc++) {
		snprintf(words[argc], 64, "%s", cases[_i].argv[argc]);
		argv[argc] = words[argc];
	}
	text_init(&shown, storage, sizeof(storage));
	text_init(&error, error_storage, sizeof(error_storage));
	int r = flags_parse(&usage, argc, argv, &f, &error);

	if (cases[_i].error != NULL) {
		ck_assert_int_eq(r, -EINVAL);
		ck_assert_msg(strstr(error.data, cases[_i].error) != NULL,
		    "\"%s\" lacks \"%s\"", error.data, cases[_i].error);
		return;
	}
	ck_assert_msg(r == 0, "%s", error.data);
	show(&f, &shown);
	ck_assert_str_eq(shown.data, cases[_i].shown);
	flags_fini(&f);
}
END_TEST

START_TEST(a_missing_argument_is_named)
{
	struct usage strict = usage;
	char storage[256];
	struct text error;
	struct flags f;

	strict.arguments_min = 1;
	text_init(&error, storage, sizeof(storage));
	ck_assert_int_eq(flags_parse(&strict, 0, NULL, &f, &error), -EINVAL);
	ck_assert_str_eq(error.data, "ADDR... is missing: lunette try ADDR...");
}
END_TEST

START_TEST(values_are_found_by_name)
{
	char a[] = "--domain", b[] = "x,, y ,z", c[] = "--domain=w";
	char *argv[] = { a, b, c };
	char storage[256];
	struct text error;
	struct span rest, item;
	struct flags f;

	text_init(&error, storage, sizeof(storage));
	ck_assert_int_eq(flags_parse(&usage, 3, argv, &f, &error), 0);
	ck_assert(span_is(flags_value(&f, "domain", "none"), "w"));
	ck_assert(span_is(flags_value(&f, "config", "none"), "none"));
	ck_assert(flags_has(&f, "domain"));
	ck_assert(!flags_has(&f, "config"));
	rest = f.given[0].value;
	ck_assert(flags_next_item(&rest, &item) && span_is(item, "x"));
	ck_assert(flags_next_item(&rest, &item) && span_is(item, "y"));
	ck_assert(flags_next_item(&rest, &item) && span_is(item, "z"));
	ck_assert(!flags_next_item(&rest, &item));
	flags_fini(&f);
}
END_TEST

/* Every flag that a command takes is in its help, no refused one is; the text
 * fits a terminal. */
START_TEST(help_tells_every_flag)
{
	char storage[16384], word[64];
	const struct usage *u = usage_of((enum command)_i);
	struct text help;

	text_init(&help, storage, sizeof(storage));
	flags_write_help(u, &help);
	ck_assert(!help.truncated);
	for (size_t i = 0; i < u->flag_count; i++) {
		snprintf(word, sizeof(word), "--%s ", u->flags[i].name);
		bool told = strstr(help.data, word) != NULL;

		ck_assert_msg(told == (u->flags[i].refused == NULL), "%s",
		    u->flags[i].name);
	}
	for (const char *at = help.data; *at != '\0';
	     at += strcspn(at, "\n") + 1) {
		const char *word_at = at + strspn(at, " ");

		/* A word that is too long, such as a path, stands alone. */
		ck_assert_msg(
		    strcspn(at, "\n") <= 80 ||
			strcspn(word_at, " \n") == strcspn(word_at, "\n"),
		    "%.90s", at);
	}
	ck_assert(strstr(help.data, "Examples:\n  lunette ") != NULL);
}
END_TEST

START_TEST(overview_tells_every_command)
{
	char storage[4096];
	struct text out;

	text_init(&out, storage, sizeof(storage));
	usage_write_overview(&out);
	ck_assert(!out.truncated);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		ck_assert(strstr(out.data, usage_of(i)->summary) != NULL);
}
END_TEST

static void
read_completion(char *out, size_t size)
{
	const char *source = getenv("SOURCE");
	char path[4096];

	ck_assert_msg(source != NULL, "set SOURCE to the source tree");
	snprintf(path, sizeof(path), "%s/dist/bash-completion/lunette", source);
	FILE *f = fopen(path, "r");

	ck_assert_msg(f != NULL, "%s", path);
	out[fread(out, 1, size - 1, f)] = '\0';
	fclose(f);
}

static size_t
count_word(const char *text, const char *word)
{
	size_t count = 0, len = strlen(word);

	for (const char *at = text; (at = strstr(at, word)) != NULL; at += len)
		count += at[len] == ' ' || at[len] == '\n' || at[len] == '\t';
	return count;
}

/* The part of the completion that lists a command's flags. */
static char *
completion_section(char *completion, const char *command)
{
	char label[64];
	size_t len = strcspn(command, " ");

	snprintf(label, sizeof(label), "%.*s)\n", (int)len, command);
	char *at = strstr(completion, label);

	if (at == NULL) { /* "edge | check)" */
		snprintf(label, sizeof(label), "%.*s |", (int)len, command);
		at = strstr(completion, label);
	}
	if (at == NULL) /* the commands that have no flags share "*)" */
		at = strstr(completion, "*)\n");
	ck_assert(at != NULL);
	at = strdup(at);
	char *end = strstr(at, ";;");

	ck_assert(end != NULL);
	*end = '\0';
	return at;
}

START_TEST(completion_has_the_flags_of_each_command)
{
	const struct usage *u = usage_of((enum command)_i);
	size_t known = 0, dashes = 0;
	char storage[8192], word[64];

	read_completion(storage, sizeof(storage));
	char *section = completion_section(storage, u->command);

	for (size_t i = 0; i < u->flag_count; i++) {
		bool wanted = u->flags[i].refused == NULL;

		snprintf(word, sizeof(word), "--%s", u->flags[i].name);
		ck_assert_msg(count_word(section, word) == wanted, "%s of %s",
		    word, u->command);
		known += wanted;
	}
	for (const char *at = section; (at = strstr(at, "--")); at += 2)
		dashes++;
	ck_assert_uint_eq(dashes, known + 1); /* and --help */
	free(section);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(
	    tcase, each_form_is_read_or_refused, 0, (int)ARRAY_COUNT(cases));
	tcase_add_test(tcase, a_missing_argument_is_named);
	tcase_add_test(tcase, values_are_found_by_name);
	tcase_add_loop_test(tcase, help_tells_every_flag, 0, COMMAND_COUNT);
	tcase_add_test(tcase, overview_tells_every_command);
	tcase_add_loop_test(
	    tcase, completion_has_the_flags_of_each_command, 0, COMMAND_COUNT);
}

UNIT_MAIN_TOGETHER("flags", add_tests)
