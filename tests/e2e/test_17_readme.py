"""What the README says is true of this program: its commands run, its files
are accepted, its script decides."""

import os
import re
import shlex
import shutil
import socket
import ssl
import threading

import pytest

import hello
from edge import Running, lunette
from standin_agent import TOKEN
from tlspeer import client_context, greeted
from tunnel import Served, TunnelEdge
from upstream import answer_and_close

SOURCE = os.environ.get("SOURCE") or os.path.abspath(
    os.path.join(os.path.dirname(__file__), "..", ".."))


def readme():
    with open(os.path.join(SOURCE, "README.md"), encoding="utf-8") as f:
        return f.read()


def blocks(language):
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", readme(), re.S | re.M)
    return [text for kind, text in fenced if kind == language]


def commands(*words):
    """Lines of the README that begin with these words, as arguments."""
    start = " ".join(words)
    return [shlex.split(line, comments=True)
            for block in blocks("") for line in block.splitlines()
            if line.startswith(start)]


def test_the_readme_has_what_these_tests_look_for():
    assert len(commands("lunette", "tls")) >= 3
    assert blocks("yaml") and blocks("lua")


FILES = {"app.pem": 0, "app.key": 1}


def runnable(scene, line, addresses):
    """The arguments with this test's addresses and files instead of the
    README's."""
    arguments, skip = [], False
    for word in line[1:]:
        if skip:
            skip = False
        elif word == "--listen":
            skip = True
        elif re.fullmatch(r"10\.0\.0\.\d+:\d+|\d\d+", word):
            arguments.append(addresses.pop(0))
        elif word.startswith("tls://localhost:"):
            arguments.append("tls://" + addresses.pop(0))
        elif word in FILES:
            arguments.append(scene.certificates.pair(
                "app.example.com")[FILES[word]])
        elif word == "staff.pem":
            arguments.append(scene.certificates.ca)
        elif word.endswith(".lua"):
            arguments.append(scene.write(word, blocks("lua")[0]))
        else:
            arguments.append(word)
    return [*arguments, "--listen", "127.0.0.1:0"]


def ends_tls(line):
    return any(word.startswith(("--terminate-at", "--crt"))
               for word in line)


def run_line(scene, line, addresses):
    edge = Running(runnable(scene, line, addresses), scene.folder,
                   env={"STATE_DIRECTORY": scene.path("state")})
    scene.edges.append(edge)
    return edge


def through_an_edge(line):
    return "--edge" in line


@pytest.mark.parametrize(
    "line", [l for l in commands("lunette", "tls")
             if not ends_tls(l) and not through_an_edge(l)],
    ids=" ".join)
def test_tls_examples_run(scene, line):
    ups = [scene.upstream(answer_and_close(b"ok")) for _ in range(2)]
    edge = run_line(scene, line, [u.address for u in ups])
    client = scene.client(edge)
    client.hello("app.example.com")
    data = client.read_all()[0]
    client.close()
    # Clients of 127.0.0.1 are outside of the networks that it allows.
    refused = "--cidr-allow" in line or "--policy-file" in line
    assert data == (hello.alert(49) if refused else b"ok")


class Secure:
    """An upstream that speaks TLS, or none, and says "ok"."""

    def __init__(self, certificates, secure):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificates.pair("localhost"))
        self.secure = secure
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        sock = self.listener.accept()[0]
        if self.secure:
            sock = self.context.wrap_socket(sock, server_side=True)
        with sock:
            sock.sendall(b"ok")
            # What is unread at the end would reset what was said.
            try:
                while sock.recv(4096):
                    pass
            except OSError:
                pass

    def close(self):
        self.thread.join(10)
        self.listener.close()


@pytest.mark.parametrize(
    "line", [l for l in commands("lunette", "tls")
             if ends_tls(l) and not through_an_edge(l)],
    ids=" ".join)
def test_terminating_examples_run(scene, line):
    secure = any(word.startswith("tls://") for word in line)
    up = Secure(scene.certificates, secure)
    edge = run_line(scene, line, [up.address])
    own = "--crt" in line
    context = ssl.create_default_context(
        cafile=scene.certificates.ca if own
        else scene.path("state/local-ca.pem"))
    if "--mutual-tls-cas" in line:
        context.load_cert_chain(*scene.certificates.pair("me.test"))
    with socket.create_connection(("127.0.0.1", edge.port), 10) as plain, \
            context.wrap_socket(plain,
                                server_hostname="app.example.com") as tls:
        assert tls.recv(2) == b"ok"
    up.close()


@pytest.mark.parametrize(
    "line", [l for l in commands("lunette", "tls") if through_an_edge(l)],
    ids=" ".join)
def test_agents_examples_run(scene, line):
    """With an edge that takes agents, from the README's own words."""
    pair = scene.certificates.pair("app.example.com")
    edge = TunnelEdge(scene, certificates=[pair])
    up = scene.greeter() if ends_tls(line) or "--proxy-proto=2" in line \
        else scene.tls_upstream(names=("app.example.com",))
    token = scene.write("token", TOKEN)
    os.chmod(token, 0o600)
    words = {"localhost:8443": edge.address, "token": token,
             "/var/lib/lunette/local-ca.pem": scene.certificates.ca,
             "app.pem": pair.crt, "app.key": pair.key,
             "80": str(up.port), "443": str(up.port)}
    arguments = [words.get(w, w) for w in line[1:]]
    agent = Served([*arguments, "--web-addr", "false"], scene.folder,
                   env={"STATE_DIRECTORY": scene.path("state")})
    scene.agents.append(agent)
    edge.wait_online("app.example.com")
    if "--proxy-proto=2" not in line:
        greeted(edge.port, client_context(scene.certificates.ca),
                "app.example.com").close()


def make_files(scene):
    """Those that the README's configurations name."""
    os.makedirs(scene.path("certificates"))
    for name, index in FILES.items():
        pair = scene.certificates.pair("app.example.com")
        shutil.copy(pair[index], scene.path(name))
    for name in ("staff.pem", "internal.pem"):
        shutil.copy(scene.certificates.ca, scene.path(name))
    os.chmod(scene.write("tokens.yaml", "tokens: [ { name: me, token: "
                         f"{TOKEN} }} ]\n"), 0o600)


def test_configurations_pass_check(scene):
    make_files(scene)
    for number, text in enumerate(blocks("yaml")):
        path = scene.write(f"readme{number}.yaml", text)
        shown = lunette("check", "-c", path)
        assert shown.returncode == 0, shown.stderr.decode()


def test_scripts_pass_policy_check(scene):
    for number, text in enumerate(blocks("lua")):
        path = scene.write(f"readme{number}.lua", text)
        shown = lunette("policy", "check", path)
        assert shown.returncode == 0, shown.stderr.decode()
