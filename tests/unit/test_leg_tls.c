/* A leg whose TLS ends here: what it has taken, and when its FIN goes. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/leg.h"
#include "tls_scene.h"
#include "unit.h"

static struct scene scene;
static struct leg leg; /* the server's end; its stream is the scene's */
static struct pipe_budget budget;
static struct pipes pipes;
static uint8_t big[24 * 1024]; /* few key updates get it through */

static void
setup(void)
{
	enum io server, client;

	scene_open(&scene);
	pipes_init(&pipes, &budget);
	scene_meet_raw(&scene);
	scene_narrow(&scene);
	scene_shake(&scene, &server, &client);
	leg_init(&leg);
	leg.watch.fd = scene.server_fd;
	leg_secure(&leg, scene.server);
	ck_assert_int_eq(leg_handshake(&leg), IO_OK);
}

static void
teardown(void)
{
	pipes_fini(&pipes);
	scene_close(&scene);
}

static void
write_big(void)
{
	size_t count;

	ck_assert_int_eq(
	    leg_write(&leg, span_of(big, sizeof(big)), &count), IO_OK);
	ck_assert_uint_eq(count, sizeof(big));
	ck_assert(leg_has_pending(&leg) && leg.congested);
}

/* What the client can read now; the leg gets room by it. */
static size_t
drain(void)
{
	static uint8_t data[16384];
	size_t all = 0, n;

	while (SSL_read_ex(scene.raw, data, sizeof(data), &n) == 1)
		all += n;
	return all;
}

/* The client asks for new keys: the answer is written by a read. */
static void
ask_for_new_keys(void)
{
	ck_assert_int_eq(
	    SSL_key_update(scene.raw, SSL_KEY_UPDATE_REQUESTED), 1);
	ck_assert_int_eq(SSL_write(scene.raw, "x", 1), 1);
}

static enum io
read_leg(void)
{
	static uint8_t data[TLS_READ_MIN_BYTES];
	size_t count;

	return leg_read(&leg, data, sizeof(data), &count);
}

START_TEST(what_the_socket_has_taken_counts_at_once)
{
	uint64_t before;
	size_t got = 0;

	write_big();
	before = leg.taken_bytes;
	ck_assert_uint_lt(before, sizeof(big));
	got += drain();
	leg.writable = true;
	ck_assert_int_eq(leg_flush(&leg, &pipes), IO_AGAIN);
	ck_assert_uint_gt(leg.taken_bytes, before);
	while (leg_has_pending(&leg)) {
		ck_assert_uint_le(leg.taken_bytes, sizeof(big));
		got += drain();
		leg.writable = true;
		(void)leg_flush(&leg, &pipes);
	}
	ck_assert_uint_eq(leg.taken_bytes, sizeof(big));
	ck_assert_uint_eq(got + drain(), sizeof(big));
}
END_TEST

START_TEST(what_a_read_has_sent_counts)
{
	size_t got = 0;

	write_big();
	while (got < sizeof(big)) {
		got += drain();
		ask_for_new_keys();
		ck_assert_int_eq(read_leg(), IO_OK);
	}
	ck_assert(!leg_has_pending(&leg));
	ck_assert_uint_eq(leg.taken_bytes, sizeof(big));
}
END_TEST

START_TEST(a_fin_goes_behind_what_was_unsent)
{
	size_t got = 0;
	char byte;

	write_big();
	leg_shut(&leg);
	ck_assert(leg.fin_due);
	while (got < sizeof(big)) {
		got += drain();
		leg.writable = true;
		(void)leg_flush(&leg, &pipes);
	}
	ck_assert(!leg.fin_due);
	ck_assert_uint_eq(leg.taken_bytes, sizeof(big));
	(void)drain();
	ck_assert_int_eq(SSL_get_shutdown(scene.raw) & SSL_RECEIVED_SHUTDOWN,
	    SSL_RECEIVED_SHUTDOWN);
	ck_assert_int_eq(recv(scene.client_fd, &byte, 1, 0), 0);
}
END_TEST

START_TEST(new_keys_are_asked_for_behind_our_end)
{
	char byte;

	leg_shut(&leg);
	ck_assert(!leg_has_pending(&leg));
	ask_for_new_keys();
	ck_assert_int_eq(read_leg(), IO_OK);
	ck_assert_int_eq(SSL_write(scene.raw, "y", 1), 1);
	ck_assert_int_eq(read_leg(), IO_OK);
	ck_assert(!leg.reset && !leg.failed);
	(void)drain();
	ck_assert_int_eq(recv(scene.client_fd, &byte, 1, 0), 0);
}
END_TEST

/* What the peer said before it went is read, as without TLS. */
START_TEST(last_words_behind_a_write_that_failed)
{
	size_t count;
	char text[TLS_READ_MIN_BYTES];

	ck_assert_int_eq(SSL_write(scene.raw, "last words", 10), 10);
	if (_i == 1)
		ck_assert_int_eq(SSL_shutdown(scene.raw), 0);
	close(scene.client_fd);
	scene.client_fd = -1;
	ck_assert_int_eq(leg_write(&leg, span_of("x", 1), &count), IO_ERROR);
	ck_assert(leg.reset && leg.readable && !leg.failed);
	ck_assert_int_eq(leg_read(&leg, text, sizeof(text), &count), IO_OK);
	ck_assert_mem_eq(text, "last words", 10);
	ck_assert_uint_eq(count, 10);
	ck_assert(leg.readable);
	ck_assert_int_eq(leg_read(&leg, text, sizeof(text), &count),
	    _i == 1 ? IO_EOF : IO_ERROR);
	ck_assert_int_eq(leg.failed, _i == 0);
	ck_assert_uint_eq(leg.taken_bytes, 0);
	ck_assert_int_eq(leg_write(&leg, span_of("x", 1), &count), IO_ERROR);
}
END_TEST

static void
add(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, what_the_socket_has_taken_counts_at_once);
	tcase_add_test(tcase, what_a_read_has_sent_counts);
	tcase_add_test(tcase, a_fin_goes_behind_what_was_unsent);
	tcase_add_test(tcase, new_keys_are_asked_for_behind_our_end);
	tcase_add_loop_test(tcase, last_words_behind_a_write_that_failed, 0, 2);
}

UNIT_MAIN("leg_tls", add)
