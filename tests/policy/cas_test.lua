local lunette = require "lunette"

test("lunette.cas says that it is not in this version", function()
  assert_error(function() lunette.cas "ca.pem" end, "not in this version")
end)
