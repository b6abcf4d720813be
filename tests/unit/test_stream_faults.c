/* Memory that is not given, to us or to OpenSSL, at any moment of a stream. */
#include "unit.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "faults.h"
#include "tls_scene.h"

FAULT(memory);

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

void *
__wrap_malloc(size_t size)
{
	return fault_hits(&memory_fault) ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
	return fault_hits(&memory_fault) ? NULL : __real_calloc(count, size);
}

void *
__wrap_realloc(void *old, size_t size)
{
	return fault_hits(&memory_fault) ? NULL : __real_realloc(old, size);
}

static void *
library_malloc(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return size ? __wrap_malloc(size) : NULL;
}

static void *
library_realloc(void *old, size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return __wrap_realloc(old, size);
}

static void
library_free(void *old, const char *file, int line)
{
	(void)file;
	(void)line;
	free(old);
}

/* Before OpenSSL's first own call: each test is a process of its own. */
__attribute__((constructor)) static void
take_over(void)
{
	if (!CRYPTO_set_mem_functions(
		library_malloc, library_realloc, library_free))
		abort();
}

static struct scene scene;

static void
setup(void)
{
	scene_open(&scene);
	scene.as_server.auth = CLIENT_AUTH_REQUIRE;
	scene.as_server.trust = scene.client_trust;
	scene.as_server.alpn = scene.as_client.alpn = SCENE_ALPN;
	scene.as_client.address = span_text("127.0.0.1:443");
	scene_use_client(&scene, scene.client_leaf, NULL);
}

static void
teardown(void)
{
	scene_close(&scene);
}

/* Fails the n-th allocation and no other. */
static void
fail_one(unsigned n)
{
	fault_set(&memory_fault, n, ENOMEM);
}

static bool
has_failed(void)
{
	/* One that came round a second time is one too many. */
	return atomic_load(&memory_fault.hits) > 0;
}

START_TEST(a_context_without_memory)
{
	struct tls_context *c = NULL;

	for (unsigned n = 1; n < 100000; n++) {
		fail_one(n);
		UNDER_FAULTS(c = tls_context_new(scene.tickets, -1));
		if (!has_failed())
			break;
		tls_context_free(c);
		c = NULL;
	}
	ck_assert_ptr_nonnull(c);
	tls_context_free(c);
}
END_TEST

/* One side of a meeting under faults, the other one without. */
static void
meet(bool at_server)
{
	enum io io = IO_AGAIN, other = IO_AGAIN;
	struct tls_stream *tested;

	for (int i = 0; i < 10 && io == IO_AGAIN && other != IO_ERROR; i++) {
		tested = at_server ? scene.server : scene.client;
		if (!at_server && other == IO_AGAIN)
			other = tls_handshake(scene.server);
		UNDER_FAULTS(io = tls_handshake(tested));
		if (at_server && other == IO_AGAIN)
			other = tls_handshake(scene.client);
	}
	tested = at_server ? scene.server : scene.client;
	if (io == IO_ERROR) {
		ck_assert_int_ne(tls_failure(tested)->fault, TLS_FAULT_NONE);
		ck_assert_ptr_nonnull(tls_failure(tested)->detail);
	}
	if (io != IO_OK || other == IO_ERROR)
		return;
	UNDER_FAULTS(io = tls_write(tested, span_text("some words")));
	if (io == IO_ERROR)
		ck_assert_int_ne(tls_failure(tested)->fault, TLS_FAULT_NONE);
	UNDER_FAULTS(scene_hear(tested));
	UNDER_FAULTS(tls_peer(tested));
	UNDER_FAULTS(tls_shut(tested));
}

/* As scene_meet, where either stream may not come to be. */
static void
try_to_meet(bool at_server)
{
	int fds[2];

	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	scene.server_fd = fds[0];
	scene.client_fd = fds[1];
	faults_armed = at_server;
	scene.server =
	    tls_accept(scene.edge, scene.server_fd, &scene.as_server);
	faults_armed = !at_server;
	scene.client =
	    tls_connect(scene.outside, scene.client_fd, &scene.as_client);
	faults_armed = false;
}

static unsigned
count_survivors(bool at_server)
{
	unsigned n, made = 0;

	for (n = 1; n < 100000; n += 1 + n / 100) {
		scene_part(&scene);
		fail_one(n);
		try_to_meet(at_server);
		if (scene.server && scene.client) {
			meet(at_server);
			made++;
		}
		if (!has_failed())
			break;
	}
	ck_assert_uint_gt(n, 100);
	return made;
}

START_TEST(a_stream_without_memory)
{
	/* What OpenSSL fetches once and then keeps: fetched in part it stays
	 * so for good (3.0), which is not our matter. */
	scene_greet(&scene);
	ck_assert_uint_gt(count_survivors(_i), 200);
	/* Nothing was spoilt for those that come after. */
	scene_greet(&scene);
	ck_assert_ptr_nonnull(tls_peer(scene.server));
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_context_without_memory);
	tcase_add_loop_test(tcase, a_stream_without_memory, 0, 2);
}

UNIT_MAIN("stream faults", add_tests)
