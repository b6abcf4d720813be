policy "ip_allow_per_name.lua"

local refused = "the client's network may not reach this name"

test("the office reaches the admin page, by IPv4 and IPv6", function()
  assert_allow(decide { sni = "admin.example.com", client_ip = "192.0.2.77" })
  assert_allow(decide { sni = "admin.example.com", client_ip = "2001:db8:1:2::3" })
end)

test("an IPv4 address in IPv6 clothes is the same address", function()
  assert_allow(decide { sni = "admin.example.com", client_ip = "::ffff:192.0.2.77" })
  assert_deny(decide { sni = "admin.example.com", client_ip = "::ffff:203.0.113.1" }, refused)
end)

test("others do not", function()
  assert_deny(decide { sni = "admin.example.com", client_ip = "203.0.113.1" }, refused)
  assert_deny(decide { sni = "x.internal.example.com", client_ip = "198.51.100.5" }, refused)
end)

test("the partner reaches its own name only", function()
  assert_allow(decide { sni = "partner.example.com", client_ip = "198.51.100.5" })
  assert_deny(decide { sni = "partner.example.com", client_ip = "198.51.100.200" }, refused)
end)

test("names that are not listed are open", function()
  assert_allow(decide { sni = "www.example.com", client_ip = "203.0.113.1" })
end)

test("the client counts, not the load balancer in front", function()
  assert_deny(decide { sni = "admin.example.com", client_ip = "203.0.113.1", peer_ip = "192.0.2.10" }, refused)
end)
