-- Planned work: in the window, clients go to the page that says so.
--
-- Times are Unix time (date -u -d '2026-12-01 02:00' +%s) or a daily window in
-- UTC. Networks of the people who do the work pass as always.
--
-- Change: the windows, the page's upstream, the networks.

local lunette = require "lunette"

local page = "10.0.0.99:443"
local crew = lunette.cidrs { "192.0.2.0/26" }

-- Once each: from, until.
local once = {
  { 1796094000, 1796101200 }, -- 2026-12-01 03:00 to 05:00 UTC
}

-- Every day: from, until, in seconds after midnight UTC. A window may go over
-- midnight (from > until).
local daily = {
  { 2 * 3600, 2 * 3600 + 1800 }, -- 02:00 to 02:30
}

local function within(at, from, till)
  if from <= till then
    return at >= from and at < till
  end
  return at >= from or at < till
end

local function closed(now)
  for _, window in ipairs(once) do
    if within(now, window[1], window[2]) then
      return true
    end
  end
  for _, window in ipairs(daily) do
    if within(now % 86400, window[1], window[2]) then
      return true
    end
  end
  return false
end

return function(conn)
  if closed(conn.ts.start) and not crew:contains(conn.client_ip) then
    return lunette.forward { upstream = page, tags = { maintenance = "yes" } }
  end
end
