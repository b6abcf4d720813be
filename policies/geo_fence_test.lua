policy "geo_fence.lua"

local function from(country, name, number)
  return decide {
    sni = name or "shop.example.com",
    client_ip = "203.0.113.20",
    geo = { country_code = country },
    as = { number = number or 64500 },
  }
end

test("the countries of a name pass", function()
  assert_false(from("CH").decided)
  assert_false(from("FR", "a.eu.example.com").decided)
end)

test("others do not", function()
  assert_deny(from "FR", "not open to FR")
  assert_deny(from("CH", "a.eu.example.com"), "not open to CH")
end)

test("a name without a list is open", function()
  assert_false(from("FR", "www.example.com").decided)
end)

test("an unknown country is refused", function()
  assert_deny(decide { sni = "shop.example.com" }, "the client's country is unknown")
end)

test("a refused network reaches nothing", function()
  assert_deny(from("CH", "www.example.com", 64496), "network AS64496 is refused")
end)

test("private networks are exceptions", function()
  assert_false(decide { sni = "shop.example.com", client_ip = "192.168.1.5" }.decided)
end)
