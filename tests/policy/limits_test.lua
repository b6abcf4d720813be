policy "scripts/limits.lua"

local function fault(name)
  local d = decide { sni = name .. ".test" }
  assert_false(d.allow, name)
  assert_true(d.error ~= nil, name)
  return d.fault, d
end

local function still_good()
  assert_equal(decide { sni = "good.test" }.tags.good, "yes")
end

test("an endless loop ends with policy_timeout", function()
  assert_equal(fault "loop", "policy_timeout")
  still_good()
end)

test("pcall and xpcall do not hold it up", function()
  assert_equal(fault "protected-loop", "policy_timeout")
  assert_equal(fault "handler-loop", "policy_timeout")
  still_good()
end)

test("library calls are bounded", function()
  assert_equal(fault "sort", "policy_error")
  fault "pattern"
  fault "rep"
  still_good()
end)

test("memory is bounded", function()
  fault "double"
  assert_equal(fault "tables", "policy_memory")
  still_good()
end)

test("pcall does not hide that memory is over", function()
  fault "protected-double"
  still_good()
end)

test("recursion ends", function()
  fault "recursion"
  still_good()
end)

test("globals are read-only after load", function()
  local kind, d = fault "global"
  assert_equal(kind, "policy_error")
  assert_true(d.error:find("stray", 1, true))
  assert_true(d.error:find("limits.lua:%d+"))
  assert_equal(fault "undefined", "policy_error")
end)

test("errors of every shape deny with one printable line", function()
  assert_equal(fault "table-error", "policy_error")
  local kind, d = fault "line-break"
  assert_equal(kind, "policy_error")
  assert_false(d.error:find("\n", 1, true))
end)
