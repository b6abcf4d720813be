"""Who may connect as an agent, what it may bind, and whom it trusts."""

import hashlib
import os
import time

import pytest

from edge import lunette
from hello import hello
from standin_agent import TOKEN, Agent, Denied, LunetteAgent, pem
from standin_edge import StandinEdge
from tlspeer import Refused, client_context, connect, refusal
from tlsupstream import greet
from tunnel import BASE, HOST, OFFLINE, ONLINE, START, STOP, AgentProcess, \
    TunnelEdge, agent, edge_pair, endpoint, lunette_standin, standin
from upstream import echo
from waiting import PATIENCE, until

pytestmark = pytest.mark.hostile

NAME = "app.test"
OTHER = "another-agents-token-of-the-tests"


def hashed(token):
    return hashlib.sha256(token.encode()).hexdigest()


def refused_auth(scene, edge, kind=Agent, **options):
    """The error that this agent gets for its Auth, and its session's end."""
    made = kind(edge.port, scene.certificates.ca, **options).connect()
    scene.agents.append(made)
    with pytest.raises(Denied) as caught:
        made.auth()
    made.mux.wait_dead(5)
    return caught.value


# AG-01: tokens.

@pytest.mark.core
@pytest.mark.parametrize("kind", [Agent, LunetteAgent])
@pytest.mark.parametrize("stored", ["token", "token_sha256"])
def test_tokens_plain_and_hashed(scene, kind, stored):
    """The edge needs no more than the hash, of a token and of a proof."""
    edge = TunnelEdge(scene, tokens=[
        {"name": "other", "token": OTHER},
        {"name": "tests", stored: TOKEN if stored == "token" else
         hashed(TOKEN)}])
    made = standin(scene, edge, kind=kind)
    made.bind(NAME)
    edge.wait_online(NAME)
    start = edge.wait_told(START)
    assert "tests" in str(start) and TOKEN not in str(start)


@pytest.mark.core
@pytest.mark.parametrize("kind", [Agent, LunetteAgent])
def test_wrong_tokens(scene, kind):
    edge = TunnelEdge(scene)
    for token in ("a-wrong-token-of-the-right-kind", TOKEN[:-1], TOKEN + "x",
                  TOKEN.upper(), hashed(TOKEN)):
        error = refused_auth(scene, edge, kind, token=token)
        assert error.number == 107, error
        assert token not in str(error)
    count = 5
    if kind is Agent:
        assert refused_auth(scene, edge, token="").number in (105, 4018)
        count = 6
    edge.wait_told(STOP, count=count)
    assert not edge.told(ONLINE)
    for token in ("a-wrong-token", TOKEN, hashed(TOKEN)):
        assert token not in edge.raw_log()


def test_a_proof_is_good_in_its_session_alone(scene):
    """What was heard of one session is worth nothing in another."""
    edge = TunnelEdge(scene)
    first = lunette_standin(scene, edge)
    heard = first.said()
    second = LunetteAgent(edge.port, scene.certificates.ca).connect()
    scene.agents.append(second)
    with pytest.raises(Denied) as caught:
        second.auth(extra=heard)
    assert caught.value.number == 107
    assert first.mux.alive()


def test_a_stolen_hash_is_no_token(scene):
    """Who has the edge's file, with hashes, cannot connect by them."""
    edge = TunnelEdge(scene, tokens=[
        {"name": "tests", "token_sha256": hashed(TOKEN)}])
    for kind in (Agent, LunetteAgent):
        error = refused_auth(scene, edge, kind, token=hashed(TOKEN))
        assert error.number == 107, error
    edge.wait_told(STOP, count=2)


def test_guessing_is_slowed_down(scene):
    """Many failures from one address are not even looked at; others are."""
    edge = TunnelEdge(scene)
    began, limited = time.monotonic(), None
    for count in range(200):
        made = Agent(edge.port, scene.certificates.ca, token=f"guess-{count}"
                     "-of-the-right-length")
        try:
            made.connect().auth()
        except Denied as error:
            if error.number != 107:
                limited = str(error)
        except (Refused, OSError, AssertionError) as error:
            limited = str(error)
        made.close()
        if limited:
            break
    assert limited or time.monotonic() - began > 5, "200 guesses at once"


def test_messages_before_auth(scene):
    """Only SrvInfo is answered; a bind ends the session."""
    edge = TunnelEdge(scene)
    made = Agent(edge.port, scene.certificates.ca).connect()
    scene.agents.append(made)
    assert "Region" in made.mux.request(8, {})
    try:
        answer = made.request_bind(NAME)
        assert answer.get("Error")
    except (AssertionError, OSError):
        pass
    assert not edge.told(ONLINE)
    made.close()
    edge.wait_told(STOP)


