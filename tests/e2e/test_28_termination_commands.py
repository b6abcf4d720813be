"""What the commands say about certificates, keys and where TLS ends."""

import glob
import os
import shutil
import socket
import ssl
import time

import pytest

from certificates import DAY
from edge import Edge, Running, lunette
from tlspeer import client_context, server_context
from tlsupstream import TlsUpstream
from upstream import answer_and_close
from waiting import PATIENCE

SOURCE = os.environ.get("SOURCE") or os.path.abspath(
    os.path.join(os.path.dirname(__file__), "..", ".."))
AS_ROOT = os.geteuid() == 0

ENDS_HERE = """version: 1
edge:
  listen: ["127.0.0.1:0"]
certificates:
  - { name: app, crt: app.pem, key: app.key }
endpoints:
  - url: tls://a.test
    upstream: "127.0.0.1:4443"
    terminate_at: edge
"""


def copy_pair(scene, stem, *names, **options):
    """A pair as files of the test's own, with a key that is its own."""
    options.setdefault("end", 80 * DAY + 3600)
    made = scene.certificates.root.leaf(*names, **options)
    os.makedirs(os.path.dirname(scene.path(stem)), exist_ok=True)
    crt, key = scene.path(stem + ".pem"), scene.path(stem + ".key")
    shutil.copy(made.crt, crt)
    shutil.copy(made.key, key)
    os.chmod(key, 0o600)
    return crt, key


def check(scene, text, name="edge.yaml"):
    shown = lunette("check", "-c", scene.write(name, text))
    return shown.returncode, shown.stdout.decode(), shown.stderr.decode()


def test_check_tells_what_ends_where(scene):
    copy_pair(scene, "app", "a.test", "*.b.test")
    shutil.copy(scene.certificates.ca, scene.path("ca.pem"))
    code, out, err = check(scene, ENDS_HERE + """    certificate: app
    min_version: 1.3
    mutual_tls: { cas: ca.pem }
  - { url: tls://c.test, upstream: "tls://127.0.0.1:4444" }
""")
    assert code == 0 and not err, err
    assert "1 certificate" in out
    assert "app.pem named app: a.test, *.b.test (ECDSA, 80 days left)" in out
    line = next(l for l in out.splitlines() if "tls://a.test" in l)
    for words in ("TLS ends at: edge", "certificate app", "TLS 1.3 only",
                  "requires client certificates of"):
        assert words in line, out
    line = next(l for l in out.splitlines() if "tls://c.test" in l)
    assert "TLS ends at: upstream" in line, out


def test_check_tells_whose_certificates_are_good(scene):
    copy_pair(scene, "app", "a.test")
    for name in ("ca.pem", "more.pem"):
        shutil.copy(scene.certificates.ca, scene.path(name))
    code, out, err = check(scene, ENDS_HERE.replace(
        "127.0.0.1:4443", "tls://127.0.0.1:4443") + """    certificate: app
    mutual_tls: { cas: [ca.pem, more.pem], mode: request }
    upstream_tls: { verify: false }
""")
    assert code == 0 and not err, err
    line = next(l for l in out.splitlines() if "tls://a.test" in l)
    assert "asks for client certificates of " in line
    assert "ca.pem, " in line and "more.pem" in line
    assert "to tls://127.0.0.1:4443 (certificate not verified)" in line


def test_days_and_open_keys_are_warned_of(scene):
    """TL-13, HD-04: an expired certificate and a key that all can read are
    warnings, in `check` and in the log of a start."""
    copy_pair(scene, "app", "a.test", begin=-9 * DAY, end=-3 * DAY)
    os.chmod(scene.path("app.key"), 0o644)
    code, out, err = check(scene, ENDS_HERE)
    assert code == 0 and "(ECDSA, expired)" in out
    assert f"warning: {scene.path('edge.yaml')}:5:23: " in err
    assert "app.pem: expired " in err and "3 days ago" in err
    assert "every user of this machine can read the private key" in err
    edge = Running(["edge", "-c", scene.path("edge.yaml")], scene.folder)
    scene.edges.append(edge)
    told = [e for e in edge.log_lines()
            if e.get("msg") == "configuration warning"]
    assert len(told) == 2 and all(e["level"] == "warn" for e in told), told


