/*
 * What the table tests of the stages share: one edge with one worker, and what
 * is looked for in its events. Each program includes it once.
 */
#ifndef TESTS_STAGES_H
#define TESTS_STAGES_H

#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine_bench.h"
#include "unit.h"
#include "wire/alert.h"

static struct bench b;

static inline void
setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	bench_init(&b);
}

static inline void
teardown(void)
{
	bench_fini(&b);
}

#define EDGE(rest) \
	"edge: { listen: [ \"127.0.0.1:0\" ], workers: 1, " rest " }\n"
#define ENDPOINT \
	"endpoints: [ { url: tls://a.test, upstream: 127.0.0.1:$P } ]\n"

/* Is there this, as it stands in the event? */
static inline void
event_has(const char *part)
{
	char *line = events_line(&b.events, 0);

	ck_assert_msg(strstr(line, part) != NULL, "no %s in %s", part, line);
	free(line);
}

static inline void
event_lacks(const char *part)
{
	char *line = events_line(&b.events, 0);

	ck_assert_msg(strstr(line, part) == NULL, "%s in %s", part, line);
	free(line);
}

static inline void
reason_is(const char *reason)
{
	char part[64];

	events_wait(&b.events, 1);
	snprintf(part, sizeof(part), "\"close\":{\"reason\":\"%s", reason);
	event_has(part);
}

static inline void
expect_alert(int fd, uint8_t alert)
{
	uint8_t record[ALERT_RECORD_BYTES], expected[ALERT_RECORD_BYTES];

	alert_record(alert, expected);
	receive_bytes(fd, record, sizeof(record));
	ck_assert_int_eq(memcmp(record, expected, sizeof(record)), 0);
	expect_end(fd);
}

/* How a client's part ends. */
enum then {
	STAYS,	 /* says nothing more */
	SHUTS,	 /* FIN, reads on */
	RESETS,	 /* RST */
	STOPPED, /* ... by the operator */
};

static inline int
act(int fd, enum then then)
{
	switch (then) {
	case STAYS:
		return fd;
	case SHUTS:
		ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
		return fd;
	case RESETS:
		close_with_reset(fd);
		return -1;
	case STOPPED:
		bench_wait_open(&b, 1);
		bench_stop(&b);
		return fd;
	}
	return fd;
}

#define SCRIPTED(rest) EDGE("policy: { file: $S/p.lua }, " rest) ENDPOINT
#define LUA(body)                               \
	"local lunette = require \"lunette\"\n" \
	"return function(conn)\n" body "\nend\n"

#endif
