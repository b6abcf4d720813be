"""lunette verify: what the world is shown against what is held here; and
lunette diagnose: what keeps an agent from its edge."""

import os
import re
import socket
import stat

import pytest

from document import yaml
from edge import binary, lunette
from nameserver import Nameserver
from process import free_port
from standin_agent import TOKEN
from standin_edge import StandinEdge
from tlsupstream import greet
from tunnel import HOST, STOP, TunnelEdge, agent, agent_tls, edge_pair, \
    endpoint
from upstream import echo
from waiting import until
from wire import OutboundProxy

NAME = "app.test"
SAME = b"the edge cannot read"
DIFFERENT = b"NOT the same: somebody in between ends TLS"
LINE = re.compile(rb"(OK   |WARN |error)  \S")


def agents_file(scene, *endpoints, agent=None, top=None, name="held.yaml"):
    return scene.write(name, yaml({
        "version": 1, "agent": {
            "edges": ["edge.test"], "state": scene.path("held-state"),
            **(agent or {})},
        "endpoints": list(endpoints), **(top or {})}))


def verify(name, *arguments, **options):
    shown = lunette("verify", name, *arguments, **options)
    for line in shown.stdout.splitlines():
        assert LINE.match(line), line
    return shown


def at(edge):
    return "--connect", f"127.0.0.1:{getattr(edge, 'port', edge)}"


def check_same(shown, *pairs):
    assert shown.returncode == 0, shown
    assert SAME in shown.stdout.splitlines()[-1], shown
    for pair in pairs:
        assert pair.fingerprint().encode() in shown.stdout
    assert not shown.stderr


def check_different(shown, *pairs):
    assert shown.returncode == 1, shown
    assert DIFFERENT in shown.stdout, shown
    for pair in pairs:
        assert pair.fingerprint().encode() in shown.stdout


# verify, through a real edge and agent.

def test_tls_that_ends_at_the_agent(scene):
    pair = scene.certificates.root.leaf(NAME)
    edge = TunnelEdge(scene)
    process = agent(scene, edge,
                    endpoint(NAME, scene.greeter(), **agent_tls(pair)))
    for name in (NAME, "APP.test."):
        shown = verify(name, "-c", process.config_path, *at(edge))
        check_same(shown, pair)
    for version in (b"TLS 1.3", b"TLS 1.2"):
        assert version in shown.stdout
    edge.wait_events(4)


def test_tls_that_ends_at_the_upstream(scene):
    """The upstream is asked itself."""
    pair = scene.certificates.root.leaf(NAME)
    edge = TunnelEdge(scene)
    upstream = scene.tls_upstream(pair=pair)
    process = agent(scene, edge, endpoint(NAME, upstream))
    check_same(verify(NAME, "-c", process.config_path, *at(edge)), pair)
    edge.wait_events(2)


def test_tls_that_ends_at_the_edge(scene):
    pair = scene.certificates.pair(NAME)
    edge = TunnelEdge(scene, certificates=[pair])
    process = agent(scene, edge, endpoint(NAME, scene.greeter(),
                                          terminate_at="edge"))
    shown = verify(NAME, "-c", process.config_path, *at(edge))
    assert shown.returncode == 1
    assert b"the edge ends TLS, and can read" in shown.stdout


def test_an_edge_that_reads_along(scene):
    """It has a good certificate of its own for the name, and the upstream's
    bytes come through."""
    ours, theirs = (scene.certificates.root.leaf(NAME) for _ in range(2))
    upstream = scene.tls_upstream(pair=ours)
    edge = scene.terminated(f"tls://{upstream.address}", NAME,
                            certificates=[theirs.settings()])
    path = agents_file(scene, endpoint(NAME, upstream))
    check_different(verify(NAME, "-c", path, *at(edge)), ours, theirs)
    path = agents_file(scene, endpoint(NAME, "127.0.0.1:1",
                                       **agent_tls(ours)))
    check_different(verify(NAME, "-c", path, *at(edge)), ours, theirs)
    edge.wait_events(4)


