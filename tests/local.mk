if HAVE_CHECK
include tests/unit/local.mk
endif

include tests/policy/local.mk
include tests/e2e/local.mk
include tests/fuzz/local.mk

# The suites again under sanitizers, each in a build of its own below this one:
# unit and end-to-end tests under ASan and UBSan, the unit tests in which there
# are threads and the core of the end-to-end ones under TSan. The folders stay, so that a second run is quick.
SANITIZER_CONFIGURE = $(abs_top_srcdir)/configure --enable-werror \
	CC='$(CC)' CFLAGS='-O1 -g1' PYTHON='$(PYTHON)'

asan/Makefile:
	$(MKDIR_P) asan
	cd asan && $(SANITIZER_CONFIGURE) --with-sanitizer=address

tsan/Makefile:
	$(MKDIR_P) tsan
	cd tsan && $(SANITIZER_CONFIGURE) --with-sanitizer=thread

# Unit tests that fail do not keep the end-to-end ones from running. $(MAKE)
# stands here itself: in a variable of ours make would not hand its jobs on.
# Deadlines that only guard against hanging are longer then, loads smaller.
.PHONY: check-asan check-tsan
check-asan: asan/Makefile
	export LUNETTE_SANITIZED=1; cd asan && status=0; \
	$(MAKE) $(AM_MAKEFLAGS) check || status=1; \
	$(MAKE) $(AM_MAKEFLAGS) check-e2e PYTEST_ARGS='$(ASAN_PYTEST_ARGS)' || \
		status=1; exit $$status

# What runs on one thread, in the test as in the program, has no race to find.
THREADED_TESTS = tests/unit/test_acceptor tests/unit/test_agent_web \
	tests/unit/test_authority \
	tests/unit/test_balance tests/unit/test_certificate \
	tests/unit/test_digest tests/unit/test_edge \
	tests/unit/test_edge_auth tests/unit/test_edge_calls \
	tests/unit/test_edge_data \
	tests/unit/test_edge_policy tests/unit/test_engine_faults \
	tests/unit/test_event tests/unit/test_expiry tests/unit/test_hash \
	tests/unit/test_health tests/unit/test_journal tests/unit/test_keyring \
	tests/unit/test_leg tests/unit/test_leg_tls tests/unit/test_log \
	tests/unit/test_mailbox tests/unit/test_meter tests/unit/test_netset \
	tests/unit/test_ocsp \
	tests/unit/test_pairs tests/unit/test_policy_lib \
	tests/unit/test_policy_shared tests/unit/test_reencrypt \
	tests/unit/test_relay tests/unit/test_renewal tests/unit/test_resolver \
	tests/unit/test_slab tests/unit/test_snapshot tests/unit/test_stages \
	tests/unit/test_stages_upstream tests/unit/test_stapler \
	tests/unit/test_stream tests/unit/test_stream_move \
	tests/unit/test_tally tests/unit/test_terminate \
	tests/unit/test_terminate_faults tests/unit/test_tickets \
	tests/unit/test_trust tests/unit/test_upstream \
	tests/unit/test_web_bounds tests/unit/test_web_server

EXTRA_DIST += tests/tsan.suppressions
check-tsan: tsan/Makefile
	export TSAN_OPTIONS="suppressions=$(abs_top_srcdir)/tests/tsan.suppressions" \
		LUNETTE_SANITIZED=1; cd tsan && status=0; \
	$(MAKE) $(AM_MAKEFLAGS) check check_PROGRAMS='$(THREADED_TESTS)' \
		TESTS='$(THREADED_TESTS)' || status=1; \
	$(MAKE) $(AM_MAKEFLAGS) check-e2e PYTEST_ARGS='-m core' || status=1; \
	exit $$status

# Which lines the unit and policy tests run, by gcov, in a build of its own.
# `make -C coverage check-e2e` before a second run adds the end-to-end tests.
EXTRA_DIST += tests/coverage

coverage/Makefile:
	$(MKDIR_P) coverage
	cd coverage && $(abs_top_srcdir)/configure CC='$(CC)' \
		CFLAGS='-O0 -g --coverage' PYTHON='$(PYTHON)'

.PHONY: coverage
coverage: coverage/Makefile
	cd coverage && status=0; $(MAKE) $(AM_MAKEFLAGS) check || status=1; \
	$(abs_top_srcdir)/tests/coverage . && exit $$status

# An hour of mixed traffic, reloads and accidents; SOAK_ARGS=--quick for three
# minutes, '--minutes 20 --seed 7' for a run again.
EXTRA_DIST += \
	tests/soak/clients.py \
	tests/soak/exchange.py \
	tests/soak/ledger.py \
	tests/soak/run.py \
	tests/soak/stage.py \
	tests/soak/upstreams.py

.PHONY: soak
soak: lunette$(EXEEXT)
	LUNETTE=$(abs_top_builddir)/lunette$(EXEEXT) \
	LUNETTE_LUA=$(abs_top_srcdir)/lua PYTHONDONTWRITEBYTECODE=1 \
	$(PYTHON) $(srcdir)/tests/soak/run.py $(SOAK_ARGS)
