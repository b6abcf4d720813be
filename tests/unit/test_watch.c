#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "faults.h"
#include "sys/watch.h"

FAULT(inotify_init1);
FAULT(inotify_add_watch);
FAULT(calloc);
FAULT(realloc);
FAULT(strdup);

int __real_inotify_init1(int flags);
int __wrap_inotify_init1(int flags);
int __real_inotify_add_watch(int fd, const char *path, uint32_t mask);
int __wrap_inotify_add_watch(int fd, const char *path, uint32_t mask);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);
int64_t __real_clock_wall_us(void);
int64_t __wrap_clock_wall_us(void);

int
__wrap_inotify_init1(int flags)
{
	return fault_hits(&inotify_init1_fault) ? -1
						: __real_inotify_init1(flags);
}

int
__wrap_inotify_add_watch(int fd, const char *path, uint32_t mask)
{
	return fault_hits(&inotify_add_watch_fault)
		   ? -1
		   : __real_inotify_add_watch(fd, path, mask);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return fault_hits(&calloc_fault) ? NULL : __real_calloc(n, size);
}

void *
__wrap_realloc(void *p, size_t size)
{
	return fault_hits(&realloc_fault) ? NULL : __real_realloc(p, size);
}

char *
__wrap_strdup(const char *s)
{
	return fault_hits(&strdup_fault) ? NULL : __real_strdup(s);
}

/* Files of these tests are older than a day, unless a test says otherwise. */
static bool files_are_fresh;

int64_t
__wrap_clock_wall_us(void)
{
	int64_t day_us = INT64_C(86400) * 1000000;

	return __real_clock_wall_us() + (files_are_fresh ? 0 : day_us);
}

/* A folder of our own, a watch, and a clock that stands still. */
struct scene {
	char folder[64];
	struct watch *watch;
	uint64_t now_ms;
	bool changed[2048];
	size_t changes;
};

/* A path in the scene's folder, good until the fourth next call. */
static const char *
in(const struct scene *s, const char *format, ...)
{
	static char paths[4][512];
	static unsigned next;
	char *path = paths[next++ % 4];
	va_list args;
	int len = snprintf(path, 512, "%s/", s->folder);

	va_start(args, format);
	vsnprintf(path + len, 512 - (size_t)len, format, args);
	va_end(args);
	return path;
}

