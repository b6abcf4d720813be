-- Who may reach which name.
--
-- Where it helps: admin pages for the office, partner APIs for the partner's
-- networks, everything else for everybody. Names that are not listed are open;
-- turn `open_by_default` off to close them.
--
-- Change: the networks, the names, `open_by_default`.

local lunette = require "lunette"

local office = lunette.cidrs { "192.0.2.0/24", "2001:db8:1::/48" }
local partner = lunette.cidrs { "198.51.100.0/25" }

local allowed = lunette.domains {
  ["admin.example.com"] = { office },
  ["*.internal.example.com"] = { office },
  ["partner.example.com"] = { office, partner },
}

local open_by_default = true

return function(conn)
  local networks = allowed:lookup(conn.sni)
  if not networks then
    if open_by_default then
      return lunette.forward {}
    end
    return lunette.deny "this name is not open to anybody"
  end
  for _, set in ipairs(networks) do
    if set:contains(conn.client_ip) then
      return lunette.forward {}
    end
  end
  return lunette.deny "the client's network may not reach this name"
end
