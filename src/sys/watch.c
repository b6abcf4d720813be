#include "sys/watch.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"

/* Names that come, go and change their rights; and for the last name on a way
 * the writing too: a log in a folder further up must not wake us. */
#define NAME_EVENTS                                                        \
	(IN_CREATE | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | \
	    IN_DELETE_SELF | IN_MOVE_SELF)
#define WRITE_EVENTS (IN_MODIFY | IN_CLOSE_WRITE)
/* These speak of the folder itself, or of lost events. */
#define ALWAYS_MEANT                                                \
	(IN_Q_OVERFLOW | IN_IGNORED | IN_UNMOUNT | IN_DELETE_SELF | \
	    IN_MOVE_SELF)
#define READ_BYTES 16384
/* So many reads a step: a folder may fill faster than it can be read. */
#define MAX_READS 256
/* As many links on the way to a path as path_resolution(7) allows. */
#define MAX_LINKS 40
/* File times advance by the timer's ticks: two writes within one look alike. */
#define TICK_US 100000

/* Hashes of 64 bits, which are taken to be what they stand for. */
struct hash_set {
	uint64_t *slots; /* 0: free */
	size_t size, count;
};

/* What stat said. */
struct stamp {
	int error; /* errno; the rest is 0 then */
	dev_t device;
	ino_t inode;
	off_t size;
	int64_t modified_us, changed_us;
};

struct path {
	char *name;
	enum watch_kind kind;
	bool looked_at; /* `stamp` is filled in */
	bool doubtful;	/* may have changed since, with the same stamp */
	struct stamp stamp;
};

struct watch {
	struct path *paths;
	size_t count, room;
	int fd;
	int64_t since_us;
	bool stale; /* paths were added since the folders were followed */
	bool blind, warned;
	struct hash_set names;	    /* which names in which folder matter */
	struct hash_set steps;	    /* paths that were followed already */
	uint64_t first_ms, last_ms; /* of unsettled changes; 0: none */
	uint64_t look_ms;	    /* when to look by the clock */
};

static void
set_clear(struct hash_set *s)
{
	free(s->slots);
	*s = (struct hash_set){ 0 };
}

static uint64_t *
set_slot(const struct hash_set *s, uint64_t hash)
{
	size_t i = hash & (s->size - 1);

	while (s->slots[i] != 0 && s->slots[i] != hash)
		i = (i + 1) & (s->size - 1);
	return &s->slots[i];
}

static bool
set_has(const struct hash_set *s, uint64_t hash)
{
	return s->size > 0 && *set_slot(s, hash) == hash;
}

static bool
set_grow(struct hash_set *s)
{
	struct hash_set larger = { .size = s->size ? 2 * s->size : 64 };

	larger.slots = calloc(larger.size, sizeof(*larger.slots));
	if (!larger.slots)
		return false;
	for (size_t i = 0; i < s->size; i++)
		if (s->slots[i] != 0)
			*set_slot(&larger, s->slots[i]) = s->slots[i];
	larger.count = s->count;
	free(s->slots);
	*s = larger;
	return true;
}

/* 0: it is in now; -EEXIST: it was; -ENOMEM. */
static int
set_add(struct hash_set *s, uint64_t hash)
{
	uint64_t *slot;

	if (2 * s->count >= s->size && !set_grow(s))
		return -ENOMEM;
	slot = set_slot(s, hash);
	if (*slot == hash)
		return -EEXIST;
	*slot = hash;
	s->count++;
	return 0;
}

static uint64_t
hash_of(struct span s)
{
	uint64_t hash = hash_bytes(s);

	return hash ? hash : 1;
}

/* A name in the folder of a watch descriptor; "" stands for every name. */
static uint64_t
hash_name(int folder, const char *name, size_t len)
{
	uint8_t key[sizeof(folder) + NAME_MAX];

	if (len > NAME_MAX)
		len = NAME_MAX;
	memcpy(key, &folder, sizeof(folder));
	memcpy(key + sizeof(folder), name, len);
	return hash_of(span_of(key, sizeof(folder) + len));
}

struct watch *
watch_new(int64_t since_us)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->fd = -1;
	w->since_us = since_us;
	w->stale = true;
	return w;
}

void
watch_free(struct watch *w)
{
	if (!w)
		return;
	if (w->fd >= 0)
		close(w->fd);
	for (size_t i = 0; i < w->count; i++)
		free(w->paths[i].name);
	free(w->paths);
	set_clear(&w->names);
	set_clear(&w->steps);
	free(w);
}

static bool
make_room(struct watch *w)
{
	size_t room = w->room ? 2 * w->room : 16;
	struct path *paths;

	if (w->count < w->room)
		return true;
	paths = realloc(w->paths, room * sizeof(*paths));
	if (!paths)
		return false;
	w->paths = paths;
	w->room = room;
	return true;
}

