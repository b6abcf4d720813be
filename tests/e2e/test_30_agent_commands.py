"""Endpoints through a remote edge, as people start them: where TLS ends, who
is told of the real client, and what is said on the way."""

import signal

import pytest

import proxyheader
from edge import lunette
from process import run
from servers import PAGE, lines_of
from standin_agent import TOKEN
from tlspeer import client_context, connect, greeted, refusal
from tlsupstream import greet, read_header, web
from tunnel import OFFLINE, STOP, TunnelEdge, agent, agent_tls, endpoint, \
    served
from upstream import record
from waiting import until

NAME = "app.test"


def curl(edge, ca, name=NAME, source="127.0.0.1"):
    return run(["curl", "-sS", "--cacert", ca, "--interface", source,
                "--resolve", f"{name}:{edge.port}:127.0.0.1",
                f"https://{name}:{edge.port}/"])


def shown_at(edge, name=NAME):
    """The certificate that a client is shown."""
    tls = connect(edge.port, client_context(), name)
    try:
        return tls.certificate()
    finally:
        tls.close()


def header_then(script):
    """An upstream's script that takes a PROXY header first."""
    def after(arrival):
        arrival.header = read_header(arrival.sock)
        script(arrival)
    return after


@pytest.mark.core
def test_tls_ends_at_the_upstream(scene, needs):
    needs("curl", "nginx")
    edge = TunnelEdge(scene)
    port, _ = scene.servers.nginx(NAME)
    process = served(scene, edge, port, "--terminate-at", "upstream")
    answer = curl(edge, scene.certificates.ca)
    assert answer.stdout == PAGE, answer
    assert shown_at(edge) == scene.certificates.pair(NAME).der()
    event = edge.wait_events(2)[0]
    assert event["endpoint"]["url"] == "tls://" + NAME
    assert event["endpoint"]["terminate_at"] == "upstream"
    assert event["agent"]["session_id"].startswith("ts_")
    assert event["agent"]["transport"] in ("data", "stream")
    assert event["timing"]["dial_ms"] >= 0
    assert "tls" not in event
    seen = process.wait_events(2)[0]
    assert seen["edge"]["conn_id"] == event["conn"]["id"]
    assert seen["conn"]["client_ip"] == "127.0.0.1"
    assert seen["endpoint"]["terminate_at"] == "upstream"


@pytest.mark.core
def test_tls_ends_at_the_agent(scene, needs):
    needs("curl")
    edge = TunnelEdge(scene)
    upstream = scene.upstream(web)
    pair = scene.certificates.root.leaf(NAME)
    process = served(scene, edge, upstream.port, "--terminate-at", "agent",
                     "--crt", pair.crt, "--key", pair.key)
    answer = curl(edge, scene.certificates.ca)
    assert answer.stdout.startswith(b"the page"), answer
    assert b"GET / HTTP/1.1\r\n" in upstream.next().wait_bytes(20)
    assert shown_at(edge) == pair.der()
    event = edge.wait_events(2)[0]
    assert event["endpoint"]["terminate_at"] == "agent"
    assert "tls" not in event
    seen = process.wait_events(2)[0]
    assert seen["tls"]["version"] == "1.3"
    assert seen["edge"]["conn_id"] == event["conn"]["id"]


@pytest.mark.parametrize("own", [True, False])
def test_tls_ends_at_the_edge(scene, needs, own):
    """With a pair that is sent there, and with one that is there."""
    needs("curl")
    theirs, ours = (scene.certificates.root.leaf(NAME) for _ in range(2))
    edge = TunnelEdge(scene, certificates=[theirs])
    upstream = scene.upstream(web)
    more = ["--crt", ours.crt, "--key", ours.key] if own else []
    process = served(scene, edge, upstream.port, "--terminate-at=edge", *more)
    answer = curl(edge, scene.certificates.ca)
    assert answer.stdout.startswith(b"the page"), answer
    assert b"GET / HTTP/1.1\r\n" in upstream.next().wait_bytes(20)
    assert shown_at(edge) == (ours if own else theirs).der()
    event = edge.wait_events(2)[0]
    assert event["endpoint"]["terminate_at"] == "edge"
    assert event["tls"]["version"] == "1.3"
    assert event["agent"]["transport"] in ("data_tls", "stream")
    said = [line for line in process.raw_log().splitlines()
            if "private key" in line]
    assert bool(said) == own, "who sends a key away is told so"


