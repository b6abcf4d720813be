# Unit tests: a Check program a module, linking only what it needs.
UNIT_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) -iquote $(top_srcdir)/tests/unit
UNIT_LIBS = $(CHECK_LIBS)

if HAVE_CHECK
include tests/unit/base.mk
include tests/unit/wire.mk
include tests/unit/sys.mk
include tests/unit/tls.mk
include tests/unit/config.mk
include tests/unit/policy.mk
include tests/unit/engine.mk
include tests/unit/renewal.mk
include tests/unit/cmd.mk
endif

include tests/policy/local.mk
include tests/e2e/local.mk
include tests/fuzz/local.mk

# The suites again under sanitizers, each in a build of its own below this one:
# unit and end-to-end tests under ASan and UBSan, unit tests and the core of the
# end-to-end ones under TSan. The folders stay, so that a second run is quick.
SANITIZER_CONFIGURE = $(abs_top_srcdir)/configure --enable-werror \
	CC='$(CC)' CFLAGS='-O1 -g' PYTHON='$(PYTHON)'

asan/Makefile:
	$(MKDIR_P) asan
	cd asan && $(SANITIZER_CONFIGURE) --with-sanitizer=address

tsan/Makefile:
	$(MKDIR_P) tsan
	cd tsan && $(SANITIZER_CONFIGURE) --with-sanitizer=thread

# Unit tests that fail do not keep the end-to-end ones from running.
# Deadlines that only guard against hanging are longer then, loads smaller.
CHECK_SANITIZED = LUNETTE_SANITIZED=1 $(MAKE) $(AM_MAKEFLAGS)

.PHONY: check-asan check-tsan
check-asan: asan/Makefile
	cd asan && status=0; \
	$(CHECK_SANITIZED) check || status=1; \
	$(CHECK_SANITIZED) check-e2e || status=1; exit $$status

check-tsan: tsan/Makefile
	cd tsan && status=0; \
	$(CHECK_SANITIZED) check || status=1; \
	$(CHECK_SANITIZED) check-e2e PYTEST_ARGS='-m core' || status=1; \
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
