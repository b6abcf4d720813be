"""Termination at its limits: rates of handshakes, bursts, shortages and
reloads in the middle."""

import os
import select
import socket
import ssl
import threading
import time

import pytest

import hello
from certificates import openssl
from client import Client
from tlspeer import Refused, client_context, refusal
from tlsupstream import greet_and_close, greet_and_echo
from waiting import PATIENCE, SANITIZED, scaled, until


def attempts(scene, edge, count, name="a.test", **options):
    """How many of so many handshakes are let through; the others must get
    internal_error."""
    fine = 0
    for _ in range(count):
        try:
            scene.greeted(edge, client_context(version="1.3"), name,
                          **options).close()
            fine += 1
        except Refused as refused:
            assert refused.alert == 80
    return fine


def limited(edge, key):
    """Events of what was over a limit; they name the key."""
    found = [e for e in edge.events() if e["close"]["reason"] == "limit"]
    for event in found:
        assert event["close"]["detail"].endswith(key), event
        assert event["close"]["alert"] == "internal_error"
    return len(found)


@pytest.mark.core
@pytest.mark.parametrize("where", ["edge", "endpoint", "client"])
def test_handshakes_per_second(scene, where):
    upstream = scene.greeter()
    key = {"client": "handshakes_per_second_per_client"}.get(
        where, "handshakes_per_second")
    limits = {} if where == "endpoint" else {key: 4}
    endpoints = [{"url": f"tls://{name}", "upstream": upstream.address,
                  "terminate_at": "edge"} for name in ("a.test", "b.test")]
    if where == "endpoint":
        endpoints[0][key] = 4
    edge = scene.edge(endpoints, edge={"limits": limits}, top={
        "certificates": [scene.certificates.pair(
            "a.test", "b.test").settings()]})
    began = time.monotonic()
    fine = attempts(scene, edge, 30, source="127.0.0.2")
    took = time.monotonic() - began
    # A bucket of one second's worth, refilled as time goes.
    assert 1 <= fine <= 4 * (took + 1) + 2 and fine < 30
    # Whom it does not concern is served.
    other = {"endpoint": ("b.test", "127.0.0.2"),
             "client": ("a.test", "127.0.0.3")}.get(where)
    if other:
        assert attempts(scene, edge, 3, other[0], source=other[1]) == 3
    until(lambda: limited(edge, key) == 30 - fine, 5, "events")
    assert key in edge.raw_log()
    # And it lets go.
    until(lambda: attempts(scene, edge, 1, source="127.0.0.2") == 1, 5,
          "another second")


def test_passthrough_is_no_handshake(scene):
    upstream = scene.upstream(greet_and_close)
    edge = scene.route(upstream, options={"edge": {
        "limits": {"handshakes_per_second": 1}}})
    for _ in range(10):
        client = scene.client(edge)
        client.hello()
        assert client.read_all()[0] == b"ok"
        client.close()
    edge.wait_events(10)


