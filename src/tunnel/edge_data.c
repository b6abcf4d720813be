#include "tunnel/edge_data.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "sys/socket.h"
#include "tunnel/edge_calls.h"
#include "tunnel/edge_knock.h"
#include "tunnel/edge_private.h"
#include "tunnel/edge_session.h"

/* Of the last counters it is known which are good: twice as many as may be. */
#define RING (2 * EDGE_DATA_MAX)

/* Calls are counted with this half-life or so; what comes more seldom than
 * about twice in it makes no stock. */
#define RATE_SECONDS 10.0
#define RATE_MIN 0.1

/* Until it is measured. */
#define FIRST_TRIP_MS 50

#define MODES 2

enum counter_state { COUNTER_USED, COUNTER_ASKED };

struct counter {
	uint64_t asked_ms;
	uint8_t state, mode;
};

struct parked {
	struct tunnel_corpse corpse;
	struct list node;
	struct watch watch;
	struct timeout timeout;
	struct edge_data *data;
	int fd;
	struct tls_stream *tls; /* NULL: mode 0 */
	uint8_t preface[DATA_PREFACE_BYTES];
};

/* A call that waits for a connection. */
struct waiting {
	struct list node;
	struct timeout timeout;
	struct edge_data *data;
	struct uplink_call *call;
	enum data_mode mode;
};

struct mode_state {
	struct list parked, waiting;
	unsigned parked_count, waiting_count, asked_count;
	double rate;	   /* of calls: decays, see RATE_SECONDS */
	uint64_t rated_ms; /* when that was so */
	uint64_t trip_ms;  /* from asking to having, as it was lately */
	unsigned asks;	   /* in a row, without a good connection */
	uint64_t asked_ms; /* the first of those */
	uint64_t rest_until_ms;
};

struct edge_data {
	struct edge_session *session; /* owns this */
	struct data_keys keys;
	uint64_t oldest, next; /* counters that the ring tells of */
	struct counter *ring;  /* NULL: nothing was asked for so far */
	struct mode_state modes[MODES];
	uint64_t reply_ms;   /* that the agent took for its last answer */
	struct timeout plan; /* asks once for all calls of a turn */
};

static struct timeouts *
timeouts_of(const struct edge_data *d)
{
	return &d->session->tw->worker->timeouts;
}

/* --- counters --- */

static struct counter *
counter_at(struct edge_data *d, uint64_t counter)
{
	return &d->ring[counter % RING];
}

static void
use_up(struct edge_data *d, struct counter *c)
{
	ASSERT(c->state == COUNTER_ASKED);
	c->state = COUNTER_USED;
	d->modes[c->mode].asked_count--;
}

/* Forgets the oldest, used or too late, as far as there are such. */
static void
expire(struct edge_data *d, uint64_t now_ms)
{
	while (d->oldest < d->next) {
		struct counter *c = counter_at(d, d->oldest);

		if (c->state == COUNTER_ASKED) {
			if (now_ms < c->asked_ms + EDGE_DATA_COUNTER_MS)
				return;
			use_up(d, c);
		}
		d->oldest++;
	}
}

/* The one that was asked for in this mode and not used; NULL: none. */
static struct counter *
find_asked(struct edge_data *d, uint64_t counter, enum data_mode mode)
{
	struct counter *c;

	expire(d, clock_ms());
	if (counter < d->oldest || counter >= d->next)
		return NULL;
	c = counter_at(d, counter);
	return c->state == COUNTER_ASKED && c->mode == mode ? c : NULL;
}

/* --- handing over --- */

static void
bury(struct parked *p)
{
	struct edge_data *d = p->data;
	struct worker *w = d->session->tw->worker;

	loop_remove(&w->loop, &p->watch);
	timeouts_clear(timeouts_of(d), &p->timeout);
	list_remove(&p->node);
	d->modes[p->tls ? DATA_TLS : DATA_RAW].parked_count--;
	p->corpse.memory = p;
	tunnel_worker_bury(d->session->tw, &p->corpse);
}

