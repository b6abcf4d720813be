local lunette = require "lunette"

local cases = {
  ["nothing.test"] = function() end,
  ["empty.test"] = function() return {} end,
  ["forward.test"] = function()
    return lunette.forward {
      upstream = "10.0.0.1:443",
      proxy_proto = 2,
      tlvs = { [0xE1] = "one" },
      tags = { a = "b" },
      timeouts = { connect = 1.5, idle = 60 },
      bytes_per_second = 1000,
      reason = "because",
    }
  end,
  ["deny.test"] = function() return lunette.deny "no" end,
  ["reset.test"] = function() return lunette.deny { reason = "no", close = "reset" } end,
  ["alert.test"] = function() return lunette.deny { alert = "unrecognized_name" } end,
  ["endpoint.test"] = function() return { endpoint = "tls://b.test" } end,
  ["key.test"] = function() return { upstrem = "10.0.0.1:443" } end,
  ["type.test"] = function() return { allow = "yes" } end,
  ["word.test"] = function() return lunette.deny { close = "slam" } end,
  ["proto.test"] = function() return { proxy_proto = 3 } end,
  ["number.test"] = function() return 5 end,
  ["true.test"] = function() return true end,
  ["address.test"] = function() return { upstream = "nowhere" } end,
}

return function(conn)
  return cases[conn.sni](conn)
end
