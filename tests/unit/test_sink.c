#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/sink.h"

static char folder[64], file[128], moved[128];

static void
make_folder(void)
{
	snprintf(folder, sizeof(folder), "/tmp/lunette-sink-XXXXXX");
	ck_assert(mkdtemp(folder) != NULL);
	snprintf(file, sizeof(file), "%s/events", folder);
	snprintf(moved, sizeof(moved), "%s/events.1", folder);
}

static void
remove_folder(void)
{
	unlink(file);
	unlink(moved);
	rmdir(folder);
}

static struct journal_sink *
open_sink(char *path)
{
	struct event_settings settings = { .file = path };
	struct journal_sink *s = NULL;

	ck_assert_int_eq(sink_open(&settings, &s), 0);
	return s;
}

static void
assert_content(const char *path, const char *expected)
{
	char got[4096];
	FILE *f = fopen(path, "r");

	ck_assert_msg(f != NULL, "%s", path);
	got[fread(got, 1, sizeof(got) - 1, f)] = '\0';
	fclose(f);
	ck_assert_str_eq(got, expected);
}

START_TEST(lines_are_appended)
{
	struct journal_sink *s = open_sink(file);

	ck_assert_int_eq(s->write(s, span_text("one\n")), 0);
	s->free(s);
	s = open_sink(file);
	ck_assert_int_eq(s->write(s, span_text("two\n")), 0);
	s->free(s);
	assert_content(file, "one\ntwo\n");
}
END_TEST

START_TEST(a_rotated_file_is_opened_again)
{
	struct journal_sink *s = open_sink(file);

	ck_assert_int_eq(s->write(s, span_text("old\n")), 0);
	ck_assert_int_eq(rename(file, moved), 0);
	ck_assert_int_eq(s->write(s, span_text("still old\n")), 0);
	ck_assert_int_eq(s->reopen(s), 0);
	ck_assert_int_eq(s->write(s, span_text("new\n")), 0);
	s->free(s);
	assert_content(moved, "old\nstill old\n");
	assert_content(file, "new\n");
}
END_TEST

START_TEST(what_cannot_be_opened_again_stays_open)
{
	struct journal_sink *s = open_sink(file);

	ck_assert_int_eq(rename(file, moved), 0);
	ck_assert_int_eq(mkdir(file, 0700), 0);
	ck_assert_int_eq(s->reopen(s), -EISDIR);
	ck_assert_int_eq(s->write(s, span_text("kept\n")), 0);
	s->free(s);
	ck_assert_int_eq(rmdir(file), 0);
	assert_content(moved, "kept\n");
}
END_TEST

START_TEST(a_full_disk_is_an_error_and_no_end)
{
	char full[] = "/dev/full";
	struct journal_sink *s = open_sink(full);

	ck_assert_int_eq(s->write(s, span_text("line\n")), -ENOSPC);
	ck_assert_int_eq(s->write(s, span_text("line\n")), -ENOSPC);
	s->free(s);
}
END_TEST

/* Half a line that a limit let through is taken back: readers meet whole lines
 * only, and the next one that fits is whole too. */
START_TEST(half_a_line_is_taken_back)
{
	struct rlimit small = { 10, RLIM_INFINITY }, large;
	struct journal_sink *s = open_sink(file);

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &large), 0);
	small.rlim_max = large.rlim_max;
	ck_assert_int_eq(s->write(s, span_text("first\n")), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	ck_assert_int_eq(s->write(s, span_text("0123456789\n")), -EFBIG);
	assert_content(file, "first\n");
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &large), 0);
	ck_assert_int_eq(s->write(s, span_text("last\n")), 0);
	s->free(s);
	assert_content(file, "first\nlast\n");
}
END_TEST

/* Standard output is a pipe whose reader stands still: the first event that
 * finds no room waits for a moment, the rest is refused at once. */
START_TEST(a_blocked_reader_is_waited_for_once)
{
	char block[4096];
	int ends[2], before = dup(STDOUT_FILENO), refused = 0;
	struct journal_sink *s;

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_ge(dup2(ends[1], STDOUT_FILENO), 0);
	s = open_sink(NULL);
	memset(block, 'x', sizeof(block));
	block[sizeof(block) - 1] = '\n';
	for (int i = 0; i < 1000; i++)
		refused +=
		    s->write(s, span_of(block, sizeof(block))) == -EAGAIN;
	ck_assert_int_gt(refused, 900);
	ck_assert_int_gt(read(ends[0], block, sizeof(block)), 0);
	ck_assert_int_eq(s->write(s, span_text("two\n")), 0);
	ck_assert_int_ge(dup2(before, STDOUT_FILENO), 0);
	s->free(s);
}
END_TEST

START_TEST(types_are_filtered)
{
	char type[] = "tcp_connection_closed.v0";
	char *types[] = { type };
	struct event_settings settings = {
		.file = file,
		.types = types,
		.type_count = 1,
	};
	struct journal_sink *some = NULL, *all = open_sink(file);

	ck_assert_int_eq(sink_open(&settings, &some), 0);
	ck_assert(some->wants(some, "tcp_connection_closed.v0"));
	ck_assert(!some->wants(some, "config_reloaded.v0"));
	ck_assert(all->wants(all, "config_reloaded.v0"));
	some->free(some);
	all->free(all);
}
END_TEST

/* One bad target: none is left open, and the message names it. */
START_TEST(a_chain_is_opened_whole_or_not_at_all)
{
	char bad[160];
	struct event_settings events[2] = { { .file = file }, { .file = bad } };
	struct snapshot snapshot = { .events = events, .event_count = 2 };
	struct journal_sink *sinks;
	char storage[512];
	struct text error;

	snprintf(bad, sizeof(bad), "%s/none/events", folder);
	text_init(&error, storage, sizeof(storage));
	int before = dup(0);

	close(before);
	ck_assert_int_eq(sinks_open(&snapshot, &sinks, &error), -ENOENT);
	ck_assert_ptr_null(sinks);
	ck_assert(strstr(error.data, bad) != NULL);
	ck_assert(strstr(error.data, "make its folder") != NULL);
	int after = dup(0);

	ck_assert_int_eq(before, after);
	close(after);
	events[1].file = NULL;
	ck_assert_int_eq(sinks_open(&snapshot, &sinks, &error), 0);
	ck_assert_ptr_nonnull(sinks->next);
	ck_assert_ptr_null(sinks->next->next);
	sinks_free(sinks);
	ck_assert_int_ge(fcntl(STDOUT_FILENO, F_GETFD), 0);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, make_folder, remove_folder);
	tcase_add_test(tcase, lines_are_appended);
	tcase_add_test(tcase, a_rotated_file_is_opened_again);
	tcase_add_test(tcase, what_cannot_be_opened_again_stays_open);
	tcase_add_test(tcase, a_full_disk_is_an_error_and_no_end);
	tcase_add_test(tcase, half_a_line_is_taken_back);
	tcase_add_test(tcase, a_blocked_reader_is_waited_for_once);
	tcase_add_test(tcase, types_are_filtered);
	tcase_add_test(tcase, a_chain_is_opened_whole_or_not_at_all);
}

UNIT_MAIN("sink", add_tests)
