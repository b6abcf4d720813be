-- A small, steady share of clients on the new version.
--
-- Each client's address decides, so a client stays where it is as long as the
-- share does not change; when it grows, only clients from the old side move.
-- Testers can be sent to the new version whatever the share.
--
-- Change: `share` (0 to 100), the two upstreams, the testers' networks.

local lunette = require "lunette"

local share = 5
local stable = "10.0.0.10:443"
local canary = "10.0.0.11:443"
local testers = lunette.cidrs { "192.0.2.128/25" }

-- FNV-1a over the address, then the remainder of 10,000: a number that does not
-- change with restarts or between workers.
local function bucket(text)
  local hash = 2166136261
  for i = 1, #text do
    hash = bit.bxor(hash, text:byte(i))
    -- times 16777619, in two parts that keep within 53 bits
    hash = ((hash % 65536) * 16777619 + math.floor(hash / 65536) % 65536 * 16777619 % 65536 * 65536) % 4294967296
  end
  return hash % 10000
end

return function(conn)
  if testers:contains(conn.client_ip) or bucket(conn.client_ip) < share * 100 then
    return lunette.forward { upstream = canary, tags = { version = "canary" } }
  end
  return lunette.forward { upstream = stable, tags = { version = "stable" } }
end
