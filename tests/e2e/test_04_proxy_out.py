"""The PROXY header to upstreams: first on the wire, and true."""

import pytest

import hello
from client import http_get
from proxyheader import (ALPN, AUTHORITY, CRC32C, UNIQUE_ID, Header, v1, v2)
from servers import PAGE, lines_of
from waiting import until

TRUSTING = [{"address": "127.0.0.1:0", "proxy_protocol": {
    "accept": [1, 2], "from": ["127.0.0.0/8", "::1/128"]}}]


def first_bytes(scene, upstream, edge, name="a.test", **options):
    """One connection; what the upstream got, what was sent, the client."""
    client = scene.client(edge)
    wire = client.hello(name, **options)
    arrival = upstream.next()
    until(lambda: bytes(arrival.data).endswith(wire), 5,
          "header and hello at the upstream")
    client.close()
    arrival.wait_end()
    return bytes(arrival.data), wire, client


@pytest.mark.core
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("by_flag", [False, True])
def test_nginx_logs_the_real_client(scene, version, by_flag):
    port, log = scene.servers.nginx("a.test", proxy_protocol=True)
    if by_flag:
        edge = scene.tls(port, "--proxy-proto", version)
    else:
        edge = scene.route(f"127.0.0.1:{port}", proxy_proto=version)
    page = http_get(edge.port, "a.test", scene.certificates.ca,
                    source="127.0.0.5")
    assert page.endswith(PAGE)
    until(lambda: lines_of(log), 5, "nginx's log line")
    assert lines_of(log) == ["127.0.0.1 127.0.0.5 a.test"]
    event = edge.wait_events(1)[0]
    assert event["upstream"]["proxy_proto"] == version
    assert event["conn"]["client_ip"] == "127.0.0.5"


@pytest.mark.parametrize("version", [1, 2])
def test_haproxy_accepts(scene, version, needs):
    needs("haproxy")
    crt = scene.servers.bundle("a.test")
    port = scene.servers.haproxy(
        f"frontend f\n  bind 127.0.0.1:{{port}} accept-proxy ssl crt {crt}\n"
        "  mode http\n  http-request return status 200 content-type "
        "text/plain lf-string \"%[src]:%[src_port]\"\n")
    edge = scene.route(f"127.0.0.1:{port}", proxy_proto=version)
    page = http_get(edge.port, "a.test", scene.certificates.ca,
                    source="127.0.0.6")
    event = edge.wait_events(1)[0]
    assert page.endswith(
        f"127.0.0.6:{event['conn']['client_port']}".encode())


def test_v1_bytes(scene):
    upstream = scene.upstream()
    edge = scene.route(upstream, proxy_proto=1)
    got, wire, client = first_bytes(scene, upstream, edge)
    assert got == v1("127.0.0.1", client.port, "127.0.0.1",
                     edge.port) + wire
    event = edge.wait_events(1)[0]
    assert event["conn"]["bytes_in"] == len(wire), "our header is not counted"


def test_v2_bytes_carry_no_tlv_by_default(scene):
    upstream = scene.upstream()
    edge = scene.route(upstream, proxy_proto=2)
    got, wire, client = first_bytes(scene, upstream, edge)
    assert got == v2("127.0.0.1", client.port, "127.0.0.1",
                     edge.port) + wire
    assert edge.wait_events(1)[0]["conn"]["bytes_in"] == len(wire)


def test_off_means_nothing(scene):
    upstream = scene.upstream()
    edge = scene.route(upstream, proxy_proto=0)
    got, wire, _ = first_bytes(scene, upstream, edge)
    assert got == wire


@pytest.mark.core
def test_tlvs_that_are_asked_for(scene):
    upstream = scene.upstream()
    edge = scene.route(upstream, proxy_proto=2, proxy_tlvs=[
        "authority", "alpn", "unique_id", "crc32c"])
    got, wire, client = first_bytes(scene, upstream, edge, "A.test.",
                                    protocols=(b"h2", b"http/1.1"))
    header = Header(got)
    assert header.rest == wire
    assert (header.source, header.port) == ("127.0.0.1", client.port)
    event = edge.wait_events(1)[0]
    assert header.tlvs[AUTHORITY] == b"a.test"
    assert header.tlvs[UNIQUE_ID].decode() == event["conn"]["id"]
    # In passthrough nothing is negotiated: the hello's list, verbatim.
    assert header.tlvs[ALPN] == b"\2h2\x08http/1.1"
    assert CRC32C in header.tlvs  # and it was verified by Header
    assert len(header.tlvs) == 4


def test_tlvs_of_a_hello_without_name_and_alpn(scene):
    upstream = scene.upstream()
    edge = scene.tls(upstream.port, "--proxy-proto", "2", "--proxy-tlvs",
                     "authority,alpn,crc32c")
    got, _, _ = first_bytes(scene, upstream, edge, None)
    assert list(Header(got).tlvs) == [CRC32C]


