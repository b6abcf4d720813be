"""Parts that die in the middle of traffic, and networks that fail: only what
ran through the dead part is lost, and names come back."""

import os
import signal
import socket
import threading
import time

import pytest

import hello
from client import Client
from network import Cable
from standin_agent import Agent, LunetteAgent
from stream import Receiver, Sender
from tlspeer import Refused, client_context, greeted, refusal
from tlsupstream import greet
from tunnel import ONLINE, QUICK, START, STOP, AgentProcess, TunnelEdge, \
    agent, agent_tls, edge_pair, endpoint, lunette_standin, standin, wait_served
from upstream import Upstream, deaf, echo
from waiting import PATIENCE, SANITIZED, scaled, until
from wire import Wire

NAME, OTHER = "app.test", "other.test"
FULL = os.environ.get("LUNETTE_SOAK") == "1"


class Traffic:
    """Clients that come and go until they are told to stop."""

    def __init__(self, edge, name, count=4):
        self.edge, self.name = edge, name
        self.served = self.lost = 0
        self.running = True
        self.threads = [threading.Thread(target=self.work, daemon=True)
                        for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def work(self):
        wire = hello.hello(self.name)
        while self.running:
            try:
                with Client(self.edge.port) as client:
                    client.send(wire)
                    if client.read(len(wire)) == wire:
                        self.served += 1
                        continue
            except (OSError, AssertionError):
                pass
            self.lost += 1

    def more(self, count=20, timeout=20):
        """Waits until so many more were served."""
        goal = self.served + count
        until(lambda: self.served >= goal, timeout,
              f"{count} more served; {self.lost} lost")

    def stop(self):
        self.running = False
        for thread in self.threads:
            thread.join(30 * PATIENCE)


def held(scene, edge, name):
    """A client with an echo behind, in the middle of its talk."""
    client = scene.client(edge)
    wire = client.hello(name)
    assert client.read(len(wire)) == wire
    return client


def goes_on(client):
    client.send(b"goes on")
    assert client.read(7) == b"goes on"


def kill_9(process):
    process.expected_exit.add(-signal.SIGKILL)
    process.kill(signal.SIGKILL)
    process.process.wait()


@pytest.mark.core
def test_kill_9_of_an_agent(scene):
    edge = TunnelEdge(scene)
    upstream = scene.upstream(echo)
    first = agent(scene, edge, endpoint(NAME, upstream))
    agent(scene, edge, endpoint(OTHER, upstream))
    traffic = Traffic(edge, OTHER)
    mine, theirs = held(scene, edge, NAME), held(scene, edge, OTHER)
    began = time.monotonic()
    kill_9(first)
    edge.wait_offline(NAME)
    edge.wait_told(STOP)
    assert mine.read_all()[1] in ("eof", "reset")
    assert time.monotonic() - began < 2 * PATIENCE
    assert refusal(edge.port, client_context(), NAME) == 112
    goes_on(theirs)
    traffic.more()
    again = AgentProcess(scene, [edge], [endpoint(NAME, upstream)])
    edge.wait_online(NAME, count=2)
    goes_on(held(scene, edge, NAME))
    traffic.stop()
    assert not traffic.lost
    assert again.process.alive()


@pytest.mark.core
def test_kill_9_of_the_edge(scene):
    """Names come back, the random one as well, within the bounds of the
    reconnect."""
    edge = TunnelEdge(scene)
    upstream = scene.upstream(echo)
    process = agent(scene, edge, endpoint(NAME, upstream),
                    {"name": "r", "upstream": upstream.address},
                    online=False)
    until(lambda: len(edge.told(ONLINE)) == 2, 10, "both online")
    urls = {e["url"] for e in edge.told(ONLINE)}
    client = held(scene, edge, NAME)
    kill_9(edge)
    assert client.read_all()[1] in ("eof", "reset")
    second = TunnelEdge(scene, listen=[
        {"address": f"127.0.0.1:{edge.port}"}])
    until(lambda: len(second.told(ONLINE)) == 2, 30, "both online again")
    assert {e["url"] for e in second.told(ONLINE)} == urls
    goes_on(held(scene, second, NAME))
    assert process.process.alive()
    until(lambda: process.events(), 5, "the event at the agent")


@pytest.mark.core
@pytest.mark.parametrize("where", ["upstream", "agent", "edge"])
def test_a_dead_upstream(scene, where):
    """Each connection to it ends with an event; the client is told at once;
    other endpoints do not notice (AG-13)."""
    pair = scene.certificates.pair(NAME)
    edge = TunnelEdge(scene, certificates=[pair])
    upstream = scene.crowd()
    more = {"upstream": {}, "agent": agent_tls(pair),
            "edge": {"terminate_at": "edge"}}[where]
    process = agent(scene, edge, endpoint(NAME, upstream, **more),
                    endpoint(OTHER, scene.upstream(echo)))
    theirs = held(scene, edge, OTHER)
    context = client_context(scene.certificates.ca)
    if where == "upstream":
        mine = scene.client(edge)
        mine.hello(NAME)
    else:
        mine = scene.connect(edge, context, NAME)
        mine.sendall(b"x")
    until(lambda: upstream.open, 5, "the connection at the upstream")
    upstream.kill()
    end = mine.read_all()[1]
    assert end in ("reset", "fin"), end
    began = time.monotonic()
    if where == "upstream":
        assert refusal(edge.port, context, NAME) == 80
    else:
        with pytest.raises((Refused, AssertionError, OSError)):
            greeted(edge.port, context, NAME)
    assert time.monotonic() - began < 2 * PATIENCE
    goes_on(theirs)
    mine.close()
    events = edge.wait_events(2)
    assert events[0]["close"]["reason"] != ""
    assert any(e["close"]["reason"] == "upstream_refused"
               for e in process.wait_events(2))


def test_a_slow_upstream(scene):
    """One that takes no connection: refused by the agent's own time."""
    edge = TunnelEdge(scene)
    # A full backlog swallows what comes.
    blocked = socket.socket()
    blocked.bind(("127.0.0.1", 0))
    blocked.listen(0)
    crowd = [socket.socket() for _ in range(4)]
    for sock in crowd:
        sock.setblocking(False)
        sock.connect_ex(blocked.getsockname())
    process = agent(
        scene, edge, endpoint(NAME, f"127.0.0.1:{blocked.getsockname()[1]}"),
        endpoint(OTHER, scene.upstream(echo)),
        agent={"timeouts": {"connect": "700ms"}})
    theirs = held(scene, edge, OTHER)
    began = time.monotonic()
    assert refusal(edge.port, client_context(), NAME, timeout=20) == 80
    assert 0.5 < time.monotonic() - began < 4 * PATIENCE
    goes_on(theirs)
    assert edge.wait_events(1)[0]["close"]["detail"] == "upstream_timeout"
    assert any(e["close"]["reason"] == "upstream_timeout"
               for e in process.wait_events(1))
    for sock in [*crowd, blocked]:
        sock.close()


def test_a_name_that_does_not_resolve(scene):
    edge = TunnelEdge(scene)
    agent(scene, edge, endpoint(NAME, "no.such.name.invalid:443"))
    assert refusal(edge.port, client_context(), NAME, timeout=20) == 80
    assert edge.wait_events(1)[0]["close"]["detail"] in (
        "upstream_dns", "upstream_timeout")


@pytest.mark.parametrize("kind", ["own", "sdk like", "lunette like"])
def test_nothing_grows(scene, kind):
    """Agents that are killed and come back, with a connection each: no
    descriptor and no memory is left (AG-08)."""
    rounds = 1000 if FULL else scaled(30, 5)
    edge = TunnelEdge(scene)
    upstream = scene.upstream(echo)
    wire = Wire(edge.port)
    scene.agents.append(wire)
    if kind == "own":
        process = agent(scene, edge, endpoint(NAME, upstream),
                        agent={"edges": [wire.address]})
    base = None
    for count in range(rounds):
        if kind == "own":
            edge.wait_online(NAME, count=count + 1, timeout=40)
        else:
            made = (Agent if kind == "sdk like" else LunetteAgent)(
                wire.port, scene.certificates.ca, script=echo)
            made.connect().auth().bind(NAME)
        with Client(edge.port) as client:
            sent = client.hello(NAME)
            assert client.read(len(sent)) == sent
            wire.cut()
            client.read_all()
        if kind != "own":
            made.close()
        edge.wait_told(STOP, count=count + 1)
        if count == rounds // 3:
            base = edge.process.rss_bytes()
    wire.open = False
    until(lambda: edge.process.sockets() <= edge.base_sockets, 10,
          "no socket of a session left")
    grown = edge.process.rss_bytes() - base
    assert grown < (4 << 20) + rounds * 1024, grown
    if kind == "own":
        assert process.process.descriptors() < 80
    assert len(edge.wait_events(rounds)) == rounds


def test_many_agents(scene):
    """Many agents with ten endpoints each: what one costs the edge."""
    count = 1000 if FULL else scaled(60, 10)
    edge = TunnelEdge(scene)
    before = edge.process.rss_bytes()
    agents = [standin(scene, edge) for _ in range(count)]
    for number, made in enumerate(agents):
        for n in range(10):
            made.bind(f"e{n}.a{number}.test")
    edge.wait_told(START, count=count)
    until(lambda: len(edge.told(ONLINE)) == 10 * count, 30, "all online")
    used = (edge.process.rss_bytes() - before) / count
    assert used < (512 << 10) * (4 if SANITIZED else 1), used
    made = agents[count // 2]
    client = scene.client(edge)
    wire = client.hello(f"e5.a{count // 2}.test")
    assert client.read(len(wire)) == wire
    client.close()
    edge.wait_events(1)
    for made in agents:
        made.close()
    edge.wait_told(STOP, count=count, timeout=30)


def test_the_returns_are_spread(scene):
    """Agents that lose their edge together do not return together."""
    count = 8
    edge = TunnelEdge(scene)
    wires = [Wire(edge.port) for _ in range(count)]
    scene.agents.extend(wires)
    upstream = scene.upstream(echo)
    for number, wire in enumerate(wires):
        AgentProcess(scene, [wire], [endpoint(f"a{number}.test", upstream)],
                     agent={"workers": 1})
    edge.wait_told(START, count=count)
    before = [len(wire.passing) + wire.refused for wire in wires]
    for wire in wires:
        wire.open = False
    for wire in wires:
        wire.cut()
    began, came = time.monotonic(), {}

    def tried():
        for n, wire in enumerate(wires):
            tries = len(wire.passing) + wire.refused - before[n]
            if tries >= 2:
                came.setdefault(n, time.monotonic() - began)
        return len(came) == count
    until(tried, 20, "a second attempt of all")
    times = sorted(came.values())
    assert times[-1] - times[0] > 0.1, times
    for wire in wires:
        wire.open = True
    edge.wait_told(START, count=2 * count, timeout=40)


# A network that fails.

class Far:
    """An edge here, an agent at the end of a cable."""

    def __init__(self, scene, serves=None, **options):
        self.cable = Cable()
        try:
            pair = edge_pair(scene.certificates)
            self.edge = TunnelEdge(
                scene, listen=[{"address": self.cable.here + ":0"}],
                agents={"certificate": "agents", **QUICK},
                top={"certificates": [
                    pair.settings(name="agents"),
                    scene.certificates.pair(NAME).settings()]})
            relay = Upstream(echo, host=self.cable.here)
            scene.upstreams.append(relay)
            self.process = AgentProcess(
                scene, [f"{self.cable.here}:{self.edge.port}"],
                [endpoint(NAME, f"{self.cable.here}:{relay.port}",
                          **(serves or {}))],
                agent={"connect_cas": "sha256:" + pair.fingerprint(),
                       **QUICK, **options},
                wrapper=self.cable.inside())
        except BaseException:
            self.cable.close()
            raise
        # Closed after the agent, which is at its end.
        scene.agents.append(self.cable)

    def client(self):
        client = Client(self.edge.port, host=self.cable.here, timeout=60)
        return client


@pytest.mark.parametrize("what", ["loss", "rate"])
def test_a_bad_link(scene, what):
    """AG-12: 3 % loss, or 8 Mbit/s: all bytes arrive, and in order."""
    far = Far(scene, heartbeat_tolerance="5s")
    far.edge.wait_online(NAME)
    if what == "loss":
        far.cable.loss = 0.03
    else:
        far.cable.rate = 1e6
    size = scaled(2 << 20, 1 << 18)
    client = far.client()
    scene.clients.append(client)
    wire = client.hello(NAME)
    assert client.read(len(wire)) == wire
    sender, receiver = Sender(client.sock, size), Receiver(client.sock)
    receiver.join(60 * PATIENCE)
    assert receiver.count == size and receiver.right, receiver.end
    sender.join(5)
    assert not sender.error and not sender.is_alive()
    if what == "loss":
        assert far.cable.lost > 0
    client.close()
    far.edge.wait_events(1)
    assert not far.edge.told(STOP)


CUT = {
    "raw": ({}, {}),
    "tls": ({"terminate_at": "edge"}, {}),
    "both": ({}, {"data_encryption": "always"}),
}


def talk(far, scene, how):
    """A connection that has carried something each way: its socket."""
    if how == "tls":
        tls = scene.connect(far.edge, client_context(scene.certificates.ca),
                            NAME, host=far.cable.here)
        tls.sendall(b"x")
        assert tls.recv(1) == b"x"
        return tls
    client = far.client()
    scene.clients.append(client)
    wire = client.hello(NAME)
    assert client.read(len(wire)) == wire
    return client.sock


@pytest.mark.parametrize("talks", [False, True], ids=["idle", "talks"])
@pytest.mark.parametrize("how", CUT)
def test_a_cut_link(scene, how, talks):
    """AG-12: nothing comes through any more, and nobody is told. Both sides
    notice within the tolerance, connections are reset, not hung, also those
    that are silent themselves; later the name comes back."""
    serves, options = CUT[how]
    far = Far(scene, serves, **options)
    far.edge.wait_online(NAME)
    mine = talk(far, scene, how)
    far.cable.connected = False
    if talks:
        mine.sendall(b"in the dark")
    began = time.monotonic()
    far.edge.wait_told(STOP, timeout=15)
    far.edge.wait_offline(NAME)
    assert time.monotonic() - began < 6 * PATIENCE
    assert refusal(far.edge.port, client_context(), NAME,
                   host=far.cable.here) == 112
    mine.settimeout(10 * PATIENCE)
    with pytest.raises(ConnectionResetError):
        mine.recv(1)
    closes = [e["close"] for e in far.edge.wait_events(2)]
    assert sorted(c["reason"] for c in closes) == [
        "agent_lost", "unknown_name"], closes
    assert "silent" in [c.get("detail") for c in closes]
    until(lambda: far.process.events(), 10, "the event at the agent")
    close = far.process.events()[0]["close"]
    assert close["reason"] == "client_reset"
    if how != "both":  # there a pump stands between
        assert close["detail"] == "silent"
    far.cable.connected = True
    far.edge.wait_online(NAME, count=2, timeout=60)
    talk(far, scene, how)


def test_only_the_session_is_dead(scene):
    """Its data connections live on, also one whose client has paused."""
    edge = TunnelEdge(scene, agents=QUICK)
    made = lunette_standin(scene, edge, NAME)
    idle, paused = held(scene, edge, NAME), held(scene, edge, NAME)
    behind = [made.next(), made.next()]
    assert all(one.is_direct for one in behind)
    size = 64 << 20
    sender = Sender(paused.sock, size)  # an echo: both ways fill up
    made.mux.beats = False
    edge.wait_told(STOP, timeout=10)
    probed = "data connections of a lost session"
    until(lambda: sum(int(e["alive"]) for e in edge.log_lines()
                      if e.get("msg") == probed) == 2, 10, "both asked")
    assert sender.is_alive()
    goes_on(idle)
    receiver = Receiver(paused.sock)
    receiver.join(60 * PATIENCE)
    assert receiver.count == size and receiver.right, receiver.end


def test_a_short_cut(scene):
    """A stall shorter than the tolerance loses nothing."""
    far = Far(scene, heartbeat_tolerance="8s", heartbeat_interval="2s")
    far.edge.wait_online(NAME)
    client = far.client()
    scene.clients.append(client)
    wire = client.hello(NAME)
    assert client.read(len(wire)) == wire
    far.cable.connected = False
    client.send(b"in the dark")
    lost = far.cable.lost
    until(lambda: far.cable.lost > lost, 5, "a packet that is lost")
    far.cable.connected = True
    assert client.read(11) == b"in the dark"
    client.close()
    far.edge.wait_events(1)


# Drains, stalls and all at once.

def test_an_upstream_that_stops_reading(scene):
    """It stalls its own connection, and memory stays."""
    edge = TunnelEdge(scene)
    process = agent(scene, edge, endpoint(NAME, scene.upstream(deaf)),
                    endpoint(OTHER, scene.upstream(echo)))
    before = (edge.process.rss_bytes(), process.process.rss_bytes())
    for _ in range(5):
        client = scene.client(edge)
        client.hello(NAME)
        client.sock.settimeout(0.3)
        try:
            while True:
                client.send(b"z" * 65536)
        except OSError:
            pass
    goes_on(held(scene, edge, OTHER))
    assert edge.process.rss_bytes() < before[0] + (24 << 20)
    assert process.process.rss_bytes() < before[1] + (24 << 20)


def test_rounds_of_kills(scene):
    """Agent, upstream and wire in turn, under traffic: every connection has
    its event at the edge, and nothing is left."""
    rounds = 200 if FULL else scaled(6, 2)
    edge = TunnelEdge(scene)
    upstream = scene.upstream(echo)
    wire = Wire(edge.port)
    scene.agents.append(wire)
    steady = agent(scene, edge, endpoint(OTHER, upstream))
    traffic = Traffic(edge, OTHER, count=2)
    process = None
    for count in range(rounds):
        if process is None:
            process = AgentProcess(scene, [wire], [endpoint(NAME, upstream)],
                                   agent={"workers": 1})
        wait_raw(edge, NAME)
        with Client(edge.port) as client:
            sent = client.hello(NAME)
            client.read(len(sent))
            if count % 2:
                kill_9(process)
                process = None
            else:
                wire.cut()
            client.read_all()
        edge.wait_offline(NAME, count=count + 1)
    traffic.more()
    traffic.stop()
    assert not traffic.lost and steady.process.alive()
    assert edge.process.alive()


def wait_raw(edge, name):
    """Until an echo is behind this name."""
    wire = hello.hello(name)

    def there():
        try:
            with Client(edge.port) as client:
                client.send(wire)
                return client.read(len(wire)) == wire
        except (OSError, AssertionError):
            return False
    until(there, 40, f"an echo behind {name}")


def test_an_upstream_that_comes_back(scene):
    """The endpoint stays online while its upstream is away."""
    edge = TunnelEdge(scene)
    first = scene.tls_upstream(greet, names=(NAME,))
    agent(scene, edge, endpoint(NAME, first))
    first.stop_listening()
    assert refusal(edge.port, client_context(), NAME) == 80
    first.placeholder.close()
    port = first.port
    scene.tls_upstream(greet, names=(NAME,), port=port)
    wait_served(scene, edge, NAME)
    assert len(edge.told(ONLINE)) == 1
