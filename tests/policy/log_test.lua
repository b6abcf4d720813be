local lunette = require "lunette"

test("every level takes a message and fields", function()
  lunette.log.debug "quiet"
  lunette.log.debug("with fields", { name = "x", count = 3, yes = true })
  assert_equal(type(lunette.log.info), "function")
  assert_equal(type(lunette.log.warn), "function")
  assert_equal(type(lunette.log.error), "function")
end)

test("field names are words and not Lunette's own", function()
  assert_error(function() lunette.log.debug("m", { ["a b"] = 1 }) end, "letters")
  assert_error(function() lunette.log.debug("m", { ["a\n"] = 1 }) end, "letters")
  assert_error(function() lunette.log.debug("m", { [1] = 1 }) end, "string")
  assert_error(function() lunette.log.debug("m", { level = 1 }) end, "level")
  assert_error(function() lunette.log.debug("m", { conn = 1 }) end, "conn")
end)

test("values are plain", function()
  assert_error(function() lunette.log.debug("m", { a = {} }) end, "'a'")
  assert_error(function() lunette.log.debug("m", "fields") end, "table")
  assert_error(function() lunette.log.debug() end)
  assert_error(function() lunette.log.debug(5) end)
end)

test("their number is bounded", function()
  local fields = {}
  for i = 1, 17 do
    fields["f" .. i] = i
  end
  assert_error(function() lunette.log.debug("m", fields) end, "16")
end)
