#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

/* A log file in a folder of its own, read back as text. */
static char folder[64], path[96], content[1 << 20];

static void
open_log(enum log_format format, enum log_level level)
{
	struct log_settings settings = { path, format, level };

	snprintf(folder, sizeof(folder), "log-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/log", folder);
	ck_assert_int_eq(log_open(&settings), 0);
}

static const char *
read_file(const char *name)
{
	FILE *f = fopen(name, "r");
	size_t len;

	ck_assert_ptr_nonnull(f);
	len = fread(content, 1, sizeof(content) - 1, f);
	content[len] = '\0';
	fclose(f);
	return content;
}

static void
remove_log(void)
{
	log_close();
	unlink(path);
	ck_assert_int_eq(rmdir(folder), 0);
}

/* The line after its time stamp, whose shape is checked on the way. */
static const char *
after_time(const char *line, const char *before)
{
	static const char shape[] = "0000-00-00T00:00:00.000Z";
	size_t at = strlen(before);

	ck_assert_msg(!strncmp(line, before, at), "%s", line);
	for (size_t i = 0; shape[i]; i++) {
		char c = line[at + i];

		if (shape[i] == '0')
			ck_assert(c >= '0' && c <= '9');
		else
			ck_assert_int_eq(c, shape[i]);
	}
	return line + at + sizeof(shape) - 1;
}

START_TEST(logfmt_quotes_only_where_needed)
{
	struct addr a = {
		.family = ADDR_IP4, .bytes = { 127, 0, 0, 1 }, .port = 443
	};

	open_log(LOG_FORMAT_LOGFMT, LOG_LEVEL_INFO);
	LOG_INFO("listening", LOG_ADDR("address", &a), LOG_INT("n", -5),
	    LOG_TEXT("plain", "a/b:c"), LOG_TEXT("spaced", "a b"),
	    LOG_TEXT("empty", ""), LOG_TEXT("equal", "a=b"));
	ck_assert_str_eq(after_time(read_file(path), "time="),
	    " level=info msg=\"listening\" address=127.0.0.1:443 n=-5 "
	    "plain=a/b:c spaced=\"a b\" empty=\"\" equal=\"a=b\"\n");
	remove_log();
}
END_TEST

START_TEST(json_lines_are_json)
{
	open_log(LOG_FORMAT_JSON, LOG_LEVEL_INFO);
	LOG_WARN("odd \"word\"", LOG_SPAN("v", span_of("\n\xff\0", 3)),
	    LOG_INT("n", 7));
	ck_assert_str_eq(after_time(read_file(path), "{\"time\":\""),
	    "\",\"level\":\"warn\",\"msg\":\"odd \\\"word\\\"\","
	    "\"v\":\"\\u000a\xef\xbf\xbd\\u0000\",\"n\":7}\n");
	remove_log();
}
END_TEST

START_TEST(term_is_not_coloured_in_a_file)
{
	open_log(LOG_FORMAT_TERM, LOG_LEVEL_DEBUG);
	LOG_DEBUG("hello there", LOG_TEXT("k", "v"));
	ck_assert_str_eq(
	    after_time(read_file(path), ""), " debug hello there k=v\n");
	remove_log();
}
END_TEST

START_TEST(term_is_coloured_on_a_terminal)
{
	struct log_settings settings = { NULL, LOG_FORMAT_TERM,
		LOG_LEVEL_INFO };
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	ssize_t n;

	ck_assert_int_ge(master, 0);
	ck_assert_int_eq(grantpt(master) | unlockpt(master), 0);
	settings.target = ptsname(master);
	ck_assert_int_eq(log_open(&settings), 0);
	LOG_ERROR("bad", LOG_TEXT("k", "\033[31m"));
	n = read(master, content, sizeof(content) - 1);
	ck_assert_int_gt(n, 0);
	content[n] = '\0';
	ck_assert_ptr_nonnull(strstr(content, "\033[31merror\033[0m bad"));
	ck_assert_ptr_nonnull(strstr(content, "\"\\x1b[31m\""));
	log_close();
	close(master);
}
END_TEST

/* Each byte, alone in a value: one line stays one line, a quote stays shut. */
START_TEST(no_byte_forges_a_line)
{
	open_log((enum log_format)_i, LOG_LEVEL_INFO);
	for (int byte = 0; byte < 256; byte++) {
		uint8_t value[] = { 'a', (uint8_t)byte, 'b' };

		LOG_INFO("m", LOG_SPAN("k", span_of(value, 3)));
	}
	const char *at = read_file(path);
	int lines = 0;

	for (; *at; at++) {
		ck_assert((unsigned char)*at < 0x80 || _i == LOG_FORMAT_JSON);
		ck_assert((unsigned char)*at >= ' ' || *at == '\n');
		lines += *at == '\n';
	}
	ck_assert_int_eq(lines, 256);
	remove_log();
}
END_TEST

