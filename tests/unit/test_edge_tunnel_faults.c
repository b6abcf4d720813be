/*
 * The n-th allocation of the edge's fails, for every n that an agent, what it
 * binds and its clients need: nobody crashes, nothing leaks, every session has
 * its last event, and the next agent is served.
 */
#include "agents_bench.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/registry.h"
#include "sys/socket.h"
#include "unit.h"

static atomic_uint victim, fail_at, calls;
static _Thread_local bool exempt;

enum wrapped {
	CALL_malloc,
	CALL_calloc,
	CALL_realloc,
	CALL_epoll_ctl,
	CALL_socketpair,
	CALL_COUNT
};

static bool
fails(enum wrapped which, int error)
{
	if (exempt || atomic_load(&victim) != which ||
	    atomic_load(&fail_at) == 0 ||
	    atomic_fetch_add(&calls, 1) + 1 != atomic_load(&fail_at))
		return false;
	errno = error;
	return true;
}

#define WRAP(type, failed, error, name, parameters, arguments)              \
	type __real_##name parameters;                                      \
	type __wrap_##name parameters;                                      \
	type __wrap_##name parameters                                       \
	{                                                                   \
		return fails(CALL_##name, error) ? failed                   \
						 : __real_##name arguments; \
	}

WRAP(void *, NULL, ENOMEM, malloc, (size_t n), (n))
WRAP(void *, NULL, ENOMEM, calloc, (size_t m, size_t n), (m, n))
WRAP(void *, NULL, ENOMEM, realloc, (void *p, size_t n), (p, n))
WRAP(int, -1, ENOSPC, epoll_ctl, (int e, int o, int f, struct epoll_event *v),
    (e, o, f, v))
WRAP(int, -1, EMFILE, socketpair, (int d, int t, int p, int f[2]), (d, t, p, f))

static struct agents_bench ab;

static bool
is_over(int client)
{
	uint8_t byte;
	ssize_t n = recv(client, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return n >= 0 || errno != EAGAIN;
}

/* A client, for whom the agent opens what it is asked for, or answers on the
 * stream; true if that came through. */
static bool
visit(struct agent_peer *p, const char *name)
{
	int client = bench_client(&ab.edge, name), fd = -1;
	uint8_t preface[DATA_PREFACE_BYTES];
	unsigned seen = p->ask_count;
	bool served = false;

	AGENTS_UNTIL(&ab, is_over(client) || p->stream_count > 0 ||
			      p->ask_count > seen || !p->session);
	if (p->session && p->ask_count > seen && p->stream_count == 0 &&
	    data_keys_make_preface(
		&p->keys, DATA_RAW, p->asks[seen].first, preface) == 0) {
		fd = bench_connect(&ab.edge);
		(void)!send(fd, preface, sizeof(preface), MSG_NOSIGNAL);
		AGENTS_UNTIL(&ab, is_over(client) || is_over(fd) ||
				      p->stream_count > 0 || !p->session);
		served = socket_unread_bytes(fd) > DATA_OPEN_HEAD_BYTES;
	}
	if (!served)
		AGENTS_UNTIL(
		    &ab, is_over(client) || p->stream_count > 0 || !p->session);
	if (p->stream_count > 0 && p->streams[0])
		served = true;
	if (fd >= 0)
		close(fd);
	close(client);
	if (p->stream_count > 0 && p->streams[0])
		mux_reset(p->streams[0], 0);
	p->stream_count = 0;
	p->ask_count = 0;
	return served;
}

/* The edge may see an agent's end later; until then its name is taken, and the
 * next one would not get as far. */
static void
wait_until_free(void)
{
	AGENTS_UNTIL(&ab, registry_count(edge_registry(ab.edge.edge)) == 0);
}

/* Everything that an agent does, as far as it gets. */
static bool
whole_agent(bool is_lunette)
{
	struct agent_peer p;
	struct auth a = { .auth_token = LEND(TOKEN_ONE) };
	bool served = false;

	agent_try_connect(&ab, &p, is_lunette);
	if (!p.session || agent_auth(&p, a) != 0)
		goto over;
	if (!p.session || agent_bind_name(&p, "a.test") != 0)
		goto over;
	if (p.session && agent_bind(&p, (struct bind){ 0 }) == 0 && p.session)
		served = visit(&p, "a.test");
	if (p.session)
		agent_say_text(
		    &p, MESSAGE_START_LABELLED, "{\"Labels\":{\"k\":\"v\"}}");
	if (p.session)
		agent_unbind_quietly(&p, p.bind_id);
over:
	agent_close(&p);
	wait_until_free();
	return served;
}

static bool
one_run(enum wrapped which, unsigned n)
{
	bool over;

	atomic_store(&victim, which);
	atomic_store(&calls, 0);
	atomic_store(&fail_at, n);
	(void)whole_agent(false);
	(void)whole_agent(true);
	over = atomic_load(&calls) < atomic_exchange(&fail_at, 0);
	wait_until_free(); /* also of a bind that was under way */
	ck_assert_msg(whole_agent(true), "not served after %u %u", which, n);
	return over;
}

/* Half of them each, so that none takes too long under a sanitizer. */
#define HALVES 2

START_TEST(every_call)
{
	enum wrapped which = (enum wrapped)(_i / HALVES);
	unsigned n = 1 + (unsigned)_i % HALVES;

	exempt = true;
	signal(SIGPIPE, SIG_IGN);
	agents_start(&ab, "", "", "");
	for (; !one_run(which, n); n += HALVES)
		ck_assert_uint_lt(n, 5000);
	agents_stop(&ab);
}
END_TEST

static void
add(TCase *t)
{
	tcase_add_loop_test(t, every_call, 0, CALL_COUNT * HALVES);
}

UNIT_MAIN("edge_tunnel_faults", add)
