#include "sys/errand.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "sys/ready.h"
#include "sys/socket.h"

#define MAILS_MAX 16

/* A question, on the stack of who waits for the answer. */
struct question {
	struct resolver_query query;
	bool answered;
};

static void
on_mail(struct watch *w, uint32_t events)
{
	struct errand *e = CONTAINER_OF(w, struct errand, mail);

	(void)events;
	mailbox_deliver(&e->mailbox, e);
}

int
errand_init(struct errand *e, const char *servers)
{
	struct resolver_settings settings = { .servers = servers };
	int err;

	*e = (struct errand){ .resolver = NULL };
	timeouts_init(&e->timeouts, clock_ms());
	err = loop_init(&e->loop);
	if (err < 0)
		return err;
	err = mailbox_init(&e->mailbox, MAILS_MAX);
	if (err < 0)
		goto no_mailbox;
	err = loop_add(&e->loop, &e->mail, e->mailbox.event_fd, on_mail);
	if (err < 0)
		goto no_resolver;
	e->resolver = resolver_new(&settings, &err);
	if (e->resolver)
		return 0;
	loop_remove(&e->loop, &e->mail);
no_resolver:
	mailbox_close(&e->mailbox);
	mailbox_fini(&e->mailbox);
no_mailbox:
	loop_fini(&e->loop);
	return err;
}

void
errand_fini(struct errand *e)
{
	loop_remove(&e->loop, &e->mail);
	mailbox_close(&e->mailbox);
	resolver_free(e->resolver);
	mailbox_fini(&e->mailbox);
	loop_fini(&e->loop);
}

void
errand_catch_up(struct errand *e)
{
	timeouts_run(&e->timeouts, clock_ms());
}

void
errand_turn(struct errand *e)
{
	loop_turn(&e->loop, timeouts_wait_ms(&e->timeouts, clock_ms()));
	errand_catch_up(e);
}

void
errand_wait(struct errand *e, const bool *done)
{
	while (!*done)
		errand_turn(e);
}

static void
on_answer(struct resolver_query *query, void *receiver)
{
	struct question *q = CONTAINER_OF(query, struct question, query);

	(void)receiver;
	q->answered = true;
}

int
errand_resolve(
    struct errand *e, const struct host *name, struct resolver_answer *out)
{
	struct question q = {
		.query = {
			.return_to = &e->mailbox,
			.name = *name,
			.on_answer = on_answer,
		},
	};

	/* The resolver has a time limit of its own. */
	if (!resolver_ask(e->resolver, &q.query))
		errand_wait(e, &q.answered);
	*out = q.query.answer;
	return out->error;
}

/* Takes what socket_connect gave. */
static int
finish_connect(int fd, uint64_t timeout_ms)
{
	int err;

	if (fd < 0)
		return fd;
	err = ready_wait(fd, POLLOUT, clock_ms() + timeout_ms);
	if (err == 0)
		err = socket_connect_result(fd);
	if (err == 0)
		return fd;
	close(fd);
	return err;
}

int
errand_connect(const struct addr *to, uint64_t timeout_ms)
{
	return finish_connect(socket_connect(to), timeout_ms);
}

int
errand_connect_unix(const char *path, uint64_t timeout_ms)
{
	return finish_connect(socket_connect_unix(path), timeout_ms);
}
