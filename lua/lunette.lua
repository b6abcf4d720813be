-- The module "lunette" of policies: the C functions, and what reads better in
-- Lua. lunette-policy(7) describes all of it. The second argument is the table
-- that src/policy/functions.h describes; what is returned is made read-only.

local _, core = ...

local mark_line = core.mark_line
local resolve_ask, resolve_result = core.resolve_ask, core.resolve_result

local internal = {
	mark_line = true,
	resolve_ask = true,
	resolve_result = true,
}

local lunette = {}
for name, member in pairs(core) do
	if not internal[name] then
		lunette[name] = member
	end
end

-- Allows the connection; the fields are those of a decision.
function lunette.forward(fields)
	local decision = fields or {}
	if type(decision) ~= "table" then
		error("lunette.forward takes a table, such as"
			.. " { upstream = \"10.0.0.5:443\" }", 2)
	end
	if decision.allow == false then
		error("lunette.forward with allow = false", 2)
	end
	decision.allow = true
	mark_line(decision)
	return decision
end

-- Denies the connection; takes the fields of a decision or only the reason.
function lunette.deny(how)
	local decision = how
	if type(how) ~= "table" then
		decision = { reason = how }
	elseif how.allow == true then
		error("lunette.deny with allow = true", 2)
	end
	decision.allow = false
	mark_line(decision)
	return decision
end

-- Waits for the addresses of a name: a list, or nil and why there is none. The
-- run is suspended inside the first call; the second makes the list.
function lunette.resolve(name)
	return resolve_result(resolve_ask(name))
end

return lunette
