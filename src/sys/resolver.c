#include "sys/resolver.h"

#include <ares.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "sys/names.h"

#define RESOLV_CONF "/etc/resolv.conf"
#define TTL_MIN_S 1
#define TTL_MAX_S 3600
#define FAILURE_MS 5000
#define DEFAULT_TIMEOUT_MS 5000
#define TRIES 2
/* What passes through every network unfragmented (DNS flag day 2020). */
#define EDNS_BYTES 1232
#define EVENTS_A_TURN 16

struct stamp {
	struct timespec changed;
	uint64_t device, inode, bytes;
};

struct resolver {
	pthread_t thread;
	int wake_fd, epoll_fd;
	uint64_t timeout_ms;
	char *servers, *resolv_conf;

	/* The thread's own. */
	ares_channel channel;
	struct stamp stamp;

	pthread_mutex_t lock; /* over all that follows */
	bool stop;
	struct names names;
	struct list todo;
	struct list waited; /* earliest deadline first */
};

static struct resolver_query *
query_of(struct mail *m)
{
	return CONTAINER_OF(m, struct resolver_query, mail);
}

static void
deliver_query(struct mail *m, void *receiver)
{
	struct resolver_query *q = query_of(m);

	q->on_answer(q, receiver);
}

static void
discard_query(struct mail *m)
{
	struct resolver_query *q = query_of(m);

	if (q->on_discard)
		q->on_discard(q);
}

/* Fills the answers of all who wait and takes them off. Lock held; posting is
 * for later, because a closed mailbox calls the asker's code. */
static struct mail *
take_waiting(struct name *n)
{
	struct mail *first = n->waiting;

	for (struct mail *m = first; m; m = m->next)
		name_answer(n, &query_of(m)->answer);
	n->waiting = NULL;
	n->waiting_last = &n->waiting;
	list_remove(&n->waited);
	return first;
}

static void
post_all(struct mail *m)
{
	while (m) {
		struct mail *next = m->next;

		mailbox_post(query_of(m)->return_to, m);
		m = next;
	}
}

static void
wake_thread(const struct resolver *r)
{
	/* Fails only when the counter is full, and then it is readable. */
	eventfd_write(r->wake_fd, 1);
}

/* True if the thread has to hear of it: it must start or wait less. */
static bool
join_question(struct resolver *r, struct name *n, struct resolver_query *q,
    uint64_t now_ms)
{
	bool first = !n->waiting;

	q->mail.next = NULL;
	q->mail.deliver = deliver_query;
	q->mail.discard = discard_query;
	*n->waiting_last = &q->mail;
	n->waiting_last = &q->mail.next;
	if (first) {
		n->deadline_ms = now_ms + r->timeout_ms;
		list_append(&r->waited, &n->waited);
	}
	if (!n->flying) {
		name_set_flying(&r->names, n, true);
		list_append(&r->todo, &n->todo);
	}
	return first;
}

bool
resolver_ask(struct resolver *r, struct resolver_query *q)
{
	uint64_t now_ms = clock_ms();
	bool known = true, wake = false;
	struct name *n;

	pthread_mutex_lock(&r->lock);
	n = names_find(&r->names, r, &q->name);
	if (!n) {
		q->answer.error = -EIO;
		q->answer.count = 0;
	} else if (now_ms < n->expires_ms) {
		name_answer(n, &q->answer);
		name_touch(&r->names, n);
	} else {
		wake = join_question(r, n, q, now_ms);
		known = false;
	}
	pthread_mutex_unlock(&r->lock);
	if (wake)
		wake_thread(r);
	if (!n)
		LOG_LIMITED(LOG_LEVEL_WARN,
		    "name not asked for, too many questions are open",
		    LOG_SPAN("name", host_span(&q->name)));
	return known;
}

static int
error_of(int status)
{
	switch (status) {
	case ARES_SUCCESS:
		return 0;
	case ARES_ENOTFOUND:
	case ARES_ENODATA:
		return -ENOENT;
	case ARES_ETIMEOUT:
		return -ETIMEDOUT;
	default:
		return -EIO;
	}
}

