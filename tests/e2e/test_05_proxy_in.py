"""The PROXY header from load balancers in front: exact, or refused."""

import os
import threading
import time

import pytest

import hello
from client import http_get
from proxyheader import AUTHORITY, CRC32C, NOOP, UNIQUE_ID, tlv, v1, v2
from servers import PAGE
from upstream import answer
from waiting import PATIENCE, until

pytestmark = pytest.mark.hostile


def listener(accept=(1, 2), source=("127.0.0.1/32",), **more):
    return [{"address": "127.0.0.1:0", "proxy_protocol": {
        "accept": list(accept), "from": list(source), **more}}]


def trusting_edge(scene, upstream, **options):
    listen = options.pop("listen", listener())
    return scene.route(upstream, options={"listen": listen, **options})


def no_bytes_back(client, within=1):
    data, _ = client.ends_within(within)
    assert data == b"", data


def test_haproxy_in_front_is_believed(scene, needs):
    needs("haproxy")
    web, _ = scene.servers.nginx("a.test")
    edge = trusting_edge(scene, f"127.0.0.1:{web}")
    for sender in ("send-proxy", "send-proxy-v2",
                   "send-proxy-v2 proxy-v2-options crc32c,unique-id"):
        front = scene.servers.haproxy(
            "frontend f\n  bind 127.0.0.1:{port}\n"
            "  unique-id-format %{+X}o\\ %ci:%cp\n  default_backend b\n"
            f"backend b\n  server s 127.0.0.1:{edge.port} {sender}\n")
        before = len(edge.events())
        # HAProxy's own start was watched by connecting: let those end.
        assert http_get(front, "a.test", scene.certificates.ca,
                        source="127.0.0.77").endswith(PAGE)
        served = []
        deadline = time.monotonic() + 5 * PATIENCE
        while not served and time.monotonic() < deadline:
            served = [e for e in edge.events()[before:]
                      if e["conn"].get("server_name")]
            time.sleep(0.01)
        assert served[0]["conn"]["client_ip"] == "127.0.0.77"
        assert served[0]["conn"]["peer_ip"] == "127.0.0.1"


def test_haproxy_from_another_address_is_refused(scene, needs):
    needs("haproxy")
    upstream = scene.upstream()
    edge = trusting_edge(scene, upstream)
    front = scene.servers.haproxy(
        "frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\n"
        f"backend b\n  source 127.0.0.2\n"
        f"  server s 127.0.0.1:{edge.port} send-proxy-v2\n")
    client = scene.client(front)
    client.hello()
    assert client.read_all()[0] == b""
    assert upstream.count() == 0
    until(lambda: edge.events() and {e["close"]["reason"] for e in
                                     edge.events()} == {"proxy_untrusted"},
          5, "refused for its address")


@pytest.mark.core
@pytest.mark.parametrize("version", [1, 2])
def test_announced_and_real_address_are_both_shown(scene, version):
    """PP-08."""
    policy = scene.write("p.lua", """
        return function(conn)
          return { allow = true, tags = {
            client = conn.client_ip .. " " .. conn.client_port,
            peer = conn.peer_ip .. " " .. conn.peer_port,
            server = conn.server_ip .. " " .. conn.server_port,
            version = tostring(conn.proxy.version) } }
        end
    """)
    upstream = scene.upstream()
    edge = trusting_edge(scene, upstream, edge={"policy": {"file": policy}})
    head = (v1 if version == 1 else v2)("192.0.2.33", 3333)
    client = scene.client(edge).send(head)
    wire = client.hello()
    assert upstream.next().wait_bytes(len(wire)) == wire, \
        "the header is consumed exactly"
    client.close()
    event = edge.wait_events(1)[0]
    conn = event["conn"]
    assert (conn["client_ip"], conn["client_port"]) == ("192.0.2.33", 3333)
    assert (conn["peer_ip"], conn["peer_port"]) == ("127.0.0.1", client.port)
    assert event["tags"]["client"] == "192.0.2.33 3333"
    assert event["tags"]["peer"] == f"127.0.0.1 {client.port}"
    assert event["tags"]["version"] == str(version)
    assert conn["bytes_in"] == len(wire)


