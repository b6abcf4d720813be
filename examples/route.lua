-- The policy of policy.yaml: tenants are found by the first label of their
-- name, and one network is kept out of everything.
local lunette = require "lunette"

local refused = lunette.cidrs { "198.51.100.0/24" }
local tenants = {
  red = "10.1.0.1:443",
  blue = "10.1.0.2:443",
}

return function(conn)
  if refused:contains(conn.client_ip) then
    return lunette.deny "this network is refused"
  end
  if not conn.sni then
    return nil
  end
  local tenant = conn.sni:match "^([%w-]+)%.tenants%.example%.com$"
  if not tenant then
    return nil -- the endpoint's own settings
  end
  if not tenants[tenant] then
    return lunette.deny "no such tenant"
  end
  return lunette.forward { upstream = tenants[tenant], proxy_proto = 2 }
end
