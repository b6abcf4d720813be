#include "cmd/commands.h"

#include <errno.h>

#include "base/nearest.h"
#include "cmd/usage.h"
#include "tls/version.h"

#define HELP_SIZE 16384

static int (*const runs[COMMAND_COUNT])(const struct flags *) = {
	[COMMAND_TLS] = cmd_tls,
	[COMMAND_EDGE] = cmd_edge,
	[COMMAND_AGENT] = cmd_agent,
	[COMMAND_CHECK] = cmd_check,
	[COMMAND_POLICY_CHECK] = cmd_policy_check,
	[COMMAND_POLICY_TEST] = cmd_policy_test,
	[COMMAND_DIAGNOSE] = cmd_diagnose,
	[COMMAND_VERIFY] = cmd_verify,
	[COMMAND_VERSION] = cmd_version,
};

static int
print_help(void (*write_help)(const struct usage *, struct text *),
    const struct usage *u)
{
	char storage[HELP_SIZE];
	struct text help;

	text_init(&help, storage, sizeof(storage));
	write_help(u, &help);
	ASSERT(!help.truncated);
	return print_text(text_span(&help));
}

static void
write_overview(const struct usage *unused, struct text *out)
{
	(void)unused;
	usage_write_overview(out);
}

static int
run_command(enum command c, int argc, char **argv)
{
	const struct usage *u = usage_of(c);
	char storage[512];
	struct text error;
	struct flags f;

	text_init(&error, storage, sizeof(storage));
	int r = flags_parse(u, argc, argv, &f, &error);

	if (r == -ENOMEM) {
		say_error("out of memory");
		return EXIT_FAILED;
	}
	if (r != 0) {
		say_error("%s", error.data);
		return EXIT_USAGE;
	}
	int code = f.help ? print_help(flags_write_help, u) : runs[c](&f);

	flags_fini(&f);
	return code;
}

/* How many words of argv name the command; 0: not this one. */
static int
match_words(const char *command, int argc, char **argv)
{
	int words = 0;

	for (const char *at = command; *at != '\0'; words++) {
		size_t len = strcspn(at, " ");

		if (words >= argc || strlen(argv[words]) != len ||
		    memcmp(argv[words], at, len) != 0)
			return 0;
		at += len + (at[len] == ' ');
	}
	return words;
}

static bool
asks_for(const char *word, const char *a, const char *b)
{
	return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

/* "policy" alone names two commands and neither. */
static int
unknown_policy_command(int argc, char **argv)
{
	if (argc > 1 && asks_for(argv[1], "--help", "-h"))
		return print_help(write_overview, NULL);
	say_error("lunette policy needs check or test, and files: lunette "
		  "policy check FILE...");
	return EXIT_USAGE;
}

static int
unknown_command(int argc, char **argv)
{
	const char *names[COMMAND_COUNT];
	char storage[256];
	struct text words;

	for (size_t i = 0; i < COMMAND_COUNT; i++)
		names[i] = usage_of(i)->command;
	text_init(&words, storage, sizeof(storage));
	text_add_escaped(&words, span_text(argv[0]), 64);
	if (strcmp(argv[0], "policy") == 0)
		return unknown_policy_command(argc, argv);
	const char *nearest =
	    nearest_word(span_text(argv[0]), names, COMMAND_COUNT);

	if (nearest != NULL)
		say_error("unknown command %s; did you mean %s?", words.data,
		    nearest);
	else
		say_error("unknown command %s; see lunette --help", words.data);
	(void)argc;
	return EXIT_USAGE;
}

int
main(int argc, char **argv)
{
	tls_library_keep();
	if (argc < 2) {
		say_error("which command? see lunette --help");
		return EXIT_USAGE;
	}
	if (asks_for(argv[1], "--help", "-h") || asks_for(argv[1], "help", ""))
		return print_help(write_overview, NULL);
	if (strcmp(argv[1], "--version") == 0)
		argv[1] += 2; /* the same as the command */
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		int words =
		    match_words(usage_of(i)->command, argc - 1, argv + 1);

		if (words > 0)
			return run_command(
			    i, argc - 1 - words, argv + 1 + words);
	}
	return unknown_command(argc - 1, argv + 1);
}