def test_private_tlvs_from_the_policy(scene):
    upstream = scene.upstream()
    policy = scene.write("p.lua", r"""
        return function(conn)
          return { proxy_proto = 2, proxy_tlvs = { "unique_id", "crc32c" },
                   tlvs = { [0xE0] = "tenant-7", [0xEF] = "\0\1\255" } }
        end
    """)
    edge = scene.route(upstream, options={
        "edge": {"policy": {"file": policy}}})
    got, wire, _ = first_bytes(scene, upstream, edge)
    header = Header(got)
    assert header.rest == wire
    assert header.tlvs[0xE0] == b"tenant-7"
    assert header.tlvs[0xEF] == b"\0\1\xff"
    event = edge.wait_events(1)[0]
    assert header.tlvs[UNIQUE_ID].decode() == event["conn"]["id"]


def test_header_over_the_limit_is_refused(scene):
    upstream = scene.upstream()
    policy = scene.write("p.lua", """
        return function(conn)
          return { proxy_proto = 2,
                   tlvs = { [0xE0] = ("x"):rep(3000),
                            [0xE1] = ("y"):rep(3000) } }
        end
    """)
    edge = scene.route(upstream, options={
        "edge": {"policy": {"file": policy}}})
    client = scene.client(edge)
    client.hello()
    data, _ = client.read_all()
    assert data[:1] == b"\x15"
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] in ("policy_error", "limit", "internal")
    assert not any(a.data for a in upstream.arrivals)


@pytest.mark.parametrize("version", [1, 2])
def test_ipv6_clients(scene, version, ipv6):
    upstream = scene.upstream()
    edge = scene.route(upstream, proxy_proto=version, options={
        "listen": [{"address": "[::1]:0"}]})
    client = scene.client(edge, host="::1")
    wire = client.hello()
    build = v1 if version == 1 else v2
    expected = build("::1", client.port, "::1", edge.port) + wire
    assert upstream.next().wait_bytes(len(expected)) == expected
    client.close()
    event = edge.wait_events(1)[0]
    assert event["conn"]["client_ip"] == "::1"


@pytest.mark.parametrize("version", [1, 2])
def test_what_was_announced_is_passed_on(scene, version):
    """An inbound header's client is the outbound header's client."""
    upstream = scene.upstream()
    edge = scene.route(upstream, proxy_proto=version, options={
        "listen": TRUSTING})
    for inbound, source, port in (
            (v1("192.0.2.44", 4444), "192.0.2.44", 4444),
            (v2("2001:db8::7", 777, "2001:db8::9"), "2001:db8::7", 777)):
        client = scene.client(edge).send(inbound)
        wire = client.hello()
        arrival = upstream.next()
        until(lambda: bytes(arrival.data).endswith(wire), 5, "the hello")
        got = bytes(arrival.data)
        if version == 1:
            assert got.split(b" ")[2].decode() == source
            assert int(got.split(b" ")[4]) == port
        else:
            header = Header(got)
            assert (header.source, header.port) == (source, port)
        client.close()
    edge.wait_events(2)


@pytest.mark.parametrize("version", [1, 2])
def test_local_and_unknown_in_give_the_real_peer_out(scene, version):
    """No null address goes out (PP-03, Envoy CVE-2024-23327)."""
    upstream = scene.upstream()
    edge = scene.route(upstream, proxy_proto=version, options={
        "listen": TRUSTING})
    inbound = [b"PROXY UNKNOWN\r\n",
               b"PROXY UNKNOWN ffff::1 ffff::2 1 2 rubbish\r\n",
               v2(command=0, family=0, addresses=b""),
               v2(command=0), v2(command=1, family=0, addresses=b"")]
    for head in inbound:
        client = scene.client(edge).send(head)
        wire = client.hello()
        arrival = upstream.next()
        until(lambda: bytes(arrival.data).endswith(wire), 5, "the hello")
        got = bytes(arrival.data)
        if version == 1:
            assert got[:-len(wire)] in (
                v1("127.0.0.1", client.port, "127.0.0.1", edge.port),
                b"PROXY UNKNOWN\r\n"), head
        else:
            header = Header(got)
            assert header.command == 0 or \
                (header.source, header.port) == ("127.0.0.1", client.port)
        client.close()
    edge.wait_events(len(inbound))


def test_unix_upstream_gets_the_header_too(scene):
    upstream = scene.upstream(path=scene.path("u.sock"))
    edge = scene.route(upstream, proxy_proto=2)
    got, wire, client = first_bytes(scene, upstream, edge)
    assert Header(got).port == client.port and Header(got).rest == wire


def test_header_and_hello_come_in_one_piece(scene):
    """Receivers need not take pieces: the first read has the whole header."""
    reads = []

    def script(arrival):
        reads.append(arrival.sock.recv(65536))
        while arrival.read_step():
            pass
        arrival.close()

    upstream = scene.upstream(script)
    edge = scene.route(upstream, proxy_proto=2,
                       proxy_tlvs=["authority", "unique_id", "crc32c"])
    client = scene.client(edge).send(hello.hello())
    until(lambda: reads, 5, "the first read")
    Header(reads[0])
    client.close()
    edge.wait_events(1)