@pytest.mark.parametrize("versions, fine", [
    (["3", "2"], True), (["2"], True), (["4", "3"], True), (["4"], False),
    ([], False), (["1"], False)])
def test_versions(scene, versions, fine):
    """AG-14: neighbours work together, others are told so."""
    edge = TunnelEdge(scene)
    made = Agent(edge.port, scene.certificates.ca).connect()
    scene.agents.append(made)
    if fine:
        made.auth(Version=versions)
        assert made.response["Version"] in versions
        return
    with pytest.raises(Denied, match="(?i)version"):
        made.auth(Version=versions)
    edge.wait_told(STOP)


# What may be bound.

@pytest.mark.core
def test_access_lists(scene):
    edge = TunnelEdge(scene, tokens=[
        {"name": "one", "token": TOKEN, "acl": [
            "bind:app.test", "bind:*.example.test", "bind:*.x.example.test"]},
        {"name": "none", "token": OTHER, "acl": []}])
    made = standin(scene, edge)
    for name in ("app.test", "APP2.example.test", "deep.er.example.test",
                 "*.example.test", "*.y.example.test"):
        made.bind(name)
    for name in ("b.test", "test", "*.test", "xapp.test", "app.test.test",
                 "example.test.b.test", "*.app.test"):
        with pytest.raises(Denied) as caught:
            made.bind(name)
        assert caught.value.number == 316, name
    assert made.mux.alive()
    random = made.bind()
    assert made.bound[random].endswith(".tunnels.test")
    other = standin(scene, edge, token=OTHER)
    with pytest.raises(Denied) as caught:
        other.bind("app.test")
    assert caught.value.number == 316
    assert other.bound[other.bind()].endswith(".tunnels.test")


@pytest.mark.core
def test_names_that_cannot_be_bound(scene):
    """Reserved ones, also through a wildcard; the edge's own; no names."""
    edge = TunnelEdge(scene, [
        {"url": "tls://own.test", "upstream": scene.greeter().address},
        {"url": "tls://*.wild.test", "upstream": scene.greeter().address}])
    made = standin(scene, edge)
    for name in (HOST, HOST.upper(), HOST + ".", "*." + HOST):
        try:
            given = made.bind(name)
        except Denied:
            continue
        # Then it must not take what belongs to the agents.
        assert name.startswith("*."), name
        made.unbind(given)
    for name, number in (("own.test", 381), ("*.wild.test", 381),
                         ("a b", 326), ("1.2.3.4", 326), ("*", 326),
                         ("a.*.test", 326), ("x" * 64 + ".test", 326),
                         ("..", 326), ("tls://", 326)):
        with pytest.raises(Denied) as caught:
            made.bind(name)
        assert caught.value.number == number, (name, caught.value)
    with pytest.raises(Denied) as caught:
        made.bind("a.test", opts={"URL": "https://a.test"})
    assert caught.value.number in (326, 332)
    with pytest.raises(Denied) as caught:
        made.bind("a.test", proto="tcp")
    assert caught.value.number == 332
    # Agents still come through.
    standin(scene, edge)


def test_a_wildcard_of_everything_takes_no_reserved_name(scene):
    """The reserved name stays the agents', whatever is bound around it."""
    edge = TunnelEdge(scene, agents={"server_names": [HOST,
                                                      "other." + HOST]})
    made = standin(scene, edge)
    try:
        made.bind("*." + HOST)
    except Denied:
        return
    for name in ("other." + HOST, "OTHER." + HOST):
        tls = connect(edge.port, client_context(), name)
        assert tls.certificate() == edge_pair(scene.certificates).der()
        tls.close()
    assert not made.taken


def test_endpoints_a_session(scene):
    edge = TunnelEdge(scene, agents={"limits": {
        "endpoints_per_session": 3, "sessions": 2}})
    made = standin(scene, edge, "a.test", "b.test", "c.test")
    with pytest.raises(Denied) as caught:
        made.bind("d.test")
    assert caught.value.number == 324
    made.unbind(next(iter(made.bound)))
    made.bind("d.test")
    standin(scene, edge)
    error = refused_auth(scene, edge)
    assert error.number == 108


def test_metadata_too_long(scene):
    edge = TunnelEdge(scene)
    made = Agent(edge.port, scene.certificates.ca).connect()
    scene.agents.append(made)
    with pytest.raises(Denied):
        made.auth(extra={"Metadata": "x" * 4097})
    other = standin(scene, edge, auth={"extra": {"Metadata": "x" * 4096}})
    assert other.mux.alive()


# AG-02: the agent looks at its edge before it says anything.

