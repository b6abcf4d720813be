#include "unit.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include "base/compiler.h"
#include "faults.h"
#include "sys/mailbox.h"

FAULT(eventfd);

int __real_eventfd(unsigned, int);
int __wrap_eventfd(unsigned, int);

int
__wrap_eventfd(unsigned count, int flags)
{
	return fault_hits(&eventfd_fault) ? -1 : __real_eventfd(count, flags);
}

struct letter {
	struct mail mail;
	int sender, number;
};

struct receiver {
	struct mailbox box;
	int delivered, last[8];
	bool post_again;
};

static atomic_int discarded;

static void
on_discard(struct mail *m)
{
	atomic_fetch_add(&discarded, 1);
	free(CONTAINER_OF(m, struct letter, mail));
}

static struct mail *write_letter(int sender, int number);

static void
on_deliver(struct mail *m, void *arg)
{
	struct letter *l = CONTAINER_OF(m, struct letter, mail);
	struct receiver *r = arg;

	ck_assert_int_gt(l->number, r->last[l->sender]);
	r->last[l->sender] = l->number;
	r->delivered++;
	if (r->post_again)
		mailbox_post(&r->box, write_letter(l->sender, l->number + 1));
	free(l);
}

static struct mail *
write_letter(int sender, int number)
{
	struct letter *l = calloc(1, sizeof(*l));

	ASSERT(l);
	l->mail.deliver = on_deliver;
	l->mail.discard = on_discard;
	l->sender = sender;
	l->number = number;
	return &l->mail;
}

static bool
is_signalled(const struct receiver *r)
{
	struct pollfd p = { r->box.event_fd, POLLIN, 0 };

	return poll(&p, 1, 0) == 1;
}

START_TEST(mail_arrives_in_order)
{
	struct receiver r = { .delivered = 0 };

	ck_assert_int_eq(mailbox_init(&r.box, 10), 0);
	ck_assert(!is_signalled(&r));
	for (int i = 1; i <= 100; i++)
		mailbox_post(&r.box, write_letter(0, i));
	ck_assert(is_signalled(&r));
	mailbox_deliver(&r.box, &r);
	ck_assert_int_eq(r.delivered, 100);
	ck_assert(!is_signalled(&r));
	mailbox_deliver(&r.box, &r);
	ck_assert_int_eq(r.delivered, 100);
	mailbox_fini(&r.box);
}
END_TEST

START_TEST(only_the_first_letter_signals)
{
	struct receiver r = { .delivered = 0 };
	uint64_t signals;

	ck_assert_int_eq(mailbox_init(&r.box, 10), 0);
	for (int i = 1; i <= 9; i++)
		mailbox_post(&r.box, write_letter(0, i));
	ck_assert_int_eq(eventfd_read(r.box.event_fd, &signals), 0);
	ck_assert_uint_eq(signals, 1);
	mailbox_deliver(&r.box, &r);
	ck_assert_int_eq(r.delivered, 9);
	mailbox_fini(&r.box);
}
END_TEST

START_TEST(what_is_posted_meanwhile_waits_for_the_next_time)
{
	struct receiver r = { .post_again = true };

	ck_assert_int_eq(mailbox_init(&r.box, 10), 0);
	mailbox_post(&r.box, write_letter(0, 1));
	mailbox_deliver(&r.box, &r);
	ck_assert_int_eq(r.delivered, 1);
	ck_assert(is_signalled(&r));
	mailbox_deliver(&r.box, &r);
	ck_assert_int_eq(r.delivered, 2);
	mailbox_fini(&r.box);
	ck_assert_int_eq(discarded, 1);
}
END_TEST

START_TEST(a_full_box_refuses_only_those_who_try)
{
	struct receiver r = { .delivered = 0 };
	struct mail *extra = write_letter(0, 4);

	ck_assert_int_eq(mailbox_init(&r.box, 2), 0);
	ck_assert(mailbox_try_post(&r.box, write_letter(0, 1)));
	ck_assert(mailbox_try_post(&r.box, write_letter(0, 2)));
	ck_assert(!mailbox_try_post(&r.box, extra));
	mailbox_post(&r.box, write_letter(0, 3));
	mailbox_deliver(&r.box, &r);
	ck_assert(mailbox_try_post(&r.box, extra));
	mailbox_deliver(&r.box, &r);
	ck_assert_int_eq(r.delivered, 4);
	mailbox_fini(&r.box);
}
END_TEST

