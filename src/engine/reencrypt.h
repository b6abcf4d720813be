/*
 * TLS to a `tls://` upstream for a client whose own TLS has ended here. What
 * arrives still encrypted is never wrapped again.
 */
#ifndef ENGINE_REENCRYPT_H
#define ENGINE_REENCRYPT_H

#include "engine/conn.h"

bool reencrypt_is_due(const struct conn *c);

/*
 * The handshake with the upstream, begun once our PROXY header is out.
 * STEP_NEXT when it is done, STEP_WAIT, STEP_AGAIN when the upstream has failed
 * and the next one is to be dialled, STEP_CLOSE.
 */
enum step reencrypt_step(struct conn *c);

#endif