static size_t
copy_addrs(const struct ares_addrinfo *info, struct addr *addrs)
{
	size_t count = 0;

	for (const struct ares_addrinfo_node *node = info->nodes; node;
	     node = node->ai_next) {
		struct addr a = addr_from_sockaddr(node->ai_addr);

		if (a.family != ADDR_IP4 && a.family != ADDR_IP6)
			continue;
		a.port = 0;
		addrs[count++] = a;
		if (count == RESOLVER_MAX_ADDRS)
			break;
	}
	return count;
}

static int
shorter_ttl(int ttl, int other)
{
	return other < ttl ? other : ttl;
}

/* The shortest of the whole answer: aliases may change before addresses do. */
static uint64_t
ttl_ms_of(const struct ares_addrinfo *info)
{
	int ttl = TTL_MAX_S;

	for (const struct ares_addrinfo_node *node = info->nodes; node;
	     node = node->ai_next)
		ttl = shorter_ttl(ttl, node->ai_ttl);
	for (const struct ares_addrinfo_cname *alias = info->cnames; alias;
	     alias = alias->next)
		ttl = shorter_ttl(ttl, alias->ttl);
	/* Negative: the sign bit was set, which means 0 (RFC 2181 8). */
	return (uint64_t)(ttl < TTL_MIN_S ? TTL_MIN_S : ttl) * 1000;
}

/* Lock held. */
static void
set_answer(struct name *n, int status, const struct ares_addrinfo *info)
{
	uint64_t now_ms = clock_ms();
	struct addr found[RESOLVER_MAX_ADDRS];
	size_t count = info ? copy_addrs(info, found) : 0;
	int error = error_of(status);

	if (error == 0 && count == 0)
		error = -ENOENT;
	if (error < 0)
		name_set_failure(n, error, now_ms + FAILURE_MS);
	else
		name_set_addrs(n, found, count, now_ms + ttl_ms_of(info));
}

/* c-ares is done with a name. May run inside ares_getaddrinfo. */
static void
on_addrinfo(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	struct name *n = arg;
	struct resolver *r = n->resolver;
	struct mail *answered = NULL;

	(void)timeouts;
	pthread_mutex_lock(&r->lock);
	if (status == ARES_EDESTRUCTION && !r->stop) {
		/* The channel was rebuilt: ask the new one. */
		list_append(&r->todo, &n->todo);
	} else {
		name_set_flying(&r->names, n, false);
		set_answer(n, status, info);
		answered = take_waiting(n);
	}
	pthread_mutex_unlock(&r->lock);
	if (info)
		ares_freeaddrinfo(info);
	post_all(answered);
}

