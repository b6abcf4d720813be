# End-to-end tests: real programs against the built binary.
EXTRA_DIST += \
	tests/e2e/agentsdk.py \
	tests/e2e/certificates.py \
	tests/e2e/client.py \
	tests/e2e/conftest.py \
	tests/e2e/dataconnection.py \
	tests/e2e/document.py \
	tests/e2e/edge.py \
	tests/e2e/hello.py \
	tests/e2e/muxado.py \
	tests/e2e/nameserver.py \
	tests/e2e/network.py \
	tests/e2e/ocspresponder.py \
	tests/e2e/process.py \
	tests/e2e/proxyheader.py \
	tests/e2e/scene.py \
	tests/e2e/sdk/.npmrc \
	tests/e2e/sdk/driver.js \
	tests/e2e/sdk/package-lock.json \
	tests/e2e/sdk/package.json \
	tests/e2e/servers.py \
	tests/e2e/shim_malloc.c \
	tests/e2e/standin_agent.py \
	tests/e2e/standin_edge.py \
	tests/e2e/stream.py \
	tests/e2e/test_01_passthrough.py \
	tests/e2e/test_02_routing.py \
	tests/e2e/test_03_hello.py \
	tests/e2e/test_04_proxy_out.py \
	tests/e2e/test_05_proxy_in.py \
	tests/e2e/test_06_restriction.py \
	tests/e2e/test_07_upstreams.py \
	tests/e2e/test_08_policy.py \
	tests/e2e/test_09_relay.py \
	tests/e2e/test_10_limits.py \
	tests/e2e/test_11_scale.py \
	tests/e2e/test_12_events.py \
	tests/e2e/test_13_reload.py \
	tests/e2e/test_14_commands.py \
	tests/e2e/test_15_malloc.py \
	tests/e2e/test_16_running.py \
	tests/e2e/test_17_readme.py \
	tests/e2e/test_18_termination.py \
	tests/e2e/test_19_alerts.py \
	tests/e2e/test_20_resumption.py \
	tests/e2e/test_21_mutual_tls.py \
	tests/e2e/test_22_reencryption.py \
	tests/e2e/test_23_tls_relay.py \
	tests/e2e/test_24_certificates.py \
	tests/e2e/test_25_tls_limits.py \
	tests/e2e/test_26_tls_secrets.py \
	tests/e2e/test_28_termination_commands.py \
	tests/e2e/test_29_agent_files.py \
	tests/e2e/test_30_agent_commands.py \
	tests/e2e/test_31_sdk.py \
	tests/e2e/test_32_agent_auth.py \
	tests/e2e/test_33_agent_sessions.py \
	tests/e2e/test_34_hostile_agents.py \
	tests/e2e/test_35_hostile_edges.py \
	tests/e2e/test_36_data_connections.py \
	tests/e2e/test_37_tunnel_faults.py \
	tests/e2e/test_38_blindness.py \
	tests/e2e/test_39_standins.py \
	tests/e2e/test_39_verify_diagnose.py \
	tests/e2e/test_40_without_data_connections.py \
	tests/e2e/test_41_handover.py \
	tests/e2e/tlspeer.py \
	tests/e2e/tlsupstream.py \
	tests/e2e/tunnel.py \
	tests/e2e/tunnelpeer.c \
	tests/e2e/tunnelpeer.py \
	tests/e2e/upstream.py \
	tests/e2e/waiting.py \
	tests/e2e/wire.py

# PYTEST_ARGS selects: make check-e2e PYTEST_ARGS='-m core -x'. On all cores if
# pytest-xdist is there; PYTEST_PARALLEL= runs one after the other.
check-e2e: lunette$(EXEEXT)
	LUNETTE=$(abs_top_builddir)/lunette$(EXEEXT) \
	LUNETTE_LUA=$(abs_top_srcdir)/lua \
	SOURCE=$(abs_top_srcdir) BUILD=$(abs_top_builddir) \
	PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m pytest -q \
	    -p no:cacheprovider $(PYTEST_PARALLEL) $(PYTEST_ARGS) $(srcdir)/tests/e2e
.PHONY: check-e2e

# The tunnel's accidents with all their rounds: a thousand agents and
# reconnects, 200 kills, 100,000 streams. Takes ten minutes.
check-tunnel:
	LUNETTE_SOAK=1 $(MAKE) $(AM_MAKEFLAGS) check-e2e \
	    PYTEST_ARGS='-k "hostile or faults or without_data"'
.PHONY: check-tunnel
