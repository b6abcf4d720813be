-- The policy of one endpoint of policy.yaml: clients of the payment networks
-- only, and they must speak TLS 1.3.
local lunette = require "lunette"

local TLS_1_3 = 0x0304
local networks = lunette.cidrs { "192.0.2.0/24", "2001:db8:1::/48" }

return function(conn)
  if not networks:contains(conn.client_ip) then
    return lunette.deny "outside the payment networks"
  end
  for _, version in ipairs(conn.tls.hello.supported_versions) do
    if version == TLS_1_3 then
      return lunette.forward {}
    end
  end
  return lunette.deny "TLS 1.3 is required"
end
