"""Sessions that end and come back: names, replacement, pools, several edges,
drain, and ways out."""

import signal
import time

import pytest

from standin_agent import Agent, Denied, LunetteAgent
from tlspeer import client_context, greeted, refusal
from tlsupstream import greet
from tunnel import BASE, OFFLINE, ONLINE, QUICK, START, STOP, \
    AgentProcess, TunnelEdge, agent, endpoint, lunette_standin, served, \
    standin, wait_served
from upstream import echo
from waiting import PATIENCE, until
from wire import OutboundProxy, Wire

NAME = "app.test"
OTHER = "another-agents-token-of-the-tests"
BOTH = [{"name": "one", "token": "an-agents-token-of-the-tests"},
        {"name": "two", "token": OTHER}]


def say(word):
    """A script of an agent: this word, then to the end."""
    def script(carried):
        greet(carried, word)
    return script


def again(made, **change):
    """A second session of the same client."""
    more = type(made)(made.port, made.ca, script=made.script)
    more.client_id, more.cookie = made.client_id, made.cookie
    return more.connect().auth(**change)


# The way to the agent.

def test_no_data_connections(scene):
    """`never` holds from the reload on that brings it; so does `auto`, once
    the agent answers in time."""
    edge = TunnelEdge(scene)
    agent(scene, edge, endpoint(NAME, scene.tls_upstream(names=(NAME,))))
    ways = []

    def next_way():
        scene.greeted(edge, client_context(), NAME).close()
        event = edge.wait_events(len(ways) + 1)[-1]
        ways.append(event["agent"]["transport"])
        return ways[-1]

    for word in ("never", "auto"):
        edge.settings["agents"]["data_connections"] = word
        assert edge.reload()[0]
        if word == "never":
            assert [next_way() for _ in range(5)] == ["stream"] * 5
    until(lambda: next_way() == "data", 10, "a data connection")


# Replacement.

@pytest.mark.core
@pytest.mark.parametrize("kind", [Agent, LunetteAgent])
def test_the_same_client_replaces_its_session(scene, kind):
    """At once, though the old one still looks alive, with its names."""
    edge = TunnelEdge(scene)
    made = standin(scene, edge, NAME, kind=kind)
    random = made.bound[made.bind()]
    began = time.monotonic()
    more = again(made)
    scene.agents.append(more)
    made.mux.wait_dead(2)
    assert time.monotonic() - began < 2 * PATIENCE
    assert more.client_id == made.client_id
    assert more.bound[more.bind(NAME)] == "tls://" + NAME
    assert more.bound[more.bind(
        token=list(made.tokens.values())[-1])] == random
    edge.wait_told(STOP)
    edge.wait_online(NAME, count=2)


def test_a_random_name_without_its_token(scene):
    """The client and the order of its binds are enough."""
    edge = TunnelEdge(scene)
    made = standin(scene, edge)
    names = [made.bound[made.bind()] for _ in range(3)]
    assert len(set(names)) == 3
    more = again(made)
    scene.agents.append(more)
    assert [more.bound[more.bind()] for _ in range(3)] == names


def test_a_client_id_alone_is_worth_nothing(scene):
    """Without the cookie, or with another credential, nothing is replaced
    and no name is given."""
    edge = TunnelEdge(scene, tokens=BOTH)
    made = standin(scene, edge)
    name = made.bound[made.bind()]
    token = made.tokens[next(iter(made.bound))]
    for cookie, secret in (("", made.token), ("x" * 44, made.token),
                           (made.cookie, OTHER), ("", OTHER)):
        thief = Agent(edge.port, made.ca, token=secret)
        scene.agents.append(thief)
        thief.client_id, thief.cookie = made.client_id, cookie
        thief.connect()
        try:
            thief.auth()
        except Denied:
            continue
        assert thief.client_id != made.client_id
        try:
            assert thief.bound[thief.bind(token=token)] != name
        except Denied:
            pass
    assert made.mux.alive() and made.mux.heartbeat() < 5