def test_a_key_of_another_certificate_is_refused(scene):
    """TL-13: at start, in `check` and at a reload, which changes nothing."""
    copy_pair(scene, "app", "a.test")
    path = scene.write("edge.yaml", ENDS_HERE)
    edge = Running(["edge", "-c", path], scene.folder)
    scene.edges.append(edge)
    other = scene.certificates.pair("other.test")[1]
    scene.write("edge.yaml", ENDS_HERE.replace("app.key", other))
    edge.kill(1)
    failed = edge.wait_log("reload failed")
    assert f"{path}:5:" in failed["error"], failed
    assert edge.process.alive()
    for command in ("check", "edge"):
        shown = lunette(command, "-c", path)
        assert shown.returncode == 1
        assert f"{path}:5:".encode() in shown.stderr, shown.stderr


@pytest.mark.parametrize("state, said", [
    ("made/by/a/start", b""), (".", b""),
    ("app.pem/state", b"edge.state: ")])
def test_check_tells_of_a_state_folder_that_cannot_be(scene, state, said):
    copy_pair(scene, "app", "a.test")
    before = set(os.listdir(scene.folder))
    code, _, err = check(scene, ENDS_HERE.replace(
        "edge:\n", f"edge:\n  local_ca: auto\n  state: {state}\n"))
    assert code == 0 and said.decode() in err and bool(said) == bool(err)
    assert set(os.listdir(scene.folder)) - before == {"edge.yaml"}


@pytest.mark.parametrize("old, new, said", [
    ("edge:\n", "edge:\n  user: nobody-of-this-name\n",
     "edge.user: nobody-of-this-name: there is no such user"),
    ("endpoints:", "events: [{ file: none/here }]\nendpoints:",
     "none/here: No such file or directory; make its folder first")])
def test_check_warns_of_what_a_start_lacks_here(scene, old, new, said):
    copy_pair(scene, "app", "a.test")
    code, _, err = check(scene, ENDS_HERE.replace(old, new))
    assert code == 0 and said in err, err


@pytest.mark.parametrize("size, mode, said", [
    (80, 0o600, None), (79, 0o600, "tickets"), (80, 0o644, "tickets"),
    (0, 0o600, "tickets")])
def test_check_reads_ticket_keys(scene, size, mode, said):
    copy_pair(scene, "app", "a.test")
    with open(scene.path("tickets"), "wb") as f:
        f.write(os.urandom(size))
    os.chmod(scene.path("tickets"), mode)
    text = ENDS_HERE.replace(
        "edge:\n", "edge:\n  session_tickets: { keys: tickets }\n")
    code, _, err = check(scene, text)
    assert code == (1 if said else 0), err
    if said:
        assert said in err
        started = lunette("edge", "-c", scene.path("edge.yaml"))
        assert started.returncode == 1 and said in started.stderr.decode()


WRONG_FLAGS = {
    "no_key": (("--crt", "CRT"), ["--crt", "private key"]),
    "no_crt": (("--key", "KEY"), ["--key", "--crt"]),
    "swapped": (("--crt", "KEY", "--key", "CRT"), ["--crt"]),
    "no_file": (("--crt", "absent.pem", "--key", "KEY"), ["absent.pem"]),
    "clients_of_nobody": (("--mutual-tls-cas", "CA"), ["--terminate-at"]),
    "crt_at_upstream": (
        ("--crt", "CRT", "--key", "KEY", "--terminate-at", "upstream"),
        ["--crt", "--terminate-at edge"]),
    "version_of_nothing": (("--min-version", "1.3"), ["--terminate-at"]),
    "alpn_of_nothing": (("--alpn", "h2"), ["--terminate-at"]),
    "verified_nothing": (("--upstream-tls-verify",), ["--terminate-at"]),
    "versions_crossed": (
        ("--terminate-at", "edge", "--min-version", "1.3", "--max-version",
         "1.2"), ["min_version"]),
    "old_version": (("--terminate-at", "edge", "--min-version", "1.1"),
                    ["1.2 or 1.3"]),
    "elsewhere": (("--terminate-at", "server"), ["edge", "upstream"]),
    "leaf_as_ca": (("--terminate-at", "edge", "--mutual-tls-cas", "CRT"),
                   ["--mutual-tls-cas"]),
    "tls_to_none": (("--terminate-at", "edge", "--upstream-tls-verify"),
                    ["tls://"]),
    "ssl_without_header": (
        ("--terminate-at", "edge", "--proxy-tlvs", "ssl"), ["proxy_proto"]),
    "ssl_of_nothing": (("--proxy-proto", "2", "--proxy-tlvs", "ssl"),
                       ["ssl"]),
    "keylog_nowhere": (("--allow-keylog",), ["SSLKEYLOGFILE"]),
}


