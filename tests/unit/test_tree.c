#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "config/index.h"
#include "config/tree.h"
#include "config_fixture.h"

static struct tree *
parse(const char *text)
{
	struct problems *p = problems_new();
	struct tree *t = tree_parse(FIXTURE_NAME, span_text(text), p);

	ck_assert_uint_eq(problems_count(p), 0);
	ck_assert_ptr_nonnull(t);
	problems_free(p);
	return t;
}

static char *
said_about(struct span text)
{
	struct problems *p = problems_new();
	struct tree *t = tree_parse(FIXTURE_NAME, text, p);
	char *lines = fixture_lines(p);

	ck_assert_int_eq(t == NULL, lines[0] != '\0');
	tree_free(t);
	problems_free(p);
	return lines;
}

static void
check_origin(const struct origin *o, uint32_t line, uint32_t column)
{
	ck_assert_str_eq(o->source, FIXTURE_NAME);
	ck_assert_uint_eq(o->line, line);
	ck_assert_uint_eq(o->column, column);
}

START_TEST(values_know_where_they_were_written)
{
	struct tree *t = parse("# a comment\n"
			       "edge:\n"
			       "  listen: [ \":443\", plain ]\n"
			       "  'quoted key': |\n"
			       "    text\n");
	const struct node *edge = node_get(tree_root(t), "edge"), *list, *text;

	check_origin(&edge->key_origin, 2, 1);
	check_origin(&edge->origin, 3, 3);
	list = node_get(edge, "listen");
	ck_assert_int_eq(list->kind, NODE_LIST);
	ck_assert_uint_eq(list->item_count, 2);
	check_origin(&list->key_origin, 3, 3);
	check_origin(&list->origin, 3, 11);
	check_origin(&list->items[0]->origin, 3, 13);
	ck_assert_str_eq(list->items[0]->text, ":443");
	ck_assert(list->items[0]->quoted);
	check_origin(&list->items[1]->origin, 3, 21);
	ck_assert(!list->items[1]->quoted);
	text = node_get(edge, "quoted key");
	ck_assert_str_eq(text->text, "text\n");
	ck_assert_ptr_null(node_get(edge, "missing"));
	ck_assert_ptr_null(node_get(list, "no map"));
	tree_free(t);
}
END_TEST

START_TEST(columns_count_characters)
{
	struct tree *t = parse("a: [\"\xC3\xA4\xC3\xB6\", b]\n");

	check_origin(&node_get(tree_root(t), "a")->items[1]->origin, 1, 11);
	tree_free(t);
}
END_TEST

