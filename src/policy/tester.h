/*
 * `lunette policy check` and `lunette policy test`, apart from the command
 * line.
 */
#ifndef POLICY_TESTER_H
#define POLICY_TESTER_H

#include "policy/policy.h"

/*
 * Compiles, loads in the sandbox and examines one script: unknown globals,
 * unknown decision keys in constant tables, unknown library names. Each finding
 * is a line "file:line: what" added to `out`. Returns how many.
 */
size_t policy_check(
    const struct policy_settings *settings, const char *path, struct text *out);

struct policy_test_result {
	unsigned passed, failed;
};

/*
 * Runs one test script: a Lua file in the sandbox with `policy "file.lua"`
 * (relative to it), `decide{...}`, `test(name, function)` and `assert...`
 * helpers; see lunette-policy(7). What failed is added to `out`.
 */
struct policy_test_result policy_test(
    const struct policy_settings *settings, const char *path, struct text *out);

#endif