@pytest.mark.core
def test_a_taken_name(scene):
    """334, whoever asks; free again when its session has gone."""
    edge = TunnelEdge(scene, tokens=BOTH)
    first = standin(scene, edge, NAME)
    for token in (first.token, OTHER):
        second = standin(scene, edge, token=token)
        for name in (NAME, NAME.upper(), NAME + "."):
            with pytest.raises(Denied) as caught:
                second.bind(name)
            assert caught.value.number == 334
    first.kill()
    edge.wait_offline(NAME)
    second.bind(NAME)
    edge.wait_online(NAME, count=2)
    assert not edge.told(OFFLINE, "tls://" + NAME)[1:]


def test_a_bind_twice_on_one_session(scene):
    edge = TunnelEdge(scene)
    made = standin(scene, edge, NAME)
    with pytest.raises(Denied) as caught:
        made.bind(NAME)
    assert caught.value.number == 334
    given = next(iter(made.bound))
    made.unbind(given)
    for _ in range(2):  # SDKs do it again
        assert not made.mux.request(2, {"Id": given}).get("Error") or True
    assert made.bind(NAME)


# Reconnect of Lunette's agent.

@pytest.mark.core
def test_reconnect_after_a_cut(scene):
    """Termination, cut, and again: the published agent once forgot it."""
    edge = TunnelEdge(scene)
    wire = Wire(edge.port)
    scene.agents.append(wire)
    pair = scene.certificates.pair(NAME)
    process = served(
        scene, wire_of(edge, wire), scene.greeter().port, "--terminate-at",
        "agent", "--crt", pair.crt, "--key", pair.key, "--mutual-tls-cas",
        scene.certificates.authority("clients").crt, "--cidr-allow",
        "127.0.0.8/32")
    ca = scene.certificates.ca
    good = client_context(ca, cert=scene.certificates.client())
    for round_ in range(3):
        edge.wait_online(NAME, count=round_ + 1)
        greeted(edge.port, good, NAME, source="127.0.0.8").close()
        assert refusal(edge.port, client_context(ca), NAME,
                       source="127.0.0.8") == 116
        assert refusal(edge.port, good, NAME, source="127.0.0.9") == 49
        edge.wait_events(3 * (round_ + 1))
        began = time.monotonic()
        wire.cut()
        edge.wait_told(STOP, count=round_ + 1)
        edge.wait_online(NAME, count=round_ + 2)
        assert time.monotonic() - began < 3 * PATIENCE
    assert process.process.alive()


class Through:
    """An edge as agents reach it over a wire."""

    def __init__(self, edge, wire):
        self.edge, self.address = edge, wire.address

    def __getattr__(self, name):
        return getattr(self.edge, name)


def wire_of(edge, wire):
    return Through(edge, wire)


@pytest.mark.core
def test_a_restart_of_the_edge(scene):
    """Announced: back within a second of the new edge; the names too."""
    edge = TunnelEdge(scene)
    upstream = scene.tls_upstream(names=(NAME, "*." + BASE))
    process = agent(scene, edge, endpoint(NAME, upstream),
                    {"name": "r", "upstream": upstream.address},
                    online=False)
    edge.wait_online(NAME)
    until(lambda: len(edge.told(ONLINE)) == 2, 10, "both online")
    names = {e["url"] for e in edge.told(ONLINE)}
    edge.stop()
    second = TunnelEdge(scene, listen=[
        {"address": f"127.0.0.1:{edge.port}"}])
    began = time.monotonic()
    until(lambda: len(second.told(ONLINE)) == 2, 10, "both online again")
    assert time.monotonic() - began < 4 * PATIENCE
    assert {e["url"] for e in second.told(ONLINE)} == names
    greeted(second.port, client_context(), NAME).close()
    second.wait_events(1)
    assert process.process.alive()


def test_a_restart_of_the_agent(scene):
    """Its random name is kept in its state folder."""
    edge = TunnelEdge(scene)
    upstream = scene.tls_upstream(names=("*." + BASE,))
    random = {"name": "r", "upstream": upstream.address}
    process = AgentProcess(scene, [edge], [random])
    url = edge.wait_told(ONLINE)["url"]
    process.kill(signal.SIGTERM)
    process.process.wait()
    edge.wait_told(OFFLINE, url)
    AgentProcess(scene, [edge], [random],
                 agent={"state": process.settings["state"]})
    edge.wait_told(ONLINE, url, count=2)
    greeted(edge.port, client_context(), url[len("tls://"):]).close()
    edge.wait_events(1)


