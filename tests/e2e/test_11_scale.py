"""Many connections: held, short, and with the upstream dying under them."""

import collections
import socket
import threading
import time

import hello
from upstream import answer_and_close
from waiting import PATIENCE, SANITIZED, scaled, until


def test_nine_thousand_idle_connections(scene):
    """A process here may open 20,000 descriptors: two for each."""
    count = scaled(9000)
    upstream = scene.crowd()
    quick = scene.upstream(answer_and_close(b"ok"))
    edge = scene.edge([
        {"url": "tls://a.test", "upstream": upstream.address},
        {"url": "tls://quick.test", "upstream": quick.address}])
    before = edge.process.rss_bytes()
    wire = hello.hello()
    clients = []
    began = time.monotonic()
    for n in range(count):
        client = socket.socket()
        client.settimeout(20 * PATIENCE)
        # Several source addresses: ports of one are fewer than this.
        client.bind((f"127.0.1.{n % 50 + 1}", 0))
        client.connect(("127.0.0.1", edge.port))
        client.send(wire)
        clients.append(client)
        scene.clients.append(client)
    until(lambda: len(upstream.open) == count, 30, "all arrived")
    assert time.monotonic() - began < 40 * PATIENCE
    each = (edge.process.rss_bytes() - before) / count
    if not SANITIZED:
        assert each < 2048, each
    # The edge is as quick as before, and does nothing for the idle ones.
    cpu = edge.process.cpu_seconds()
    time.sleep(1)
    assert edge.process.cpu_seconds() - cpu < 0.1 * PATIENCE
    worst = 0
    for _ in range(20):
        start = time.monotonic()
        client = scene.client(edge)
        client.hello("quick.test")
        assert client.read_all()[0] == b"ok"
        client.close()
        worst = max(worst, time.monotonic() - start)
    assert worst < 0.3 * PATIENCE, worst
    assert len(edge.events()) <= 20, "nobody was dropped"
    for client in clients:
        client.close()
    events = edge.wait_events(count + 20, timeout=20)
    reasons = collections.Counter(e["close"]["reason"] for e in events)
    assert set(reasons) <= {"client_closed", "upstream_closed"}, reasons
    until(lambda: edge.process.sockets() <= edge.base_sockets, 2,
          "descriptors back")


class Visitors:
    """Threads that make short connections and count how they went."""

    def __init__(self, port, count, threads=8):
        self.port, self.outcomes = port, collections.Counter()
        self.lock = threading.Lock()
        self.wire = hello.hello()
        self.attempts = 0
        self.threads = [
            threading.Thread(target=self.visit, args=(count // threads,))
            for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def visit(self, count):
        for _ in range(count):
            outcome = self.once()
            with self.lock:
                self.attempts += 1
                self.outcomes[outcome] += 1

    def once(self):
        with socket.create_connection(
                ("127.0.0.1", self.port), 20 * PATIENCE) as sock:
            try:
                sock.sendall(self.wire)
                return sock.recv(100)
            except ConnectionError:
                return "reset"

    def join(self):
        for thread in self.threads:
            thread.join(120 * PATIENCE)
            assert not thread.is_alive()


def test_ten_thousand_short_connections_with_kills(scene):
    """One event each, none missing, no descriptor left
    (RE-02 and RE-12 in small)."""
    count = scaled(10000) // 8 * 8
    upstream = scene.crowd(b"served")
    edge = scene.route(upstream)
    visitors = Visitors(edge.port, count)
    for fraction in (0.2, 0.45, 0.7):
        until(lambda: visitors.attempts > count * fraction, 60,
              "the middle")
        upstream.kill()
        until(lambda: visitors.attempts > count * (fraction + 0.03), 60,
              "some without an upstream")
        upstream.start()
    visitors.join()
    outcomes = visitors.outcomes
    assert set(outcomes) <= {b"served", hello.alert(80), b"", "reset"}, \
        outcomes
    assert outcomes[b"served"] > count / 2
    assert outcomes[hello.alert(80)] > 0, "the kills were seen"
    events = edge.wait_events(count, timeout=15)
    ids = {e["conn"]["id"] for e in events}
    assert len(ids) == count, "each its own"
    reasons = collections.Counter(e["close"]["reason"] for e in events)
    assert reasons["upstream_refused"] >= outcomes[hello.alert(80)] * 0.9
    until(lambda: edge.process.sockets() <= edge.base_sockets, 2,
          "descriptors back")


def test_memory_and_descriptors_after_many_are_as_after_few(scene):
    """Nothing is kept for connections that have ended."""
    upstream = scene.crowd(b"served")
    policy = scene.write("p.lua", """
        return function(conn)
          conn:log { sni = conn.sni }
          return { tags = { ip = conn.client_ip } }
        end
    """)
    edge = scene.route(upstream, options={
        "edge": {"policy": {"file": policy}}})
    few, many = scaled(1000) // 8 * 8, scaled(8000) // 8 * 8
    Visitors(edge.port, few).join()
    edge.wait_events(few, timeout=10)
    memory, descriptors = edge.process.rss_bytes(), \
        edge.process.descriptors()
    Visitors(edge.port, many).join()
    edge.wait_events(few + many, timeout=10)
    # Pipes stay pooled: they are bounded by 32 in the process.
    until(lambda: edge.process.descriptors() <= descriptors + 2, 2,
          "descriptors back")
    if not SANITIZED:
        assert edge.process.rss_bytes() - memory < 3 * 2**20
