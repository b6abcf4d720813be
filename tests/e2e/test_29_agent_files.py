"""What the commands say about agents, their files and their secrets; no edge
is needed for any of it."""

import os
import signal

import pytest

from edge import binary, lunette
from process import Process, free_port
from test_28_termination_commands import copy_pair
from waiting import until

TOKEN = "token-0123456789abcdef"

AGENT = """version: 1
agent:
  edges: [e.test]
  authtoken_file: agent.token
  web_addr: false
endpoints:
  - name: db
    url: tls://db.test
    upstream: 5432
  - name: web
    upstream: { url: 8080, proxy_protocol: 2 }
"""

EDGE = """version: 1
edge:
  listen: ["127.0.0.1:0"]
  base_domain: t.test
  local_ca: auto
  agents:
    server_names: [c.test]
    authtokens_file: tokens.yaml
"""


@pytest.fixture
def files(scene):
    """A folder with a token, and with the tokens of an edge."""
    scene.write("agent.token", TOKEN + "\n")
    scene.write("tokens.yaml", f"tokens: [{{ name: a, token: {TOKEN} }}]\n")
    for name in ("agent.token", "tokens.yaml"):
        os.chmod(scene.path(name), 0o600)
    return scene


def check(scene, text, name="agent.yaml"):
    return lunette("check", "-c", scene.write(name, text))


@pytest.fixture(autouse=True)
def no_token_of_the_developer(monkeypatch):
    monkeypatch.delenv("LUNETTE_AUTHTOKEN", raising=False)


def test_check_tells_of_an_agent(files):
    copy_pair(files, "app", "app.test")
    shown = check(files, AGENT + """\
  - name: app
    url: tls://app.test
    upstream: 80
    agent_tls_termination:
      server_certificate: app.pem
      server_private_key: app.key
  - { name: plain, upstream: 81, terminate_at: edge, pooling_enabled: true }
  - { name: sent, url: sent.test, upstream: 82, terminate_at: edge,
      certificate: own }
certificates: [{ name: own, crt: app.pem, key: app.key }]
""")
    out = shown.stdout.decode()
    assert shown.returncode == 0, shown.stderr
    assert "an agent of 1 edge, 5 endpoints" in out
    assert "e.test:443, 2 sessions, edge trusted by the CAs of this host" \
        in out
    told = {line.split(":")[0].strip(): line for line in out.splitlines()}
    for name, words in {
            "db": ["tls://db.test", "upstream",
                   "neither edge nor agent can read"],
            "web": ["a random name", "PROXY v2", "localhost:8080"],
            "app": ["TLS ends at: agent", "the edge cannot read",
                    "certificate endpoint app"],
            "plain": ["edge and agent can read", "certificate of the edge",
                      "pooling"],
            "sent": ["SENDS the certificate", "app.pem", "app.key"]}.items():
        for word in words:
            assert word in told[name], (name, word, out)


def test_check_tells_of_an_edge_with_agents(files):
    shown = check(files, EDGE.replace(
        '["127.0.0.1:0"]', '[{ address: ":443", serves: clients }, '
        '{ address: ":8443", serves: agents }]'), "edge.yaml")
    out = shown.stdout.decode()
    assert shown.returncode == 0, shown.stderr
    assert "listens on :443 for clients" in out
    assert "listens on :8443 for agents" in out
    assert "takes agents at c.test, tokens in " in out
    assert "random names below t.test" in out


def test_no_command_shows_a_secret(files):
    """Neither the token, nor a proxy's password, right or wrong."""
    for text in (
            AGENT.replace("  web_addr: false",
                          "  proxy_url: \"http://user:sesame@p.test:1\""),
            AGENT.replace("authtoken_file: agent.token",
                          f"authtoken: {TOKEN}"),
            AGENT.replace("authtoken_file: agent.token",
                          f"authtoken: \"{TOKEN} sesame\""),
            AGENT.replace("  web_addr: false",
                          "  proxy_url: \"ftp://user:sesame@p.test:1\""),
            AGENT.replace("  web_addr: false",
                          "  proxy_url: \"http://us%r:sesame@p.test:1\"")):
        shown = check(files, text)
        said = (shown.stdout + shown.stderr).decode()
        assert TOKEN not in said and "sesame" not in said, said