static const struct refusal refusals[] = {
	{ "", "t.yaml:1:1: the file is empty" },
	{ "# nothing\n", "t.yaml:1:1: the file is empty" },
	{ "---\n", "t.yaml:1:1: the file is empty" },
	{ "text\n", "t.yaml:1:1: keys and values are expected here, such as "
		    "'version: 1'" },
	{ "\n- a\n", "t.yaml:2:1: keys and values are expected here, such as "
		     "'version: 1'" },
	{ "\xEF\xBB\xBF"
	  "a: 1\n",
	    "t.yaml:1:1: a byte order mark; save the file as UTF-8 without "
	    "it" },
	{ "\xFF\xFE"
	  "a",
	    "t.yaml:1:1: a byte order mark; save the file as UTF-8 without "
	    "it" },
	{ "\xFE\xFF",
	    "t.yaml:1:1: a byte order mark; save the file as UTF-8 without "
	    "it" },
	{ "a:\n  b: 1\n\tc: 2\n",
	    "t.yaml:3:1: a tab as indentation; use spaces" },
	{ "a:\n  \tb: 1\n", "t.yaml:2:3: a tab as indentation; use spaces" },
	{ "a: 1\rb: 2\n", "t.yaml:1:5: a carriage return without a line feed" },
	{ "a: 1\r", "t.yaml:1:5: a carriage return without a line feed" },
	{ "a: \x01\n", "t.yaml:1:4: a control character" },
	{ "a: x\x7f\n", "t.yaml:1:5: a control character" },
	{ "a: \x1b[0m\n", "t.yaml:1:4: a control character" },
	{ "a: 1\nb: \xff\n",
	    "t.yaml:2:4: not valid UTF-8 text: invalid leading UTF-8 octet" },
	{ "a: \"x\\0y\"\n", "t.yaml:1:4: a NUL character in the text" },
	{ "\"x\\0y\": 1\n", "t.yaml:1:1: a NUL character in the text" },
	{ "a: 1\nb: 2\na: 3\n",
	    "t.yaml:3:1: duplicate key 'a' (the first is in line 1)" },
	{ "x:\n- { k: 1, l: 2, k: 3, l: 4 }\n",
	    "t.yaml:2:17: duplicate key 'k' (the first is in line 2)\n"
	    "t.yaml:2:23: duplicate key 'l' (the first is in line 2)" },
	{ "a: &b 1\n", "t.yaml:1:4: anchors ('&b') are not supported" },
	{ "a: &b [1]\n", "t.yaml:1:4: anchors ('&b') are not supported" },
	{ "a: &b {c: 1}\n", "t.yaml:1:4: anchors ('&b') are not supported" },
	{ "a: *b\n", "t.yaml:1:4: references ('*b') are not supported" },
	{ "a: !!str 1\n",
	    "t.yaml:1:4: tags ('tag:yaml.org,2002:str') are not supported" },
	{ "a: !x [1]\n", "t.yaml:1:4: tags ('!x') are not supported" },
	{ "a: 1\n---\nb: 1\n",
	    "t.yaml:2:1: a second document; a file holds one" },
	{ "? [a, b]\n: 1\n", "t.yaml:1:3: a key must be a text" },
	{ "? {a: b}\n: 1\n", "t.yaml:1:3: a key must be a text" },
	{ "\"\": 1\n", "t.yaml:1:1: an empty key" },
	{ "a: {b: 1\nc: 2",
	    "t.yaml:2:2: did not find expected ',' or '}' (while parsing a "
	    "flow mapping)" },
	{ "a: 'x\n",
	    "t.yaml:2:1: found unexpected end of stream (while scanning a "
	    "quoted scalar)" },
	{ "a: @x\n",
	    "t.yaml:1:4: found character that cannot start any token (while "
	    "scanning for the next token)" },
	{ "\"a\\e[0m\": 1\n\"a\\e[0m\": 2\n",
	    "t.yaml:2:1: duplicate key 'a\\x1b[0m' (the first is in line 1)" },
};

START_TEST(what_is_refused_says_where)
{
	const struct refusal *c = &refusals[_i];
	char *lines = said_about(span_text(c->text));

	ck_assert_msg(!strcmp(lines, c->lines), "%s\nexpected: %s\nsaid: %s",
	    c->text, c->lines, lines);
	free(lines);
}
END_TEST

START_TEST(a_nul_byte_is_refused)
{
	char *lines = said_about(span_of("a: 1\nb: \0\n", 10));

	ck_assert_str_eq(
	    lines, "t.yaml:2:4: a NUL byte; the file is not plain text");
	free(lines);
}
END_TEST

START_TEST(windows_line_ends_are_taken)
{
	struct tree *t = parse("a: 1\r\nb: 2\r\n");

	ck_assert_str_eq(node_get(tree_root(t), "b")->text, "2");
	tree_free(t);
}
END_TEST

/* A file cut anywhere is refused or read, never more than that. */
START_TEST(every_truncation_is_judged)
{
	static const char text[] = "version: 1\nedge: {a: [1, \"x\\ny\"], b: "
				   "'it''s'}\nlist:\n  - k: |\n      t\n  - "
				   "&a *b !c\n";

	for (size_t len = 0; len < sizeof(text); len++) {
		/* Its own block, so that ASan sees a read past the end. */
		char *copy = malloc(len ? len : 1), *lines;

		memcpy(copy, text, len);
		lines = said_about(span_of(copy, len));
		free(lines);
		free(copy);
	}
}
END_TEST

static char *
repeated(const char *unit, size_t bytes, size_t *len)
{
	size_t each = strlen(unit);
	char *text = malloc(bytes + each);

	for (*len = 0; *len < bytes; *len += each)
		memcpy(text + *len, unit, each);
	return text;
}

