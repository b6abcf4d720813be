#include "cmd/run.h"

#include "config.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/slab.h"
#include "cmd/commands.h"
#include "cmd/load.h"
#include "cmd/reread.h"
#include "cmd/screen.h"
#include "cmd/sink.h"
#include "engine/edge.h"
#include "sys/notify.h"
#include "sys/privileges.h"

#define ERROR_SIZE 2048

/*
 * Every thread inherits the mask, so signals reach only the descriptor: no
 * handler runs anywhere, and none can meet a lock half way (CVE-2024-6387).
 */
static int
open_signals(void)
{
	static const int taken[] = { SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2,
		SIGWINCH };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_COUNT(taken); i++)
		sigaddset(&set, taken[i]);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return -errno;
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

bool
run_same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

void
run_warn_of_key(bool same, const char *section, const char *key)
{
	char storage[64];
	struct text name;

	if (same)
		return;
	text_init(&name, storage, sizeof(storage));
	text_addf(&name, "%s.%s", section, key);
	LOG_WARN(
	    "takes effect at the next start only", LOG_TEXT("key", name.data));
}

/* What a reload cannot change must not seem to have been: the keys that the
 * manual marks with "restart". */
static void
warn_of_restart(
    const struct run *r, const struct snapshot *old, const struct snapshot *new)
{
	const char *self = r->kind->section;

	run_warn_of_key(old->workers == new->workers, self, "workers");
	run_warn_of_key(
	    run_same_text(old->resolver_servers, new->resolver_servers), self,
	    "resolver.servers");
	run_warn_of_key(run_same_text(old->state, new->state), self, "state");
	run_warn_of_key(run_same_text(old->log_target, new->log_target), self,
	    "log.target");
	run_warn_of_key(old->log_format == new->log_format, self, "log.format");
	run_warn_of_key(old->log_level == new->log_level, self, "log.level");
	r->kind->warn_of_restart(old, new);
}

/* True when the edge runs by `next` now; it is taken then. */
static bool
switch_to(struct run *r, struct snapshot *next, struct text *error)
{
	struct journal_sink *sinks;

	if (r->kind->prepare != NULL && !r->kind->prepare(r, next, error))
		return false;
	if (sinks_open(next, &sinks, error) != 0 ||
	    edge_reload(r->edge, next, sinks, error) != 0) {
		if (r->kind->discard != NULL)
			r->kind->discard(r);
		return false;
	}
	warn_of_restart(r, r->snapshot, next);
	snapshot_put(r->snapshot);
	r->snapshot = next;
	if (r->kind->on_switch != NULL)
		r->kind->on_switch(r);
	return true;
}

/* With what only a flag can say. */
static struct snapshot *
load(const struct run_source *source, struct problems *p)
{
	struct snapshot *s = source->load(source->context, p);

	if (s == NULL || source->keylog == NULL)
		return s;
	s->keylog = strdup(source->keylog);
	if (s->keylog != NULL)
		return s;
	problems_add_no_memory(p);
	snapshot_put(s);
	return NULL;
}

static void
load_and_switch(struct run *r, struct problems *p)
{
	struct snapshot *next = load(r->source, p);
	char storage[ERROR_SIZE];
	struct text error;

	text_init(&error, storage, sizeof(storage));
	if (next == NULL) {
		log_problems(p);
		text_add(&error, problems_get(p, 0));
		if (problems_count(p) > 1)
			text_addf(
			    &error, " (and %zu more)", problems_count(p) - 1);
	} else if (switch_to(r, next, &error)) {
		log_warnings(next);
		r->kind->announce(r);
		LOG_INFO(
		    "reloaded", LOG_INT("endpoints", next->endpoint_count));
		return;
	}
	if (next != NULL)
		snapshot_put(next);
	LOG_ERROR("reload failed, the old configuration stays",
	    LOG_TEXT("error", error.data));
}

static void
reload(struct run *r)
{
	if (r->draining) {
		LOG_WARN("not reloaded", LOG_TEXT("error", "draining"));
		return;
	}
	struct problems *p = problems_new();

	if (p == NULL) {
		LOG_ERROR("reload failed, the old configuration stays",
		    LOG_ERRNO(ENOMEM));
		return;
	}
	notify_reloading();
	load_and_switch(r, p);
	notify_send("READY=1");
	problems_free(p);
}

static void
drain(struct run *r, const char *why)
{
	r->draining = true;
	edge_drain(r->edge);
	/* Who reads this may rely on the listeners' being closed. */
	LOG_INFO("draining", LOG_TEXT("signal", why),
	    LOG_INT("at_most_ms", r->snapshot->timeouts.drain_ms));
}

static void
drain_or_stop(struct run *r, const char *why)
{
	if (r->draining) {
		LOG_WARN("stopping at once", LOG_TEXT("signal", why));
		r->stop = true;
		return;
	}
	notify_send("STOPPING=1\nSTATUS=draining");
	/* Who is to go does not leave one behind. */
	successor_stop(&r->successor);
	drain(r, why);
}

/* --- a successor --- */