static void
put(const struct scene *s, const char *name, const char *text)
{
	int fd = open(in(s, "%s", name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (int)strlen(text));
	close(fd);
}

static void
make_folder(const struct scene *s, const char *name)
{
	ck_assert_int_eq(mkdir(in(s, "%s", name), 0700), 0);
}

static void
move(const struct scene *s, const char *from, const char *to)
{
	ck_assert_int_eq(rename(in(s, "%s", from), in(s, "%s", to)), 0);
}

static void
link_to(const struct scene *s, const char *target, const char *name)
{
	ck_assert_int_eq(symlink(target, in(s, "%s", name)), 0);
}

static void
setup(struct scene *s)
{
	*s = (struct scene){ .now_ms = 1000 };
	files_are_fresh = false;
	snprintf(s->folder, sizeof(s->folder), "/tmp/watch.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(s->folder));
	s->watch = watch_new(clock_wall_us());
	ck_assert_ptr_nonnull(s->watch);
}

static void
empty_folder(const char *folder)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	ck_assert_int_eq(system(command), 0);
}

static void
teardown(struct scene *s)
{
	watch_free(s->watch);
	empty_folder(s->folder);
}

static void
add(struct scene *s, const char *name)
{
	ck_assert_int_eq(watch_add(s->watch, in(s, "%s", name), WATCH_FILE), 0);
}

static void
on_changed(void *context, size_t path)
{
	struct scene *s = context;

	ck_assert_uint_lt(path, 2048);
	ck_assert(!s->changed[path]);
	s->changed[path] = true;
	s->changes++;
}

/* One step, `ms` later; how many paths it told. */
static size_t
step(struct scene *s, uint64_t ms)
{
	s->now_ms += ms;
	memset(s->changed, 0, sizeof(s->changed));
	s->changes = 0;
	watch_step(s->watch, s->now_ms, on_changed, s);
	return s->changes;
}

/* What happened is told after the time to settle, and not before. */
static size_t
settle(struct scene *s)
{
	ck_assert_uint_eq(step(s, 1), 0);
	ck_assert_int_eq(
	    watch_timeout_ms(s->watch, s->now_ms), WATCH_SETTLE_MS);
	ck_assert_uint_eq(step(s, WATCH_SETTLE_MS - 1), 0);
	return step(s, 1);
}

/* Nothing is on the way. */
static void
expect_quiet(struct scene *s)
{
	ck_assert_uint_eq(step(s, 1), 0);
	ck_assert_int_gt(
	    watch_timeout_ms(s->watch, s->now_ms), WATCH_SETTLE_MS);
	ck_assert_uint_eq(step(s, WATCH_SETTLE_MS), 0);
}

START_TEST(a_file_is_written_in_place)
{
	struct scene s;

	setup(&s);
	put(&s, "a", "one");
	put(&s, "b", "one");
	add(&s, "a");
	add(&s, "b");
	expect_quiet(&s);
	put(&s, "b", "longer");
	ck_assert_uint_eq(settle(&s), 1);
	ck_assert(s.changed[1]);
	expect_quiet(&s);
	teardown(&s);
}
END_TEST

START_TEST(each_write_begins_the_wait_anew)
{
	struct scene s;

	setup(&s);
	put(&s, "a", "one");
	add(&s, "a");
	expect_quiet(&s);
	put(&s, "a", "longer");
	ck_assert_uint_eq(step(&s, 1), 0);
	put(&s, "a", "longer still");
	ck_assert_uint_eq(step(&s, WATCH_SETTLE_MS - 1), 0);
	ck_assert_uint_eq(step(&s, WATCH_SETTLE_MS - 1), 0);
	ck_assert_uint_eq(step(&s, 1), 1);
	teardown(&s);
}
END_TEST

/* Who never stops writing must not keep everybody else's news back. */
START_TEST(the_wait_has_an_end)
{
	struct scene s;
	unsigned steps = 0;

	setup(&s);
	put(&s, "a", "one");
	put(&s, "b", "one");
	add(&s, "a");
	add(&s, "b");
	expect_quiet(&s);
	put(&s, "b", "longer");
	do {
		put(&s, "a", steps % 2 ? "this" : "or that");
		ck_assert_uint_lt(++steps, 100);
	} while (step(&s, 100) == 0);
	ck_assert_uint_eq(steps, WATCH_SETTLE_MAX_MS / 100 + 1);
	ck_assert(s.changed[1]);
	teardown(&s);
}
END_TEST

START_TEST(a_file_is_replaced_by_rename)
{
	struct scene s;
	struct stat st;
	struct timespec times[2];

	setup(&s);
	put(&s, "a", "one");
	add(&s, "a");
	expect_quiet(&s);
	put(&s, "a.new", "two");
	expect_quiet(&s);
	/* As old and as long as the other. */
	ck_assert_int_eq(stat(in(&s, "a"), &st), 0);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	ck_assert_int_eq(utimensat(AT_FDCWD, in(&s, "a.new"), times, 0), 0);
	move(&s, "a.new", "a");
	ck_assert_uint_eq(settle(&s), 1);
	teardown(&s);
}
END_TEST

/* A volume of Kubernetes: a -> ..data/a, ..data -> a folder by its date. */
START_TEST(a_link_to_the_folder_is_swapped)
{
	struct scene s;

	setup(&s);
	make_folder(&s, "..first");
	make_folder(&s, "..second");
	put(&s, "..first/a", "one");
	put(&s, "..second/a", "two");
	link_to(&s, "..first", "..data");
	link_to(&s, "..data/a", "a");
	add(&s, "a");
	expect_quiet(&s);
	link_to(&s, "..second", "..data_tmp");
	move(&s, "..data_tmp", "..data");
	ck_assert_uint_eq(settle(&s), 1);
	/* And it is the second folder now that matters. */
	put(&s, "..first/a", "longer");
	expect_quiet(&s);
	put(&s, "..second/a", "longer");
	ck_assert_uint_eq(settle(&s), 1);
	teardown(&s);
}
END_TEST

/* As certbot has it: live/x/cert.pem -> ../../archive/x/cert1.pem. */
START_TEST(a_link_to_the_file_is_swapped)
{
	struct scene s;

	setup(&s);
	make_folder(&s, "archive");
	make_folder(&s, "archive/x");
	make_folder(&s, "live");
	make_folder(&s, "live/x");
	put(&s, "archive/x/cert1.pem", "one");
	link_to(&s, "../../archive/x/cert1.pem", "live/x/cert.pem");
	add(&s, "live/x/cert.pem");
	expect_quiet(&s);
	put(&s, "archive/x/cert1.pem", "in place");
	ck_assert_uint_eq(settle(&s), 1);
	put(&s, "archive/x/cert2.pem", "two");
	expect_quiet(&s);
	ck_assert_int_eq(unlink(in(&s, "live/x/cert.pem")), 0);
	link_to(&s, in(&s, "archive/x/cert2.pem"), "live/x/cert.pem");
	ck_assert_uint_eq(settle(&s), 1);
	put(&s, "archive/x/cert2.pem", "in place again");
	ck_assert_uint_eq(settle(&s), 1);
	teardown(&s);
}
END_TEST

START_TEST(a_file_comes_later_and_goes)
{
	struct scene s;

	setup(&s);
	add(&s, "a/b/c");
	ck_assert_uint_eq(settle(&s), 1);
	expect_quiet(&s);
	make_folder(&s, "a");
	ck_assert_uint_eq(settle(&s), 0);
	make_folder(&s, "a/b");
	put(&s, "a/b/c", "one");
	ck_assert_uint_eq(settle(&s), 1);
	ck_assert_int_eq(unlink(in(&s, "a/b/c")), 0);
	ck_assert_uint_eq(settle(&s), 1);
	put(&s, "a/b/c", "one");
	ck_assert_uint_eq(settle(&s), 1);
	teardown(&s);
}
END_TEST

START_TEST(its_folder_is_made_again)
{
	struct scene s;

	setup(&s);
	make_folder(&s, "a");
	make_folder(&s, "a/b");
	put(&s, "a/b/c", "one");
	add(&s, "a/b/c");
	expect_quiet(&s);
	move(&s, "a", "old");
	ck_assert_uint_eq(settle(&s), 1);
	make_folder(&s, "a");
	make_folder(&s, "a/b");
	put(&s, "a/b/c", "two");
	ck_assert_uint_eq(settle(&s), 1);
	put(&s, "old/b/c", "longer");
	expect_quiet(&s);
	empty_folder(in(&s, "a/b"));
	ck_assert_uint_eq(settle(&s), 1);
	make_folder(&s, "a/b");
	put(&s, "a/b/c", "three");
	ck_assert_uint_eq(settle(&s), 1);
	put(&s, "a/b/c", "longer");
	ck_assert_uint_eq(settle(&s), 1);
	teardown(&s);
}
END_TEST

START_TEST(other_names_do_not_matter)
{
	struct scene s;

	setup(&s);
	make_folder(&s, "x");
	put(&s, "x/a", "one");
	add(&s, "x/a");
	expect_quiet(&s);
	put(&s, "x/b", "one");
	put(&s, "a", "one");
	make_folder(&s, "y");
	expect_quiet(&s);
	teardown(&s);
}
END_TEST

START_TEST(a_folder_is_a_path_too)
{
	struct scene s;

	setup(&s);
	make_folder(&s, "x");
	put(&s, "x/a", "one");
	ck_assert_int_eq(watch_add(s.watch, in(&s, "x"), WATCH_FOLDER), 0);
	expect_quiet(&s);
	put(&s, "x/b", "one");
	ck_assert_uint_eq(settle(&s), 1);
	ck_assert_int_eq(unlink(in(&s, "x/a")), 0);
	ck_assert_uint_eq(settle(&s), 1);
	move(&s, "x/b", "x/c");
	ck_assert_uint_eq(settle(&s), 1);
	put(&s, "a", "one");
	expect_quiet(&s);
	empty_folder(in(&s, "x"));
	ck_assert_uint_eq(settle(&s), 1);
	make_folder(&s, "x");
	ck_assert_uint_eq(settle(&s), 1);
	put(&s, "x/a", "one");
	ck_assert_uint_eq(settle(&s), 1);
	teardown(&s);
}
END_TEST

START_TEST(paths_may_be_added_later)
{
	struct scene s;

	setup(&s);
	put(&s, "a", "one");
	put(&s, "b", "one");
	add(&s, "a");
	expect_quiet(&s);
	put(&s, "a", "longer");
	ck_assert_uint_eq(step(&s, 1), 0);
	add(&s, "b");
	ck_assert_int_eq(watch_timeout_ms(s.watch, s.now_ms), 0);
	ck_assert_uint_eq(settle(&s), 1);
	ck_assert(s.changed[0]);
	put(&s, "b", "longer");
	ck_assert_uint_eq(settle(&s), 1);
	ck_assert(s.changed[1]);
	teardown(&s);
}
END_TEST

START_TEST(a_thousand_change_at_once)
{
	struct scene s;
	char name[16];

	setup(&s);
	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "%d", i);
		put(&s, name, "one");
		add(&s, name);
	}
	expect_quiet(&s);
	for (int i = 0; i < 2000; i += 2) {
		snprintf(name, sizeof(name), "%d", i);
		put(&s, "new", "longer");
		move(&s, "new", name);
	}
	ck_assert_uint_eq(settle(&s), 1000);
	for (int i = 0; i < 2000; i++)
		ck_assert_int_eq(s.changed[i], i % 2 == 0);
	expect_quiet(&s);
	teardown(&s);
}
END_TEST

