"""AG-05: agents that break the rules. What they send is refused and counted,
their session ends where it must, and nobody else is disturbed."""

import json
import os
import random
import struct
import time

import pytest

import hello
import muxado
from client import Client
from muxado import DATA, FIN, GOAWAY, RST, SYN, WNDINC, frame, number
from standin_agent import Agent, Denied
from tlspeer import client_context, connect, refusal
from tunnel import HOST, STOP, TunnelEdge, agent, agent_tls, endpoint, \
    lunette_standin, standin
from upstream import echo, hold
from waiting import PATIENCE, scaled, until

pytestmark = pytest.mark.hostile

NAME, QUIET = "app.test", "quiet.test"
FULL = os.environ.get("LUNETTE_SOAK") == "1"


@pytest.fixture
def pair_of(scene):
    """An edge, a hostile agent with an endpoint, and a good one with another;
    at the end the good one must have noticed nothing."""
    edge = TunnelEdge(scene)
    good = standin(scene, edge, QUIET, script=echo)
    bad = standin(scene, edge, NAME, script=echo)
    held = Client(edge.port)
    scene.clients.append(held)
    wire = held.hello(QUIET)
    assert held.read(len(wire)) == wire
    yield edge, bad
    held.send(b"still here")
    assert held.read(10) == b"still here"
    assert good.mux.alive() and good.mux.heartbeat() < 5
    held.close()
    assert edge.process.alive()


def opened(scene, edge, bad):
    """A client's connection at the bad agent: client and stream."""
    client = scene.client(edge)
    client.hello(NAME)
    carried = bad.next()
    return client, carried.sock.stream


# Frames that end the session.

HUGE = (1 << 24) - 1


@pytest.mark.core
@pytest.mark.parametrize("what, wire", [
    ("a stream of the edge's own ids", frame(DATA, 1000, b"x" * 4, SYN)),
    ("stream 0", frame(DATA, 0, b"abcd", SYN)),
    ("a goaway on a stream", frame(GOAWAY, 5, bytes(8))),
    ("a goaway too short", frame(GOAWAY, 0, b"abc")),
    ("a reset without a code", frame(RST, 3, b"ab")),
    ("a reset of stream 0", frame(RST, 0, bytes(4))),
    ("a window of three bytes", frame(WNDINC, 3, b"abc")),
    ("a window for stream 0", frame(WNDINC, 0, number(5))),
    ("an unknown type", frame(9, 0, b"abc")),
    ("the largest unknown one", frame(15, 0, b"", length=HUGE)),
    ("a huge reset", frame(RST, 3, b"", length=HUGE)),
])
def test_frames_that_end_a_session(pair_of, what, wire):
    edge, bad = pair_of
    bad.mux.raw(wire)
    bad.mux.wait_dead(5)
    edge.wait_told(STOP)
    edge.wait_offline(NAME)


@pytest.mark.core
def test_a_window_that_is_exceeded(scene, pair_of):
    """The stream is reset, or the session ended; the client is told."""
    edge, bad = pair_of
    bad.script = lambda carried: None
    client, stream = opened(scene, edge, bad)
    client.sock.setsockopt(1, 8, 4096)
    block = b"y" * 65536
    try:
        for _ in range(100):
            bad.mux.send(DATA, stream.id, block)
            if stream.end or not bad.mux.alive():
                break
    except OSError:
        pass
    until(lambda: stream.end, 10, "the end of the stream")
    client.read_all()
    assert edge.process.rss_bytes() < 200 << 20
    client.close()
    edge.wait_events(1)


@pytest.mark.parametrize("add", [0x7fffffff, 0xffffffff])
def test_a_window_that_overflows(scene, pair_of, add):
    edge, bad = pair_of
    bad.script = hold
    client, stream = opened(scene, edge, bad)
    for _ in range(4):
        try:
            bad.mux.send(WNDINC, stream.id, number(add))
        except OSError:
            break
    until(lambda: stream.end or not bad.mux.alive() or
          bad.mux.alive(), 5, "an answer")
    client.close()
    edge.wait_events(1)


def test_streams_that_are_not_there(pair_of):
    """Late frames of streams that are gone are part of life."""
    _, bad = pair_of
    for stream in (1, 3):
        bad.mux.send(WNDINC, stream, number(10))
        bad.mux.send(RST, stream, number(4))
    assert bad.mux.heartbeat() < 5
    bad.mux.send(DATA, 2 ** 30 + 1, b"nobody's")
    until(lambda: bad.mux.count(RST) or not bad.mux.alive(), 5,
          "a reset, or the end")


