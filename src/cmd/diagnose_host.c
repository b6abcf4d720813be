#include "cmd/diagnose_host.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/timex.h>

#include "base/clock.h"
#include "cmd/leave.h"
#include "sys/privileges.h"

#define PORT_RANGE "/proc/sys/net/ipv4/ip_local_port_range"

/* An agent starts with fewer; a connection takes some of each. */
#define DESCRIPTORS_LEAST 64
#define DESCRIPTORS_FEW 4096
#define PORTS_FEW 10000

static void
check_descriptors(struct findings *f)
{
	uint64_t limit;
	enum finding how = FINDING_OK;

	if (privileges_raise_descriptors(&limit) < 0 && limit == 0) {
		findings_add(
		    f, FINDING_WARN, "descriptors: the limit is not known");
		return;
	}
	if (limit < DESCRIPTORS_FEW)
		how = limit < DESCRIPTORS_LEAST ? FINDING_ERROR : FINDING_WARN;
	findings_add(f, how, "descriptors: %" PRIu64 "%s", limit,
	    how == FINDING_OK
		? ""
		: ", few: raise the hard limit (LimitNOFILE= of the unit)");
}

static void
check_ports(struct findings *f)
{
	FILE *file = fopen(PORT_RANGE, "re");
	unsigned first = 0, last = 0;
	bool good = file != NULL && fscanf(file, "%u %u", &first, &last) == 2 &&
		    first <= last;

	if (file != NULL)
		fclose(file);
	if (!good) {
		findings_add(f, FINDING_WARN,
		    "ports for connections out: cannot read " PORT_RANGE);
		return;
	}
	findings_add(f,
	    last - first + 1 < PORTS_FEW ? FINDING_WARN : FINDING_OK,
	    "ports for connections out: %u, as many connections at a time to "
	    "one edge or upstream (" PORT_RANGE ")",
	    last - first + 1);
}

/* Without it an agent works, but is a new one after each start. */
static void
check_state(struct findings *f, const struct snapshot *s)
{
	int err = leave_to_make(s->state);

	if (err == 0)
		findings_add(f, FINDING_OK, "state folder: %s", s->state);
	else
		findings_add(f, s->local_ca ? FINDING_ERROR : FINDING_WARN,
		    "state folder: %s: %s: %s", s->state, log_errno_text(-err),
		    s->local_ca ? "the local CA has no place"
				: "random names do not outlive a restart");
}

static void
check_clock(struct findings *f)
{
	struct timex t = { .modes = 0 };
	char storage[64];
	struct text now;
	int state = adjtimex(&t);

	text_init(&now, storage, sizeof(storage));
	text_add_time(&now, clock_wall_us(), 3);
	if (state < 0)
		findings_add(f, FINDING_WARN,
		    "clock: %s; whether it is synchronised is not known: %s",
		    now.data, log_errno_text(errno));
	else if (state == TIME_ERROR || (t.status & STA_UNSYNC))
		findings_add(f, FINDING_WARN,
		    "clock: %s; it is not synchronised with any other "
		    "(NTP), and certificates are judged by it",
		    now.data);
	else
		findings_add(
		    f, FINDING_OK, "clock: %s, synchronised", now.data);
}

void
diagnose_host(struct findings *f, const struct snapshot *s)
{
	check_descriptors(f);
	check_ports(f);
	check_state(f, s);
	check_clock(f);
}
