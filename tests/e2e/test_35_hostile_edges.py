"""Lunette's agent at an edge that wants more than it may have: it goes by its
own configuration alone (AG-06), on streams and data connections alike."""

import base64
import contextlib
import json
import struct

import pytest

import dataconnection as data
import muxado
import proxyheader
from hello import hello
from muxado import DATA, GOAWAY, PROXY, RST, SYN, WNDINC, frame, number
from proxyheader import tlv
from standin_edge import StandinEdge
from tunnel import QUICK, AgentProcess, agent_tls, edge_pair, endpoint
from upstream import echo
from waiting import PATIENCE, until

pytestmark = pytest.mark.hostile

NAME, OWN = "app.test", "own.test"  # one ends at the upstream, one here
HELLO = hello(NAME)
UNKNOWN, DIFFERS, OTHER_HELLO, DENIED, REFUSED, TIMEOUT, DNS = range(1, 8)


class Visit:
    """An agent at a stand-in edge, with two endpoints bound."""

    def __init__(self, scene, count=2, **agent):
        self.scene = scene
        self.edge = StandinEdge(scene.certificates, lunette=True,
                                pair=edge_pair(scene.certificates))
        scene.agents.append(self.edge)
        self.upstream = scene.upstream(echo)
        self.plain = scene.greeter()
        endpoints = [endpoint(NAME, self.upstream),
                     endpoint(OWN, self.plain, **agent_tls(
                         scene.certificates.pair(OWN)))][:count]
        self.agent = AgentProcess(scene, [self.edge], endpoints, agent=agent)
        self.session = self.edge.session()
        until(lambda: len(self.session.bound) == count, 10, "the binds")
        self.agent.wait_online()
        self.counter = 0

    def id(self, name=NAME):
        return next(i for i, request in self.session.bound.items()
                    if name in json.dumps(request))

    def opened(self, **options):
        """The PROXY header of an OPEN for the first endpoint."""
        options.setdefault("endpoint", self.id())
        wire = options.pop("hello", HELLO)
        options.setdefault("termination", data.UPSTREAM)
        return data.header(hello=wire, **options)

    def direct(self, mode=data.RAW):
        self.counter += 1
        self.session.ask(self.counter, 1, mode)
        return self.session.direct()

    def reason(self, way, opened, more=HELLO):
        """How the agent answers, on a stream or a data connection."""
        if way == "stream":
            head = proxyheader.Header(opened)
            route = head.tlvs.get(data.ROUTING, bytes(41))
            return self.session.refused_stream(
                route[40:].decode("utf-8", "replace"), opened, more,
                passthrough=route[1] != data.EDGE)
        direct = self.direct(data.RAW if way == "raw" else data.SEALED)
        direct.open(opened, after=more)
        reason = direct.answer()
        direct.close()
        return reason


@pytest.fixture
def visit(scene):
    return Visit(scene)


WAYS = ["stream", "raw", "sealed"]


@pytest.mark.core
@pytest.mark.parametrize("way", WAYS)
def test_what_is_right_is_served(visit, way):
    """The same harness, honestly: bytes go both ways."""
    assert visit.reason(way, visit.opened()) == 0
    arrival = visit.upstream.next()
    assert arrival.wait_bytes(len(HELLO)) == HELLO
    event = visit.agent.wait_events(1)[0]
    assert event["conn"]["client_ip"] == "192.0.2.7"
    assert event["conn"]["client_port"] == 4711
    assert event["edge"]["transport"] == {
        "stream": "stream", "raw": "data", "sealed": "data_tls"}[way]


REFUSED_ONES = [
    ("an endpoint that it has not", {"endpoint": "ep_none"}, UNKNOWN),
    ("an address", {"endpoint": "127.0.0.1:22"}, UNKNOWN),
    ("an upstream", {"endpoint": "tcp://127.0.0.1:22"}, UNKNOWN),
    ("the longest id", {"endpoint": "x" * 64}, UNKNOWN),
    ("plain bytes for what ends at the upstream",
     {"termination": data.EDGE, "hello": b""}, DIFFERS),
    ("termination here that was not asked for",
     {"termination": data.AGENT}, DIFFERS),
    ("another length", {"length": len(HELLO) - 1}, OTHER_HELLO),
    ("another hash", {"digest": bytes(32)}, OTHER_HELLO),
]