def test_ids_that_fall(pair_of):
    """Ours rise: an old id opened anew is an error."""
    edge, bad = pair_of
    bad.mux.heartbeat()
    bad.mux.send(DATA, 3, number(8) + b"{}", SYN | FIN)
    until(lambda: not bad.mux.alive() or bad.mux.count(RST), 5,
          "the end, or a reset")


def test_types_that_an_agent_may_not_open(pair_of):
    """An agent that wants the edge to proxy, to stop, or nothing known."""
    _, bad = pair_of
    for kind in (3, 4, 5, 6, 9, 0x4C01, 0x4C03, 77, 0xDEADBEEF):
        stream = bad.mux.open(kind, b'{"Id": "x"}')
        assert stream.wait_end(5) in ("fin", "reset"), kind
        answer = stream.read_all()[0]
        assert not answer or b"rror" in answer, answer


# Messages.

DEEP = b'{"a":' * 100000


NONSENSE = [
    b"", b"nonsense", b"[]", b"null", b'"text"', b"{", DEEP,
    b'{"Id": 5}', b'{"Opts": "no"}', b'{"Proto": "tls", "Opts": []}',
    b'{"Proto": "tls", "Opts": {"Domain": {"x": 1}}}',
    b'{"Proto": "tls", "Opts": {"Domain": "\xff\xfe"}}',
    b'{"Proto": "tls", "Opts": {"Domain": "a.test\\u0000.b.test"}}',
    b'{"Proto": "tls", "Opts": {"ProxyProto": 99}}',
    b'{"Proto": "tls", "Opts": {"ProxyProto": -1}}',
    b'{"Proto": "tls", "Opts": {"ProxyProto": 1e99}}',
    b'{"Proto": "tls", "Proto": "tls"}',
    b'{"Proto": "tls", "Opts": {"TLSTermination": {"cert": "!!"}}}',
]


def test_binds_of_nonsense(pair_of):
    edge, bad = pair_of
    for text in NONSENSE:
        stream = bad.mux.open(muxado.BIND, text)
        stream.shut()
        answer = stream.read_all(15)[0]
        assert not answer or b'"Error"' in answer, (text[:50], answer)
    assert bad.mux.alive()
    assert len(edge.told("endpoint_online.v0")) == 2


def test_a_message_without_end(pair_of):
    """More than any request can be: the stream or the session ends, and
    memory stays."""
    edge, bad = pair_of
    before = edge.process.rss_bytes()
    stream = bad.mux.open(muxado.BIND, b'{"Id": "')
    try:
        for _ in range(64):
            stream.sendall(b"x" * 65536)
    except (OSError, AssertionError):
        pass
    assert edge.process.rss_bytes() < before + (32 << 20)
    assert stream.wait_end(15) in ("fin", "reset", "dead")


def test_many_unfinished_requests(pair_of):
    """Each stream may hold a little, all together only a bounded lot."""
    edge, bad = pair_of
    before = edge.process.rss_bytes()
    try:
        for _ in range(2000):
            bad.mux.open(muxado.BIND, b'{"Id": "' + b"x" * 8000)
    except OSError:
        pass
    until(lambda: not bad.mux.alive() or bad.mux.count(RST), 10,
          "resets, or the end")
    assert edge.process.rss_bytes() < before + (64 << 20)


def test_pings_without_reading(scene):
    """An agent that asks and asks and never reads the answers."""
    edge = TunnelEdge(scene)
    made = Agent(edge.port, scene.certificates.ca)
    carrier = made.carrier()
    scene.clients.append(carrier)
    before = edge.process.rss_bytes()
    carrier.settimeout(3 * PATIENCE)
    try:
        for block in range(0, 400000, 1000):
            carrier.sendall(b"".join(
                frame(DATA, stream, number(8) + b"{}", SYN | FIN)
                for stream in range(block + 3, block + 1003, 2)))
    except OSError:
        pass
    assert edge.process.rss_bytes() < before + (64 << 20)
    carrier.close()
    edge.wait_told(STOP, timeout=30)


STRANGE = [
    b"", b"\0" * 8, b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64,
    frame(DATA, 3, number(0), SYN) + frame(DATA, 3, b"x" * 100000),
    frame(DATA, 3, number(3) + b"x" * 100, SYN)]


def test_data_before_auth(scene):
    """A stranger gets little room, and is gone soon; one that says nothing
    as well."""
    edge = TunnelEdge(scene)
    context = client_context(scene.certificates.ca)
    strangers = []
    for first in STRANGE:
        tls = scene.own(connect, edge, context, HOST, {"timeout": 30})
        tls.sendall(first)
        strangers.append(tls)
    for tls in strangers:
        try:
            tls.read_all()
        except OSError:
            pass
        tls.close()
    edge.wait_told(STOP, timeout=20, count=len(STRANGE))