@pytest.mark.parametrize("case", WRONG_FLAGS)
def test_wrong_flags_are_refused(scene, case):
    arguments, words = WRONG_FLAGS[case]
    crt, key = copy_pair(scene, "app", "a.test")
    files = {"CRT": crt, "KEY": key, "CA": scene.certificates.ca}
    shown = lunette("tls", "1", "--listen", "127.0.0.1:0",
                    *[files.get(a, a) for a in arguments],
                    env={"SSLKEYLOGFILE": ""})
    assert shown.returncode == 2, shown.stderr
    message = shown.stderr.decode()
    assert len(message.splitlines()) == 1, message
    for word in words:
        assert word in message, message


def tls(scene, *arguments, env=None):
    edge = Running(
        ["tls", *map(str, arguments), "--listen", "127.0.0.1:0"],
        scene.folder,
        env={"STATE_DIRECTORY": scene.path("state"), **(env or {})})
    scene.edges.append(edge)
    return edge


def test_the_local_ca_is_warned_of(scene):
    edge = tls(scene, 1, "--terminate-at", "edge", "--domain", "a.test")
    ca = scene.path("state/local-ca.pem")
    told = edge.wait_log("must be told to trust")
    assert told["level"] == "warn" and told["ca"] == ca
    told = edge.wait_log("how to trust the local CA")
    assert told["once"] == "curl --cacert " + ca
    assert told["debian"].startswith(f"cp {ca} /usr/local/share/")
    assert told["debian"].endswith("&& update-ca-certificates")


def test_a_certificate_of_ones_own_needs_no_local_ca(scene):
    crt, key = copy_pair(scene, "app", "a.test")
    edge = tls(scene, 1, "--crt", crt, "--key", key)
    assert not [e for e in edge.log_lines() if "local CA" in e["msg"]]
    assert not os.path.exists(scene.path("state"))


def test_secrets_are_written_only_if_that_is_allowed(scene):
    """Without the flag the variable is ignored; with it, a warning."""
    keys = scene.path("keys.log")
    edge = tls(scene, 1, "--terminate-at", "edge",
               env={"SSLKEYLOGFILE": keys})
    assert not [e for e in edge.log_lines() if "secrets" in e["msg"]]
    assert not os.path.exists(keys)
    edge = tls(scene, 1, "--terminate-at", "edge", "--allow-keylog",
               env={"SSLKEYLOGFILE": keys})
    told = edge.wait_log("secrets")
    assert told["level"] == "warn" and told["file"] == keys


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
def test_files_must_be_readable_after_the_drop(scene):
    """A reload reads them again, and a start says so rather than the night
    when it is needed."""
    for folder in (scene.folder, os.path.dirname(scene.folder)):
        os.chmod(folder, 0o755)
    copy_pair(scene, "app", "a.test")
    path = scene.write("edge.yaml", ENDS_HERE.replace(
        "edge:\n", "edge:\n  user: nobody\n"))
    shown = lunette("edge", "-c", path)
    assert shown.returncode == 1
    assert b"edge.user" in shown.stderr and \
        scene.path("app.key").encode() in shown.stderr, shown.stderr
    assert b"Permission denied" in shown.stderr


def copy_examples(scene):
    for path in glob.glob(os.path.join(SOURCE, "examples", "*")):
        shutil.copy(path, scene.folder)
    copy_pair(scene, "app", "app.example.com", "www.app.example.com")
    copy_pair(scene, "edge-client", "edge.example.com")
    copy_pair(scene, "certificates/net", "*.example.net")
    copy_pair(scene, "app-rsa", "app.example.com", key="rsa")
    copy_pair(scene, "connect", "connect.example.com")
    token = "token-0123456789abcdef"
    for name, text in (("agent.token", token), (
            "tokens.yaml", f"tokens: [ {{ name: me, token: {token} }} ]")):
        os.chmod(scene.write(name, text + "\n"), 0o600)
    for name in ("staff", "partner", "internal", "edge"):
        shutil.copy(scene.certificates.ca, scene.path(name + "-cas.pem"))
    scene.certificates.root.crl(scene.path("staff.crl"))


def test_every_example_passes_check(scene):
    copy_examples(scene)
    examples = glob.glob(os.path.join(SOURCE, "examples", "*.yaml"))
    assert len(examples) >= 13
    for path in examples:
        shown = lunette("check", "-c", scene.path(os.path.basename(path)))
        assert shown.returncode == 0, shown.stderr.decode()


