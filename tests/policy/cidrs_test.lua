local lunette = require "lunette"

test("a list answers whether an address is inside", function()
  local set = lunette.cidrs { "192.0.2.0/24", "2001:db8:1::/48", "203.0.113.7" }
  assert_true(set:contains "192.0.2.255")
  assert_false(set:contains "192.0.3.0")
  assert_true(set:contains "2001:db8:1:ffff::1")
  assert_false(set:contains "2001:db8:2::1")
  assert_true(set:contains "203.0.113.7")
  assert_false(set:contains "203.0.113.8")
  assert_true(set:contains "::ffff:192.0.2.1")
end)

test("a map gives the value of the longest match", function()
  local set = lunette.cidrs {
    ["10.0.0.0/8"] = "wide", ["10.1.0.0/16"] = 16, ["10.1.1.0/24"] = false, ["::/0"] = true,
  }
  assert_equal(set:lookup "10.9.9.9", "wide")
  assert_equal(set:lookup "10.1.9.9", 16)
  assert_equal(set:lookup "10.1.1.1", false)
  assert_equal(set:lookup "2001:db8::1", true)
  assert_equal(set:lookup "192.0.2.1", nil)
  assert_true(set:contains "10.1.1.1")
end)

test("an empty set holds nothing", function()
  local set = lunette.cidrs {}
  assert_false(set:contains "127.0.0.1")
  assert_equal(set:lookup "::1", nil)
end)

test("what is no network is an error that shows it", function()
  assert_error(function() lunette.cidrs { "10.0.0.1/8" } end, "10.0.0.1/8")
  assert_error(function() lunette.cidrs { "10.0.0.0/33" } end, "10.0.0.0/33")
  assert_error(function() lunette.cidrs { "office" } end, "office")
  assert_error(function() lunette.cidrs { 7 } end)
  assert_error(function() lunette.cidrs { [true] = "x" } end)
  assert_error(function() lunette.cidrs { ["10.0.0.0/8"] = {} } end, "10.0.0.0/8")
  assert_error(function() lunette.cidrs "10.0.0.0/8" end, "table")
end)

test("what is no address is an error, not a miss", function()
  local set = lunette.cidrs { "10.0.0.0/8" }
  assert_error(function() set:contains(nil) end)
  assert_error(function() set:contains "unknown" end, "IP address")
  assert_error(function() set:contains "10.0.0.1:80" end, "IP address")
  assert_error(function() set:lookup(10) end)
  assert_error(function() set.contains({}, "10.0.0.1") end, "cidrs")
end)