/* c-ares says which sockets it has and what it waits for. */
static void
on_socket(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct resolver *r = arg;
	struct epoll_event event = { .data.fd = fd };

	if (readable)
		event.events |= EPOLLIN;
	if (writable)
		event.events |= EPOLLOUT;
	if (event.events == 0)
		epoll_ctl(r->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	else if (epoll_ctl(r->epoll_fd, EPOLL_CTL_MOD, fd, &event) < 0 &&
		 epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		LOG_LIMITED(LOG_LEVEL_ERROR, "watching a DNS socket failed",
		    LOG_ERRNO(errno));
}

static int
channel_open(struct resolver *r, ares_channel *out)
{
	char lookups[] = "fb"; /* /etc/hosts, then DNS */
	struct ares_options o = {
		.flags = ARES_FLAG_EDNS,
		/* Several servers are tried within one question's time. */
		.timeout = (int)(r->timeout_ms / (2 * TRIES)) + 1,
		.tries = TRIES,
		.ednspsz = EDNS_BYTES,
		.lookups = lookups,
		.sock_state_cb = on_socket,
		.sock_state_cb_data = r,
		.resolvconf_path = r->resolv_conf,
	};
	int status = ares_init_options(out, &o,
	    ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
		ARES_OPT_EDNSPSZ | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB |
		ARES_OPT_RESOLVCONF);

	if (status != ARES_SUCCESS)
		return status == ARES_ENOMEM ? -ENOMEM : -EIO;
	if (r->servers &&
	    ares_set_servers_ports_csv(*out, r->servers) != ARES_SUCCESS) {
		ares_destroy(*out);
		return -EINVAL;
	}
	return 0;
}

static struct stamp
stamp_of(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return (struct stamp){ .inode = 0 };
	return (struct stamp){
		.changed = st.st_mtim,
		.device = st.st_dev,
		.inode = st.st_ino,
		.bytes = (uint64_t)st.st_size,
	};
}

static bool
stamp_equal(const struct stamp *a, const struct stamp *b)
{
	return a->changed.tv_sec == b->changed.tv_sec &&
	       a->changed.tv_nsec == b->changed.tv_nsec &&
	       a->device == b->device && a->inode == b->inode &&
	       a->bytes == b->bytes;
}

/* Other servers may know other answers: what is known ends now. */
static void
expire_all(struct resolver *r)
{
	pthread_mutex_lock(&r->lock);
	names_expire_all(&r->names);
	pthread_mutex_unlock(&r->lock);
}

static void
follow_resolv_conf(struct resolver *r)
{
	struct stamp now;
	ares_channel fresh, old = r->channel;

	if (r->servers)
		return;
	now = stamp_of(r->resolv_conf);
	if (stamp_equal(&now, &r->stamp))
		return;
	if (channel_open(r, &fresh) < 0) {
		LOG_LIMITED(LOG_LEVEL_ERROR, "reading resolv.conf again failed",
		    LOG_TEXT("path", r->resolv_conf));
		return;
	}
	r->channel = fresh;
	r->stamp = now;
	ares_destroy(old); /* its questions come back through on_addrinfo */
	expire_all(r);
	LOG_INFO("resolv.conf read again", LOG_TEXT("path", r->resolv_conf));
}

static struct name *
next_todo(struct resolver *r)
{
	struct list *node;

	pthread_mutex_lock(&r->lock);
	node = r->stop ? NULL : list_shift(&r->todo);
	pthread_mutex_unlock(&r->lock);
	return node ? LIST_ENTRY(node, struct name, todo) : NULL;
}

static void
ask_todo(struct resolver *r)
{
	const struct ares_addrinfo_hints hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM, /* each address once */
	};
	struct name *n;

	while ((n = next_todo(r))) {
		/* Before each: it may have been asked after the last look. */
		follow_resolv_conf(r);
		ares_getaddrinfo(
		    r->channel, n->host.text, NULL, &hints, on_addrinfo, n);
	}
}

/* The next one whose time is over, its askers taken off; NULL: none. */
static struct mail *
take_overdue(struct resolver *r)
{
	uint64_t now_ms = clock_ms();
	struct mail *waiting = NULL;
	struct name *n;

	pthread_mutex_lock(&r->lock);
	if (!list_empty(&r->waited)) {
		n = LIST_ENTRY(r->waited.next, struct name, waited);
		if (n->deadline_ms <= now_ms) {
			name_set_failure(n, -ETIMEDOUT, now_ms + FAILURE_MS);
			waiting = take_waiting(n);
		}
	}
	pthread_mutex_unlock(&r->lock);
	return waiting;
}

static void
end_overdue(struct resolver *r)
{
	struct mail *waiting;

	while ((waiting = take_overdue(r)))
		post_all(waiting);
}

/* Until c-ares or the first deadline needs a turn; -1: until woken. */
static int
wait_ms(struct resolver *r)
{
	struct timeval limit = { .tv_sec = 60 }, storage, *tv;
	uint64_t now_ms = clock_ms();
	int wait;

	tv = ares_timeout(r->channel, &limit, &storage);
	wait = (int)(tv->tv_sec * 1000 + tv->tv_usec / 1000 + 1);
	pthread_mutex_lock(&r->lock);
	if (!list_empty(&r->waited)) {
		const struct name *n =
		    LIST_ENTRY(r->waited.next, struct name, waited);

		if (n->deadline_ms <= now_ms)
			wait = 0;
		else if (n->deadline_ms - now_ms < (uint64_t)wait)
			wait = (int)(n->deadline_ms - now_ms);
	}
	pthread_mutex_unlock(&r->lock);
	return wait;
}

static void
take_event(struct resolver *r, const struct epoll_event *event)
{
	int fd = event->data.fd;
	eventfd_t count;

	if (fd == r->wake_fd) {
		eventfd_read(fd, &count);
		return;
	}
	ares_process_fd(r->channel,
	    event->events & ~(uint32_t)EPOLLOUT ? fd : ARES_SOCKET_BAD,
	    event->events & EPOLLOUT ? fd : ARES_SOCKET_BAD);
}

static bool
stopped(struct resolver *r)
{
	bool stop;

	pthread_mutex_lock(&r->lock);
	stop = r->stop;
	pthread_mutex_unlock(&r->lock);
	return stop;
}

static void *
run(void *arg)
{
	struct resolver *r = arg;
	struct epoll_event events[EVENTS_A_TURN];

	pthread_setname_np(pthread_self(), "resolver");
	while (!stopped(r)) {
		int count;

		ask_todo(r);
		count =
		    epoll_wait(r->epoll_fd, events, EVENTS_A_TURN, wait_ms(r));
		for (int i = 0; i < count; i++)
			take_event(r, &events[i]);
		ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
		end_overdue(r);
	}
	return NULL;
}

static int
start_thread(struct resolver *r)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&r->thread, NULL, run, r);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