/* Why none can be started; NULL: one can. */
static const char *
against_successor(const struct run *r)
{
	if (!r->kind->has_listeners)
		return "an agent has no listeners to pass on; restart it: it "
		       "keeps its names";
	if (r->source->screen)
		return "the status screen stays with this process";
	if (r->draining)
		return "draining";
	if (r->successor.fd >= 0)
		return "one is starting already";
	return NULL;
}

static void
hand_over(struct run *r)
{
	const char *why = against_successor(r);
	int err = why == NULL
		      ? successor_start(&r->successor, r->edge, r->snapshot)
		      : 0;

	if (why != NULL)
		LOG_WARN("no successor is started", LOG_TEXT("error", why));
	else if (err < 0)
		LOG_ERROR("no successor can be started", LOG_ERRNO(-err));
	else
		LOG_INFO("a successor is starting",
		    LOG_INT("successor", r->successor.pid));
}

/* Until it serves, this process does; then the service manager's main process
 * is the other one, and this one lets its connections finish. */
static void
hear_successor(struct run *r)
{
	char storage[64];
	struct text state;

	int err = successor_hear(&r->successor);

	if (err != 0) {
		LOG_ERROR("the successor has failed, this process goes on",
		    LOG_INT("successor", r->successor.pid),
		    LOG_TEXT("error",
			err == -ECHILD
			    ? "it has ended; its log or standard error says why"
			    : log_errno_text(-err)));
		return;
	}
	LOG_INFO(
	    "the successor serves", LOG_INT("successor", r->successor.pid));
	text_init(&state, storage, sizeof(storage));
	text_addf(&state, "MAINPID=%d", (int)r->successor.pid);
	notify_send(state.data);
	r->watchdog_ms = 0;
	if (!r->draining)
		drain(r, "USR2");
}

static void
reopen(struct run *r)
{
	int err = log_reopen();

	if (err != 0)
		LOG_ERROR("cannot open the log file again; the old one stays",
		    LOG_ERRNO(-err));
	edge_reopen(r->edge);
	LOG_INFO(
	    "log and event files opened again", LOG_TEXT("signal", "USR1"));
}

static void
on_signal(struct run *r, uint32_t number)
{
	switch (number) {
	case SIGHUP:
		reload(r);
		break;
	case SIGTERM:
		drain_or_stop(r, "TERM");
		break;
	case SIGINT:
		drain_or_stop(r, "INT");
		break;
	case SIGUSR1:
		reopen(r);
		break;
	case SIGUSR2:
		hand_over(r);
		break;
	default: /* WINCH: the next picture has the new size */
		break;
	}
}

