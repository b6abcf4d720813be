/*
 * The acceptor: one thread that sleeps in poll over the listeners, accepts in
 * bounded batches and hands descriptors to workers. It reads no byte, runs no
 * Lua, and keeps the descriptor budget.
 */
#ifndef ENGINE_ACCEPTOR_H
#define ENGINE_ACCEPTOR_H

#include "engine/listener.h"
#include "engine/worker.h"

struct acceptor;

struct acceptor *acceptor_new(struct edge *edge); /* NULL: no memory, no fd */
int acceptor_start(struct acceptor *a) MUST_CHECK;

/* Replaces the listeners: takes the array and its references (from malloc). The
 * old ones are closed once the thread has let go of them. Main thread. */
void acceptor_set_listeners(
    struct acceptor *a, struct listener **listeners, size_t count);

/* A connection has ended: wakes the acceptor if it waits for room. Any thread;
 * costs one atomic read as a rule. */
void acceptor_note_room(struct acceptor *a);

/* Closes all listeners, ends the thread. Harmless twice. */
void acceptor_stop(struct acceptor *a);
void acceptor_free(struct acceptor *a);

#endif
