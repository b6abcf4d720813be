#include "tunnel/mux.h"

#include <errno.h>
#include <stdlib.h>

#include "base/hash.h"
#include "tunnel/mux_private.h"

/* Streams that were left quietly and wait for the peer's FIN: an SDK sends it
 * when it has read the response. */
#define MAX_ORPHANS 64

/* Ids end some way before the last one, so that streams that were opened but
 * have no id yet get one. */
#define LAST_OWN_ID (FRAME_MAX_STREAM - 4 * MUX_MAX_STREAMS)

struct mux *
mux_new(const struct mux_settings *settings)
{
	struct mux *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->settings = *settings;
	mux_set_limits(m, settings->max_streams, settings->max_unread_bytes);
	list_init(&m->all);
	list_init(&m->news);
	list_init(&m->turns);
	list_init(&m->grants);
	list_init(&m->orphans);
	m->buckets = m->first_buckets;
	m->bucket_bits = (unsigned)__builtin_ctz(MUX_FIRST_BUCKETS);
	m->hash_factor = (uint32_t)random_quick() | 1;
	m->partial = m->small_frame;
	m->next_id = settings->is_agent ? 3 : 2;
	/* Agents begin with 3, others may with 1; there is no 0. */
	m->last_peer_id = settings->is_agent ? 0 : 1;
	m->peer_ids = settings->is_agent ? 1 : 0;
	m->round_trip_ms = UINT64_MAX;
	m->rsts = m->few_rsts;
	m->rst_size = MUX_FEW_RSTS;
	return m;
}

void *
mux_owner(const struct mux *m)
{
	return m->settings.owner;
}

void
mux_set_limits(struct mux *m, unsigned max_streams, size_t max_unread_bytes)
{
	m->settings.max_streams =
	    max_streams > 0 ? max_streams : MUX_MAX_STREAMS;
	m->settings.max_unread_bytes =
	    max_unread_bytes > 0 ? max_unread_bytes : MUX_MAX_UNREAD_BYTES;
}

void
mux_set_round_trip(struct mux *m, uint64_t ms)
{
	m->round_trip_ms = ms;
}

/* --- by id --- */

/* Multiplication by a number that nobody outside knows: ids are the peer's
 * choice, and must not all fall into one bucket. */
static struct mux_stream **
bucket_of(const struct mux *m, uint32_t id)
{
	return &m->buckets[id * m->hash_factor >> (32 - m->bucket_bits)];
}

struct mux_stream *
mux_find(const struct mux *m, uint32_t id)
{
	struct mux_stream *s = *bucket_of(m, id);

	while (s && s->id != id)
		s = s->same_bucket;
	return s;
}

static void
put_in_bucket(struct mux_stream *s)
{
	struct mux_stream **bucket = bucket_of(s->mux, s->id);

	s->same_bucket = *bucket;
	*bucket = s;
}

static void
take_from_bucket(struct mux_stream *s)
{
	struct mux_stream **at = bucket_of(s->mux, s->id);

	while (*at != s)
		at = &(*at)->same_bucket;
	*at = s->same_bucket;
}

/* Without memory the table stays as it is, and is only slower. */
static void
grow_table(struct mux *m)
{
	unsigned bits = m->bucket_bits + 1;
	struct mux_stream **buckets =
	    calloc((size_t)1 << bits, sizeof(*buckets));

	if (!buckets)
		return;
	if (m->buckets != m->first_buckets)
		free(m->buckets);
	m->buckets = buckets;
	m->bucket_bits = bits;
	LIST_FOREACH (node, &m->all) {
		struct mux_stream *s = LIST_ENTRY(node, struct mux_stream, all);

		if (s->id != 0)
			put_in_bucket(s);
	}
}

void
mux_insert(struct mux *m, struct mux_stream *s, uint32_t id)
{
	if (m->open_count > (size_t)1 << m->bucket_bits)
		grow_table(m);
	s->id = id;
	put_in_bucket(s);
}

/* --- streams --- */

