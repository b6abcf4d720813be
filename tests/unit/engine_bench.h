/*
 * What the tests of the engine's core share: sockets on the loopback, a journal
 * sink that keeps the events, and an edge in this process. Nothing sleeps; what
 * is waited for has PATIENCE_MS to happen.
 */
#ifndef TESTS_ENGINE_BENCH_H
#define TESTS_ENGINE_BENCH_H

#include <pthread.h>

#include "engine/edge_private.h"

#define PATIENCE_MS 60000

/* Blocking sockets; their calls give up after PATIENCE_MS. */
int socket_on_any_port(uint16_t *port);
int connect_to_port(uint16_t port);
int accept_from(int listener);

/* For a server's thread: waits for ever; -1 once the listener is shut down. */
int accept_while_open(int listener);

/* Two ends of one TCP connection. */
void tcp_pair(int ends[2]);
void close_with_reset(int fd);
void send_bytes(int fd, const void *data, size_t len);
void send_text(int fd, const char *text);
/* Exactly `len` bytes, or the test fails. */
void receive_bytes(int fd, void *data, size_t len);
/* What comes up to the end; the errno that ended it, or 0. */
int receive_all(int fd, void *data, size_t size, size_t *len);
/* The next thing on the socket is a FIN, or a reset; without any byte. */
void expect_end(int fd);
void expect_reset(int fd);

/* A ClientHello with this name ("": none). */
struct span hello_for(const char *name);

unsigned open_descriptors(void);
size_t random_below(size_t limit);

/* The events that a sink of it was given, one line each. */
struct events {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	char *text;
	size_t len;
	unsigned count;
	bool takes_all; /* else only those of connections */
};

void events_init(struct events *e);
void events_fini(struct events *e);
struct journal_sink *events_sink(struct events *e);
/* Waits until there are so many; fails the test if there are more. */
void events_wait(struct events *e, unsigned count);
/* The number-th line, from 0, as text to be freed. */
char *events_line(struct events *e, unsigned number);
/* How many hold this text. */
unsigned events_with(struct events *e, const char *text);

/* An edge, an upstream for it and its events. */
struct bench {
	struct edge *edge;
	struct events events;
	int upstream_fd;
	uint16_t upstream_port;
	unsigned descriptors; /* before all of this */
	char folder[64];      /* for scripts; $S in a text */
	char error[512];      /* of the last start or reload */
};

/* $P in texts is the upstream's port, $S the folder of scripts. */
void bench_init(struct bench *b);
void bench_script(struct bench *b, const char *name, const char *text);
struct snapshot *bench_snapshot(struct bench *b, const char *yaml);
bool bench_try_start(struct bench *b, const char *yaml);
void bench_start(struct bench *b, const char *yaml);
bool bench_reload(struct bench *b, const char *yaml);
uint16_t bench_port(struct bench *b, size_t listener);
int bench_connect(struct bench *b);
/* A client that has said hello. */
int bench_client(struct bench *b, const char *name);
int bench_accept(struct bench *b);
/* Waits until the edge has so many connections. */
void bench_wait_open(struct bench *b, uint64_t count);
/* What belongs to a worker's thread, asked of that thread. */
struct question {
	struct mail mail;
	const struct generation *generation;
	size_t setup_count;
	atomic_bool answered;
};
struct question bench_ask(struct bench *b, unsigned worker);
/* Frees the edge; all must have had its event, and nothing may be left. */
void bench_stop(struct bench *b);
void bench_fini(struct bench *b);

#endif