def test_untrusted_peer_is_closed(scene):
    """Not taken for one without a header, with it or without it (PP-02)."""
    upstream = scene.upstream()
    edge = trusting_edge(scene, upstream)
    for start in (v1(), v2(), b"", v2(command=0)):
        client = scene.client(edge, source="127.0.0.2")
        try:
            client.send(start)
            client.hello()
        except ConnectionError:
            pass
        no_bytes_back(client)
        client.close()
    assert upstream.count() == 0
    for event in edge.wait_events(4):
        assert event["close"]["reason"] == "proxy_untrusted"
        assert event["conn"]["peer_ip"] == "127.0.0.2"


def test_not_required_means_plain_clients_from_elsewhere(scene):
    upstream = scene.upstream()
    edge = trusting_edge(scene, upstream, listen=listener(required=False))
    plain = scene.client(edge, source="127.0.0.2")
    wire = plain.hello()
    assert upstream.next().wait_bytes(len(wire)) == wire
    plain.close()
    assert edge.event()["conn"]["client_ip"] == "127.0.0.2"
    # A header from there is no header: it is not TLS.
    liar = scene.client(edge, source="127.0.0.2").send(v1())
    liar.read_all()
    liar.close()
    assert edge.event()["close"]["reason"] == "not_tls"
    # From the trusted place it is still required: nothing is guessed.
    bare = scene.client(edge)
    bare.hello()
    no_bytes_back(bare)
    bare.close()
    assert edge.event()["close"]["reason"] == "proxy_malformed"
    assert upstream.count() == 1


def test_version_that_is_not_accepted(scene):
    upstream = scene.upstream()
    only_one = trusting_edge(scene, upstream, listen=listener([1]))
    only_two = trusting_edge(scene, upstream, listen=listener([2]))
    for edge, head in ((only_one, v2()), (only_two, v1())):
        client = scene.client(edge).send(head)
        no_bytes_back(client)
        client.close()
        assert edge.wait_events(1)[0]["close"]["reason"] == "proxy_malformed"
    assert upstream.count() == 0


