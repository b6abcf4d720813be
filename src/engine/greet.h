/*
 * What is told of a connection in front of its bytes: in a PROXY header to an
 * upstream, or to a Lunette agent. The worker's thread, up to the relay.
 */
#ifndef ENGINE_GREET_H
#define ENGINE_GREET_H

#include "engine/conn.h"

/* The version of the PROXY header that the upstream gets; 0: none. */
uint8_t greet_proxy_version(const struct conn *c);

/* The protocol that was negotiated, or in passthrough all that the client
 * offers, as they stand in its hello. Empty: none. */
struct span greet_alpn(struct conn *c);

/* The TLVs that scripts have added. */
void greet_add_private(const struct conn *c, struct proxy_writer *w);

#endif
