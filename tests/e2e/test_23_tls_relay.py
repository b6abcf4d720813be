"""Bytes through termination and re-encryption: exact, whatever the pace and
the order of the ends; and every stage of TLS bounded in time."""

import socket
import ssl
import subprocess
import threading
import time

import pytest

from stream import Receiver, Sender
from tlspeer import Tls, client_context, read_word
from tlsupstream import TlsArrival, greet_and_echo
from upstream import deaf, hold, record, reset
from waiting import PATIENCE, SANITIZED, scaled, until

MIB = 2 ** 20
BOTH = pytest.mark.parametrize("version", ["1.2", "1.3"])
SIDES = pytest.mark.parametrize("how", ["plain", "tls"])


def through(scene, how, script, version=None, **options):
    """An edge that ends TLS, with a plain or a TLS upstream."""
    if how == "plain":
        upstream = scene.upstream(script)
        edge = scene.terminated(upstream, **options)
    else:
        upstream = scene.tls_upstream(script, version=version)
        edge = scene.terminated(f"tls://127.0.0.1:{upstream.port}",
                                **options)
    return upstream, edge


def pair(scene, how, script=deaf, version=None, **options):
    """A client, its arrival, and the edge."""
    upstream, edge = through(scene, how, script, version, **options)
    tls = scene.connect(edge, client_context(version=version))
    return tls, upstream.next(), edge


def how_ended(arrival):
    """An arrival's end; a TLS one must have been told."""
    assert arrival.wait_end() == "eof"
    return arrival.how if isinstance(arrival, TlsArrival) else "notify"


@pytest.mark.parametrize("slow", ["none", "client", "upstream"])
@SIDES
def test_much_each_way_at_once(scene, how, slow):
    """100 MB each way, byte-exact, with a slow reader, in bounded memory."""
    size = scaled(100) * MIB
    client, arrival, edge = pair(scene, how)
    before, peak = edge.process.rss_bytes(), [0]

    def sluggish(receiver):
        # Rests for a moment in every 4 MiB, 25 times in all.
        if receiver.count // (4 * MIB) != receiver.rests:
            receiver.rests = receiver.count // (4 * MIB)
            peak[0] = max(peak[0], edge.process.rss_bytes())
            time.sleep(0.03)

    def receiver(sock, offset, name):
        return Receiver(sock, offset, sluggish if name == slow else None)

    threads = [Sender(client, size), Sender(arrival.sock, size, 12345),
               receiver(arrival.sock, 0, "upstream"),
               receiver(client, 12345, "client")]
    for thread in threads:
        thread.join(120 * PATIENCE)
        assert not thread.is_alive()
    for sender in threads[:2]:
        assert sender.error is None
    for got in threads[2:]:
        assert got.right and got.count == size and got.end == "eof"
    assert client.end == "notify"
    if how == "tls":
        assert arrival.sock.end == "notify"
    event = edge.wait_events(1)[0]
    assert event["conn"]["bytes_in"] == size
    assert event["conn"]["bytes_out"] == size
    assert event["close"]["reason"] in ("client_closed", "upstream_closed")
    assert max(peak[0], edge.process.rss_bytes()) - before < \
        16 * MIB * (4 if SANITIZED else 1)


def test_memory_is_bounded_when_a_side_stops_reading(scene):
    upstream, edge = through(scene, "plain", deaf)
    before = edge.process.rss_bytes()
    for _ in range(10):
        tls = scene.connect(edge, client_context())
        tls.sock.settimeout(0.1)
        sent = 0
        try:
            while sent < 100 * MIB:
                tls.sendall(bytes(MIB))
                sent += MIB
        except TimeoutError:
            pass
        assert sent < 64 * MIB, "backpressure"
    assert edge.process.rss_bytes() - before < 20 * MIB * PATIENCE
    cpu = edge.process.cpu_seconds()
    time.sleep(0.4)
    assert edge.process.cpu_seconds() - cpu < 0.05, "a stall costs nothing"