def test_random_frames(scene):
    """A thousand sessions' worth of noise in a row of sessions."""
    edge = TunnelEdge(scene)
    seed = random.randrange(2 ** 32)
    chance = random.Random(seed)
    good = standin(scene, edge, QUIET, script=echo)
    for _ in range(scaled(20, 5)):
        made = Agent(edge.port, scene.certificates.ca)
        made.connect()
        if chance.random() < 0.7:
            made.auth()
        try:
            for _ in range(200):
                kind = chance.choice([DATA, DATA, RST, WNDINC, GOAWAY,
                                      chance.randrange(16)])
                stream = chance.choice([0, 1, 2, 3, 5, 7,
                                        chance.randrange(2 ** 32)])
                made.mux.send(kind, stream, chance.randbytes(
                    chance.choice([0, 4, 8, 100])), chance.randrange(16))
        except OSError:
            pass
        made.close()
    assert good.mux.heartbeat() < 5, seed
    edge.wait_told(STOP, count=scaled(20, 5), timeout=30)


# Another agent's things.

@pytest.mark.core
def test_ids_of_another_agent(scene):
    """Unbind, stop and streams by the ids of others: nothing happens."""
    edge = TunnelEdge(scene)
    good = standin(scene, edge, QUIET, script=echo)
    bad = standin(scene, edge, NAME)
    theirs = next(iter(good.bound))
    answer = bad.mux.request(muxado.UNBIND, {"Id": theirs})
    assert isinstance(answer, dict)
    with pytest.raises(Denied):
        bad.bind(QUIET, given=theirs, token=good.tokens[theirs])
    more = bad.bind("third.test", given=theirs)
    client = scene.client(edge)
    wire = client.hello(QUIET)
    assert client.read(len(wire)) == wire
    assert good.next() and not bad.taken and more
    client.close()
    edge.wait_events(1)


def test_a_bind_token_of_another_credential(scene):
    other = "another-agents-token-of-the-tests"
    edge = TunnelEdge(scene, tokens=[
        {"name": "one", "token": "an-agents-token-of-the-tests"},
        {"name": "two", "token": other}])
    good = standin(scene, edge)
    given = good.bind()
    name, token = good.bound[given], good.tokens[given]
    good.kill()
    edge.wait_told(STOP)
    bad = standin(scene, edge, token=other)
    try:
        taken = bad.bind(token=token)
        assert bad.bound[taken] != name
    except Denied as error:
        assert error.number in (None, 335)


def test_the_stalled_one_of_two_hundred(scene):
    """200 parallel connections, one of which is not read: the others do not
    notice."""
    edge = TunnelEdge(scene)
    upstream = scene.upstream(stall_or_echo)
    pair = scene.certificates.pair(NAME)
    agent(scene, edge, endpoint(NAME, upstream, **agent_tls(pair)))
    context = client_context(scene.certificates.ca)
    stuck = scene.connect(edge, context, NAME)
    stuck.sendall(b"stall")
    flood(stuck)
    others = [scene.connect(edge, context, NAME)
              for _ in range(scaled(199, 19))]
    began = time.monotonic()
    for tls in others:
        tls.sendall(b"hello" * 200)
    for tls in others:
        assert tls.read(1000) == b"hello" * 200
    assert time.monotonic() - began < 10 * PATIENCE
    for tls in others:
        tls.close()
    for arrival in upstream.arrivals:
        arrival.close()
    # Where the upstream's end was a FIN the client might go on.
    stuck.close()
    edge.wait_events(len(others) + 1, timeout=15)


def stall_or_echo(arrival):
    if arrival.read_step() and arrival.data[:5] == b"stall":
        return
    seen = 0
    while True:
        try:
            arrival.send(arrival.data[seen:])
        except OSError:
            return
        seen = len(arrival.data)
        if not arrival.read_step():
            arrival.close()
            return


def flood(tls):
    """Writes until nothing goes any more."""
    tls.sock.settimeout(1)
    try:
        while True:
            tls.sendall(b"z" * 65536)
    except OSError:
        pass
    tls.sock.settimeout(30)


def test_the_same_on_one_multiplexed_session(scene):
    """As above, but all on one TCP connection, with an agent that holds one
    stream back."""
    edge = TunnelEdge(scene)
    made = standin(scene, edge, NAME)
    made.script = hold_one
    stuck = scene.client(edge)
    stuck.hello(NAME)
    first = made.next()
    stuck.sock.settimeout(1)
    try:
        while True:
            stuck.send(b"z" * 65536)
    except OSError:
        pass
    made.script = echo
    others = [scene.client(edge) for _ in range(scaled(199, 19))]
    wires = [client.hello(NAME) for client in others]
    for client, wire in zip(others, wires):
        assert client.read(len(wire)) == wire
    assert first.sock.stream.received <= muxado.WINDOW
    stuck.reset()
    for client in others:
        client.close()
    edge.wait_events(len(others) + 1, timeout=15)


