#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bytes.h"
#include "openssl_faults.h"
#include "tls/secret.h"
#include "tunnel/names.h"

static char folder[] = "/tmp/test_names.XXXXXX";
static char key_path[64], storage[512];
static struct text error;

static void
setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(key_path, sizeof(key_path), "%s/tunnel.key", folder);
	text_init(&error, storage, sizeof(storage));
}

static void
teardown(void)
{
	unlink(key_path);
	rmdir(folder);
}

static void
write_key(const char *bytes, size_t len, mode_t mode)
{
	int fd = open(key_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
}

static struct names *
open_names(void)
{
	struct names *n = names_open(folder, &error);

	ck_assert_msg(n, "%s", storage);
	return n;
}

/* With the key 00 01 02 ... 1f, for vectors. */
static struct names *
known_names(void)
{
	char key[NAMES_KEY_BYTES];

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (char)i;
	write_key(key, sizeof(key), 0600);
	return open_names();
}

/* --- the key --- */

START_TEST(the_key_is_made_once)
{
	char first[COOKIE_SIZE], second[COOKIE_SIZE];
	struct names *n = open_names();
	struct stat st;

	ck_assert_int_eq(stat(key_path, &st), 0);
	ck_assert_int_eq(st.st_size, NAMES_KEY_BYTES);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(names_cookie(n, "cr", "ag", first), 0);
	names_free(n);
	n = open_names();
	ck_assert_int_eq(names_cookie(n, "cr", "ag", second), 0);
	ck_assert_str_eq(first, second);
	names_free(n);
	/* Another key, other cookies. */
	ck_assert_int_eq(unlink(key_path), 0);
	n = open_names();
	ck_assert_int_eq(names_cookie(n, "cr", "ag", second), 0);
	ck_assert_str_ne(first, second);
	names_free(n);
	names_free(NULL);
}
END_TEST

START_TEST(folders_are_made)
{
	char path[64], command[128];
	struct names *n;
	struct stat st;

	snprintf(path, sizeof(path), "%s/a/b", folder);
	n = names_open(path, &error);
	ck_assert_msg(n, "%s", storage);
	names_free(n);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0700);
	snprintf(command, sizeof(command), "rm -r %s/a", folder);
	ck_assert_int_eq(system(command), 0);
}
END_TEST

static const struct {
	const char *bytes;
	size_t len;
	mode_t mode;
	const char *why;
} bad_keys[] = {
	{ "", 0, 0600, "it is no key, which has 32 bytes" },
	{ "0123456789abcdef0123456789abcde", 31, 0600,
	    "it is no key, which has 32 bytes" },
	{ "0123456789abcdef0123456789abcdef0", 33, 0600,
	    "it is no key, which has 32 bytes" },
	{ "0123456789abcdef0123456789abcdef", 32, 0640,
	    "it holds secrets, but not only its owner has access" },
	{ "0123456789abcdef0123456789abcdef", 32, 0604,
	    "it holds secrets, but not only its owner has access" },
};

START_TEST(a_bad_key_is_refused_and_stays)
{
	struct stat st;

	write_key(bad_keys[_i].bytes, bad_keys[_i].len, bad_keys[_i].mode);
	ck_assert_ptr_null(names_open(folder, &error));
	ck_assert_msg(strstr(storage, bad_keys[_i].why), "%s", storage);
	ck_assert(!strncmp(storage, key_path, strlen(key_path)));
	ck_assert_int_eq(stat(key_path, &st), 0);
	ck_assert_int_eq(st.st_size, (off_t)bad_keys[_i].len);
}
END_TEST

