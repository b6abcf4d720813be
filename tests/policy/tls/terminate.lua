-- What the script does is chosen by the name.
local lunette = require "lunette"

local clients = lunette.cas "clients.pem"

local function describe(conn, tls)
  local client = tls.client
  return lunette.forward {
    tags = {
      version = tls.version,
      cipher_suite = tls.cipher_suite,
      alpn = tls.negotiated_alpn or "none",
      resumed = tostring(tls.session_resumed),
      client = client and client.subject.common_name or "none",
      same = tostring(tls == conn.tls),
    },
  }
end

local scripts = {
  ["plain.test"] = function(conn)
    return describe(conn, conn:terminate())
  end,
  ["versions.test"] = function(conn)
    return describe(conn, conn:terminate { min_version = 1.2, max_version = "1.2" })
  end,
  ["alpn.test"] = function(conn)
    return describe(conn, conn:terminate { alpn = { "h2", "http/1.1" } })
  end,
  ["label.test"] = function(conn)
    return describe(conn, conn:terminate { certificate = "app" })
  end,
  ["require.test"] = function(conn)
    return describe(conn, conn:terminate { mutual_tls = { cas = clients } })
  end,
  ["request.test"] = function(conn)
    return describe(conn, conn:terminate {
      mutual_tls = { cas = clients, mode = "request" },
    })
  end,
  ["none.test"] = function(conn)
    return describe(conn, conn:terminate { mutual_tls = { mode = "none" } })
  end,
  ["twice.test"] = function(conn)
    conn:terminate()
    conn:terminate()
  end,
  ["late.test"] = function(conn)
    conn:terminate()
    return { alpn = { "h2" } }
  end,
  ["declared.test"] = function()
    return {
      terminate_at = "edge",
      certificate = "app",
      min_version = 1.2,
      max_version = "1.3",
      alpn = { "h2", "http/1.1" },
      mutual_tls = { cas = clients, mode = "request" },
      upstream = "tls://10.0.0.5",
      upstream_tls = { cas = clients, server_name = "db.test" },
    }
  end,
  ["show.test"] = function(conn)
    local client = conn:terminate { mutual_tls = { cas = clients } }.client
    conn:log {
      subject = client.subject,
      issuer = client.issuer.common_name,
      san = client.san,
      valid = client.validity.not_after - client.validity.not_before,
      fingerprint = #client.fingerprint_sha256,
      serial = client.serial_number:find "^%x+$" == 1,
      algorithm = client.signature_algorithm,
      pem = client.pem:find("-----BEGIN CERTIFICATE-----", 1, true),
    }
  end,
}

return {
  connect = function(conn)
    return scripts[conn.sni](conn)
  end,
  retry = function(conn)
    if conn.sni == "again.test" then
      conn:terminate()
    end
    return { upstream = "10.0.0.9:1", tags = { version = conn.tls.version } }
  end,
  close = function(conn)
    conn:log { version = conn.tls.version, client = conn.tls.client ~= nil }
  end,
}
