"""The commands that run to an end: check, policy check and test, install."""

import glob
import os
import resource
import shutil
import subprocess

import pytest

from edge import Edge, binary, lunette
from process import free_port, run
from waiting import PATIENCE, SANITIZED

SOURCE = os.environ.get("SOURCE") or os.path.abspath(
    os.path.join(os.path.dirname(__file__), "..", ".."))

GOOD = """version: 1
edge:
  listen:
    - address: "127.0.0.1:0"
endpoints:
  - url: tls://a.test
    upstream: "127.0.0.1:4443"
"""


def check(scene, text, name="edge.yaml"):
    path = scene.path(name)
    with open(path, "wb") as f:
        f.write(text if isinstance(text, bytes) else text.encode())
    return lunette("check", "-c", path)


def test_check_accepts_and_sums_up(scene):
    shown = check(scene, GOOD)
    assert shown.returncode == 0, shown.stderr
    assert b"a.test" in shown.stdout + shown.stderr or \
        b"1 endpoint" in shown.stdout


def with_lines(**changes):
    """GOOD with some of its lines replaced, by their key."""
    lines = GOOD.splitlines()
    for key, text in changes.items():
        for at, line in enumerate(lines):
            if line.lstrip(" -").startswith(key + ":"):
                lines[at] = text
    return "\n".join(lines) + "\n"


# Text, the line that must be named, words that must be in the message.
WRONG = {
    "unknown_key": (with_lines(upstream="    upstraem: \"127.0.0.1:1\""), 7,
                    ["upstraem", "upstream"]),
    "unknown_top_key": (GOOD + "endpionts: []\n", 8, ["endpoints"]),
    "unknown_edge_key": (with_lines(edge="edge:\n  worker: 2"), 3,
                         ["workers"]),
    "wrong_type": (with_lines(upstream="    upstream: { a: b }"), 7, []),
    "list_for_text": (with_lines(url="  - url: [a, b]"), 6, ["url"]),
    "duplicate_key": (GOOD + "    upstream: \"127.0.0.1:2\"\n", 8,
                      ["upstream"]),
    "tab": (GOOD + "\tx: y\n", 8, []),
    "duration_without_unit": (
        with_lines(edge="edge:\n  timeouts: { hello: 3 }"), 3, ["3"]),
    "negative_duration": (
        with_lines(edge="edge:\n  timeouts: { hello: -3s }"), 3, []),
    "bad_url": (with_lines(url="  - url: https://a.test"), 6, ["tls://"]),
    "url_is_ip": (with_lines(url="  - url: tls://127.0.0.1"), 6, []),
    "inner_star": (with_lines(url="  - url: tls://a.*.test"), 6, []),
    "same_name_twice": (GOOD + "  - url: tls://A.test.\n"
                        "    upstream: \"127.0.0.1:2\"\n", 8, ["a.test"]),
    "upstream_without_port": (
        with_lines(upstream="    upstream: localhost"), 7, ["port"]),
    "port_too_large": (
        with_lines(upstream="    upstream: \"127.0.0.1:70000\""), 7, []),
    "listen_without_port": (
        with_lines(address="    - address: 127.0.0.1"), 4, ["port"]),
    "version_2": (with_lines(version="version: 2"), 1, ["version"]),
    "unknown_default": (
        with_lines(edge="edge:\n  default_endpoint: tls://b.test"), 3,
        ["b.test"]),
    "missing_policy": (
        with_lines(edge="edge:\n  policy: { file: absent.lua }"), 3,
        ["absent.lua"]),
    "bad_balance": (GOOD + "    balance: least_conections\n", 8,
                    ["least_connections"]),
    "bad_tlv": (GOOD + "    proxy_proto: 2\n    proxy_tlvs: [authorty]\n",
                9, ["authority"]),
    "proxy_proto_3": (GOOD + "    proxy_proto: 3\n", 8, []),
    "deny_alone": (GOOD + "    ip_restriction: { deny: [\"10.0.0.0/8\"] }\n",
                   8, ["0.0.0.0/0"]),
    "no_upstream": (with_lines(upstream="    metadata: x"), 6,
                    ["upstream"]),
    # What would do nothing is refused, and what could serve nobody.
    "no_certificate": (GOOD + "    terminate_at: edge\n", 8,
                       ["a.test", "certificates", "local_ca"]),
    "unknown_certificate": (
        GOOD + "    terminate_at: edge\n    certificate: app\n", 9,
        ["app"]),
    "mtls_of_nothing": (GOOD + "    alpn: [h2]\n", 8,
                        ["terminate_at: edge"]),
    "absent_certificate": (
        GOOD + "certificates: [{ crt: absent.pem, key: absent.key }]\n", 8,
        ["absent.pem"]),
    # What is for an agent's file says so.
    "agents_terminate": (GOOD + "    terminate_at: agent\n", 8,
                         ["agent's file"]),
    "agents_name": (GOOD + "    name: a\n", 8, ["agent's file"]),
    "agents_without_tokens": (
        with_lines(edge="edge:\n  agents: { server_names: [c.test] }"), 3,
        ["authtokens_file"]),
    # What belongs to later versions is refused by name, never ignored.
    "later_admin": (
        with_lines(edge="edge:\n  admin: { listen: \"127.0.0.1:1\" }"), 3,
        ["version"]),
    "later_cluster": (GOOD + "cluster: { nats: [x] }\n", 8, ["version"]),
    "anchor": (with_lines(upstream="    upstream: &a \"127.0.0.1:1\""), 7,
               []),
    "alias": (GOOD + "    metadata: *a\n", 8, []),
    "unclosed": (GOOD + "    metadata: \"x\n", None, []),
    "tag": (GOOD + "    metadata: !!binary aGk=\n", 8, []),
    "two_documents": (GOOD + "---\nversion: 1\n", None, []),
    "not_a_map": ("- 1\n- 2\n", 1, []),
    "empty": ("", None, []),
}