/* CF-01: in a second and under 50 MB; sanitizers cost several times that. */
static void
check_cost(clock_t since)
{
#ifndef SANITIZED
	struct rusage usage;

	ck_assert_int_eq(getrusage(RUSAGE_SELF, &usage), 0);
	ck_assert_int_lt(usage.ru_maxrss, 50 * 1024);
	ck_assert_int_lt(clock() - since, CLOCKS_PER_SEC);
#else
	(void)since;
#endif
}

static const struct refusal floods[] = {
	{ "[", "t.yaml:1:65: nested deeper than 64 levels" },
	{ "{", "t.yaml:1:2: a key must be a text" },
	{ "- ", "t.yaml:1:129: nested deeper than 64 levels" },
	{ "? ", "t.yaml:1:3: a key must be a text" },
	{ "{a: ", "t.yaml:1:257: nested deeper than 64 levels" },
	{ "[a,", "t.yaml:1:193: nested deeper than 64 levels" },
	{ "&a ", "t.yaml:1:4: did not find expected <document start>" },
};

START_TEST(floods_are_refused_quickly)
{
	const struct refusal *c = &floods[_i];
	clock_t since = clock();
	size_t len;
	char *text = repeated(c->text, 4 << 20, &len);
	char *lines = said_about(span_of(text, len));

	ck_assert_msg(strstr(lines, "t.yaml:1:") == lines, "%s", lines);
	if (c->text[0] != '&')
		ck_assert_str_eq(lines, c->lines);
	check_cost(since);
	free(lines);
	free(text);
}
END_TEST

START_TEST(a_million_laughs_are_refused)
{
	static const char text[] =
	    "a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n"
	    "b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
	    "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\n";
	clock_t since = clock();
	char *lines = said_about(span_text(text));

	ck_assert_str_eq(lines,
	    "t.yaml:1:4: anchors ('&a') are not supported\n"
	    "t.yaml:2:4: anchors ('&b') are not supported\n"
	    "t.yaml:2:8: references ('*a') are not supported");
	check_cost(since);
	free(lines);
}
END_TEST

START_TEST(too_many_values_are_refused)
{
	size_t len;
	char *text = repeated("- a\n", 4 * 1000001, &len);
	char *lines = said_about(span_of(text, len));

	ck_assert_str_eq(lines, "t.yaml:1000000:3: more than 1,000,000 values");
	free(lines);
	free(text);
}
END_TEST

START_TEST(a_long_text_is_refused)
{
	size_t len;
	char *text = repeated("xxxxxxxx", 70000, &len), *lines;

	memcpy(text, "key: ", 5);
	lines = said_about(span_of(text, len));
	ck_assert_str_eq(lines, "t.yaml:1:6: a text of more than 64 KiB");
	free(lines);
	free(text);
}
END_TEST

START_TEST(a_text_over_16_mib_is_refused)
{
	size_t len;
	char *text = repeated("# comment\n", (16 << 20) + 1, &len);
	char *lines = said_about(span_of(text, len));

	ck_assert_str_eq(lines, "t.yaml:1:1: the file is larger than 16 MiB");
	free(lines);
	free(text);
}
END_TEST

static char *
said_about_file(const char *path)
{
	struct problems *p = problems_new();
	char *lines;

	ck_assert_ptr_null(tree_read_file(path, p));
	lines = fixture_lines(p);
	problems_free(p);
	return lines;
}

START_TEST(a_file_of_50_mb_is_refused_unread)
{
	char path[] = "/tmp/test_tree.XXXXXX", expected[128], *lines;
	clock_t since = clock();
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, 50 << 20), 0);
	lines = said_about_file(path);
	snprintf(expected, sizeof(expected),
	    "%s:1:1: the file is larger than 16 MiB", path);
	ck_assert_str_eq(lines, expected);
	check_cost(since);
	free(lines);
	close(fd);
	unlink(path);
}
END_TEST

