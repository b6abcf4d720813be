"""The ClientHello: taken in every legal shape, refused in every other."""

import os
import random
import socket
import ssl
import struct
import threading
import time

import pytest

import hello
from hello import (extension, message, record, records, server_name, u8, u16,
                   u24, vector8, vector16)
from upstream import answer, record as record_script
from waiting import PATIENCE, SANITIZED

pytestmark = pytest.mark.hostile

UNEXPECTED, OVERFLOW, ILLEGAL, DECODE = 10, 22, 47, 50
VERSION, UNKNOWN = 70, 112


def routed_unchanged(scene, wire, pieces=None, endpoint="a.test",
                     pause=None):
    upstream = scene.upstream()
    edge = scene.route(upstream, endpoint)
    client = scene.client(edge)
    for piece in pieces or [wire]:
        client.send(piece)
        if pause:
            pause()
    arrival = upstream.next()
    assert arrival.wait_bytes(len(wire)) == wire
    client.close()
    arrival.wait_end()
    assert bytes(arrival.data) == wire
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "client_closed"
    assert event["conn"]["bytes_in"] == len(wire)
    return event


SHAPES = {
    "both": {}, "tls12_only": {"tls13": False},
    "tls13_only": {"tls12": False}, "name_last": {"last": True},
    "grease": {"grease": True}, "post_quantum": {"post_quantum": True},
    "post_quantum_name_last": {"post_quantum": True, "last": True,
                               "grease": True},
    "unknown_800": {"unknown": 800},
    "unknown_800_name_last": {"unknown": 800, "last": True},
    "ech_outer": {"ech": hello.ech_outer()},
    "ech_outer_chromium": {"ech": hello.ech_outer(218), "grease": True},
    "ech_inner": {"ech": hello.ech_inner()},
    "old_esni": {"extra": [extension(0xFFCE, os.urandom(300))]},
    "alpn": {"protocols": (b"h2", b"http/1.1")},
    "early_data": {"early_data": True},
    "no_session": {"session": b""},
    "one_suite": {"ciphers": (0x1301,)},
    "old_record_version": {},
}


@pytest.mark.core
@pytest.mark.parametrize("shape", SHAPES)
def test_legal_shapes_are_routed(scene, shape):
    """CH-01 and CH-14."""
    options = SHAPES[shape]
    wire = hello.hello(**options)
    if shape == "old_record_version":
        wire = record(message(), version=0x0300)
    routed_unchanged(scene, wire)


def test_hello_followed_by_early_data(scene):
    wire = hello.hello(early_data=True) + \
        record(os.urandom(2000), kind=23, version=0x0303)
    routed_unchanged(scene, wire)


@pytest.mark.core
def test_one_byte_at_a_time(scene):
    """CH-03."""
    wire = hello.hello()
    routed_unchanged(scene, wire, [wire[i:i + 1] for i in range(len(wire))])


def test_dripping_is_cheap(scene):
    """A byte every millisecond wakes the worker a few times, not always."""
    wire = hello.hello()
    upstream = scene.upstream()
    edge = scene.route(upstream)
    before = edge.process.cpu_seconds()
    client = scene.client(edge)
    for i in range(len(wire)):
        client.send(wire[i:i + 1])
        time.sleep(0.001)
    assert upstream.next().wait_bytes(len(wire)) == wire
    assert edge.process.cpu_seconds() - before < 0.1 * PATIENCE


def test_every_split_point_once(scene):
    """Two segments, cut at every byte of a small hello (CH-03)."""
    upstream = scene.upstream()
    edge = scene.route(upstream)
    wire = hello.hello(tls13=False, session=b"")
    for cut in range(1, len(wire)):
        client = scene.client(edge)
        client.send(wire[:cut]).send(wire[cut:])
        assert upstream.next().wait_bytes(len(wire)) == wire, cut
        client.close()
    edge.wait_events(len(wire) - 1)


def test_two_halves_300_ms_apart(scene):
    """CH-03."""
    wire = hello.hello(post_quantum=True)
    half = len(wire) // 2
    routed_unchanged(scene, wire, [wire[:half], wire[half:]],
                     pause=lambda: time.sleep(0.3))