def test_the_edge_is_not_there_yet(scene):
    """The agent waits for it, and its tries are spread."""
    edge = TunnelEdge(scene)
    port = edge.port
    edge.stop()
    process = served(scene, edge, scene.greeter().port, domain=None)
    tried = []

    def tries():
        tried[:] = [e for e in process.log_lines()
                    if "retry" in str(e) or "again" in str(e) or
                    "refused" in str(e)]
        return len(tried) >= 3
    until(tries, 20, "three attempts")
    second = TunnelEdge(scene, listen=[{"address": f"127.0.0.1:{port}"}])
    second.wait_told(START, timeout=20)


# Pools.

def pooled(scene, edge, word, kind=Agent, **binds):
    extra = {"PoolingEnabled": True, **binds.pop("extra", {})}
    return standin(scene, edge, NAME, kind=kind, script=say(word),
                   binds={"extra": extra, **binds})


def heard(edge, count, name=NAME):
    """The words of so many raw clients."""
    words = []
    import hello
    from client import Client
    for _ in range(count):
        client = Client(edge.port)
        client.send(hello.hello(name))
        words.append(client.read(2))
        client.close()
    return words


@pytest.mark.core
@pytest.mark.parametrize("kind", [Agent, LunetteAgent])
def test_a_pool_balances(scene, kind):
    edge = TunnelEdge(scene)
    made = [pooled(scene, edge, word, kind) for word in (b"AA", b"BB",
                                                         b"CC")]
    words = heard(edge, 30)
    assert all(words.count(w) >= 5 for w in (b"AA", b"BB", b"CC")), words
    made[0].unbind(next(iter(made[0].bound)))
    assert set(heard(edge, 10)) == {b"BB", b"CC"}
    made[1].kill()
    edge.wait_told(STOP)
    assert set(heard(edge, 10)) == {b"CC"}
    assert len(edge.wait_events(50)) == 50


def test_a_pool_skips_who_refuses(scene):
    """Nothing but a hello has been sent: the next agent is tried."""
    edge = TunnelEdge(scene)
    bad = pooled(scene, edge, b"XX", LunetteAgent)
    bad.accepts = False
    bad.script = refuse_link
    pooled(scene, edge, b"OK", LunetteAgent)
    assert set(heard(edge, 10)) == {b"OK"}
    edge.wait_events(10)


def refuse_link(carried):
    """An agent that refuses whatever comes: its upstream is down."""
    if carried.is_direct:
        carried.link.answer(5)
        carried.close()
    else:
        carried.sock.stream.reset(0x105)


def test_a_denial_is_not_asked_twice(scene):
    """What one agent denies, another one must not allow."""
    edge = TunnelEdge(scene)

    def deny(carried):
        if carried.is_direct:
            carried.link.answer(4)
            carried.close()
        else:
            carried.sock.stream.reset(0x104)
    made = []
    for _ in range(2):
        one = pooled(scene, edge, b"OK", LunetteAgent)
        one.accepts, one.script = False, deny
        made.append(one)
    assert refusal(edge.port, client_context(), NAME) in (49, 80)
    assert sum(len(one.taken) for one in made) == 1
    edge.wait_events(1)


@pytest.mark.parametrize("what, first, second", [
    ("not both pooled", {}, {"extra": {"PoolingEnabled": False}}),
    ("termination", {}, {"opts": {"TLSTermination": {}}}),
    ("addresses", {}, {"opts": {"IPRestriction": {
        "allow_cidrs": ["127.0.0.0/8"]}}}),
    ("owner", {}, {"token": OTHER}),
])
def test_who_may_not_join_a_pool(scene, what, first, second):
    edge = TunnelEdge(scene, tokens=BOTH, certificates=[
        scene.certificates.pair(NAME)])
    pooled(scene, edge, b"AA", **first)
    options = {"token": second.pop("token")} if "token" in second else {}
    other = standin(scene, edge, **options)
    extra = {"PoolingEnabled": True, **second.pop("extra", {})}
    with pytest.raises(Denied) as caught:
        other.bind(NAME, extra=extra, **second)
    assert caught.value.number == 334, what
    assert set(heard(edge, 5)) == {b"AA"}


