local lunette = require "lunette"

return function()
  return { allow = lunette.cidrs({ "0.0.0.0/0" }):contains "192.0.2.1" }
end