WORD = hello.hello()
MALFORMED = {
    "v1_octet_256": b"PROXY TCP4 192.0.2.256 192.0.2.1 1 2\r\n",
    "v1_leading_zero": b"PROXY TCP4 192.0.2.01 192.0.2.1 1 2\r\n",
    "v1_port_65536": b"PROXY TCP4 192.0.2.1 192.0.2.1 65536 2\r\n",
    "v1_port_zero_led": b"PROXY TCP4 192.0.2.1 192.0.2.1 01 2\r\n",
    "v1_port_negative": b"PROXY TCP4 192.0.2.1 192.0.2.1 -1 2\r\n",
    "v1_port_plus": b"PROXY TCP4 192.0.2.1 192.0.2.1 +1 2\r\n",
    "v1_three_octets": b"PROXY TCP4 192.0.2 192.0.2.1 1 2\r\n",
    "v1_hex": b"PROXY TCP4 0xc0000201 192.0.2.1 1 2\r\n",
    "v1_v6_in_tcp4": b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
    "v1_v4_in_tcp6": b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
    "v1_two_spaces": b"PROXY  TCP4 192.0.2.1 192.0.2.1 1 2\r\n",
    "v1_space_at_end": b"PROXY TCP4 192.0.2.1 192.0.2.1 1 2 \r\n",
    "v1_tab": b"PROXY\tTCP4 192.0.2.1 192.0.2.1 1 2\r\n",
    "v1_lower_case": b"proxy TCP4 192.0.2.1 192.0.2.1 1 2\r\n",
    "v1_lone_lf": b"PROXY TCP4 192.0.2.1 192.0.2.1 1 2\n",
    "v1_lone_cr": b"PROXY TCP4 192.0.2.1 192.0.2.1 1 2\r\x16",
    "v1_too_long": b"PROXY UNKNOWN " + b"x" * 100 + b"\r\n",
    "v1_missing_port": b"PROXY TCP4 192.0.2.1 192.0.2.1 1\r\n",
    "v1_one_more": b"PROXY TCP4 192.0.2.1 192.0.2.1 1 2 3\r\n",
    "v1_udp": b"PROXY UDP4 192.0.2.1 192.0.2.1 1 2\r\n",
    "v1_nul": b"PROXY TCP4 192.0.2.1\0 192.0.2.1 1 2\r\n",
    "v1_scope": b"PROXY TCP6 fe80::1%lo fe80::2 1 2\r\n",
    "v1_triple_colon": b"PROXY TCP6 2001:::1 ::1 1 2\r\n",
    "v2_version_1": v2(version=1), "v2_version_3": v2(version=3),
    "v2_command_2": v2(command=2), "v2_command_15": v2(command=15),
    "v2_family_4": v2(family=0x41), "v2_protocol_3": v2(family=0x13),
    "v2_length_short": v2(length=11),
    "v2_length_8_for_v6": v2(family=0x21),
    "v2_tlv_one_long": v2(tlvs=tlv(NOOP, b"xx")[:-1]),
    "v2_tlv_one_short": v2(tlvs=tlv(NOOP, b"xx") + b"\4"),
    "v2_tlv_ffff": v2(tlvs=b"\4\xff\xff"),
    "v2_crc_wrong": v2(tlvs=tlv(CRC32C, b"\1\2\3\4")),
    "v2_crc_three_bytes": v2(tlvs=tlv(CRC32C, b"\1\2\3")),
    "v2_unique_id_129": v2(tlvs=tlv(UNIQUE_ID, b"u" * 129)),
    "v2_over_4_kib": v2(tlvs=tlv(NOOP, bytes(5000))),
    "v2_over_4_kib_announced": v2(length=65535),
    "v2_signature_one_off": b"\r\n\r\n\0\r\nQUIT\r" + v2()[12:],
    "stacked_v1_v1": v1() + v1(),
    "stacked_v2_v1": v2() + v1(),
    "stacked_v2_v2": v2() + v2(),
}


@pytest.mark.core
def test_malformed_headers_are_refused(scene):
    upstream = scene.upstream()
    edge = trusting_edge(scene, upstream, edge={
        "default_endpoint": "tls://a.test"})
    wrong = []
    for case, head in MALFORMED.items():
        client = scene.client(edge, timeout=2)
        began = time.monotonic()
        try:
            client.send(head + WORD)
            data, _ = client.read_all()
        except ConnectionError:
            data = b""
        except TimeoutError:
            data = b"nothing and stays open"
        client.close()
        if data:
            wrong.append(f"{case}: answered {data[:20]!r}")
        if time.monotonic() - began > 1 * PATIENCE:
            wrong.append(f"{case}: closed only after a while")
    assert not wrong, "\n".join(wrong)
    events = edge.wait_events(len(MALFORMED))
    for case, event in zip(MALFORMED, events):
        expected = {"proxy_malformed"}
        if case.startswith("stacked"):
            expected = {"not_tls"}  # the second one is the stream's start
        if event["close"]["reason"] not in expected:
            wrong.append(f"{case}: {event['close']}")
    assert not wrong, "\n".join(wrong)
    assert upstream.count() == 0


def swallowing():
    """A header length that swallows the start of the hello."""
    return v2(length=12 + 40)


def test_length_that_swallows_the_hello(scene):
    upstream = scene.upstream()
    edge = trusting_edge(scene, upstream)
    client = scene.client(edge)
    try:
        client.send(swallowing() + WORD)
    except ConnectionError:
        pass
    client.read_all()
    assert upstream.count() == 0
    edge.wait_events(1)


