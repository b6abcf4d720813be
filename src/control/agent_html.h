/*
 * The page for people: sessions and endpoints, where TLS ends, who can read
 * the bytes, and how many connections there are. It is one file without
 * scripts, pictures or anything else from elsewhere, and loads itself anew
 * every few seconds.
 */
#ifndef CONTROL_AGENT_HTML_H
#define CONTROL_AGENT_HTML_H

#include "base/text.h"
#include "control/agent_view.h"

/* What a browser shall let this page do: nothing but its own style. */
#define AGENT_HTML_CSP                                                     \
	"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; " \
	"form-action 'none'; frame-ancestors 'none'"

void agent_html(const struct agent_view *v, struct text *out);

#endif
