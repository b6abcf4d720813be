/*
 * A TLS pump: moves bytes between the inside of a TLS stream and the inner end
 * of a bridge, so that the engine may treat what is inside as a connection: it
 * peeks at a client's hello there, and ends the client's own TLS within ours.
 * For data connections of mode 1 that carry a client's TLS.
 *
 * Half-closes and resets are passed on, each as what it is; a FIN without
 * close_notify is a reset. A direction that is not taken stops by itself. An
 * idle pump holds no buffer. It lives until both directions are done or one is
 * reset. The thread of its loop.
 */
#ifndef TUNNEL_TLS_PUMP_H
#define TUNNEL_TLS_PUMP_H

#include "base/list.h"
#include "sys/bridge.h"
#include "sys/loop.h"
#include "sys/timeouts.h"
#include "tls/stream.h"

/* What the pumps of one thread share; lent. */
struct tls_pump_host {
	struct loop *loop;
	struct timeouts *timeouts;
	uint8_t *buffer;    /* used within calls */
	size_t buffer_size; /* at least TLS_READ_MIN_BYTES */
	struct list pumps;
	struct timeout probe; /* tls_pump_host_ask */
};

void tls_pump_host_init(struct tls_pump_host *h, struct loop *loop,
    struct timeouts *timeouts, uint8_t *buffer, size_t size);
/* Ends all pumps by a reset. */
void tls_pump_host_fini(struct tls_pump_host *h);

/* Asks the peers of all pumps for a sign of life, since a path may be dead;
 * those that give none are reset SOCKET_PROBE_MS later. */
void tls_pump_host_ask(struct tls_pump_host *h);

/*
 * Takes both descriptors, the stream (its handshake is done and nothing was
 * left in it) and the reference to the bridge, also when it fails. `first` was
 * read of the stream before; it is copied. 0 or -errno.
 */
int tls_pump_start(struct tls_pump_host *h, int fd, struct tls_stream *tls,
    int inner_fd, struct bridge *bridge, struct span first) MUST_CHECK;

#endif
