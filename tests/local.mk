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
include tests/unit/cmd.mk
endif

include tests/policy/local.mk
include tests/e2e/local.mk
include tests/fuzz/local.mk
