#include "cmd/commands.h"

#include <stdio.h>
#include <stdlib.h>

#include "cmd/scripts.h"

/* What one script's findings or one test script's failures may fill. */
#define FINDINGS_SIZE 262144

static bool
settings_from_flags(const struct flags *f, struct script_settings *out)
{
	char *folders[SCRIPT_FOLDERS_MAX];
	size_t count = 0;

	for (size_t i = 0; i < f->given_count; i++) {
		if (count == SCRIPT_FOLDERS_MAX)
			break;
		/* A value is the end of a word of argv: NUL-terminated. */
		folders[count++] = (char *)(uintptr_t)f->given[i].value.data;
	}
	if (script_settings_init(out, folders, count))
		return true;
	say_error("--path was given too often: at most %d times",
	    SCRIPT_FOLDERS_MAX - 1);
	return false;
}

/* Runs `visit` over all files; EXIT_DONE, or why not. */
static int
with_settings(
    const struct flags *f, int (*visit)(const struct flags *,
			       const struct policy_settings *, struct text *))
{
	struct script_settings settings;
	struct text out;

	if (!settings_from_flags(f, &settings))
		return EXIT_USAGE;
	char *storage = malloc(FINDINGS_SIZE);

	if (storage == NULL) {
		say_error("out of memory");
		return EXIT_FAILED;
	}
	text_init(&out, storage, FINDINGS_SIZE);
	int code = visit(f, &settings.policy, &out);

	free(storage);
	return code;
}

static int
check_files(const struct flags *f, const struct policy_settings *settings,
    struct text *out)
{
	size_t findings = 0;

	for (size_t i = 0; i < f->argument_count; i++) {
		text_clear(out);
		findings += policy_check(settings, f->arguments[i], out);
		fputs(out->data, stderr);
	}
	return findings == 0 ? EXIT_DONE : EXIT_FAILED;
}

static int
test_files(const struct flags *f, const struct policy_settings *settings,
    struct text *out)
{
	struct policy_test_result all = { 0, 0 };
	char line[64];
	struct text total;

	for (size_t i = 0; i < f->argument_count; i++) {
		text_clear(out);
		struct policy_test_result r =
		    policy_test(settings, f->arguments[i], out);

		fputs(out->data, stderr);
		all.passed += r.passed;
		all.failed += r.failed;
	}
	text_init(&total, line, sizeof(line));
	text_addf(&total, "%u passed, %u failed\n", all.passed, all.failed);
	int code = print_text(text_span(&total));

	/* Tests that did not run have not passed. */
	if (all.failed > 0 || all.passed == 0)
		return EXIT_FAILED;
	return code;
}

int
cmd_policy_check(const struct flags *f)
{
	return with_settings(f, check_files);
}

int
cmd_policy_test(const struct flags *f)
{
	return with_settings(f, test_files);
}
