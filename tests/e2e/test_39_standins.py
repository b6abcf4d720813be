"""The tests' own agents, edges and multiplexers, against each other and the
SDK: what the other tests stand on."""

import struct

import pytest

import dataconnection as data
import muxado
import tunnelpeer
from agentsdk import SdkError
from muxado import PROXY
from standin_agent import TOKEN, Agent, Denied, LunetteAgent
from standin_edge import StandinEdge
from stream import Receiver, Sender
from tunnel import HOST, edge_pair
from upstream import echo, record
from waiting import until

pytestmark = pytest.mark.fixture
NAME = "app.test"


@pytest.fixture
def edge(scene):
    made = StandinEdge(scene.certificates, pair=edge_pair(scene.certificates))
    scene.agents.append(made)
    return made


@pytest.fixture
def lunette_edge(scene):
    made = StandinEdge(scene.certificates, lunette=True,
                       pair=edge_pair(scene.certificates))
    scene.agents.append(made)
    return made


def agent_at(scene, edge, kind=Agent, **options):
    made = kind(edge.port, scene.certificates.ca, **options)
    scene.agents.append(made)
    return made.connect().auth(), edge.session()


def test_messages(scene, edge):
    agent, session = agent_at(scene, edge)
    given = agent.bind(NAME)
    assert agent.bound == {given: "tls://" + NAME}
    assert session.message("Bind")["Opts"]["Domain"] == NAME
    edge.answers["Bind"] = {"Error": "taken\n\nERR_NGROK_334\n"}
    with pytest.raises(Denied) as caught:
        agent.bind(NAME)
    assert caught.value.number == 334
    assert agent.mux.heartbeat() < 5 and session.mux.heartbeat() < 5
    agent.unbind(given)
    agent.close()
    session.mux.wait_dead()


def test_streams(scene, edge):
    """Windows, half-close, reset, several at a time."""
    agent, session = agent_at(scene, edge)
    streams = [session.proxy("ep") for _ in range(20)]
    for stream in streams:
        stream.sendall(b"x" * 200000)
        stream.shut()
    for stream in streams:
        assert stream.read_all() == (b"x" * 200000, "eof")
    stream = session.proxy("ep")
    sender, receiver = Sender(stream, 2000000), Receiver(stream)
    receiver.join(20)
    assert receiver.count == 2000000 and receiver.right and not sender.error
    agent.script = record
    held = session.proxy("ep")
    held.sendall(b"abc")
    for _ in range(21):
        agent.next()
    carried = agent.next()
    carried.wait_bytes(3)
    held.reset(7)
    assert carried.wait_end() == "reset"
    stream = session.proxy("ep")
    stream.sendall(b"abc")
    agent.next().wait_bytes(3)
    agent.mux.send(muxado.RST, stream.id, muxado.number(5))
    assert stream.wait_end() == "reset" and stream.error == 5


def test_data_connections(scene, lunette_edge):
    agent, session = agent_at(scene, lunette_edge, LunetteAgent)
    auth = session.message("Auth")
    assert lunette_edge.proves(session, auth, TOKEN)
    assert not lunette_edge.proves(session, auth, TOKEN + "x")
    for counter, mode in ((1, data.RAW), (2, data.SEALED)):
        assert session.ask(counter, 1, mode) == {"Error": ""}
        direct = session.direct()
        assert (direct.counter, direct.mode) == (counter, mode)
        direct.open(data.header("ep_1", data.UPSTREAM, b"hello"),
                    after=b"hello")
        assert direct.answer() == 0
        assert data.read_exactly(direct.sock, 5) == b"hello"
        carried = agent.next()
        assert carried.opened.source == ("192.0.2.7", 4711)
        assert carried.opened.routing.endpoint == "ep_1"
        direct.close()
    first, second = data.Keys(b"a" * 32, b"s" * 16), \
        data.Keys(b"b" * 32, b"s" * 16)
    preface = first.preface(1)
    wire = first.open(preface, data.header("ep_1"))
    with pytest.raises(ValueError):
        second.read_open(preface, wire)
    with pytest.raises(ValueError):
        first.read_open(first.preface(2), wire)
    with pytest.raises(ValueError):
        first.read_answer(preface, b"t" * 16,
                          first.answer(preface, b"s" * 16))


