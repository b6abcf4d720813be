policy "scripts/wait.lua"

test("a script goes on after its sleep", function()
  local d = decide { sni = "sleep.test" }
  assert_equal(d.tags.slept, "yes")
  assert_equal(d.waited, 1.5)
end)

test("the wall limit ends it", function()
  local d = decide { sni = "long.test" }
  assert_false(d.allow)
  assert_equal(d.fault, "policy_timeout")
end)

test("senseless times deny", function()
  assert_equal(decide { sni = "negative.test" }.fault, "policy_error")
  assert_equal(decide { sni = "endless.test" }.fault, "policy_error")
end)

test("a close function may not wait", function()
  local d = decide { sni = "sleep.test", summary = { reason = "done" } }
  assert_true(d.logs[1]:find('"slept":false', 1, true))
end)
