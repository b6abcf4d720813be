-- Who may reach which name, by the client's certificate.
--
-- Where it helps: services that call each other and prove who they are with
-- certificates of your own CA. The edge terminates TLS, asks for a certificate
-- of that CA, and looks up the roles that it stands for.
--
-- A certificate with URIs in it is judged by its SPIFFE id alone; one without
-- is judged by its organizational units. Trust the units only as far as you
-- trust the CA not to let people choose their own.
--
-- Change: the CA's file, the roles, the names. A certificate for the names
-- themselves must be in the edge's `certificates`.

local lunette = require "lunette"

local clients = lunette.cas "clients.pem"

local role_of_spiffe_id = {
  ["spiffe://example.com/ns/prod/sa/payments"] = "payments",
  ["spiffe://example.com/ns/prod/sa/reports"] = "audit",
}

local role_of_unit = {
  ["payments"] = "payments",
  ["internal audit"] = "audit",
}

-- What a name leads to, and the roles that may reach it.
local services = lunette.domains {
  ["ledger.example.com"] = {
    upstream = "10.0.0.5:8080", payments = true, audit = true,
  },
  ["transfers.example.com"] = { upstream = "10.0.0.6:8080", payments = true },
}

-- The SPIFFE standard allows one URI; with more there is no telling which one
-- counts.
local function roles_of(certificate)
  local uris = certificate.san.uris
  if #uris > 0 then
    return { #uris == 1 and role_of_spiffe_id[uris[1]] or nil }
  end
  local roles = {}
  for _, unit in ipairs(certificate.subject.organizational_unit) do
    roles[#roles + 1] = role_of_unit[unit]
  end
  return roles
end

return function(conn)
  local service = services:lookup(conn.sni)
  if not service then
    return lunette.deny { reason = "no such service", alert = "unrecognized_name" }
  end
  local tls = conn:terminate { mutual_tls = { cas = clients } }
  for _, role in ipairs(roles_of(tls.client)) do
    if service[role] == true then
      return lunette.forward {
        upstream = service.upstream,
        proxy_proto = 2,
        proxy_tlvs = { "ssl", "client_certificate" },
        tags = { role = role },
      }
    end
  end
  return lunette.deny "no role of this certificate may reach this service"
end
