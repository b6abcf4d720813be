/*
 * Knocks: connections that want to be a session's data connections and have not
 * proved it yet, on whatever worker they have come to. They are closed without
 * a byte at the first thing that is wrong, and what it was is only counted.
 */
#ifndef TUNNEL_EDGE_KNOCK_H
#define TUNNEL_EDGE_KNOCK_H

#include "engine/tunnel_host.h"

struct edge_tunnel;
struct tunnel_worker;

/* Takes the caller's parts. The worker's thread. */
void edge_knock(
    struct tunnel_worker *tw, enum caller_kind kind, struct caller *caller);

/* Closes all. */
void edge_knocks_close(struct tunnel_worker *tw);

enum edge_preface_fault {
	EDGE_PREFACE_MALFORMED,
	EDGE_PREFACE_UNKNOWN_SESSION,
	EDGE_PREFACE_BAD_MAC,
	EDGE_PREFACE_NOT_ASKED, /* or used, or too late, or in another mode */
};

/* Counts it, and logs it once a second at most. Any thread. */
void edge_refuse_preface(struct edge_tunnel *t, enum edge_preface_fault fault);

#endif