START_TEST(a_bad_folder_is_refused)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/x", key_path);
	write_key("x", 1, 0600);
	ck_assert_ptr_null(names_open(path, &error));
	ck_assert_ptr_nonnull(strstr(storage, "cannot be made: "));
	text_clear(&error);
	ck_assert_ptr_null(names_open(key_path, &error));
	ck_assert_ptr_nonnull(strstr(storage, "cannot be opened: "));
	text_clear(&error);
	ck_assert_int_eq(chmod(folder, 0777), 0);
	ck_assert_ptr_null(names_open(folder, &error));
	ck_assert_ptr_nonnull(strstr(storage, "everybody may write to it"));
}
END_TEST

#define PROCESSES 8

/* All that start together have one key; no other file is left. */
START_TEST(processes_agree_on_one_key)
{
	char cookie[COOKIE_SIZE], expected[COOKIE_SIZE];
	struct names *n;
	int results[2], go[2];

	ck_assert_int_eq(pipe(results), 0);
	ck_assert_int_eq(pipe(go), 0);
	for (int i = 0; i < PROCESSES; i++) {
		if (fork() != 0)
			continue;
		close(go[1]);
		/* All wait for its end, and go on together. */
		if (read(go[0], cookie, 1) != 0)
			_exit(1);
		n = names_open(folder, &error);
		if (!n || names_cookie(n, "cr", "ag", cookie) < 0 ||
		    write(results[1], cookie, sizeof(cookie)) < 0)
			_exit(1);
		_exit(0);
	}
	close(go[0]);
	close(go[1]);
	for (int i = 0; i < PROCESSES; i++) {
		int status;

		ck_assert_int_gt(wait(&status), 0);
		ck_assert_int_eq(status, 0);
	}
	n = open_names();
	ck_assert_int_eq(names_cookie(n, "cr", "ag", expected), 0);
	for (int i = 0; i < PROCESSES; i++) {
		ck_assert_int_eq(
		    read(results[0], cookie, sizeof(cookie)), COOKIE_SIZE);
		ck_assert_str_eq(cookie, expected);
	}
	names_free(n);
	/* rmdir succeeds only if the key was all that there was. */
	ck_assert_int_eq(unlink(key_path), 0);
	ck_assert_int_eq(rmdir(folder), 0);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
}
END_TEST

/* --- what is derived --- */

/* By Python's hmac over the bytes that names.h describes. */
START_TEST(vectors)
{
	struct names *n = known_names();
	char cookie[COOKIE_SIZE], token[BIND_TOKEN_SIZE];
	struct host base, name;

	ck_assert_int_eq(host_parse(BYTES("base.test"), &base, NULL), 0);
	ck_assert_int_eq(names_cookie(n, "cr_x", "ag_y", cookie), 0);
	ck_assert_str_eq(
	    cookie, "7hfD4jEVHwPPiwmhrjndnQsVjd14jq9pgmHxgSTlRkc=");
	ck_assert_int_eq(
	    names_random(n, "cr_x", "ag_y", 1, 2, &base, &name), 0);
	ck_assert_str_eq(name.text, "6cu67e2bk7bxsh2x.base.test");
	ck_assert_int_eq(names_bind_token(n, "cr_x", &base, token), 0);
	ck_assert_str_eq(
	    token, "kpTRy7XTz8wcLDD4sCuooHbQBcBsNZoHY7cQIRkt6TE=.base.test");
	names_free(n);
}
END_TEST