int
watch_add(struct watch *w, const char *path, enum watch_kind kind)
{
	char *name;

	if (!make_room(w))
		return -ENOMEM;
	name = strdup(path);
	if (!name)
		return -ENOMEM;
	w->paths[w->count++] = (struct path){ .name = name, .kind = kind };
	w->stale = true;
	return 0;
}

int
watch_fd(const struct watch *w)
{
	return w->fd;
}

bool
watch_is_blind(const struct watch *w)
{
	return w->blind;
}

static void
go_blind(struct watch *w, const char *path, int error)
{
	w->blind = true;
	if (w->warned)
		return;
	w->warned = true;
	LOG_WARN("files cannot be watched, they are looked at instead",
	    LOG_TEXT("path", path), LOG_INT("every_ms", WATCH_BLIND_LOOK_MS),
	    LOG_TEXT("hint",
		error == ENOSPC	  ? "raise fs.inotify.max_user_watches"
		: error == EMFILE ? "raise fs.inotify.max_user_instances"
		: error == EACCES ? "let this user read the folder"
				  : ""),
	    LOG_ERRNO(error));
}

/* Those that mean: not there, and so nothing to watch. Its name in the folder
 * above it is watched. */
static bool
is_absence(int error)
{
	return error == ENOENT || error == ENOTDIR || error == ELOOP ||
	       error == ENAMETOOLONG;
}

/* The watch descriptor of a folder, or -1. */
static int
watch_folder(struct watch *w, const char *folder, uint32_t events)
{
	int wd;

	if (w->fd < 0)
		return -1;
	/* It may be the last folder of one way and in the midst of another. */
	wd =
	    inotify_add_watch(w->fd, folder, events | IN_MASK_ADD | IN_ONLYDIR);
	if (wd < 0 && !is_absence(errno))
		go_blind(w, folder, errno);
	return wd;
}

static void
watch_name(struct watch *w, int folder, const char *name, size_t len)
{
	if (folder >= 0 &&
	    set_add(&w->names, hash_name(folder, name, len)) == -ENOMEM)
		go_blind(w, "", ENOMEM);
}

static void follow(struct watch *w, const char *path, unsigned *links);

static void
follow_link(
    struct watch *w, const char *folder, const char *path, unsigned *links)
{
	char target[PATH_MAX], whole[2 * PATH_MAX];
	ssize_t len = readlink(path, target, sizeof(target) - 1);

	if (len <= 0 || ++*links > MAX_LINKS)
		return;
	target[len] = '\0';
	snprintf(whole, sizeof(whole), "%s%s%s", target[0] == '/' ? "" : folder,
	    target[0] == '/' ? "" : "/", target);
	if (strlen(whole) < PATH_MAX)
		follow(w, whole, links);
}

/* One step on the way: the name from `start` to `end` in what is before it. */
static void
follow_step(struct watch *w, const char *path, size_t start, size_t end,
    unsigned *links)
{
	char here[PATH_MAX], folder[PATH_MAX];
	uint32_t events = NAME_EVENTS | (path[end] ? 0 : WRITE_EVENTS);
	int seen = set_add(&w->steps, hash_of(span_of(path, end)));

	if (seen == -EEXIST)
		return;
	if (seen == -ENOMEM)
		go_blind(w, path, ENOMEM);
	snprintf(here, sizeof(here), "%.*s", (int)end, path);
	snprintf(folder, sizeof(folder), "%.*s", (int)start, path);
	if (start == 0)
		snprintf(folder, sizeof(folder), ".");
	watch_name(
	    w, watch_folder(w, folder, events), path + start, end - start);
	follow_link(w, folder, here, links);
}

static void
follow(struct watch *w, const char *path, unsigned *links)
{
	size_t end = 0;

	for (;;) {
		size_t start = end + strspn(path + end, "/");

		end = start + strcspn(path + start, "/");
		if (end == start || end >= PATH_MAX)
			return;
		follow_step(w, path, start, end, links);
	}
}

static void
open_inotify(struct watch *w)
{
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
	/* Each user has but 128 of them. */
	if (w->count == 0)
		return;
	w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (w->fd < 0)
		go_blind(w, "", errno);
}

/*
 * Follows all paths anew: links may lead elsewhere now, folders may be new
 * ones. What happens between the old descriptor and the new is not lost, since
 * the looks come after this.
 */
static void
follow_all(struct watch *w)
{
	w->stale = w->blind = false;
	set_clear(&w->names);
	set_clear(&w->steps);
	open_inotify(w);
	for (size_t i = 0; i < w->count; i++) {
		const struct path *p = &w->paths[i];
		unsigned links = 0;

		follow(w, p->name, &links);
		if (p->kind == WATCH_FOLDER)
			watch_name(w,
			    watch_folder(
				w, p->name, NAME_EVENTS | WRITE_EVENTS),
			    "", 0);
	}
	set_clear(&w->steps);
}