def test_two_records_at_every_cut(scene):
    """The record boundary anywhere, the handshake header included."""
    upstream = scene.upstream()
    edge = scene.route(upstream)
    handshake = message(tls13=False, session=b"")
    for cut in range(1, len(handshake)):
        wire = records(handshake, [cut])
        client = scene.client(edge).send(wire)
        assert upstream.next().wait_bytes(len(wire)) == wire, cut
        client.close()
    edge.wait_events(len(handshake) - 1)


def test_a_record_for_every_byte(scene):
    handshake = message()
    wire = records(handshake, range(1, len(handshake)))
    routed_unchanged(scene, wire)


def test_records_apart_in_time(scene):
    """The shape that a HAProxy sends to its default."""
    handshake = message()
    wire = records(handshake, [40])
    routed_unchanged(scene, wire, [wire[:45], wire[45:]],
                     pause=lambda: time.sleep(0.3))


@pytest.mark.core
def test_sixty_kib(scene):
    routed_unchanged(scene, hello.padded(60 * 1024))


def test_the_largest_and_one_more(scene):
    routed_unchanged(scene, hello.padded(65536))
    upstream = scene.upstream()
    edge = scene.route(upstream)
    client = scene.client(edge)
    try:
        client.send(hello.padded(65600))
    except ConnectionError:
        pass
    data, _ = client.read_all()
    assert data == hello.alert(ILLEGAL)
    assert upstream.count() == 0


def names_in(*entries):
    """A server_name extension with these (type, bytes) entries."""
    return extension(0, vector16(b"".join(
        u8(kind) + vector16(text) for kind, text in entries)))


def with_name(raw):
    """A hello whose server_name extension has this body."""
    return records(message([extension(0, raw),
                            *hello.extensions(None)]))


def with_extra(*extra):
    return records(message(extra=extra))


ENTRY = u8(0) + vector16(b"a.test")
PARTS = b"".join(hello.extensions())

# Bytes sent, the alerts that answer them. Where OpenSSL and the RFC leave
# room, all sensible ones are listed.
MALFORMED = {
    "change_cipher_spec_first": (record(b"\1", kind=20), UNEXPECTED),
    "alert_first": (record(b"\2\x28", kind=21), UNEXPECTED),
    "application_data_first": (record(b"data" * 9, kind=23), UNEXPECTED),
    "heartbeat_first": (record(b"\1\0\1x", kind=24), UNEXPECTED),
    "record_major_2": (record(message(), version=0x0200), VERSION),
    "record_major_4": (record(message(), version=0x0401), VERSION),
    "record_16385": (b"\x16\3\1" + u16(16385), OVERFLOW),
    "record_65535": (b"\x16\3\1" + u16(65535), OVERFLOW),
    "server_hello": (records(message(kind=2)), UNEXPECTED),
    "hello_request": (record(b"\0\0\0\0"), UNEXPECTED),
    "announced_16_mib": (record(b"\1\xff\xff\xff"), ILLEGAL),
    "announced_64_kib": (record(b"\1" + u24(65536)), ILLEGAL),
    "other_record_between": (
        records(message(), [50])[:55] + record(b"\1", kind=20), UNEXPECTED),
    "empty_fragment": (record(b"") + hello.hello(), {UNEXPECTED, DECODE}),
    "empty_fragment_between": (
        records(message(), [50])[:55] + record(b"") +
        records(message(), [50])[55:], {UNEXPECTED, DECODE}),
    "session_id_33": (hello.hello(session=b"s" * 33), DECODE),
    "odd_suites": (records(message(
        block=b"\1\0" + vector16(PARTS), compression=b"",
        ciphers=(0x1301,))), {DECODE, ILLEGAL}),
    "after_the_extensions": (hello.hello(tail=b"x"), DECODE),
    "block_longer_than_hello": (records(message(
        block=u16(len(PARTS) + 1) + PARTS)), DECODE),
    "block_shorter_than_parts": (records(message(
        block=u16(len(PARTS) - 1) + PARTS)), DECODE),
    "extension_past_block": (with_extra(u16(0x4444) + u16(200) + b"x"),
                             DECODE),
    "extension_cut_in_header": (with_extra(b"\x44\x44\0"), DECODE),
    "extension_length_ffff": (with_extra(u16(0x4444) + u16(0xFFFF)),
                              DECODE),
    "extension_twice": (with_extra(extension(0x4444), extension(0x4444)),
                        ILLEGAL),
    "two_server_names": (with_extra(server_name("b.test")), ILLEGAL),
    "same_server_name_twice": (with_extra(server_name("a.test")), ILLEGAL),
    "versions_twice": (with_extra(hello.versions(0x0304)), ILLEGAL),
    "name_list_empty": (with_name(vector16(b"")), DECODE),
    "name_extension_empty": (with_name(b""), DECODE),
    "name_list_of_two": (with_name(vector16(
        ENTRY + u8(0) + vector16(b"b.test"))), DECODE),
    "name_type_1": (with_name(vector16(u8(1) + vector16(b"a.test"))),
                    DECODE),
    "name_list_one_short": (with_name(u16(len(ENTRY) - 1) + ENTRY), DECODE),
    "name_list_one_long": (with_name(u16(len(ENTRY) + 1) + ENTRY), DECODE),
    "name_list_ffff": (with_name(u16(0xFFFF) + ENTRY), DECODE),
    "name_len_ffff": (with_name(vector16(u8(0) + u16(0xFFFF) + b"a.test")),
                      DECODE),
    "name_len_one_long": (with_name(vector16(u8(0) + u16(7) + b"a.test")),
                          DECODE),
    "name_len_one_short": (with_name(vector16(u8(0) + u16(5) + b"a.test")),
                           DECODE),
    "name_len_zero": (with_name(vector16(u8(0) + u16(0))), DECODE),
    "bytes_behind_name_list": (with_name(vector16(ENTRY) + b"x"), DECODE),
    "tiny_with_ffff": (records(b"\1" + u24(56) + (message(
        session=b"", ciphers=(0x1301,),
        block=u16(13) + u16(0) + u16(0xFFFF) + b"\0\4\0\0\1a\0\0\0")
        [4:60])), DECODE),
    "body_of_one_byte": (record(b"\1\0\0\1\3"), DECODE),
    "body_without_compression": (record(
        b"\1" + u24(37) + b"\3\3" + bytes(32) + b"\0" + u16(0)), DECODE),
    "alpn_empty_list": (with_extra(extension(16, vector16(b""))), DECODE),
    "alpn_empty_name": (with_extra(extension(16, vector16(b"\0"))), DECODE),
    "alpn_past_its_end": (with_extra(extension(16, vector16(b"\5h2"))),
                          DECODE),
    "versions_odd": (records(message([
        server_name("a.test"), extension(43, vector8(b"\3"))])), DECODE),
}

