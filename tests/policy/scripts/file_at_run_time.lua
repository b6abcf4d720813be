local lunette = require "lunette"

return function()
  return { allow = lunette.cidrs_file("networks.txt"):contains "192.0.2.1" }
end