def test_ten_thousand_certificates_are_checked_quickly(scene):
    """One pair under as many names: the files are read once."""
    copy_pair(scene, "app", "a.test")
    text = "version: 1\ncertificates:\n" + "".join(
        f"- {{ name: n{i}, crt: app.pem, key: app.key }}\n"
        for i in range(10_000)) + \
        "endpoints:\n- url: tls://a.test\n  terminate_at: edge\n" \
        "  certificate: n9999\n  upstream: \"127.0.0.1:4443\"\n"
    began = time.monotonic()
    code, out, err = check(scene, text)
    assert code == 0, err[-2000:]
    assert "10000 certificates" in out and "and 9900 more" in out
    assert time.monotonic() - began < 10 * PATIENCE


def test_a_terminating_command_serves(scene):
    """The shortest way to TLS, with the local CA and with a pair."""
    up = scene.upstream(answer_and_close(b"clear"))
    port = up.address.rpartition(":")[2]
    edge = tls(scene, port, "--terminate-at", "edge", "--domain", "a.test")
    crt, key = copy_pair(scene, "app", "a.test")
    own = tls(scene, port, "--crt", crt, "--key", key)
    for where, ca in ((edge, scene.path("state/local-ca.pem")),
                      (own, scene.certificates.ca)):
        assert dial(where, client_context(ca))[0] == b"clear"


def dial(edge, context, name="a.test"):
    """What an upstream of ours says through the edge, once it was asked, and
    the version and protocol that were agreed on."""
    with socket.create_connection(("127.0.0.1", edge.port), 10) as plain, \
            context.wrap_socket(plain, server_hostname=name) as client:
        client.sendall(b"?")
        data = client.recv(5)
        assert client.recv(1) == b"", "the end comes as close_notify"
        return data, client.version(), client.selected_alpn_protocol()


def test_flags_of_versions_and_protocols(scene):
    up = scene.upstream(answer_and_close(b"clear"))
    crt, key = copy_pair(scene, "app", "a.test")
    own = ("--crt", crt, "--key", key)
    ca = scene.certificates.ca
    new = tls(scene, up.address, *own, "--min-version", "1.3")
    old = tls(scene, up.address, *own, "--max-version=1.2", "--alpn",
              "h2,http/1.1")
    assert dial(new, client_context(ca)) == (b"clear", "TLSv1.3", None)
    with pytest.raises(ssl.SSLError):
        dial(new, client_context(ca, version="1.2"))
    assert dial(old, client_context(ca, alpn=["http/1.1", "h2"])) == \
        (b"clear", "TLSv1.2", "h2")
    with pytest.raises(ssl.SSLError):
        dial(old, client_context(ca, version="1.3"))


def test_flag_of_client_cas(scene):
    up = scene.upstream(answer_and_close(b"clear"))
    crt, key = copy_pair(scene, "app", "a.test")
    ca = scene.certificates.ca
    edge = tls(scene, up.address, "--crt", crt, "--key", key,
               "--mutual-tls-cas", ca)
    mine = copy_pair(scene, "me", subject="/CN=me")
    assert dial(edge, client_context(ca, cert=mine))[0] == b"clear"
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        dial(edge, client_context(ca))


@pytest.mark.parametrize("flags, fine", [
    ((), True),  # loopback is not verified by itself
    (("--upstream-tls-verify=false",), True),
    (("--upstream-tls-verify",), False),
    (("--upstream-tls-verify-cas", "CA"), True),
    (("--upstream-tls-verify", "--upstream-tls-verify-cas", "CA"), True),
])
def test_flags_of_a_verified_upstream(scene, flags, fine):
    pair = scene.certificates.pair("localhost")
    up = TlsUpstream(answer_and_close(b"again"),
                     context=server_context(pair))
    scene.upstreams.append(up)
    crt, key = copy_pair(scene, "app", "a.test")
    ca = scene.certificates.ca
    edge = tls(scene, "tls://localhost:" + up.address.rpartition(":")[2],
               "--crt", crt, "--key", key,
               *[ca if word == "CA" else word for word in flags])
    try:
        data = dial(edge, client_context(ca))[0]
    except (ssl.SSLError, OSError):
        data = b""
    assert data == (b"again" if fine else b"")


def test_the_secrets_are_written_when_asked_for(scene):
    up = scene.upstream(answer_and_close(b"clear"))
    crt, key = copy_pair(scene, "app", "a.test")
    keys = scene.path("keys.log")
    edge = tls(scene, up.address, "--crt", crt, "--key", key,
               "--allow-keylog", env={"SSLKEYLOGFILE": keys})
    assert dial(edge, client_context(scene.certificates.ca))[0] == b"clear"
    with open(keys, encoding="ascii") as f:
        assert "SERVER_TRAFFIC_SECRET_0 " in f.read()
    assert os.stat(keys).st_mode & 0o777 == 0o600
