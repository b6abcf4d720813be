#include "unit.h"

#include <stdio.h>
#include <unistd.h>

#include "cmd/advice.h"
#include "cmd/load.h"
#include "sys/socket.h"

static const struct {
	const char *path, *folder;
} folders[] = {
	{ "edge.yaml", "." },
	{ "./edge.yaml", "." },
	{ "/edge.yaml", "/" },
	{ "/etc/lunette/edge.yaml", "/etc/lunette" },
	{ "a/b", "a" },
	{ "", "." },
};

START_TEST(relative_paths_start_at_the_files_folder)
{
	char folder[64];

	ck_assert(folder_of(folders[_i].path, folder, sizeof(folder)));
	ck_assert_str_eq(folder, folders[_i].folder);
}
END_TEST

START_TEST(a_folder_that_does_not_fit_is_refused)
{
	char folder[8];

	ck_assert(folder_of("/123456/x", folder, 8));
	ck_assert_str_eq(folder, "/123456");
	ck_assert(!folder_of("/1234567/x", folder, 8));
}
END_TEST

START_TEST(a_missing_file_is_a_problem)
{
	struct problems *p = problems_new();

	ck_assert_ptr_null(load_file("/nonexistent/edge.yaml", LOAD_ANY, p));
	ck_assert_uint_eq(problems_count(p), 1);
	ck_assert(strstr(problems_get(p, 0), "/nonexistent/edge.yaml") != NULL);
	problems_free(p);
}
END_TEST

/* What was run with the wrong file is told where it shows. */
static const struct {
	enum load_kind kind;
	const char *text, *said; /* between the path and the path */
} kinds[] = {
	{ LOAD_EDGE, "version: 1\nagent: { edges: [ e.test ] }\n",
	    ":2:1: 'agent' makes this an agent's file: run it with lunette "
	    "agent -c " },
	{ LOAD_AGENT, "version: 1\nedge: {}\n",
	    ":2:1: this is an edge's file, as it has no 'agent': run it "
	    "with lunette edge -c " },
	{ LOAD_AGENT, "version: 1\nendpoints: []\n",
	    ":1:1: this is an edge's file, as it has no 'agent': run it "
	    "with lunette edge -c " },
	{ LOAD_AGENT, "version: 1\nagent: {}\n", NULL },
	{ LOAD_EDGE, "version: 1\nendpoints: []\n", NULL },
	{ LOAD_ANY, "version: 1\nagent: {}\n", NULL },
	{ LOAD_ANY, "version: 1\nedge: {}\n", NULL },
};

START_TEST(the_other_kind_of_file_is_told)
{
	char path[] = "/tmp/test_load.XXXXXX", said[512];
	struct problems *p = problems_new();
	int fd = mkstemp(path);
	ssize_t len = (ssize_t)strlen(kinds[_i].text);
	struct tree *t;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, kinds[_i].text, (size_t)len), len);
	close(fd);
	t = load_tree(path, kinds[_i].kind, p);
	unlink(path);
	ck_assert_int_eq(t != NULL, kinds[_i].said == NULL);
	ck_assert_uint_eq(problems_count(p), kinds[_i].said != NULL);
	if (kinds[_i].said != NULL) {
		snprintf(
		    said, sizeof(said), "%s%s%s", path, kinds[_i].said, path);
		ck_assert_str_eq(problems_get(p, 0), said);
	}
	tree_free(t);
	problems_free(p);
}
END_TEST

static int
take_port(uint8_t family, struct addr *bound)
{
	struct addr a = { .family = family };

	if (family == ADDR_IP4) {
		a.bytes[0] = 127;
		a.bytes[3] = 1;
	} else {
		a.bytes[15] = 1;
	}
	int fd = socket_listen(&a);

	if (fd >= 0)
		ck_assert_int_eq(socket_local_addr(fd, bound), 0);
	return fd;
}

START_TEST(who_holds_a_port_is_told)
{
	char storage[256], self[64];
	struct addr bound;
	struct text out;
	int fd = take_port(_i == 0 ? ADDR_IP4 : ADDR_IP6, &bound);

	if (fd < 0 && _i == 1)
		return; /* a machine without IPv6 */
	text_init(&out, storage, sizeof(storage));
	ck_assert(advice_port_holder(&bound, &out));
	snprintf(self, sizeof(self), "(pid %d)", (int)getpid());
	ck_assert_msg(strstr(out.data, self) != NULL, "%s", out.data);
	close(fd);
}
END_TEST

/* A port is held for an address: others may hold the same one for theirs, other
 * processes too. */
START_TEST(who_holds_the_address_is_told)
{
	static const struct {
		uint8_t family, first, last; /* bytes of the address */
		bool is_held;
	} cases[] = {
		{ ADDR_IP4, 127, 1, true },
		{ ADDR_IP4, 127, 2, false },
		{ ADDR_IP6, 0, 1, false },
		{ ADDR_IP4, 0, 0, true },
		{ ADDR_IP6, 0, 0, true },
	};
	char storage[256], self[64];
	struct text out;
	struct addr bound;
	int fd = take_port(ADDR_IP4, &bound);

	ck_assert_int_ge(fd, 0);
	snprintf(self, sizeof(self), "(pid %d)", (int)getpid());
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct addr a = { .family = cases[i].family,
			.port = bound.port };

		a.bytes[0] = cases[i].first;
		a.bytes[a.family == ADDR_IP4 ? 3 : 15] = cases[i].last;
		text_init(&out, storage, sizeof(storage));
		if (cases[i].is_held)
			/* One of those that hold some address, perhaps. */
			ck_assert(advice_port_holder(&a, &out));
		else
			ck_assert(!advice_port_holder(&a, &out) ||
				  strstr(out.data, self) == NULL);
	}
	close(fd);
}
END_TEST

START_TEST(advice_is_only_for_what_cannot_be_had)
{
	char storage[256], address[] = "here";
	struct listen_settings listen = { .address = address };
	struct snapshot s = { .listens = &listen, .listen_count = 1 };
	struct text out;
	int fd = take_port(ADDR_IP4, &listen.addr);

	ck_assert_int_ge(fd, 0);
	text_init(&out, storage, sizeof(storage));
	advice_listen(&s, true, &out);
	ck_assert(strstr(out.data, "; it is ") == out.data);
	ck_assert(strstr(out.data, "--listen :8443") != NULL);
	text_clear(&out);
	advice_listen(&s, false, &out);
	ck_assert(strstr(out.data, "--listen") == NULL);
	close(fd);
	text_clear(&out);
	advice_listen(&s, true, &out);
	ck_assert_str_eq(out.data, "");
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(tcase, relative_paths_start_at_the_files_folder, 0,
	    (int)ARRAY_COUNT(folders));
	tcase_add_test(tcase, a_folder_that_does_not_fit_is_refused);
	tcase_add_test(tcase, a_missing_file_is_a_problem);
	tcase_add_loop_test(
	    tcase, the_other_kind_of_file_is_told, 0, (int)ARRAY_COUNT(kinds));
	tcase_add_loop_test(tcase, who_holds_a_port_is_told, 0, 2);
	tcase_add_test(tcase, who_holds_the_address_is_told);
	tcase_add_test(tcase, advice_is_only_for_what_cannot_be_had);
}

UNIT_MAIN("load", add_tests)
