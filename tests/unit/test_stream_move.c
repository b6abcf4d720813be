/* Streams that go on in another thread, with another context. */
#include "unit.h"

#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/socket.h>

#include "tls/data_stream.h"
#include "tls_scene.h"

static struct scene scene;
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

	scene_open(&scene);
	data_preface_write(&p, preface);
}

static void
teardown(void)
{
	scene_close(&scene);
}

static void
meet(void)
{
	int fds[2];

	scene_part(&scene);
	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	scene.server_fd = fds[0];
	scene.client_fd = fds[1];
	scene.server =
	    tls_data_accept(scene.edge, scene.server_fd, find_psk, NULL);
	scene.client = tls_data_connect(scene.outside, scene.client_fd, preface,
	    psk, span_text("edge.test"));
	ck_assert_ptr_nonnull(scene.server);
	ck_assert_ptr_nonnull(scene.client);
}

static void
greet(void)
{
	enum io server, client;

	meet();
	scene_shake(&scene, &server, &client);
	ck_assert_int_eq(server, IO_OK);
	ck_assert_int_eq(client, IO_OK);
}

struct other_thread {
	struct tls_stream *stream;
	struct tickets *tickets;
	const char *expected;
	bool good;
};

/* Reads what came before the move and after it, and says something. */
static void *
go_on(void *arg)
{
	struct other_thread *t = arg;
	struct tls_context *c = tls_context_new(t->tickets, -1);
	static uint8_t buffer[TLS_READ_MIN_BYTES];
	size_t count;

	tls_move(t->stream, c);
	t->good =
	    tls_read(t->stream, buffer, sizeof(buffer), &count) == IO_OK &&
	    span_is(span_of(buffer, count), t->expected) &&
	    tls_write(t->stream, span_text("from the other thread")) == IO_OK;
	tls_move(t->stream, NULL);
	tls_context_free(c);
	return NULL;
}

static void
move_and_go_on(struct tls_stream *s, const char *expected)
{
	struct other_thread t = {
		.stream = s, .tickets = scene.tickets, .expected = expected
	};
	pthread_t thread;

	tls_move(s, NULL);
	ck_assert_int_eq(pthread_create(&thread, NULL, go_on, &t), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert(t.good);
	tls_move(s, scene.edge);
}

/* The agent's words come in one flight with the end of its handshake, so that
 * the edge has them already; and with a key update, of which OpenSSL tells. */
START_TEST(a_stream_moves_to_another_thread)
{
	enum io server, client = IO_AGAIN;
	struct tls_context *old;

	meet();
	ck_assert_int_eq(tls_handshake(scene.client), IO_AGAIN);
	server = tls_handshake(scene.server);
	ck_assert_int_eq(server, IO_AGAIN);
	client = tls_handshake(scene.client);
	ck_assert_int_eq(client, IO_OK);
	tls_set_key_life(scene.client, 5);
	ck_assert_int_eq(tls_write(scene.client, span_text("early")), IO_OK);
	ck_assert_int_eq(tls_handshake(scene.server), IO_OK);
	ck_assert_int_eq(tls_write(scene.client, span_text(" late")), IO_OK);
	/* The context where it was made may be gone. */
	old = scene.edge;
	scene.edge = tls_context_new(scene.tickets, -1);
	tls_move(scene.server, NULL);
	tls_context_free(old);
	move_and_go_on(scene.server, "early late");
	ck_assert_str_eq(scene_hear(scene.client), "from the other thread");
	ck_assert_mem_eq(
	    tls_data_preface(scene.server), preface, sizeof(preface));
	scene_say(scene.server, scene.client, "back again");
	scene_say(scene.client, scene.server, "and back");
	ck_assert_int_eq(tls_shut(scene.server), IO_OK);
	ck_assert_int_eq(scene_read(scene.client), IO_EOF);
}
END_TEST

/* An alert, too, is told to the context where the stream is now. */
START_TEST(a_moved_stream_hears_of_failures)
{
	struct tls_context *c = tls_context_new(scene.tickets, -1);

	greet();
	tls_move(scene.server, NULL);
	tls_context_free(scene.edge);
	scene.edge = c;
	tls_move(scene.server, c);
	tls_move(scene.server, c); /* harmless */
	ck_assert_int_eq(
	    send(scene.client_fd, "\x17\x03\x03\x00\x14garbage that is sealed",
		25, 0),
	    25);
	ck_assert_int_eq(scene_read(scene.server), IO_ERROR);
	ck_assert_uint_eq(
	    tls_failure(scene.server)->alert, SSL_AD_BAD_RECORD_MAC);
	ck_assert_int_eq(scene_read(scene.client), IO_ERROR);
	ck_assert_int_eq(
	    tls_failure(scene.client)->fault, TLS_FAULT_ALERT_RECEIVED);
}
END_TEST

/* What the socket did not take goes along. */
START_TEST(what_is_unsent_moves_too)
{
	static uint8_t words[TLS_WRITE_MAX_BYTES];
	static uint8_t buffer[TLS_READ_MIN_BYTES];
	struct tls_context *c = tls_context_new(scene.tickets, -1);
	size_t all = 0, count;
	enum io io;

	greet();
	scene_narrow(&scene);
	ck_assert_int_eq(
	    tls_write(scene.server, span_of(words, sizeof(words))), IO_AGAIN);
	ck_assert(tls_has_unsent(scene.server));
	tls_move(scene.server, c);
	tls_context_free(scene.edge);
	scene.edge = c;
	do {
		tls_flush(scene.server);
		io = tls_read(scene.client, buffer, sizeof(buffer), &count);
		ck_assert_int_ne(io, IO_ERROR);
		all += count;
	} while (all < sizeof(words));
	ck_assert_uint_eq(all, sizeof(words));
	ck_assert(!tls_has_unsent(scene.server));
	scene_say(scene.server, scene.client, "the end");
}
END_TEST

/* In a mailbox of a process that ends. */
START_TEST(a_stream_between_two_threads_can_be_freed)
{
	greet();
	tls_move(scene.server, NULL);
	tls_free(scene.server);
	scene.server = NULL;
	tls_context_free(scene.edge);
	scene.edge = NULL;
}
END_TEST

/* An ordinary stream moves as well, and a client's sessions are kept where it
 * is then. */
START_TEST(other_streams_move_too)
{
	struct tls_context *c = tls_context_new(scene.tickets, -1);
	struct tls_facts facts;

	scene.as_client.address = span_text("192.0.2.1:443");
	scene_greet(&scene);
	tls_move(scene.client, NULL);
	tls_context_free(scene.outside);
	scene.outside = c;
	tls_move(scene.client, c);
	scene_say(scene.server, scene.client, "with a ticket");
	scene_say(scene.client, scene.server, "thanks");
	scene_greet(&scene);
	tls_facts(scene.client, &facts);
	ck_assert(facts.resumed);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, a_stream_moves_to_another_thread);
	tcase_add_test(tcase, a_moved_stream_hears_of_failures);
	tcase_add_test(tcase, what_is_unsent_moves_too);
	tcase_add_test(tcase, a_stream_between_two_threads_can_be_freed);
	tcase_add_test(tcase, other_streams_move_too);
}

UNIT_MAIN("stream move", add_tests)