@pytest.mark.core
def test_headers_that_are_right(scene):
    upstream = scene.upstream(answer(b"ok"))
    edge = trusting_edge(scene, upstream)
    heads = {
        "v1_unknown": (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        "v1_unknown_rest": (b"PROXY UNKNOWN junk junk\r\n", "127.0.0.1"),
        "v1_v6": (v1("2001:db8::1", 1, "2001:db8::2"), "2001:db8::1"),
        "v1_longest": (v1("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535,
                          "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                          65535),
                       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        "v2_v4": (v2(), "192.0.2.1"),
        "v2_v6": (v2("2001:db8::1", 1, "2001:db8::2"), "2001:db8::1"),
        "v2_local": (v2(command=0), "127.0.0.1"),
        "v2_local_empty": (v2(command=0, family=0, addresses=b""),
                           "127.0.0.1"),
        "v2_local_with_junk": (v2(command=0, family=0,
                                  addresses=b"\1\2\3"), "127.0.0.1"),
        # Datagrams do not arrive here: as UNSPEC, the real peer.
        "v2_datagram": (v2(family=0x12), "127.0.0.1"),
        "v2_crc": (v2(checksum=True), "192.0.2.1"),
        "v2_tlvs": (v2(tlvs=tlv(NOOP, bytes(100)) + tlv(AUTHORITY, b"b.test")
                       + tlv(0xE5, b"private"), checksum=True),
                    "192.0.2.1"),
        "v2_4_kib": (v2(tlvs=tlv(NOOP, bytes(4096 - 28 - 3))), "192.0.2.1"),
    }
    wrong = []
    for case, (head, expected) in heads.items():
        client = scene.client(edge).send(head + WORD)
        got = client.sock.recv(2)
        client.close()
        event = edge.event()
        if got != b"ok" or event["conn"]["client_ip"] != expected:
            wrong.append(f"{case}: {got!r} {event['conn']} "
                         f"{event['close']}")
    assert not wrong, "\n".join(wrong)


def test_unspec_is_accepted_or_refused_but_never_null(scene):
    upstream = scene.upstream(answer(b"ok"))
    edge = trusting_edge(scene, upstream)
    client = scene.client(edge).send(
        v2(command=1, family=0, addresses=b"") + WORD)
    assert client.sock.recv(2) in (b"ok", b"")
    client.close()
    assert edge.event()["conn"]["client_ip"] == "127.0.0.1"


def test_the_authority_tlv_does_not_route(scene):
    """The hello's name decides (CH-04); the policy sees the TLV."""
    policy = scene.write("p.lua", """
        return function(conn)
          return { tags = { authority = conn.proxy.tlvs[2] } }
        end
    """)
    first, second = scene.upstream(answer(b"A")), scene.upstream(answer(b"B"))
    edge = scene.edge([
        {"url": "tls://a.test", "upstream": first.address},
        {"url": "tls://b.test", "upstream": second.address}],
        listen=listener(), edge={"policy": {"file": policy}})
    client = scene.client(edge).send(
        v2(tlvs=tlv(AUTHORITY, b"b.test")) + WORD)
    assert client.read(1) == b"A"
    client.close()
    event = edge.event()
    assert event["conn"]["server_name"] == "a.test"
    assert event["tags"]["authority"] == "b.test"


@pytest.mark.core
@pytest.mark.parametrize("version", [1, 2])
def test_every_split_point(scene, version):
    """PP-04: header and hello cut in two at every byte."""
    upstream = scene.upstream(answer(b"ok"))
    edge = trusting_edge(scene, upstream)
    head = v1() if version == 1 else v2(
        tlvs=tlv(AUTHORITY, b"x"), checksum=True)
    small = hello.hello(tls13=False, session=b"")
    wire = head + small
    for cut in range(1, len(head) + 8):
        client = scene.client(edge)
        client.send(wire[:cut]).send(wire[cut:])
        assert client.read(2) == b"ok", cut
        client.close()
    events = edge.wait_events(len(head) + 7)
    assert {e["conn"]["client_ip"] for e in events} == {"192.0.2.1"}
    for arrival in upstream.arrivals:
        assert bytes(arrival.data) == small


@pytest.mark.parametrize("version", [1, 2])
def test_a_byte_at_a_time(scene, version):
    upstream = scene.upstream(answer(b"ok"))
    edge = trusting_edge(scene, upstream)
    wire = (v1() if version == 1 else v2()) + hello.hello()
    client = scene.client(edge)
    for i in range(len(wire)):
        client.send(wire[i:i + 1])
    assert client.read(2) == b"ok"
    client.close()
    assert edge.event()["conn"]["client_ip"] == "192.0.2.1"


def test_header_hello_and_data_in_one_segment(scene):
    """PP-05: nothing is taken for a TLV, nothing is lost."""
    upstream = scene.upstream()
    edge = trusting_edge(scene, upstream)
    payload = os.urandom(3000)
    for head in (v1(), v2(), v2(tlvs=tlv(0xE1, b"t"), checksum=True)):
        client = scene.client(edge).send(head + WORD + payload)
        expected = WORD + payload
        assert upstream.next().wait_bytes(len(expected)) == expected
        client.close()
    edge.wait_events(3)


@pytest.mark.parametrize("sent", [b"", b"PROXY", v1()[:-1], v2()[:5],
                                  v2()[:-1]])
def test_header_never_completed(scene, sent):
    """PP-07: its own deadline."""
    upstream = scene.upstream()
    edge = trusting_edge(scene, upstream, edge={
        "timeouts": {"proxy": "500ms", "hello": "10s"}})
    began = time.monotonic()
    client = scene.client(edge).send(sent)
    assert client.read_all()[0] == b""
    client.close()
    assert 0.4 < time.monotonic() - began < 1.2 * PATIENCE
    assert edge.wait_events(1)[0]["close"]["reason"] == "proxy_timeout"


def test_the_hello_has_its_own_time_after_the_header(scene):
    edge = trusting_edge(scene, scene.upstream(), edge={
        "timeouts": {"proxy": "400ms", "hello": "800ms"}})
    client = scene.client(edge).send(v2())
    began = time.monotonic()
    client.read_all()
    client.close()
    assert 0.7 < time.monotonic() - began < 1.4 * PATIENCE
    assert edge.wait_events(1)[0]["close"]["reason"] == "hello_timeout"


def test_restriction_judges_the_announced_client(scene):
    """And loopback, announced, is still what a proxy said (PP-06)."""
    policy = scene.write("p.lua", """
        return function(conn)
          return { tags = { by_proxy = tostring(conn.proxy ~= nil) } }
        end
    """)
    upstream = scene.upstream(answer(b"ok"))
    edge = scene.route(upstream, ip_restriction={
        "allow": ["192.0.2.0/24", "127.0.0.0/8"], "deny": ["192.0.2.66/32"]},
        options={"listen": listener(), "edge": {"policy": {"file": policy}}})
    for source, fine in (("192.0.2.1", True), ("192.0.2.66", False),
                         ("198.51.100.1", False), ("127.0.0.1", True)):
        client = scene.client(edge).send(v2(source) + WORD)
        first = client.sock.recv(2)
        assert (first == b"ok") == fine, source
        client.close()
        event = edge.event()
        assert event["conn"]["client_ip"] == source
        assert event["ip_policy"]["decision"] == \
            ("allow" if fine else "block")
        if fine:
            assert event["tags"]["by_proxy"] == "true"


def test_untrusted_peers_do_not_flood_the_log(scene):
    edge = trusting_edge(scene, scene.upstream())
    count = 200

    def knock():
        for _ in range(count // 4):
            scene.client(edge, source="127.0.0.2").ends_within(5)

    threads = [threading.Thread(target=knock) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    edge.wait_events(count)
    warned = [e for e in edge.log_lines()
              if e.get("level") in ("warn", "error")]
    assert len(warned) < 20 * PATIENCE
