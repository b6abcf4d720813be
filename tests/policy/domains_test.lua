local lunette = require "lunette"

local map = lunette.domains {
  ["a.example"] = 1,
  ["*.a.example"] = "star",
  ["*.b.a.example"] = { deep = true },
  ["Folded.Example."] = true,
  "listed.example",
}

test("the most specific entry wins", function()
  assert_equal(map:lookup "a.example", 1)
  assert_equal(map:lookup "x.a.example", "star")
  assert_equal(map:lookup "x.y.a.example", "star")
  assert_equal(map:lookup("x.b.a.example").deep, true)
  assert_equal(map:lookup "b.a.example", "star")
end)

test("names are folded and may be listed", function()
  assert_equal(map:lookup "FOLDED.example", true)
  assert_equal(map:lookup "listed.example", true)
end)

test("nothing matches nothing", function()
  assert_equal(map:lookup "example", nil)
  assert_equal(map:lookup(nil), nil)
  assert_equal(map:lookup "", nil)
  assert_equal(map:lookup "a..example", nil)
  assert_equal(map:lookup "a.example\0.evil", nil)
  assert_equal(map:lookup(("a"):rep(300)), nil)
end)

test("what is no name is an error that shows it", function()
  assert_error(function() lunette.domains { ["a b"] = 1 } end, "a b")
  assert_error(function() lunette.domains { ["*.*.example"] = 1 } end, "*.*.example")
  assert_error(function() lunette.domains { 5 } end)
  assert_error(function() lunette.domains { ["a.example"] = 1, ["A.example"] = 2 } end, "twice")
  assert_error(function() lunette.domains() end, "table")
end)
