#include "policy/decision.h"

#include <stdlib.h>

#include "wire/alert.h"

void
decision_init(struct decision *d)
{
	d->allow = true;
	d->close = DENY_ALERT;
	d->alert = ALERT_ACCESS_DENIED;
	d->reason = d->endpoint = d->upstream = NULL;
	d->termination = (struct decision_termination){ .auth = -1 };
	d->upstream_tls = (struct decision_upstream_tls){ .verify = -1 };
	d->terminate_at = d->proxy_proto = d->proxy_tlvs = -1;
	/* The arrays are read by their counts; clearing them would cost more
	 * than the rest of a run. */
	d->tlv_count = d->tag_count = 0;
	d->connect_ms = d->idle_ms = d->bytes_per_second = -1;
	d->line = 0;
	d->storage = NULL;
}

void
decision_fini(struct decision *d)
{
	trust_put(d->termination.trust);
	trust_put(d->upstream_tls.trust);
	free(d->storage);
	decision_init(d);
}

const char *
deny_close_name(enum deny_close c)
{
	switch (c) {
	case DENY_ALERT:
		return "alert";
	case DENY_CLOSE:
		return "close";
	case DENY_RESET:
		return "reset";
	case DENY_TARPIT:
		return "tarpit";
	}
	return "alert";
}
