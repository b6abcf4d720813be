policy "scripts/decisions.lua"

test("nothing leaves the endpoint's settings", function()
  local d = decide { sni = "nothing.test" }
  assert_false(d.decided)
  assert_true(d.allow)
end)

test("an empty table allows", function()
  local d = decide { sni = "empty.test" }
  assert_true(d.decided)
  assert_allow(d)
end)

test("forward fills a decision", function()
  local d = decide { sni = "forward.test" }
  assert_allow(d)
  assert_equal(d.upstream, "10.0.0.1:443")
  assert_equal(d.proxy_proto, 2)
  assert_equal(d.tlvs, { [0xE1] = "one" })
  assert_equal(d.tags, { a = "b" })
  assert_equal(d.timeouts, { connect = 1.5, idle = 60 })
  assert_equal(d.bytes_per_second, 1000)
  assert_equal(d.reason, "because")
end)

test("deny says how", function()
  local d = decide { sni = "deny.test" }
  assert_deny(d, "no")
  assert_equal(d.close, "alert")
  assert_equal(d.alert, "access_denied")
  assert_equal(decide { sni = "reset.test" }.close, "reset")
  assert_equal(decide { sni = "alert.test" }.alert, "unrecognized_name")
end)

test("an endpoint must exist", function()
  local d = decide { sni = "endpoint.test", endpoints = { "tls://b.test" } }
  assert_equal(d.endpoint, "tls://b.test")
  d = decide { sni = "endpoint.test", endpoints = { "tls://c.test" } }
  assert_false(d.allow)
  assert_equal(d.fault, "policy_error")
end)

test("what cannot be carried out denies and names the key", function()
  for name, word in pairs {
    key = "upstrem", type = "allow", word = "close", proto = "proxy_proto", address = "upstream",
  } do
    local d = decide { sni = name .. ".test" }
    assert_false(d.allow, name)
    assert_equal(d.fault, "policy_error", name)
    assert_true(d.error:find(word, 1, true), name .. ": " .. d.error)
  end
  assert_equal(decide { sni = "number.test" }.fault, "policy_error")
  assert_equal(decide { sni = "true.test" }.fault, "policy_error")
end)
