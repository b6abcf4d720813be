#include "cmd/successor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sys/inherit.h"

#define MAX_ARGUMENTS_BYTES (1024 * 1024)

/* Everything that is needed between fork and exec, where nothing may be
 * allocated. */
struct birth {
	char path[PATH_MAX];
	char *arguments; /* one after the other, as in /proc/self/cmdline */
	char **argv, **env;
	int *fds; /* in the order in which it gets them; the last is the pipe */
	size_t count;
	char listen_fds[32], ready_fd[48];
	char listen_pid[32], watchdog_pid[32]; /* the child fills them in */
	char state[PATH_MAX + 32];
};

/* --- before the fork --- */

/* By the path with which it was started, else by that of its file: what is
 * there now. */
static int
find_program(const char *name, char path[PATH_MAX])
{
	static const char gone[] = " (deleted)";
	size_t suffix = strlen(gone);
	ssize_t n;

	if (strchr(name, '/') && strlen(name) < PATH_MAX) {
		strcpy(path, name);
		return access(path, X_OK) == 0 ? 0 : -errno;
	}
	n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	if ((size_t)n > suffix && strcmp(path + n - suffix, gone) == 0 &&
	    access(path, F_OK) != 0)
		path[(size_t)n - suffix] = '\0';
	return access(path, X_OK) == 0 ? 0 : -errno;
}

/* All of it, with one more zero byte behind. */
static int
read_arguments(char **out, size_t *len)
{
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	char *data = malloc(MAX_ARGUMENTS_BYTES + 1);
	ssize_t n = 0;

	*len = 0;
	if (fd >= 0 && data)
		while (
		    *len < MAX_ARGUMENTS_BYTES &&
		    (n = read(fd, data + *len, MAX_ARGUMENTS_BYTES - *len)) > 0)
			*len += (size_t)n;
	if (fd >= 0)
		close(fd);
	if (fd < 0 || !data || n < 0 || *len == MAX_ARGUMENTS_BYTES) {
		free(data);
		return fd < 0 || n < 0 ? -EIO : -ENOMEM;
	}
	data[*len] = '\0';
	*out = data;
	return 0;
}

static int
make_argv(struct birth *b)
{
	size_t len, count = 0;
	int err = read_arguments(&b->arguments, &len);

	if (err < 0)
		return err;
	for (size_t i = 0; i < len; i++)
		count += b->arguments[i] == '\0';
	b->argv = calloc(count + 1, sizeof(*b->argv));
	if (!b->argv)
		return -ENOMEM;
	count = 0;
	for (size_t i = 0; i < len; i += strlen(b->arguments + i) + 1)
		b->argv[count++] = b->arguments + i;
	return 0;
}

