/*
 * A successor: what the program's name stands for by now, started with the
 * arguments of this process, its listening sockets and its state folder. It
 * reads the configuration anew. Once it serves it says so; then this process
 * may go. Main thread.
 */
#ifndef CMD_SUCCESSOR_H
#define CMD_SUCCESSOR_H

#include <sys/types.h>

#include "engine/edge.h"

struct successor {
	pid_t pid;
	int fd; /* readable: it serves, or has failed; -1: there is none */
};

/* 0, or -errno and there is none. */
int successor_start(struct successor *s, const struct edge *e,
    const struct snapshot *snapshot) MUST_CHECK;

/* `fd` is readable. 0: it serves; -errno: it could not be started; -ECHILD: it
 * has ended. There is none afterwards, for us. */
int successor_hear(struct successor *s) MUST_CHECK;

/* Ends one that is starting, and waits for its word no longer. Harmless where
 * there is none. */
void successor_stop(struct successor *s);

#endif
