policy "maintenance_window.lua"

local midnight = 1796083200 -- 2026-12-01 00:00 UTC

local function at(seconds, ip)
  return decide { sni = "www.example.com", now = midnight + seconds, client_ip = ip or "203.0.113.1" }
end

test("outside of the windows nothing changes", function()
  assert_false(at(3600).decided)
  assert_false(at(2 * 3600 - 1).decided)
  assert_false(at(2 * 3600 + 1800).decided)
end)

test("in the daily window the page answers", function()
  assert_equal(at(2 * 3600).upstream, "10.0.0.99:443")
  assert_equal(at(2 * 3600 + 1799).tags.maintenance, "yes")
  assert_equal(at(7 * 86400 + 2 * 3600).upstream, "10.0.0.99:443")
end)

test("in the window that is only once, too", function()
  assert_equal(at(3 * 3600).upstream, "10.0.0.99:443")
  assert_false(at(5 * 3600).decided)
  assert_false(at(86400 + 3 * 3600).decided)
end)

test("the crew passes", function()
  assert_false(at(2 * 3600, "192.0.2.20").decided)
end)
