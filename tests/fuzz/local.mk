# Fuzzing with libFuzzer: `make fuzz` for long, `make fuzz-short` for CI. To add
# a target, write tests/fuzz/NAME.c (see fuzz.h), name it here, and give it
# seeds in make_seeds.py.
FUZZ_TARGETS = fuzz_hello fuzz_proxy fuzz_host fuzz_yaml fuzz_peer \
	fuzz_pem fuzz_data_record fuzz_frame fuzz_message
FUZZ_SECONDS = 600
FUZZ_SHORT_SECONDS = 10
FUZZ_FOLDER = fuzz

EXTRA_DIST += tests/fuzz/run tests/fuzz/make_seeds.py tests/fuzz/fuzz.h \
	tests/fuzz/fuzz_data_record.c \
	tests/fuzz/fuzz_hello.c tests/fuzz/fuzz_proxy.c tests/fuzz/fuzz_host.c \
	tests/fuzz/fuzz_yaml.c tests/fuzz/fuzz_peer.c tests/fuzz/fuzz_pem.c \
	tests/fuzz/fuzz_frame.c tests/fuzz/fuzz_message.c

FUZZ_RUN = CLANG='$(CLANG)' SOURCE='$(abs_top_srcdir)' \
	FUZZ_CPPFLAGS='-D_GNU_SOURCE -I$(abs_top_builddir) \
	    -DSTATE_FOLDER="/var/lib/lunette"' \
	$(srcdir)/tests/fuzz/run '$(abs_top_builddir)/$(FUZZ_FOLDER)'

fuzz:
	$(FUZZ_RUN) $(FUZZ_SECONDS) $(FUZZ_TARGETS)
fuzz-short:
	$(FUZZ_RUN) $(FUZZ_SHORT_SECONDS) $(FUZZ_TARGETS)
.PHONY: fuzz fuzz-short

clean-local: clean-fuzz
clean-fuzz:
	rm -rf '$(abs_top_builddir)/$(FUZZ_FOLDER)'
.PHONY: clean-fuzz