BAD_NAMES = {
    "nul": b"a.test\0", "nul_inside": b"a.te\0st", "nul_cut":
    b"a.test\0.evil", "long_256": b"a" * 60 + (b"." + b"b" * 60) * 3 +
    b"." + b"c" * 12, "ipv4": b"127.0.0.1", "ipv6": b"::1",
    "ipv6_brackets": b"[::1]", "ipv6_full": b"2001:db8::1",
    "port": b"a.test:443", "path": b"a.test/x", "dots_path":
    b"../../etc/passwd", "space": b"a .test", "leading_space": b" a.test",
    "newline": b"a.test\nlevel=info msg=forged", "crlf": b"a.test\r\n",
    "escape": b"\x1b[31ma.test", "star": b"*.test", "star_alone": b"*",
    "empty_label": b"a..test", "leading_dot": b".a.test", "dot": b".",
    "two_dots": b"a.test..", "label_64": b"a" * 64 + b".test",
    "sql": b"a.test';DROP TABLE endpoints;--", "format": b"%s%s%n%x.test",
    "utf8": "bücher.test".encode(), "high": b"\xff\xfe.test",
    "comma": b"a.test,DNS:b.test", "at": b"user@a.test",
    "lua": b"a.test\" .. os.exit() .. \"", "json": b'{"a":"b"}',
    "delete": b"a\x7f.test", "percent": b"a%2etest", "hex_address":
    b"0x7f000001" + b"/",
}


def refused(scene, edge, wire, alerts):
    """Sends, expects exactly one of these alerts, then an orderly end."""
    client = scene.client(edge)
    client.send(wire)
    began = time.monotonic()
    data, end = client.read_all()
    took = time.monotonic() - began
    alerts = alerts if isinstance(alerts, set) else {alerts}
    assert data in {hello.alert(a) for a in alerts}, \
        f"{data.hex()} instead of alert {alerts}"
    assert end == "eof", "the alert was lost in a reset"
    assert took < 1 * PATIENCE, f"answered after {took:.2f} s"
    client.close()
    return data[-1]


