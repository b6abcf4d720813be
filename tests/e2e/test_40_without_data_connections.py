"""Where a data connection cannot be had, or is no longer good: streams of the
session, stock, sessions and endpoints that go."""

import os
import time

import pytest

import dataconnection as data
import muxado
import tunnelpeer
from dataconnection import RAW, SEALED
from muxado import DATA_CONNECTIONS
from standin_agent import Agent, LunetteAgent
from test_36_data_connections import NAME, Visit
from tlspeer import Refused, client_context, refusal
from tunnel import STOP, TunnelEdge, lunette_standin, standin
from upstream import echo
from waiting import PATIENCE, scaled, until

pytestmark = pytest.mark.hostile

FULL = os.environ.get("LUNETTE_SOAK") == "1"


@pytest.fixture
def visit(scene):
    return Visit(scene)


pytest.mark.core
def test_without_a_connection_it_is_multiplexed(visit):
    """250 ms, then the stream; three times without any, then sealed ones are
    asked for, and at last none."""
    modes = []
    for count in range(10):
        client = visit.scene.client(visit.edge)
        wire = client.hello(NAME)
        began = time.monotonic()
        assert client.read(len(wire)) == wire  # echoed on a stream
        assert time.monotonic() - began < 2 * PATIENCE
        client.close()
        while not visit.agent.asks.empty():
            modes.append(visit.agent.asks.get()["Mode"])
        visit.events(count + 1)
    assert modes == [RAW] * 3 + [SEALED] * 3, modes
    assert all(e["agent"]["transport"] == "stream"
               for e in visit.edge.events())
    told = visit.agent.taken[0]
    assert told.header["PassthroughTLS"] is True
    assert told.opened.routing.length > 0


def test_an_idle_endpoint_has_no_stock(scene):
    """Nothing is asked for before a client comes."""
    visit = Visit(scene)
    visit.agent.mux.heartbeat()
    assert visit.agent.asks.empty()


def test_a_busy_endpoint_has_a_stock(scene):
    """Under load clients find connections that are there already."""
    edge = TunnelEdge(scene)
    made = lunette_standin(scene, edge, NAME, script=echo)
    for _ in range(scaled(100, 20)):
        client = scene.client(edge)
        wire = client.hello(NAME)
        assert client.read(len(wire)) == wire
        client.close()
    events = edge.wait_events(scaled(100, 20))
    direct = [e for e in events if e["agent"]["transport"] == "data"]
    assert len(direct) > len(events) * 0.8
    counters = [link.counter for link in made.links]
    assert len(set(counters)) == len(counters), "never twice"
    assert min(counters) == 1


def test_a_lost_session(visit):
    """Parked connections close, relaying ones go on."""
    client, wire, links = visit.client_and_links()
    visit.served(links[0], client, wire)
    parked = [link.dial() for link in links[1:]]
    visit.agent.mux.close()
    visit.edge.wait_told(STOP)
    for link in parked:
        assert link.is_closed()
    client.send(b"goes on")
    assert data.read_exactly(links[0].sock, 7) == b"goes on"
    links[0].sock.sendall(b"as well")
    assert client.read(7) == b"as well"
    client.close()
    visit.events(1)


def test_an_endpoint_that_was_unbound(visit):
    """Its parked connections serve nobody."""
    client, wire, links = visit.client_and_links()
    visit.served(links[0], client, wire)
    given = next(i for i, url in visit.agent.bound.items() if NAME in url)
    visit.agent.unbind(given)
    assert refusal(visit.edge.port, client_context(), NAME) == 112
    client.send(b"goes on")
    assert data.read_exactly(links[0].sock, 7) == b"goes on"
    client.close()
    visit.events(2)


def test_old_counters(visit):
    """Good for ten seconds, and once."""
    if not FULL:
        pytest.skip("waits ten seconds: LUNETTE_SOAK=1")
    client, _, links = visit.client_and_links()
    client.close()
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 10.5, 12, "ten seconds")
    assert links[0].dial().is_closed()


def test_what_an_sdk_is_not_offered(scene):
    """Without lunette/1 there is no session id, and nothing is asked for."""
    edge = TunnelEdge(scene)
    made = standin(scene, edge, NAME)
    assert "SessionId" not in made.response["Extra"]
    client = scene.client(edge)
    wire = client.hello(NAME)
    assert client.read(len(wire)) == wire
    client.close()
    assert all(f.payload[:4] != muxado.number(DATA_CONNECTIONS)
               for f in made.mux.seen)
    edge.wait_events(1)


@pytest.mark.parametrize("options", [
    {"alpn": "lunette/1", "version": "1.2"}, {"alpn": "h2"},
    {"alpn": "lunette/2"}])
def test_sessions_that_are_not_begun(scene, options):
    edge = TunnelEdge(scene)
    with pytest.raises(Refused):
        peer = tunnelpeer.connect(edge.port, sni="localhost",
                                  ca=scene.certificates.ca, **options)
        scene.clients.append(peer)
        assert peer.facts["alpn"] == "lunette/1"
        raise Refused(None, "TLS 1.2 is fine for SDKs alone")


def test_a_thief_of_a_preface(visit):
    """Who copied it from the wire and is first gets ciphertext, and cannot
    answer; the client is not lied to."""
    client, wire, links = visit.client_and_links()
    thief = tunnelpeer.dial(visit.edge.port)
    thief.sendall(links[0].preface)
    record = data.read_record(thief)
    assert NAME.encode() not in record and b"127.0.0.1" not in record
    late_ = links[0].dial()
    assert late_.is_closed()
    thief.sendall(b"\2\1\0\x20" + os.urandom(32) + b"HTTP/1.0 200 OK")
    got, _ = client.read_all()
    assert b"HTTP" not in got
    thief.close()
    client.close()
    assert visit.events(1)[0]["close"]["reason"] == "agent_lost"
    assert visit.agent.mux.alive()


def test_kinds_of_agents_in_one_pool(scene):
    """An SDK's and Lunette's: each in its own way."""
    edge = TunnelEdge(scene)
    pool = {"binds": {"extra": {"PoolingEnabled": True}}}
    standin(scene, edge, NAME, kind=Agent, **pool)
    standin(scene, edge, NAME, kind=LunetteAgent, **pool)
    for _ in range(10):
        client = scene.client(edge)
        wire = client.hello(NAME)
        assert client.read(len(wire)) == wire
        client.close()
    ways = {e["agent"]["transport"] for e in edge.wait_events(10)}
    assert ways == {"stream", "data"}