START_TEST(files_that_cannot_be_read_are_named)
{
	char *lines = said_about_file("/nonexistent/x.yaml");

	ck_assert_str_eq(lines,
	    "/nonexistent/x.yaml: cannot read: No such file or directory");
	free(lines);
	lines = said_about_file("/");
	ck_assert_str_eq(lines, "/: cannot read: it is a folder");
	free(lines);
	/* Its first page is never mapped, so that the read itself fails. */
	lines = said_about_file("/proc/self/mem");
	ck_assert_str_eq(
	    lines, "/proc/self/mem: cannot read: Input/output error");
	free(lines);
	lines = said_about_file("/dev/zero");
	ck_assert_str_eq(
	    lines, "/dev/zero:1:1: the file is larger than 16 MiB");
	free(lines);
}
END_TEST

START_TEST(files_are_read_to_their_end)
{
	char path[] = "/tmp/test_tree.XXXXXX";
	struct problems *p = problems_new();
	FILE *out = fdopen(mkstemp(path), "w");
	struct tree *t;

	/* More than the first buffer of 64 KiB. */
	for (int i = 0; i < 20000; i++)
		fprintf(out, "key%d: v\n", i);
	fclose(out);
	t = tree_read_file(path, p);
	ck_assert_ptr_nonnull(t);
	ck_assert_uint_eq(tree_root(t)->item_count, 20000);
	tree_free(t);
	problems_free(p);
	unlink(path);
}
END_TEST

/* Many keys: the check for duplicates must not take the square of them. */
START_TEST(many_keys_are_checked_quickly)
{
	char *text, *lines;
	size_t size;
	clock_t since = clock();
	FILE *out = open_memstream(&text, &size);

	for (int i = 0; i < 100000; i++)
		fprintf(out, "key%d: v\n", i);
	fprintf(out, "key77777: v\n");
	fclose(out);
	lines = said_about(span_of(text, size));
	ck_assert_str_eq(lines,
	    "t.yaml:100001:1: duplicate key 'key77777' (the first is in line "
	    "77778)");
#ifndef SANITIZED
	ck_assert_int_lt(clock() - since, 2 * CLOCKS_PER_SEC);
#else
	(void)since;
#endif
	free(lines);
	free(text);
}
END_TEST

static void
set(struct tree *t, const char *path, const char *value, const char *flag)
{
	ck_assert_int_eq(tree_set(t, path, span_text(value), flag), 0);
}

START_TEST(flags_make_what_is_missing)
{
	struct tree *t = tree_new();
	const struct node *n, *list;

	ck_assert_uint_eq(tree_root(t)->item_count, 0);
	set(t, "endpoints.0.url", "tls://a", "--url");
	set(t, "endpoints.0.allow.+", "10.0.0.0/8", "--cidr-allow");
	set(t, "endpoints.0.allow.+", "11.0.0.0/8", "--cidr-allow");
	set(t, "edge.listen.+.address", ":1", "--listen");
	set(t, "edge.listen.+.address", ":2", "--listen");
	set(t, "endpoints.1.url", "tls://b", "--url");
	list = node_get(tree_root(t), "endpoints");
	ck_assert_int_eq(list->kind, NODE_LIST);
	ck_assert_uint_eq(list->item_count, 2);
	n = node_get(list->items[0], "allow");
	ck_assert_uint_eq(n->item_count, 2);
	ck_assert_str_eq(n->items[1]->text, "11.0.0.0/8");
	ck_assert_str_eq(n->items[1]->origin.source, "--cidr-allow");
	ck_assert_uint_eq(n->items[1]->origin.line, 0);
	list = node_get(node_get(tree_root(t), "edge"), "listen");
	ck_assert_uint_eq(list->item_count, 2);
	ck_assert_str_eq(node_get(list->items[1], "address")->text, ":2");
	tree_free(t);
}
END_TEST

START_TEST(flags_beat_the_file)
{
	struct tree *t = parse("a: {b: [1, 2], c: old}\n");
	const struct node *a = node_get(tree_root(t), "a");

	set(t, "a.c", "new", "--c");
	ck_assert_str_eq(node_get(a, "c")->text, "new");
	ck_assert_str_eq(node_get(a, "c")->origin.source, "--c");
	set(t, "a.b", "scalar", "--b");
	ck_assert_int_eq(node_get(a, "b")->kind, NODE_SCALAR);
	set(t, "a.b.x", "in a map", "--b");
	ck_assert_str_eq(node_get(node_get(a, "b"), "x")->text, "in a map");
	set(t, "a.b.0", "in a list", "--b");
	ck_assert_str_eq(node_get(a, "b")->items[0]->text, "in a list");
	ck_assert_int_eq(tree_set(t, "e", span_of(NULL, 0), "--e"), 0);
	ck_assert_str_eq(node_get(tree_root(t), "e")->text, "");
	tree_free(t);
}
END_TEST

