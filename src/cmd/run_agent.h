/*
 * Running an agent in the foreground, for `lunette agent` and `lunette tls
 * --edge`. It is an engine, too, but one without listeners: the connections of
 * its endpoints come through its sessions with edges.
 */
#ifndef CMD_RUN_AGENT_H
#define CMD_RUN_AGENT_H

#include "cmd/run.h"

/* Runs until it is told to stop; the snapshots are those of agents. Returns the
 * exit code. */
int run_agent(const struct run_source *source);

#endif