def test_an_edge_that_reads_the_older_version_only(scene):
    ours, theirs = (scene.certificates.root.leaf(NAME) for _ in range(2))
    good = scene.tls_upstream(pair=ours)
    bad = scene.tls_upstream(pair=theirs, version="1.2")
    lua = scene.write("older.lua", """
        return function(conn)
          for _, v in ipairs(conn.tls.hello.supported_versions) do
            if v == 0x0304 then return { upstream = "%s" } end
          end
          return { upstream = "%s" }
        end
    """ % (good.address, bad.address))
    edge = scene.route(good, NAME,
                       options={"edge": {"policy": {"file": lua}}})
    shown = verify(NAME, "--crt", ours.crt, *at(edge))
    check_different(shown, ours, theirs)
    assert shown.stdout.count(b"NOT the same: held") == 1


def test_a_certificate_of_the_local_ca(scene):
    """It is made anew with each start: the CA tells."""
    edge = TunnelEdge(scene)
    process = agent(scene, edge,
                    endpoint(NAME, scene.greeter(), terminate_at="agent"),
                    agent={"local_ca": "auto"})
    shown = verify(NAME, "-c", process.config_path, *at(edge))
    assert shown.returncode == 0, shown
    assert b"made by the local CA held here: the edge cannot read" in \
        shown.stdout
    assert b"local-ca.pem" in shown.stdout
    other = scene.tls("80", "--terminate-at", "edge", "--domain", NAME,
                      env={"STATE_DIRECTORY": scene.path("other")})
    check_different(verify(NAME, "-c", process.config_path, *at(other)))


# verify, what is compared with what.

