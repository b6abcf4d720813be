local lunette = require "lunette"

test("a burst, then nothing", function()
  for _ = 1, 5 do
    assert_true(lunette.rate("a", 0, 5))
  end
  assert_false(lunette.rate("a", 0, 5))
  assert_true(lunette.rate("b", 0, 5))
end)

test("the burst is the rate unless said otherwise", function()
  local taken = 0
  for _ = 1, 10 do
    if lunette.rate("c", 0.001) then
      taken = taken + 1
    end
  end
  assert_equal(taken, 1)
end)

test("the bucket fills with time", function()
  assert_true(lunette.rate("d", 1e9, 1))
  -- At this rate a token is back before the next call can be made.
  local refilled = false
  for _ = 1, 100000 do
    refilled = refilled or lunette.rate("d", 1e9, 1)
  end
  assert_true(refilled)
end)

test("senseless numbers are errors", function()
  assert_error(function() lunette.rate("e", -1) end)
  assert_error(function() lunette.rate("e", 0 / 0) end)
  assert_error(function() lunette.rate("e", 1, 0) end)
  assert_error(function() lunette.rate("e", math.huge) end)
  assert_error(function() lunette.rate(nil, 1) end)
  assert_error(function() lunette.rate("e", "1") end)
end)
