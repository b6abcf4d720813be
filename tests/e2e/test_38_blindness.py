"""What an edge can see of connections whose TLS ends elsewhere, how a user
can check it, and what an agent tells of itself."""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request

import pytest

from edge import binary, lunette
from standin_agent import TOKEN, Agent, Denied
from standin_edge import StandinEdge
from test_26_tls_secrets import memory_of
from tlspeer import client_context, greeted, refusal
from tlsupstream import greet_and_echo
from tunnel import HOST, ONLINE, START, STOP, AgentProcess, TunnelEdge, \
    agent, agent_tls, edge_pair, endpoint, standin
from upstream import echo
from waiting import SANITIZED, until
from wire import Wire

NAME = "app.test"
CANARY = b"PLAINTEXT-CANARY-4711"
SECRETS = ["CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0",
           "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
           "SERVER_HANDSHAKE_TRAFFIC_SECRET"]


def key_needles(pair):
    """The private key: its text, and its number as bytes."""
    with open(pair.key) as f:
        lines = [line for line in f.read().splitlines()
                 if line and "-----" not in line]
    raw = base64.b64decode("".join(lines))
    at = raw.index(b"\x02\x01\x01\x04\x20") + 5  # SEC 1, in PKCS #8
    return [*(line.encode() for line in lines if len(line) > 40),
            raw[at:at + 32], raw[at:at + 32][::-1]]


def secrets_of(keylog):
    with open(keylog) as f:
        return [bytes.fromhex(line.split()[2]) for line in f
                if line.split()[0] in SECRETS]


@pytest.mark.parametrize("way", ["direct", "multiplexed"])
@pytest.mark.parametrize("where", ["upstream", "agent", "edge"])
def test_what_the_edge_sees(scene, where, way):
    """Every byte that its sockets carried and all of its memory hold neither
    the plaintext nor a key of the client's TLS, nor the private key. Where
    TLS ends at the edge all of that is found, which is the control."""
    if SANITIZED:
        pytest.skip("a sanitizer's memory is too large to search")
    pair = scene.certificates.root.leaf(NAME)
    edge = TunnelEdge(scene, certificates=[pair] if where == "edge" else [])
    wire = Wire(edge.port, most=1 if way == "multiplexed" else None,
                records=True)
    front = Wire(edge.port, records=True)
    scene.agents += [wire, front]
    if where == "upstream":
        upstream = scene.tls_upstream(greet_and_echo, pair=pair)
    else:
        upstream = scene.upstream(greet_and_echo)
    more = {"upstream": {}, "agent": agent_tls(pair),
            "edge": {"terminate_at": "edge"}}[where]
    process = agent(scene, edge, endpoint(NAME, upstream, **more),
                    agent={"edges": [wire.address]})
    context = client_context(scene.certificates.ca, version="1.3")
    context.keylog_filename = scene.path("client.keys")
    tls = scene.greeted(front.port, context, NAME)
    assert tls.certificate() == pair.der()
    tls.sendall(CANARY * 100)
    assert tls.read(len(CANARY) * 100) == CANARY * 100
    memory = memory_of(edge.process.pid)
    assert len(memory) > 2 ** 20
    needles = {"plaintext": [CANARY], "secrets": secrets_of(
        scene.path("client.keys")), "key": key_needles(pair)}
    assert len(needles["secrets"]) == 4
    found = {what: any(n in memory for n in some)
             for what, some in needles.items()}
    seen = wire.bytes() + front.bytes()
    assert len(seen) > len(CANARY) * 400
    on_wire = any(n in seen for some in needles.values() for n in some)
    assert not on_wire
    if where == "edge":
        assert found["secrets"] and found["key"], "the control finds them"
    else:
        assert found == {"plaintext": False, "secrets": False,
                         "key": False}
        assert TOKEN.encode() not in seen
    tls.close()
    event = edge.wait_events(1)[0]
    assert event["endpoint"]["terminate_at"] == where
    assert process.process.alive()


def test_the_hello_goes_through_untouched(scene):
    """What the client sent is what the upstream got, byte for byte, and the
    other way round (section 5, 3)."""
    edge = TunnelEdge(scene)
    front = Wire(edge.port, records=True)
    scene.agents.append(front)
    upstream = scene.upstream(echo)
    agent(scene, edge, endpoint(NAME, upstream))
    client = scene.client(front.port)
    wire = client.hello(NAME)
    assert client.read(len(wire)) == wire
    assert bytes(front.passing[0].seen["in"]) == wire
    assert bytes(upstream.next().data) == wire
    client.close()
    edge.wait_events(1)


