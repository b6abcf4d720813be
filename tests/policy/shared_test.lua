local lunette = require "lunette"

local store = lunette.shared "store"

test("values come back with their type", function()
  assert_true(store:set("s", "text"))
  assert_true(store:set("n", 1.5))
  assert_true(store:set("b", false))
  assert_equal(store:get "s", "text")
  assert_equal(store:get "n", 1.5)
  assert_equal(store:get "b", false)
  assert_equal(store:get "none", nil)
  assert_true(store:set("s", nil))
  assert_equal(store:get "s", nil)
end)

test("long values, and bytes of every kind", function()
  local long = ("x"):rep(60000)
  assert_true(store:set("long", long))
  assert_equal(store:get "long", long)
  assert_true(store:set("a\0b", "c\0d\255"))
  assert_equal(store:get "a\0b", "c\0d\255")
  assert_equal(store:get "a", nil)
end)

test("counting", function()
  assert_equal(store:incr "hits", 1)
  assert_equal(store:incr("hits", 4), 5)
  assert_equal(store:incr("hits", -2, 60), 3)
  assert_true(store:set("word", "x"))
  assert_error(function() store:incr "word" end, "no number")
end)

test("deleting", function()
  store:set("d", 1)
  assert_true(store:delete "d")
  assert_false(store:delete "d")
end)

test("a life may be given", function()
  assert_true(store:set("t", 1, 100))
  assert_equal(store:get "t", 1)
  assert_error(function() store:set("t", 1, -1) end)
  assert_error(function() store:set("t", 1, 0) end)
end)

test("one name is one dictionary", function()
  lunette.shared("other"):set("x", 1)
  assert_equal(lunette.shared("other"):get "x", 1)
  assert_equal(store:get "x", nil)
end)

test("what it cannot hold is an error", function()
  assert_error(function() store:set("t", {}) end)
  assert_error(function() store:set({}, 1) end)
  assert_error(function() store:get(("k"):rep(1025)) end)
  assert_error(function() lunette.shared "" end)
  assert_error(function() lunette.shared(("n"):rep(65)) end)
end)

test("a full dictionary takes nothing new", function()
  local full = lunette.shared "full"
  local big = ("x"):rep(65536)
  local count = 0
  while count < 1000 and full:set("k" .. count, big) do
    count = count + 1
  end
  assert_true(count > 200 and count < 256, "entries: " .. count)
  assert_false(full:set("more", big))
  assert_false(full:set("big", big .. "x"))
  assert_equal(full:get "k0", big)
  assert_true(full:delete "k0")
  assert_true(full:set("more", big))
end)

test("there is a largest number of dictionaries", function()
  assert_error(function()
    for i = 1, 100 do
      lunette.shared("d" .. i)
    end
  end, "64")
end)