START_TEST(a_cookie_is_one_clients)
{
	struct names *n = open_names();
	char cookie[COOKIE_SIZE];

	ck_assert_int_eq(names_cookie(n, "cr_x", "ag_y", cookie), 0);
	ck_assert_uint_eq(strlen(cookie), COOKIE_SIZE - 1);
	ck_assert_int_eq(names_check_cookie(n, "cr_x", "ag_y", cookie), 0);
	ck_assert_int_eq(
	    names_check_cookie(n, "cr_z", "ag_y", cookie), -EACCES);
	ck_assert_int_eq(
	    names_check_cookie(n, "cr_x", "ag_z", cookie), -EACCES);
	ck_assert_int_eq(names_check_cookie(n, "cr_x", "", cookie), -EACCES);
	ck_assert_int_eq(names_check_cookie(n, "cr_x", "ag_y", ""), -EACCES);
	/* The border between the two is not to be moved. */
	ck_assert_int_eq(
	    names_check_cookie(n, "cr_xa", "g_y", cookie), -EACCES);
	for (size_t i = 0; i < strlen(cookie); i++) {
		cookie[i] ^= 1;
		ck_assert_int_eq(
		    names_check_cookie(n, "cr_x", "ag_y", cookie), -EACCES);
		cookie[i] ^= 1;
	}
	cookie[COOKIE_SIZE - 2] = '\0';
	ck_assert_int_eq(
	    names_check_cookie(n, "cr_x", "ag_y", cookie), -EACCES);
	names_free(n);
}
END_TEST

START_TEST(what_is_far_too_long_is_refused)
{
	struct names *n = open_names();
	char cookie[COOKIE_SIZE];
	char *client = malloc(70000);

	memset(client, 'x', 69999);
	client[69999] = '\0';
	ck_assert_int_eq(names_cookie(n, "cr", client, cookie), -ENAMETOOLONG);
	ck_assert_str_eq(cookie, "");
	ck_assert_int_eq(names_check_cookie(n, "cr", client, "x"), -EACCES);
	free(client);
	names_free(n);
}
END_TEST

START_TEST(random_names_stay_and_differ)
{
	struct names *n = open_names();
	struct host base, first, again, other;

	ck_assert_int_eq(host_parse(BYTES("base.test"), &base, NULL), 0);
	ck_assert_int_eq(names_random(n, "c", "a", 0, 0, &base, &first), 0);
	ck_assert_int_eq(names_random(n, "c", "a", 0, 0, &base, &again), 0);
	ck_assert_str_eq(first.text, again.text);
	ck_assert_uint_eq(first.len, RANDOM_LABEL_BYTES + 1 + base.len);
	ck_assert_ptr_nonnull(strstr(first.text, ".base.test"));
	ck_assert_int_eq(names_random(n, "c", "a", 1, 0, &base, &other), 0);
	ck_assert_str_ne(first.text, other.text);
	ck_assert_int_eq(names_random(n, "c", "a", 0, 1, &base, &again), 0);
	ck_assert_str_ne(first.text, again.text);
	ck_assert_str_ne(other.text, again.text);
	ck_assert_int_eq(names_random(n, "c", "b", 0, 0, &base, &other), 0);
	ck_assert_str_ne(first.text, other.text);
	ck_assert_int_eq(names_random(n, "d", "a", 0, 0, &base, &other), 0);
	ck_assert_str_ne(first.text, other.text);
	names_free(n);
}
END_TEST

START_TEST(a_base_domain_may_be_too_long)
{
	struct names *n = open_names();
	struct host base, out;
	struct text t;

	/* 236 bytes leave room for 16 and a dot. */
	text_init(&t, base.text, sizeof(base.text));
	while (t.len < 232)
		text_add(&t, "abc.");
	text_add(&t, "test");
	base.len = (uint8_t)t.len;
	ck_assert_int_eq(names_random(n, "c", "a", 0, 0, &base, &out), 0);
	text_add(&t, "x");
	base.len = (uint8_t)t.len;
	ck_assert_int_eq(
	    names_random(n, "c", "a", 0, 0, &base, &out), -ENAMETOOLONG);
	ck_assert_uint_eq(out.len, 0);
	names_free(n);
}
END_TEST

static const char *const bound[] = { "a.test", "*.a.test" };

