#include "tunnel/edge_knock.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "sys/socket.h"
#include "tls/data_stream.h"
#include "tunnel/edge_data.h"
#include "tunnel/edge_private.h"
#include "tunnel/edge_session.h"

struct knock {
	struct tunnel_corpse corpse;
	struct list node; /* of the worker */
	struct watch watch;
	struct timeout timeout; /* the deadline, or the next step before it */
	struct tunnel_worker *tw;
	uint64_t deadline_ms;
	int fd;
	struct tls_stream *tls; /* NULL: mode 0 */
	uint8_t preface[DATA_PREFACE_BYTES];
	size_t len;
	bool told; /* why it is refused was counted */
};

static _Atomic uint64_t *
counter_of(struct edge_tunnel *t, enum edge_preface_fault fault)
{
	switch (fault) {
	case EDGE_PREFACE_UNKNOWN_SESSION:
		return &t->counters.preface_unknown_session;
	case EDGE_PREFACE_BAD_MAC:
		return &t->counters.preface_bad_mac;
	case EDGE_PREFACE_NOT_ASKED:
		return &t->counters.preface_not_asked;
	default:
		return &t->counters.preface_malformed;
	}
}

void
edge_refuse_preface(struct edge_tunnel *t, enum edge_preface_fault fault)
{
	static const char *const words[] = {
		[EDGE_PREFACE_MALFORMED] = "malformed",
		[EDGE_PREFACE_UNKNOWN_SESSION] = "unknown_session",
		[EDGE_PREFACE_BAD_MAC] = "bad_mac",
		[EDGE_PREFACE_NOT_ASKED] = "not_asked",
	};

	edge_count(counter_of(t, fault));
	LOG_LIMITED(LOG_LEVEL_WARN, "a data connection is refused",
	    LOG_TEXT("preface_refused", words[fault]));
}

/* --- the end of a knock --- */

/* What it held is somebody else's now, or closed. */
static void
bury(struct knock *k)
{
	struct worker *w = k->tw->worker;

	loop_remove(&w->loop, &k->watch);
	timeouts_clear(&w->timeouts, &k->timeout);
	list_remove(&k->node);
	k->corpse.memory = k;
	tunnel_worker_bury(k->tw, &k->corpse);
}

static void
drop(struct knock *k)
{
	tls_free(k->tls);
	close(k->fd);
	edge_release(k->tw->worker->edge);
	bury(k);
}

static void
refuse(struct knock *k, enum edge_preface_fault fault)
{
	edge_refuse_preface(k->tw->tunnel, fault);
	drop(k);
}

/* --- on the way to the session --- */

static void
deliver_parcel(struct mail *mail, void *receiver)
{
	struct edge_parcel *p = CONTAINER_OF(mail, struct edge_parcel, mail);

	(void)receiver;
	if (p->session->data)
		edge_data_take_parcel(p->session->data, p);
	else
		edge_refuse_preface(
		    p->session->tunnel, EDGE_PREFACE_UNKNOWN_SESSION);
	edge_parcel_free(p);
}

static void
discard_parcel(struct mail *mail)
{
	edge_parcel_free(CONTAINER_OF(mail, struct edge_parcel, mail));
}

/* Takes the reference on the session. */
static void
send_on(struct knock *k, struct edge_session *es, const uint8_t *preface)
{
	struct edge_parcel *p = calloc(1, sizeof(*p));

	if (!p) {
		edge_session_put(es);
		drop(k);
		return;
	}
	if (k->tls)
		tls_move(k->tls, NULL);
	/* A watch stays behind with its loop. */
	bury(k);
	p->session = es;
	p->fd = k->fd;
	p->tls = k->tls;
	memcpy(p->preface, preface, sizeof(p->preface));
	p->mail.deliver = deliver_parcel;
	p->mail.discard = discard_parcel;
	mailbox_post(&es->tw->worker->mailbox, &p->mail);
}

/* The session that a preface is of, with a reference; NULL: none, and why is
 * told. The keys are the caller's to wipe. */
static struct edge_session *
identify(struct edge_tunnel *t, const uint8_t wire[DATA_PREFACE_BYTES],
    const struct data_preface *preface, struct data_keys *keys)
{
	struct edge_session *es =
	    edge_doors_find(&t->doors, preface->session, keys);

	if (data_keys_check_preface(es ? keys : NULL, wire) == 0)
		return es;
	edge_refuse_preface(
	    t, es ? EDGE_PREFACE_BAD_MAC : EDGE_PREFACE_UNKNOWN_SESSION);
	edge_session_put(es);
	return NULL;
}

/* --- mode 0 --- */

static void
take_preface(struct knock *k, const struct data_preface *preface)
{
	struct data_keys keys;
	struct edge_session *es;

	if (preface->mode != DATA_RAW) {
		refuse(k, EDGE_PREFACE_MALFORMED);
		return;
	}
	es = identify(k->tw->tunnel, k->preface, preface, &keys);
	data_keys_wipe(&keys);
	if (es)
		send_on(k, es, k->preface);
	else
		drop(k);
}