@pytest.mark.core
@BOTH
@SIDES
@pytest.mark.parametrize("first", ["client", "upstream"])
def test_half_close_lets_the_other_direction_finish(scene, how, first,
                                                    version):
    """Both orders: close_notify and FIN one way, data the other way."""
    size = scaled(4) * MIB
    client, arrival, edge = pair(scene, how, version=version)
    here, there = (client, arrival.sock) if first == "client" \
        else (arrival.sock, client)
    here.shutdown(socket.SHUT_WR)
    there.settimeout(5 * PATIENCE)
    assert there.recv(1) == b"", "the half-close is passed on"
    assert getattr(there, "end", "notify") == "notify"
    Sender(there, size)
    got = Receiver(here)
    got.join(60 * PATIENCE)
    assert got.right and got.count == size and got.end == "eof"
    assert getattr(here, "end", "notify") == "notify"
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == first + "_closed"


@BOTH
@SIDES
def test_the_last_bytes_before_an_end_arrive(scene, how, version):
    """Of each side, with the end right behind them."""
    upstream, edge = through(scene, how, hold, version)
    for _ in range(8):
        client = scene.connect(edge, client_context(version=version))
        arrival = upstream.next()
        client.sendall(b"last words of a client" * 1000)
        client.shutdown(socket.SHUT_WR)
        assert how_ended(arrival) == "notify"
        assert bytes(arrival.data) == b"last words of a client" * 1000
        arrival.send(b"and of an upstream" * 1000)
        arrival.shut()
        assert client.read_all() == (b"and of an upstream" * 1000, "notify")
    edge.wait_events(8)


@BOTH
@SIDES
def test_a_client_cut_off(scene, how, version):
    """FIN without close_notify: the upstream gets FIN, the event
    tls_truncated."""
    client, arrival, edge = pair(scene, how, hold, version=version)
    client.sendall(b"half of it")
    arrival.wait_bytes(10)
    client.cut()
    assert arrival.wait_end() == "eof"
    arrival.shut()
    client.read_all()
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "client_closed"
    assert event["close"]["detail"] == "tls_truncated"
    assert bytes(arrival.data) == b"half of it"


@BOTH
def test_an_upstream_cut_off(scene, version):
    """FIN without close_notify reaches the client as just that: what it has
    must not look complete."""
    client, arrival, edge = pair(scene, "tls", hold, version=version)
    arrival.send(b"half of it")
    assert read_word(client, 10) == b"half of it"
    arrival.sock.cut()
    assert client.read_all() == (b"", "fin")
    client.shutdown(socket.SHUT_WR)
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "upstream_closed"
    assert event["close"]["detail"] == "tls_truncated"


@BOTH
@SIDES
def test_bytes_behind_close_notify(scene, how, version):
    """TL-10: glued behind it, encrypted or plain: never forwarded."""
    for glued in ("record", "plain"):
        client, arrival, edge = pair(scene, how, hold, version=version)
        good = client.seal(b"good")
        after = good if glued == "record" else b"evil" * 20
        client.sock.sendall(good + client.seal_close_notify() + after)
        assert arrival.wait_end() == "eof"
        assert bytes(arrival.data) == b"good"
        arrival.close()
        client.close()
        edge.wait_events(1)
        edge.stop()


@pytest.mark.core
@SIDES
@pytest.mark.parametrize("who", ["client", "upstream"])
def test_a_reset_is_passed_on(scene, how, who):
    client, arrival, edge = pair(scene, how)
    client.sendall(b"x")
    assert arrival.sock.recv(1) == b"x"
    if who == "client":
        reset(client.sock)
        with pytest.raises(ConnectionResetError):
            arrival.sock.recv(1)
    else:
        reset(getattr(arrival, "raw", arrival.sock))
        assert client.read_all()[1] == "reset"
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == who + "_reset"