def hold_one(carried):
    """Takes no byte, so the window stays closed."""


# AG-10: many streams.

def test_open_and_reset_many(scene):
    """The last are no dearer than the first."""
    rounds = 100000 if FULL else scaled(4000, 400)
    edge = TunnelEdge(scene)
    good = standin(scene, edge, QUIET, script=echo)
    made = standin(scene, edge, NAME, script=reset_at_once)
    block = rounds // 4
    costs = []
    for _ in range(4):
        before = edge.process.cpu_seconds()
        for _ in range(block):
            client = Client(edge.port)
            client.hello(NAME)
            client.reset()
        costs.append(edge.process.cpu_seconds() - before)
    assert costs[-1] < 2 * max(costs[0], 0.05), costs
    assert good.mux.heartbeat() < 5
    assert made.mux.alive() or rounds
    until(lambda: len(edge.events()) == rounds, 60, "all events")


def reset_at_once(carried):
    try:
        carried.sock.stream.reset(0x105)
    except OSError:
        pass  # the session is at its end


def test_an_agent_opens_and_resets(scene):
    """Rapid reset from the agent's side: bounded work, no growth."""
    edge = TunnelEdge(scene)
    made = standin(scene, edge, NAME)
    before = edge.process.rss_bytes()
    count = 100000 if FULL else scaled(20000, 2000)
    wire = bytearray()
    first = made.mux.next
    for at in range(count):
        stream = first + 2 * at
        wire += frame(DATA, stream, number(8), SYN)
        wire += frame(RST, stream, number(0))
    try:
        made.mux.raw(bytes(wire))
    except OSError:
        pass
    made.mux.next = first + 2 * count
    until(lambda: not made.mux.alive() or beats(made), 30,
          "the session goes on, or ends")
    assert edge.process.rss_bytes() < before + (32 << 20)


def beats(made):
    """Whether it takes a stream of ours now."""
    try:
        return made.mux.heartbeat(30) < 30
    except OSError:
        return False


def test_a_slow_agent_costs_no_memory(scene):
    """One that reads nothing at all: what clients send stays with them."""
    edge = TunnelEdge(scene)
    made = standin(scene, edge, NAME, script=hold_one)
    before = edge.process.rss_bytes()
    clients = []
    for _ in range(20):
        client = scene.client(edge)
        clients.append(client)
        client.hello(NAME)
        made.next()
        client.sock.settimeout(0.2)
        try:
            while True:
                client.send(b"z" * 65536)
        except OSError:
            pass
    assert edge.process.rss_bytes() < before + (64 << 20)
    made.kill()
    edge.wait_events(20, timeout=15)


def test_a_headers_length_is_the_edges(scene):
    """The header that an SDK agent gets: length, JSON, and the hello."""
    edge = TunnelEdge(scene)
    made = standin(scene, edge, NAME, script=hold)
    made.mux.on_stream = None
    client = scene.client(edge, source="127.0.0.5")
    wire = hello.hello(NAME)
    client.send(wire)
    stream = made.mux.accept(muxado.PROXY)
    size = struct.unpack("<Q", stream.read(8))[0]
    header = stream.read(size)
    told = json.loads(header)
    assert told["Id"] == next(iter(made.bound))
    assert told["ClientAddr"].startswith("127.0.0.5:")
    assert told["Proto"] == "tls" and told["PassthroughTLS"] is True
    assert told["EdgeType"] == "0" and "Open" not in told
    assert stream.read(len(wire)) == wire
    client.reset()
    edge.wait_events(1)


def test_lunettes_agent_gets_no_second_session_by_force(scene):
    """A replaced session's streams are no more the old agent's."""
    edge = TunnelEdge(scene)
    made = lunette_standin(scene, edge, NAME, script=echo)
    client = scene.client(edge)
    wire = client.hello(NAME)
    assert client.read(len(wire)) == wire
    more = type(made)(made.port, made.ca)
    scene.agents.append(more)
    more.client_id, more.cookie = made.client_id, made.cookie
    more.connect().auth()
    made.mux.wait_dead(2)
    if made.links and made.taken[0].is_direct:
        client.send(b"goes on")  # relaying data connections do
        assert client.read(7) == b"goes on"
    client.close()
    edge.wait_events(1)
    assert refusal(edge.port, client_context(), NAME) == 112
