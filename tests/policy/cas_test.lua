local lunette = require "lunette"

test("lunette.cas says what is wrong with a file", function()
  assert_error(function() lunette.cas "missing.pem" end, "missing.pem")
  assert_error(function() lunette.cas "cas_test.lua" end, "cas_test.lua")
  assert_error(function() lunette.cas "" end, "this is no path")
  assert_error(function() lunette.cas() end, "string expected")
end)
