local lunette = require "lunette"

local turns = lunette.pool { "10.0.0.1:443", { address = "10.0.0.2:443", weight = 3 } }
local hashed = lunette.pool { "10.0.1.1:443", "10.0.1.2:443", "10.0.1.3:443", balance = "hash" }
local kept

return function(conn)
  if conn.sni == "keep.test" then
    kept = conn
  elseif conn.sni == "stale.test" then
    return { upstream = turns:pick(kept) }
  end
  local pool = conn.sni == "hash.test" and hashed or turns
  local upstream = pool:pick(conn, conn.listener ~= "test" and conn.listener or nil)
  if not upstream then
    return lunette.deny "all down"
  end
  return lunette.forward { upstream = upstream }
end