@pytest.mark.core
def test_malformed_hellos_get_their_alert(scene):
    """CH-06 and the table of answers."""
    upstream, fallback = scene.upstream(), scene.upstream()
    edge = scene.edge([
        {"url": "tls://a.test", "upstream": upstream.address},
        {"url": "tls://fallback.test", "upstream": fallback.address}],
        edge={"default_endpoint": "tls://fallback.test"})
    wrong = []
    for case, (wire, alerts) in MALFORMED.items():
        try:
            refused(scene, edge, wire, alerts)
        except AssertionError as error:
            wrong.append(f"{case}: {error}")
    assert not wrong, "\n".join(wrong)
    assert upstream.count() == 0 and fallback.count() == 0
    events = edge.wait_events(len(MALFORMED))
    for event in events:
        assert event["close"]["reason"] == "hello_malformed"
        assert event["close"]["detail"]
        assert "alert" in event["close"]


def test_malformed_hellos_cut_in_two(scene):
    """No verdict depends on how the segments fall."""
    upstream = scene.upstream()
    edge = scene.route(upstream)
    wrong = []
    for case, (wire, alerts) in MALFORMED.items():
        client = scene.client(edge)
        for byte in (wire[:3], wire[3:7], wire[7:]):
            try:
                client.send(byte)
            except ConnectionError:
                break
        data, _ = client.read_all()
        alerts = alerts if isinstance(alerts, set) else {alerts}
        if data not in {hello.alert(a) for a in alerts}:
            wrong.append(f"{case}: {data.hex()}")
        client.close()
    assert not wrong, "\n".join(wrong)
    assert upstream.count() == 0


@pytest.mark.core
def test_names_that_are_no_host_names(scene):
    """CH-12."""
    fallback = scene.upstream()
    edge = scene.edge([
        {"url": "tls://a.test", "upstream": fallback.address},
        {"url": "tls://*.test", "upstream": fallback.address}],
        edge={"default_endpoint": "tls://a.test"})
    lines_before = len(edge.raw_log().splitlines())
    wrong = []
    for case, name in BAD_NAMES.items():
        try:
            refused(scene, edge, hello.hello(name), UNKNOWN)
        except AssertionError as error:
            wrong.append(f"{case}: {error}")
    assert not wrong, "\n".join(wrong)
    assert fallback.count() == 0
    events = edge.wait_events(len(BAD_NAMES))
    for event in events:
        assert event["close"]["reason"] in ("hello_malformed",
                                            "unknown_name")
    log = edge.raw_log()
    assert "\x1b" not in log and "\0" not in log and "\x7f" not in log
    for line in log.splitlines()[lines_before:]:
        assert line.startswith("time="), line


LEGAL_NAMES = ["a", "a-b.test", "xn--bcher-kva.test", "1.test", "1a",
               "_dmarc.test", "a" * 63 + ".test",
               ".".join(["a" * 61] * 4), "x.1.2.3.4.test"]


def test_unusual_names_that_are_host_names(scene):
    upstream = scene.upstream(answer(b"ok"))
    edge = scene.tls(upstream.port)
    for name in LEGAL_NAMES:
        client = scene.client(edge)
        client.hello(name)
        assert client.read(2) == b"ok", name
        client.close()
    names = [e["conn"]["server_name"] for e in
             edge.wait_events(len(LEGAL_NAMES))]
    assert names == LEGAL_NAMES


NOT_TLS = {
    "http_post": b"POST / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "smtp": b"EHLO a.test\r\n",
    "random": bytes([0xA7]) + os.urandom(300),
    "zeros": bytes(64),
    "proxy_v1": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n" + hello.hello(),
    "proxy_v2": b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0" + hello.hello(),
    "postgres": struct.pack("!II", 8, 80877103),
    "sslv2": b"\x80\x2e\1\0\2\0\x15\0\0\0\x10" + os.urandom(37),
    "mqtt": b"\x10\x10\0\4MQTT\4\2\0\x3c\0\4test",
    "rdp": b"\3\0\0\x13\x0e\xe0\0\0\0\0\0\1\0\x08\0\3\0\0\0",
    "ones": b"\xff" * 100,
    "one_byte": b"G",
}


