local lunette = require "lunette"

policy "scripts/pool.lua"

test("round robin follows the weights", function()
  local count = {}
  for _ = 1, 8 do
    local upstream = decide {}.upstream
    count[upstream] = (count[upstream] or 0) + 1
  end
  assert_equal(count, { ["10.0.0.1:443"] = 2, ["10.0.0.2:443"] = 6 })
end)

test("hash keeps a client, or a key, at its upstream", function()
  local first = decide { sni = "hash.test", client_ip = "192.0.2.1" }.upstream
  assert_equal(decide { sni = "hash.test", client_ip = "192.0.2.1" }.upstream, first)
  local by_key = decide { sni = "hash.test", listener = "blue", client_ip = "192.0.2.1" }.upstream
  assert_equal(decide { sni = "hash.test", listener = "blue", client_ip = "192.0.2.9" }.upstream, by_key)
end)

test("nil when nothing is up", function()
  assert_equal(decide { down = { "10.0.0.1:443" } }.upstream, "10.0.0.2:443")
  assert_deny(decide { down = { "10.0.0.1:443", "10.0.0.2:443" } }, "all down")
end)

test("a connection of an earlier run is refused", function()
  assert_allow(decide { sni = "keep.test" })
  assert_equal(decide { sni = "stale.test" }.fault, "policy_error")
end)

test("a slip in the settings is an error", function()
  assert_error(function() lunette.pool {} end, "1 to 256")
  assert_error(function() lunette.pool { "10.0.0.1" } end, "10.0.0.1")
  assert_error(function() lunette.pool { "10.0.0.1:1", balance = "fair" } end, "fair")
  assert_error(function() lunette.pool { "10.0.0.1:1", ballance = "hash" } end, "ballance")
  assert_error(function() lunette.pool { { adress = "10.0.0.1:1" } } end, "adress")
  assert_error(function() lunette.pool { { address = "10.0.0.1:1", weight = 0 } } end, "weight")
  assert_error(function() lunette.pool { { address = 5 } } end, "address")
  assert_error(function() lunette.pool { 5 } end, "upstream")
  assert_error(function() lunette.pool { "10.0.0.1:1", health = { fall = 1 } } end, "every")
  assert_error(function() lunette.pool { "10.0.0.1:1", health = { every = 1, rises = 1 } } end, "rises")
  assert_error(function() lunette.pool "10.0.0.1:1" end, "table")
end)

test("health settings are taken", function()
  lunette.pool { "10.0.0.1:1", health = { every = 0.5, fall = 2, rise = 1 } }
end)