@pytest.mark.parametrize("key", ["ec", "rsa", "ed25519"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_each_kind_of_key_and_version(scene, key, version):
    if (key, version) == ("ed25519", "1.2"):
        version = None
    pair = scene.certificates.root.leaf(NAME, key=key)
    server = scene.tls_upstream(pair=pair, version=version)
    shown = verify(NAME, "--crt", pair.crt, *at(server))
    check_same(shown, pair)
    path = agents_file(scene, endpoint(NAME, "127.0.0.1:1",
                                       **agent_tls(pair)))
    check_same(verify(NAME, "-c", path, *at(server)), pair)


def test_two_certificates_for_one_name(scene):
    """Whichever the handshake takes, it is one of them."""
    pairs = [scene.certificates.root.leaf(NAME, key=key)
             for key in ("ec", "rsa")]
    top = {"certificates": [p.settings() for p in pairs]}
    path = agents_file(scene, endpoint(NAME, "127.0.0.1:1",
                                       terminate_at="agent"), top=top)
    for pair in pairs:
        server = scene.tls_upstream(pair=pair)
        check_same(verify(NAME, "-c", path, *at(server)), pair)
    other = scene.tls_upstream(pair=scene.certificates.root.leaf(NAME))
    check_different(verify(NAME, "-c", path, *at(other)), *pairs)


def test_files_alone(scene):
    ours, theirs = (scene.certificates.root.leaf(NAME) for _ in range(2))
    server = scene.tls_upstream(pair=ours)
    check_same(verify(NAME, "--crt", ours.crt, *at(server)), ours)
    check_same(verify(NAME, "--crt", theirs.crt, "--crt", ours.crt,
                      *at(server)), ours)
    check_different(verify(NAME, "--crt", theirs.crt, *at(server)), ours,
                    theirs)


@pytest.mark.parametrize("kind", ["address", "tls", "unix", "name"])
def test_upstreams_alone(scene, kind):
    pair = scene.certificates.root.leaf(NAME)
    options = {"path": scene.path("up.sock")} if kind == "unix" else {}
    upstream = scene.tls_upstream(pair=pair, **options)
    address = {"address": upstream.address, "unix": upstream.address,
               "tls": f"tls://{upstream.address}",
               "name": f"localhost:{upstream.port}"}[kind]
    server = scene.tls_upstream(pair=pair)
    check_same(verify(NAME, "--upstream", address, *at(server)), pair)
    other = scene.tls_upstream(pair=scene.certificates.root.leaf(NAME))
    check_different(verify(NAME, "--upstream", address, *at(other)), pair)
    if kind != "unix":  # there a server is told when we have gone
        until(lambda: upstream.arrivals[0].server_name, 5, "the name")
        assert upstream.arrivals[0].server_name == NAME


@pytest.mark.parametrize("version", [1, 2])
def test_an_upstream_that_expects_a_header(scene, version):
    pair = scene.certificates.root.leaf(NAME)
    upstream = scene.tls_upstream(pair=pair, proxy=True)
    path = agents_file(scene, endpoint(NAME, {
        "url": upstream.address, "proxy_protocol": version}))
    server = scene.tls_upstream(pair=pair)
    check_same(verify(NAME, "-c", path, *at(server)), pair)
    assert upstream.arrivals[0].header


def test_one_of_several_upstreams_is_down(scene):
    pair = scene.certificates.root.leaf(NAME)
    upstream = scene.tls_upstream(pair=pair)
    path = agents_file(scene, endpoint(
        NAME, [f"127.0.0.1:{free_port()}", upstream.address]))
    shown = verify(NAME, "-c", path, *at(upstream))
    assert shown.returncode == 0, shown
    assert b"WARN " in shown.stdout and b"refused" in shown.stdout
    path = agents_file(scene, endpoint(NAME, f"127.0.0.1:{free_port()}"))
    shown = verify(NAME, "-c", path, *at(upstream))
    assert shown.returncode == 1
    assert b"no upstream" in shown.stdout


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_where_clients_must_have_certificates(scene, version):
    """The handshake fails without one, but not before the proof."""
    pair = scene.certificates.root.leaf(NAME)
    server = scene.tls_upstream(pair=pair, ca=scene.certificates.ca,
                                version=version)
    check_same(verify(NAME, "--crt", pair.crt, *at(server)), pair)


def test_who_shows_the_certificate_without_its_key(scene):
    """A copy of it is public, and proves nothing."""
    pair = scene.certificates.root.leaf(NAME)

    def cut(sock):
        sock.recv(65536)
        sock.sendall(bytes.fromhex("15030300020228"))
    server = scene.tls_upstream(pair=pair, before=cut)
    shown = verify(NAME, "--crt", pair.crt, *at(server))
    assert shown.returncode == 1
    assert b"no certificate is shown" in shown.stdout
    assert b"handshake_failure" in shown.stdout


def test_an_expired_certificate(scene):
    pair = scene.certificates.root.leaf(NAME, begin=-9 * 86400,
                                        end=-86400)
    server = scene.tls_upstream(pair=pair)
    shown = verify(NAME, "--crt", pair.crt, *at(server))
    assert shown.returncode == 0
    assert b"WARN " in shown.stdout and b"expired" in shown.stdout


def test_what_this_host_thinks_of_it(scene):
    """Only told: a private CA is as good for this."""
    pair = scene.certificates.root.leaf(NAME)
    server = scene.tls_upstream(pair=pair)
    arguments = (NAME, "--crt", pair.crt, *at(server))
    shown = verify(*arguments, env={"SSL_CERT_FILE": scene.certificates.ca})
    check_same(shown, pair)
    assert b"; good by the CAs of this host" in shown.stdout
    shown = verify(*arguments, env={
        "SSL_CERT_FILE": scene.certificates.authority("another").crt})
    check_same(shown, pair)
    assert b"not good by the CAs of this host" in shown.stdout


# verify, the world.

def test_each_address_of_a_name(scene):
    ours, theirs = (scene.certificates.root.leaf(NAME) for _ in range(2))
    one = scene.tls_upstream(pair=ours)
    two = scene.tls_upstream(pair=theirs, host="127.0.0.2", port=one.port)
    names = Nameserver({NAME: ["127.0.0.1", "127.0.0.2"]})
    scene.agents.append(names)
    path = agents_file(scene, endpoint(NAME, "127.0.0.1:1",
                                       **agent_tls(ours)),
                       agent={"resolver": {"servers": [names.address]}})
    arguments = (NAME, "-c", path, "--connect", f"{NAME}:{one.port}")
    shown = verify(*arguments)
    check_different(shown, ours, theirs)
    assert b"127.0.0.1:" in shown.stdout and b"127.0.0.2:" in shown.stdout
    two.stop_listening()
    shown = verify(*arguments)
    assert shown.returncode == 1, "not everything was compared"
    assert b"not everything" in shown.stdout
    names.names[NAME] = ["127.0.0.1"]


def test_nobody_is_there(scene):
    pair = scene.certificates.pair(NAME)
    for where, said in ((f"127.0.0.1:{free_port()}", b"refused"),
                        ("no.such.name.invalid:1", b"no address")):
        shown = verify(NAME, "--crt", pair.crt, "--connect", where)
        assert shown.returncode == 1
        assert said in shown.stdout and b"nothing can be said" in \
            shown.stdout, shown
        assert SAME not in shown.stdout


def test_who_does_not_speak_tls(scene):
    pair = scene.certificates.pair(NAME)
    for script in (echo, lambda a: greet(a, b"220 mail.test ready\r\n")):
        server = scene.upstream(script)
        shown = verify(NAME, "--crt", pair.crt, *at(server))
        assert shown.returncode == 1, shown
        assert b"no certificate is shown" in shown.stdout


# verify, usage.

def test_which_endpoint_is_meant(scene):
    pair = scene.certificates.root.leaf("*.wild.test", NAME)
    server = scene.tls_upstream(pair=pair)
    own = agent_tls(pair)
    path = agents_file(
        scene, {**endpoint(NAME, "127.0.0.1:1", **own), "name": "shop"},
        {**endpoint("*.wild.test", "127.0.0.1:1", **own), "name": "wild"},
        {"name": "random", "upstream": server.address})
    check_same(verify("shop", "-c", path, *at(server)), pair)
    check_same(verify("x.wild.test", "-c", path, *at(server)), pair)
    # The name that the edge has chosen is in no file.
    check_same(verify("k3x.tunnels.test", "-c", path, *at(server)), pair)
    for name in ("wild", "random"):
        shown = verify(name, "-c", path, *at(server))
        assert shown.returncode == 2 and b"which host name" in shown.stderr


def test_wrong_usage(scene):
    pair = scene.certificates.pair(NAME)
    path = agents_file(scene, endpoint(NAME, "127.0.0.1:1"))
    for arguments, said in (
            ((), b"NAME"),
            ((NAME, "other.test"), b"other.test"),
            ((NAME, "-c", path, "--crt", pair.crt), b"one of them"),
            ((NAME, "--crt", pair.crt, "--upstream", "1"), b"one of them"),
            ((NAME, "--upstream", "nonsense"), b"--upstream"),
            ((NAME, "--crt", pair.crt, "--connect", "https://x"),
             b"--connect"),
            (("a b", "--crt", pair.crt), b"NAME"),
            (("127.0.0.1", "--crt", pair.crt), b"NAME"),
            (("other.test", "-c", path), b"other.test")):
        shown = lunette("verify", *arguments)
        assert shown.returncode == 2, (arguments, shown)
        assert said in shown.stderr, (arguments, shown)


def test_files_that_will_not_do(scene):
    shown = lunette("verify", NAME, "--crt", scene.path("absent.pem"))
    assert shown.returncode == 1 and b"absent.pem" in shown.stdout
    edge = scene.route(scene.upstream())
    shown = lunette("verify", NAME, "-c", edge.config_path)
    assert shown.returncode == 1 and b"edge's file" in shown.stderr
    shown = lunette("verify", NAME, "-c", scene.path("absent.yaml"))
    assert shown.returncode == 1 and b"absent.yaml" in shown.stderr


# diagnose.

def token_file(scene, token=TOKEN):
    path = scene.write("token", token)
    os.chmod(path, 0o600)
    return path


def diagnose(scene, *arguments, token=TOKEN, ca=None, **options):
    if token:
        arguments += ("--authtoken-file", token_file(scene, token))
    if "-c" not in arguments:
        arguments += ("--connect-cas", ca or scene.certificates.ca)
    options.setdefault("env", {"STATE_DIRECTORY": scene.path("state")})
    shown = lunette("diagnose", *arguments, **options)
    for line in shown.stdout.splitlines():
        assert LINE.match(line), line
    assert TOKEN.encode() not in shown.stdout + shown.stderr
    return shown


def check_works(shown):
    assert shown.returncode == 0, shown
    assert not re.search(rb"(?m)^error", shown.stdout), shown
    assert shown.stdout.splitlines()[-1] == b"OK     an agent can work here"


def check_fails(shown, *words):
    assert shown.returncode == 1, shown
    faults = b"\n".join(line for line in shown.stdout.splitlines()
                        if not line.startswith(b"OK"))
    for word in words:
        assert word.encode() in faults, (word, shown)
    assert shown.stdout.splitlines()[-1].startswith(
        b"error  an agent could not work here"), shown
    return faults


def test_each_step_has_its_line(scene):
    edge = TunnelEdge(scene)
    shown = diagnose(scene, "--edge", edge.address)
    check_works(shown)
    for step in ("configuration: command line", "descriptors: ",
                 "ports for connections out: ", "state folder: ", "clock: ",
                 f"name {HOST}: 127.0.0.1", f"TCP 127.0.0.1:{edge.port}",
                 "TLS 1.3, lunette/1", "certificate of ",
                 edge_pair(scene.certificates).fingerprint(),
                 "protocol with ", "round trip to ", "token at ",
                 "let in"):
        assert step.encode() in shown.stdout, (step, shown)
    edge.wait_told(STOP)


def test_an_agents_file(scene):
    edge = TunnelEdge(scene)
    process = agent(scene, edge, endpoint(NAME, scene.upstream()))
    shown = diagnose(scene, "-c", process.config_path, token=None)
    check_works(shown)
    assert process.config_path.encode() in shown.stdout
    # The agent that runs keeps its session.
    visits = until(lambda: [e for e in edge.told(STOP) if e["user_agent"]], 5,
                   "the end of the visit")
    assert [e["user_agent"] for e in visits] == ["lunette-diagnose"]
    assert not [e for e in process.log_lines()
                if "session has ended" in e.get("msg", "")]


def test_flags_beat_the_file(scene):
    edge = TunnelEdge(scene)
    path = agents_file(scene, endpoint(NAME, "127.0.0.1:1"),
                       agent={"authtoken": "unknown-to-the-edge"})
    shown = diagnose(scene, "-c", path, "--edge", edge.address,
                     "--connect-cas", scene.certificates.ca)
    check_works(shown)
    assert b"edge.test" not in shown.stdout


def test_a_pinned_edge(scene):
    edge = TunnelEdge(scene)
    pin = edge_pair(scene.certificates).fingerprint()
    check_works(diagnose(scene, "--edge", edge.address,
                         ca="sha256:" + pin))
    check_fails(diagnose(scene, "--edge", edge.address,
                         ca="sha256:" + "0" * 64), "not the pinned one", pin)


def test_an_edge_by_its_address(scene):
    edge = TunnelEdge(scene)
    at = f"127.0.0.1:{edge.port}"
    shown = diagnose(scene, "--edge", at)
    # No name is sent, so what answers is the listener's affair; its
    # certificate is looked at all the same.
    assert f"TCP {at}".encode() in shown.stdout


@pytest.mark.parametrize("token", ["another-token-of-the-tests", "sesame7"])
def test_a_token_that_is_not_known(scene, token):
    edge = TunnelEdge(scene)
    shown = diagnose(scene, "--edge", edge.address, token=token)
    faults = check_fails(shown, "token at")
    assert b"does not let this agent in: " in faults
    assert token.encode() not in shown.stdout


def test_without_a_token(scene):
    """A look at an edge needs none, an agent does."""
    edge = TunnelEdge(scene)
    shown = diagnose(scene, "--edge", edge.address, token=None)
    check_works(shown)
    assert b"WARN   token: there is none" in shown.stdout
    assert b"token at" not in shown.stdout
    path = agents_file(scene, endpoint(NAME, "127.0.0.1:1"),
                       agent={"edges": [edge.address],
                              "connect_cas": scene.certificates.ca})
    check_fails(diagnose(scene, "-c", path, token=None),
                "token: there is none")
    check_works(diagnose(scene, "-c", path, token=None,
                         env={"LUNETTE_AUTHTOKEN": TOKEN}))


def test_what_the_edge_says_is_told(scene):
    """On one line, whatever is in it."""
    edge = StandinEdge(scene.certificates, lunette=True,
                       pair=edge_pair(scene.certificates))
    scene.agents.append(edge)
    edge.answers["SrvInfo"] = {"Region": "eu\x1b[2J"}
    edge.answers["Auth"] = {"Error": "go away\nERR_NGROK_105"}
    shown = diagnose(scene, "--edge", edge.address)
    check_fails(shown, "go away ERR_NGROK_105")
    assert b"region eu\\x1b[2J" in shown.stdout
    assert b"\x1b" not in shown.stdout
    auth = edge.sessions[-1].message("Auth")  # the first was the look at TLS
    assert auth["ClientId"] == "" and auth["Extra"]["Cookie"] == ""
    assert auth["Extra"]["UserAgent"] == "lunette-diagnose"
    assert not edge.sessions[-1].bound


@pytest.mark.parametrize("answer", [
    "silence", "nonsense", "reset"])
def test_an_edge_that_does_not_answer(scene, answer):
    edge = StandinEdge(scene.certificates, lunette=True,
                       pair=edge_pair(scene.certificates))
    scene.agents.append(edge)

    def respond(session, request, answer_):
        if answer == "reset":
            session.close()
        return {"nonsense": {"Region": [1]}}.get(answer)
    edge.answers["SrvInfo"] = respond
    shown = diagnose(scene, "--edge", edge.address, timeout=40)
    check_fails(shown, "protocol with ", "no answer: ")


def test_an_edge_of_an_older_version(scene):
    edge = StandinEdge(scene.certificates, alpn=["lunette/1"], version="1.2",
                       pair=edge_pair(scene.certificates))
    scene.agents.append(edge)
    check_fails(diagnose(scene, "--edge", edge.address), "TLS 1.2")


def test_a_server_that_is_no_edge(scene):
    server = scene.tls_upstream(pair=edge_pair(scene.certificates))
    check_fails(diagnose(scene, "--edge", f"{HOST}:{server.port}"),
                "does not speak lunette/1")


@pytest.mark.parametrize("times, said", [
    ((86400, 90 * 86400), "it is not valid yet"),
    ((-90 * 86400, -86400), "it has expired")])
def test_a_clock_that_may_be_wrong(scene, times, said):
    pair = scene.certificates.root.leaf(HOST, begin=times[0], end=times[1])
    edge = StandinEdge(scene.certificates, pair=pair, alpn=["lunette/1"])
    scene.agents.append(edge)
    check_fails(diagnose(scene, "--edge", edge.address), said,
                "the clock of this host")


def test_several_addresses_and_edges(scene):
    """One that works is enough, and the others are warned of."""
    names = Nameserver({HOST + ".test": ["127.0.0.1", "127.0.0.3"]})
    scene.agents.append(names)
    pair = scene.certificates.root.leaf(HOST + ".test", HOST)
    edge = TunnelEdge(
        scene, agents={"server_names": [HOST + ".test"]}, top={
            "certificates": [pair.settings()]})
    path = agents_file(
        scene, endpoint(NAME, "127.0.0.1:1"), agent={
            "edges": [f"{HOST}.test:{edge.port}"],
            "connect_cas": scene.certificates.ca, "authtoken": TOKEN,
            "resolver": {"servers": [names.address]}})
    shown = diagnose(scene, "-c", path, token=None)
    check_works(shown)
    assert f"WARN   TCP 127.0.0.3:{edge.port}: cannot connect".encode() in \
        shown.stdout
    names.names[HOST + ".test"] = ["127.0.0.3", "127.0.0.4"]
    until(lambda: diagnose(scene, "-c", path, token=None).returncode == 1,
          10, "none works")
    shown = diagnose(scene, "-c", path, token=None)
    check_fails(shown, "none of its 2 addresses will do")
    dead = f"127.0.0.1:{free_port()}"
    shown = diagnose(scene, "--edge", f"{dead},127.0.0.2:{free_port()}")
    check_fails(shown, "none of the 2 edges will do")


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_through_a_proxy(scene, kind):
    edge = TunnelEdge(scene)
    proxy = OutboundProxy(kind, user=("me", "proxy-password-4711"))
    scene.agents.append(proxy)
    report = scene.path("report")
    shown = diagnose(scene, "--edge", edge.address, "--proxy-url", proxy.url,
                     "--write-report", report)
    check_works(shown)
    assert f"proxy: {kind}://127.0.0.1:{proxy.port}, with a user".encode() \
        in shown.stdout
    assert b"connection by the proxy to" in shown.stdout
    assert proxy.asked == [edge.address] * 2
    with open(report, "rb") as f:
        assert b"proxy-password" not in f.read() + shown.stdout
    env = {"STATE_DIRECTORY": scene.path("state"), "http_proxy": proxy.url}
    check_works(diagnose(scene, "--edge", edge.address, env=env))
    assert proxy.asked == [edge.address] * 4
    wrong = proxy.url.replace("4711", "4712")
    check_fails(diagnose(scene, "--edge", edge.address, "--proxy-url",
                         wrong), "the proxy wants other credentials")
    shown = diagnose(scene, "--edge", edge.address, "--proxy-url",
                     f"{kind}://127.0.0.1:{free_port()}")
    check_fails(shown, "proxy", "refused")


def test_this_host(scene):
    """Few descriptors, and a state folder that cannot be written."""
    edge = TunnelEdge(scene)
    process = scene.program("diagnose", [
        binary(), "diagnose", "--edge", edge.address,
        "--connect-cas", scene.certificates.ca, "--authtoken-file",
        token_file(scene)], descriptors=256,
        env={"STATE_DIRECTORY": scene.write("a-file", "") + "/below"})
    assert process.wait(20) == 0, process.output()
    assert b"WARN   descriptors: 256, few" in process.stdout()
    assert b"WARN   state folder: " in process.stdout()


def test_a_configuration_with_faults(scene):
    path = scene.write("broken.yaml", "version: 1\nagent: { edgse: [x] }\n")
    shown = diagnose(scene, "-c", path, token=None)
    check_fails(shown, "broken.yaml:2:", "edges")


@pytest.mark.parametrize("text, mode, said", [
    ("", 0o600, "is empty"), ("a b", 0o600, "blanks"),
    (TOKEN, 0o644, "chmod"), (None, 0, "absent")])
def test_a_token_file_with_faults(scene, text, mode, said):
    path = scene.path("absent") if text is None else scene.write("t", text)
    if text is not None:
        os.chmod(path, mode)
    check_fails(diagnose(scene, "--edge", "127.0.0.1:1", "--authtoken-file",
                         path, token=None), "--authtoken-file: ", said)


def test_the_report(scene):
    path = scene.path("report.txt")
    edge = f"127.0.0.1:{free_port()}"
    shown = diagnose(scene, "--edge", edge, "--write-report", path)
    assert shown.returncode == 1
    with open(path, "rb") as f:
        text = f.read()
    assert text.endswith(shown.stdout)
    for word in (b"lunette ", b"OpenSSL ", b"Linux ", edge.encode()):
        assert word in text
    assert TOKEN.encode() not in text
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    # A file is written over, whatever its length and mode were.
    with open(path, "w") as f:
        f.write("x" * 100_000)
    os.chmod(path, 0o644)
    diagnose(scene, "--edge", edge, "--write-report", path)
    assert 0 < os.path.getsize(path) < 10_000
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@pytest.mark.parametrize("what", ["link", "pipe", "folder", "absent"])
def test_where_no_report_can_be(scene, what):
    """Before anything is looked at."""
    path, other = scene.path("report"), scene.write("other", "kept")
    if what == "link":
        os.symlink(other, path)
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        os.mkdir(path)
    else:
        path = scene.path("absent/report")
    shown = diagnose(scene, "--edge", f"127.0.0.1:{free_port()}",
                     "--write-report", path)
    assert shown.returncode == 1 and not shown.stdout
    assert b"--write-report" in shown.stderr
    with open(other) as f:
        assert f.read() == "kept"


def test_without_a_file_or_an_edge():
    shown = lunette("diagnose")
    if b"there is no " in shown.stderr:
        assert shown.returncode == 1 and b"--edge" in shown.stderr
    assert lunette("diagnose", "extra").returncode == 2
    assert socket.gethostname().encode() not in shown.stdout
