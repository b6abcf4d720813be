/*
 * Running an edge in the foreground, for `lunette edge` and `lunette tls`.
 */
#ifndef CMD_RUN_EDGE_H
#define CMD_RUN_EDGE_H

#include "cmd/run.h"

/* Runs until it is told to stop. Returns the exit code. */
int run_edge(const struct run_source *source);

#endif