@pytest.mark.core
@pytest.mark.parametrize("case", NOT_TLS)
def test_what_is_not_tls_is_closed_at_once(scene, case):
    """CH-13."""
    upstream = scene.upstream()
    edge = scene.route(upstream, options={
        "edge": {"default_endpoint": "tls://a.test"}})
    times = []
    for _ in range(3):
        client = scene.client(edge).send(NOT_TLS[case])
        began = time.monotonic()
        if case == "one_byte":
            # This may yet become "GET ": told at once or at its deadline.
            client.shut()
        data, _ = client.read_all()
        times.append(time.monotonic() - began)
        client.close()
        assert data == b"" or case in ("http_post", "one_byte")
    # One of three: this machine may be busy with something else.
    assert min(times) < 0.1 * PATIENCE, times
    assert upstream.count() == 0
    for event in edge.wait_events(3):
        assert event["close"]["reason"] == "not_tls" or \
            (case == "one_byte" and
             event["close"]["reason"] == "client_closed")


@pytest.mark.core
def test_plain_http_is_told_its_mistake(scene):
    edge = scene.route(scene.upstream())
    client = scene.client(edge)
    client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    data, end = client.read_all()
    client.close()
    assert data.startswith(b"HTTP/1.1 400 ") or \
        data.startswith(b"HTTP/1.0 400 ")
    assert b"TLS" in data or b"https" in data
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head
    assert end == "eof"
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "not_tls"


# Time.

@pytest.mark.parametrize("sent", ["nothing", "half", "four_less", "one_less",
                                  "record_header"])
def test_hello_timeout(scene, sent):
    """Closed at the deadline of the whole hello; nothing is routed (CH-07)."""
    wire = hello.hello()
    part = {"nothing": b"", "half": wire[:len(wire) // 2],
            "four_less": wire[:-4], "one_less": wire[:-1],
            "record_header": wire[:5]}[sent]
    upstream = scene.upstream()
    edge = scene.route(upstream, options={
        "edge": {"timeouts": {"hello": "700ms"},
                 "default_endpoint": "tls://a.test"}})
    began = time.monotonic()
    client = scene.client(edge).send(part)
    data, _ = client.read_all()
    took = time.monotonic() - began
    assert 0.6 < took < 1.2 * PATIENCE and data == b""
    client.close()
    assert upstream.count() == 0
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "hello_timeout"


def test_the_default_hello_timeout_is_three_seconds(scene):
    edge = scene.route(scene.upstream())
    began = time.monotonic()
    client = scene.client(edge)
    client.read_all()
    assert 2.8 < time.monotonic() - began < 4 * PATIENCE
    client.close()
    assert edge.wait_events(1)[0]["close"]["reason"] == "hello_timeout"


def test_dripping_does_not_stretch_the_deadline(scene):
    """One deadline for the whole hello, not one for each read."""
    wire = hello.padded(20000)
    edge = scene.route(scene.upstream(), options={
        "edge": {"timeouts": {"hello": "700ms"}}})
    client = scene.client(edge)
    began = time.monotonic()
    sent = 0
    try:
        while time.monotonic() - began < 5:
            client.send(wire[sent:sent + 1])
            sent += 1
            time.sleep(0.02)
            client.sock.setblocking(False)
            try:
                if client.sock.recv(1) == b"":
                    break
            except BlockingIOError:
                pass
            client.sock.setblocking(True)
    except ConnectionError:
        pass
    assert 0.6 < time.monotonic() - began < 1.5 * PATIENCE
    client.close()
    assert edge.wait_events(1)[0]["close"]["reason"] == "hello_timeout"


@pytest.mark.core
def test_client_leaves_in_the_middle(scene):
    upstream = scene.upstream()
    edge = scene.route(upstream)
    wire = hello.hello()
    began = time.monotonic()
    for part in (b"", wire[:3], wire[:100], wire[:-1]):
        client = scene.client(edge).send(part)
        client.close()
    client = scene.client(edge).send(wire[:20])
    client.reset()
    events = edge.wait_events(5)
    assert time.monotonic() - began < 2 * PATIENCE
    reasons = [e["close"]["reason"] for e in events]
    assert set(reasons) <= {"client_closed", "client_reset"}
    assert upstream.count() == 0


def test_half_closed_hello_is_served(scene):
    """A client that sends its hello and shuts still gets the answer."""
    edge = scene.route(scene.upstream(answer(b"answer")))
    client = scene.client(edge)
    client.send(hello.hello())
    client.shut()
    assert client.read_all() == (b"answer", "eof")
    edge.wait_events(1)


def test_second_hello_with_another_name_goes_where_the_first_went(scene):
    """Passthrough does not read on: the first hello decides (CH-04)."""
    first, second = scene.upstream(), scene.upstream()
    edge = scene.edge([
        {"url": "tls://a.test", "upstream": first.address},
        {"url": "tls://b.test", "upstream": second.address}])
    wire = hello.hello("a.test") + hello.hello("b.test")
    client = scene.client(edge).send(wire)
    assert first.next().wait_bytes(len(wire)) == wire
    client.close()
    assert second.count() == 0
    assert edge.wait_events(1)[0]["conn"]["server_name"] == "a.test"


# CH-15: a differential test against OpenSSL.

class Reader:
    """What OpenSSL makes of a hello: accepted or not, and the name that it
    read. The same library as s_server, without a process for each."""

    def __init__(self, certificates):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificates.pair("a.test"))
        self.context.sni_callback = self.on_name

    def on_name(self, _socket, name, _context):
        self.name = name

    def read(self, wire):
        self.name = None
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        incoming.write(wire)
        session = self.context.wrap_bio(incoming, outgoing, server_side=True)
        try:
            session.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLError, UnicodeError):
            pass
        flight = outgoing.read()
        return flight[:1] == b"\x16", self.name


