return function(conn)
  conn:log {
    id = conn.id,
    client = conn.client_ip .. ":" .. conn.client_port,
    peer = conn.peer_ip .. ":" .. conn.peer_port,
    server = conn.server_ip .. ":" .. conn.server_port,
    listener = conn.listener,
    start = conn.ts.start,
    sni = conn.sni or "-",
    same_sni = conn.sni == conn.tls.sni,
    alpn = table.concat(conn.tls.alpn_protocols, ","),
    proxy = conn.proxy and conn.proxy.version or 0,
    tlv = conn.proxy and conn.proxy.tlvs[0xE2] or "-",
    url = conn.endpoint and conn.endpoint.url or "-",
    label = conn.endpoint and conn.endpoint.labels.team or "-",
    country = conn.geo.country_code or "-",
    as = conn.as.number or 0,
    ech = conn.tls.hello.ech,
    ja4 = #conn.tls.ja4_fingerprint,
    client_certificate = conn.tls.client == nil,
  }
end
