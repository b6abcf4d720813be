/*
 * A pump: moves bytes between a stream of a session and the inner end of a
 * bridge, whose outer end the engine treats as a connection.
 *
 * Each direction stops by itself where the other side does not take: the bridge
 * is read only when the stream has window and turn, and the peer may send only
 * as much more as the bridge has taken. FIN and reset are passed on, each as
 * what it is, in both directions. A pump owns no buffer but what it was given
 * to send first.
 *
 * It lives until both directions are done or one is reset, or the session ends,
 * which is a reset to the bridge. On the session's thread.
 */
#ifndef TUNNEL_PUMP_H
#define TUNNEL_PUMP_H

#include "sys/bridge.h"
#include "tunnel/session.h"

/* When a pump is done: bytes from the peer to the bridge, and to the peer.
 * `error` is 0, or that of the reset that the peer sent (a refusal too) or that
 * the session's end is (FRAME_ERROR_TRANSPORT). */
struct pump_report {
	uint64_t bytes_in, bytes_out;
	uint32_t error;
	bool reset_by_us; /* the outer end was reset, or closed too early */
};

typedef void pump_on_done(void *owner, const struct pump_report *report);

/*
 * Takes the stream (its owner from now on), the descriptor `inner_fd` and the
 * reference to `bridge`, also when it fails: then the stream is reset and the
 * bridge too. `first` goes to the stream before what the bridge brings; it is
 * copied. `on_done` (NULL: nobody) is called exactly once if this succeeds, not
 * from within the call. 0 or -errno.
 */
int pump_start(struct session *s, struct mux_stream *stream, struct span first,
    int inner_fd, struct bridge *bridge, pump_on_done *on_done,
    void *owner) MUST_CHECK;

#endif
