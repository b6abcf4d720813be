policy "scripts/conn.lua"

local function log(facts)
  local d = decide(facts)
  assert_allow(d)
  return d.logs[1]
end

local function has(line, text)
  assert_true(line:find(text, 1, true), text .. " is not in " .. line)
end

test("a full connection", function()
  local line = log {
    id = "cn_1", client_ip = "192.0.2.9", client_port = 1234, peer_ip = "10.0.0.9", peer_port = 99,
    server_ip = "2001:db8::5", server_port = 8443, listener = "main", now = 1700000000.5,
    sni = "WWW.example.", alpn = { "h2", "http/1.1" },
    proxy = { version = 2, tlvs = { [0xE2] = "tag" } },
    endpoint = { url = "tls://www.example", labels = { team = "blue" } },
    geo = { country_code = "CH" }, as = { number = 64500 },
  }
  for _, text in ipairs {
    '"id":"cn_1"', '"client":"192.0.2.9:1234"', '"peer":"10.0.0.9:99"', '"server":"2001:db8::5:8443"',
    '"listener":"main"', '"start":1700000000.5', '"sni":"www.example"', '"same_sni":true',
    '"alpn":"h2,http/1.1"', '"proxy":2', '"tlv":"tag"', '"url":"tls://www.example"', '"label":"blue"',
    '"country":"CH"', '"as":64500', '"ech":false', '"ja4":36', '"client_certificate":true',
  } do
    has(line, text)
  end
end)

test("a bare connection", function()
  local line = log {}
  for _, text in ipairs { '"sni":"-"', '"alpn":""', '"proxy":0', '"url":"-"', '"country":"-"' } do
    has(line, text)
  end
end)

test("decide refuses what it does not know", function()
  assert_error(function() decide { sin = "a.test" } end, "sin")
  assert_error(function() decide { client_ip = "x" } end, "client_ip")
  assert_error(function() decide { client_port = 70000 } end, "client_port")
  assert_error(function() decide { sni = "a b" } end, "sni")
  assert_error(function() decide { geo = "CH" } end, "geo")
  assert_error(function() decide { failure = {} } end, "retry")
  assert_error(function() decide { summary = {} } end, "close")
end)
