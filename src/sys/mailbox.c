#include "sys/mailbox.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

int
mailbox_init(struct mailbox *m, uint32_t limit)
{
	*m = (struct mailbox){ .limit = limit };
	m->last = &m->first;
	m->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (m->event_fd < 0)
		return -errno;
	pthread_mutex_init(&m->lock, NULL);
	return 0;
}

/* Takes all mails out; the lock is held. */
static struct mail *
take_all(struct mailbox *m)
{
	struct mail *first = m->first;

	m->first = NULL;
	m->last = &m->first;
	m->count = 0;
	return first;
}

static void
append(struct mailbox *m, struct mail *mail)
{
	mail->next = NULL;
	*m->last = mail;
	m->last = &mail->next;
	m->count++;
}

/* Fails only when the counter is full, and then the receiver knows already. */
static void
signal_receiver(const struct mailbox *m)
{
	const uint64_t one = 1;
	ssize_t n = write(m->event_fd, &one, sizeof(one));

	ASSERT(n == sizeof(one) || errno == EAGAIN);
}

void
mailbox_close(struct mailbox *m)
{
	struct mail *mail;

	pthread_mutex_lock(&m->lock);
	m->closed = true;
	mail = take_all(m);
	pthread_mutex_unlock(&m->lock);
	while (mail) {
		struct mail *next = mail->next;

		mail->discard(mail);
		mail = next;
	}
}

void
mailbox_fini(struct mailbox *m)
{
	mailbox_close(m);
	pthread_mutex_destroy(&m->lock);
	close(m->event_fd);
	m->event_fd = -1;
}

void
mailbox_post(struct mailbox *m, struct mail *mail)
{
	bool closed, was_empty;

	pthread_mutex_lock(&m->lock);
	closed = m->closed;
	was_empty = !m->first;
	if (!closed)
		append(m, mail);
	pthread_mutex_unlock(&m->lock);
	if (closed)
		mail->discard(mail);
	else if (was_empty)
		signal_receiver(m);
}

bool
mailbox_try_post(struct mailbox *m, struct mail *mail)
{
	bool accepted, was_empty;

	pthread_mutex_lock(&m->lock);
	accepted = !m->closed && m->count < m->limit;
	was_empty = !m->first;
	if (accepted)
		append(m, mail);
	pthread_mutex_unlock(&m->lock);
	if (accepted && was_empty)
		signal_receiver(m);
	return accepted;
}

/*
 * The eventfd is emptied before the list: a sender that comes in between
 * signals again, and at worst one wake finds nothing.
 */
void
mailbox_deliver(struct mailbox *m, void *receiver)
{
	struct mail *mail;
	uint64_t signals;

	if (read(m->event_fd, &signals, sizeof(signals)) < 0)
		ASSERT(errno == EAGAIN || errno == EINTR);
	pthread_mutex_lock(&m->lock);
	mail = take_all(m);
	pthread_mutex_unlock(&m->lock);
	while (mail) {
		struct mail *next = mail->next;

		mail->deliver(mail, receiver);
		mail = next;
	}
}