static int
open_descriptors(struct resolver *r)
{
	struct epoll_event event = { .events = EPOLLIN };

	r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (r->epoll_fd < 0)
		return -errno;
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->wake_fd < 0)
		return -errno;
	event.data.fd = r->wake_fd;
	if (epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, r->wake_fd, &event) < 0)
		return -errno;
	return 0;
}

static int
copy_settings(struct resolver *r, const struct resolver_settings *settings)
{
	const char *path =
	    settings->resolv_conf ? settings->resolv_conf : RESOLV_CONF;

	r->timeout_ms =
	    settings->timeout_ms ? settings->timeout_ms : DEFAULT_TIMEOUT_MS;
	r->resolv_conf = strdup(path);
	if (!r->resolv_conf)
		return -ENOMEM;
	if (settings->servers) {
		r->servers = strdup(settings->servers);
		if (!r->servers)
			return -ENOMEM;
	}
	return 0;
}

static struct resolver *
alloc_resolver(void)
{
	struct resolver *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	if (names_init(&r->names) < 0) {
		free(r);
		return NULL;
	}
	r->wake_fd = r->epoll_fd = -1;
	list_init(&r->todo);
	list_init(&r->waited);
	pthread_mutex_init(&r->lock, NULL);
	return r;
}

static void
free_parts(struct resolver *r)
{
	names_fini(&r->names);
	if (r->wake_fd >= 0)
		close(r->wake_fd);
	if (r->epoll_fd >= 0)
		close(r->epoll_fd);
	pthread_mutex_destroy(&r->lock);
	free(r->servers);
	free(r->resolv_conf);
	free(r);
	ares_library_cleanup();
}

struct resolver *
resolver_new(const struct resolver_settings *settings, int *error)
{
	struct resolver *r = alloc_resolver();

	*error = -ENOMEM;
	if (!r)
		return NULL;
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		goto fail;
	*error = copy_settings(r, settings);
	if (*error < 0)
		goto fail;
	*error = open_descriptors(r);
	if (*error < 0)
		goto fail;
	r->stamp = stamp_of(r->resolv_conf);
	*error = channel_open(r, &r->channel);
	if (*error < 0)
		goto fail;
	*error = start_thread(r);
	if (*error == 0)
		return r;
	ares_destroy(r->channel);
fail:
	free_parts(r);
	return NULL;
}

static struct mail *
take_left_over(struct resolver *r)
{
	struct mail *waiting = NULL;

	pthread_mutex_lock(&r->lock);
	if (!list_empty(&r->waited)) {
		struct name *n =
		    LIST_ENTRY(r->waited.next, struct name, waited);

		name_set_failure(n, -EIO, 0);
		waiting = take_waiting(n);
	}
	pthread_mutex_unlock(&r->lock);
	return waiting;
}

void
resolver_free(struct resolver *r)
{
	struct mail *waiting;

	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	pthread_mutex_unlock(&r->lock);
	wake_thread(r);
	pthread_join(r->thread, NULL);
	ares_destroy(r->channel);
	/* Those that c-ares was never asked for. */
	while ((waiting = take_left_over(r)))
		post_all(waiting);
	free_parts(r);
}
