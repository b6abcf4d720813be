policy "rate_tarpit.lua"

local function burst_of(ip, count)
  for _ = 1, count do
    assert_allow(decide { client_ip = ip })
  end
end

test("a burst passes, then the tarpit", function()
  burst_of("203.0.113.5", 40)
  local d = decide { client_ip = "203.0.113.5" }
  assert_deny(d, "too many connections a second")
  assert_equal(d.close, "tarpit")
end)

test("another client has its own bucket", function()
  assert_allow(decide { client_ip = "203.0.113.6" })
end)

test("IPv6 clients share a bucket by /64", function()
  for i = 1, 40 do
    assert_allow(decide { client_ip = "2001:db8:7:7::" .. i })
  end
  assert_deny(decide { client_ip = "2001:db8:7:7:ffff::1" }, "too many connections a second")
  assert_allow(decide { client_ip = "2001:db8:7:8::1" })
end)

test("trusted networks are not limited", function()
  burst_of("192.0.2.9", 60)
  burst_of("::1", 60)
end)

test("too many at a time are reset", function()
  local d = decide { client_ip = "203.0.113.8", active = { ["client:203.0.113.8"] = 200 } }
  assert_deny(d, "too many connections at a time")
  assert_equal(d.close, "reset")
end)

test("a connection that passes is counted", function()
  assert_equal(decide { client_ip = "203.0.113.9" }.tracked, { "client:203.0.113.9" })
  assert_equal(decide { client_ip = "2001:db8:9::1" }.tracked, { "client:2001:db8:9:0" })
end)
