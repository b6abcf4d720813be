#include "unit.h"

#include "base/text.h"

START_TEST(text_never_writes_past_its_storage)
{
	char storage[8];
	struct text t;

	text_init(&t, storage, sizeof(storage));
	text_add(&t, "abc");
	text_addf(&t, "%d", 12345);
	ck_assert_str_eq(t.data, "abc1234");
	ck_assert(t.truncated);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, text_never_writes_past_its_storage);
}

UNIT_MAIN("text", add_tests)
