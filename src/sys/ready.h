/*
 * Waiting for one descriptor, for commands that have nothing else to do. It
 * blocks the thread.
 */
#ifndef SYS_READY_H
#define SYS_READY_H

#include <stdint.h>

#include "base/compiler.h"

/* Until one of the POLL bits of `events` (or an error) is there, or clock_ms
 * has reached `deadline_ms`. 0, -ETIMEDOUT or another -errno. */
int ready_wait(int fd, short events, uint64_t deadline_ms) MUST_CHECK;

#endif
