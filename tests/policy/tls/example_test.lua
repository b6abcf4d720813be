-- The example of lunette-policy(7), word for word.
policy "example.lua"

local office = "192.0.2.10"

test("payments in the office are served", function()
  local d = decide { client_ip = office, client_cert = "payments.pem" }
  assert_allow(d)
  assert_equal(d.upstream, "10.0.0.5:8080")
  assert_equal(d.proxy_proto, 2)
end)

test("others are not", function()
  assert_deny(decide { client_ip = "203.0.113.1", client_cert = "payments.pem" },
    "outside the office networks")
  assert_deny(decide { client_ip = office, client_cert = "no_unit.pem" },
    "wrong unit")
  assert_deny(decide { client_ip = office }, "client_certificate_missing")
  assert_deny(decide { client_ip = office, client_cert = "stranger.pem" },
    "client_certificate_invalid")
  assert_true(decide {
    client_ip = office, client_cert = "payments.pem", certificates = {},
  }.error:find("there is no certificate \"app\"", 1, true))
end)
