"""An unmodified agent SDK from npm at a Lunette edge."""

import signal
import time

import pytest

import proxyheader
from agentsdk import SdkError
from standin_agent import TOKEN
from tlspeer import client_context, connect, greeted, refusal
from tlsupstream import greet
from tunnel import BASE, HOST, START, STOP, TunnelEdge, agent, endpoint, \
    standin
from upstream import echo
from waiting import PATIENCE, until
from wire import Wire

NAME = "app.test"


def online(scene, sdk, edge, **options):
    """A process with a session at this edge."""
    process = sdk()
    process.connect(f"{HOST}:{edge.port}", scene.certificates.ca,
                    options.pop("token", TOKEN), **options)
    return process


def listen(process, upstream, name=NAME, **options):
    options.setdefault("domain", name)
    return process.listen("tcp://" + upstream.address, **options)


def text_of(path):
    with open(path) as f:
        return f.read()


@pytest.mark.core
def test_passthrough(scene, sdk):
    edge = TunnelEdge(scene)
    upstream = scene.tls_upstream(names=(NAME,))
    process = online(scene, sdk, edge, metadata="of the session")
    listener = listen(process, upstream, metadata="of the listener")
    assert listener["url"] == "tls://" + NAME
    assert listener["metadata"] == "of the listener"
    edge.wait_online(NAME)
    tls = scene.greeted(edge, client_context(scene.certificates.ca), NAME)
    assert tls.certificate() == scene.certificates.pair(NAME).der()
    tls.close()
    event = edge.wait_events(1)[0]
    assert event["endpoint"]["url"] == "tls://" + NAME
    assert event["endpoint"]["terminate_at"] == "upstream"
    assert event["agent"]["transport"] == "stream"
    start = edge.wait_told(START)
    assert "ngrok-javascript/1.7.0" in str(start)
    assert "of the session" in str(start)


@pytest.mark.parametrize("own", [True, False])
def test_termination(scene, sdk, own):
    """With a certificate sent by the application, or with the edge's."""
    theirs, ours = (scene.certificates.root.leaf(NAME) for _ in range(2))
    edge = TunnelEdge(scene, certificates=[theirs])
    upstream = scene.greeter()
    process = online(scene, sdk, edge)
    listen(process, upstream, termination={
        "crt": text_of(ours.crt) if own else "",
        "key": text_of(ours.key) if own else ""})
    edge.wait_online(NAME)
    tls = scene.greeted(edge, client_context(scene.certificates.ca), NAME)
    assert tls.certificate() == (ours if own else theirs).der()
    tls.sendall(b"plain at the upstream")
    arrival = upstream.next()
    assert arrival.wait_bytes(21) == b"plain at the upstream"
    tls.close()
    event = edge.wait_events(1)[0]
    assert event["endpoint"]["terminate_at"] == "edge"
    assert event["tls"]["version"] == "1.3"


def test_a_pair_that_does_not_fit(scene, sdk):
    edge = TunnelEdge(scene)
    one, two = (scene.certificates.root.leaf(NAME) for _ in range(2))
    process = online(scene, sdk, edge)
    with pytest.raises(SdkError, match="ERR_NGROK_14001"):
        listen(process, scene.greeter(), termination={
            "crt": text_of(one.crt), "key": text_of(two.key)})


def test_addresses(scene, sdk):
    edge = TunnelEdge(scene)
    upstream = scene.tls_upstream(names=(NAME,))
    process = online(scene, sdk, edge)
    listen(process, upstream, allow=["127.0.0.0/8", "::1/128"],
           deny=["127.0.0.9/32"])
    edge.wait_online(NAME)
    context = client_context(scene.certificates.ca)
    greeted(edge.port, context, NAME, source="127.0.0.8").close()
    assert refusal(edge.port, context, NAME, source="127.0.0.9") == 49
    allowed, denied = edge.wait_events(2)
    assert allowed["ip_policy"]["decision"] == "allow"
    assert denied["ip_policy"]["decision"] == "block"
    assert upstream.count() == 1


@pytest.mark.parametrize("options, number", [
    ({"deny": ["10.0.0.0/8"]}, 393),
    ({"allow": ["10.0.0.0/33"]}, 362),
    ({"traffic_policy": '{"on_tcp_connect": []}'}, 9026),
    ({"mutual": "-----BEGIN nothing"}, 14002),
])
def test_binds_that_are_refused(scene, sdk, options, number):
    edge = TunnelEdge(scene)
    process = online(scene, sdk, edge)
    if "mutual" in options:
        pair = scene.certificates.pair(NAME)
        options = {**options, "termination": {"crt": text_of(pair.crt),
                                              "key": text_of(pair.key)}}
    with pytest.raises(SdkError) as caught:
        listen(process, scene.greeter(), **options)
    said = str(caught.value)
    assert f"ERR_NGROK_{number}" in said or number == 362 or \
        number == 14002 and "ERR_NGROK_169" in said, said
    assert not edge.told("endpoint_online.v0")


