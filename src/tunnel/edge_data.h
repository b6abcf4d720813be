/*
 * Data connections of one session: what was asked for, what is parked, and the
 * calls that wait for one. All on the session's worker; connections come to it
 * by mail, once they have proved that they belong here (edge_knock.h).
 *
 * Nothing is asked for without a call: what is asked beyond the calls that wait
 * is the arrival rate times the round trip, so an idle endpoint has no stock.
 */
#ifndef TUNNEL_EDGE_DATA_H
#define TUNNEL_EDGE_DATA_H

#include "base/span.h"
#include "engine/uplink.h"
#include "tls/data_keys.h"

struct edge_data;
struct edge_session;

/* Counters that are asked for and unused, and parked connections, together. */
#define EDGE_DATA_MAX 1024
/* How long a counter is good. */
#define EDGE_DATA_COUNTER_MS 10000
/* How long a call waits for one. */
#define EDGE_DATA_WAIT_MS 250
/* Parked: this and up to a third more. */
#define EDGE_DATA_PARKED_MS 45000
#define EDGE_DATA_KEEPALIVE_S 15
/* So many asks in a row without a good connection, and the mode rests. */
#define EDGE_DATA_ASKS 3
#define EDGE_DATA_REST_MS (5 * 60 * 1000)

/* A connection whose preface was right, on its way to the session's worker. */
struct edge_parcel {
	struct mail mail;
	struct edge_session *session; /* counted */
	int fd;			      /* owned, with its place in the limit */
	struct tls_stream *tls;	      /* owned; NULL: mode 0 */
	uint8_t preface[DATA_PREFACE_BYTES];
};

/* Makes a session able to have them: keys are copied. NULL without memory. */
struct edge_data *edge_data_new(
    struct edge_session *es, const struct data_keys *keys);
/* Closes what is parked, answers what waits with -ENOTCONN, wipes the keys.
 * NULL is harmless. */
void edge_data_free(struct edge_data *d);

/* Takes the call if a data connection is to be had for it, and answers it at
 * once or later. False: none is, and the call is the caller's still. */
bool edge_data_take_call(struct edge_data *d, struct uplink_call *call);

/* Takes what is in the parcel, if it was asked for; it has arrived on the
 * session's worker. */
void edge_data_take_parcel(struct edge_data *d, struct edge_parcel *p);

/* The agent says that a connection has ended, or will not come. */
void edge_data_on_end(struct edge_data *d, struct span json);

void edge_parcel_free(struct edge_parcel *p);

#endif
