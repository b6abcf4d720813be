#include "cmd/findings.h"

#include <stdio.h>
#include <stdlib.h>

#define FINDINGS_SIZE 262144
#define LINE_SIZE 8192
#define DATE_LEN 10

static const char *const words[] = {
	[FINDING_OK] = "OK   ",
	[FINDING_WARN] = "WARN ",
	[FINDING_ERROR] = "error",
};

bool
findings_init(struct findings *f)
{
	*f = (struct findings){ .storage = malloc(FINDINGS_SIZE) };
	if (f->storage == NULL)
		return false;
	text_init(&f->all, f->storage, FINDINGS_SIZE);
	return true;
}

void
findings_fini(struct findings *f)
{
	free(f->storage);
}

void
findings_add(struct findings *f, enum finding how, const char *format, ...)
{
	char storage[LINE_SIZE];
	struct text line;
	va_list args;

	text_init(&line, storage, sizeof(storage) - 1);
	text_addf(&line, "%s  ", words[how]);
	va_start(args, format);
	text_vaddf(&line, format, args);
	va_end(args);
	f->counts[how]++;
	/* Each as soon as it is known: the next one may take seconds. What
	 * cannot be written is missed by who has closed the pipe. */
	printf("%s\n", line.data);
	fflush(stdout);
	text_add_span(&f->all, text_span(&line));
	text_add_char(&f->all, '\n');
}

void
add_date(struct text *out, int64_t when)
{
	char storage[64];
	struct text t;

	text_init(&t, storage, sizeof(storage));
	text_add_time(&t, when * 1000000, 3);
	text_add_span(
	    out, span_of(t.data, t.len < DATE_LEN ? t.len : DATE_LEN));
}

void
add_leaf(struct text *out, const struct probe *p)
{
	text_addf(out, "SHA-256 %s, subject %s, issuer %s, valid from ",
	    p->fingerprint, p->subject[0] != '\0' ? p->subject : "(empty)",
	    p->issuer[0] != '\0' ? p->issuer : "(empty)");
	add_date(out, p->not_before);
	text_add(out, " to ");
	add_date(out, p->not_after);
}
