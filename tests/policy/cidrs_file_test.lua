local lunette = require "lunette"

test("a file gives networks and values", function()
  local set = lunette.cidrs_file "scripts/networks.txt"
  assert_equal(set:lookup "192.0.2.1", true)
  assert_equal(set:lookup "198.51.100.1", "partner one")
  assert_equal(set:lookup "2001:db8::1", "v6")
  assert_true(set:contains "203.0.113.9")
  assert_false(set:contains "203.0.113.10")
end)

test("an error names file and line", function()
  assert_error(function() lunette.cidrs_file "scripts/networks_bad.txt" end, "networks_bad.txt:3: ")
end)

test("a file that is not there is an error", function()
  assert_error(function() lunette.cidrs_file "scripts/none.txt" end, "none.txt")
  assert_error(function() lunette.cidrs_file "scripts" end)
  assert_error(function() lunette.cidrs_file(nil) end)
end)

test("files and sets are made only while the script loads", function()
  policy "scripts/file_at_run_time.lua"
  local d = decide {}
  assert_false(d.allow)
  assert_equal(d.fault, "policy_error")
  policy "scripts/set_at_run_time.lua"
  assert_equal(decide {}.fault, "policy_error")
end)
