"""Reload, drain and signals, under load."""

import os
import random
import signal
import socket
import threading
import time

import pytest

import hello
from client import Client
from process import answers, free_port
from upstream import answer_and_close, echo, record
from waiting import PATIENCE, scaled, until


class Load:
    """Short connections without a pause until stopped; failures kept."""

    def __init__(self, port, word=b"ok", names=("a.test",), threads=3):
        self.port, self.word, self.names = port, word, names
        self.stopping = threading.Event()
        self.done, self.failures = 0, []
        self.threads = [threading.Thread(target=self.work, args=(n,))
                        for n in range(threads)]
        for thread in self.threads:
            thread.start()

    def work(self, number):
        turn = number
        while not self.stopping.is_set():
            turn += 1
            name = self.names[turn % len(self.names)]
            try:
                with Client(self.port) as client:
                    client.hello(name)
                    data, end = client.read_all()
                    if data != self.word or end != "eof":
                        self.failures.append((name, data, end))
            except OSError as error:
                self.failures.append((name, error))
            self.done += 1

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30 * PATIENCE)
        return self.failures


@pytest.mark.core
def test_reload_under_load_fails_nobody(scene):
    """RL-03: ten reloads a second, listeners and endpoints in motion."""
    upstream = scene.upstream(answer_and_close(b"ok"))
    held_by = scene.upstream(echo)
    endpoints = [{"url": "tls://a.test", "upstream": upstream.address},
                 {"url": "tls://held.test", "upstream": held_by.address}]
    edge = scene.edge(endpoints)
    held = scene.client(edge)
    wire = held.hello("held.test")
    held.read(len(wire))
    load = Load(edge.port)
    for turn in range(scaled(40, 10)):
        edge.settings["listen"] = [{"address": "127.0.0.1:0"}] * \
            (1 + turn % 2)
        edge.endpoints = endpoints + [
            {"url": f"tls://n{turn}.test", "upstream": upstream.address}]
        fine, entry = edge.reload()
        assert fine, entry
        held.send(b"still here %d" % turn)
        held.read(len(b"still here %d" % turn))
    until(lambda: load.done > 50, 20, "some load")
    failures = load.stop()
    assert not failures, failures[:5]
    held.close()
    edge.wait_events(load.done + 1)
    # What is left is one listener again.
    edge.settings["listen"] = [{"address": "127.0.0.1:0"}]
    edge.reload()


BROKEN = """version: 1
edge:
  listen:
    - adress: "127.0.0.1:0"
  workers: many
  timeouts: { hello: 3 }
endpoints:
  - url: tls://a.test
    upstream: "127.0.0.1:1"
    upstraem: x
  - url: tls://a.test
    upstream: nowhere
"""


def test_a_broken_file_keeps_the_old_one(scene):
    """Every error is printed, and nothing changes."""
    upstream = scene.upstream(answer_and_close(b"ok"))
    edge = scene.route(upstream)
    good = edge.text()
    with open(edge.config_path, "w") as f:
        f.write(BROKEN)
    fine, entry = edge.reload_raw()
    assert not fine and entry["level"] == "error"
    log = edge.raw_log()
    for line, word in ((4, "address"), (5, "workers"), (6, "hello"),
                       (10, "upstream"), (11, "a.test"), (12, "nowhere")):
        assert f".yaml:{line}:" in log and word in log, (line, log)
    client = scene.client(edge)
    client.hello()
    assert client.read_all()[0] == b"ok"
    with open(edge.config_path, "w") as f:
        f.write("\0\xff")
    assert not edge.reload_raw()[0]
    os.unlink(edge.config_path)
    assert not edge.reload_raw()[0]
    with open(edge.config_path, "w") as f:
        f.write(good)
    assert edge.reload_raw()[0]


def test_what_a_reload_cannot_change_is_told(scene):
    edge = scene.route(scene.upstream(answer_and_close(b"ok")))
    edge.settings.update(
        workers=3, resolver={"servers": ["127.0.0.1:5353"]},
        log={"level": "debug"}, state="elsewhere")
    before = len(edge.log_lines())
    assert edge.reload()[0]
    told = {entry["key"] for entry in edge.log_lines()[before:]
            if "next start" in entry.get("msg", "")}
    assert told == {"edge.workers", "edge.resolver.servers",
                    "edge.log.level", "edge.state"}


