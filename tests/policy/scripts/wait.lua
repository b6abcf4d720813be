local lunette = require "lunette"

local cases = {}

cases["resolve.test"] = function(conn)
  local list, err = lunette.resolve "upstream.example"
  if not list then
    return lunette.deny(err)
  end
  return lunette.forward { upstream = list[1] .. ":443", tags = { count = tostring(#list) } }
end

cases["literal.test"] = function()
  return lunette.forward { upstream = lunette.resolve("192.0.2.80")[1] .. ":443" }
end

cases["invalid.test"] = function()
  local list, err = lunette.resolve "not a name"
  return lunette.deny(list and "resolved" or "refused: " .. err)
end

cases["argument.test"] = function()
  lunette.resolve(nil)
end

cases["protected.test"] = function()
  local ok, list = pcall(lunette.resolve, "upstream.example")
  return lunette.forward { upstream = ok and list[1] .. ":443" }
end

cases["sleep.test"] = function()
  lunette.sleep(1.5)
  lunette.sleep(0)
  return lunette.forward { tags = { slept = "yes" } }
end

cases["long.test"] = function()
  for _ = 1, 20 do
    lunette.sleep(1)
  end
end

cases["negative.test"] = function()
  lunette.sleep(-1)
end

cases["endless.test"] = function()
  lunette.sleep(math.huge)
end

return {
  connect = function(conn)
    return cases[conn.sni](conn)
  end,
  close = function(conn)
    local ok, err = pcall(lunette.sleep, 1)
    conn:log { slept = ok, err = err }
  end,
}
