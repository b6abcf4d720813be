#include "engine/renewal.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "engine/expiry.h"
#include "engine/pairs.h"
#include "sys/watch.h"

/* How often ticket keys, times of certificates and what failed are looked at.
 */
#define ROUND_MS 60000

/* What a watched path is a part of. */
enum subject_kind {
	SUBJECT_PAIR,
	SUBJECT_STAPLE,
	SUBJECT_TRUST,
	SUBJECT_FOLDER,
	SUBJECT_TICKETS,
};

struct subject {
	enum subject_kind kind;
	size_t at; /* which of its kind */
};

/* CAs and CRLs that some endpoint trusts. */
struct trusted {
	struct trust *trust; /* counted */
	bool due;
	bool failed;	  /* the last reading did */
	uint64_t told_of; /* a hash of the complaint that was made last */
};

/* One generation and what is watched for it. */
struct estate {
	struct generation *generation; /* counted */
	struct pairs *pairs;
	struct trusted *trusts;
	size_t trust_count;
	bool *folders_due; /* one a certificate folder */
	bool tickets_due;
	struct watch *watch;
	struct subject *subjects; /* by the number of the path */
	size_t subject_count, subject_room;
};

struct renewal {
	struct tickets *tickets;
	struct expiry *expiry;
	struct stapler *stapler;
	pthread_t thread;
	int wake_fd;
	atomic_bool stop;
	pthread_mutex_t lock;
	struct generation *next; /* under the lock: to switch to */

	/* The thread's alone. */
	struct estate *estate;
	uint64_t round_ms; /* when the next one is due */
};

static int64_t
wall_s(void)
{
	return clock_wall_us() / 1000000;
}

static bool
add_subject(struct estate *e, enum subject_kind kind, size_t at)
{
	if (e->subject_count == e->subject_room) {
		size_t room = e->subject_room ? 2 * e->subject_room : 64;
		struct subject *list =
		    realloc(e->subjects, room * sizeof(*list));

		if (!list)
			return false;
		e->subjects = list;
		e->subject_room = room;
	}
	e->subjects[e->subject_count++] =
	    (struct subject){ .kind = kind, .at = at };
	return true;
}

/* `path` NULL: there is nothing to watch. */
static bool
watch_path(
    struct estate *e, const char *path, enum subject_kind kind, size_t at)
{
	if (!path)
		return true;
	if (watch_add(e->watch, path,
		kind == SUBJECT_FOLDER ? WATCH_FOLDER : WATCH_FILE) < 0)
		return false;
	return add_subject(e, kind, at);
}

static bool
watch_pair(struct estate *e, size_t at)
{
	const struct pair *pair = &e->pairs->list[at];

	return watch_path(e, pair->crt, SUBJECT_PAIR, at) &&
	       watch_path(e, pair->key, SUBJECT_PAIR, at) &&
	       watch_path(e, pair->ocsp_file, SUBJECT_STAPLE, at);
}

static bool
watch_trust(struct estate *e, size_t at)
{
	const struct trust *trust = e->trusts[at].trust;
	size_t count = trust_file_count(trust);

	for (size_t i = 0; i < count; i++)
		if (!watch_path(e, trust_file(trust, i), SUBJECT_TRUST, at))
			return false;
	return true;
}

/* All paths of the estate. */
static bool
watch_all(struct estate *e, int64_t since_us)
{
	const struct snapshot *s = e->generation->snapshot;
	struct watch *watch = watch_new(since_us);
	bool ok = true;

	if (!watch)
		return false;
	watch_free(e->watch);
	e->watch = watch;
	e->subject_count = 0;
	for (size_t i = 0; ok && i < e->pairs->count; i++)
		ok = watch_pair(e, i);
	for (size_t i = 0; ok && i < e->trust_count; i++)
		ok = watch_trust(e, i);
	for (size_t i = 0; ok && i < s->certificate_folder_count; i++)
		ok = watch_path(
		    e, s->certificate_folders[i].path, SUBJECT_FOLDER, i);
	return ok && watch_path(e, s->ticket_keys, SUBJECT_TICKETS, 0);
}

