-- Clients that connect too often are slowed down, then held.
--
-- Each client address has a bucket of tokens; a connection takes one. Without a
-- token the connection is held in silence up to the hello time limit (a tarpit)
-- instead of being refused at once, which keeps a scanner busy and costs little
-- here. IPv6 clients share a bucket by /64, because one host has that many
-- addresses.
--
-- Change: `per_second`, `burst`, the networks that are never limited, and
-- `max_active`, the most connections of one client at a time.

local lunette = require "lunette"

local per_second = 10
local burst = 40
local max_active = 200
local trusted = lunette.cidrs { "127.0.0.0/8", "::1", "192.0.2.0/24" }

-- The first four groups of an IPv6 address, written out.
local function network_of(ip)
  if not ip:find(":", 1, true) then
    return ip
  end
  local head, tail = ip:match "^(.-)::(.*)$"
  local groups = {}
  for group in (head or ip):gmatch "[^:]+" do
    groups[#groups + 1] = group
  end
  if head then
    local behind = 0
    for _ in tail:gmatch "[^:]+" do
      behind = behind + 1
    end
    for _ = #groups + 1, 8 - behind do
      groups[#groups + 1] = "0"
    end
  end
  return table.concat(groups, ":", 1, math.min(4, #groups))
end

return function(conn)
  if trusted:contains(conn.client_ip) then
    return
  end
  local key = "client:" .. network_of(conn.client_ip)
  if not lunette.rate(key, per_second, burst) then
    return lunette.deny { reason = "too many connections a second", close = "tarpit" }
  end
  if lunette.active(key) >= max_active then
    return lunette.deny { reason = "too many connections at a time", close = "reset" }
  end
  conn:track(key)
end