def test_listener_added_moved_and_removed(scene):
    upstream = scene.upstream(answer_and_close(b"ok"))
    edge = scene.route(upstream)

    def works(port):
        client = scene.client(port)
        client.hello()
        return client.read_all()[0] == b"ok"

    first = edge.port
    fixed = free_port()
    edge.settings["listen"].append({"address": f"127.0.0.1:{fixed}"})
    assert edge.reload()[0]
    assert works(first), "the old listener keeps its port"
    assert works(fixed)
    edge.settings["listen"] = [{"address": f"127.0.0.1:{fixed}"}]
    assert edge.reload()[0]
    assert works(fixed)
    until(lambda: not answers(first), 3, "the removed listener is closed")
    moved = free_port()
    edge.settings["listen"] = [{"address": f"127.0.0.1:{moved}"}]
    assert edge.reload()[0]
    assert works(moved)
    until(lambda: not answers(fixed), 3, "the old port is closed")


def test_a_port_in_use_refuses_the_reload(scene):
    taken = scene.upstream()
    edge = scene.route(scene.upstream(answer_and_close(b"ok")))
    edge.settings["listen"] = [{"address": "127.0.0.1:0"},
                               {"address": taken.address}]
    fine, entry = edge.reload()
    assert not fine and str(taken.port) in entry["error"]
    client = scene.client(edge)
    client.hello()
    assert client.read_all()[0] == b"ok"


def test_removed_endpoint_keeps_its_connections(scene):
    upstream = scene.upstream(echo)
    other = scene.upstream(echo)
    edge = scene.edge([
        {"url": "tls://a.test", "upstream": upstream.address},
        {"url": "tls://b.test", "upstream": other.address}])
    held = scene.client(edge)
    wire = held.hello()
    held.read(len(wire))
    edge.endpoints = edge.endpoints[1:]
    assert edge.reload()[0]
    held.send(b"still")
    assert held.read(5) == b"still"
    late = scene.client(edge)
    late.hello()
    assert late.read_all()[0] == hello.alert(112)
    late.close()
    edge.wait_events(1)
    held.close()
    events = edge.wait_events(2)
    assert events[0]["endpoint"]["url"] == "tls://a.test"


def test_five_thousand_endpoints_and_one_odd(scene):
    """RL-01: only the odd one is affected."""
    count = scaled(5000)
    upstream = scene.upstream(answer_and_close(b"ok"))
    endpoints = [{"url": f"tls://n{n}.test", "upstream": upstream.address}
                 for n in range(count)]
    edge = scene.edge(endpoints)
    load = Load(edge.port, names=("n1.test", f"n{count - 1}.test"))
    edge.endpoints = [dict(e) for e in endpoints]
    edge.endpoints[77]["ip_restriction"] = {"allow": ["192.0.2.0/24"]}
    assert edge.reload()[0]
    assert not load.stop()
    for name, expected in (("n77.test", hello.alert(49)),
                           ("n76.test", b"ok"), ("n78.test", b"ok")):
        client = scene.client(edge)
        client.hello(name)
        assert client.read_all()[0] == expected
        client.close()


@pytest.mark.core
def test_drain_lets_connections_finish(scene):
    """RL-04: SIGTERM."""
    upstream = scene.upstream(echo)
    edge = scene.route(upstream)
    held = scene.client(edge)
    wire = held.hello()
    held.read(len(wire))
    edge.drain()
    edge.wait_log("draining")
    until(lambda: not answers(edge.port), 3, "the listener is closed")
    held.send(b"more")
    assert held.read(4) == b"more"
    assert edge.process.alive()
    held.close()
    assert edge.process.wait(5) == 0
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "client_closed"


def test_drain_has_an_end(scene):
    upstream = scene.upstream(record)
    edge = scene.route(upstream, options={
        "edge": {"timeouts": {"drain": "500ms"}}})
    held = scene.client(edge)
    held.hello()
    upstream.next().wait_bytes(10)
    began = time.monotonic()
    edge.drain()
    held.read_all()
    assert 0.4 < time.monotonic() - began < 2.5 * PATIENCE
    assert edge.process.wait(5) == 0
    assert edge.wait_events(1)[0]["close"]["reason"] == "drain"


