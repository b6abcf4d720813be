/*
 * The client's TLS handshake, where it ends here; all others pass. By now the
 * policy has spoken, and the hello is still in the socket.
 */
#include "engine/terminate.h"

enum step
stage_handshake(struct conn *c)
{
	if (!terminate_is_due(c))
		return STEP_NEXT;
	if (c->client.tls)
		return terminate_step(c);
	return terminate_begin(c, NULL) ? STEP_AGAIN : STEP_CLOSE;
}