static int64_t
microseconds(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static struct stamp
look_at(const struct path *p)
{
	struct stat st;

	if (stat(p->name, &st) != 0)
		return (struct stamp){ .error = errno };
	return (struct stamp){
		.device = st.st_dev,
		.inode = st.st_ino,
		.size = st.st_size,
		.modified_us = microseconds(st.st_mtim),
		.changed_us = microseconds(st.st_ctim),
	};
}

static bool
stamps_equal(const struct stamp *a, const struct stamp *b)
{
	return a->error == b->error && a->device == b->device &&
	       a->inode == b->inode && a->size == b->size &&
	       a->modified_us == b->modified_us &&
	       a->changed_us == b->changed_us;
}

static void
note_change(struct watch *w, uint64_t now_ms)
{
	if (w->first_ms == 0)
		w->first_ms = now_ms;
	w->last_ms = now_ms;
}

/* Keeps what a path leads to now; true if that is another thing than before. */
static bool
renew_stamp(struct path *p, int64_t since_us)
{
	struct stamp now = look_at(p);
	bool changed = p->doubtful || !stamps_equal(&p->stamp, &now);

	p->stamp = now;
	p->doubtful = now.error == 0 && now.changed_us > since_us - TICK_US;
	return changed;
}

/* The paths that were added. */
static void
look_first(struct watch *w, uint64_t now_ms)
{
	for (size_t i = 0; i < w->count; i++) {
		struct path *p = &w->paths[i];

		if (p->looked_at)
			continue;
		p->looked_at = true;
		renew_stamp(p, w->since_us);
		/* Or it was there and has gone. */
		p->doubtful |= p->stamp.error != 0;
		if (p->doubtful)
			note_change(w, now_ms);
	}
}

static void
plan_look(struct watch *w, uint64_t now_ms)
{
	w->look_ms = now_ms + (w->blind ? WATCH_BLIND_LOOK_MS : WATCH_LOOK_MS);
}

static void
look_by_the_clock(struct watch *w, uint64_t now_ms)
{
	for (size_t i = 0; i < w->count; i++) {
		struct stamp now = look_at(&w->paths[i]);

		if (!stamps_equal(&w->paths[i].stamp, &now)) {
			note_change(w, now_ms);
			break;
		}
	}
	plan_look(w, now_ms);
}

static bool
is_meant(const struct watch *w, const struct inotify_event *e)
{
	size_t len = e->len > 0 ? strnlen(e->name, e->len) : 0;

	return (e->mask & ALWAYS_MEANT) != 0 ||
	       set_has(&w->names, hash_name(e->wd, e->name, len)) ||
	       set_has(&w->names, hash_name(e->wd, "", 0));
}

static void
take_events(struct watch *w, const char *buffer, size_t len, uint64_t now_ms)
{
	size_t at = 0;

	while (at < len) {
		const struct inotify_event *e = (const void *)(buffer + at);

		if (is_meant(w, e))
			note_change(w, now_ms);
		at += sizeof(*e) + e->len;
	}
}

static void
read_events(struct watch *w, uint64_t now_ms)
{
	_Alignas(struct inotify_event) char buffer[READ_BYTES];

	for (int i = 0; w->fd >= 0 && i < MAX_READS; i++) {
		ssize_t len = read(w->fd, buffer, sizeof(buffer));

		if (len <= 0)
			return;
		take_events(w, buffer, (size_t)len, now_ms);
	}
}

static uint64_t
settled_at(const struct watch *w)
{
	uint64_t quiet = w->last_ms + WATCH_SETTLE_MS;
	uint64_t latest = w->first_ms + WATCH_SETTLE_MAX_MS;

	return quiet < latest ? quiet : latest;
}

static void
tell(struct watch *w, uint64_t now_ms, watch_changed_fn *changed, void *context)
{
	int64_t wall_us;

	w->first_ms = w->last_ms = 0;
	follow_all(w);
	wall_us = clock_wall_us();
	for (size_t i = 0; i < w->count; i++)
		if (renew_stamp(&w->paths[i], wall_us))
			changed(context, i);
	plan_look(w, now_ms);
}

static void
begin(struct watch *w, uint64_t now_ms)
{
	follow_all(w);
	look_first(w, now_ms);
	look_by_the_clock(w, now_ms);
}

void
watch_step(
    struct watch *w, uint64_t now_ms, watch_changed_fn *changed, void *context)
{
	read_events(w, now_ms);
	if (w->stale)
		begin(w, now_ms);
	if (now_ms >= w->look_ms)
		look_by_the_clock(w, now_ms);
	if (w->first_ms != 0 && now_ms >= settled_at(w))
		tell(w, now_ms, changed, context);
}

int
watch_timeout_ms(const struct watch *w, uint64_t now_ms)
{
	uint64_t due = w->look_ms;

	if (w->stale)
		return 0;
	if (w->first_ms != 0 && settled_at(w) < due)
		due = settled_at(w);
	return due > now_ms ? (int)(due - now_ms) : 0;
}