static void
add_trust(struct estate *e, struct trust *t)
{
	if (t)
		e->trusts[e->trust_count++].trust = t;
}

static int
compare_trusts(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)((const struct trusted *)a)->trust;
	uintptr_t y = (uintptr_t)((const struct trusted *)b)->trust;

	return (x > y) - (x < y);
}

/* Each of them once; many endpoints may share one. */
static void
unite_trusts(struct estate *e)
{
	size_t kept = 0;

	qsort(e->trusts, e->trust_count, sizeof(*e->trusts), compare_trusts);
	for (size_t i = 0; i < e->trust_count; i++) {
		struct trust *t = e->trusts[i].trust;

		if (kept > 0 && e->trusts[kept - 1].trust == t)
			continue;
		e->trusts[kept++].trust = trust_get(t);
	}
	e->trust_count = kept;
}

static bool
gather_trusts(struct estate *e)
{
	const struct snapshot *s = e->generation->snapshot;

	e->trusts = calloc(2 * s->endpoint_count + 1, sizeof(*e->trusts));
	if (!e->trusts)
		return false;
	for (size_t i = 0; i < s->endpoint_count; i++) {
		add_trust(e, s->endpoints[i]->termination.trust);
		add_trust(e, s->endpoints[i]->upstream_tls.trust);
	}
	unite_trusts(e);
	return true;
}

static void
estate_free(struct estate *e)
{
	if (!e)
		return;
	watch_free(e->watch);
	pairs_free(e->pairs);
	for (size_t i = 0; i < e->trust_count; i++)
		trust_put(e->trusts[i].trust);
	free(e->trusts);
	free(e->folders_due);
	free(e->subjects);
	generation_put(e->generation);
	free(e);
}

/* NULL without memory. */
static struct estate *
estate_new(struct generation *g, struct stapler *stapler)
{
	struct estate *e = calloc(1, sizeof(*e));
	const struct snapshot *s = g->snapshot;

	if (!e)
		return NULL;
	e->generation = generation_get(g);
	e->pairs = pairs_new(s, stapler);
	e->folders_due =
	    calloc(s->certificate_folder_count + 1, sizeof(*e->folders_due));
	/* What the generation before did late may have been about the old ones.
	 */
	e->tickets_due = true;
	if (e->pairs && e->folders_due && gather_trusts(e) &&
	    watch_all(e, s->begun_wall_us))
		return e;
	estate_free(e);
	return NULL;
}

static void
on_changed(void *context, size_t path)
{
	struct estate *e = context;
	struct subject subject = e->subjects[path];

	switch (subject.kind) {
	case SUBJECT_PAIR:
		e->pairs->list[subject.at].due = true;
		break;
	case SUBJECT_STAPLE:
		e->pairs->list[subject.at].staple_due = true;
		break;
	case SUBJECT_TRUST:
		e->trusts[subject.at].due = true;
		break;
	case SUBJECT_FOLDER:
		e->folders_due[subject.at] = true;
		break;
	case SUBJECT_TICKETS:
		e->tickets_due = true;
		break;
	}
}

/* New pairs bring new paths, for which a new watch is made; `since_us` is when
 * the last one looked. */
static void
look_into_folders(struct estate *e, int64_t since_us)
{
	const struct snapshot *s = e->generation->snapshot;
	bool changed = false;

	for (size_t i = 0; i < s->certificate_folder_count; i++) {
		if (!e->folders_due[i])
			continue;
		e->folders_due[i] = false;
		changed |=
		    pairs_look_into(e->pairs, &s->certificate_folders[i]);
	}
	if (changed && !watch_all(e, since_us))
		LOG_ERROR("no memory to watch all files");
}

static void
complain_of_trust(struct trusted *t, const char *error)
{
	uint64_t hash = hash_bytes(span_text(error));

	if (t->told_of == hash)
		return;
	t->told_of = hash;
	LOG_WARN("CAs and CRLs not read again, the old ones stay",
	    LOG_TEXT("error", error));
}