@pytest.mark.core
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once(scene, second):
    upstream = scene.upstream(record)
    edge = scene.route(upstream)
    held = scene.client(edge)
    held.hello()
    upstream.next().wait_bytes(10)
    edge.drain()
    edge.wait_log("draining")
    began = time.monotonic()
    edge.kill(second)
    assert edge.process.wait(5) in (0, 1)
    assert time.monotonic() - began < 2 * PATIENCE
    held.read_all()
    assert edge.wait_events(1)[0]["close"]["reason"] == \
        "closed_by_operator"
    edge.expected_exit = {0, 1}


def test_interrupt_drains_too(scene):
    edge = scene.route(scene.upstream())
    edge.kill(signal.SIGINT)
    assert edge.process.wait(5) == 0


def test_hangup_during_a_drain_changes_nothing(scene):
    upstream = scene.upstream(echo)
    edge = scene.route(upstream)
    held = scene.client(edge)
    wire = held.hello()
    held.read(len(wire))
    edge.drain()
    edge.wait_log("draining")
    edge.kill(signal.SIGHUP)
    held.send(b"more")
    assert held.read(4) == b"more"
    assert not answers(edge.port)
    held.close()
    assert edge.process.wait(5) == 0


def test_drain_in_every_stage(scene):
    """Connections without a hello, in a policy, in a dial."""
    policy = scene.write("p.lua", """
        local lunette = require "lunette"
        return function(conn)
          if conn.sni == "sleep.test" then lunette.sleep(1) end
        end
    """)
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
        fillers.append(filler)
    upstream = scene.upstream(answer_and_close(b"ok"))
    edge = scene.edge([
        {"url": "tls://sleep.test", "upstream": upstream.address},
        {"url": "tls://dial.test",
         "upstream": "127.0.0.1:%d" % full.getsockname()[1]}],
        edge={"policy": {"file": policy},
              "timeouts": {"hello": "1s", "connect": "1s"}})
    silent, sleeping, dialling = (scene.client(edge) for _ in range(3))
    sleeping.hello("sleep.test")
    dialling.hello("dial.test")
    # All three are accepted when a fourth was served.
    probe = scene.client(edge)
    probe.hello("unknown.test")
    probe.read_all()
    edge.drain()
    assert sleeping.read_all()[0] == b"ok"
    assert silent.read_all()[0] == b""
    assert dialling.read_all()[0] == hello.alert(80)
    for client in (silent, sleeping, dialling, probe):
        client.close()
    assert edge.process.wait(10) == 0
    reasons = sorted(e["close"]["reason"] for e in edge.wait_events(4))
    assert "hello_timeout" in reasons and "upstream_timeout" in reasons
    for sock in [*fillers, full]:
        sock.close()


def test_killed_leaves_nothing_that_hinders(scene):
    """SIGKILL, and the same configuration starts again at once."""
    port = free_port()
    upstream = scene.upstream(answer_and_close(b"ok"))
    listen = [{"address": f"127.0.0.1:{port}"}]
    edge = scene.route(upstream, options={"listen": listen})
    client = scene.client(edge)
    client.hello()
    edge.process.kill(signal.SIGKILL)
    edge.process.wait()
    edge.stopped = True
    again = scene.route(upstream, options={"listen": listen})
    client = scene.client(again)
    client.hello()
    assert client.read_all()[0] == b"ok"


@pytest.mark.core
def test_signals_at_random_under_load(scene):
    """HD-07 in small."""
    draw = random.Random(5)
    upstream = scene.upstream(answer_and_close(b"ok"))
    edge = scene.route(upstream)
    load = Load(edge.port)
    for _ in range(scaled(300, 60)):
        edge.kill(draw.choice((signal.SIGHUP, signal.SIGUSR1,
                               signal.SIGCHLD, signal.SIGPIPE,
                               signal.SIGWINCH)))
        time.sleep(0.003)
    done = load.done
    until(lambda: load.done > done + 20, 20, "it goes on")
    failures = load.stop()
    assert not failures, failures[:5]
    assert edge.reload(20)[0]
    edge.wait_events(load.done, timeout=10)
