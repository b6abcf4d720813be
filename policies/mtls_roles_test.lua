-- Run by tests/policy/run, which makes the certificates.
policy "mtls_roles.lua"

local refused = "no role of this certificate may reach this service"

local function call(name, certificate)
  return decide { sni = name, client_cert = certificate }
end

test("a unit has its role", function()
  local d = call("transfers.example.com", "payments.pem")
  assert_allow(d)
  assert_equal(d.upstream, "10.0.0.6:8080")
  assert_equal(d.tags.role, "payments")
  assert_true(d.terminated)
  assert_allow(call("ledger.example.com", "payments.pem"))
end)

test("a SPIFFE id has its role", function()
  local d = call("ledger.example.com", "spiffe.pem")
  assert_allow(d)
  assert_equal(d.tags.role, "audit")
  assert_deny(call("transfers.example.com", "spiffe.pem"), refused)
end)

test("with a SPIFFE id the units do not count", function()
  -- Its unit is "payments", its id nobody's.
  assert_deny(call("transfers.example.com", "other_id.pem"), refused)
end)

test("two ids are none", function()
  assert_deny(call("ledger.example.com", "two_ids.pem"), refused)
end)

test("a certificate without a role is refused", function()
  assert_deny(call("ledger.example.com", "no_unit.pem"), refused)
end)

test("no certificate, or another CA's, ends the handshake", function()
  assert_deny(call("ledger.example.com"), "client_certificate_missing")
  assert_deny(call("ledger.example.com", "stranger.pem"),
    "client_certificate_invalid")
end)

test("other names are unknown before any handshake", function()
  local d = decide { sni = "www.example.com", client_cert = "payments.pem" }
  assert_deny(d, "no such service")
  assert_equal(d.alert, "unrecognized_name")
  assert_false(d.terminated)
end)

test("clients without a name are unknown too", function()
  assert_deny(decide {}, "no such service")
end)