static void
refresh_trust(struct trusted *t)
{
	uint8_t before[TRUST_DIGEST_BYTES], after[TRUST_DIGEST_BYTES];
	char storage[512];
	struct text error;

	text_init(&error, storage, sizeof(storage));
	trust_digest(t->trust, before);
	t->failed = trust_refresh(t->trust, &error) < 0;
	if (t->failed) {
		complain_of_trust(t, error.data);
		return;
	}
	t->told_of = 0;
	trust_digest(t->trust, after);
	if (memcmp(before, after, sizeof(before)) != 0)
		LOG_INFO("CAs and CRLs replaced",
		    LOG_TEXT("path", trust_file(t->trust, 0)),
		    LOG_INT("cas", trust_ca_count(t->trust)),
		    LOG_INT("crls", trust_crl_count(t->trust)));
}

static void
refresh_trusts(struct renewal *r, struct estate *e)
{
	for (size_t i = 0; i < e->trust_count; i++) {
		if (!e->trusts[i].due || atomic_load(&r->stop))
			continue;
		e->trusts[i].due = false;
		refresh_trust(&e->trusts[i]);
	}
}

static void
refresh_tickets(struct renewal *r, struct estate *e)
{
	const char *path = e->generation->snapshot->ticket_keys;
	char storage[512];
	struct text error;

	if (!e->tickets_due)
		return;
	e->tickets_due = false;
	text_init(&error, storage, sizeof(storage));
	if (tickets_use_file(r->tickets, path, &error) < 0)
		LOG_WARN("ticket keys not replaced, the old ones stay",
		    LOG_TEXT("error", error.data));
	else if (path)
		LOG_DEBUG("ticket keys read", LOG_TEXT("path", path));
}

static void
refresh(struct renewal *r, int64_t since_us)
{
	struct estate *e = r->estate;

	look_into_folders(e, since_us);
	pairs_read(e->pairs, &r->stop);
	refresh_trusts(r, e);
	refresh_tickets(r, e);
}

/* What failed may have done so for want of descriptors or memory. */
static void
try_failed(struct estate *e)
{
	pairs_try_failed(e->pairs);
	for (size_t i = 0; i < e->trust_count; i++)
		e->trusts[i].due |= e->trusts[i].failed;
}

static void
do_round(struct renewal *r, uint64_t now_ms)
{
	if (now_ms < r->round_ms)
		return;
	r->round_ms = now_ms + ROUND_MS;
	tickets_rotate(r->tickets, (int64_t)(now_ms / 1000));
	try_failed(r->estate);
	expiry_check(r->expiry, r->estate->pairs, wall_s());
}

static struct generation *
take_next(struct renewal *r)
{
	struct generation *next;

	pthread_mutex_lock(&r->lock);
	next = r->next;
	r->next = NULL;
	pthread_mutex_unlock(&r->lock);
	return next;
}

/* To be tried again, unless there is a newer one by now. */
static void
give_back(struct renewal *r, struct generation *g)
{
	pthread_mutex_lock(&r->lock);
	if (!r->next) {
		r->next = g;
		g = NULL;
	}
	pthread_mutex_unlock(&r->lock);
	if (g)
		generation_put(g);
}

static void
change_estate(struct renewal *r)
{
	struct generation *next = take_next(r);
	struct estate *e;

	if (!next)
		return;
	e = estate_new(next, r->stapler);
	if (!e) {
		give_back(r, next);
		LOG_LIMITED(LOG_LEVEL_ERROR,
		    "no memory to keep the new certificates fresh");
		return;
	}
	generation_put(next);
	estate_free(r->estate);
	r->estate = e;
	r->round_ms = 0;
}

static void
sleep_until_needed(struct renewal *r)
{
	const struct estate *e = r->estate;
	uint64_t now_ms = clock_ms();
	int wait_ms = watch_timeout_ms(e->watch, now_ms);
	int round_ms = r->round_ms > now_ms ? (int)(r->round_ms - now_ms) : 0;
	struct pollfd fds[] = {
		{ .fd = r->wake_fd, .events = POLLIN },
		{ .fd = watch_fd(e->watch), .events = POLLIN },
	};
	uint64_t count;

	if (poll(fds, ARRAY_COUNT(fds),
		wait_ms < round_ms ? wait_ms : round_ms) > 0 &&
	    fds[0].revents != 0 && read(r->wake_fd, &count, sizeof(count)) < 0)
		ASSERT(errno == EAGAIN);
}