@pytest.mark.core
@pytest.mark.parametrize("way", WAYS)
def test_what_is_refused(visit, way):
    """And the upstream sees nothing of it, nor does anybody else."""
    for what, options, reason in REFUSED_ONES:
        if way == "raw" and options.get("termination") == data.EDGE:
            continue  # may never be on a raw connection: see below
        assert visit.reason(way, visit.opened(**options)) == reason, what
    assert not visit.upstream.arrivals
    assert visit.session.mux.alive()
    visit.agent.wait_log(lambda e: e["level"] == "error" and
                         "TLS end elsewhere" in e["msg"])


@pytest.mark.parametrize("way", ["stream", "sealed"])
def test_plain_bytes_for_what_ends_here(visit, way):
    """An edge that says it has terminated what the agent would."""
    opened = visit.opened(endpoint=visit.id(OWN), termination=data.EDGE,
                          hello=b"")
    assert visit.reason(way, opened, b"GET / HTTP/1.0\r\n\r\n") == DIFFERS
    assert not visit.plain.arrivals


@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_hello(visit, way):
    """Announced with the right length and hash, but not one well-formed
    ClientHello: a server would speak first, or be spoken to in clear."""
    for first in (b"GET / HTTP/1.0\r\nHost: app.test\r\n\r\n",
                  HELLO + b"more", HELLO[:-1], HELLO + HELLO,
                  b"\x16\x03\x01\x00\x05hello"):
        opened = visit.opened(hello=first)
        assert visit.reason(way, opened, first) == OTHER_HELLO, first
    assert not visit.upstream.arrivals


@pytest.mark.parametrize("way", WAYS)
def test_a_foreign_hello(visit, way):
    """The hello of another client behind an OPEN for this one."""
    opened = visit.opened(hello=HELLO)
    changed = bytearray(HELLO)
    changed[20] ^= 1  # in the random
    assert visit.reason(way, opened, bytes(changed)) == OTHER_HELLO
    assert not visit.upstream.arrivals


BAD_ROUTES = [
    ("version", data.routing("ep", version=2)),
    ("termination", data.routing("ep", termination=3)),
    ("reserved", data.routing("ep", zero=1)),
    ("proxy", data.routing("ep", proxy=3)),
    ("no id", data.routing("")),
    ("a long id", data.routing("x" * 65)),
    ("short", bytes(20)),
    ("a huge hello", data.routing("ep", length=65537, digest=bytes(32))),
    ("a hello of nothing", data.routing("ep", length=0, digest=bytes(32))),
]


@pytest.mark.parametrize("way", ["stream", "raw"])
def test_a_bad_tlv(visit, way):
    """An OPEN that does not parse: no ANSWER, closed."""
    for what, route in BAD_ROUTES:
        bad_open(visit, way, data.header("ep", route=route), what)


@pytest.mark.parametrize("way", ["stream", "raw"])
def test_a_bad_header(visit, way):
    good = visit.opened()
    route = data.routing(visit.id(), data.UPSTREAM, HELLO)
    headers = {
        "twice": data.header(visit.id(), hello=HELLO,
                             tlvs=tlv(data.ROUTING, route)),
        "none": proxyheader.v2(),
        "local": proxyheader.v2(command=0, tlvs=tlv(data.ROUTING, route)),
        "crc": proxyheader.v2(tlvs=tlv(data.ROUTING, route) + tlv(
            proxyheader.CRC32C, b"\1\2\3\4")),
        "left over": good + b"\0",
        "v1": proxyheader.v1() + b" " * 40,
        "unix": proxyheader.v2(family=0x31, addresses=bytes(216),
                               tlvs=tlv(data.ROUTING, route)),
        "empty": b"\0" * 40,
    }
    for what, opened in headers.items():
        bad_open(visit, way, opened, what)


def bad_open(visit, way, opened, what):
    if way == "stream":
        stream = visit.session.proxy(visit.id(), more={
            "Open": base64.b64encode(opened).decode()})
        try:
            stream.sendall(HELLO)
        except ConnectionResetError:
            pass  # it is quick
        assert stream.wait_end() in ("reset", "fin"), what
        assert not stream.data, what
    else:
        direct = visit.direct()
        direct.open(opened, after=HELLO)
        assert direct.is_closed(), what
    assert not visit.upstream.arrivals
    assert visit.session.mux.alive()


