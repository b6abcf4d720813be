# Ready-made scripts, installed for operators to copy; their tests stay here.
policiesdir = $(pkgdatadir)/policies
dist_policies_DATA = \
	policies/canary.lua policies/fallback_pool.lua policies/geo_fence.lua \
	policies/ip_allow_per_name.lua policies/ja4_deny.lua \
	policies/maintenance_window.lua policies/mtls_roles.lua \
	policies/rate_tarpit.lua policies/sni_map.lua
EXTRA_DIST += \
	policies/canary_test.lua policies/fallback_pool_test.lua \
	policies/geo_fence_test.lua policies/ip_allow_per_name_test.lua \
	policies/ja4_deny_test.lua policies/maintenance_window_test.lua \
	policies/mtls_roles_test.lua policies/rate_tarpit_test.lua \
	policies/sni_map_test.lua
