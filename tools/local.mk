# Checks that keep the rules of the house. The first three need only Python and
# are part of `make check`; `make lint` runs all of them and cppcheck.
check_SCRIPTS += tools/check-layers tools/check-walk tools/check-prose
EXTRA_DIST += tools/check-layers tools/check-walk tools/check-prose \
	tools/check-format tools/check-shell tools/tree.py

LINT_CHECKS = layers walk prose format shell

# What 77 says is: the program that the check needs is not there.
.PHONY: lint format cppcheck
lint: cppcheck
	@$(AM_TESTS_ENVIRONMENT) CLANG_FORMAT='$(CLANG_FORMAT)'; \
	export CLANG_FORMAT; status=0; \
	for check in $(LINT_CHECKS); do \
		$(top_srcdir)/tools/check-$$check || \
			test $$? -eq 77 || status=1; \
	done; exit $$status

cppcheck:
	@if test '$(CPPCHECK)' = no; then \
		echo 'cppcheck: not there, skipped'; \
	else \
		cd $(top_srcdir) && $(CPPCHECK) --quiet --error-exitcode=1 \
			--std=c11 --enable=warning,performance,portability \
			--inline-suppr --suppress=unknownMacro \
			--suppress=normalCheckLevelMaxBranches \
			-D_GNU_SOURCE -I src src; \
	fi

format:
	@SOURCE=$(abs_top_srcdir) CLANG_FORMAT='$(CLANG_FORMAT)' \
		$(top_srcdir)/tools/check-format --fix
