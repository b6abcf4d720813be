# Complete configurations; tests/unit/test_examples loads every one of them.
exampledir = $(docdir)/examples
dist_example_DATA = \
	examples/agent.yaml \
	examples/balanced.yaml \
	examples/default-endpoint.yaml \
	examples/edge-with-agents.yaml \
	examples/events-and-logs.yaml \
	examples/ip-restriction.yaml \
	examples/limits.yaml \
	examples/mutual-tls.yaml \
	examples/names.yaml \
	examples/payments.lua \
	examples/policy.yaml \
	examples/proxy-protocol.yaml \
	examples/re-encryption.yaml \
	examples/route.lua \
	examples/termination.yaml