def test_vectors():
    """RFC 5869, test case 1; and one of our own, for whoever writes the
    other end."""
    assert data.expand(bytes.fromhex(
        "077709362c2e32df0ddc3f0dc47bba63"
        "90b6c73bb50f9c3122ec844ad7c2b3e5"),
        bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"), 42).hex() == \
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf" \
        "34007208d5b887185865"


def test_ciphers_of_mode_1(scene, lunette_edge):
    """With SHA-384 alone there is no handshake."""
    agent, session = agent_at(scene, lunette_edge, LunetteAgent,
                              direct=False)
    link = agent.link(1, data.SEALED)
    with pytest.raises(Exception):
        link.dial(ciphers="TLS_AES_256_GCM_SHA384", hash="sha384")
    assert session.directs.empty()


# What the SDK does, as far as Lunette's edge relies on it.

@pytest.fixture
def app(scene, sdk, edge):
    """The SDK's process with a session at the stand-in, and that session."""
    process = sdk()
    process.connect(f"{HOST}:{edge.port}", scene.certificates.ca)
    return process, edge.session()


def test_what_the_sdk_sends(scene, app):
    process, session = app
    extra = session.message("Auth")["Extra"]
    assert session.message("Auth")["Version"] == ["3", "2"]
    assert session.message("Auth")["ClientId"] == extra["Cookie"] == ""
    assert extra["ClientType"] == "ngrok-javascript"
    assert session.carrier.facts()["negotiated_alpn"] is None
    process.listen("tcp://127.0.0.1:9", domain=NAME, deny=["10.0.0.0/8"],
                   proxy_proto="2", pooling=True, metadata="m")
    bind = session.message("Bind")
    assert bind["Opts"]["Domain"] == NAME and bind["Id"] == ""
    assert bind["Opts"]["TLSTermination"] is None
    assert bind["Opts"]["IPRestriction"] == {"deny_cidrs": ["10.0.0.0/8"]}
    assert bind["Opts"]["ProxyProto"] == 2
    assert bind["Extra"]["PoolingEnabled"] is True
    assert bind["Extra"]["Metadata"] == "m"
    # Its ids begin at 3, and a request is not ended by FIN.
    assert min(f.stream for f in session.mux.seen if f.stream) == 3


def test_how_the_sdk_carries(scene, app):
    """A reset alone is nothing to it; FIN and then a reset is an end."""
    process, session = app
    upstream = scene.upstream(echo)
    process.listen("tcp://" + upstream.address, domain=NAME)
    stream = session.proxy(session.endpoint())
    stream.sendall(b"abc")
    assert stream.read(3) == b"abc"
    stream.shut()
    stream.reset()
    assert upstream.next().wait_end() == "eof"
    stream = session.proxy("unknown")
    assert stream.read_all() == (b"", "eof")
    upstream.stop_listening()
    stream = session.proxy(session.endpoint())
    assert stream.read_all() == (b"", "eof")
    text = b'{"Id": "%s"}' % session.endpoint().encode()
    stream = session.mux.open(PROXY, struct.pack("<Q", len(text)) + text)
    stream.read_all()
    assert session.mux.alive()


def test_how_the_sdk_comes_back(scene, edge, app):
    process, session = app
    process.listen("tcp://127.0.0.1:9", domain=NAME, allow=["10.0.0.0/8"])
    process.listen("tcp://127.0.0.1:9")
    given = dict(session.bound)
    session.mux.say_goaway(0, 0, "moving")
    session.mux.wait_dead()
    again = edge.session()
    auth = again.message("Auth")
    assert auth["ClientId"] and auth["Extra"]["Cookie"]
    again.message("Bind", count=2)
    assert {b["Id"] for b in again.all("Bind")} == set(given)
    assert all(b["Extra"]["Token"] for b in again.all("Bind"))
    assert [b["Opts"]["IPRestriction"] for b in again.all("Bind")
            if b["Opts"]["Domain"]] == [{"allow_cidrs": ["10.0.0.0/8"]}]


def test_how_the_sdk_ends(scene, edge, app):
    process, session = app
    listener = process.listen("tcp://127.0.0.1:9", domain=NAME)
    process.do("unlisten", listener=listener["id"])
    until(lambda: len(session.all("Unbind")) == 3, 10, "three unbinds")
    edge.answers["Bind"] = {"Error": "no\n\nERR_NGROK_334\n"}
    with pytest.raises(SdkError, match="ERR_NGROK_334"):
        process.listen("tcp://127.0.0.1:9", domain=NAME)
    process.kill()
    session.mux.wait_dead()


def test_the_peer_refuses_what_it_should(scene, lunette_edge):
    """A stranger's CA."""
    with pytest.raises(Exception):
        tunnelpeer.connect(lunette_edge.port, sni=HOST, alpn="lunette/1",
                           ca=scene.certificates.authority("another").crt)
