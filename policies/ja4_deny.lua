-- Clients are refused by the fingerprint of their TLS software (JA4).
--
-- Whole fingerprints and first parts work; the first part ("t13d1516h2") tells
-- version, name, counts and protocol only, so it covers a family of clients.
-- A fingerprint tells which software calls, not who: use it against noise, not
-- as proof of identity.
--
-- Change: the list. Fingerprints of your clients are in the events.

local lunette = require "lunette"

local denied = {
  ["t13d190900_9dc949149365_97f8aa674fd9"] = "a scanner",
  ["t10d070600"] = "TLS 1.0 only",
}

return function(conn)
  local ja4 = conn.tls.ja4_fingerprint
  local why = denied[ja4] or denied[ja4:sub(1, 10)]
  if why then
    return lunette.deny { reason = "fingerprint: " .. why, close = "close", tags = { ja4 = ja4 } }
  end
end
