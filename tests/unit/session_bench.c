#include "session_bench.h"

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "unit.h"

#define ALPN BYTES_OF("\x09lunette/1")

struct bench bench;
uint64_t bench_now_us = 1000000000;

static uint8_t host_buffer[SESSION_BUFFER_BYTES];
static uint8_t read_buffer[TLS_READ_MIN_BYTES];

uint64_t __wrap_clock_ms(void);
int64_t __wrap_clock_us(void);

uint64_t
__wrap_clock_ms(void)
{
	return bench_now_us / 1000;
}

int64_t
__wrap_clock_us(void)
{
	return (int64_t)bench_now_us;
}

/* --- what sessions tell --- */

static void
close_in(struct bench_end *e, const char *call)
{
	if (e->closes_in && strcmp(e->closes_in, call) == 0)
		session_close(e->s, call);
}

static void
on_open(struct session *s)
{
	struct bench_end *e = session_owner(s);

	e->open_count++;
	QUICK_ASSERT(session_is_open(s));
	close_in(e, "open");
}

static void
on_request(struct session *s, uint32_t type, uint32_t id, struct span json)
{
	struct bench_end *e = session_owner(s);

	e->request_count++;
	e->type = type;
	e->id = id;
	e->json.len = 0;
	if (json.len <= sizeof(e->json.data))
		add_span(&e->json, json);
	close_in(e, "request");
	if (e->answer)
		session_answer(s, id, span_text(e->answer));
	close_in(e, "answer");
}

static void
on_stream(struct session *s, struct mux_stream *stream)
{
	static const struct mux_stream_calls none = { 0 };
	struct bench_end *e = session_owner(s);

	e->stream_count++;
	e->stream = stream;
	close_in(e, "stream");
	if (e->on_stream)
		e->on_stream(s, stream);
	else if (!e->leaves_streams)
		mux_own(stream, &none, e);
}

static void
on_go_away(struct session *s, uint32_t error, struct span text)
{
	struct bench_end *e = session_owner(s);

	e->gone_error = error;
	snprintf(e->gone_text, sizeof(e->gone_text), "%.*s", SPAN_ARG(text));
	close_in(e, "go_away");
}

static void
on_end(struct session *s, enum session_end end, const char *detail)
{
	struct bench_end *e = session_owner(s);

	QUICK_ASSERT(s == e->s && !session_is_open(s));
	QUICK_ASSERT(!session_mux(s));
	e->end_count++;
	e->end = end;
	e->counters = session_counters(s);
	snprintf(e->detail, sizeof(e->detail), "%s", detail);
	session_close(s, "again");
	e->s = NULL;
}

static const struct session_calls calls = {
	.on_open = on_open,
	.on_request = on_request,
	.on_stream = on_stream,
	.on_go_away = on_go_away,
	.on_end = on_end,
};

/* --- the stage --- */

static void
init_end(struct bench_end *e, bool is_agent)
{
	memset(e, 0, sizeof(*e));
	e->settings = (struct session_settings){
		.is_agent = is_agent,
		.admitted = true,
		.calls = &calls,
		.owner = e,
	};
}

void
bench_open(void)
{
	scene_open(&bench.scene);
	bench.scene.as_server.alpn = bench.scene.as_client.alpn = ALPN;
	bench.scene.as_server.wants_tickets = false;
	ck_assert_int_eq(loop_init(&bench.loop), 0);
	timeouts_init(&bench.timeouts, clock_ms());
	session_host_init(&bench.host, &bench.loop, &bench.timeouts,
	    host_buffer, sizeof(host_buffer));
	init_end(&bench.agent, true);
	init_end(&bench.edge, false);
	bench.heard.len = 0;
}

void
bench_close(void)
{
	session_host_fini(&bench.host);
	ck_assert_uint_eq(bench.host.count, 0);
	ck_assert_uint_eq(bench.timeouts.count, 0);
	loop_fini(&bench.loop);
	scene_close(&bench.scene);
}

static void
make_session(struct bench_end *e, int *fd, struct tls_stream **tls)
{
	e->s = session_new(&bench.host, *fd, *tls, &e->settings);
	ck_assert_ptr_nonnull(e->s);
	*fd = -1;
	*tls = NULL;
}

void
bench_meet_raw(void)
{
	scene_meet(&bench.scene);
	make_session(&bench.edge, &bench.scene.server_fd, &bench.scene.server);
}

void
bench_meet(void)
{
	bench_meet_raw();
	make_session(&bench.agent, &bench.scene.client_fd, &bench.scene.client);
}

