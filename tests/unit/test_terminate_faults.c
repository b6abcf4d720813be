/*
 * The n-th allocation of OpenSSL's fails, for every n that a client with a
 * certificate and an upstream with TLS of its own need: nobody crashes, nothing
 * leaks, nobody gets through whose certificate was not looked at, each
 * connection has its event, and the next is served.
 */
#include "unit.h"

#include <openssl/crypto.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine_bench.h"
#include "tls_client.h"

static atomic_uint fail_at, calls;
static _Thread_local bool exempt;

static bool
fails(void)
{
	return !exempt && atomic_load(&fail_at) != 0 &&
	       atomic_fetch_add(&calls, 1) + 1 == atomic_load(&fail_at);
}

static void *
take(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return fails() ? NULL : malloc(size);
}

static void *
take_again(void *old, size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	if (size == 0) {
		free(old);
		return NULL;
	}
	return fails() ? NULL : realloc(old, size);
}

static void
give(void *old, const char *file, int line)
{
	(void)file;
	(void)line;
	free(old);
}

/* Only before the library has allocated anything. */
__attribute__((constructor)) static void
take_over_allocation(void)
{
	CRYPTO_set_mem_functions(take, take_again, give);
}

static void
arm(unsigned n)
{
	atomic_store(&calls, 0);
	atomic_store(&fail_at, n);
}

/* True if the failure never came. */
static bool
disarm(void)
{
	bool over = atomic_load(&calls) < atomic_load(&fail_at);

	atomic_store(&fail_at, 0);
	return over;
}

static struct bench b;
static struct made *ca, *leaf, *client, *stranger, *client_ca;

static void
setup(void)
{
	exempt = true;
	signal(SIGPIPE, SIG_IGN);
	ca = make((struct recipe){ .ca = true });
	client_ca = make((struct recipe){ .ca = true });
	leaf = make(
	    (struct recipe){ .issuer = ca, .names = "DNS:a.test,DNS:up.test" });
	client = make((struct recipe){ .issuer = client_ca });
	stranger = make((struct recipe){ .issuer = ca });
	bench_init(&b);
	bench_script(&b, "a.crt", leaf->crt);
	bench_script(&b, "a.key", leaf->key_pem);
	bench_script(&b, "ca.pem", ca->crt);
	bench_script(&b, "clients.pem", client_ca->crt);
	bench_start(&b,
	    "edge: { listen: [ \"127.0.0.1:0\" ], workers: 1 }\n"
	    "certificates: [ { crt: $S/a.crt, key: $S/a.key } ]\n"
	    "endpoints: [ { url: tls://a.test, terminate_at: edge,\n"
	    "  upstream: \"tls://127.0.0.1:$P\",\n"
	    "  mutual_tls: { cas: $S/clients.pem }, upstream_tls: { cas: "
	    "$S/ca.pem, server_name: up.test } } ]\n");
}

static void
teardown(void)
{
	bench_fini(&b);
}

/* The upstream is reached, or the client's connection ends. */
static bool
upstream_comes(int fd)
{
	struct pollfd p[2] = {
		{ .fd = b.upstream_fd, .events = POLLIN },
		{ .fd = fd, .events = POLLRDHUP },
	};

	ck_assert_int_gt(poll(p, 2, PATIENCE_MS), 0);
	return p[0].revents != 0;
}

static bool
answers(struct tls_end *t, struct tls_end *up)
{
	char got[4];

	if (SSL_write(t->ssl, "ping", 4) != 4 ||
	    SSL_read(up->ssl, got, 4) != 4 || memcmp(got, "ping", 4) ||
	    SSL_write(up->ssl, "pong", 4) != 4)
		return false;
	return SSL_read(t->ssl, got, 4) == 4 && !memcmp(got, "pong", 4);
}

/* A whole client; true if it was served. Whatever happens, it ends. */
static bool
visit(const struct made *shown)
{
	struct tls_end t, up;
	bool served = false;

	if (tls_end_connect(&t, connect_to_port(bench_port(&b, 0)),
		(struct tls_wish){ .name = "a.test", .certificate = shown }) &&
	    upstream_comes(t.fd)) {
		if (tls_end_accept(&up, bench_accept(&b),
			(struct tls_wish){ .certificate = leaf }))
			served = answers(&t, &up);
		tls_end_free(&up);
	}
	tls_end_free(&t);
	return served;
}

static bool
one_run(unsigned n, const struct made *shown)
{
	unsigned before = b.events.count;
	bool over, served;

	arm(n);
	served = visit(shown);
	events_wait(&b.events, before + 1);
	over = disarm();
	ck_assert_msg(shown == client || !served, "past mutual TLS at %u", n);
	ck_assert_msg(visit(client), "not served after allocation %u", n);
	events_wait(&b.events, before + 2);
	return over;
}

/* All of the first, then in steps of a twelfth: thousands of allocations are
 * much alike, and each run waits for the journal. */
static unsigned
next_n(unsigned n)
{
	return n + 1 + n / 12;
}

START_TEST(connections_survive_any_failed_allocation)
{
	const struct made *shown[] = { client, stranger, NULL };
	unsigned n = 1;

	while (!one_run(n, shown[_i]))
		n = next_n(n);
	/* Without one failure this would have shown nothing. */
	ck_assert_uint_gt(n, 100);
}
END_TEST

static void
add(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(
	    tcase, connections_survive_any_failed_allocation, 0, 3);
}

UNIT_MAIN("terminate_faults", add)