@pytest.mark.parametrize("case", WRONG)
def test_check_names_file_line_and_the_nearest_key(scene, case):
    """CF-01, CF-02: and a start says the same."""
    text, line, words = WRONG[case]
    shown = check(scene, text)
    message = shown.stderr.decode()
    assert shown.returncode == 1, (shown.returncode, message)
    if line:
        assert f"edge.yaml:{line}:" in message, message
    for word in words:
        assert word in message, (word, message)
    started = lunette("edge", "-c", scene.path("edge.yaml"))
    assert started.returncode == 1
    for said in message.splitlines():
        if "edge.yaml:" in said:
            where = said[said.index("edge.yaml:"):]
            assert where in started.stderr.decode(), (where, started.stderr)


def test_all_errors_are_printed(scene):
    text = """version: 1
edge:
  listen:
    - address: nonsense
  worker: 2
endpoints:
  - url: tls://a b
    upstream: "x"
    health: { every: soon }
  - url: tls://b.test
"""
    message = check(scene, text).stderr.decode()
    for line in (4, 5, 7, 8, 9, 10):
        assert f"edge.yaml:{line}:" in message, (line, message)


NASTY = {
    "billion_laughs": "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [" +
        ",".join([f"*{chr(97 + i)}"] * 9) + "]\n" for i in range(9)),
    "deep": "a: " + "[" * 100_000 + "]" * 100_000 + "\n",
    "deep_block": "".join("  " * min(i, 2000) + "a:\n"
                          for i in range(2000)),
    "fifty_megabytes": "# " + "x" * 50_000_000 + "\n",
    "many_keys": "".join(f"k{i}: 1\n" for i in range(100_000)),
    "nul": GOOD.encode() + b"\0\0\0",
    "nul_inside": GOOD.encode().replace(b"a.test", b"a\0test"),
    "escaped_nul": with_lines(url='  - url: "tls://a\\0.test"'),
    "bad_utf8": GOOD.encode() + b"x: \xff\xfe\n",
    "utf16": GOOD.encode("utf-16"),
    "controls": GOOD.encode() + b"\x01\x02\x1b[2J: 1\n",
    "recursion": "a: &a { b: *a }\n",
    "long_key": "k" * 100_000 + ": 1\n",
    "number": with_lines(edge="edge:\n  workers: 99999999999999999999"),
}