/* Its place in the limit of connections goes with the descriptor. */
static void
close_connection(struct edge_session *es, int fd, struct tls_stream *tls)
{
	tls_free(tls);
	close(fd);
	edge_release(es->tw->worker->edge);
}

static void
close_parked(struct parked *p)
{
	int fd = p->fd;
	struct tls_stream *tls = p->tls;
	struct edge_session *es = p->data->session;

	bury(p);
	close_connection(es, fd, tls);
}

static int
seal(struct edge_data *d, const uint8_t preface[DATA_PREFACE_BYTES],
    struct uplink_call *call)
{
	int error = data_keys_seal_open(&d->keys, preface,
	    span_of(call->header, call->header_len), call->open,
	    &call->open_len);

	if (error < 0)
		return error;
	call->keys = d->keys;
	memcpy(call->binding.preface, preface, DATA_PREFACE_BYTES);
	memcpy(call->binding.salt, call->open + 4, DATA_SALT_BYTES);
	return 0;
}

/* Takes the connection; without memory it is closed, and the call goes another
 * way. */
static void
hand_over(struct edge_data *d, int fd, struct tls_stream *tls,
    const uint8_t preface[DATA_PREFACE_BYTES], struct uplink_call *call)
{
	struct edge_session *es = d->session;

	if (seal(d, preface, call) < 0) {
		close_connection(es, fd, tls);
		edge_call_stream(call);
		return;
	}
	if (tls)
		tls_move(tls, NULL);
	call->fd = fd;
	call->tls = tls;
	call->way = tls ? UPLINK_TLS : UPLINK_RAW;
	EDGE_COUNT(es->tunnel, data_connections);
	/* From here on it is part of the client's connection. */
	edge_release(es->tw->worker->edge);
	uplink_answer(call);
}

/* --- parking --- */

/* A byte before OPEN, or the end. */
static void
on_parked_ready(struct watch *w, uint32_t events)
{
	struct parked *p = CONTAINER_OF(w, struct parked, watch);
	uint8_t byte;
	size_t count;

	(void)events;
	if (socket_peek(p->fd, &byte, 1, &count) != IO_AGAIN)
		close_parked(p);
}

static void
on_parked_timeout(struct timeout *t)
{
	close_parked(CONTAINER_OF(t, struct parked, timeout));
}

static uint64_t
parked_ms(void)
{
	return EDGE_DATA_PARKED_MS + random_quick() % (EDGE_DATA_PARKED_MS / 3);
}

/* Takes the connection. */
static void
park(struct edge_data *d, int fd, struct tls_stream *tls,
    const uint8_t preface[DATA_PREFACE_BYTES])
{
	struct edge_session *es = d->session;
	struct mode_state *m = &d->modes[tls ? DATA_TLS : DATA_RAW];
	struct parked *p = calloc(1, sizeof(*p));

	if (!p || loop_add(&es->tw->worker->loop, &p->watch, fd,
		      on_parked_ready) < 0) {
		free(p);
		close_connection(es, fd, tls);
		return;
	}
	p->data = d;
	p->fd = fd;
	p->tls = tls;
	memcpy(p->preface, preface, sizeof(p->preface));
	timeout_init(&p->timeout, on_parked_timeout);
	timeouts_set(timeouts_of(d), &p->timeout, clock_ms() + parked_ms());
	socket_set_keepalive(fd, EDGE_DATA_KEEPALIVE_S);
	list_append(&m->parked, &p->node);
	m->parked_count++;
}

/* The youngest: what has just come is least likely to have gone unseen. */
static bool
take_parked(struct edge_data *d, enum data_mode mode, struct uplink_call *call)
{
	struct mode_state *m = &d->modes[mode];
	uint8_t byte;
	size_t count;

	while (!list_empty(&m->parked)) {
		struct parked *p =
		    LIST_ENTRY(m->parked.prev, struct parked, node);

		if (socket_peek(p->fd, &byte, 1, &count) != IO_AGAIN) {
			close_parked(p);
			continue;
		}
		bury(p);
		hand_over(d, p->fd, p->tls, p->preface, call);
		return true;
	}
	return false;
}

/* --- asking --- */