@pytest.mark.parametrize("where", ["upstream", "agent", "edge"])
@pytest.mark.parametrize("version", [1, 2])
def test_the_upstream_is_told_of_the_client(scene, where, version):
    pair = scene.certificates.pair(NAME)
    edge = TunnelEdge(scene, certificates=[pair] if where == "edge" else [])
    if where == "upstream":
        upstream = scene.tls_upstream(greet, names=(NAME,), proxy=True)
    else:
        upstream = scene.upstream(header_then(greet))
    more = ["--crt", pair.crt, "--key", pair.key] if where == "agent" else []
    served(scene, edge, upstream.port, "--terminate-at", where,
           f"--proxy-proto={version}", *more)
    tls = scene.greeted(edge, client_context(scene.certificates.ca), NAME,
                        source="127.0.0.5")
    arrival = upstream.next()
    until(lambda: arrival.header, 5, "the header")
    header = arrival.header
    if version == 1:
        assert header == b"PROXY TCP4 127.0.0.5 127.0.0.1 %d %d\r\n" % (
            tls.port, edge.port)
    else:
        header = proxyheader.Header(header)
        assert (header.source, header.port) == ("127.0.0.5", tls.port)
        assert header.target_port == edge.port
        assert 0xF0 not in header.tlvs
    tls.close()
    assert edge.wait_events(1)[0]["conn"]["client_ip"] == "127.0.0.5"


def test_nginx_logs_the_real_client(scene, needs):
    needs("curl", "nginx")
    edge = TunnelEdge(scene)
    port, log = scene.servers.nginx(NAME, proxy_protocol=True)
    served(scene, edge, port, "--proxy-proto=2")
    answer = curl(edge, scene.certificates.ca, source="127.0.0.9")
    assert answer.stdout == PAGE, answer
    until(lambda: lines_of(log), 5, "a line of nginx")
    assert lines_of(log)[-1] == f"127.0.0.1 127.0.0.9 {NAME}"
    edge.wait_events(1)


def test_mutual_tls_at_the_agent(scene):
    """Its alerts are those of the edge: the code is the same."""
    edge = TunnelEdge(scene)
    pair = scene.certificates.pair(NAME)
    served(scene, edge, scene.greeter().port, "--terminate-at", "agent",
           "--crt", pair.crt, "--key", pair.key, "--mutual-tls-cas",
           scene.certificates.authority("clients").crt)
    ca = scene.certificates.ca
    good = scene.certificates.client()
    stranger = scene.certificates.client("x", authority="strangers")
    greeted(edge.port, client_context(ca, cert=good), NAME).close()
    assert refusal(edge.port, client_context(ca), NAME) == 116
    assert refusal(edge.port, client_context(ca, version="1.2"), NAME) == 40
    assert refusal(edge.port, client_context(ca, cert=stranger), NAME) == 48
    edge.wait_events(4)


def test_addresses_at_the_agent(scene):
    """It goes by the real client, not by the edge."""
    edge = TunnelEdge(scene)
    pair = scene.certificates.pair(NAME)
    served(scene, edge, scene.greeter().port, "--terminate-at", "agent",
           "--crt", pair.crt, "--key", pair.key,
           "--cidr-allow", "127.0.0.0/8", "--cidr-deny", "127.0.0.9/32")
    context = client_context(scene.certificates.ca)
    greeted(edge.port, context, NAME, source="127.0.0.8").close()
    assert refusal(edge.port, context, NAME, source="127.0.0.9") == 49
    refused = edge.wait_events(2)[1]
    assert refused["close"]["reason"] in ("agent_refused", "denied_ip")


