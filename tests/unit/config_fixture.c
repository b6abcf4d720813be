#include "config_fixture.h"

#include <stdio.h>

#include "unit.h"

char *
fixture_lines(const struct problems *p)
{
	char *lines = NULL;
	size_t size;
	FILE *out = open_memstream(&lines, &size);

	ck_assert_ptr_nonnull(out);
	for (size_t i = 0; i < problems_count(p); i++)
		fprintf(out, "%s%s", i > 0 ? "\n" : "", problems_get(p, i));
	fclose(out);
	return lines;
}

char *
fixture_problems(struct span text, struct snapshot **out)
{
	struct problems *p = problems_new();
	struct tree *t = tree_parse(FIXTURE_NAME, text, p);
	struct snapshot *s = t != NULL ? snapshot_build(t, NULL, p) : NULL;
	char *lines = fixture_lines(p);

	/* Refused means: there is something to read about it. */
	ck_assert_int_eq(s == NULL, lines[0] != '\0');
	tree_free(t);
	problems_free(p);
	if (out != NULL)
		*out = s;
	else
		snapshot_put(s);
	return lines;
}

struct snapshot *
fixture_snapshot(const char *text)
{
	struct snapshot *s;
	char *lines = fixture_problems(span_text(text), &s);

	ck_assert_msg(s != NULL, "refused: %s\n%s", lines, text);
	free(lines);
	return s;
}

void
fixture_refused(const struct refusal *r)
{
	char *lines = fixture_problems(span_text(r->text), NULL);

	ck_assert_msg(!strcmp(lines, r->lines),
	    "text:\n%s\nsaid:\n%s\nexpected:\n%s", r->text, lines, r->lines);
	free(lines);
}
