/*
 * A successor: the program's file, which may be a newer one by now, started
 * with the arguments of this process and with its listening sockets. It reads
 * the configuration anew. Once it serves it says so; then this process may go.
 * Main thread.
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
int successor_start(struct successor *s, const struct edge *e) MUST_CHECK;

/* `fd` is readable: whether it serves. There is none afterwards, for us. */
bool successor_serves(struct successor *s);

#endif
