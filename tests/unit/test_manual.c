/*
 * The keys in man/lunette.yaml.5 are those of the schema, and its examples are
 * configurations. With --update the page is written anew instead.
 */
#include "unit.h"

#include <stdio.h>

#include "config_fixture.h"

#define PAGE TOP_SRCDIR "/man/lunette.yaml.5"
#define BEGIN ".\\\" begin of the keys\n"
#define END ".\\\" end of the keys\n"
#define PAGE_BYTES 262144

struct page {
	char text[PAGE_BYTES];
	char *keys, *after; /* what stands between the marks, and behind */
};

static bool
read_page(struct page *p)
{
	FILE *in = fopen(PAGE, "r");
	size_t len;

	if (in == NULL)
		return false;
	len = fread(p->text, 1, sizeof(p->text) - 1, in);
	fclose(in);
	p->text[len] = '\0';
	p->keys = strstr(p->text, BEGIN);
	p->after = strstr(p->text, END);
	if (p->keys == NULL || p->after == NULL)
		return false;
	p->keys += strlen(BEGIN);
	return true;
}

static bool
write_keys(char *out, size_t size)
{
	struct text text;

	text_init(&text, out, size);
	schema_write_manual(&text);
	return !text.truncated;
}

START_TEST(the_page_has_the_keys_of_the_schema)
{
	static struct page page;
	static char keys[PAGE_BYTES];

	ck_assert(read_page(&page));
	ck_assert(write_keys(keys, sizeof(keys)));
	*page.after = '\0';
	ck_assert_msg(
	    !strcmp(page.keys, keys), "%s differs: make update-manual", PAGE);
	/* What must be in it, and what is refused and must not. */
	ck_assert_ptr_nonnull(strstr(keys, ".B edge.timeouts.hello\n"));
	ck_assert_ptr_nonnull(strstr(keys, "\n\\ \\ url\nT}\tT{"));
	ck_assert_ptr_nonnull(strstr(keys, ".B endpoints[].mutual_tls.crls\n"));
	ck_assert_ptr_nonnull(strstr(keys, ".B agent.connect_cas\n"));
	ck_assert_ptr_null(strstr(keys, ".B agent.timeouts.hello\n"));
	ck_assert_ptr_null(strstr(keys, "cluster"));
}
END_TEST

/* An example ends with .RE; roff's "\-" is a hyphen. */
static char *
next_example(char **at)
{
	char *start = strstr(*at, ".RS\nversion: 1\n"), *end, *out;

	if (start == NULL)
		return NULL;
	start += strlen(".RS\n");
	end = strstr(start, ".RE\n");
	ck_assert_ptr_nonnull(end);
	*end = '\0';
	*at = end + 1;
	out = start;
	for (char *in = start; *in != '\0'; in++)
		if (in[0] != '\\' || in[1] != '-')
			*out++ = *in;
	*out = '\0';
	return start;
}

START_TEST(the_examples_are_configurations)
{
	static struct page page;
	char *at, *example;
	unsigned count = 0;

	ck_assert(read_page(&page));
	at = page.text;
	while ((example = next_example(&at)) != NULL) {
		char *lines = fixture_problems(span_text(example), NULL);

		/* Scripts and tokens are nowhere on this machine. */
		ck_assert_msg(lines[0] == '\0' ||
				  strstr(lines, "cannot read: /etc/lunette"),
		    "%s\n%s", example, lines);
		ck_assert_ptr_null(strchr(lines, '\n'));
		free(lines);
		count++;
	}
	ck_assert_uint_eq(count, 4);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, the_page_has_the_keys_of_the_schema);
	tcase_add_test(tcase, the_examples_are_configurations);
}

static int
update(void)
{
	static struct page page;
	static char keys[PAGE_BYTES];
	FILE *out;

	if (!read_page(&page) || !write_keys(keys, sizeof(keys)))
		return EXIT_FAILURE;
	out = fopen(PAGE, "w");
	if (out == NULL)
		return EXIT_FAILURE;
	fwrite(page.text, 1, (size_t)(page.keys - page.text), out);
	fputs(keys, out);
	fputs(page.after, out);
	return fclose(out) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int
run_tests(void)
{
	Suite *suite = suite_create("manual");
	TCase *tcase = tcase_create("manual");
	SRunner *runner;
	int failed;

	add_tests(tcase);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int
main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--update"))
		return update();
	return run_tests();
}
