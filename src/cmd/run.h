/*
 * Running an edge in the foreground: what `lunette tls` and `lunette edge`
 * share. Signals, reload, drain, the service manager, the status screen.
 */
#ifndef CMD_RUN_H
#define CMD_RUN_H

#include "config/snapshot.h"

struct run_source {
	/* Makes the configuration, at start and at each reload. NULL with at
	 * least one problem. */
	struct snapshot *(*load)(void *context, struct problems *p);
	void *context;
	const char *problem_prefix; /* before each problem at start */
	int problem_code;	    /* the exit code then */
	bool from_flags;	    /* advice names flags, not keys */
	bool screen;		    /* show the status screen */
	const char *keylog;	    /* where secrets of TLS go; NULL: nowhere */
};

/* Runs until it is told to stop. Returns the exit code. */
int run_edge(const struct run_source *source);

#endif
