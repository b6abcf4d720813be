# Tests of the policy library and of the ready-made scripts, in Lua.
check_SCRIPTS += tests/policy/run
EXTRA_DIST += tests/policy/run tests/policy/certificates \
	tests/policy/tls/example_test.lua tests/policy/tls/terminate.lua \
	tests/policy/tls/terminate_test.lua \
	tests/policy/active_test.lua tests/policy/cas_test.lua \
	tests/policy/cidrs_file_test.lua tests/policy/cidrs_test.lua \
	tests/policy/conn_test.lua tests/policy/decision_test.lua \
	tests/policy/domains_test.lua tests/policy/limits_test.lua \
	tests/policy/log_test.lua tests/policy/pool_test.lua \
	tests/policy/rate_test.lua tests/policy/resolve_test.lua \
	tests/policy/shared_test.lua tests/policy/sleep_test.lua \
	tests/policy/scripts/active.lua tests/policy/scripts/conn.lua \
	tests/policy/scripts/decisions.lua \
	tests/policy/scripts/file_at_run_time.lua \
	tests/policy/scripts/limits.lua tests/policy/scripts/networks.txt \
	tests/policy/scripts/networks_bad.txt tests/policy/scripts/pool.lua \
	tests/policy/scripts/set_at_run_time.lua tests/policy/scripts/wait.lua
