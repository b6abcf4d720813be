local lunette = require "lunette"

policy "scripts/active.lua"

test("nothing is counted at first", function()
  assert_equal(lunette.active "x", 0)
  assert_error(function() lunette.active() end)
end)

test("a connection is tagged", function()
  assert_equal(decide { client_ip = "192.0.2.1" }.tracked, { "ip:192.0.2.1" })
end)

test("the count decides", function()
  local d = decide { client_ip = "192.0.2.1", active = { ["ip:192.0.2.1"] = 3 } }
  assert_deny(d, "busy")
  assert_equal(d.tags.count, "3")
  assert_equal(d.tracked, {})
end)
