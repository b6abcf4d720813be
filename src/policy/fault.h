/*
 * How a run fails: the outcome, and the one log line for it.
 */
#ifndef POLICY_FAULT_H
#define POLICY_FAULT_H

#include "policy/state.h"

/* What a fault of the limits is called, naming the configuration's key. */
void fault_describe(
    const struct policy *p, enum policy_fault fault, struct text *out);

/*
 * Makes the run's outcome a failure and logs it, at most once a second for the
 * same place. `why` is one printable line. The line is the one where the
 * coroutine stands, or `line` if that is not 0. Does not raise.
 */
void fault_report(
    struct policy_run *run, enum policy_fault fault, const char *why, int line);

#endif