struct mux_stream *
mux_stream_new(struct mux *m)
{
	struct mux_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->mux = m;
	list_append(&m->all, &s->all);
	list_init(&s->news);
	list_init(&s->turn);
	list_init(&s->grant);
	s->send_window = s->recv_window = s->window_bytes = MUX_WINDOW_BYTES;
	s->counted = true;
	m->open_count++;
	m->opened_count++;
	return s;
}

/* So that a peer that resets one and opens another at once has its place. */
void
mux_uncount(struct mux_stream *s)
{
	s->mux->open_count -= s->counted;
	s->counted = false;
}

void
mux_stream_free(struct mux_stream *s)
{
	struct mux *m = s->mux;

	mux_drop_unread(s);
	m->enlarged_bytes -= s->window_bytes - MUX_WINDOW_BYTES;
	if (s->id != 0)
		take_from_bucket(s);
	if (m->payload_stream == s)
		m->payload_stream = NULL;
	if (m->current == s)
		m->current = NULL;
	m->orphan_count -= s->orphan;
	mux_uncount(s);
	list_remove(&s->all);
	list_remove(&s->news);
	list_remove(&s->turn);
	list_remove(&s->grant);
	free(s);
}

bool
mux_may_open(const struct mux *m)
{
	return !m->peer_gone && !m->error && m->next_id < LAST_OWN_ID &&
	       m->open_count < m->settings.max_streams;
}

struct mux_stream *
mux_open(struct mux *m, uint32_t type, const struct mux_stream_calls *calls,
    void *owner)
{
	struct mux_stream *s = mux_may_open(m) ? mux_stream_new(m) : NULL;

	if (!s)
		return NULL;
	s->type = type;
	mux_own(s, calls, owner);
	return s;
}

void
mux_own(struct mux_stream *s, const struct mux_stream_calls *calls, void *owner)
{
	s->calls = calls;
	s->owner = owner;
}

const struct mux_stream_calls *
mux_calls(const struct mux_stream *s)
{
	return s->calls;
}

void *
mux_stream_owner(const struct mux_stream *s)
{
	return s->owner;
}

struct mux *
mux_of(const struct mux_stream *s)
{
	return s->mux;
}

uint32_t
mux_stream_id(const struct mux_stream *s)
{
	return s->id;
}

bool
mux_at_end(const struct mux_stream *s)
{
	return s->fin_received && s->unread_bytes == 0;
}

bool
mux_is_finished(const struct mux_stream *s)
{
	return s->fin_sent;
}

size_t
mux_window_bytes(const struct mux_stream *s)
{
	return s->dead || s->fin_sent ? 0 : s->send_window;
}

/* --- ends --- */

void
mux_fail(struct mux *m, int error, const char *fault)
{
	if (m->error)
		return;
	m->error = error;
	m->fault = fault;
	mux_go_away(m,
	    error == -EPROTO ? FRAME_ERROR_PROTOCOL : FRAME_ERROR_LIMIT, fault);
}

const char *
mux_fault(const struct mux *m)
{
	return m->fault;
}

void
mux_mark_dead(struct mux_stream *s, uint32_t error)
{
	s->dead = true;
	s->error = error;
	s->wants = false;
	list_remove(&s->turn);
	if (!s->orphan)
		list_remove(&s->grant);
	if (s->mux->payload_stream == s)
		s->mux->payload_stream = NULL;
	if (s->unread_bytes > 0)
		return;
	if (s->orphan || (s->is_peers && !s->told_open)) {
		mux_stream_free(s);
		return;
	}
	mux_uncount(s);
	mux_add_news(s);
}

/* The peer has heard of it, and not of its end in both directions. */
static bool
needs_rst(const struct mux_stream *s)
{
	return s->id != 0 && !s->dead && !(s->fin_sent && s->fin_received);
}

void
mux_kill(struct mux_stream *s, uint32_t error)
{
	if (needs_rst(s))
		mux_add_rst(s->mux, s->id, error);
	mux_drop_unread(s);
	s->fresh = false;
	mux_mark_dead(s, error);
}

void
mux_reset(struct mux_stream *s, uint32_t error)
{
	if (s->ending)
		return;
	if (needs_rst(s))
		mux_add_rst(s->mux, s->id, error);
	mux_stream_free(s);
}

