-- What policy_bench measures: a decision by name and address.
local lunette = require "lunette"

local upstreams = {
	["app.example.com"] = "10.0.0.5:8443",
	["api.example.com"] = "10.0.0.6:8443",
}

return function(conn)
	if conn.client_ip == "203.0.113.9" then
		return lunette.deny "blocked"
	end
	local upstream = upstreams[conn.sni]
	if not upstream then
		return lunette.deny "unknown"
	end
	return { upstream = upstream }
end