@SIDES
def test_ends_of_both_in_every_order(scene, how):
    """Whichever comes first, all bytes of both arrive and one event tells."""
    orders = [("client notify", "upstream notify"),
              ("upstream notify", "client notify"),
              ("client cut", "upstream notify"),
              ("upstream notify", "client cut"),
              ("client close", "upstream notify"),
              ("upstream close", "client notify")]
    upstream, edge = through(scene, how, hold)
    for order in orders:
        client = scene.connect(edge, client_context())
        arrival = upstream.next()
        client.sendall(b"question")
        arrival.wait_bytes(8)
        arrival.send(b"answer")
        assert read_word(client, 6) == b"answer"
        for what in order:
            who, action = what.split()
            if who == "client":
                {"notify": lambda: client.shutdown(socket.SHUT_WR),
                 "cut": client.cut, "close": client.close}[action]()
                assert arrival.wait_end() in ("eof", "closed", "reset")
            else:
                {"notify": arrival.shut, "close": arrival.close}[action]()
                if action != "close":
                    if "client close" not in order:
                        assert client.read_all()[1] == "notify", order
        client.close()
        arrival.close()
        event = edge.event()
        assert event["close"]["reason"].split("_")[0] in (
            "client", "upstream"), order
        assert event["conn"]["bytes_in"] == 8, order
        assert event["conn"]["bytes_out"] == 6, order


@pytest.mark.core
@BOTH
def test_a_client_that_drips(scene, version):
    """Every byte of the handshake and of the data in a segment of its own."""
    upstream = scene.upstream(greet_and_echo)
    edge = scene.terminated(upstream)
    plain = scene.client(edge)

    class Dripping:
        def __getattr__(self, name):
            return getattr(plain.sock, name)

        def sendall(self, data):
            for byte in bytes(data):
                plain.sock.sendall(bytes([byte]))

    tls = Tls(Dripping(), client_context(version=version), name="a.test")
    tls.handshake()
    assert read_word(tls, 2) == b"ok"
    tls.sendall(b"drop by drop")
    assert tls.read(12) == b"drop by drop"
    tls.shutdown(socket.SHUT_WR)
    assert tls.read_all() == (b"", "notify")
    edge.wait_events(1)


def test_records_of_every_size(scene):
    """Empty ones, single bytes, full ones, many in one segment."""
    upstream = scene.upstream(hold)
    edge = scene.terminated(upstream)
    for version in ("1.2", "1.3"):
        client = scene.connect(edge, client_context(version=version))
        wire, sent = b"", b""
        for size in [1, 2, 15, 16, 17, 1000, 16383, 16384] * 4 + [1] * 500:
            text = bytes([size % 251]) * size
            wire += client.seal(text)
            sent += text
        client.sock.sendall(wire)
        arrival = upstream.next()
        assert arrival.wait_bytes(len(sent)) == sent
        client.shutdown(socket.SHUT_WR)
        assert arrival.wait_end() == "eof" and bytes(arrival.data) == sent
        arrival.close()
    edge.wait_events(2)


def test_data_in_the_segment_of_the_finished(scene):
    """What the client says with its last handshake bytes is not lost."""
    upstream = scene.upstream(greet_and_echo)
    edge = scene.terminated(upstream)
    plain = scene.client(edge)
    tls = Tls(plain.sock, client_context(version="1.3"), name="a.test")
    flush, tls.flush = tls.flush, lambda: None
    try:
        tls.tls.do_handshake()
    except ssl.SSLWantReadError:
        flush()
    while True:
        tls.feed()
        try:
            tls.tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            pass
    tls.sock.sendall(tls.seal(b"early bird"))
    tls.flush = flush
    assert tls.read(12) == b"okearly bird"
    tls.close()
    edge.wait_events(1)


