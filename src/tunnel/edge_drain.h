/*
 * The edge is told to stop: its agents go elsewhere. Lunette's are told so and
 * leave by themselves when they are connected anew; SDKs cannot be told, so a
 * session of theirs ends as soon as nothing relays through it. What is left at
 * the end of the drain ends with the process. The worker's thread.
 */
#ifndef TUNNEL_EDGE_DRAIN_H
#define TUNNEL_EDGE_DRAIN_H

#include <stdint.h>

struct tunnel_worker;

void edge_drain_init(struct tunnel_worker *tw);
void edge_on_drain(void *state, uint64_t ms); /* tunnel_host.on_drain */

#endif