static uint64_t
wait_ms(const struct edge_data *d)
{
	uint64_t ms = d->reply_ms * 4;

	return ms > EDGE_DATA_WAIT_MS ? ms : EDGE_DATA_WAIT_MS;
}

struct pending_reply {
	struct edge_session *session; /* counted */
	uint64_t sent_ms;
};

static void
on_reply(
    struct session *s, void *owner, enum session_reply reply, struct span json)
{
	struct pending_reply *p = owner;

	(void)s;
	(void)json;
	if (reply == SESSION_REPLY_OK && p->session->data)
		p->session->data->reply_ms = clock_ms() - p->sent_ms;
	edge_session_put(p->session);
	free(p);
}

static bool
send_ask(struct edge_data *d, const struct data_connections *ask)
{
	struct edge_session *es = d->session;
	struct pending_reply *p = calloc(1, sizeof(*p));
	struct span json = { NULL, 0 };
	int error = -ENOMEM;

	if (p && data_connections_write(ask, &json) == 0) {
		p->session = edge_session_get(es);
		p->sent_ms = clock_ms();
		error = session_request(
		    es->session, MESSAGE_DATA_CONNECTIONS, json, on_reply, p);
		if (error < 0)
			edge_session_put(es);
	}
	message_wipe(&json);
	if (error < 0)
		free(p);
	return error == 0;
}

static void
note_asked(struct edge_data *d, const struct data_connections *ask)
{
	struct mode_state *m = &d->modes[ask->mode];
	uint64_t now_ms = clock_ms();

	for (uint32_t i = 0; i < ask->count; i++)
		*counter_at(d, ask->first + i) = (struct counter){
			.asked_ms = now_ms,
			.state = COUNTER_ASKED,
			.mode = (uint8_t)ask->mode,
		};
	d->next = ask->first + ask->count;
	m->asked_count += ask->count;
	if (m->asks++ == 0)
		m->asked_ms = now_ms;
}

static bool
may_ask(struct edge_data *d, unsigned count)
{
	if (!d->ring)
		d->ring = calloc(RING, sizeof(*d->ring));
	return d->ring && d->next + count - d->oldest <= RING &&
	       d->next + count <= DATA_COUNTER_MAX && !d->session->tw->draining;
}

static void
ask(struct edge_data *d, enum data_mode mode, unsigned count)
{
	struct data_connections ask = {
		.first = d->next,
		.count = count,
		.mode = mode,
	};

	if (may_ask(d, count) && send_ask(d, &ask))
		note_asked(d, &ask);
}

/* Of what was asked for only what is not late is still expected. */
static unsigned
expected(struct edge_data *d, enum data_mode mode)
{
	uint64_t now_ms = clock_ms(), late_ms = wait_ms(d);
	unsigned count = 0;

	for (uint64_t i = d->next; i-- > d->oldest;) {
		const struct counter *c = counter_at(d, i);

		if (now_ms >= c->asked_ms + late_ms)
			break;
		if (c->state == COUNTER_ASKED && c->mode == mode)
			count++;
	}
	return count;
}

/* As many as are likely to be called for until an ask is answered. */
static unsigned
stock(const struct mode_state *m)
{
	double more = m->rate - 1;

	if (more < RATE_MIN)
		return 0;
	return (unsigned)ceil(more / RATE_SECONDS * (double)m->trip_ms / 1000);
}

static unsigned
held(const struct edge_data *d)
{
	unsigned count = 0;

	for (int i = 0; i < MODES; i++)
		count += d->modes[i].asked_count + d->modes[i].parked_count;
	return count;
}

static void
plan_mode(struct edge_data *d, enum data_mode mode)
{
	struct mode_state *m = &d->modes[mode];
	unsigned wanted = m->waiting_count + stock(m);
	unsigned there = m->parked_count + expected(d, mode);
	unsigned room = EDGE_DATA_MAX - held(d);

	if (wanted <= there || room == 0)
		return;
	wanted -= there;
	ask(d, mode, wanted < room ? wanted : room);
}

