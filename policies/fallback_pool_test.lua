policy "fallback_pool.lua"

local first, second = "10.0.1.1:443", "10.0.1.2:443"

test("the primary pool serves by weight", function()
  local count = {}
  for _ = 1, 30 do
    local d = decide { sni = "www.example.com" }
    assert_allow(d)
    assert_equal(d.tags.pool, "primary")
    count[d.upstream] = (count[d.upstream] or 0) + 1
  end
  assert_equal(count[first], 20)
  assert_equal(count[second], 10)
end)

test("a server that is down is left out", function()
  for _ = 1, 4 do
    assert_equal(decide { down = { first } }.upstream, second)
  end
end)

test("without a primary server the standby serves", function()
  local d = decide { down = { first, second } }
  assert_equal(d.tags.pool, "standby")
  assert_equal(d.timeouts.connect, 3)
end)

test("without any server the connection is refused", function()
  local d = decide { down = { first, second, "10.0.2.1:443", "10.0.2.2:443" } }
  assert_deny(d, "no server is up")
  assert_equal(d.alert, "internal_error")
end)

test("a failed attempt goes to the standby", function()
  local d = decide { failure = { reason = "upstream_unreachable", attempt = 1, upstream = first } }
  assert_true(d.decided)
  assert_equal(d.tags.pool, "standby")
end)

test("after three attempts it is given up", function()
  assert_false(decide { failure = { attempt = 3, upstream = first } }.decided)
end)