def test_system_calls_of_the_edge(scene):
    """The same from below: every byte that it read or wrote, by strace."""
    strace = shutil.which("strace")
    if SANITIZED or not strace:
        pytest.skip("needs strace, and no sanitizer")
    probe = subprocess.run([strace, "-o", "/dev/null", "true"], check=False,
                           capture_output=True)
    if probe.returncode:
        pytest.skip("strace may not trace here")
    trace = scene.path("strace.out")
    edge = TunnelEdge(scene, wrapper=[
        strace, "-D", "-f", "-qq", "-xx", "-s", "1000000", "-o", trace, "-e",
        "trace=read,readv,write,writev,recvfrom,recvmsg,sendto,sendmsg,"
        "splice"])
    pair = scene.certificates.pair(NAME)
    agent(scene, edge, endpoint(NAME, scene.upstream(greet_and_echo),
                                **agent_tls(pair)))
    tls = scene.greeted(edge, client_context(scene.certificates.ca), NAME)
    tls.sendall(CANARY)
    assert tls.read(len(CANARY)) == CANARY
    tls.close()
    edge.wait_events(1)
    edge.stop()
    with open(trace) as f:
        text = f.read()
    for needle in (CANARY, *key_needles(pair)):
        shown = "".join(f"\\x{byte:02x}" for byte in needle)
        assert shown not in text
    assert "".join(f"\\x{b:02x}" for b in NAME.encode()) in text, \
        "the hello is seen: the control"


def test_no_private_key_crosses_but_when_told(scene):
    """Only --terminate-at edge with a pair sends one."""
    pair = scene.certificates.pair(NAME)
    upstream = scene.upstream(greet_and_echo)
    seen = StandinEdge(scene.certificates, lunette=True,
                       pair=edge_pair(scene.certificates))
    scene.agents.append(seen)
    AgentProcess(scene, [seen], [endpoint(NAME, upstream, **agent_tls(pair))])
    session = seen.session()
    bind = json.dumps(session.message("Bind"))
    with open(pair.key, "rb") as f:
        assert base64.b64encode(f.read()[:60]).decode()[:70] not in bind
    assert session.message("Bind")["Opts"]["TLSTermination"] is None


# verify.

@pytest.mark.parametrize("honest", [True, False])
def test_verify(scene, honest):
    """It compares what the world is shown with what the agent holds; an edge
    that terminates with a certificate of its own is found out."""
    ours, theirs = (scene.certificates.root.leaf(NAME) for _ in range(2))
    edge = TunnelEdge(scene)
    process = agent(scene, edge, endpoint(NAME, scene.greeter(),
                                          **agent_tls(ours)))
    port = edge.port
    if not honest:
        port = scene.terminated(scene.greeter(), NAME,
                                certificates=[theirs.settings()]).port
    shown = lunette("verify", NAME, "--connect", f"127.0.0.1:{port}",
                    "-c", process.config_path)
    text = shown.stdout + shown.stderr
    assert ours.fingerprint().encode()[:16] in text.replace(b":", b"") \
        .lower(), shown
    if honest:
        assert shown.returncode == 0, shown
    else:
        assert shown.returncode == 1, shown
        assert theirs.fingerprint().encode()[:16] in text.replace(
            b":", b"").lower()


# diagnose.

def diagnose(scene, address, ca=None, *more):
    token = scene.write("diagnose-token", TOKEN)
    os.chmod(token, 0o600)
    return lunette("diagnose", "--edge", address, "--connect-cas",
                   ca or scene.certificates.ca, "--authtoken-file", token,
                   *more, env={"STATE_DIRECTORY": scene.path("state")})


def test_diagnose(scene):
    edge = TunnelEdge(scene)
    shown = diagnose(scene, edge.address)
    assert shown.returncode == 0, shown
    lines = shown.stdout.decode().splitlines()
    assert sum("OK" in line for line in lines) >= 4, lines
    assert not any("error" in line.lower() for line in lines)
    report = scene.path("report")
    diagnose(scene, edge.address, None, "--write-report", report)
    with open(report) as f:
        text = f.read()
    assert edge.address in text and TOKEN not in text