def mutate(draw, wire):
    data = bytearray(wire)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        kind = draw.randrange(6)
        at = draw.randrange(len(data))
        if kind == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[at] = draw.randrange(256)
        elif kind == 2:
            data[at:at + draw.randrange(1, 5)] = b""
        elif kind == 3:
            data[at:at] = draw.randbytes(draw.randrange(1, 5))
        elif kind == 4:
            # Lengths off by a little, where lengths are likely.
            data[at] = (data[at] + draw.choice((-2, -1, 1, 2))) % 256
        else:
            other = draw.randrange(len(data))
            size = draw.randrange(1, 40)
            data[at:at + size] = data[other:other + size]
        if not data:
            data = bytearray(b"\x16")
    return bytes(data)


def seeds():
    found = list(hello.real_hellos("a.test").values())
    found += [hello.hello(**options) for options in SHAPES.values()
              if not options.get("unknown")]
    found += [hello.hello("b.test"), hello.hello("x.wild.test"),
              records(message(), [30, 60, 100])]
    return [f for f in found if len(f) < 3000]


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning")
def test_mutations_are_never_routed_by_another_name(scene):
    """Whatever Lunette routes, OpenSSL refuses or reads the same name."""
    count = int(os.environ.get("LUNETTE_MUTATIONS",
                               "600" if SANITIZED else "3000"))
    seed = int(os.environ.get("LUNETTE_SEED", "20261123"))
    draw = random.Random(seed)
    base = seeds()
    work = [mutate(draw, draw.choice(base)) for _ in range(count)]
    # A tenth unchanged: the test is able to see a route at all.
    work += base * 2
    tags = {b"a": "a.test", b"b": "b.test", b"w": "wild.test"}
    edge = scene.edge([
        {"url": "tls://" + url, "upstream": scene.upstream(
            one_letter(letter)).address}
        for url, letter in (("a.test", b"a"), ("b.test", b"b"),
                            ("*.wild.test", b"w"))])
    results = [None] * len(work)

    def drive(start):
        for i in range(start, len(work), 8):
            results[i] = fate(edge.port, work[i])

    threads = [threading.Thread(target=drive, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader = Reader(scene.certificates)
    wrong, routed = [], 0
    for wire, letter in zip(work, results):
        if letter not in tags:
            assert letter is not None
            continue
        routed += 1
        accepted, name = reader.read(wire)
        if not accepted and name is None:
            continue  # refused for contents that a router does not read
        name = (name or "").lower().rstrip(".")
        if not (name == tags[letter] or
                (letter == b"w" and name.endswith(".wild.test"))):
            wrong.append((letter, name, wire.hex()))
    assert not wrong, f"seed {seed}: {wrong[:3]}"
    assert routed > len(base)
    edge.wait_events(len(work), timeout=30)


def one_letter(letter):
    def script(arrival):
        if arrival.read_step():
            try:
                arrival.send(letter)
                arrival.shut()
            except OSError:
                return
        record_script(arrival)
    return script


def fate(port, wire):
    """The first byte that comes back for these bytes and a FIN."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        try:
            sock.sendall(wire)
            sock.shutdown(socket.SHUT_WR)
            return sock.recv(1)
        except ConnectionError:
            return b""