START_TEST(problems_are_kept_to_a_limit)
{
	struct problems *p = problems_new();
	struct origin where = { "f", 1, 2 };
	char long_text[3000], line[64];

	for (int i = 0; i < PROBLEMS_KEPT + 7; i++)
		problems_add(p, &where, "number %d", i);
	ck_assert_uint_eq(problems_count(p), PROBLEMS_KEPT + 1);
	ck_assert_str_eq(problems_get(p, 0), "f:1:2: number 0");
	snprintf(line, sizeof(line), "f:1:2: number %d", PROBLEMS_KEPT - 1);
	ck_assert_str_eq(problems_get(p, PROBLEMS_KEPT - 1), line);
	ck_assert_str_eq(problems_get(p, PROBLEMS_KEPT), "and 7 more problems");
	problems_add_no_memory(p);
	ck_assert_str_eq(problems_get(p, PROBLEMS_KEPT + 1), "out of memory");
	problems_free(p);

	p = problems_new();
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	problems_add(p, &where, "%s", long_text);
	ck_assert_uint_eq(strlen(problems_get(p, 0)), 1023);
	ck_assert_str_eq(problems_get(p, 0) + 1020, "...");
	where.source = long_text;
	problems_add(p, &where, "text");
	ck_assert_uint_eq(strlen(problems_get(p, 1)), 1023);
	problems_free(p);
}
END_TEST

START_TEST(no_list_of_problems_is_a_problem)
{
	struct origin where = { "f", 0, 0 };

	problems_add(NULL, &where, "lost");
	problems_add_no_memory(NULL);
	ck_assert_uint_eq(problems_count(NULL), 1);
	ck_assert_str_eq(problems_get(NULL, 0), "out of memory");
	problems_free(NULL);
	tree_free(NULL);
}
END_TEST

START_TEST(an_index_finds_what_it_has)
{
	struct index x = { 0 };
	char names[1000][8];
	size_t known = 0;

	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		snprintf(names[i], sizeof(names[i]), "n%zu", i);
		ck_assert_int_eq(
		    index_add(&x, span_text(names[i]), i, &known), 0);
	}
	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		ck_assert_int_eq(
		    index_add(&x, span_text(names[i]), 9999, &known), -EEXIST);
		ck_assert_uint_eq(known, i);
	}
	ck_assert_uint_eq(x.count, ARRAY_COUNT(names));
	index_fini(&x);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, values_know_where_they_were_written);
	tcase_add_test(tcase, columns_count_characters);
	tcase_add_loop_test(
	    tcase, what_is_refused_says_where, 0, ARRAY_COUNT(refusals));
	tcase_add_test(tcase, a_nul_byte_is_refused);
	tcase_add_test(tcase, windows_line_ends_are_taken);
	tcase_add_test(tcase, every_truncation_is_judged);
	tcase_add_loop_test(
	    tcase, floods_are_refused_quickly, 0, ARRAY_COUNT(floods));
	tcase_add_test(tcase, a_million_laughs_are_refused);
	tcase_add_test(tcase, too_many_values_are_refused);
	tcase_add_test(tcase, a_long_text_is_refused);
	tcase_add_test(tcase, a_text_over_16_mib_is_refused);
	tcase_add_test(tcase, a_file_of_50_mb_is_refused_unread);
	tcase_add_test(tcase, files_that_cannot_be_read_are_named);
	tcase_add_test(tcase, files_are_read_to_their_end);
	tcase_add_test(tcase, many_keys_are_checked_quickly);
	tcase_add_test(tcase, flags_make_what_is_missing);
	tcase_add_test(tcase, flags_beat_the_file);
	tcase_add_test(tcase, problems_are_kept_to_a_limit);
	tcase_add_test(tcase, no_list_of_problems_is_a_problem);
	tcase_add_test(tcase, an_index_finds_what_it_has);
}

UNIT_MAIN("tree", add_tests)
