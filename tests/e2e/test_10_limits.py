"""Limits, shortages and peers that misbehave: a small share, and a bound."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest

import hello
from edge import binary, lunette
from stream import Sender
from upstream import answer, answer_and_close, deaf, echo, hold, record, \
    reset
from waiting import PATIENCE, SANITIZED, scaled, until


def ok_edge(scene, **options):
    return scene.route(scene.upstream(answer_and_close(b"ok")),
                       options=options)


def ask(scene, edge, name="a.test"):
    client = scene.client(edge)
    try:
        client.hello(name)
        return client.read_all()[0]
    except ConnectionError:
        return b""
    finally:
        client.close()


@pytest.mark.core
def test_connections_per_client(scene):
    upstream = scene.upstream(answer(b"ok"))
    edge = scene.route(upstream, options={"edge": {
        "limits": {"connections_per_client": 3}, "workers": 4}})

    def held(source):
        client = scene.client(edge, source=source)
        client.hello()
        assert client.read(2) == b"ok"
        return client

    mine = [held("127.0.0.2") for _ in range(3)]
    extra = scene.client(edge, source="127.0.0.2")
    try:
        extra.hello()
        assert extra.read_all()[0] in (b"", hello.alert(80), hello.alert(49))
    except ConnectionError:
        pass
    held("127.0.0.3")
    assert edge.wait_events(1)[0]["close"]["reason"] == "limit"
    assert "connections_per_client" in edge.raw_log(), \
        "the message names the key"
    mine.pop().close()
    edge.wait_events(2)
    held("127.0.0.2")


@pytest.mark.core
def test_connection_limit(scene):
    upstream = scene.upstream(answer(b"ok"))
    edge = scene.route(upstream, options={"edge": {
        "limits": {"connections": 5}}})
    held = []
    for _ in range(5):
        client = scene.client(edge)
        client.hello()
        assert client.read(2) == b"ok"
        held.append(client)
    # The next ones wait in the backlog, or are shed with an event.
    waiting = scene.client(edge)
    waiting.hello()
    waiting.sock.settimeout(0.3)
    try:
        shed = waiting.sock.recv(10)
        assert shed == b"" or shed[:1] == b"\x15"
        assert edge.events()[-1]["close"]["reason"] == "limit"
    except ConnectionResetError:
        assert edge.wait_events(1)[0]["close"]["reason"] == "limit"
    except TimeoutError:
        held.pop().close()
        waiting.sock.settimeout(5 * PATIENCE)
        assert waiting.read(2) == b"ok"
    assert "connections" in edge.raw_log()


def test_the_limit_is_derived_and_said_at_start(scene):
    """RE-04: fewer descriptors than clients want; held, and served again."""
    descriptors = 400 if SANITIZED else 2000
    upstream = scene.crowd()
    edge = scene.route(upstream, options={"descriptors": descriptors})
    said = [e for e in edge.log_lines() if "connections" in str(e)
            and e.get("msg") != "listening"]
    assert said, "the limit is said at start"
    clients = []
    wanted = int(descriptors * 2.5)
    for _ in range(wanted):
        client = scene.client(edge)
        clients.append(client)
        try:
            client.hello()
        except ConnectionError:
            pass
    until(lambda: len(upstream.open) > descriptors // 4, 10, "it serves")
    before = edge.process.cpu_seconds()
    time.sleep(1)
    assert edge.process.cpu_seconds() - before < 0.5 * PATIENCE, "no spin"
    assert edge.process.descriptors() < descriptors
    for client in clients:
        client.close()
    until(lambda: edge.process.sockets() <= edge.base_sockets, 20,
          "all let go")
    good = scene.upstream(answer_and_close(b"again"))
    edge.endpoints = [{"url": "tls://a.test", "upstream": good.address}]
    assert edge.reload()[0], "a reload works after the shortage"
    assert ask(scene, edge) == b"again"


def test_reload_works_at_the_limit(scene):
    """The reserve holds what the operator needs."""
    upstream = scene.crowd()
    edge = scene.route(upstream, options={"descriptors": 300})
    for _ in range(400):
        client = scene.client(edge)
        try:
            client.hello()
        except ConnectionError:
            pass
    until(lambda: len(upstream.open) > 50, 10, "it serves")
    edge.endpoints.append({"url": "tls://b.test",
                           "upstream": upstream.address})
    fine, entry = edge.reload()
    assert fine, entry


def injected(scene, what):
    """Lunette under strace, with failures of one system call."""
    if SANITIZED:
        pytest.skip("strace and sanitizers do not mix")
    strace = shutil.which("strace")
    if not strace:
        pytest.skip("strace is not installed")
    probe = subprocess.run([strace, "-o", "/dev/null", "true"], check=False,
                           capture_output=True)
    if probe.returncode:
        pytest.skip("strace may not trace here")
    # -D: the tracer is the grandchild, so that our child is lunette itself.
    return [strace, "-D", "-f", "-qq", "-o", scene.path("strace.out"), "-e",
            "trace=" + what.partition(":")[0], "-e", f"inject={what}"]


def was_injected(scene):
    with open(scene.path("strace.out")) as f:
        return "(INJECTED)" in f.read()


@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM",
                                   "ECONNABORTED", "EPERM", "EINTR"])
def test_failing_accepts_are_survived(scene, error):
    wrapper = injected(scene, f"accept4:error={error}:when=2+3")
    edge = ok_edge(scene, wrapper=wrapper)
    answers = [ask(scene, edge) for _ in range(12)]
    # Without descriptors a waiting client may be shed, with an event.
    shed = 4 if error in ("EMFILE", "ENFILE") else 0
    assert set(answers) <= {b"ok", b""}
    assert answers.count(b"ok") >= 12 - shed
    edge.wait_events(12, timeout=20)
    assert was_injected(scene)


@pytest.mark.parametrize("what", [
    "socket:error=EMFILE:when=3+4", "connect:error=ENOBUFS:when=2+3",
    "epoll_ctl:error=ENOMEM:when=9+5"])
def test_failing_calls_cost_one_connection(scene, what):
    edge = ok_edge(scene, wrapper=injected(scene, what))
    answers = [ask(scene, edge) for _ in range(20)]
    assert b"ok" in answers
    for data in answers:
        assert data in (b"ok", b"", hello.alert(80)), data
    edge.wait_events(20, timeout=20)
    assert was_injected(scene)


def test_no_local_port_left(scene):
    """RE-10 in small: EADDRNOTAVAIL is an error with a name, and passes."""
    wrapper = injected(scene, "connect:error=EADDRNOTAVAIL:when=1..3")
    edge = ok_edge(scene, wrapper=wrapper, edge={"workers": 1})
    for _ in range(3):
        assert ask(scene, edge) == hello.alert(80)
    assert ask(scene, edge) == b"ok"
    reasons = [e["close"]["reason"] for e in edge.wait_events(4, 20)]
    assert reasons[:3] == ["no_local_port"] * 3


NAMESPACE_TEST = """
import sys
sys.path.insert(0, sys.argv[1])
import socket, subprocess, time, tempfile, pathlib
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
open("/proc/sys/net/ipv4/ip_local_port_range", "w").write("40000 40199")
import scene, certificates, hello, upstream
folder = tempfile.mkdtemp(dir=sys.argv[2])
s = scene.Scene(folder, None)
up = s.crowd()
edge = s.edge([{"url": "tls://a.test", "upstream": up.address}])
answers = []
for n in range(260):
    # The clients' own ports would run out too: each has its own address.
    c = s.client(edge, source="127.0.%d.%d" % (1 + n // 200, 1 + n % 200))
    c.hello()
from waiting import until
until(lambda: len(edge.events()) >= 20, 20, "the ones too many end")
reasons = {e["close"]["reason"] for e in edge.events()}
assert reasons == {"no_local_port"}, reasons
# Ports that the clients have bound are not given to the edge either.
until(lambda: len(up.open) >= 50, 10, "%d served" % len(up.open))
for c in s.clients:
    c.close()
until(lambda: len(edge.events()) >= 260, 20, "all end")
s.settles = False
s.close(True)
print("done")
"""


@pytest.mark.skipif(SANITIZED, reason="the plain build shows it")
def test_ports_run_out_in_a_small_network(scene):
    """RE-10 for real: 200 ports to one upstream, in a namespace of ours."""
    if os.geteuid() != 0 or not shutil.which("ip") or \
            not shutil.which("unshare"):
        pytest.skip("needs root, ip and unshare for a network namespace")
    probe = subprocess.run(["unshare", "-n", "true"], check=False,
                           capture_output=True)
    if probe.returncode:
        pytest.skip("no network namespaces here")
    script = scene.write("inside.py", NAMESPACE_TEST)
    done = subprocess.run(
        ["unshare", "-n", sys.executable, script, os.path.dirname(__file__),
         scene.folder], check=False, capture_output=True, timeout=100,
        env={**os.environ, "LUNETTE": binary()})
    assert done.returncode == 0 and b"done" in done.stdout, \
        done.stderr[-3000:].decode()


def test_two_thousand_slow_clients(scene):
    """RE-01: idle ones, half hellos and drips from one address; good ones
    are served quickly, and all are let go by the deadline."""
    count = scaled(2000)
    edge = ok_edge(scene)
    ask(scene, edge)
    base = edge.process.rss_bytes()
    wire = hello.hello()
    slow = []
    for n in range(count):
        client = scene.client(edge, source="127.0.0.66")
        slow.append(client)
        if n % 3 == 1:
            client.send(wire[:len(wire) // 2])
        elif n % 3 == 2:
            client.send(wire[:1])
    used = edge.process.rss_bytes() - base
    worst, good = 0, 0
    for turn in range(30):
        began = time.monotonic()
        good += ask(scene, edge) == b"ok"
        worst = max(worst, time.monotonic() - began)
        for client in slow[2:60:3]:
            try:
                client.send(wire[turn + 1:turn + 2])
            except OSError:
                pass
    assert good == 30 and worst < 0.5 * PATIENCE, (good, worst)
    if not SANITIZED:
        assert used / count < 8192, used / count
    events = edge.wait_events(count + 31, timeout=15)
    slow_reasons = [e["close"]["reason"] for e in events
                    if e["conn"]["client_ip"] == "127.0.0.66"]
    assert slow_reasons.count("hello_timeout") == count
    until(lambda: edge.process.sockets() <= edge.base_sockets, 4, "let go")


@pytest.mark.parametrize("side", ["client", "upstream"])
def test_peer_that_stops_reading_for_ever(scene, side):
    """RE-06: closed at the idle time, without work meanwhile."""
    upstream = scene.upstream(deaf)
    edge = scene.route(upstream, timeouts={"idle": "1s"})
    client = scene.client(edge)
    client.hello()
    arrival = upstream.next()
    writer = arrival.sock if side == "client" else client.sock
    writer.settimeout(10 * PATIENCE)
    sender = Sender(writer, 200 * 2**20)
    began = time.monotonic()
    time.sleep(0.4)
    before = edge.process.cpu_seconds()
    time.sleep(0.4)
    assert edge.process.cpu_seconds() - before < 0.1
    event = edge.wait_events(1, timeout=8)[0]
    assert event["close"]["reason"] == "idle_timeout"
    assert time.monotonic() - began < 6 * PATIENCE
    sender.join(10 * PATIENCE)
    assert not sender.is_alive()


def test_half_closed_both_ways_with_data_pending(scene):
    """RE-07: FINs from both sides while nobody reads: a deadline ends it."""
    upstream = scene.upstream(deaf)
    edge = scene.route(upstream, timeouts={"idle": "1s"})
    pairs = []
    for _ in range(10):
        client = scene.client(edge)
        client.hello()
        arrival = upstream.next()
        for sock in (client.sock, arrival.sock):
            sock.settimeout(0.05)
            try:
                for _ in range(100):
                    sock.send(bytes(262144))
            except TimeoutError:
                pass
            sock.shutdown(socket.SHUT_WR)
        pairs.append((client, arrival))
    for event in edge.wait_events(10, timeout=8):
        assert event["close"]["reason"] == "idle_timeout"
    edge.settle(4)


def test_connection_storm_of_resets(scene):
    """Clients that reset at any moment, some before accept."""
    edge = scene.route(scene.upstream(record))
    wire = hello.hello()
    count = scaled(1000)

    def storm(seed):
        for n in range(count // 4):
            sock = socket.create_connection(("127.0.0.1", edge.port))
            sock.send(wire[:(n * 37 + seed) % (len(wire) + 1)] or b"\x16")
            reset(sock)

    threads = [threading.Thread(target=storm, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    edge.wait_events(count // 4 * 4, timeout=10)
    reasons = {e["close"]["reason"] for e in edge.events()}
    assert reasons <= {"client_reset", "client_closed"}, reasons


def test_an_address_in_use_is_one_clear_line(scene):
    first = ok_edge(scene)
    shown = lunette("tls", "127.0.0.1:1", "--listen",
                    f"127.0.0.1:{first.port}")
    assert shown.returncode == 1
    text = shown.stderr.decode()
    assert str(first.port) in text and "use" in text
    assert "Traceback" not in text and len(text.splitlines()) <= 3
    assert ask(scene, first) == b"ok"


def test_upstream_that_accepts_and_says_nothing(scene):
    upstream = scene.upstream(hold)
    edge = scene.route(upstream, timeouts={"idle": "500ms"})
    client = scene.client(edge)
    client.hello()
    client.read_all()
    assert edge.wait_events(1)[0]["close"]["reason"] == "idle_timeout"


def test_a_long_quiet_does_not_shorten_deadlines(scene):
    """A worker that slept counts its new deadlines from now."""
    upstream = scene.upstream(echo)
    edge = scene.route(upstream, timeouts={"idle": "1500ms",
                                           "connect": "600ms"},
                       options={"edge": {"workers": 1,
                                         "timeouts": {"hello": "600ms"}}})
    client = scene.client(edge)
    wire = client.hello()
    client.read(len(wire))
    for _ in range(3):
        time.sleep(1.1)
        client.send(b"x")
        assert client.read(1) == b"x"
        time.sleep(0.9)
        client.send(b"y")
        assert client.read(1) == b"y"
        fresh = scene.client(edge)
        wire = fresh.hello()
        assert fresh.read(len(wire)) == wire
        fresh.close()
    client.close()
    for event in edge.wait_events(4):
        assert event["close"]["reason"] == "client_closed"
