policy "ja4_deny.lua"

test("an ordinary client passes", function()
  assert_false(decide { sni = "www.example.com", alpn = { "h2" } }.decided)
end)

test("a listed fingerprint is refused without an alert", function()
  local d = decide { ja4 = "t13d190900_9dc949149365_97f8aa674fd9" }
  assert_deny(d, "fingerprint: a scanner")
  assert_equal(d.close, "close")
  assert_equal(d.tags.ja4, "t13d190900_9dc949149365_97f8aa674fd9")
end)

test("so is a listed first part", function()
  assert_deny(decide { ja4 = "t10d070600_c50f5591e341_1a3805c3aa63" }, "fingerprint: TLS 1.0 only")
end)

test("one that only looks alike passes", function()
  assert_false(decide { ja4 = "t13d190900_9dc949149365_97f8aa674fd8" }.decided)
end)
