/*
 * What the agent's web address and the status screen show of its endpoints: the
 * agent's word on sessions and names, joined with the measures of the
 * connections that come through.
 *
 * Life: made before the agent, freed after it. Any thread.
 */
#ifndef CMD_AGENT_SOURCE_H
#define CMD_AGENT_SOURCE_H

#include "config/snapshot.h"
#include "control/agent_view.h"
#include "tunnel/agent.h"

struct agent_source;

struct agent_source *agent_source_new(void);	/* NULL without memory */
void agent_source_free(struct agent_source *s); /* NULL is harmless */

/* For agent_new: counts connections by the endpoint's name. */
struct agent_hooks agent_source_hooks(struct agent_source *s);

/* The settings in force, of which it takes a reference; measures of endpoints
 * that keep their name go on. False without memory, and nothing changes. */
bool agent_source_switch(
    struct agent_source *s, struct snapshot *settings) MUST_CHECK;

/* For agent_web_new. The agent is lent. */
struct agent_web_source agent_source_web(
    struct agent_source *s, struct agent *agent);

#endif