START_TEST(a_key_cannot_forge_either)
{
	open_log(LOG_FORMAT_LOGFMT, LOG_LEVEL_INFO);
	LOG_INFO("m\nx", LOG_TEXT("a b=\n\"c", "v"));
	ck_assert_str_eq(after_time(read_file(path), "time="),
	    " level=info msg=\"m\\x0ax\" a_b___c=v\n");
	remove_log();
}
END_TEST

START_TEST(a_long_line_loses_whole_fields)
{
	static uint8_t big[10000];
	const char *text;

	memset(big, 'x', sizeof(big));
	open_log((enum log_format)_i, LOG_LEVEL_INFO);
	LOG_INFO("m", LOG_SPAN("a", span_of(big, sizeof(big))),
	    LOG_SPAN("b", span_of(big, 2040)),
	    LOG_SPAN("c", span_of(big, 2040)),
	    LOG_SPAN("d", span_of(big, 2040)), LOG_SPAN("e", span_of(big, 9)));
	text = read_file(path);
	ck_assert_uint_le(strlen(text), 8192);
	ck_assert_ptr_null(strstr(text, "d="));
	ck_assert_ptr_null(strstr(text, "\"d\""));
	ck_assert_ptr_nonnull(strstr(text,
	    _i == LOG_FORMAT_JSON ? "x\",\"cut\":true}\n" : "x cut=true\n"));
	remove_log();
}
END_TEST

START_TEST(levels_and_false_are_quiet)
{
	struct log_settings off = { "false", LOG_FORMAT_TERM, LOG_LEVEL_DEBUG };

	open_log(LOG_FORMAT_LOGFMT, LOG_LEVEL_WARN);
	ck_assert(!log_enabled(LOG_LEVEL_INFO));
	ck_assert(log_enabled(LOG_LEVEL_WARN));
	LOG_INFO("no");
	log_write(LOG_LEVEL_DEBUG, "no", NULL, 0);
	ck_assert_str_eq(read_file(path), "");
	LOG_ERROR("yes", LOG_ERRNO(ENOENT));
	ck_assert_ptr_nonnull(strstr(read_file(path),
	    "level=error msg=\"yes\" error=\"No such file or directory\"\n"));
	ck_assert_int_eq(log_open(&off), 0);
	ck_assert(!log_enabled(LOG_LEVEL_ERROR));
	LOG_ERROR("no");
	ck_assert_int_eq(log_reopen(), 0);
	remove_log();
}
END_TEST

START_TEST(rotation_starts_a_new_file)
{
	char moved[128];

	open_log(LOG_FORMAT_LOGFMT, LOG_LEVEL_INFO);
	LOG_INFO("one");
	snprintf(moved, sizeof(moved), "%s.1", path);
	ck_assert_int_eq(rename(path, moved), 0);
	LOG_INFO("two");
	ck_assert_int_eq(log_reopen(), 0);
	LOG_INFO("three");
	ck_assert_ptr_nonnull(strstr(read_file(moved), "msg=\"two\""));
	ck_assert_ptr_null(strstr(read_file(path), "msg=\"two\""));
	ck_assert_ptr_nonnull(strstr(content, "msg=\"three\""));
	unlink(moved);
	remove_log();
}
END_TEST

START_TEST(what_cannot_be_opened_is_told)
{
	struct log_settings bad = { "no-such-folder/log", LOG_FORMAT_JSON,
		LOG_LEVEL_INFO };

	ck_assert_int_eq(log_open(&bad), -ENOENT);
	ck_assert(log_enabled(LOG_LEVEL_INFO));
	open_log(LOG_FORMAT_LOGFMT, LOG_LEVEL_INFO);
	/* The old file stays when the new one cannot be had. */
	unlink(path);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(log_reopen(), -EISDIR);
	LOG_INFO("still there");
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert_int_eq(log_reopen(), 0);
	remove_log();
}
END_TEST

#define WRITERS 4
#define LINES 500

static void *
write_lines(void *arg)
{
	for (int i = 0; i < LINES; i++)
		LOG_INFO(
		    "line", LOG_INT("writer", (intptr_t)arg), LOG_INT("i", i));
	return NULL;
}

START_TEST(lines_stay_whole_while_the_file_is_opened_again)
{
	pthread_t threads[WRITERS];
	int lines = 0;

	open_log(LOG_FORMAT_LOGFMT, LOG_LEVEL_INFO);
	for (intptr_t i = 0; i < WRITERS; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, write_lines, (void *)i),
		    0);
	for (int i = 0; i < 50; i++)
		ck_assert_int_eq(log_reopen(), 0);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	for (char *at = content, *end = at + strlen(read_file(path)); at < end;
	     lines++) {
		const char *rest = after_time(at, "time=");

		ck_assert(
		    !strncmp(rest, " level=info msg=\"line\" writer=", 30));
		at = strchr(at, '\n') + 1;
	}
	ck_assert_int_eq(lines, WRITERS * LINES);
	remove_log();
}
END_TEST

