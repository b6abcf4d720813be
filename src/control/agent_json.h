/*
 * The agent API's documents: the JSON of the published agent API, so that
 * scripts and libraries that read that one can read this one. What Lunette
 * adds are further fields (`terminate_at`, `readable_by` and others), which
 * that API's promise allows for.
 *
 * All functions append to `out`; what did not fit sets its `truncated`.
 */
#ifndef CONTROL_AGENT_JSON_H
#define CONTROL_AGENT_JSON_H

#include "base/text.h"
#include "control/agent_view.h"

/* {"status", "agent_version", "session": {"legs": [...]}, "uri"} */
void agent_json_status(const struct agent_view *v, struct text *out);

/* Those that have a URL by now, as scripts expect that wait for the first. */
void agent_json_tunnels(const struct agent_view *v, struct text *out);
void agent_json_tunnel(const struct view_endpoint *e, struct text *out);

/* All of them, whether bound or not. */
void agent_json_endpoints(const struct agent_view *v, struct text *out);
void agent_json_endpoint(const struct view_endpoint *e, struct text *out);

/* {"status_code", "msg", "details": {"err"}}; `message` and `detail` are
 * literals. */
void agent_json_error(
    unsigned status, const char *message, const char *detail, struct text *out);

#endif