static void
on_plan(struct timeout *t)
{
	struct edge_data *d = CONTAINER_OF(t, struct edge_data, plan);

	expire(d, clock_ms());
	for (int i = 0; i < MODES; i++)
		if (clock_ms() >= d->modes[i].rest_until_ms)
			plan_mode(d, (enum data_mode)i);
}

/* --- calls --- */

static bool
rests(const struct edge_data *d, enum data_mode mode)
{
	return clock_ms() < d->modes[mode].rest_until_ms;
}

/* What is not encrypted by the client's own TLS never goes without. */
static bool
choose_mode(
    struct edge_data *d, const struct uplink_call *call, enum data_mode *mode)
{
	*mode = DATA_RAW;
	if (call->plain ||
	    edge_session_settings(d->session)->agents.encrypts_data ||
	    d->session->facts.encrypts_data || rests(d, DATA_RAW))
		*mode = DATA_TLS;
	return !rests(d, *mode);
}

static void
note_call(struct mode_state *m)
{
	uint64_t now_ms = clock_ms();
	double seconds = (double)(now_ms - m->rated_ms) / 1000;

	m->rate = m->rate * exp(-seconds / RATE_SECONDS) + 1;
	m->rated_ms = now_ms;
}

/* Three asks and nothing came, though there was time: the way is not open. */
static void
judge_asks(struct edge_data *d, enum data_mode mode)
{
	struct mode_state *m = &d->modes[mode];

	if (m->asks < EDGE_DATA_ASKS || clock_ms() < m->asked_ms + wait_ms(d))
		return;
	m->asks = 0;
	m->rest_until_ms = clock_ms() + EDGE_DATA_REST_MS;
	LOG_WARN("an agent's data connections do not come: done without",
	    LOG_TEXT("session", d->session->id),
	    LOG_ADDR("agent", &d->session->peer),
	    LOG_TEXT("instead",
		mode == DATA_RAW ? "inside of TLS" : "streams of the session"));
}

static struct uplink_call *
stop_waiting(struct waiting *w)
{
	struct uplink_call *call = w->call;

	list_remove(&w->node);
	timeouts_clear(timeouts_of(w->data), &w->timeout);
	w->data->modes[w->mode].waiting_count--;
	free(w);
	return call;
}

static void
on_waiting_timeout(struct timeout *t)
{
	struct waiting *w = CONTAINER_OF(t, struct waiting, timeout);
	struct edge_data *d = w->data;
	enum data_mode mode = w->mode;

	edge_call_stream(stop_waiting(w));
	judge_asks(d, mode);
}

static bool
wait_for_one(struct edge_data *d, enum data_mode mode, struct uplink_call *call)
{
	struct waiting *w = calloc(1, sizeof(*w));

	if (!w)
		return false;
	w->data = d;
	w->call = call;
	w->mode = mode;
	timeout_init(&w->timeout, on_waiting_timeout);
	timeouts_set(
	    timeouts_of(d), &w->timeout, clock_ms() + EDGE_DATA_WAIT_MS);
	list_append(&d->modes[mode].waiting, &w->node);
	d->modes[mode].waiting_count++;
	return true;
}

bool
edge_data_take_call(struct edge_data *d, struct uplink_call *call)
{
	enum data_mode mode;
	bool taken;

	if (d->session->tw->draining ||
	    edge_session_settings(d->session)->agents.no_data ||
	    !choose_mode(d, call, &mode))
		return false;
	note_call(&d->modes[mode]);
	taken = take_parked(d, mode, call) || wait_for_one(d, mode, call);
	timeouts_set(timeouts_of(d), &d->plan, clock_ms());
	return taken;
}

/* --- arrivals --- */

/* A byte before OPEN, or the end, and it is none of ours. */
static bool
is_silent(struct edge_data *d, int fd, struct tls_stream *tls)
{
	struct worker *w = d->session->tw->worker;
	uint8_t byte;
	size_t count;

	if (!tls)
		return socket_peek(fd, &byte, 1, &count) == IO_AGAIN;
	return tls_read(tls, w->buffer, WORKER_BUFFER_BYTES, &count) ==
	       IO_AGAIN;
}

