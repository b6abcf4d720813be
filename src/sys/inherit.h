/*
 * Listening sockets that a process is born with: from systemd's socket
 * activation, or from the process that it succeeds, which passes them by the
 * same variables, LISTEN_PID and LISTEN_FDS (sd_listen_fds(3)). A predecessor
 * also waits at the descriptor LUNETTE_READY_FD to hear that it may go.
 *
 * Life: inherit_take at start, inherit_pick for each address that is listened
 * on, inherit_close_rest, inherit_tell_ready once the process serves,
 * inherit_fini. Main thread.
 */
#ifndef SYS_INHERIT_H
#define SYS_INHERIT_H

#include "base/addr.h"
#include "base/text.h"

#define INHERIT_FIRST_FD 3 /* SD_LISTEN_FDS_START */
#define INHERIT_MAX 256	   /* as many listeners as there may be */

/* All zeros but ready_fd: nothing is inherited. */
struct inherit {
	int *fds; /* owned; -1: given away */
	size_t count;
	int ready_fd; /* -1: nobody waits */
};

/* Takes what the variables name, and the variables out of the environment.
 * Those of another process (LISTEN_PID) are ignored. 0, or -errno with one line
 * in `error`: what is passed must be listening TCP sockets. inherit_fini in any
 * case. */
int inherit_take(struct inherit *i, struct text *error) MUST_CHECK;

/* One that listens on this address, given away; port 0 is any port. -1: there
 * is none. */
int inherit_pick(struct inherit *i, const struct addr *a);

/* Once, and only if somebody waits. */
void inherit_tell_ready(struct inherit *i);

/* Closes what was not picked: how many these were. */
size_t inherit_close_rest(struct inherit *i);

void inherit_fini(struct inherit *i);

#endif