def test_a_stream_without_open(visit):
    """A header as SDKs get it is not enough for Lunette's agent."""
    stream = visit.session.proxy(visit.id())
    with contextlib.suppress(ConnectionResetError):  # at once
        stream.sendall(HELLO)
    assert stream.wait_end() in ("reset", "fin")
    assert not visit.upstream.arrivals


def test_a_bad_stream_header(visit):
    for text in (b"", b"{}", b"[]", b"nonsense", b'{"Id": 5}',
                 b'{"Open": "!!"}', b'{"Open": "' + b"A" * 20000 + b'"}'):
        for size in (len(text), 2 ** 63, 2 ** 32, 16385):
            stream = visit.session.mux.open(
                PROXY, struct.pack("<Q", size) + text)
            stream.shut()
            assert stream.wait_end() in ("reset", "fin"), (text, size)
    assert visit.session.mux.alive() and not visit.upstream.arrivals


# OPEN on data connections.

def test_open_for_another_connection(visit):
    """Swapped between two connections of one session."""
    one, two = visit.direct(), visit.direct()
    opened = visit.opened()
    wire = visit.session.keys.open(one.preface, opened)
    two.sock.sendall(wire + HELLO)
    assert two.is_closed()
    one.sock.sendall(wire + HELLO)
    one.salt = wire[4:20]
    assert one.answer() == 0
    one.close()


@pytest.mark.parametrize("mode", [data.RAW, data.SEALED])
def test_a_bad_open(visit, mode):
    """Closed without a byte."""
    opened = visit.opened()
    for what in ("reflected", "changed", "kind", "version", "tag", "short",
                 "long", "zeros"):
        direct = visit.direct(mode)
        direct.sock.sendall(spoiled(what, visit.session.keys, direct, opened))
        assert direct.is_closed(), what
    assert not visit.upstream.arrivals


def spoiled(what, keys, direct, opened):
    preface = direct.preface
    good = keys.open(preface, opened, salt=direct.salt)
    return {
        "reflected": preface,
        "changed": good[:30] + bytes([good[30] ^ 1]) + good[31:],
        "kind": keys.open(preface, opened, kind=2),
        "version": keys.open(preface, opened, version=2),
        "tag": good[:-1] + bytes([good[-1] ^ 1]),
        "short": good[:2] + b"\0\x1f" + good[4:],
        "long": good[:2] + b"\x10\x01" + good[4:],
        "zeros": bytes(100),
    }[what]


def test_a_second_open(visit):
    """It is the client's bytes, whatever it looks like."""
    direct = visit.direct()
    opened = visit.opened()
    good = visit.session.keys.open(direct.preface, opened, salt=direct.salt)
    direct.sock.sendall(good + HELLO)
    assert direct.answer() == 0
    direct.sock.sendall(good)
    arrival = visit.upstream.next()
    assert arrival.wait_bytes(len(HELLO + good)) == HELLO + good
    direct.close()


def test_half_an_open(visit):
    """Whole within 3 s of its first byte."""
    direct = visit.direct()
    wire = visit.session.keys.open(direct.preface, visit.opened())
    direct.sock.sendall(wire[:50])
    assert direct.is_closed(timeout=8)


def test_half_a_hello(visit):
    """An OPEN whose hello never comes holds nothing for long."""
    direct = visit.direct()
    direct.open(visit.opened(), after=HELLO[:20])
    direct.sock.settimeout(15 * PATIENCE)
    try:
        assert direct.answer(15) in (OTHER_HELLO, TIMEOUT)
    except EOFError:
        pass
    assert not visit.upstream.arrivals


def test_plain_bytes_on_a_raw_connection(scene):
    """An endpoint that ends at the edge is never on a raw connection."""
    edge = StandinEdge(scene.certificates, lunette=True,
                       pair=edge_pair(scene.certificates))
    scene.agents.append(edge)
    plain = scene.greeter()
    agent = AgentProcess(scene, [edge],
                         [endpoint(NAME, plain, terminate_at="edge")])
    session = edge.session()
    agent.wait_online()
    opened = data.header(session.endpoint(), data.EDGE)
    session.ask(1, 1, data.RAW)
    direct = session.direct()
    direct.open(opened, after=b"GET / HTTP/1.0\r\n\r\n")
    try:
        assert direct.answer() == DIFFERS
    except EOFError:
        pass
    assert not plain.arrivals
    session.ask(2, 1, data.SEALED)
    direct = session.direct()
    direct.open(opened, after=b"GET / HTTP/1.0\r\n\r\n")
    assert direct.answer() == 0
    plain.next().wait_bytes(18)
    direct.close()