void
bench_greet(void)
{
	bench_meet();
	bench_settle();
	ck_assert_uint_eq(bench.agent.open_count, 1);
	ck_assert_uint_eq(bench.edge.open_count, 1);
}

void
bench_greet_raw(void)
{
	enum io io = IO_AGAIN;

	bench_meet_raw();
	for (int i = 0; i < 100 && io == IO_AGAIN; i++) {
		io = tls_handshake(bench.scene.client);
		bench_settle();
	}
	ck_assert_int_eq(io, IO_OK);
	raw_say(span_of(NULL, 0));
	bench_settle();
	ck_assert_uint_eq(bench.edge.open_count, 1);
}

void
bench_turn(void)
{
	loop_turn(&bench.loop, 0);
	timeouts_run(&bench.timeouts, clock_ms());
}

static bool
is_busy(void)
{
	struct pollfd p = { .fd = bench.loop.epoll_fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0 ||
	       timeouts_wait_ms(&bench.timeouts, clock_ms()) == 0;
}

void
bench_settle(void)
{
	int turns = 0;

	do {
		bench_turn();
		if (++turns > 100000)
			ck_abort_msg("it never rests");
	} while (is_busy());
}

void
bench_pass(uint64_t ms)
{
	while (ms > 0) {
		uint64_t step = ms < 100 ? ms : 100;

		bench_now_us += step * 1000;
		ms -= step;
		bench_settle();
	}
}

/* --- by hand --- */

void
raw_say(struct span bytes)
{
	ck_assert_int_eq(tls_write(bench.scene.client, bytes), IO_OK);
	bench_settle();
}

void
raw_data(uint32_t stream, unsigned flags, struct span payload)
{
	static struct bytes wire;
	uint8_t header[FRAME_HEADER_BYTES];

	wire.len = 0;
	add_span(&wire, span_of(header, frame_write_data(header, stream,
					    payload.len, flags)));
	add_span(&wire, payload);
	raw_say(bytes_span(&wire));
}

void
raw_rst(uint32_t stream, uint32_t error)
{
	uint8_t frame[32];

	raw_say(span_of(frame, frame_write_rst(frame, stream, error)));
}

static void
hear_more(void)
{
	size_t count;

	while (tls_read(bench.scene.client, read_buffer, sizeof(read_buffer),
		   &count) == IO_OK)
		add_span(&bench.heard, span_of(read_buffer, count));
}

bool
raw_hear(struct frame *f, struct span *payload)
{
	static struct bytes last;
	size_t needed, len;
	const char *why;

	hear_more();
	if (bench.heard.len == 0)
		return false;
	ck_assert_int_eq(
	    frame_parse(bytes_span(&bench.heard), f, &needed, &why), PARSE_OK);
	len = f->bytes + (f->type == FRAME_DATA ? f->length : 0);
	ck_assert_uint_le(len, bench.heard.len);
	last.len = 0;
	add_span(&last, span_of(bench.heard.data, len));
	bench.heard.len -= len;
	memmove(bench.heard.data, bench.heard.data + len, bench.heard.len);
	*payload = span_of(last.data + f->bytes, len - f->bytes);
	if (f->type == FRAME_GOAWAY)
		f->text = span_of(last.data + 16, len - 16);
	return true;
}

static void
hear_next(struct frame *f, struct span *payload)
{
	do
		ck_assert(raw_hear(f, payload));
	while (f->type == FRAME_WNDINC);
}

void
raw_expect(uint32_t stream, unsigned flags, struct span payload)
{
	struct frame f;
	struct span got;

	hear_next(&f, &got);
	ck_assert_int_eq(f.type, FRAME_DATA);
	ck_assert_uint_eq(f.stream, stream);
	ck_assert_uint_eq(f.flags, flags);
	ck_assert_uint_eq(got.len, payload.len);
	ck_assert(span_equal(got, payload));
}

void
raw_expect_rst(uint32_t stream, uint32_t error)
{
	struct frame f;
	struct span got;

	hear_next(&f, &got);
	ck_assert_int_eq(f.type, FRAME_RST);
	ck_assert_uint_eq(f.stream, stream);
	ck_assert_uint_eq(f.error, error);
}

void
raw_expect_nothing(void)
{
	struct frame f;
	struct span got;

	while (raw_hear(&f, &got))
		ck_assert_int_eq(f.type, FRAME_WNDINC);
}

void
raw_cut(void)
{
	close(bench.scene.client_fd);
	bench.scene.client_fd = -1;
	bench_settle();
}
