policy "terminate.lua"

local function tags(facts)
  local d = decide(facts)
  assert_allow(d)
  assert_true(d.terminated)
  return d.tags
end

test("without arguments all is the endpoint's", function()
  assert_equal(tags { sni = "plain.test" }, {
    version = "1.3", cipher_suite = "TLS_AES_128_GCM_SHA256", alpn = "none",
    resumed = "false", client = "none", same = "true",
  })
end)

test("a test says what is agreed", function()
  assert_equal(tags {
    sni = "plain.test", client_cert = "payments.pem",
    tls = {
      version = "1.2", cipher_suite = "X", alpn = "h2", session_resumed = true,
    },
  }, {
    version = "1.2", cipher_suite = "X", alpn = "h2", resumed = "true",
    client = "pay-1", same = "true",
  })
  assert_error(function() decide { tls = { versoin = "1.2" } } end, "'tls'")
  assert_error(function() decide { tls = { version = "1.1" } } end, "1.2 or 1.3")
end)

test("what the script asks for is agreed if it can be", function()
  assert_equal(tags { sni = "versions.test" }.version, "1.2")
  assert_equal(tags { sni = "alpn.test", alpn = { "http/1.1", "h2" } }.alpn, "h2")
  assert_equal(tags { sni = "alpn.test" }.alpn, "none")
  assert_deny(decide { sni = "alpn.test", alpn = { "h3" } }, "handshake_failed")
  assert_deny(decide { sni = "versions.test", tls = { version = "1.3" } },
    "handshake_failed")
end)

test("certificates have labels", function()
  tags { sni = "label.test" }
  tags { sni = "label.test", certificates = { "web", "app" } }
  local d = decide { sni = "label.test", certificates = { "web" } }
  assert_equal(d.fault, "policy_error")
  assert_true(d.error:find("certificate: there is no certificate \"app\"", 1, true))
end)

test("mutual TLS wants a certificate of its CA", function()
  assert_equal(tags { sni = "require.test", client_cert = "payments.pem" }.client,
    "pay-1")
  assert_deny(decide { sni = "require.test" }, "client_certificate_missing")
  local d = decide { sni = "require.test", client_cert = "stranger.pem" }
  assert_deny(d, "client_certificate_invalid")
  assert_true(#d.detail > 0)
  assert_false(d.terminated)
  -- A CA is no client.
  assert_deny(decide { sni = "require.test", client_cert = "other.pem" },
    "client_certificate_invalid")
end)

test("one that is only asked for may be missing, but not wrong", function()
  assert_equal(tags { sni = "request.test" }.client, "none")
  assert_deny(decide { sni = "request.test", client_cert = "stranger.pem" },
    "client_certificate_invalid")
end)

test("one that is not asked for is not seen", function()
  assert_equal(tags { sni = "none.test", client_cert = "payments.pem" }.client,
    "none")
end)

test("the certificate's file must be there", function()
  assert_error(function() decide { client_cert = "missing.pem" } end,
    "missing.pem")
  assert_error(function() decide { client_cert = 5 } end, "the name of a file")
end)

test("TLS is terminated once, and then that is settled", function()
  assert_true(decide { sni = "twice.test" }.error:find "terminated already")
  assert_true(decide { sni = "plain.test", terminated = true }.error:find
    "terminated already")
  assert_true(decide { sni = "late.test" }.error:find "alpn: comes after")
end)

test("a decision may say the same", function()
  local d = decide { sni = "declared.test" }
  assert_allow(d)
  assert_equal(d.terminate_at, "edge")
  assert_equal(d.certificate, "app")
  assert_equal(d.min_version, "1.2")
  assert_equal(d.max_version, "1.3")
  assert_equal(d.alpn, { "h2", "http/1.1" })
  assert_equal(d.mutual_tls, { mode = "request" })
  assert_equal(d.upstream_tls, { verify = true, server_name = "db.test" })
  assert_false(d.terminated)
end)

test("all of the certificate is there", function()
  local d = decide { sni = "show.test", client_cert = "payments.pem" }
  assert_allow(d)
  local log = d.logs[1]
  local function has(text)
    assert_true(log:find(text, 1, true), text)
  end
  has '"common_name":"pay-1"'
  has '"organizational_unit":["payments"]'
  has '"country":["NL"]'
  has '"issuer":"Example clients"'
  has '"dns_names":["pay-1.example.com"]'
  has '"ip_addresses":["192.0.2.7"]'
  has '"valid":172800'
  has '"fingerprint":64'
  has '"serial":true'
  has '"algorithm":"ecdsa-with-SHA256"'
  has '"pem":1'
end)

test("the later hooks see what was agreed", function()
  local d = decide { terminated = true, failure = {} }
  assert_equal(d.tags.version, "1.3")
  d = decide {
    terminated = true, client_cert = "payments.pem", summary = {},
    tls = { version = "1.2" },
  }
  assert_equal(d.logs[1]:find([["version":"1.2"]], 1, true) ~= nil, true)
  assert_equal(d.logs[1]:find([["client":true]], 1, true) ~= nil, true)
  assert_true(decide { sni = "again.test", failure = {} }.error:find
    "not possible in a retry function")
end)