static void
note_good(struct mode_state *m, const struct counter *c)
{
	uint64_t trip_ms = clock_ms() - c->asked_ms;

	m->asks = 0;
	m->trip_ms = (m->trip_ms * 3 + trip_ms) / 4;
}

void
edge_data_take_parcel(struct edge_data *d, struct edge_parcel *p)
{
	enum data_mode mode = p->tls ? DATA_TLS : DATA_RAW;
	struct mode_state *m = &d->modes[mode];
	struct data_preface preface;
	struct counter *c = NULL;
	struct tls_stream *tls = p->tls;
	int fd = p->fd;

	if (data_preface_parse(
		span_of(p->preface, sizeof(p->preface)), &preface) == PARSE_OK)
		c = find_asked(d, preface.counter, mode);
	if (!c) {
		edge_refuse_preface(d->session->tunnel, EDGE_PREFACE_NOT_ASKED);
		return;
	}
	use_up(d, c);
	if (tls)
		tls_move(tls, d->session->tw->worker->tls);
	if (!is_silent(d, fd, tls))
		return;
	note_good(m, c);
	p->fd = -1;
	p->tls = NULL;
	if (list_empty(&m->waiting))
		park(d, fd, tls, p->preface);
	else
		hand_over(d, fd, tls, p->preface,
		    stop_waiting(
			LIST_ENTRY(m->waiting.next, struct waiting, node)));
}

static void
give_up_one(struct edge_data *d, enum data_mode mode)
{
	struct mode_state *m = &d->modes[mode];

	if (m->waiting_count > m->asked_count)
		edge_call_stream(stop_waiting(
		    LIST_ENTRY(m->waiting.next, struct waiting, node)));
}

/* It may be about one that relays: then the agent's log and ours fit. */
void
edge_data_on_end(struct edge_data *d, struct span json)
{
	char storage[MESSAGE_ERROR_SIZE];
	struct counter *c = NULL;
	struct data_end end;
	struct text error;
	enum data_mode mode;

	text_init(&error, storage, sizeof(storage));
	if (data_end_read(json, &end, &error) < 0)
		return;
	LOG_DEBUG("an agent tells of a data connection's end",
	    LOG_TEXT("session", d->session->id),
	    LOG_INT("counter", end.counter), LOG_TEXT("reason", end.reason));
	expire(d, clock_ms());
	if (end.counter >= d->oldest && end.counter < d->next)
		c = counter_at(d, end.counter);
	if (!c || c->state != COUNTER_ASKED)
		return;
	mode = (enum data_mode)c->mode;
	use_up(d, c);
	give_up_one(d, mode);
}

/* --- life --- */

struct edge_data *
edge_data_new(struct edge_session *es, const struct data_keys *keys)
{
	struct edge_data *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->session = es;
	d->keys = *keys;
	d->oldest = d->next = 1;
	timeout_init(&d->plan, on_plan);
	for (int i = 0; i < MODES; i++) {
		list_init(&d->modes[i].parked);
		list_init(&d->modes[i].waiting);
		d->modes[i].trip_ms = FIRST_TRIP_MS;
	}
	return d;
}

static void
end_mode(struct mode_state *m)
{
	while (!list_empty(&m->parked))
		close_parked(LIST_ENTRY(m->parked.next, struct parked, node));
	while (!list_empty(&m->waiting)) {
		struct uplink_call *call = stop_waiting(
		    LIST_ENTRY(m->waiting.next, struct waiting, node));

		call->error = -ENOTCONN;
		uplink_answer(call);
	}
}

void
edge_data_free(struct edge_data *d)
{
	if (!d)
		return;
	for (int i = 0; i < MODES; i++)
		end_mode(&d->modes[i]);
	timeouts_clear(timeouts_of(d), &d->plan);
	data_keys_wipe(&d->keys);
	free(d->ring);
	free(d);
}

void
edge_parcel_free(struct edge_parcel *p)
{
	if (p->fd >= 0)
		close_connection(p->session, p->fd, p->tls);
	edge_session_put(p->session);
	free(p);
}
