local lunette = require "lunette"

local cases = {}

cases["loop.test"] = function()
  while true do
  end
end

cases["protected-loop.test"] = function()
  while true do
    pcall(function()
      while true do
      end
    end)
  end
end

cases["handler-loop.test"] = function()
  xpcall(error, function()
    while true do
    end
  end)
end

cases["sort.test"] = function()
  local t = {}
  for i = 1, 20000 do
    t[i] = i
  end
  table.sort(t)
end

cases["pattern.test"] = function()
  local s = ("x"):rep(50000)
  return { allow = s:find((".-"):rep(8) .. "b") == nil }
end

cases["double.test"] = function()
  local s = "x"
  while true do
    s = s .. s
  end
end

cases["protected-double.test"] = function()
  local s = "x"
  for _ = 1, 1000 do
    pcall(function()
      s = s .. s
    end)
  end
  return { allow = true }
end

cases["rep.test"] = function()
  return { reason = ("x"):rep(1e9) }
end

cases["tables.test"] = function()
  local t = {}
  for i = 1, 1e9 do
    t[i] = { i }
  end
end

cases["recursion.test"] = function()
  local function f()
    return 1 + f()
  end
  return { allow = f() }
end

cases["global.test"] = function()
  stray = 1
end

cases["undefined.test"] = function()
  return { allow = undefined }
end

cases["table-error.test"] = function()
  error(setmetatable({}, {
    __tostring = function()
      error "again"
    end,
  }))
end

cases["line-break.test"] = function()
  error "first\nlevel=info msg=forged"
end

cases["good.test"] = function()
  return lunette.forward { tags = { good = "yes" } }
end

return function(conn)
  return cases[conn.sni](conn)
end