WRONG = {
    "no_edges": (AGENT.replace("edges: [e.test]", "connections: 2"), 3,
                 ["edges"]),
    "both_kinds": (AGENT + "edge: {}\n", 12, ["edge's file", "agent"]),
    "unknown_key": (AGENT.replace("edges:", "edgess: [x]\n  edges:"), 3,
                    ["did you mean 'edges'"]),
    "no_name": (AGENT.replace("- name: db\n    url", "- url"), 7, ["name"]),
    "same_name": (AGENT.replace("name: web", "name: db"), 10,
                  ["already", "line 7"]),
    "token_is_open": (AGENT.replace("agent.token", "open.token"), 4,
                      ["open.token"]),
    "no_token_file": (AGENT.replace("agent.token", "absent.token"), 4,
                      ["absent.token"]),
    "key_for_the_edge": (
        AGENT + "    terminate_at: edge\n    min_version: 1.3\n", 13,
        ["terminate_at: agent"]),
    "certificate_of_nobody": (AGENT + "    terminate_at: agent\n", 12,
                              ["agent.local_ca: auto"]),
    "pem_for_a_path": (
        AGENT + "    agent_tls_termination: { server_certificate: "
        "\"-----BEGIN CERTIFICATE-----\" }\n", 12, ["a file is needed"]),
    "reserved": (EDGE + "endpoints: [{ url: c.test, upstream: 1 }]\n", 9,
                 ["reserved", ":7:"]),
    "no_tokens": (EDGE.replace("    authtokens_file: tokens.yaml\n", ""), 7,
                  ["authtokens_file"]),
    "no_agents": (EDGE[:EDGE.index("  agents:")] +
                  "endpoints: [{ url: a.test, upstream: 1 }]\n", 4,
                  ["base_domain", "edge.agents"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_check_and_a_start_say_what_is_wrong(files, case):
    text, line, words = WRONG[case]
    files.write("open.token", TOKEN)
    os.chmod(files.path("open.token"), 0o644)
    shown = check(files, text, "wrong.yaml")
    said = shown.stderr.decode()
    assert shown.returncode == 1
    assert f"wrong.yaml:{line}:" in said, said
    for word in words:
        assert word in said, said
    command = "agent" if "agent:" in text else "edge"
    started = lunette(command, "-c", files.path("wrong.yaml"))
    assert started.returncode == 1
    assert f"wrong.yaml:{line}:" in started.stderr.decode(), started.stderr


def test_the_wrong_command_for_a_file_is_told(files):
    agent = files.write("agent.yaml", AGENT)
    edge = files.write("edge.yaml", EDGE)
    shown = lunette("edge", "-c", agent)
    assert shown.returncode == 1
    assert b"agent.yaml:2:1: 'agent' makes this an agent's file" \
        in shown.stderr and b"lunette agent -c" in shown.stderr
    shown = lunette("agent", "-c", edge)
    assert shown.returncode == 1
    assert b"edge.yaml:2:1: this is an edge's file" in shown.stderr and \
        b"lunette edge -c" in shown.stderr


def test_an_unknown_endpoint_is_told_with_the_nearest(files):
    path = files.write("agent.yaml", AGENT)
    shown = lunette("agent", "-c", path, "wbe", "db", "elsewhere")
    said = shown.stderr.decode()
    assert shown.returncode == 1
    assert "'wbe'; did you mean 'web'?" in said
    assert "there is no endpoint 'elsewhere'" in said


def test_an_agent_without_a_token_is_told(files):
    path = files.write("agent.yaml", AGENT.replace(
        "  authtoken_file: agent.token\n", ""))
    shown = lunette("agent", "-c", path)
    assert shown.returncode == 1
    assert b"LUNETTE_AUTHTOKEN" in shown.stderr
    shown = lunette("tls", "1", "--edge", "e.test")
    assert shown.returncode == 2
    assert b"--authtoken-file" in shown.stderr
    # The file itself is fine: the token may come from elsewhere.
    assert lunette("check", "-c", path).returncode == 0


@pytest.mark.parametrize("arguments, words", [
    (("--edge", "e.test", "--listen", ":1"), ["--listen", "--edge"]),
    (("--name", "x"), ["--name needs --edge"]),
    (("--authtoken", "x"), ["--authtoken needs --edge"]),
    (("--authtoken-file", "x"), ["--authtoken-file needs --edge"]),
    (("--connect-cas", "host"), ["--connect-cas needs --edge"]),
    (("--connections", "1"), ["--connections needs --edge"]),
    (("--pooling-enabled",), ["--pooling-enabled needs --edge"]),
    (("--proxy-url", "http://p:1"), ["--proxy-url needs --edge"]),
    (("--web-addr", "false"), ["--web-addr needs --edge"]),
    (("--data-encryption", "auto"), ["--data-encryption needs --edge"]),
    (("--edge", "e.test", "--authtoken", "x", "--authtoken-file", "y"),
     ["one of them"]),
    (("--edge", "e.test", "--name", "x", "--domain", "a.test,b.test"),
     ["--name"]),
    (("--edge", "tls://e.test"), ["--edge", "HOST"]),
    (("--edge", "e.test", "--connections", "11"), ["--connections", "10"]),
    (("--edge", "e.test", "--proxy-url", "ftp://u:sesame@p:1"),
     ["--proxy-url", "http://"]),
    (("--edge", "e.test", "--connect-cas", "sha256:1"),
     ["--connect-cas", "64"]),
    (("--edge", "e.test", "--connect-cas", "absent.pem"), ["absent.pem"]),
    (("--edge", "e.test", "--authtoken-file", "absent"), ["absent"]),
    (("--edge", "e.test", "--web-addr", "x"), ["--web-addr"]),
    (("--edge", "e.test", "--terminate-at", "edge", "--alpn", "h2"),
     ["--alpn needs --terminate-at agent"]),
    (("--edge", "e.test", "--mutual-tls-cas", "x"),
     ["--mutual-tls-cas needs --terminate-at agent"]),
    (("--edg", "e.test"), ["did you mean --edge"]),
])
def test_flags_that_do_not_fit_are_told(scene, arguments, words):
    shown = lunette("tls", "1", *arguments, env={"LUNETTE_AUTHTOKEN": TOKEN})
    said = shown.stderr.decode()
    assert shown.returncode == 2, said
    for word in words:
        assert word in said, said
    assert "sesame" not in said and TOKEN not in said


def test_names_and_all_are_one_of_them(files):
    shown = lunette("agent", "-c", files.write("agent.yaml", AGENT), "--all",
                    "db")
    assert shown.returncode == 2 and b"--all" in shown.stderr


def run_agent(scene, *arguments, **options):
    """One that finds no edge, and looks for it for ever."""
    process = Process("lunette", [binary(), *arguments], scene.folder,
                      **options)
    try:
        until(lambda: b"ready" in process.stderr() or not process.alive(),
              15, "an agent")
        assert process.alive(), process.stderr()
    except BaseException:
        process.stop(signal.SIGKILL)
        raise
    return process


def words_of(process):
    with open(f"/proc/{process.pid}/cmdline", "rb") as f:
        return f.read()


def test_a_token_does_not_stay_on_the_command_line(scene):
    for given in (("--authtoken", TOKEN), (f"--authtoken={TOKEN}",)):
        process = run_agent(
            scene, "tls", "1", "--edge", f"127.0.0.1:{free_port()}",
            "--web-addr", "false", *given, "--domain", "a.test")
        try:
            assert TOKEN.encode() not in words_of(process)
            assert b"--domain\0a.test" in words_of(process)
            # It is still known after a reload.
            process.popen.send_signal(signal.SIGHUP)
            until(lambda: b'"reloaded"' in process.stderr(), 5, "a reload")
            assert TOKEN.encode() not in process.output()
            assert b"warning: others could have seen" in process.stderr()
        finally:
            assert process.stop(signal.SIGTERM) == 0, process.stderr()


def test_an_agent_starts_with_some_of_its_endpoints(files):
    path = files.write("agent.yaml", AGENT.replace(
        "[e.test]", f'["127.0.0.1:{free_port()}"]'))
    for names, count in (((), 2), (("--all",), 2), (("web",), 1)):
        process = run_agent(files, "agent", "-c", path, "--log-format",
                            "logfmt", *names)
        try:
            assert f"endpoints={count} ".encode() in process.stderr()
        finally:
            assert process.stop(signal.SIGTERM) == 0, process.stderr()


def test_a_reload_tells_what_waits_for_the_next_start(files):
    path = files.write("agent.yaml", AGENT)
    process = run_agent(files, "agent", "-c", path)
    try:
        files.write("agent.yaml", AGENT.replace(
            "edges: [e.test]", "edges: [f.test]\n  connections: 3\n"
            "  workers: 7\n  metadata: x").replace("5432", "5433"))
        process.popen.send_signal(signal.SIGHUP)
        until(lambda: b'"reloaded"' in process.stderr(), 5, "a reload")
        for key in (b"agent.edges", b"agent.connections", b"agent.workers",
                    b"agent.metadata"):
            assert b"key=" + key in process.stderr(), process.stderr()
        assert b"key=agent.web_addr" not in process.stderr()
        # What became an edge's file is refused, and the agent goes on.
        files.write("agent.yaml", EDGE)
        process.popen.send_signal(signal.SIGHUP)
        until(lambda: b"reload failed" in process.stderr(), 5, "a refusal")
        assert b"this is an edge's file" in process.stderr()
        assert process.alive()
    finally:
        assert process.stop(signal.SIGTERM) == 0, process.stderr()


def test_a_key_that_is_sent_is_told_before(scene):
    """Whatever becomes of the connection to the edge."""
    crt, key = copy_pair(scene, "app", "a.test")
    arguments = ("tls", "1", "--edge", "192.0.2.1", "--crt", crt, "--key", key,
                 "--domain", "a.test", "--web-addr", "x")
    warning = f"private key in {key} will be sent to the edge".encode()
    shown = lunette(*arguments, "--terminate-at", "edge")
    assert warning in shown.stderr
    shown = lunette(*arguments)
    assert b"will be sent" not in shown.stderr