@pytest.mark.parametrize("case", NASTY)
def test_hostile_files_are_refused_quickly(scene, case):
    """CF-01: within a second and 50 MB beside the program."""
    text = NASTY[case]
    path = scene.path("nasty.yaml")
    with open(path, "wb") as f:
        f.write(text if isinstance(text, bytes) else text.encode())
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    process = subprocess.Popen([binary(), "check", "-c", path],
                               stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=30 * PATIENCE)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert spent < 1 * PATIENCE
    assert process.returncode == 1, (out[-500:], err[-500:])
    assert b"nasty.yaml" in err and len(err) < 10_000_000
    assert b"\x1b" not in err, "what is quoted is escaped"


def test_byte_order_mark(scene):
    """Editors put it there: taken or refused, in words."""
    shown = check(scene, b"\xef\xbb\xbf" + GOOD.encode())
    assert shown.returncode in (0, 1)
    assert shown.returncode == 0 or b"edge.yaml" in shown.stderr


@pytest.mark.skipif(SANITIZED, reason="measures memory")
def test_hostile_files_cost_little_memory(scene):
    for case in ("billion_laughs", "fifty_megabytes", "deep"):
        path = scene.path("nasty.yaml")
        with open(path, "w") as f:
            f.write(NASTY[case])
        limited = subprocess.run(
            [binary(), "check", "-c", path], check=False,
            capture_output=True, preexec_fn=lambda: resource.setrlimit(
                resource.RLIMIT_DATA, (50 * 2**20, 50 * 2**20)))
        assert limited.returncode == 1, limited.stderr[-500:]
        assert b"nasty.yaml" in limited.stderr


def test_check_changes_nothing(scene):
    """CF-02: no listener, no event file, no folder."""
    port = free_port()
    text = GOOD.replace("127.0.0.1:0", f"127.0.0.1:{port}") + \
        "events:\n  - file: made.jsonl\n"
    before = set(os.listdir(scene.folder))
    shown = check(scene, text)
    assert shown.returncode == 0, shown.stderr
    assert set(os.listdir(scene.folder)) - before == {"edge.yaml"}


def test_check_compiles_policies(scene):
    scene.write("broken.lua", "return function(\n end end\n")
    shown = check(scene, with_lines(
        edge="edge:\n  policy: { file: broken.lua }"))
    assert shown.returncode == 1
    assert b"broken.lua:" in shown.stderr


def test_several_files_and_no_file(scene):
    good, bad = scene.write("good.yaml", GOOD), \
        scene.write("bad.yaml", "version: 3\n")
    shown = lunette("check", "-c", good, "-c", bad)
    assert shown.returncode == 1 and b"bad.yaml:1:" in shown.stderr
    missing = lunette("check", "-c", scene.path("absent.yaml"))
    assert missing.returncode == 1 and b"absent.yaml" in missing.stderr
    folder = lunette("check", "-c", scene.folder)
    assert folder.returncode == 1
    default = lunette("edge")
    if b"edge.yaml:" not in default.stderr:  # this machine has one
        assert default.returncode == 1
        assert b"there is no " in default.stderr and \
            b"-c FILE" in default.stderr


@pytest.mark.parametrize("arguments", [
    ("--nonsense",), ("tls",), ("tls", "1", "--listne", ":1"), ("edgy",),
    ("edge", "--config"), ("tls", "host-without-port"),
    ("tls", "1", "--proxy-proto", "3"), ("tls", "1", "--domain", "a b"),
    ("policy",), ("policy", "chekc", "x.lua"), ("policy", "check"),
])
def test_wrong_usage(arguments):
    shown = lunette(*arguments, stdin=b"")
    assert shown.returncode in (1, 2), shown.stdout
    assert shown.stderr and len(shown.stderr.splitlines()) <= 12
    if "--listne" in arguments:
        assert shown.returncode == 2 and b"--listen" in shown.stderr
    if arguments[0] == "edgy":
        assert b"edge" in shown.stderr
    if "chekc" in arguments:
        assert b"check" in shown.stderr


def test_listening_on_oneself_is_refused(scene):
    port = free_port()
    shown = lunette("tls", port, "--listen", f"127.0.0.1:{port}")
    assert shown.returncode in (1, 2)
    assert str(port).encode() in shown.stderr


def test_policy_check_finds_what_is_wrong(scene):
    scene.write("wrong.lua", """local lunette = require "lunette"
return function(conn)
  local x = undefined_thing
  lunette.denny "typo"
  return { alow = false }
end
""")
    shown = lunette("policy", "check", scene.path("wrong.lua"))
    message = shown.stderr.decode()
    assert shown.returncode == 1
    for line, word in ((3, "undefined_thing"), (4, "denny"), (5, "alow")):
        assert f"wrong.lua:{line}:" in message and word in message, message
    good = scene.write("good.lua", 'local lunette = require "lunette"\n'
                       "return function(conn) return lunette.deny() end\n")
    assert lunette("policy", "check", good).returncode == 0