def test_addresses_and_policy_of_the_agent(scene):
    """They hold for the address in OPEN, whatever the edge has checked."""
    edge = StandinEdge(scene.certificates, lunette=True,
                       pair=edge_pair(scene.certificates))
    scene.agents.append(edge)
    upstream = scene.upstream(echo)
    agent = AgentProcess(scene, [edge], [endpoint(
        NAME, upstream, ip_restriction={"allow": ["192.0.2.0/24"]})])
    session = edge.session()
    agent.wait_online()
    given = session.endpoint()
    for source, reason in (("192.0.2.7", 0), ("198.51.100.7", DENIED),
                           ("2001:db8::1", DENIED)):
        target = "2001:db8::2" if ":" in source else "192.0.2.9"
        opened = data.header(given, data.UPSTREAM, HELLO, source=source,
                             target=target)
        assert session.refused_stream(given, opened, HELLO) == reason


# Asking for data connections.

BAD_REQUESTS = [
    {"First": 0, "Count": 1, "Mode": 0}, {"First": 1, "Count": 0, "Mode": 0},
    {"First": 1, "Count": 1025, "Mode": 0},
    {"First": 1, "Count": 1, "Mode": 2},
    {"First": 2 ** 53, "Count": 1, "Mode": 0},
    {"First": 2 ** 53 - 1, "Count": 2, "Mode": 0},
    {"First": -1, "Count": 1, "Mode": 0}, {"Count": 1}, [], None, "x"]


def test_bad_requests_for_connections(visit):
    """Refused, or the session ends; no connection comes."""
    session = visit.session
    for request in BAD_REQUESTS:
        try:
            answer = session.mux.request(muxado.DATA_CONNECTIONS, request)
        except (AssertionError, OSError):
            answer = None
        assert answer is None or answer.get("Error") or \
            not session.mux.alive(), (request, answer)
        assert session.directs.empty(), request
        if not session.mux.alive():
            session = visit.edge.session(timeout=40)
            session.message("Bind")


def test_an_address_in_a_message(visit):
    """It is no address to go to."""
    visit.session.mux.request(muxado.DATA_CONNECTIONS, {
        "First": 1, "Count": 1, "Mode": 0, "Address": "192.0.2.1:443"})
    direct = visit.session.direct()
    assert direct.counter == 1
    direct.close()


def test_a_thousand_connections_and_more(visit):
    """The agent holds no more than 1,024."""
    taken = 0
    for first in (1, 1001, 2001):
        try:
            answer = visit.session.mux.request(
                muxado.DATA_CONNECTIONS,
                {"First": first, "Count": 1000, "Mode": 0})
        except (AssertionError, OSError):
            break
        if answer.get("Error"):
            break
        taken += 1000
    assert taken <= 1024 or not visit.session.mux.alive()
    until(lambda: visit.session.directs.qsize() >= min(taken, 1000) or
          not visit.session.mux.alive(), 30, "the connections")
    assert visit.agent.process.descriptors() < 1200
    assert visit.agent.process.alive()


# Frames.

@pytest.mark.parametrize("what, wire", [
    ("an odd stream", frame(DATA, 1001, number(3), SYN)),
    ("stream 0", frame(DATA, 0, b"abcd", SYN)),
    ("a goaway too short", frame(GOAWAY, 0, b"abc")),
    ("a reset without a code", frame(RST, 2, b"ab")),
    ("a window of three bytes", frame(WNDINC, 2, b"abc")),
    ("an unknown type", frame(9, 0, b"abc")),
    ("a huge frame", frame(15, 0, b"", length=(1 << 24) - 1)),
])
def test_frames_that_end_a_session(visit, what, wire):
    """The agent leaves, and comes back."""
    visit.session.mux.raw(wire)
    visit.session.mux.wait_dead(5)
    again = visit.edge.session()
    again.message("Auth")
    assert visit.agent.process.alive()


