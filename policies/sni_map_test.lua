policy "sni_map.lua"

test("an exact name", function()
  local d = decide { sni = "www.example.com" }
  assert_allow(d)
  assert_equal(d.upstream, "10.0.0.10:443")
end)

test("letters of either case are one name", function()
  assert_equal(decide { sni = "API.Example.COM" }.upstream, "10.0.0.20:8443")
end)

test("a wildcard covers several labels", function()
  assert_equal(decide { sni = "a.apps.example.com" }.upstream, "10.0.0.30:443")
  assert_equal(decide { sni = "a.b.apps.example.com" }.upstream, "10.0.0.30:443")
end)

test("what is not in the table is refused as an unknown name", function()
  for _, name in ipairs { "apps.example.com", "example.com", "www.example.com.evil.test" } do
    local d = decide { sni = name }
    assert_deny(d, "no upstream for this name")
    assert_equal(d.alert, "unrecognized_name")
  end
end)

test("a client that sends no name is refused", function()
  assert_deny(decide {}, "no upstream for this name")
end)