def test_key_updates(scene, needs):
    """TLS 1.3: s_client's k and K, in the middle of the data."""
    needs("openssl")
    upstream = scene.upstream(record)
    edge = scene.terminated(upstream)
    client = scene.program("s_client", [
        "openssl", "s_client", "-connect", f"127.0.0.1:{edge.port}",
        "-servername", "a.test", "-tls1_3"], stdin=subprocess.PIPE)
    arrival = upstream.next()
    updates = 0
    for line in (b"one\n", b"K\n", b"two\n", b"k\n", b"three\n"):
        client.popen.stdin.write(line)
        client.popen.stdin.flush()
        if line not in (b"K\n", b"k\n"):
            until(lambda: line in arrival.data, 5, line)
        else:
            # It must read its command alone.
            updates += 1
            until(lambda: client.output().count(b"KEYUPDATE") == updates, 5,
                  "a key update")
    assert bytes(arrival.data) == b"one\ntwo\nthree\n"
    client.popen.stdin.close()
    client.stop()
    edge.wait_events(1)


@BOTH
@SIDES
def test_a_client_that_is_done_before_the_upstream_begins(scene, how,
                                                          version):
    """Its words and its end wait for a slow upstream, whose answer still
    comes."""
    gate = threading.Event()

    def script(arrival):
        gate.wait(10 * PATIENCE)
        record_and_answer(arrival)

    if how == "plain":
        upstream = scene.upstream(script)
        edge = scene.terminated(upstream)
    else:
        upstream = scene.tls_upstream(
            record_and_answer, before=lambda _: gate.wait(10 * PATIENCE))
        edge = scene.terminated(f"tls://127.0.0.1:{upstream.port}")
    client = scene.connect(edge, client_context(version=version))
    client.sendall(b"all that I have to say")
    client.shutdown(socket.SHUT_WR)
    until(lambda: tcp_state(client.sock) == FIN_WAIT2, 5,
          "the edge's machine has the end")
    gate.set()
    assert client.read_all() == (b"understood", "notify")
    assert bytes(upstream.next().data) == b"all that I have to say"
    event = edge.wait_events(1)[0]
    assert event["conn"]["bytes_in"] == 22
    assert event["close"]["reason"] == "client_closed"


FIN_WAIT2 = 5


def tcp_state(sock):
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def record_and_answer(arrival):
    while arrival.read_step():
        pass
    arrival.send(b"understood")
    arrival.shut()


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_client_gone_while_the_upstream_shakes_hands(scene, end):
    gate = threading.Event()
    upstream = scene.tls_upstream(
        hold, before=lambda _: gate.wait(10 * PATIENCE))
    edge = scene.terminated(f"tls://127.0.0.1:{upstream.port}")
    client = scene.connect(edge, client_context())
    until(upstream.count, 5, "the dial")
    if end == "reset":
        reset(client.sock)
        assert edge.event(timeout=5)["close"]["reason"] == "client_reset"
    else:
        client.shutdown(socket.SHUT_WR)
        client.close()
    gate.set()
    if end == "close":
        until(lambda: upstream.arrivals[0].end, 5, "the end")
        upstream.arrivals[0].close()
        assert edge.event()["close"]["reason"] in ("client_closed",
                                                   "client_reset")


def test_an_upstream_that_refuses(scene):
    """Told by a clean end, and by the event."""
    upstream = scene.upstream(hold)
    upstream.stop_listening()
    for address in (upstream.address, "tls://" + upstream.address):
        edge = scene.terminated(address)
        client = scene.connect(edge, client_context())
        assert client.read_all() == (b"", "notify")
        client.close()
        event = edge.wait_events(1)[0]
        assert event["close"]["reason"] == "upstream_refused"
        assert "tls" in event


# Time.

STALLS = {"after the hello": b"", "in a record's header":
          b"\x14\x03\x03\0\1\1\x17\x03\x03", "in a record":
          b"\x17\x03\x03\0\x40half"}