@pytest.mark.parametrize("what", ["nobody", "name", "ca", "no tls", "token",
                                  "no agents"])
def test_diagnose_finds_it(scene, what):
    """Each thing that would keep an agent from working: exit 1, and the line
    says which."""
    edge = TunnelEdge(scene, tokens=[{"name": "x", "token": "y" * 20}]
                      if what == "token" else None)
    address, ca, said = edge.address, None, what
    if what == "nobody":
        with socket.create_server(("127.0.0.1", 0)) as probe:
            address = f"{HOST}:{probe.getsockname()[1]}"
        said = "refused"
    elif what == "name":
        address, said = "no.such.name.invalid:443", "name"
    elif what == "ca":
        ca, said = scene.certificates.authority("another").crt, "certificate"
    elif what == "no tls":
        address = f"{HOST}:{scene.upstream(echo).port}"
        said = "tls"
    elif what == "no agents":
        address = f"{HOST}:{scene.terminated(scene.greeter(), HOST).port}"
        said = "lunette"
    shown = diagnose(scene, address, ca)
    assert shown.returncode == 1, shown
    text = (shown.stdout + shown.stderr).decode().lower()
    assert said in text, text


# The agent's web address.

def free_web():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Web:
    def __init__(self, address):
        self.base = "http://" + address

    def get(self, path, headers=None, method="GET"):
        """Status and body."""
        request = urllib.request.Request(self.base + path, method=method,
                                         headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def json(self, path):
        status, body = self.get(path)
        assert status == 200, (status, body)
        return json.loads(body)


@pytest.fixture
def web(scene):
    """An agent with a web address, and two endpoints."""
    edge = TunnelEdge(scene)
    address = free_web()
    pair = scene.certificates.pair(NAME)
    agent(scene, edge,
          endpoint(NAME, scene.greeter(), **agent_tls(pair)),
          endpoint("up.test", scene.tls_upstream(names=("up.test",))),
          agent={"web_addr": address})
    made = Web(address)
    made.edge, made.scene = edge, scene
    return made


@pytest.mark.core
def test_status_of_an_agent(web):
    status = web.json("/api/status")
    assert status["status"] == "online" and status["agent_version"]
    leg = status["session"]["legs"][0]
    assert "region" in leg and "latency" in leg
    tunnels = web.json("/api/tunnels")
    assert tunnels["uri"] == "/api/tunnels"
    by_name = {t["name"]: t for t in tunnels["tunnels"]}
    assert set(by_name) == {NAME, "up.test"}
    one = by_name[NAME]
    assert one["public_url"] == "tls://" + NAME and one["proto"] == "tls"
    assert one["config"]["addr"] and one["config"]["inspect"] is False
    assert one["metrics"]["conns"]["count"] == 0
    greeted(web.edge.port, client_context(web.scene.certificates.ca),
            NAME).close()
    web.edge.wait_events(1)
    until(lambda: web.json("/api/tunnels/" + NAME)["metrics"]["conns"][
        "count"] == 1, 5, "the connection is counted")
    ends = {e["name"]: e for e in web.json("/api/endpoints")["endpoints"]}
    assert ends[NAME]["url"] == "tls://" + NAME
    assert ends[NAME]["upstream"]["url"]
    assert ends[NAME]["terminate_at"] == "agent"
    assert ends["up.test"]["terminate_at"] == "upstream"
    assert web.get("/api/tunnels/none")[0] == 404


def test_other_requests_to_an_agent(web):
    for path in ("/nothing", "/api/nothing", "/api/../etc/passwd"):
        assert web.get(path)[0] in (404, 400), path
    for method in ("POST", "PUT", "DELETE"):
        assert web.get("/api/tunnels", method=method)[0] == 405
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil"):
        assert web.get("/api/status", {"Host": host})[0] == 403, host
    assert web.get("/api/status", {"Host": "localhost:4040"})[0] == 200
    status, page = web.get("/")
    assert status == 200 and b"tls://" + NAME.encode() in page
    assert TOKEN.encode() not in page


def test_metrics_of_an_agent(web):
    greeted(web.edge.port, client_context(), "up.test").close()
    web.edge.wait_events(1)
    status, body = web.get("/metrics")
    text = body.decode()
    assert status == 200 and "# TYPE" in text
    lines = [line for line in text.splitlines() if line[:1] != "#"]
    assert lines and all(re.fullmatch(
        r'[a-z_]+(\{[^}]*\})? [-+0-9.eE]+|[a-z_]+(\{[^}]*\})? NaN', line)
        for line in lines), lines
    assert any("up.test" in line for line in lines)


# What the edge tells.

@pytest.mark.core
def test_events_of_a_session(scene):
    edge = TunnelEdge(scene)
    made = standin(scene, edge, NAME,
                   auth={"extra": {"Metadata": "of \"ours\"\n",
                                   "Hostname": "the-host"}})
    random = made.bind()
    start = edge.wait_told(START)
    text = json.dumps(start)
    for wanted in ("127.0.0.1", "standin/1", "linux", "x86_64", "muxado"):
        assert wanted in text, (wanted, text)
    assert "of \"ours\"\n" in list(leaves(start))
    assert made.token not in text and made.cookie not in text
    session = next(v for v in leaves(start) if str(v).startswith("ts_"))
    online = edge.wait_told(ONLINE, "tls://" + NAME)
    assert session in list(leaves(online))
    assert any(str(v).startswith("ep_") for v in leaves(online))
    url = made.bound[random]
    edge.wait_told(ONLINE, url)
    made.unbind(random)
    edge.wait_offline(url)
    made.close()
    offline = edge.wait_offline(NAME)
    assert session in list(leaves(offline))
    stop = edge.wait_told(STOP)
    assert session in list(leaves(stop))
    order = [e["event_type"] for e in edge.others_seen]
    assert order[0] == START and order[-1] == STOP
    assert order.count(ONLINE) == order.count("endpoint_offline.v0") == 2


def leaves(value):
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, (dict, list)):
            yield from leaves(inner)
        else:
            yield inner