def test_a_policy_at_the_agent(scene):
    """It sees the client and may narrow; it cannot send TLS to the edge."""
    edge = TunnelEdge(scene)
    pair = scene.certificates.pair(NAME)
    policy = scene.write("agent.lua", """
        local lunette = require "lunette"
        return function(conn)
          if conn.client_ip == "127.0.0.9" then
            return lunette.deny "not him"
          end
          if conn.client_ip == "127.0.0.10" then
            return { terminate_at = "edge" }
          end
          conn:log { from = conn.client_ip, sni = conn.sni }
        end
    """)
    process = agent(scene, edge, endpoint(
        NAME, scene.greeter(), policy=policy, **agent_tls(pair)))
    context = client_context(scene.certificates.ca)
    greeted(edge.port, context, NAME, source="127.0.0.8").close()
    assert refusal(edge.port, context, NAME, source="127.0.0.9") == 49
    assert refusal(edge.port, context, NAME, source="127.0.0.10") is not None
    edge.wait_events(3)
    logs = process.wait_events(3)[0]["traffic_policy"]["logs"]
    assert logs[0]["from"] == "127.0.0.8" and logs[0]["sni"] == NAME
    reasons = [e["close"]["reason"] for e in process.events()[1:]]
    assert reasons == ["denied_policy", "policy_error"], reasons


def test_reencryption_at_the_agent(scene):
    edge = TunnelEdge(scene)
    pair = scene.certificates.pair(NAME)
    upstream = scene.tls_upstream(greet)
    served(scene, edge, f"tls://127.0.0.1:{upstream.port}",
           "--terminate-at", "agent", "--crt", pair.crt, "--key", pair.key)
    tls = scene.greeted(edge, client_context(scene.certificates.ca), NAME)
    assert tls.certificate() == pair.der()
    upstream.next()
    tls.close()
    edge.wait_events(1)


@pytest.mark.core
def test_an_agent_with_a_file(scene):
    """Several endpoints, one of them a wildcard and one with a random name, on
    one session."""
    pair = scene.certificates.pair("b.app.test")
    edge = TunnelEdge(scene)
    one, two = scene.tls_upstream(names=("a.app.test",)), scene.greeter()
    three = scene.tls_upstream(names=("x.tunnels.test",))
    wild = scene.tls_upstream(names=("*.wild.test",))
    process = agent(
        scene, edge, endpoint("a.app.test", one),
        endpoint("b.app.test", two, **agent_tls(pair)),
        endpoint("*.wild.test", wild),
        {"name": "random", "upstream": three.address}, online=False)
    for name in ("a.app.test", "b.app.test", "*.wild.test"):
        edge.wait_online(name)
    until(lambda: any("tunnels.test" in str(e) for e in
                      edge.told("endpoint_online.v0")), 10, "a random name")
    context = client_context(scene.certificates.ca)
    greeted(edge.port, context, "a.app.test").close()
    greeted(edge.port, context, "b.app.test").close()
    greeted(edge.port, context, "any.wild.test").close()
    events = edge.wait_events(3)
    assert len({e["agent"]["session_id"] for e in events}) == 1
    assert process.process.alive()


def test_only_the_named_endpoints(scene):
    edge = TunnelEdge(scene)
    upstream = scene.tls_upstream(names=("a.test", "b.test"))
    process = agent(scene, edge, endpoint("a.test", upstream),
                    endpoint("b.test", upstream), names=("b.test",),
                    online=False)
    edge.wait_online("b.test")
    greeted(edge.port, client_context(), "b.test").close()
    assert refusal(edge.port, client_context(), "a.test") == 112
    edge.wait_events(2)
    process.close()
    wrong = lunette("agent", "-c", process.config_path, "c.test")
    assert wrong.returncode == 1 and b"'c.test'" in wrong.stderr, wrong


def test_a_stopped_agent_says_goodbye(scene):
    """Its names are free at once, not after a heartbeat."""
    edge = TunnelEdge(scene)
    process = served(scene, edge, scene.greeter().port)
    process.kill(signal.SIGTERM)
    assert process.process.wait() == 0
    edge.wait_offline(NAME, timeout=2)
    edge.wait_told(STOP, timeout=2)
    assert refusal(edge.port, client_context(), NAME) == 112
    edge.wait_events(1)


