/*
 * Running a process in the foreground: what edges and agents share. Loading,
 * the log, signals, reload, drain, the service manager, the status screen. What
 * differs between them is a `run_kind`; see run_edge.h and run_agent.h.
 *
 * All of it is the main thread's; the engine has threads of its own.
 */
#ifndef CMD_RUN_H
#define CMD_RUN_H

#include "cmd/successor.h"
#include "config/snapshot.h"
#include "engine/edge.h"

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

struct run {
	const struct run_source *source;
	const struct run_kind *kind;
	struct snapshot *snapshot; /* in force */
	struct edge *edge;	   /* the engine, of an agent too */
	void *part;		   /* what else its kind has made */
	int refused_fd; /* readable: it cannot go on; -1: that never is */
	struct screen *screen; /* NULL: log lines */
	struct inherit inherited;
	struct successor successor;
	int signal_fd;
	uint64_t watchdog_ms; /* 0: nobody waits for us */
	bool draining;
	bool stop;
};

struct run_kind {
	const char *section; /* "edge" or "agent", whose keys are told of */
	bool has_listeners;  /* that may be inherited and passed on */
	/* Makes `r->edge`; takes the sinks. False with one line in `error`, and
	 * nothing left behind. */
	bool (*start)(
	    struct run *r, struct journal_sink *sinks, struct text *error);
	/* Before the engine goes. NULL: there is nothing. */
	void (*stop)(struct run *r);
	/* The engine is gone: frees what else `start` has made. NULL: there is
	 * nothing. */
	void (*finish)(struct run *r);
	/* Says why it cannot go on; `refused_fd` is readable. */
	void (*refuse)(const struct run *r);
	/* Around a reload; NULL: nothing to be done. What `prepare` reads of
	 * the next snapshot (false with one line in `error`) is taken over by
	 * `on_switch`, when `r->snapshot` is in force, or thrown away. */
	bool (*prepare)(
	    struct run *r, struct snapshot *next, struct text *error);
	void (*discard)(struct run *r);
	void (*on_switch)(struct run *r);
	/* Log lines about where it can be reached, at start and after each
	 * reload. */
	void (*announce)(const struct run *r);
	/* Calls run_warn_of_key for each key of its own that only a start
	 * reads. */
	void (*warn_of_restart)(
	    const struct snapshot *old, const struct snapshot *new);
};

/* Runs until it is told to stop. Returns the exit code. */
int run_process(const struct run_source *source, const struct run_kind *kind);

/* A log line that a change of SECTION.KEY waits for the next start, unless it
 * is the same as before. */
void run_warn_of_key(bool same, const char *section, const char *key);
bool run_same_text(const char *a, const char *b); /* NULL is a text, too */

#endif