def test_each_agent_connection_has_its_stop(scene):
    """Refused ones, broken handshakes and good ones: one event each."""
    edge = TunnelEdge(scene, edge={"timeouts": {"hello": "500ms",
                                                "handshake": "1s"}})
    made = standin(scene, edge)
    made.close()
    edge.wait_told(STOP, count=1)
    assert refusal(edge.port, client_context(alpn=["h2"]), HOST) == 120
    # Whoever does not trust the edge ends the handshake himself.
    with pytest.raises(Exception):
        greeted(edge.port, client_context(
            scene.certificates.authority("another").crt), HOST)
    with pytest.raises(Denied):
        Agent(edge.port, scene.certificates.ca,
              token="a-token-that-is-wrong").connect().auth()
    edge.wait_told(STOP, count=3)
    assert len(edge.told(START)) == 1


def test_the_status_screen_says_who_can_read(scene):
    """On a terminal: where TLS ends, who can read, the agent's sessions."""
    script = shutil.which("script")
    if not script:
        pytest.skip("script is not installed")
    edge = TunnelEdge(scene)
    pair = scene.certificates.pair(NAME)
    token = scene.write("token", TOKEN)
    os.chmod(token, 0o600)
    out = scene.path("screen")
    command = " ".join([
        binary(), "tls", str(scene.greeter().port), "--edge", edge.address,
        "--authtoken-file", token, "--connect-cas", scene.certificates.ca,
        "--domain", NAME, "--terminate-at", "agent", "--crt", pair.crt,
        "--key", pair.key, "--web-addr", "false"])
    process = scene.program(
        "script", [script, "-qfc", command, out],
        env={"STATE_DIRECTORY": scene.path("state"), "TERM": "xterm",
             "COLUMNS": "100", "LINES": "40"})
    edge.wait_online(NAME)

    def shown():
        if not os.path.exists(out):
            return b""
        with open(out, "rb") as f:
            return f.read()
    until(lambda: b"tls://" + NAME.encode() in shown() and
          b"agent" in shown(), 10, "the screen")
    text = shown().decode("utf-8", "replace")
    assert "read" in text and HOST in text
    assert TOKEN not in text
    process.stop()
    edge.wait_told(STOP)


def test_no_token_stays_in_memory(scene):
    """Of the file of tokens the edge keeps hashes."""
    if SANITIZED:
        pytest.skip("a sanitizer's memory is too large to search")
    edge = TunnelEdge(scene)
    memory = memory_of(edge.process.pid)
    assert len(memory) > 2 ** 20
    assert edge.tokens.encode() in memory, "the control finds its name"
    assert TOKEN.encode() not in memory
    assert edge.reload()[0]
    assert TOKEN.encode() not in memory_of(edge.process.pid)
