local lunette = require "lunette"

return function(conn)
  local count = lunette.active("ip:" .. conn.client_ip)
  if count >= 3 then
    return lunette.deny { reason = "busy", tags = { count = tostring(count) } }
  end
  conn:track("ip:" .. conn.client_ip)
end
