/*
 * The agent's measures in the text format of Prometheus, version 0.0.4.
 *
 * There is a series for each endpoint of the configuration and for each place
 * among the sessions, so their number does not grow with connections, clients
 * or reconnects. Label values are escaped as that format wants them.
 */
#ifndef CONTROL_AGENT_METRICS_H
#define CONTROL_AGENT_METRICS_H

#include "base/text.h"
#include "control/agent_view.h"

#define AGENT_METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

void agent_metrics(const struct agent_view *v, struct text *out);

#endif