static unsigned
max_queued_events(void)
{
	FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
	unsigned max = 16384;

	if (f) {
		ck_assert_int_eq(fscanf(f, "%u", &max), 1);
		fclose(f);
	}
	return max;
}

/* More than the kernel keeps: then it says so, and the last ones are lost. */
START_TEST(events_are_lost)
{
	struct scene s;
	unsigned max = max_queued_events();

	setup(&s);
	make_folder(&s, "x");
	put(&s, "x/a", "one");
	add(&s, "x/a");
	expect_quiet(&s);
	for (unsigned i = 0; i < max / 2; i++) {
		QUICK_ASSERT(mkdir(in(&s, "x/b"), 0700) == 0);
		QUICK_ASSERT(rmdir(in(&s, "x/b")) == 0);
	}
	put(&s, "x/a", "longer");
	ck_assert_uint_eq(settle(&s), 1);
	teardown(&s);
}
END_TEST

/* Read before it was watched, and changed in between. */
START_TEST(a_young_file_is_told_once)
{
	struct scene s;

	setup(&s);
	watch_free(s.watch);
	s.watch = watch_new(__real_clock_wall_us());
	put(&s, "a", "one");
	add(&s, "a");
	ck_assert_uint_eq(settle(&s), 1);
	expect_quiet(&s);
	put(&s, "a", "longer");
	ck_assert_uint_eq(settle(&s), 1);
	expect_quiet(&s);
	teardown(&s);
}
END_TEST