@pytest.mark.parametrize("how", ["environment", "flag"])
def test_where_the_token_comes_from(scene, how):
    edge = TunnelEdge(scene)
    process = served(
        scene, edge, scene.greeter().port,
        token=["--authtoken", TOKEN] if how == "flag" else [],
        env={} if how == "flag" else {"LUNETTE_AUTHTOKEN": TOKEN})
    with open(f"/proc/{process.process.pid}/cmdline", "rb") as f:
        assert TOKEN.encode() not in f.read()
    warned = "others could have seen the value of --authtoken"
    assert (warned in process.raw_log()) == (how == "flag")
    assert TOKEN not in process.raw_log()


@pytest.mark.parametrize("arguments, said", [
    (["443", "--edge", "localhost"], b"authtoken"),
    (["443", "--edge", "localhost", "--listen", ":0"], b"--listen"),
    (["443", "--authtoken-file", "/dev/null"], b"--edge"),
])
def test_wrong_usage(scene, arguments, said):
    shown = lunette("tls", *arguments,
                    env={"STATE_DIRECTORY": scene.path("state")})
    assert shown.returncode == 2 and said in shown.stderr, shown


def test_a_port_for_agents_alone(scene):
    """`serves: agents` and `serves: clients`."""
    edge = TunnelEdge(scene, listen=[
        {"address": "127.0.0.1:0", "serves": "clients"},
        {"address": "127.0.0.1:0", "serves": "agents"}])
    upstream = scene.tls_upstream(names=(NAME,))
    clients, agents = edge.ports
    process = agent(scene, edge, endpoint(NAME, upstream), agent={
        "edges": [f"localhost:{agents}"]})
    greeted(clients, client_context(), NAME).close()
    assert refusal(agents, client_context(), NAME) is None, \
        "a client is no agent: it is let in and says nothing that one would"
    process.close()
    edge.wait_told(OFFLINE)


def test_check_reads_an_agents_file(scene):
    edge = TunnelEdge(scene)
    process = agent(scene, edge, endpoint(NAME, scene.greeter()))
    shown = lunette("check", "-c", process.config_path)
    assert shown.returncode == 0, shown
    assert NAME.encode() in shown.stdout + shown.stderr
    assert TOKEN.encode() not in shown.stdout + shown.stderr
    process.endpoints[0]["terminate_at"] = "agent"
    process.write()
    shown = lunette("check", "-c", process.config_path)
    assert shown.returncode == 1 and b"no certificate" in shown.stderr


def test_a_reload_of_the_agent(scene):
    """What is new is bound, what is gone unbound, the rest undisturbed."""
    edge = TunnelEdge(scene)
    upstream = scene.tls_upstream(greet, names=("a.test", "b.test", "c.test"))
    process = agent(scene, edge, endpoint("a.test", upstream),
                    endpoint("b.test", upstream))
    held = scene.greeted(edge, client_context(), "a.test")
    process.endpoints = [endpoint("a.test", upstream),
                         endpoint("c.test", upstream)]
    process.write()
    process.kill(signal.SIGHUP)
    edge.wait_online("c.test")
    edge.wait_offline("b.test")
    assert len(edge.told("endpoint_online.v0", "tls://a.test")) == 1
    held.sendall(b"still there")
    upstream.next().wait_bytes(11)
    assert not edge.told(STOP)
    held.close()
    edge.wait_events(1)


@pytest.mark.parametrize("size", [0, 100])
def test_metadata_is_shown(scene, size):
    edge = TunnelEdge(scene)
    text = "ä\"\n" + "x" * size
    agent(scene, edge, endpoint(NAME, scene.upstream(record),
                                metadata="of the endpoint"),
          agent={"metadata": text})
    start = edge.wait_told("agent_session_start.v0")
    assert text in str(list(walk(start))) or text in list(walk(start))


def walk(value):
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, (dict, list)):
            yield from walk(inner)
        else:
            yield inner