START_TEST(a_bind_token_brings_its_name_back)
{
	struct names *n = open_names();
	char token[BIND_TOKEN_SIZE];
	struct host name, out;

	ck_assert_int_eq(
	    host_parse_pattern(span_text(bound[_i]), &name, NULL), 0);
	ck_assert_int_eq(names_bind_token(n, "cr_x", &name, token), 0);
	ck_assert_int_eq(names_read_bind_token(n, "cr_x", token, &out), 0);
	ck_assert_str_eq(out.text, bound[_i]);
	ck_assert_int_eq(
	    names_read_bind_token(n, "cr_y", token, &out), -EACCES);
	ck_assert_uint_eq(out.len, 0);
	for (size_t i = 0; i < strlen(token); i++) {
		int result;

		token[i] ^= 2;
		result = names_read_bind_token(n, "cr_x", token, &out);
		ck_assert(result == -EACCES || result == -EINVAL);
		token[i] ^= 2;
	}
	names_free(n);
}
END_TEST

static const char *const malformed[] = { "", "x",
	"0123456789012345678901234567890123456789012=",
	"0123456789012345678901234567890123456789012=.",
	"0123456789012345678901234567890123456789012=xa.test",
	"0123456789012345678901234567890123456789012=.a..test",
	"0123456789012345678901234567890123456789012=.192.0.2.1" };

START_TEST(a_malformed_bind_token_is_refused)
{
	struct names *n = open_names();
	struct host out;

	ck_assert_int_eq(
	    names_read_bind_token(n, "cr", malformed[_i], &out), -EINVAL);
	names_free(n);
}
END_TEST

START_TEST(client_ids_are_new)
{
	char first[CLIENT_ID_SIZE], second[CLIENT_ID_SIZE];

	names_new_client(first);
	names_new_client(second);
	ck_assert_uint_eq(strlen(first), CLIENT_ID_SIZE - 1);
	ck_assert(!strncmp(first, "ag_", 3));
	ck_assert_str_ne(first, second);
}
END_TEST

static int
check_cookie(const struct names *n)
{
	char cookie[COOKIE_SIZE];
	int result = names_cookie(n, "cr", "ag", cookie);

	return result == 0 ? names_check_cookie(n, "cr", "ag", cookie) : result;
}

static int
check_token(const struct names *n, const struct host *name)
{
	char token[BIND_TOKEN_SIZE];
	int result = names_bind_token(n, "cr", name, token);
	struct host out;

	return result == 0 ? names_read_bind_token(n, "cr", token, &out)
			   : result;
}

START_TEST(without_memory)
{
	struct names *n = open_names();
	struct host base, out;

	ck_assert_int_eq(host_parse(BYTES("base.test"), &base, NULL), 0);
	ck_assert_int_eq(check_cookie(n), 0);
	CHECK_WITHOUT_MEMORY(check_cookie(n), "", 0, 2);
	CHECK_WITHOUT_MEMORY(check_token(n, &base), "", 0, 2);
	CHECK_WITHOUT_MEMORY(
	    names_random(n, "c", "a", 0, 0, &base, &out), &out, sizeof(out), 1);
	names_free(n);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, the_key_is_made_once);
	tcase_add_test(tcase, folders_are_made);
	tcase_add_loop_test(
	    tcase, a_bad_key_is_refused_and_stays, 0, ARRAY_COUNT(bad_keys));
	tcase_add_test(tcase, a_bad_folder_is_refused);
	tcase_add_test(tcase, processes_agree_on_one_key);
	tcase_add_test(tcase, vectors);
	tcase_add_test(tcase, a_cookie_is_one_clients);
	tcase_add_test(tcase, what_is_far_too_long_is_refused);
	tcase_add_test(tcase, random_names_stay_and_differ);
	tcase_add_test(tcase, a_base_domain_may_be_too_long);
	tcase_add_loop_test(
	    tcase, a_bind_token_brings_its_name_back, 0, ARRAY_COUNT(bound));
	tcase_add_loop_test(tcase, a_malformed_bind_token_is_refused, 0,
	    ARRAY_COUNT(malformed));
	tcase_add_test(tcase, client_ids_are_new);
	tcase_add_test(tcase, without_memory);
}

UNIT_MAIN("names", add_tests)