/* A second write within one tick of the file system's clock leaves the file as
 * long and as young as the first did. */
START_TEST(a_tick_hides_no_write)
{
	struct scene s;

	setup(&s);
	put(&s, "a", "one");
	add(&s, "a");
	expect_quiet(&s);
	files_are_fresh = true;
	put(&s, "a", "two");
	ck_assert_uint_eq(settle(&s), 1);
	put(&s, "a", "six");
	ck_assert_uint_eq(settle(&s), 1);
	teardown(&s);
}
END_TEST

static void
look_without_inotify(struct scene *s)
{
	put(s, "a", "longer");
	ck_assert_uint_eq(step(s, 1), 0);
	ck_assert_int_gt(watch_timeout_ms(s->watch, s->now_ms), 1000);
	ck_assert_uint_eq(step(s, WATCH_BLIND_LOOK_MS), 0);
	ck_assert_int_eq(
	    watch_timeout_ms(s->watch, s->now_ms), WATCH_SETTLE_MS);
	ck_assert_uint_eq(step(s, WATCH_SETTLE_MS), 1);
}

START_TEST(no_instance_of_inotify_is_left)
{
	struct scene s;

	setup(&s);
	put(&s, "a", "one");
	add(&s, "a");
	fault_set(&inotify_init1_fault, 1, EMFILE);
	UNDER_FAULTS(expect_quiet(&s));
	ck_assert_int_eq(watch_fd(s.watch), -1);
	ck_assert(watch_is_blind(s.watch));
	UNDER_FAULTS(look_without_inotify(&s));
	put(&s, "a", "and again");
	ck_assert_uint_eq(step(&s, WATCH_BLIND_LOOK_MS), 0);
	ck_assert_uint_eq(step(&s, WATCH_SETTLE_MS), 1);
	/* By then there is one again. */
	ck_assert_int_ge(watch_fd(s.watch), 0);
	ck_assert(!watch_is_blind(s.watch));
	put(&s, "a", "x");
	ck_assert_uint_eq(settle(&s), 1);
	teardown(&s);
}
END_TEST

