policy "scripts/wait.lua"

test("addresses of a name", function()
  local d = decide { sni = "resolve.test", resolve = { ["upstream.example"] = { "10.0.0.1", "10.0.0.2" } } }
  assert_equal(d.upstream, "10.0.0.1:443")
  assert_equal(d.tags.count, "2")
end)

test("nil and a word when there are none", function()
  assert_deny(decide { sni = "resolve.test" }, "no such name")
  assert_deny(decide { sni = "resolve.test", resolve = { ["upstream.example"] = "timeout" } }, "timeout")
end)

test("an address is its own answer", function()
  assert_equal(decide { sni = "literal.test" }.upstream, "192.0.2.80:443")
end)

test("what is no name is not asked", function()
  local d = decide { sni = "invalid.test" }
  assert_deny(d)
  assert_equal(d.reason:sub(1, 9), "refused: ")
end)

test("a wrong argument denies", function()
  assert_equal(decide { sni = "argument.test" }.fault, "policy_error")
end)

test("it may wait inside pcall", function()
  local d = decide { sni = "protected.test", resolve = { ["upstream.example"] = { "10.0.0.3" } } }
  assert_equal(d.upstream, "10.0.0.3:443")
end)