START_TEST(a_closed_box_discards)
{
	struct receiver r = { .delivered = 0 };
	struct mail *extra = write_letter(0, 4);

	ck_assert_int_eq(mailbox_init(&r.box, 9), 0);
	mailbox_post(&r.box, write_letter(0, 1));
	mailbox_post(&r.box, write_letter(0, 2));
	mailbox_close(&r.box);
	ck_assert_int_eq(discarded, 2);
	mailbox_post(&r.box, write_letter(0, 3));
	ck_assert_int_eq(discarded, 3);
	ck_assert(!mailbox_try_post(&r.box, extra));
	on_discard(extra);
	mailbox_deliver(&r.box, &r);
	ck_assert_int_eq(r.delivered, 0);
	mailbox_close(&r.box);
	mailbox_fini(&r.box);
}
END_TEST

START_TEST(no_descriptor_is_reported)
{
	struct mailbox box;
	int err;

	fault_set(&eventfd_fault, 1, EMFILE);
	UNDER_FAULTS(err = mailbox_init(&box, 1));
	ck_assert_int_eq(err, -EMFILE);
}
END_TEST

#define SENDERS 4
#define LETTERS 5000

struct sender {
	pthread_t thread;
	struct mailbox *box;
	int number;
};

static void *
send_letters(void *arg)
{
	struct sender *s = arg;

	for (int i = 1; i <= LETTERS; i++) {
		struct mail *m = write_letter(s->number, i);

		if (i % 2 || !mailbox_try_post(s->box, m))
			mailbox_post(s->box, m);
	}
	return NULL;
}

static void
start_senders(struct sender *senders, struct mailbox *box)
{
	for (int i = 0; i < SENDERS; i++) {
		senders[i].box = box;
		senders[i].number = i;
		ck_assert_int_eq(pthread_create(&senders[i].thread, NULL,
				     send_letters, &senders[i]),
		    0);
	}
}

/* The receiver waits for the signal only: a lost one would hang the test. */
START_TEST(no_letter_and_no_signal_is_lost)
{
	struct receiver r = { .delivered = 0 };
	struct sender senders[SENDERS];

	ck_assert_int_eq(mailbox_init(&r.box, 50), 0);
	start_senders(senders, &r.box);
	while (r.delivered < SENDERS * LETTERS) {
		struct pollfd p = { r.box.event_fd, POLLIN, 0 };

		ck_assert_int_eq(poll(&p, 1, 30000), 1);
		mailbox_deliver(&r.box, &r);
	}
	for (int i = 0; i < SENDERS; i++)
		pthread_join(senders[i].thread, NULL);
	mailbox_fini(&r.box);
	ck_assert_int_eq(discarded, 0);
}
END_TEST

START_TEST(each_letter_is_delivered_or_discarded_once)
{
	struct receiver r = { .delivered = 0 };
	struct sender senders[SENDERS];

	ck_assert_int_eq(mailbox_init(&r.box, 50), 0);
	start_senders(senders, &r.box);
	while (r.delivered < LETTERS)
		mailbox_deliver(&r.box, &r);
	mailbox_close(&r.box);
	for (int i = 0; i < SENDERS; i++)
		pthread_join(senders[i].thread, NULL);
	mailbox_fini(&r.box);
	ck_assert_int_eq(r.delivered + discarded, SENDERS * LETTERS);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, mail_arrives_in_order);
	tcase_add_test(tcase, only_the_first_letter_signals);
	tcase_add_test(tcase, what_is_posted_meanwhile_waits_for_the_next_time);
	tcase_add_test(tcase, a_full_box_refuses_only_those_who_try);
	tcase_add_test(tcase, a_closed_box_discards);
	tcase_add_test(tcase, no_descriptor_is_reported);
	tcase_add_test(tcase, no_letter_and_no_signal_is_lost);
	tcase_add_test(tcase, each_letter_is_delivered_or_discarded_once);
}

UNIT_MAIN("mailbox", add_tests)
