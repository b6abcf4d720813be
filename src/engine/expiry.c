#include "engine/expiry.h"

#include <stdlib.h>

#include "base/clock.h"
#include "config/index.h"
#include "engine/envelope.h"

#define DAY_S 86400
/* Of a certificate with thousands of names the event shows the first ones. */
#define MAX_NAMES 100
#define MAX_PATH_BYTES 4096
#define MAX_LABEL_BYTES 256
/* Six times those, and a hundred names. */
#define EVENT_BYTES 65536
/* Certificates that live for hours only would fill the table in the end. */
#define FORGET_AFTER_S DAY_S

static const int thresholds_days[] = { 0, 1, 3, 7, 14 };

/* A certificate that has been told of. */
struct told {
	char fingerprint[CERTIFICATE_FINGERPRINT_SIZE];
	int days; /* at which threshold */
	int64_t not_after;
	bool seen; /* by the check that is running */
};

struct expiry {
	struct journal *journal;
	struct told **list;
	size_t count, room;
	struct index by_fingerprint;
	char text[EVENT_BYTES];
};

struct expiry *
expiry_new(struct journal *journal)
{
	struct expiry *x = calloc(1, sizeof(*x));

	if (x)
		x->journal = journal;
	return x;
}

void
expiry_free(struct expiry *x)
{
	if (!x)
		return;
	for (size_t i = 0; i < x->count; i++)
		free(x->list[i]);
	free(x->list);
	index_fini(&x->by_fingerprint);
	free(x);
}

/* The nearest threshold that has been passed, or -1. */
static int
threshold_of(int64_t left_s)
{
	if (left_s < 0)
		return 0;
	for (size_t i = 1; i < ARRAY_COUNT(thresholds_days); i++)
		if (left_s <= (int64_t)thresholds_days[i] * DAY_S)
			return thresholds_days[i];
	return -1;
}

static struct told *
find_told(struct expiry *x, const struct certificate *c)
{
	size_t at;

	if (!index_find(
		&x->by_fingerprint, span_text(certificate_fingerprint(c)), &at))
		return NULL;
	return x->list[at];
}

static bool
make_room(struct expiry *x)
{
	size_t room = x->room ? 2 * x->room : 16;
	struct told **list;

	if (x->count < x->room)
		return true;
	list = realloc(x->list, room * sizeof(*list));
	if (!list)
		return false;
	x->list = list;
	x->room = room;
	return true;
}

/* NULL without memory: then it will be told of again, which is the lesser evil.
 */
static struct told *
add_told(struct expiry *x, const struct certificate *c)
{
	struct told *t = make_room(x) ? calloc(1, sizeof(*t)) : NULL;
	size_t known;

	if (!t)
		return NULL;
	memcpy(
	    t->fingerprint, certificate_fingerprint(c), sizeof(t->fingerprint));
	t->not_after = certificate_not_after(c);
	t->days = INT32_MAX;
	if (index_add(&x->by_fingerprint, span_text(t->fingerprint), x->count,
		&known) < 0) {
		free(t);
		return NULL;
	}
	x->list[x->count++] = t;
	return t;
}

static void
write_names(struct json *j, const struct certificate *c)
{
	size_t count = certificate_name_count(c);

	json_open_list(j, "names");
	for (size_t i = 0; i < count && i < MAX_NAMES; i++)
		json_text(j, NULL, certificate_name(c, i));
	json_close_list(j);
}

static void
write_certificate(struct json *j, const struct pair *pair,
    const struct certificate *c, int64_t left_s)
{
	json_open(j, "certificate");
	if (pair->label && strlen(pair->label) <= MAX_LABEL_BYTES)
		json_text(j, "label", pair->label);
	if (strlen(pair->crt) <= MAX_PATH_BYTES)
		json_text(j, "path", pair->crt);
	write_names(j, c);
	json_text(j, "fingerprint_sha256", certificate_fingerprint(c));
	json_time(j, "not_after", certificate_not_after(c) * 1000000);
	json_int(j, "days_left", left_s / DAY_S);
	json_bool(j, "expired", left_s < 0);
	json_close(j);
}

static void
write_event(struct expiry *x, const struct pair *pair,
    const struct certificate *c, int64_t left_s)
{
	char id[ENVELOPE_ID_SIZE];
	struct text out;
	struct json j;

	text_init(&out, x->text, sizeof(x->text));
	json_init(&j, &out);
	envelope_make_id("ev_", id);
	envelope_open(&j, id, EVENT_CERTIFICATE_EXPIRING, clock_wall_us());
	write_certificate(&j, pair, c, left_s);
	envelope_close(&j);
	ASSERT(!out.truncated);
	journal_write(x->journal, EVENT_CERTIFICATE_EXPIRING, text_span(&out));
}

static void
write_log(const struct pair *pair, const struct certificate *c, int64_t left_s)
{
	char until[40];
	struct text t;

	text_init(&t, until, sizeof(until));
	text_add_time(&t, certificate_not_after(c) * 1000000, 3);
	LOG_WARN(
	    left_s < 0 ? "certificate has expired" : "certificate expires soon",
	    LOG_TEXT("label", pair->label), LOG_TEXT("path", pair->crt),
	    LOG_TEXT("name", certificate_name_count(c) > 0
				 ? certificate_name(c, 0)
				 : certificate_subject(c)),
	    LOG_TEXT("fingerprint", certificate_fingerprint(c)),
	    LOG_TEXT("not_after", until), LOG_INT("days_left", left_s / DAY_S));
}

static void
check(struct expiry *x, const struct pair *pair, const struct certificate *c,
    int64_t now_s)
{
	int64_t left_s = certificate_not_after(c) - now_s;
	int days = threshold_of(left_s);
	struct told *t;

	if (days < 0)
		return;
	t = find_told(x, c);
	if (!t)
		t = add_told(x, c);
	if (t) {
		t->seen = true;
		if (t->days <= days)
			return;
		t->days = days;
	}
	write_log(pair, c, left_s);
	write_event(x, pair, c, left_s);
}

static bool
is_over(const struct told *t, int64_t now_s)
{
	return !t->seen && t->not_after + FORGET_AFTER_S < now_s;
}

/* Forgets those that have expired and gone. */
static void
sweep(struct expiry *x, int64_t now_s)
{
	size_t kept = 0, known;

	index_fini(&x->by_fingerprint);
	x->by_fingerprint = (struct index){ 0 };
	for (size_t i = 0; i < x->count; i++) {
		struct told *t = x->list[i];
		struct span key = span_text(t->fingerprint);

		if (is_over(t, now_s) ||
		    index_add(&x->by_fingerprint, key, kept, &known) < 0) {
			free(t);
			continue;
		}
		t->seen = false;
		x->list[kept++] = t;
	}
	x->count = kept;
}

void
expiry_check(struct expiry *x, const struct pairs *pairs, int64_t now_s)
{
	for (size_t i = 0; i < pairs->count; i++) {
		const struct pair *pair = &pairs->list[i];
		struct certificate *c;

		if (pair->id == PAIR_NO_PLACE)
			continue;
		c = keyring_at(pairs->keyring, pair->id);
		check(x, pair, c, now_s);
		certificate_put(c);
	}
	sweep(x, now_s);
}