def wrong_edges(scene):
    root = scene.certificates.root
    other = scene.certificates.authority("another")
    return {
        "name": root.leaf("other.test"),
        "issuer": other.leaf(HOST),
        "expired": root.leaf(HOST, begin=-9 * 86400, end=-86400),
        "not yet": root.leaf(HOST, begin=86400, end=9 * 86400),
        "client's": root.leaf(HOST, usage="clientAuth"),
    }


@pytest.mark.parametrize("how", ["name", "issuer", "expired", "not yet",
                                 "client's"])
def test_the_agent_refuses_a_wrong_edge(scene, how):
    """And not one byte of what it knows has gone there."""
    edge = StandinEdge(scene.certificates, pair=wrong_edges(scene)[how],
                       lunette=True)
    scene.agents.append(edge)
    process = AgentProcess(scene, [edge], [endpoint(NAME, scene.greeter())])
    said = process.wait_log(lambda e: any(
        word in str(e).lower() for word in
        ("certificate", "mismatch", "purpose")), timeout=10)
    if how in ("expired", "not yet"):
        assert how in str(said), said
    until(lambda: edge.failed, 5, "the alert")
    assert not edge.sessions
    assert process.process.alive(), "it goes on trying"


def test_an_edge_without_our_alpn(scene):
    """Another TLS server at the edge's address gets nothing either."""
    edge = StandinEdge(scene.certificates,
                       pair=edge_pair(scene.certificates))
    scene.agents.append(edge)
    process = AgentProcess(scene, [edge], [endpoint(NAME, scene.greeter())])
    process.wait_log(lambda e: "does not speak our protocol" in
                     e.get("error", ""), timeout=10)
    assert not any(s.messages for s in edge.sessions)


def test_no_older_tls(scene):
    edge = StandinEdge(scene.certificates, version="1.2",
                       pair=edge_pair(scene.certificates), alpn=["lunette/1"])
    scene.agents.append(edge)
    AgentProcess(scene, [edge], [endpoint(NAME, scene.greeter())])
    until(lambda: edge.failed, 10, "a refused handshake")
    assert not edge.sessions


def test_a_pinned_edge(scene):
    """sha256:HEX instead of a CA: this certificate and no other."""
    pair = edge_pair(scene.certificates)
    edge = TunnelEdge(scene)
    agent(scene, edge, endpoint(NAME, scene.greeter()), agent={
        "connect_cas": "sha256:" + pair.fingerprint()})
    other = AgentProcess(scene, [edge], [endpoint("b.test", scene.greeter())],
                         agent={"connect_cas": "sha256:" + "0" * 64})
    other.wait_log(lambda e: "certificate" in str(e).lower() or
                   "sha256" in str(e).lower(), timeout=10)
    assert not edge.told(ONLINE, "tls://b.test")


def test_the_token_does_not_cross_the_wire(scene):
    """Not even inside TLS: the edge sees a proof."""
    edge = StandinEdge(scene.certificates, lunette=True,
                       pair=edge_pair(scene.certificates))
    scene.agents.append(edge)
    AgentProcess(scene, [edge], [endpoint(NAME, scene.greeter())])
    session = edge.session()
    auth = session.message("Auth")
    assert TOKEN not in str(auth)
    assert not auth["Extra"].get("AuthToken")
    assert edge.proves(session, auth, TOKEN)
    assert not edge.proves(session, auth, OTHER)


def test_a_wrong_token_ends_the_command(scene):
    """Trying for ever would tell nobody; a file's agent goes on, and says
    so."""
    edge = TunnelEdge(scene, tokens=[{"name": "other", "token": OTHER}])
    token = scene.write("token", TOKEN)
    os.chmod(token, 0o600)
    shown = lunette("tls", "443", "--edge", edge.address, "--authtoken-file",
                    token, "--connect-cas", scene.certificates.ca,
                    env={"STATE_DIRECTORY": scene.path("state")})
    assert shown.returncode == 1, shown
    assert b"authtoken" in shown.stderr and TOKEN.encode() not in shown.stderr
    edge.wait_told(STOP)


@pytest.mark.parametrize("mode, fine", [(0o600, True), (0o400, True),
                                        (0o640, False), (0o604, False)])
def test_files_with_tokens_are_private(scene, mode, fine):
    edge = TunnelEdge(scene)
    edge.stop()
    os.chmod(edge.tokens, mode)
    shown = lunette("check", "-c", edge.config_path)
    assert (shown.returncode == 0) == fine, shown
    assert fine or b"chmod 600" in shown.stderr


# AG-03: revocation.