static void *
renewal_main(void *arg)
{
	struct renewal *r = arg;

	pthread_setname_np(pthread_self(), "renewal");
	while (!atomic_load(&r->stop)) {
		int64_t since_us = clock_wall_us();

		change_estate(r);
		watch_step(r->estate->watch, clock_ms(), on_changed, r->estate);
		do_round(r, clock_ms());
		refresh(r, since_us);
		sleep_until_needed(r);
	}
	return NULL;
}

static void
wake(struct renewal *r)
{
	uint64_t one = 1;

	if (write(r->wake_fd, &one, sizeof(one)) < 0)
		ASSERT(errno == EAGAIN);
}

static int
compare_pointers(const void *a, const void *b)
{
	uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;

	return (x > y) - (x < y);
}

/* Two labels may share one certificate. */
static size_t
unite_certificates(struct certificate **list, size_t count)
{
	size_t kept = 0;

	qsort(list, count, sizeof(*list), compare_pointers);
	for (size_t i = 0; i < count; i++) {
		if (kept > 0 && list[kept - 1] == list[i])
			certificate_put(list[i]);
		else
			list[kept++] = list[i];
	}
	return kept;
}

/* The certificates that are stapled by asking; with references. */
static struct certificate **
gather_asking(const struct snapshot *s, size_t *count)
{
	struct certificate **list =
	    calloc(s->certificate_count + 1, sizeof(*list));

	*count = 0;
	for (size_t i = 0; list && i < s->certificate_count; i++) {
		const struct certificate_settings *pair = &s->certificates[i];
		struct certificate *c = keyring_at(s->keyring, pair->id);

		if (pair_asks_responder(
			pair->ocsp_fetch, pair->ocsp_off, pair->ocsp_file, c))
			list[(*count)++] = c;
		else
			certificate_put(c);
	}
	if (list)
		*count = unite_certificates(list, *count);
	return list;
}

static int
set_staples(struct renewal *r, const struct snapshot *s)
{
	size_t count;
	struct certificate **list = gather_asking(s, &count);
	int err = list ? stapler_set(r->stapler, list, count) : -ENOMEM;

	for (size_t i = 0; i < count; i++)
		certificate_put(list[i]);
	free(list);
	return err;
}

void
renewal_switch(struct renewal *r, struct generation *g)
{
	struct generation *unseen;

	if (set_staples(r, g->snapshot) < 0)
		LOG_ERROR("no memory to keep certificates stapled");
	pthread_mutex_lock(&r->lock);
	unseen = r->next;
	r->next = generation_get(g);
	pthread_mutex_unlock(&r->lock);
	if (unseen)
		generation_put(unseen);
	wake(r);
}

static void
free_parts(struct renewal *r)
{
	/* Its thread knows certificates only. */
	stapler_free(r->stapler);
	estate_free(r->estate);
	if (r->next)
		generation_put(r->next);
	expiry_free(r->expiry);
	if (r->wake_fd >= 0)
		close(r->wake_fd);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

struct renewal *
renewal_new(
    struct journal *journal, struct tickets *tickets, struct generation *g)
{
	struct renewal *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->tickets = tickets;
	pthread_mutex_init(&r->lock, NULL);
	r->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	r->expiry = expiry_new(journal);
	r->stapler = stapler_new();
	if (r->wake_fd >= 0 && r->expiry && r->stapler)
		r->estate = estate_new(g, r->stapler);
	if (r->estate && set_staples(r, g->snapshot) == 0 &&
	    pthread_create(&r->thread, NULL, renewal_main, r) == 0)
		return r;
	free_parts(r);
	return NULL;
}

void
renewal_free(struct renewal *r)
{
	if (!r)
		return;
	atomic_store(&r->stop, true);
	wake(r);
	pthread_join(r->thread, NULL);
	free_parts(r);
}
