-- Countries that may reach a name, and networks that may not reach any.
--
-- It needs a database (geo.database). Where a client's country is unknown,
-- `allow_unknown` decides; private networks are unknown to every database, so
-- they are listed as exceptions. Databases err: do not rest anything on this
-- that must hold.
--
-- Change: the countries by name, the numbers of networks, the exceptions.

local lunette = require "lunette"

local function set(list)
  local members = {}
  for _, member in ipairs(list) do
    members[member] = true
  end
  return members
end

local countries = lunette.domains {
  ["shop.example.com"] = set { "AT", "CH", "DE" },
  ["*.eu.example.com"] = set { "AT", "BE", "DE", "ES", "FR", "IT", "NL", "PL", "SE" },
}
local refused_networks = set { 64496, 64511 } -- autonomous system numbers
local exceptions = lunette.cidrs { "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8" }
local allow_unknown = false

return function(conn)
  if exceptions:contains(conn.client_ip) then
    return
  end
  local number = conn.as.number
  if number and refused_networks[number] then
    return lunette.deny("network AS" .. number .. " is refused")
  end
  local allowed = countries:lookup(conn.sni)
  if not allowed then
    return
  end
  local country = conn.geo.country_code
  if not country then
    if allow_unknown then
      return
    end
    return lunette.deny "the client's country is unknown"
  end
  if not allowed[country] then
    return lunette.deny("not open to " .. country)
  end
end