START_TEST(no_watch_of_inotify_is_left)
{
	struct scene s;

	setup(&s);
	put(&s, "a", "one");
	add(&s, "a");
	fault_set(&inotify_add_watch_fault, 1, ENOSPC);
	UNDER_FAULTS(expect_quiet(&s));
	ck_assert_int_ge(watch_fd(s.watch), 0);
	ck_assert(watch_is_blind(s.watch));
	UNDER_FAULTS(look_without_inotify(&s));
	teardown(&s);
}
END_TEST

/* What inotify is not told of: here, a file behind a hard link. */
START_TEST(the_clock_finds_the_rest)
{
	struct scene s;

	setup(&s);
	make_folder(&s, "x");
	make_folder(&s, "y");
	put(&s, "x/a", "one");
	ck_assert_int_eq(link(in(&s, "x/a"), in(&s, "y/a")), 0);
	add(&s, "x/a");
	expect_quiet(&s);
	put(&s, "y/a", "longer");
	ck_assert_uint_eq(step(&s, 1), 0);
	ck_assert_uint_eq(step(&s, WATCH_LOOK_MS), 0);
	ck_assert_uint_eq(step(&s, WATCH_SETTLE_MS), 1);
	teardown(&s);
}
END_TEST

START_TEST(links_may_go_round)
{
	struct scene s;

	setup(&s);
	link_to(&s, "a/a", "a");
	link_to(&s, "c", "b");
	link_to(&s, "b", "c");
	add(&s, "a");
	add(&s, "b");
	add(&s, "b/c/d");
	ck_assert_uint_eq(settle(&s), 3);
	expect_quiet(&s);
	ck_assert_int_eq(unlink(in(&s, "c")), 0);
	put(&s, "c", "one");
	ck_assert_uint_eq(settle(&s), 2);
	ck_assert(s.changed[1] && s.changed[2]);
	teardown(&s);
}
END_TEST

START_TEST(odd_paths_do_no_harm)
{
	struct scene s;
	char *longest = malloc(10000);

	setup(&s);
	memset(longest, 'x', 9999);
	longest[9999] = '\0';
	ck_assert_int_eq(watch_add(s.watch, "", WATCH_FILE), 0);
	ck_assert_int_eq(watch_add(s.watch, "/", WATCH_FILE), 0);
	ck_assert_int_eq(watch_add(s.watch, longest, WATCH_FILE), 0);
	memcpy(longest, "/tmp/", 5);
	ck_assert_int_eq(watch_add(s.watch, longest, WATCH_FOLDER), 0);
	ck_assert_int_eq(watch_add(s.watch, "nowhere", WATCH_FILE), 0);
	ck_assert_uint_eq(settle(&s), 4);
	expect_quiet(&s);
	ck_assert(!watch_is_blind(s.watch));
	free(longest);
	teardown(&s);
}
END_TEST