static void
make_orphan(struct mux_stream *s)
{
	struct mux *m = s->mux;

	mux_drop_unread(s);
	mux_own(s, NULL, NULL);
	list_remove(&s->grant);
	list_remove(&s->news);
	list_append(&m->orphans, &s->grant);
	s->orphan = true;
	if (++m->orphan_count > MAX_ORPHANS)
		mux_reset(LIST_ENTRY(m->orphans.next, struct mux_stream, grant),
		    FRAME_ERROR_CANCEL);
}

void
mux_release(struct mux_stream *s)
{
	if (s->ending)
		return;
	if (s->dead || s->fin_received || !s->fin_sent)
		mux_reset(s, FRAME_ERROR_CANCEL);
	else
		make_orphan(s);
}

void
mux_go_away(struct mux *m, enum frame_error error, const char *text)
{
	m->gone = m->go_away_due = true;
	m->go_away_error = error;
	m->go_away_text = text;
	mux_note_output(m);
}

/* --- telling --- */

void
mux_add_news(struct mux_stream *s)
{
	list_remove(&s->news);
	list_append(&s->mux->news, &s->news);
	mux_note_output(s->mux);
}

/* Whoever may be called within mux_fill is there already. */
void
mux_note_output(struct mux *m)
{
	if (m->output_noted)
		return;
	m->output_noted = true;
	if (m->settings.on_output)
		m->settings.on_output(m);
}

static void
tell_reset(struct mux_stream *s, uint32_t error)
{
	s->ending = true;
	if (s->calls && s->calls->on_reset)
		s->calls->on_reset(s, error);
	mux_stream_free(s);
}

/* False: the stream is gone, or nobody wants it. */
static bool
tell_open(struct mux *m, struct mux_stream *s)
{
	s->told_open = true;
	if (m->settings.on_open)
		m->settings.on_open(m, s);
	if (m->current && !s->calls)
		mux_reset(s, FRAME_ERROR_STREAM_REFUSED);
	return m->current != NULL;
}

/* The owner may end the stream in any of the calls: it is `current` no more
 * then. */
static void
tell(struct mux *m, struct mux_stream *s)
{
	bool is_new = s->is_peers && !s->told_open;

	m->current = s;
	if (is_new && !tell_open(m, s))
		return;
	if (s->fresh && s->calls && s->calls->on_readable) {
		s->fresh = false;
		s->calls->on_readable(s);
	}
	if (m->current && s->dead && s->unread_bytes == 0)
		tell_reset(s, s->error);
	m->current = NULL;
}

static void
tell_gone(struct mux *m)
{
	char *text = m->peer_gone_text;

	m->peer_gone_news = false;
	m->peer_gone_text = NULL;
	if (m->settings.on_go_away)
		m->settings.on_go_away(m, m->peer_gone_error,
		    span_of(text, text ? m->peer_gone_len : 0));
	free(text);
}

void
mux_deliver(struct mux *m)
{
	struct list *node;

	if (m->peer_gone_news)
		tell_gone(m);
	while ((node = list_shift(&m->news)))
		tell(m, LIST_ENTRY(node, struct mux_stream, news));
}

void
mux_free(struct mux *m)
{
	ASSERT(!m->busy);
	m->busy = m->peer_gone = m->output_noted = true;
	while (!list_empty(&m->all)) {
		struct mux_stream *s =
		    LIST_ENTRY(m->all.next, struct mux_stream, all);

		tell_reset(s, s->dead ? s->error : FRAME_ERROR_TRANSPORT);
	}
	if (m->buckets != m->first_buckets)
		free(m->buckets);
	if (m->partial != m->small_frame)
		free(m->partial);
	mux_free_spare(m);
	free(m->peer_gone_text);
	mux_free_rsts(m);
	free(m);
}

struct mux_counters
mux_counters(const struct mux *m)
{
	return (struct mux_counters){
		.opened_count = m->opened_count,
		.peer_count = m->peer_count,
		.refused_count = m->refused_count,
		.limit_reset_count = m->limit_reset_count,
		.open_count = m->open_count,
		.unread_bytes = m->unread_bytes,
	};
}