/* Exactly the preface: what follows is the client's. */
static void
read_preface(struct knock *k)
{
	struct data_preface preface;
	size_t count;

	for (;;) {
		enum io io = socket_read(k->fd, k->preface + k->len,
		    sizeof(k->preface) - k->len, &count);

		if (io == IO_AGAIN)
			return;
		if (io != IO_OK)
			break;
		k->len += count;
		switch (
		    data_preface_parse(span_of(k->preface, k->len), &preface)) {
		case PARSE_OK:
			take_preface(k, &preface);
			return;
		case PARSE_MORE:
			continue;
		default:
			break;
		}
		break;
	}
	refuse(k, EDGE_PREFACE_MALFORMED);
}

/* --- mode 1 --- */

/* May be called several times and before anything is proved: it only looks. */
static bool
find_psk(void *arg, const uint8_t wire[DATA_PREFACE_BYTES],
    uint8_t psk[SHA256_BYTES])
{
	struct knock *k = arg;
	struct data_preface preface;
	struct edge_session *es;
	struct data_keys keys;
	bool found;

	if (data_preface_parse(span_of(wire, DATA_PREFACE_BYTES), &preface) !=
		PARSE_OK ||
	    preface.mode != DATA_TLS)
		return false;
	es = identify(k->tw->tunnel, wire, &preface, &keys);
	found = es && data_keys_psk(&keys, wire, psk) == 0;
	k->told = k->told || !es;
	data_keys_wipe(&keys);
	edge_session_put(es);
	return found;
}

static void
take_stream(struct knock *k)
{
	const uint8_t *wire = tls_data_preface(k->tls);
	uint8_t copy[DATA_PREFACE_BYTES];
	struct data_preface preface;
	struct edge_session *es = NULL;
	struct data_keys keys;

	if (!wire || data_preface_parse(span_of(wire, DATA_PREFACE_BYTES),
			 &preface) != PARSE_OK) {
		refuse(k, EDGE_PREFACE_MALFORMED);
		return;
	}
	memcpy(copy, wire, sizeof(copy));
	es = edge_doors_find(&k->tw->tunnel->doors, preface.session, &keys);
	data_keys_wipe(&keys);
	if (es)
		send_on(k, es, copy);
	else
		refuse(k, EDGE_PREFACE_UNKNOWN_SESSION);
}

static void
shake_hands(struct knock *k)
{
	struct worker *w = k->tw->worker;

	if (!worker_take_handshake_step(w)) {
		timeouts_set(&w->timeouts, &k->timeout, clock_ms());
		return;
	}
	switch (tls_handshake(k->tls)) {
	case IO_OK:
		take_stream(k);
		return;
	case IO_AGAIN:
		return;
	default:
		if (k->told)
			drop(k);
		else
			refuse(k, EDGE_PREFACE_MALFORMED);
	}
}

/* --- both --- */

static void
step(struct knock *k)
{
	if (k->tls)
		shake_hands(k);
	else
		read_preface(k);
}

static void
on_ready(struct watch *w, uint32_t events)
{
	(void)events;
	step(CONTAINER_OF(w, struct knock, watch));
}

static void
on_timeout(struct timeout *t)
{
	struct knock *k = CONTAINER_OF(t, struct knock, timeout);

	if (clock_ms() >= k->deadline_ms) {
		refuse(k, EDGE_PREFACE_MALFORMED);
		return;
	}
	timeouts_set(&k->tw->worker->timeouts, t, k->deadline_ms);
	step(k);
}

/* Within the hello's time, which has begun with the connection. */
static uint64_t
deadline_of(const struct caller *caller)
{
	return (uint64_t)(caller->start_us / 1000) +
	       caller->generation->snapshot->timeouts.hello_ms;
}

static bool
begin(struct knock *k, enum caller_kind kind, const struct caller *caller)
{
	struct worker *w = k->tw->worker;

	k->fd = caller->fd;
	timeout_init(&k->timeout, on_timeout);
	if (kind == CALLER_DATA_TLS) {
		k->tls = tls_data_accept(w->tls, k->fd, find_psk, k);
		if (!k->tls)
			return false;
	}
	if (loop_add(&w->loop, &k->watch, k->fd, on_ready) < 0) {
		tls_free(k->tls);
		return false;
	}
	k->deadline_ms = deadline_of(caller);
	timeouts_set(&w->timeouts, &k->timeout, k->deadline_ms);
	list_append(&k->tw->knocks, &k->node);
	return true;
}

void
edge_knock(
    struct tunnel_worker *tw, enum caller_kind kind, struct caller *caller)
{
	struct knock *k = tw->stopped ? NULL : calloc(1, sizeof(*k));

	if (k)
		k->tw = tw;
	if (!k || !begin(k, kind, caller)) {
		free(k);
		close(caller->fd);
		edge_release(tw->worker->edge);
	}
	generation_put(caller->generation);
}

void
edge_knocks_close(struct tunnel_worker *tw)
{
	while (!list_empty(&tw->knocks))
		drop(LIST_ENTRY(tw->knocks.next, struct knock, node));
}