static atomic_int passed;
static atomic_int held_sum;

static void *
knock(void *arg)
{
	for (int i = 0; i < 1000; i++) {
		uint32_t held;

		if (log_limit(arg, &held)) {
			atomic_fetch_add(&passed, 1);
			atomic_fetch_add(&held_sum, (int)held);
		}
	}
	return NULL;
}

START_TEST(one_line_a_second_gets_through)
{
	static struct log_limiter limiter;
	pthread_t threads[WRITERS];
	int rest;

	for (int i = 0; i < WRITERS; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, knock, &limiter), 0);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	/* A slow machine may be on its way for more than a second. */
	ck_assert_int_ge(passed, 1);
	ck_assert_int_le(passed, 10);
	atomic_store(&limiter.next_us, 0);
	rest = held_sum;
	knock(&limiter);
	ck_assert_int_gt(held_sum, rest);
	ck_assert_int_eq(
	    held_sum + (int)limiter.held_back + passed, WRITERS * 1000 + 1000);
}
END_TEST

START_TEST(a_limited_line_says_how_many_were_held)
{
	open_log(LOG_FORMAT_LOGFMT, LOG_LEVEL_INFO);
	for (int i = 0; i < 3; i++)
		LOG_LIMITED(LOG_LEVEL_WARN, "again", LOG_INT("i", i));
	ck_assert_str_eq(after_time(read_file(path), "time="),
	    " level=warn msg=\"again\" held_back=0 i=0\n");
	remove_log();
}
END_TEST

/* Everything that waits in the pipe, at the end of `text`. */
static void
drain(int fd, char *text, size_t size)
{
	struct pollfd waits = { .fd = fd, .events = POLLIN };
	char block[4096];
	ssize_t n;

	while (poll(&waits, 1, 0) > 0) {
		n = read(fd, block, sizeof(block) - 1);
		ck_assert_int_gt(n, 0);
		block[n] = '\0';
		snprintf(text, size, "%s", block);
	}
}

/* The reader of the log stands still: nobody waits for it, and it hears how
 * much it has missed. */
START_TEST(a_blocked_reader_holds_nobody_up)
{
	const struct log_settings settings = { .target = "stderr",
		.format = LOG_FORMAT_LOGFMT };
	char last[4096];
	int ends[2], before = dup(STDERR_FILENO);

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_ge(dup2(ends[1], STDERR_FILENO), 0);
	ck_assert_int_eq(log_open(&settings), 0);
	for (int i = 0; i < 5000; i++)
		LOG_WARN("a line of some length", LOG_INT("number", i));
	drain(ends[0], last, sizeof(last));
	LOG_WARN("after", LOG_INT("number", 1));
	drain(ends[0], last, sizeof(last));
	ck_assert_int_ge(dup2(before, STDERR_FILENO), 0);
	ck_assert_ptr_nonnull(
	    strstr(last, "msg=\"log lines were lost\" lines="));
	ck_assert_ptr_nonnull(strstr(last, "msg=\"after\""));
}
END_TEST

START_TEST(words_are_read)
{
	enum log_format format;
	enum log_level level;

	ck_assert_int_eq(log_format_parse(span_text("json"), &format), 0);
	ck_assert_int_eq(format, LOG_FORMAT_JSON);
	ck_assert_int_eq(log_format_parse(span_text("term"), &format), 0);
	ck_assert_int_eq(format, LOG_FORMAT_TERM);
	ck_assert_int_eq(log_format_parse(span_text("xml"), &format), -EINVAL);
	ck_assert_int_eq(log_level_parse(span_text("error"), &level), 0);
	ck_assert_int_eq(level, LOG_LEVEL_ERROR);
	ck_assert_int_eq(log_level_parse(span_text(""), &level), -EINVAL);
	ck_assert_int_eq(log_level_parse(span_text("INFO"), &level), -EINVAL);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, logfmt_quotes_only_where_needed);
	tcase_add_test(tcase, json_lines_are_json);
	tcase_add_test(tcase, term_is_not_coloured_in_a_file);
	tcase_add_test(tcase, term_is_coloured_on_a_terminal);
	tcase_add_loop_test(tcase, no_byte_forges_a_line, 0, 3);
	tcase_add_test(tcase, a_key_cannot_forge_either);
	tcase_add_loop_test(tcase, a_long_line_loses_whole_fields, 0, 3);
	tcase_add_test(tcase, levels_and_false_are_quiet);
	tcase_add_test(tcase, rotation_starts_a_new_file);
	tcase_add_test(tcase, what_cannot_be_opened_is_told);
	tcase_add_test(tcase, lines_stay_whole_while_the_file_is_opened_again);
	tcase_add_test(tcase, one_line_a_second_gets_through);
	tcase_add_test(tcase, a_limited_line_says_how_many_were_held);
	tcase_add_test(tcase, a_blocked_reader_holds_nobody_up);
	tcase_add_test(tcase, words_are_read);
}

UNIT_MAIN("log", add_tests)