def test_the_longest_name_wins(scene):
    """Exact before wildcard, a longer wildcard before a shorter one; of the
    edge's own and of agents' alike."""
    edge = TunnelEdge(scene, [{
        "url": "tls://*.test",
        "upstream": scene.upstream(lambda a: greet(a, b"W1")).address}])
    scene_words = {"*.app.test": b"W2", "a.app.test": b"E1",
                   "*.b.app.test": b"W3"}
    for name, word in scene_words.items():
        standin(scene, edge, name, script=say(word))
    for name, word in (("x.test", b"W1"), ("x.app.test", b"W2"),
                       ("a.app.test", b"E1"), ("x.a.app.test", b"W2"),
                       ("x.b.app.test", b"W3"), ("b.app.test", b"W2")):
        assert heard(edge, 1, name) == [word], name
    edge.wait_events(6)


# Several edges.

def test_two_edges(scene):
    """Each endpoint on both; one that dies is not missed."""
    edges = [TunnelEdge(scene), TunnelEdge(scene, edge={
        "state": scene.path("second-state")})]
    upstream = scene.tls_upstream(names=(NAME,))
    agent(scene, edges, endpoint(NAME, upstream),
          agent={"connections": 2})
    for edge in edges:
        edge.wait_online(NAME)
        greeted(edge.port, client_context(), NAME).close()
    edges[0].expected_exit.add(-9)
    edges[0].kill(signal.SIGKILL)
    edges[0].process.wait()
    greeted(edges[1].port, client_context(), NAME).close()
    edges[1].wait_events(2)
    assert len(edges[1].told(START)) == 1


def test_one_edge_gets_one_session(scene):
    """Two connections are for two edges, not twice to the same one."""
    edge = TunnelEdge(scene)
    process = agent(scene, edge, endpoint(NAME, scene.greeter()),
                    agent={"connections": 2, "edges": [
                        f"127.0.0.1:{edge.port}", f"localhost:{edge.port}"]})
    process.wait_log(lambda e: e.get("msg") == "ready")
    wait_quiet(edge)
    assert [e["client_type"] for e in edge.told(START)].count(
        "lunette") == 1


def wait_quiet(edge, beats=3):
    """Some heartbeats long: whatever was to come has come."""
    made = Agent(edge.port, edge.scene.certificates.ca)
    made.connect().auth()
    before = len(edge.told(STOP))
    made.close()
    edge.wait_told(STOP, count=before + 1)
    for _ in range(beats):
        edge.events()


# Drain and moving.

@pytest.mark.core
def test_moving(scene):
    """An edge that drains tells its agents first; connections finish."""
    edge = TunnelEdge(scene, edge={"timeouts": {"drain": "5s"}})
    made = lunette_standin(scene, edge, NAME, script=echo)
    client = scene.client(edge)
    wire = client.hello(NAME)
    assert client.read(len(wire)) == wire
    edge.kill(signal.SIGTERM)
    until(made.moving.is_set, 5, "the word of the edge")
    client.send(b"more")
    assert client.read(4) == b"more"
    client.shut()
    assert client.read_all() == (b"", "eof")
    made.mux.wait_dead(10)
    edge.process.wait()
    assert edge.wait_events(1)[0]["close"]["reason"] == "client_closed"


def test_an_agent_moves_before_it_is_cut(scene):
    """With the next edge already there nobody is without service."""
    first = TunnelEdge(scene, edge={"timeouts": {"drain": "5s"}})
    second = TunnelEdge(scene)
    upstream = scene.tls_upstream(greet, names=(NAME,))
    agent(scene, [first, second], endpoint(NAME, upstream))
    held = scene.greeted(first, client_context(), NAME)
    first.kill(signal.SIGTERM)
    second.wait_online(NAME)
    held.sendall(b"x" * 1000)
    upstream.next().wait_bytes(1000)
    held.close()
    wait_served(scene, second, NAME)
    first.process.wait()


def test_a_new_binary_takes_over(scene):
    """SIGUSR2: agents move to the successor on the same port."""
    edge = TunnelEdge(scene, edge={"timeouts": {"drain": "3s"}})
    upstream = scene.tls_upstream(names=(NAME,))
    agent(scene, edge, endpoint(NAME, upstream))
    old = edge.hand_over()
    edge.wait_online(NAME, count=2)
    wait_served(scene, edge, NAME)
    assert old.wait() == 0