static void
take_signals(struct run *r)
{
	struct signalfd_siginfo info;

	while (!r->stop &&
	       read(r->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		on_signal(r, info.ssi_signo);
}

static void
draw(struct run *r)
{
	if (r->screen == NULL ||
	    screen_draw(r->screen, r->edge, r->snapshot, r->draining))
		return;
	/* The window was closed; nobody can press Ctrl-C any more. */
	screen_close(r->screen);
	r->screen = NULL;
	if (!r->draining)
		drain_or_stop(r, "terminal gone");
}

static int
next_timeout(const struct run *r)
{
	if (r->screen != NULL)
		return SCREEN_INTERVAL_MS;
	if (r->watchdog_ms > 0)
		return r->watchdog_ms > 60000 ? 60000 : (int)r->watchdog_ms;
	return -1;
}

/* False: it cannot go on. */
static bool
serve(struct run *r)
{
	struct pollfd fds[] = {
		{ .fd = r->signal_fd, .events = POLLIN },
		{ .fd = -1, .events = POLLIN },
		{ .fd = r->refused_fd, .events = POLLIN },
		{ .fd = -1, .events = POLLIN },
	};

	while (!r->stop) {
		draw(r);
		if (r->draining)
			fds[1].fd = edge_drained_fd(r->edge);
		fds[3].fd = r->successor.fd;
		if (poll(fds, ARRAY_COUNT(fds), next_timeout(r)) < 0 &&
		    errno != EINTR)
			ASSERT(errno == ENOMEM);
		if (r->watchdog_ms > 0)
			notify_send("WATCHDOG=1");
		if (fds[3].fd >= 0 && fds[3].revents != 0)
			hear_successor(r);
		take_signals(r);
		if (r->draining && fds[1].fd >= 0 && fds[1].revents != 0)
			r->stop = true;
		if (fds[2].fd >= 0 && fds[2].revents != 0)
			return false;
	}
	return true;
}

/* The engine has warned of it; this is what to type. */
static void
advise_trust(const struct snapshot *s)
{
	char path[PATH_MAX], curl[PATH_MAX + 32], all[PATH_MAX + 128];
	struct text t;

	if (!s->local_ca)
		return;
	local_ca_path(s, path, sizeof(path));
	text_init(&t, curl, sizeof(curl));
	text_addf(&t, "curl --cacert %s", path);
	text_init(&t, all, sizeof(all));
	text_addf(&t,
	    "cp %s /usr/local/share/ca-certificates/lunette.crt && "
	    "update-ca-certificates",
	    path);
	LOG_INFO("how to trust the local CA", LOG_TEXT("once", curl),
	    LOG_TEXT("debian", all));
}

static void
announce(struct run *r)
{
	log_warnings(r->snapshot);
	advise_trust(r->snapshot);
	r->kind->announce(r);
	LOG_INFO("ready", LOG_TEXT("version", PACKAGE_VERSION),
	    LOG_INT("endpoints", r->snapshot->endpoint_count),
	    LOG_INT("pid", getpid()));
	int err = notify_send("READY=1\nSTATUS=serving");

	if (err != 0)
		LOG_WARN("cannot tell the service manager", LOG_ERRNO(-err));
	r->watchdog_ms = notify_watchdog_ms();
	inherit_tell_ready(&r->inherited);
}

/* Everything that is done once the engine runs. */
static int
run_started(struct run *r)
{
	char storage[ERROR_SIZE];
	struct text error;

	text_init(&error, storage, sizeof(storage));
	if (r->snapshot->user != NULL &&
	    privileges_become(r->snapshot->user, &error) != 0) {
		say_error("%s", error.data);
		return EXIT_FAILED;
	}
	if (r->snapshot->user != NULL &&
	    !reread_possible(r->snapshot, &error)) {
		say_error("edge.user: \"%s\" could not read a file again that "
			  "a reload needs: %s",
		    r->snapshot->user, error.data);
		return EXIT_FAILED;
	}
	announce(r);
	if (r->source->screen)
		r->screen = screen_open();
	bool told = serve(r);

	screen_close(r->screen);
	r->screen = NULL;
	if (told)
		return EXIT_DONE;
	r->kind->refuse(r);
	return EXIT_FAILED;
}

static void
warn_of_unused_sockets(struct run *r)
{
	size_t count = inherit_close_rest(&r->inherited);

	if (count > 0)
		LOG_WARN("sockets were passed that no listener of the "
			 "configuration is for: closed",
		    LOG_INT("count", count));
}

static int
start(struct run *r)
{
	char storage[ERROR_SIZE];
	struct journal_sink *sinks;
	struct text error;

	text_init(&error, storage, sizeof(storage));
	if (inherit_take(&r->inherited, &error) == 0 &&
	    sinks_open(r->snapshot, &sinks, &error) == 0 &&
	    r->kind->start(r, sinks, &error)) {
		warn_of_unused_sockets(r);
		return EXIT_DONE;
	}
	say_error("%s", error.data);
	return EXIT_FAILED;
}

static void
raise_descriptors(void)
{
	uint64_t limit;
	int err = privileges_raise_descriptors(&limit);

	if (err != 0)
		LOG_WARN("cannot raise the limit of descriptors",
		    LOG_INT("limit", limit), LOG_ERRNO(-err));
}

static int
run_logged(struct run *r)
{
	slab_keep_mapping();
	raise_descriptors();
	r->signal_fd = open_signals();
	if (r->signal_fd < 0) {
		say_error("signalfd: %s", strerror(-r->signal_fd));
		return EXIT_FAILED;
	}
	int code = start(r);

	if (code == EXIT_DONE) {
		code = run_started(r);
		if (r->kind->stop != NULL)
			r->kind->stop(r);
		edge_free(r->edge);
		if (r->kind->finish != NULL)
			r->kind->finish(r);
		LOG_INFO("stopped", LOG_INT("pid", getpid()));
	}
	inherit_fini(&r->inherited);
	successor_stop(&r->successor);
	close(r->signal_fd);
	return code;
}

static int
open_log(const struct snapshot *s)
{
	struct log_settings settings = {
		.target = s->log_target,
		.format = s->log_format,
		.level = s->log_level,
	};
	bool made = access(s->log_target, F_OK) != 0;
	int err = log_open(&settings);

	if (err != 0) {
		say_error("cannot write the log to %s: %s", settings.target,
		    strerror(-err));
		return EXIT_FAILED;
	}
	/* Only a file that has come into being just now; not "stderr". */
	if (made && s->user != NULL && access(s->log_target, F_OK) == 0 &&
	    privileges_give_file(s->log_target, s->user) != 0)
		LOG_WARN("edge.user cannot open this file again",
		    LOG_TEXT("log", s->log_target));
	return EXIT_DONE;
}

static int
run_loaded(struct run *r)
{
	int code = open_log(r->snapshot);

	if (code != EXIT_DONE)
		return code;
	code = run_logged(r);
	log_close();
	return code;
}

int
run_process(const struct run_source *source, const struct run_kind *kind)
{
	struct run r = { .source = source,
		.kind = kind,
		.signal_fd = -1,
		.refused_fd = -1,
		.inherited.ready_fd = -1,
		.successor.fd = -1 };
	struct problems *p = problems_new();

	if (p == NULL) {
		say_error("out of memory");
		return EXIT_FAILED;
	}
	/* Before the first key is read. */
	privileges_hide_memory();
	privileges_refuse_new();
	r.snapshot = load(source, p);
	if (r.snapshot == NULL)
		print_problems(p, source->problem_prefix);
	problems_free(p);
	if (r.snapshot == NULL)
		return source->problem_code;
	int code = run_loaded(&r);

	snapshot_put(r.snapshot);
	return code;
}