START_TEST(a_relative_path)
{
	struct scene s;

	setup(&s);
	ck_assert_int_eq(chdir(s.folder), 0);
	put(&s, "a", "one");
	ck_assert_int_eq(watch_add(s.watch, "a", WATCH_FILE), 0);
	expect_quiet(&s);
	put(&s, "a", "longer");
	ck_assert_uint_eq(settle(&s), 1);
	teardown(&s);
}
END_TEST

START_TEST(the_descriptor_becomes_readable)
{
	struct scene s;
	struct pollfd p = { .events = POLLIN };

	setup(&s);
	ck_assert_int_eq(watch_fd(s.watch), -1);
	put(&s, "a", "one");
	add(&s, "a");
	expect_quiet(&s);
	p.fd = watch_fd(s.watch);
	ck_assert_int_ge(p.fd, 0);
	put(&s, "a", "longer");
	ck_assert_int_eq(poll(&p, 1, 0), 1);
	teardown(&s);
}
END_TEST

/* Whatever allocation fails, nothing leaks and the clock still sees it. */
START_TEST(without_memory)
{
	for (unsigned every = 1; every < 40; every++) {
		struct scene s;
		int r = 0;

		setup(&s);
		put(&s, "a", "one");
		fault_set(&calloc_fault, every, ENOMEM);
		fault_set(&realloc_fault, every, ENOMEM);
		fault_set(&strdup_fault, every, ENOMEM);
		for (int i = 0; i < 40; i++)
			UNDER_FAULTS(
			    r = watch_add(s.watch, in(&s, "a"), WATCH_FILE));
		UNDER_FAULTS(step(&s, 1));
		put(&s, "a", "longer");
		UNDER_FAULTS(step(&s, WATCH_LOOK_MS));
		UNDER_FAULTS(step(&s, WATCH_SETTLE_MS));
		ck_assert(every > 1 ? s.changes > 0 : s.changes == 0);
		ck_assert(r == 0 || r == -ENOMEM);
		teardown(&s);
	}
	fault_set(&calloc_fault, 1, ENOMEM);
	struct watch *w;

	UNDER_FAULTS(w = watch_new(0));
	ck_assert_ptr_null(w);
	watch_free(NULL);
}
END_TEST

static void
add_tests(TCase *t)
{
	tcase_add_test(t, a_file_is_written_in_place);
	tcase_add_test(t, each_write_begins_the_wait_anew);
	tcase_add_test(t, the_wait_has_an_end);
	tcase_add_test(t, a_file_is_replaced_by_rename);
	tcase_add_test(t, a_link_to_the_folder_is_swapped);
	tcase_add_test(t, a_link_to_the_file_is_swapped);
	tcase_add_test(t, a_file_comes_later_and_goes);
	tcase_add_test(t, its_folder_is_made_again);
	tcase_add_test(t, other_names_do_not_matter);
	tcase_add_test(t, a_folder_is_a_path_too);
	tcase_add_test(t, paths_may_be_added_later);
	tcase_add_test(t, a_thousand_change_at_once);
	tcase_add_test(t, events_are_lost);
	tcase_add_test(t, a_young_file_is_told_once);
	tcase_add_test(t, a_tick_hides_no_write);
	tcase_add_test(t, no_instance_of_inotify_is_left);
	tcase_add_test(t, no_watch_of_inotify_is_left);
	tcase_add_test(t, the_clock_finds_the_rest);
	tcase_add_test(t, links_may_go_round);
	tcase_add_test(t, odd_paths_do_no_harm);
	tcase_add_test(t, a_relative_path);
	tcase_add_test(t, the_descriptor_becomes_readable);
	tcase_add_test(t, without_memory);
}

UNIT_MAIN("watch", add_tests)
