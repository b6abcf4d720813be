policy "canary.lua"

local function version(ip)
  local d = decide { sni = "www.example.com", client_ip = ip }
  assert_allow(d)
  assert_equal(d.upstream, d.tags.version == "canary" and "10.0.0.11:443" or "10.0.0.10:443")
  return d.tags.version
end

test("testers always get the new version", function()
  assert_equal(version "192.0.2.130", "canary")
  assert_equal(version "192.0.2.255", "canary")
end)

test("a client stays where it is", function()
  for i = 1, 20 do
    local ip = "198.51.100." .. i
    assert_equal(version(ip), version(ip))
  end
end)

test("about five of a hundred clients get it", function()
  local count = 0
  for a = 0, 9 do
    for b = 0, 199 do
      if version("10." .. a .. ".7." .. b) == "canary" then
        count = count + 1
      end
    end
  end
  assert_true(count > 50 and count < 160, "of 2000 clients: " .. count)
end)