/* What speaks of this process and its watchdog. */
static bool
is_replaced(const char *variable)
{
	static const char *const names[] = { "LISTEN_PID=", "LISTEN_FDS=",
		"LISTEN_FDNAMES=", "LUNETTE_READY_FD=", "WATCHDOG_PID=",
		"STATE_DIRECTORY=" };

	for (size_t i = 0; i < ARRAY_COUNT(names); i++)
		if (strncmp(variable, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

/* Who has given up root would look for it elsewhere. A colon would end it (it
 * separates several): such a folder is found by the other variables. */
static void
write_state(struct birth *b, const struct snapshot *s)
{
	snprintf(b->state, sizeof(b->state), "STATE_DIRECTORY=%s",
	    s->state != NULL && !strchr(s->state, ':') ? s->state : "");
}

static int
make_env(struct birth *b, const struct snapshot *s)
{
	size_t count = 0;

	while (environ[count])
		count++;
	b->env = calloc(count + 6, sizeof(*b->env));
	if (!b->env)
		return -ENOMEM;
	count = 0;
	for (size_t i = 0; environ[i]; i++)
		if (!is_replaced(environ[i]))
			b->env[count++] = environ[i];
	snprintf(
	    b->listen_fds, sizeof(b->listen_fds), "LISTEN_FDS=%zu", b->count);
	snprintf(b->ready_fd, sizeof(b->ready_fd), "LUNETTE_READY_FD=%zu",
	    INHERIT_FIRST_FD + b->count);
	b->env[count++] = b->listen_fds;
	b->env[count++] = b->ready_fd;
	b->env[count++] = b->listen_pid;
	b->env[count++] = b->watchdog_pid;
	write_state(b, s);
	b->env[count] = b->state;
	return 0;
}

static int
list_sockets(struct birth *b, const struct edge *e, int ready_fd)
{
	b->count = edge_listener_count(e);
	b->fds = calloc(b->count + 1, sizeof(*b->fds));
	if (!b->fds)
		return -ENOMEM;
	for (size_t i = 0; i < b->count; i++)
		b->fds[i] = edge_listener_fd(e, i);
	b->fds[b->count] = ready_fd;
	return 0;
}

static int
prepare(struct birth *b, const struct edge *e, const struct snapshot *s,
    int ready_fd)
{
	int err = make_argv(b);

	if (err == 0)
		err = find_program(b->argv[0] ? b->argv[0] : "", b->path);
	if (err == 0)
		err = list_sockets(b, e, ready_fd);
	return err == 0 ? make_env(b, s) : err;
}

static void
birth_fini(struct birth *b)
{
	free(b->arguments);
	free(b->argv);
	free(b->env);
	free(b->fds);
}

/* --- the child --- */

/* Only what is safe after the fork of a process with threads, here and below
 * (signal-safety(7)): snprintf is not. */
static void
write_pid(char *out, const char *name, pid_t pid)
{
	char digits[16];
	size_t n = 0, at = strlen(name);

	memcpy(out, name, at);
	do
		digits[n++] = (char)('0' + pid % 10);
	while ((pid /= 10) > 0);
	while (n > 0)
		out[at++] = digits[--n];
	out[at] = '\0';
}

/* From 3 on, in their order. First out of the way, since some may stand where
 * others belong. A copy is not closed by exec. */
static bool
place(struct birth *b)
{
	int above = INHERIT_FIRST_FD + (int)b->count + 1;

	for (size_t i = 0; i <= b->count; i++) {
		b->fds[i] = fcntl(b->fds[i], F_DUPFD_CLOEXEC, above);
		if (b->fds[i] < 0)
			return false;
	}
	for (size_t i = 0; i <= b->count; i++)
		if (dup2(b->fds[i], INHERIT_FIRST_FD + (int)i) < 0)
			return false;
	return true;
}

/* Until it takes signals by itself, one that is to end it does. */
static void
unblock_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void
be_born(struct birth *b)
{
	unsigned char error;

	unblock_signals();
	write_pid(b->listen_pid, "LISTEN_PID=", getpid());
	write_pid(b->watchdog_pid, "WATCHDOG_PID=", getpid());
	if (place(b))
		execve(b->path, b->argv, b->env);
	error = (unsigned char)errno;
	(void)!write(b->fds[b->count], &error, 1);
	_exit(127);
}

/* --- the parent --- */

static int
give_birth(struct successor *s, struct birth *b)
{
	s->pid = fork();
	if (s->pid < 0)
		return -errno;
	if (s->pid == 0)
		be_born(b);
	return 0;
}

int
successor_start(
    struct successor *s, const struct edge *e, const struct snapshot *snapshot)
{
	struct birth b = { .argv = NULL };
	int fds[2], err;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	err = prepare(&b, e, snapshot, fds[1]);
	if (err == 0)
		err = give_birth(s, &b);
	birth_fini(&b);
	close(fds[1]);
	if (err == 0)
		s->fd = fds[0];
	else
		close(fds[0]);
	return err;
}

int
successor_hear(struct successor *s)
{
	unsigned char error;
	ssize_t n;

	do
		n = read(s->fd, &error, 1);
	while (n < 0 && errno == EINTR);
	close(s->fd);
	s->fd = -1;
	return n == 1 ? -(int)error : -ECHILD;
}

void
successor_stop(struct successor *s)
{
	if (s->fd < 0)
		return;
	kill(s->pid, SIGTERM);
	close(s->fd);
	s->fd = -1;
}
