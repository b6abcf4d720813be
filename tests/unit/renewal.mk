# Unit tests of what keeps certificates fresh, in src/engine: files on disk, a
# thread, a responder.
RENEWAL_BENCH = tests/unit/renewal_bench.c tests/unit/renewal_bench.h \
	tests/unit/tls_support.c tests/unit/tls_support.h
RENEWAL_CPPFLAGS = $(UNIT_CPPFLAGS) $(OPENSSL_CFLAGS)

check_PROGRAMS += tests/unit/test_pairs tests/unit/test_expiry \
	tests/unit/test_stapler tests/unit/test_renewal
tests_unit_test_pairs_SOURCES = tests/unit/test_pairs.c $(RENEWAL_BENCH)
tests_unit_test_pairs_CPPFLAGS = $(RENEWAL_CPPFLAGS)
tests_unit_test_pairs_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc \
	-Wl,--wrap=calloc -Wl,--wrap=realloc -Wl,--wrap=strdup
tests_unit_test_pairs_LDADD = $(ENGINE_LIBS)

tests_unit_test_expiry_SOURCES = tests/unit/test_expiry.c $(RENEWAL_BENCH)
tests_unit_test_expiry_CPPFLAGS = $(RENEWAL_CPPFLAGS)
tests_unit_test_expiry_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc \
	-Wl,--wrap=realloc
tests_unit_test_expiry_LDADD = $(ENGINE_LIBS)

# --wrap=clock_ms lets days pass without waiting for them.
tests_unit_test_stapler_SOURCES = tests/unit/test_stapler.c $(RENEWAL_BENCH)
tests_unit_test_stapler_CPPFLAGS = $(RENEWAL_CPPFLAGS)
tests_unit_test_stapler_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_ms \
	-Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc
tests_unit_test_stapler_LDADD = $(ENGINE_LIBS)

# --wrap=clock_ms and --wrap=poll make time run faster.
tests_unit_test_renewal_SOURCES = tests/unit/test_renewal.c $(RENEWAL_BENCH)
tests_unit_test_renewal_CPPFLAGS = $(RENEWAL_CPPFLAGS)
tests_unit_test_renewal_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_ms \
	-Wl,--wrap=poll -Wl,--wrap=__poll_chk -Wl,--wrap=inotify_init1 \
	-Wl,--wrap=open -Wl,--wrap=eventfd \
	-Wl,--wrap=pthread_create -Wl,--wrap=malloc -Wl,--wrap=calloc \
	-Wl,--wrap=realloc -Wl,--wrap=strdup
tests_unit_test_renewal_LDADD = $(ENGINE_LIBS)