@pytest.mark.parametrize("kind", [Agent, LunetteAgent])
def test_revocation(scene, kind):
    """A token that is gone after a reload: its sessions and all that runs
    through them end within 2 s, parked connections too; others go on."""
    edge = TunnelEdge(scene, tokens=[{"name": "one", "token": TOKEN},
                                     {"name": "two", "token": OTHER}])
    upstream = scene.tls_upstream(echo, names=(NAME, "b.test"))
    made = standin(scene, edge, NAME, kind=kind,
                   script=forward(upstream.port))
    other = standin(scene, edge, "b.test", kind=kind, token=OTHER,
                    script=forward(upstream.port))
    ca = scene.certificates.ca
    ours = [scene.connect(edge, client_context(ca), NAME) for _ in range(20)]
    theirs = scene.connect(edge, client_context(ca), "b.test")
    edge.set_tokens([{"name": "two", "token": OTHER}])
    began = time.monotonic()
    assert edge.reload_raw()[0]
    made.mux.wait_dead(2)
    for tls in ours:
        assert tls.read_all()[1] in ("fin", "reset")
    assert time.monotonic() - began < 2 * PATIENCE
    edge.wait_offline(NAME)
    for link in getattr(made, "links", []):
        assert link.opened or link.is_closed(), "parked ones end too"
    theirs.sendall(b"x")
    assert theirs.read(1) == b"x" and other.mux.alive()
    assert refused_auth(scene, edge, kind).number in (107, 300)
    theirs.close()
    edge.wait_events(21)


def forward(port):
    """An agent's script: to an upstream of ours."""
    import socket
    import threading

    def script(carried):
        far = socket.create_connection(("127.0.0.1", port))

        def back():
            try:
                while block := far.recv(65536):
                    carried.sock.sendall(block)
                carried.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        threading.Thread(target=back, daemon=True).start()
        try:
            while block := carried.sock.recv(65536):
                far.sendall(block)
            far.shutdown(socket.SHUT_WR)
        except (OSError, AssertionError, Exception):  # whatever ended it
            far.close()
    return script


def test_a_narrower_list_after_a_reload(scene):
    """What it may no longer bind goes offline; the session stays."""
    edge = TunnelEdge(scene, tokens=[
        {"name": "one", "token": TOKEN, "acl": ["bind:*.test"]}])
    made = standin(scene, edge, "a.test", "b.test")
    edge.set_tokens([{"name": "one", "token": TOKEN,
                      "acl": ["bind:a.test"]}])
    assert edge.reload_raw()[0]
    edge.wait_offline("b.test")
    assert made.mux.alive()
    with pytest.raises(Denied):
        made.bind("b.test")


def test_a_chosen_name_is_no_random_one(scene):
    """A name of the form of random ones goes with its rule, a given one
    stays."""
    chosen = "sixteen-letters1." + BASE
    edge = TunnelEdge(scene, tokens=[
        {"name": "one", "token": TOKEN, "acl": [f"bind:*.{BASE}"]}])
    made = standin(scene, edge, chosen)
    given = made.bound[made.bind()]
    edge.set_tokens([{"name": "one", "token": TOKEN, "acl": ["bind:a.test"]}])
    assert edge.reload_raw()[0]
    edge.wait_offline(chosen)
    assert not edge.told(OFFLINE, "tls://" + given)
    with pytest.raises(Denied):
        made.bind(chosen)


def test_the_edges_key_stays_there(scene):
    """What is sent for termination at the edge comes back only to SDKs, which
    bind by it after a reconnect, and is in no log."""
    edge = TunnelEdge(scene)
    pair = scene.certificates.pair(NAME)
    made = lunette_standin(scene, edge)
    answer = made.request_bind(NAME, opts={"TLSTermination": {
        "cert": pem(pair.crt), "key": pem(pair.key)}})
    assert not answer.get("Error"), answer
    assert pem(pair.key) not in str(answer)
    with open(pair.key) as f:
        line = f.read().splitlines()[1]
    assert line not in edge.raw_log()


def test_an_agents_name_is_no_endpoint(scene):
    """A reserved name with another ALPN is refused (120), a client of it
    never reaches an endpoint, not even the default one."""
    upstream = scene.upstream(greet)
    edge = TunnelEdge(scene, [{"url": "tls://d.test",
                               "upstream": upstream.address}],
                      edge={"default_endpoint": "tls://d.test"})
    assert refusal(edge.port, client_context(alpn=["h2"]), HOST) == 120
    assert refusal(edge.port, client_context(alpn=["acme-tls/1"]),
                   HOST) == 120
    assert refusal(edge.port, client_context(alpn=["lunette-data/1", "h2"]),
                   HOST) == 120
    client = scene.client(edge)
    client.send(hello(HOST, protocols=(b"http/1.1",)))
    client.read_all()
    assert not upstream.arrivals
