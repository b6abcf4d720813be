/*
 * Memory that is not given, to us or to OpenSSL, at any moment of a session's
 * stream or a data connection's.
 */
#include "unit.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "faults.h"
#include "tls/data_keys.h"
#include "tls/data_stream.h"
#include "tls/session_context.h"
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

/* What is tested: which kind of stream, and which end of it. */
enum { AT_SERVER = 1, OF_DATA = 2 };

static struct scene scene;
static struct tls_session_settings as_agent;
static uint8_t preface[DATA_PREFACE_BYTES];
static const uint8_t psk[SHA256_BYTES] = "a key";

static bool
find_psk(void *arg, const uint8_t asked[DATA_PREFACE_BYTES],
    uint8_t out[SHA256_BYTES])
{
	(void)arg;
	(void)asked;
	memcpy(out, psk, sizeof(psk));
	return true;
}

static void
setup(void)
{
	const struct data_preface p = { .mode = DATA_TLS, .counter = 1 };

	data_preface_write(&p, preface);
	scene_open(&scene);
	as_agent = (struct tls_session_settings){
		.trust = scene.trust,
		.server_name = span_text("a.test"),
	};
}

static void
teardown(void)
{
	scene_close(&scene);
}

static void
be_server(int kind)
{
	scene.server =
	    kind & OF_DATA
		? tls_data_accept(scene.edge, scene.server_fd, find_psk, NULL)
		: tls_session_accept(scene.edge, scene.server_fd, &scene.keys);
}

static void
be_client(int kind)
{
	scene.client = kind & OF_DATA
			   ? tls_data_connect(scene.outside, scene.client_fd,
				 preface, psk, span_text("edge.test"))
			   : tls_session_connect(
				 scene.outside, scene.client_fd, &as_agent);
}

static void
open_sockets(void)
{
	int fds[2];

	scene_part(&scene);
	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	scene.server_fd = fds[0];
	scene.client_fd = fds[1];
}

/* Nothing was spoilt for those that come after. */
static void
meet_without_faults(int kind)
{
	enum io server, client;

	open_sockets();
	be_server(kind);
	be_client(kind);
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(server, IO_OK);
	ck_assert_int_eq(client, IO_OK);
	scene_say(scene.client, scene.server, "all is well");
}

/* One end under faults, the other one without. */
static void
meet(bool at_server)
{
	struct tls_stream *tested = at_server ? scene.server : scene.client;
	struct tls_stream *helper = at_server ? scene.client : scene.server;
	static const uint8_t id[DATA_SESSION_BYTES];
	enum io io = IO_AGAIN, other = IO_AGAIN;
	struct data_keys keys;
	int result;

	for (int i = 0; i < 10 && io == IO_AGAIN && other != IO_ERROR; i++) {
		if (other == IO_AGAIN)
			other = tls_handshake(helper);
		UNDER_FAULTS(io = tls_handshake(tested));
	}
	if (io == IO_ERROR)
		ck_assert_int_ne(tls_failure(tested)->fault, TLS_FAULT_NONE);
	if (io != IO_OK || other == IO_ERROR)
		return;
	UNDER_FAULTS(result = data_keys_init(&keys, tested, id));
	ck_assert(result == 0 || result == -ENOMEM || result == -EPERM);
	tls_set_key_life(tested, 5);
	UNDER_FAULTS(io = tls_write(tested, span_text("some words")));
	if (io == IO_ERROR)
		ck_assert_int_ne(tls_failure(tested)->fault, TLS_FAULT_NONE);
	UNDER_FAULTS(tls_shut(tested));
}

/* The contexts of OpenSSL are made with the first stream of a kind: they are
 * part of what fails, and come with the next one. */
static void
renew_contexts(bool at_server)
{
	struct tls_context **c = at_server ? &scene.edge : &scene.outside;

	tls_context_free(*c);
	*c = tls_context_new(scene.tickets, -1);
	ck_assert_ptr_nonnull(*c);
}

static void
try_to_meet(int kind)
{
	bool at_server = kind & AT_SERVER;

	open_sockets();
	renew_contexts(at_server);
	faults_armed = at_server;
	be_server(kind);
	faults_armed = !at_server;
	be_client(kind);
	faults_armed = false;
	if (scene.server && scene.client)
		meet(at_server);
}

START_TEST(a_stream_without_memory)
{
	unsigned n, failed = 0;

	/* What OpenSSL fetches once and then keeps: fetched in part it stays
	 * so for good (3.0), which is not our matter. */
	meet_without_faults(_i);
	for (n = 1; n < 100000; n += 1 + n / 50) {
		fault_set(&memory_fault, n, ENOMEM);
		try_to_meet(_i);
		failed += !scene.server || !scene.client;
		if (atomic_load(&memory_fault.hits) == 0)
			break;
	}
	ck_assert_uint_gt(n, 300);
	ck_assert_uint_gt(failed, 30);
	meet_without_faults(_i);
}
END_TEST

/* A context that could not be made is made by the next stream. */
START_TEST(contexts_come_later)
{
	renew_contexts(true);
	renew_contexts(false);
	open_sockets();
	fault_set(&memory_fault, 1, ENOMEM);
	UNDER_FAULTS(be_server(_i));
	ck_assert_ptr_null(scene.server);
	UNDER_FAULTS(be_client(_i));
	ck_assert_ptr_null(scene.client);
	meet_without_faults(_i);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, a_stream_without_memory, 0, 4);
	tcase_add_loop_test(tcase, contexts_come_later, 0, 4);
}

UNIT_MAIN("session faults", add_tests)