def test_types_that_an_edge_may_not_open(visit):
    for kind in (0, 1, 2, 7, 8, 77, 0xDEADBEEF):
        stream = visit.session.mux.open(kind, b'{"Id": "x"}')
        stream.shut()
        assert stream.wait_end() in ("fin", "reset"), kind
        assert b"Token" not in bytes(stream.data)
    assert visit.session.mux.alive()


@pytest.mark.parametrize("answer", [
    "nonsense", [], None, {"Id": 5}, {"URL": "tls://other.test"},
    {"Id": "x" * 65}, {"Id": ""}, {"URL": ""}])
def test_bad_answers_to_binds(scene, answer):
    """The agent does not fall over, and says so."""
    edge = StandinEdge(scene.certificates, lunette=True,
                       pair=edge_pair(scene.certificates))
    scene.agents.append(edge)
    edge.answers["Bind"] = lambda session, request, good: \
        {**good, **answer} if isinstance(answer, dict) else answer
    process = AgentProcess(scene, [edge], [endpoint(NAME, scene.greeter())])
    session = edge.session()
    session.message("Bind")
    assert session.mux.alive() or edge.session()
    assert process.process.alive()


def test_cookies_are_per_edge(scene):
    """What one edge gave is not shown to another."""
    edges = [StandinEdge(scene.certificates, lunette=True,
                         pair=edge_pair(scene.certificates))
             for _ in range(2)]
    scene.agents.extend(edges)
    AgentProcess(scene, edges, [endpoint(NAME, scene.greeter())],
                 agent={"connections": 2})
    sessions = [edge.session() for edge in edges]
    for session in sessions:
        session.message("Bind")
        session.close()
    auths = [edge.session().message("Auth") for edge in edges]
    given = [session.message("Auth") for session in sessions]
    assert auths[0]["ClientId"] != auths[1]["ClientId"]
    assert auths[0]["Extra"]["Cookie"] != auths[1]["Extra"]["Cookie"]
    assert all(g["ClientId"] == "" for g in given)


def test_an_edge_whose_session_is_dead(scene):
    """AG-12: data connections that are alive outlive it."""
    visit = Visit(scene, **QUICK)
    ways = [visit.direct(mode) for mode in (data.RAW, data.SEALED)]
    for way in ways:
        way.open(visit.opened(), after=HELLO)
        assert way.answer() == 0
        assert data.read_exactly(way.sock, len(HELLO)) == HELLO
    visit.session.mux.beats = False
    visit.session.mux.wait_dead()
    until(lambda: sum(int(e["alive"]) for e in visit.agent.log_lines()
                      if e.get("msg") == "data connections of a lost session"
                      ) == 1, 10, "the raw one was asked")
    for way in ways:
        way.sock.sendall(b"goes on")
        assert data.read_exactly(way.sock, 7) == b"goes on"


def test_a_stop_and_a_restart(visit):
    """Commands of the edge: restart is a new session with all endpoints."""
    answer = visit.session.command(muxado.RESTART, {})
    if not answer.get("Error"):
        again = visit.edge.session()
        again.message("Bind", count=2)
    last = visit.edge.sessions[-1]
    if not last.command(muxado.STOP, {}).get("Error"):
        last.mux.wait_dead()
        assert visit.agent.process.wait() == 0


def test_an_update_is_not_taken(visit):
    """Nobody replaces the agent's program over the wire."""
    try:
        answer = visit.session.command(muxado.UPDATE, {"Version": "9.9.9"})
        assert answer.get("Error")
    except ConnectionResetError:
        pass
    assert visit.agent.process.alive()
    assert visit.session.message("Auth")["Extra"]["UpdateUnsupportedError"]


def test_a_tunnel_that_is_stopped(visit):
    """The reason is shown; the others go on."""
    visit.session.mux.open(muxado.STOPTUNNEL, json.dumps({
        "Id": visit.id(), "Message": "stopped by the operator",
        "ErrorCode": "ERR_NGROK_1"}).encode()).shut()
    visit.agent.wait_log(lambda e: "stopped by the operator" in str(e))
    assert visit.session.mux.alive()
    assert visit.session.refused_stream(
        visit.id(), visit.opened(), HELLO) == UNKNOWN