class Storm(threading.Thread):
    """Hellos, a hundred at a time: each costs the edge a signature, and us
    nothing."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.stopping, self.count = port, False, 0
        self.wire = hello.hello()
        self.start()

    def run(self):
        poll, open_ = select.poll(), {}
        while not self.stopping:
            while len(open_) < 100:
                sock = socket.create_connection(("127.0.0.1", self.port))
                sock.sendall(self.wire)
                open_[sock.fileno()] = sock
                poll.register(sock, select.POLLIN)
            for fd, _ in poll.poll(100):
                poll.unregister(fd)
                open_.pop(fd).close()
                self.count += 1
        for sock in open_.values():
            sock.close()


def test_a_burst_of_handshakes_starves_no_relay(scene):
    """RSA handshakes by the hundred; who is connected goes on at a rate of
    the same order as a single signature allows."""
    upstream = scene.upstream(greet_and_echo)
    pair = scene.certificates.pair("a.test", key="rsa")
    edge = scene.terminated(upstream, certificates=[pair.settings()],
                            options={"edge": {"workers": 1}})
    tls = scene.greeted(edge, client_context())

    def round_trips(seconds):
        times = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.monotonic()
            tls.sendall(b"x" * 100)
            tls.read(100)
            times.append(time.monotonic() - began)
        return sorted(times)

    quiet = round_trips(0.5)
    storm = Storm(edge.port)
    until(lambda: storm.count > 50, 20, "the storm")
    before = storm.count
    busy = round_trips(1.5)
    handshakes = storm.count - before
    storm.stopping = True
    storm.join(10 * PATIENCE)
    assert handshakes > 50
    # A turn is 8 handshake steps; a hundred in a row would be 12 times that.
    share = 1.5 / handshakes
    median = busy[len(busy) // 2]
    bound = 24 * share + 20 * quiet[len(quiet) // 2]
    assert median < min(PATIENCE, 2) * bound, \
        (quiet[len(quiet) // 2], median, share)
    tls.close()


@pytest.mark.core
def test_reload_in_the_middle_of_handshakes(scene):
    """Certificates, endpoints and listeners in motion: no handshake fails."""
    upstream = scene.greeter()
    pairs = [scene.certificates.root.leaf("a.test") for _ in range(2)]
    edge = scene.terminated(upstream, certificates=[pairs[0].settings()])
    stopping, failures, done = threading.Event(), [], []

    def work():
        while not stopping.is_set():
            try:
                scene.greeted(edge, client_context(
                    scene.certificates.ca)).close()
                done.append(1)
            except (Refused, OSError, ssl.SSLError) as error:
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    # A handshake that stands still is not hurt either.
    held = scene.client(edge)
    held.hello()
    held.read(50)
    for turn in range(scaled(20, 6)):
        edge.top["certificates"] = [pairs[turn % 2].settings()]
        edge.endpoints[0]["alpn"] = [["h2"], ["http/1.1"]][turn % 2]
        assert edge.reload()[0]
    until(lambda: len(done) > 20, 20, "some load")
    stopping.set()
    for thread in threads:
        thread.join(30 * PATIENCE)
    assert not failures, failures[:3]
    held.sock.settimeout(0.1)
    try:
        while True:
            assert held.sock.recv(65536), "still open"
    except TimeoutError:
        pass
    held.close()
    edge.wait_events(len(done) + 1)


def test_no_descriptors_left(scene):
    """As many as the limit allows are served, more wait or are refused; later
    all is as before."""
    upstream = scene.upstream(greet_and_echo)
    edge = scene.terminated(upstream, options={"descriptors": 200})
    entry = edge.wait_log("connections are limited")
    limit, context = int(entry["limit"]), client_context()
    assert 10 < limit < 100
    plain = []
    for _ in range(2 * limit):
        client = Client(edge.port)
        plain.append(client)
        try:
            client.hello()
        except OSError:
            pass
    assert edge.process.descriptors() <= 200
    for client in plain:
        client.close()
    until(lambda: edge.process.sockets() <= edge.base_sockets, 20, "let go")
    held = [scene.greeted(edge, context) for _ in range(limit)]
    for tls in held:
        tls.sendall(b"hello")
        assert tls.read(5) == b"hello"
        tls.close()
    until(lambda: edge.process.sockets() <= edge.base_sockets, 20, "let go")
    scene.greeted(edge, context).close()


@pytest.mark.parametrize("what", ["termination", "re-encryption", "mutual",
                                  "reload"])
def test_the_nth_allocation_fails(scene, shim, what):
    """RE-13: that connection ends, nothing else."""
    upstream = scene.tls_upstream(greet_and_close)
    options = {"edge": {"workers": 1}, "env": {
        "LD_PRELOAD": shim, "SHIM_COUNT": scene.path("order")}}
    if what == "re-encryption":
        edge = scene.terminated(f"tls://127.0.0.1:{upstream.port}",
                                options=options)
    else:
        mutual = {"cas": scene.certificates.authority("clients").crt} \
            if what == "mutual" else None
        edge = scene.terminated(scene.greeter(greet_and_close),
                                mutual_tls=mutual, options=options)
    context = client_context(cert=scene.certificates.client("bob"))
    visits = 0

    def visit():
        nonlocal visits
        client = None
        visits += 1
        try:
            client = scene.connect(edge, context)
            data, end = client.read_all()
            assert data in (b"", b"ok") and (end != "notify" or
                                             data in (b"", b"ok"))
            return data
        except (Refused, ssl.SSLError, OSError):
            return b""
        finally:
            if client:
                client.close()

    assert visit() == b"ok"
    sweep = list(range(1, 40, 2)) + list(range(41, 400, 13)) + \
        list(range(400, 3000, 260))
    orders = scene.path("order")
    for n in sweep:
        with open(orders + ".new", "w") as f:
            f.write(f"{n}\n")
        os.rename(orders + ".new", orders)
        if what == "reload":
            edge.reload()
        for _ in range(2):
            visit()
        assert edge.process.alive(), (n, edge.raw_log()[-2000:])
        if os.path.exists(orders):
            os.unlink(orders)
    # A last order may still count down: it hits at most one of these.
    assert [visit() for _ in range(20)].count(b"ok") >= 18
    until(lambda: edge.reload()[0], 5, "a reload")
    assert visit() == b"ok"
    until(lambda: len(edge.events()) >= visits - len(sweep), 5, "events")


@pytest.mark.core
def test_many_handshakes_at_once(scene):
    """All kinds on all workers; each ends in one event."""
    upstream = scene.upstream(greet_and_close)
    inner = scene.tls_upstream(greet_and_close)
    names = ("plain.test", "tls.test", "mutual.test")
    edge = scene.edge([
        {"url": "tls://plain.test", "upstream": upstream.address,
         "terminate_at": "edge"},
        {"url": "tls://tls.test", "terminate_at": "edge",
         "upstream": f"tls://127.0.0.1:{inner.port}"},
        {"url": "tls://mutual.test", "upstream": upstream.address,
         "terminate_at": "edge", "mutual_tls": {
             "cas": scene.certificates.authority("clients").crt}}],
        edge={"workers": 4}, top={"certificates": [
            scene.certificates.pair(*names).settings()]})
    cert = scene.certificates.client("bob")
    each, failures = scaled(30, 6), []

    def work(number):
        for turn in range(each):
            name = names[turn % 3]
            bare = turn % 5 == 0
            context = client_context(
                version=("1.2", "1.3")[turn % 2],
                cert=None if bare else cert)
            try:
                tls = scene.connect(edge, context, name)
                data, end = tls.read_all()
                tls.close()
                if (data, end) != (b"ok", "notify"):
                    failures.append((name, bare, data, end))
            except Refused as refused:
                if not (bare and name == "mutual.test"):
                    failures.append((name, bare, refused))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    edge.wait_events(6 * each)


def test_idle_connections_are_small(scene):
    """A few hundred terminated ones; the bench measures thousands."""
    count = scaled(300)
    edge = scene.terminated(scene.upstream(greet_and_echo))
    context = client_context()
    scene.greeted(edge, context).close()
    before = edge.process.rss_bytes()
    held = [scene.greeted(edge, context) for _ in range(count)]
    each = (edge.process.rss_bytes() - before) / count
    if not SANITIZED:
        assert each < 40 * 1024, each
    for tls in held[::10]:
        tls.sendall(b"awake")
        assert tls.read(5) == b"awake"
    for tls in held:
        tls.close()
    edge.wait_events(count + 1, timeout=10)


def test_handshakes_leave_nothing_behind(scene):
    """RE-09 in small: memory is flat, with tickets and without, whether they
    succeed or fail."""
    if SANITIZED:
        pytest.skip("a sanitizer keeps freed memory")
    for life in ("2h", 0):
        edge = scene.terminated(
            scene.greeter(), min_version="1.3", options={"edge": {
                "session_tickets": {"life": life}, "workers": 1}})
        context, old = client_context(), client_context(version="1.2")

        def some(count):
            for _ in range(count):
                scene.greeted(edge, context).close()
                assert refusal(edge.port, old) == 70
        some(150)
        before = edge.process.rss_bytes()
        some(250)
        assert edge.process.rss_bytes() - before < 512 * 1024
        edge.stop()


def test_an_overlong_name_in_the_local_ca(scene):
    """Incident 23: a name over 64 bytes needs no common name."""
    name = ".".join(["label" * 8] * 4) + ".test"
    edge = scene.terminated(
        scene.greeter(), name, certificates=[scene.certificates.pair(
            "b.test").settings()], options={"edge": {
                "local_ca": "auto", "state": scene.path("state")}})
    tls = scene.greeted(edge, client_context(), name)
    tls.close()
    path = scene.path("leaf.der")
    with open(path, "wb") as f:
        f.write(tls.certificate())
    text = openssl("x509", "-inform", "der", "-in", path, "-noout", "-text")
    assert f"DNS:{name}\n".encode() in text
