-- Names to upstreams from one table.
--
-- Where it helps: many names, each with its own server, kept in one place that
-- is easy to read and to review. "*." stands for one or more labels in front;
-- the most specific entry wins. A connection without a name, or with a name
-- that is not in the table, is refused.
--
-- Change: the table below.

local lunette = require "lunette"

local upstreams = lunette.domains {
  ["www.example.com"] = "10.0.0.10:443",
  ["api.example.com"] = "10.0.0.20:8443",
  ["*.apps.example.com"] = "10.0.0.30:443",
}

return function(conn)
  local upstream = upstreams:lookup(conn.sni)
  if not upstream then
    return lunette.deny { reason = "no upstream for this name", alert = "unrecognized_name" }
  end
  return lunette.forward { upstream = upstream }
end