@pytest.mark.core
@pytest.mark.parametrize("where", STALLS)
def test_a_stalled_handshake(scene, where):
    """Its own limit, from its beginning on: drips do not put it off."""
    upstream = scene.greeter()
    edge = scene.terminated(upstream, options={
        "edge": {"timeouts": {"handshake": "700ms"}}})
    client = scene.client(edge)
    began = time.monotonic()
    client.hello()
    client.read(50)
    client.send(STALLS[where])
    client.read_all()
    client.close()
    assert 0.5 < time.monotonic() - began < 3 * PATIENCE
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "handshake_timeout"
    assert upstream.count() == 0


def test_a_handshake_that_drips_for_ever(scene):
    """Bytes that come do not renew the limit."""
    edge = scene.terminated(scene.greeter(), options={
        "edge": {"timeouts": {"handshake": "700ms"}}})
    client = scene.client(edge)
    client.hello()
    client.read(50)
    client.sock.settimeout(0.05)
    began, open_ = time.monotonic(), True
    client.send(b"\x14\x03\x03\0\1\1\x17\x03\x03\x40\x00")
    while open_ and time.monotonic() - began < 10:
        try:
            client.send(b"x")
            time.sleep(0.02)
            while True:
                if not client.sock.recv(65536):
                    open_ = False
                    break
        except TimeoutError:
            pass
        except OSError:
            open_ = False
    client.close()
    assert time.monotonic() - began < 3 * PATIENCE
    assert edge.wait_events(1)[0]["close"]["reason"] == "handshake_timeout"


def test_a_client_that_does_not_read_its_handshake(scene):
    """Full buffers on our side of the handshake: closed in time. The endpoint
    has its own limit."""
    edge = scene.terminated(scene.greeter(), timeouts={"handshake": "500ms"})
    client = scene.client(edge, receive_buffer=2048)
    client.hello()
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "handshake_timeout"


@SIDES
def test_an_idle_connection(scene, how):
    client, arrival, edge = pair(scene, how, hold, options={
        "edge": {"timeouts": {"idle": "500ms"}}})
    client.sendall(b"x")
    arrival.wait_bytes(1)
    began = time.monotonic()
    assert client.read_all()[0] == b""
    client.close()
    assert 0.3 < time.monotonic() - began < 3 * PATIENCE
    assert arrival.wait_end() in ("eof", "reset")
    assert edge.wait_events(1)[0]["close"]["reason"] == "idle_timeout"


def test_many_streams_at_once(scene):
    """Thirty at once, over both kinds of upstream, each exact."""
    def pump(arrival):
        size = 2 * MIB
        sender = Sender(arrival.sock, size, 99)
        got = Receiver(arrival.sock)
        sender.join(60 * PATIENCE)
        got.join(60 * PATIENCE)
        arrival.result = got

    plain, inner = scene.upstream(pump), scene.tls_upstream(pump)
    edge = scene.edge(
        [{"url": "tls://a.test", "terminate_at": "edge",
          "upstream": plain.address},
         {"url": "tls://b.test", "terminate_at": "edge",
          "upstream": f"tls://127.0.0.1:{inner.port}"}],
        top={"certificates": [scene.certificates.pair(
            "a.test", "b.test").settings()]})
    right = []

    def talk(number):
        tls = scene.connect(edge, client_context(
            version=("1.2", "1.3")[number % 2]), "ab"[number // 2 % 2] +
            ".test")
        sender, got = Sender(tls, 2 * MIB), Receiver(tls, 99)
        sender.join(60 * PATIENCE)
        got.join(60 * PATIENCE)
        right.append(got.right and got.count == 2 * MIB and
                     got.end == "eof" and tls.end == "notify")
        tls.close()

    threads = [threading.Thread(target=talk, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 12
    until(lambda: all(getattr(a, "result", None) for a in
                      plain.arrivals + inner.arrivals), 10, "all pumped")
    for arrival in plain.arrivals + inner.arrivals:
        assert arrival.result.right and arrival.result.count == 2 * MIB
    edge.wait_events(12)