def test_policy_check_survives_hostile_scripts(scene):
    for n, text in enumerate((
            "while true do end", "\x1bLJ\2\n", "return " + "(" * 5000,
            "local s = 'x' while true do s = s .. s end",
            "local t = {} t.t = t return t", "", "return nil", "\0",
            "for i = 1, 1e9 do end return function() end")):
        path = scene.write(f"h{n}.lua", text)
        shown = lunette("policy", "check", path)
        assert shown.returncode == 1, text[:20]
        assert f"h{n}.lua".encode() in shown.stderr


def test_policy_test_runs_and_counts(scene):
    scene.write("p.lua", """
        local lunette = require "lunette"
        return function(conn)
          if conn.sni == "no.test" then return lunette.deny "no" end
        end
    """)
    body = """
        policy "p.lua"
        test("denies no.test", function()
          local d = decide { sni = "no.test", client_ip = "192.0.2.1" }
          assert(d.allow == false)
        end)
        test("allows others", function()
          local d = decide { sni = "yes.test", client_ip = "192.0.2.1" }
          assert(d.allow == %s)
        end)
    """
    good = scene.write("good_test.lua", body % "true")
    shown = lunette("policy", "test", good)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert b"2 passed" in shown.stdout
    bad = scene.write("bad_test.lua", body % "false")
    shown = lunette("policy", "test", bad)
    assert shown.returncode == 1
    assert b"allows others" in shown.stdout + shown.stderr


def folder_files(folder, pattern):
    return sorted(glob.glob(os.path.join(SOURCE, folder, pattern)))


@pytest.mark.parametrize("path", [
    p for p in folder_files("policies", "*.lua")
    if not p.endswith("_test.lua")], ids=os.path.basename)
def test_every_ready_policy_passes_check_and_has_a_test(scene, path):
    # Some name a file of CAs; tests/policy/run makes all that their tests
    # need.
    if b"clients.pem" in open(path, "rb").read():
        shutil.copy(scene.certificates.ca, scene.path("clients.pem"))
        for file in folder_files("policies", "*.lua"):
            shutil.copy(file, scene.folder)
        path = scene.path(os.path.basename(path))
        shown = lunette("policy", "check", path)
        assert shown.returncode == 0, shown.stderr.decode()
        return
    shown = lunette("policy", "check", path)
    assert shown.returncode == 0, shown.stderr.decode()
    own = [p for p in folder_files("policies", "*_test.lua") +
           folder_files("tests/policy", "*.lua")
           if os.path.basename(path)[:-4] in os.path.basename(p)]
    assert own, "a test for it"
    for test in own:
        shown = lunette("policy", "test", test)
        assert shown.returncode == 0, (shown.stdout + shown.stderr).decode()


def test_make_install(scene):
    """`make install DESTDIR=` gives a lunette that runs from there."""
    build = os.environ.get("BUILD")
    if not build or not os.path.exists(os.path.join(build, "Makefile")):
        pytest.skip("BUILD names no build folder")
    if not shutil.which("make"):
        pytest.skip("no make")
    target = scene.path("installed")
    made = run(["make", "-C", build, "install", f"DESTDIR={target}"],
               timeout=300, env={"MAKEFLAGS": ""})
    assert made.returncode == 0, made.stderr[-3000:]
    found = {name: os.path.join(root, name)
             for root, _, names in os.walk(target) for name in names}
    for name in ("lunette", "lunette.1", "lunette.yaml.5",
                 "lunette-policy.7"):
        assert name in found, sorted(found)
    shown = run([found["lunette"], "version"])
    assert shown.returncode == 0 and b"unette" in shown.stdout


def test_the_document_writer_is_read_back(scene):
    """The harness's own YAML passes `check`."""
    upstream = scene.upstream()
    edge = Edge(scene.folder, [{"url": "tls://a.test",
                                "upstream": upstream.address}])
    scene.edges.append(edge)
    assert lunette("check", "-c", edge.config_path).returncode == 0
