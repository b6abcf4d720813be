-- Two pools: the second one serves when the first cannot.
--
-- The primary servers share the load; those that fail their health checks are
-- left out. When none is up, or when the chosen one does not answer, the
-- connection goes to the standby servers. After three attempts it is given up.
--
-- Change: the addresses, the weights, the health checks.

local lunette = require "lunette"

local primary = lunette.pool {
  { address = "10.0.1.1:443", weight = 2 },
  { address = "10.0.1.2:443", weight = 1 },
  balance = "least_connections",
  health = { every = 5, fall = 3, rise = 2 },
}

local standby = lunette.pool {
  "10.0.2.1:443",
  "10.0.2.2:443",
  balance = "round_robin",
}

local max_attempts = 3

-- Never `upstream = pool:pick(conn)` alone: nil would mean the endpoint's own.
local function forward_to(conn, pool, tag)
  local upstream = pool:pick(conn)
  if upstream then
    return lunette.forward { upstream = upstream, timeouts = { connect = 3 }, tags = { pool = tag } }
  end
end

return {
  connect = function(conn)
    return forward_to(conn, primary, "primary") or forward_to(conn, standby, "standby")
      or lunette.deny { reason = "no server is up", alert = "internal_error" }
  end,

  retry = function(conn, failure)
    if failure.attempt >= max_attempts then
      return
    end
    lunette.log.warn("falling back", { upstream = failure.upstream, reason = failure.reason })
    return forward_to(conn, standby, "standby")
  end,
}