def test_other_protocols_are_refused(scene, sdk):
    edge = TunnelEdge(scene)
    process = online(scene, sdk, edge)
    for proto in ("tcp", "http"):
        with pytest.raises(SdkError, match="tls"):
            process.listen("tcp://127.0.0.1:9", proto=proto)


def test_mutual_tls_at_the_edge(scene, sdk):
    edge = TunnelEdge(scene)
    wire = Wire(edge.port)
    scene.agents.append(wire)
    pair = scene.certificates.pair(NAME)
    process = online(scene, sdk, wire)
    listen(process, scene.greeter(), mutual=text_of(
        scene.certificates.authority("clients").crt), termination={
            "crt": text_of(pair.crt), "key": text_of(pair.key)})
    edge.wait_online(NAME)
    ca = scene.certificates.ca
    good = scene.certificates.client()
    stranger = scene.certificates.client("x", authority="strangers")

    def check():
        greeted(edge.port, client_context(ca, cert=good), NAME).close()
        assert refusal(edge.port, client_context(ca), NAME) == 116
        assert refusal(edge.port, client_context(ca, cert=stranger),
                       NAME) == 48
    check()
    # A reconnect binds with it again (the published agent once did not).
    edge.wait_told(START)
    before = len(edge.told(START))
    wire.cut()
    edge.wait_told(START, count=before + 1)
    edge.wait_online(NAME, count=2)
    check()
    edge.wait_events(6)


@pytest.mark.parametrize("version", ["1", "2"])
def test_proxy_headers(scene, sdk, version):
    edge = TunnelEdge(scene)
    upstream = scene.tls_upstream(greet, names=(NAME,), proxy=True)
    process = online(scene, sdk, edge)
    listen(process, upstream, proxy_proto=version)
    edge.wait_online(NAME)
    tls = scene.greeted(edge, client_context(scene.certificates.ca), NAME,
                        source="127.0.0.5")
    header = upstream.next().header
    if version == "1":
        assert header.startswith(b"PROXY TCP4 127.0.0.5 127.0.0.1 %d %d" % (
            tls.port, edge.port))
    else:
        header = proxyheader.Header(header)
        assert (header.source, header.port) == ("127.0.0.5", tls.port)
        assert header.target_port == edge.port
    tls.close()
    edge.wait_events(1)


def test_a_taken_name(scene, sdk):
    edge = TunnelEdge(scene, [{"url": "tls://own.test",
                               "upstream": scene.greeter().address}])
    upstream = scene.tls_upstream(names=(NAME,))
    standin(scene, edge, NAME)
    process = online(scene, sdk, edge)
    with pytest.raises(SdkError, match="ERR_NGROK_334"):
        listen(process, upstream)
    with pytest.raises(SdkError, match="ERR_NGROK_334"):
        listen(process, upstream, pooling=True)
    with pytest.raises(SdkError, match="ERR_NGROK_381"):
        listen(process, upstream, "own.test")
    assert listen(process, upstream, "free.test")["url"] == "tls://free.test"


def test_pooling(scene, sdk):
    """Two applications and one of Lunette's own agents share a name."""
    edge = TunnelEdge(scene)
    words = [b"A1", b"B2", b"C3"]
    ups = [scene.tls_upstream(lambda a, w=w: greet(a, w), names=(NAME,))
           for w in words]
    first, second = online(scene, sdk, edge), online(scene, sdk, edge)
    listen(first, ups[0], pooling=True)
    listen(second, ups[1], pooling=True)
    agent(scene, edge, endpoint(NAME, ups[2], pooling_enabled=True),
          online=False)
    edge.wait_bound(NAME, 3)
    context = client_context(scene.certificates.ca)

    def heard(count):
        said = set()
        for _ in range(count):
            tls = connect(edge.port, context, NAME)
            said.add(tls.read(2))
            tls.close()
        return said
    assert heard(12) == set(words)
    first.kill()
    edge.wait_told(STOP)
    assert heard(8) == set(words[1:])


@pytest.mark.parametrize("token", ["wrong-token-of-somebody-else", ""])
def test_a_wrong_token(scene, sdk, token):
    edge = TunnelEdge(scene)
    process = sdk()
    with pytest.raises(SdkError) as caught:
        process.connect(f"{HOST}:{edge.port}", scene.certificates.ca, token)
    assert caught.value.code in ("ERR_NGROK_107", "ERR_NGROK_105",
                                 "ERR_NGROK_4018")
    assert token not in edge.raw_log() or not token
    edge.wait_told(STOP)


