/* What lunette diagnose looks at on this host, before it asks any other. */
#ifndef CMD_DIAGNOSE_HOST_H
#define CMD_DIAGNOSE_HOST_H

#include "cmd/findings.h"
#include "config/snapshot.h"

/* Descriptors, ports, the state folder, the clock: a line each. */
void diagnose_host(struct findings *f, const struct snapshot *s);

#endif