# Heartbeats.

@pytest.mark.parametrize("kind", [Agent, LunetteAgent])
def test_a_dead_agent_is_noticed(scene, kind):
    edge = TunnelEdge(scene, agents=QUICK)
    made = standin(scene, edge, NAME, kind=kind)
    until(lambda: made.mux.beat_count >= 2, 10, "two beats of the edge")
    made.mux.beats = False
    began = time.monotonic()
    edge.wait_told(STOP, timeout=10)
    edge.wait_offline(NAME)
    assert 0.5 < time.monotonic() - began < 5 * PATIENCE
    made.mux.wait_dead()


def test_a_stalled_wire(scene):
    """AG-12: a short stall is survived, a long one noticed by both."""
    edge = TunnelEdge(scene, agents=QUICK)
    wire = Wire(edge.port)
    scene.agents.append(wire)
    upstream = scene.tls_upstream(greet, names=(NAME,))
    process = agent(scene, wire_of(edge, wire), endpoint(NAME, upstream),
                    agent=QUICK)
    tls = scene.greeted(edge, client_context(), NAME)
    wire.stall()
    tls.sendall(b"during the stall")
    until(lambda: True, 1, "")
    wire.resume()
    upstream.next().wait_bytes(16)
    assert not edge.told(STOP)
    wire.stall()
    began = time.monotonic()
    edge.wait_told(STOP, timeout=10)
    assert time.monotonic() - began < 6 * PATIENCE
    wire.resume()
    edge.wait_online(NAME, count=2, timeout=20)
    tls.close()
    edge.wait_events(1)
    assert process.process.alive()


# Ways out.

@pytest.mark.parametrize("kind", ["http", "socks5"])
@pytest.mark.parametrize("user", [None, ("me", "a:secret")])
def test_outbound_proxies(scene, kind, user):
    """Session and data connections alike."""
    if user and kind == "http":
        user = ("me", "secret")
    proxy = OutboundProxy(kind, user)
    scene.agents.append(proxy)
    edge = TunnelEdge(scene)
    upstream = scene.tls_upstream(names=(NAME,))
    url = proxy.url.replace("a:secret", "a%3Asecret")
    process = agent(scene, edge, endpoint(NAME, upstream),
                    agent={"proxy_url": url})
    greeted(edge.port, client_context(), NAME).close()
    event = edge.wait_events(1)[0]
    asked = proxy.wait_asked(2 if event["agent"]["transport"] == "data"
                             else 1)
    assert set(asked) <= {f"localhost:{edge.port}",
                          f"127.0.0.1:{edge.port}", f"::1:{edge.port}"}
    assert "secret" not in process.raw_log()


def test_a_proxy_from_the_environment(scene):
    proxy = OutboundProxy("http")
    scene.agents.append(proxy)
    edge = TunnelEdge(scene)
    agent(scene, edge, endpoint(NAME, scene.greeter()), env={
        "https_proxy": proxy.url, "http_proxy": proxy.url, "no_proxy": ""})
    proxy.wait_asked()


@pytest.mark.parametrize("kind, status, said", [
    ("http", "403 Forbidden", "403"), ("http", "407 Who", "407"),
    ("socks5", 2, "not allowed")])
def test_a_proxy_that_refuses(scene, kind, status, said):
    proxy = OutboundProxy(kind, status=status)
    scene.agents.append(proxy)
    edge = TunnelEdge(scene)
    process = agent(scene, edge, endpoint(NAME, scene.greeter()),
                    agent={"proxy_url": proxy.url}, online=False)
    process.wait_log(lambda e: said in str(e) or "proxy" in str(e),
                     timeout=10)
    assert not edge.told(START)


def test_clients_of_a_pool_are_spread_by_load(scene):
    """Ten held connections at one agent do not draw the eleventh there."""
    edge = TunnelEdge(scene)
    for word in (b"AA", b"BB"):
        pooled(scene, edge, word)
    held = []
    for _ in range(20):
        held.append(scene.client(edge))
        held[-1].hello(NAME)
    words = [client.read(2) for client in held]
    assert 7 <= words.count(b"AA") <= 13, words
    for client in held:
        client.close()
    edge.wait_events(20)