def test_a_random_name(scene, sdk):
    edge = TunnelEdge(scene)
    upstream = scene.tls_upstream(names=("*." + BASE,))
    process = online(scene, sdk, edge)
    url = listen(process, upstream, domain="")["url"]
    assert url.endswith("." + BASE)
    again = listen(process, upstream, domain="")["url"]
    assert again != url and again.endswith("." + BASE)
    edge.wait_online(url)
    greeted(edge.port, client_context(scene.certificates.ca),
            url[len("tls://"):]).close()
    edge.wait_events(1)


def test_a_restart_of_the_edge(scene, sdk):
    """The same names, the random one too, and all options."""
    edge = TunnelEdge(scene)
    upstream = scene.tls_upstream(names=(NAME, "*." + BASE))
    process = online(scene, sdk, edge)
    listen(process, upstream, allow=["127.0.0.8/32"])
    url = listen(process, upstream, domain="")["url"]
    edge.wait_online(url)
    edge.stop()
    second = TunnelEdge(scene, listen=[
        {"address": f"127.0.0.1:{edge.port}"}])
    began = time.monotonic()
    # The SDK tries at once, after 2.5 s, and then only after 30 s more.
    second.wait_online(url, timeout=40)
    second.wait_online(NAME, timeout=5)
    assert time.monotonic() - began < 40 * PATIENCE
    assert process.all("disconnected")
    context = client_context(scene.certificates.ca)
    greeted(second.port, context, NAME, source="127.0.0.8").close()
    assert refusal(second.port, context, NAME, source="127.0.0.9") == 49
    greeted(second.port, context, url[len("tls://"):]).close()
    second.wait_events(3)


def test_the_application_stops_listening(scene, sdk):
    """The SDK unbinds three times; what runs goes on."""
    edge = TunnelEdge(scene)
    upstream = scene.tls_upstream(echo, names=(NAME,))
    process = online(scene, sdk, edge)
    listener = listen(process, upstream)
    edge.wait_online(NAME)
    tls = scene.connect(edge, client_context(scene.certificates.ca), NAME)
    tls.sendall(b"one")
    assert tls.read(3) == b"one"
    process.do("unlisten", listener=listener["id"])
    edge.wait_offline(NAME)
    assert refusal(edge.port, client_context(), NAME) == 112
    tls.sendall(b"two")
    assert tls.read(3) == b"two"
    assert not edge.told(STOP)
    tls.close()
    edge.wait_events(2)


def test_a_killed_application(scene, sdk):
    edge = TunnelEdge(scene)
    process = online(scene, sdk, edge)
    listen(process, scene.tls_upstream(names=(NAME,)))
    tls = scene.greeted(edge, client_context(scene.certificates.ca), NAME)
    began = time.monotonic()
    process.kill()
    edge.wait_offline(NAME)
    edge.wait_told(STOP)
    assert time.monotonic() - began < 2 * PATIENCE
    assert tls.read_all()[1] in ("fin", "reset")
    assert edge.wait_events(1)[0]["close"]["reason"] in (
        "agent_lost", "upstream_reset", "upstream_closed")


def test_an_application_that_closed_its_session(scene, sdk):
    """It says nothing and leaves TCP open: only heartbeats find it, and
    until then no client hangs."""
    edge = TunnelEdge(scene, agents={"heartbeat_interval": "500ms",
                                     "heartbeat_tolerance": "1s"})
    process = online(scene, sdk, edge)
    listen(process, scene.tls_upstream(names=(NAME,)))
    edge.wait_online(NAME)
    process.do("close")
    began = time.monotonic()
    alert = refusal(edge.port, client_context(), NAME, timeout=20)
    assert alert in (80, 112), alert
    assert time.monotonic() - began < 6 * PATIENCE
    edge.wait_told(STOP)
    edge.wait_events(1)


def test_labels(scene, sdk):
    """They are taken, and no name comes of it by itself."""
    edge = TunnelEdge(scene)
    process = online(scene, sdk, edge)
    try:
        listener = process.listen("tcp://127.0.0.1:9", labels={"k": "v"})
        assert listener["id"]
    except SdkError as error:
        assert "label" in str(error), error


def test_commands_of_the_edge(scene, sdk):
    """An edge that stops says so; the application comes back."""
    edge = TunnelEdge(scene, edge={"timeouts": {"drain": "3s"}})
    upstream = scene.tls_upstream(echo, names=(NAME,))
    process = online(scene, sdk, edge)
    listen(process, upstream)
    edge.wait_online(NAME)
    tls = scene.connect(edge, client_context(scene.certificates.ca), NAME)
    tls.sendall(b"one")
    assert tls.read(3) == b"one"
    edge.kill(signal.SIGTERM)
    tls.sendall(b"two")
    assert tls.read(3) == b"two", "the drain lets it go on"
    tls.close()
    until(lambda: process.all("disconnected"), 10, "the end of the session")
    edge.process.wait()
