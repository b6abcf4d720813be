"""Bytes both ways: exact, in order, with every kind of end passed on."""

import os
import socket
import threading
import time

import pytest

import hello
from stream import Receiver, Sender
from upstream import answer, deaf, echo, hold, record
from waiting import PATIENCE, SANITIZED, scaled, until

MIB = 2 ** 20


def pair(scene, edge, upstream, **options):
    """A client and its arrival, past the hello. The arrival's script must
    not read; what it has left to skip is returned."""
    client = scene.client(edge, **options)
    wire = client.hello()
    arrival = upstream.next()
    got = b""
    while len(got) < len(wire):
        got += arrival.sock.recv(len(wire) - len(got))
    assert got == wire
    return client, arrival, len(wire)


@pytest.mark.core
@pytest.mark.parametrize("slow", ["none", "client", "upstream"])
def test_much_each_way_at_once(scene, slow):
    """Byte-exact with a slow reader on one side, in bounded memory."""
    size = scaled(100) * MIB
    upstream = scene.upstream(deaf)
    edge = scene.route(upstream)
    before = edge.process.rss_bytes()
    client, arrival, hello_size = pair(scene, edge, upstream)
    peak = [0]

    def sluggish(receiver):
        # Rests for a moment in every 4 MiB, 25 times in all.
        if receiver.count // (4 * MIB) != receiver.rests:
            receiver.rests = receiver.count // (4 * MIB)
            peak[0] = max(peak[0], edge.process.rss_bytes())
            time.sleep(0.04)

    def receiver(sock, offset, name):
        return Receiver(sock, offset, sluggish if name == slow else None)

    threads = [Sender(client.sock, size), Sender(arrival.sock, size, 12345),
               receiver(arrival.sock, 0, "upstream"),
               receiver(client.sock, 12345, "client")]
    for thread in threads:
        thread.join(120 * PATIENCE)
        assert not thread.is_alive()
    for sender in threads[:2]:
        assert sender.error is None
    for got in threads[2:]:
        assert got.right and got.count == size and got.end == "eof"
    event = edge.wait_events(1)[0]
    assert event["conn"]["bytes_in"] == size + hello_size
    assert event["conn"]["bytes_out"] == size
    assert event["close"]["reason"] in ("client_closed", "upstream_closed")
    assert max(peak[0], edge.process.rss_bytes()) - before < \
        16 * MIB * (4 if SANITIZED else 1)


def test_memory_is_bounded_when_a_side_stops_reading(scene):
    upstream = scene.upstream(deaf)
    edge = scene.route(upstream)
    before = edge.process.rss_bytes()
    clients = []
    for _ in range(20):
        client, arrival, _ = pair(scene, edge, upstream)
        client.sock.settimeout(0.05)
        sent = 0
        try:
            while sent < 200 * MIB:
                sent += client.sock.send(bytes(MIB))
        except TimeoutError:
            pass
        assert sent < 64 * MIB, "backpressure"
        clients.append((client, arrival))
    assert edge.process.rss_bytes() - before < 20 * MIB * PATIENCE
    cpu = edge.process.cpu_seconds()
    time.sleep(0.5)
    assert edge.process.cpu_seconds() - cpu < 0.05, "a stall costs nothing"


@pytest.mark.core
@pytest.mark.parametrize("first", ["client", "upstream"])
def test_half_close_lets_the_other_direction_finish(scene, first):
    size = scaled(16) * MIB
    upstream = scene.upstream(deaf)
    edge = scene.route(upstream)
    client, arrival, _ = pair(scene, edge, upstream)
    here, there = (client.sock, arrival.sock) if first == "client" \
        else (arrival.sock, client.sock)
    here.shutdown(socket.SHUT_WR)
    there.settimeout(5 * PATIENCE)
    assert there.recv(1) == b"", "the half-close is passed on"
    time.sleep(0.3)
    Sender(there, size)
    got = Receiver(here)
    got.join(60 * PATIENCE)
    assert got.right and got.count == size and got.end == "eof"
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == first + "_closed"


@pytest.mark.core
def test_reset_of_the_client_is_passed_on(scene):
    upstream = scene.upstream(hold)
    edge = scene.route(upstream)
    client = scene.client(edge)
    client.hello()
    arrival = upstream.next()
    arrival.wait_bytes(100)
    client.reset()
    assert arrival.wait_end() == "reset"
    assert edge.wait_events(1)[0]["close"]["reason"] == "client_reset"


@pytest.mark.core
def test_reset_of_the_upstream_is_passed_on(scene):
    upstream = scene.upstream(deaf)
    edge = scene.route(upstream)
    client, arrival, _ = pair(scene, edge, upstream)
    arrival.send(b"some words")
    assert client.read(10) == b"some words"
    arrival.reset()
    assert client.read_all() == (b"", "reset")
    assert edge.wait_events(1)[0]["close"]["reason"] == "upstream_reset"


def test_what_was_read_before_a_reset_is_delivered(scene):
    """The stream must not look complete, but nothing received is lost."""
    upstream = scene.upstream(deaf)
    edge = scene.route(upstream)
    for size in (100, 60_000, 3 * MIB):
        client, arrival, _ = pair(scene, edge, upstream)
        got = Receiver(client.sock)
        sender = Sender(arrival.sock, size, shut=False)
        sender.join(10 * PATIENCE)
        until(lambda: got.count == size, 10, "all of it at the client")
        arrival.reset()
        got.join(5 * PATIENCE)
        assert got.end == "reset" and got.right


@pytest.mark.core
@pytest.mark.parametrize("size", [1, 1000, 70_000, 500_000, 5_000_000])
def test_last_bytes_before_a_close_arrive(scene, size):
    payload = os.urandom(size)

    def script(arrival):
        arrival.read_step()
        arrival.send(payload)
        arrival.shut()
        record(arrival)

    edge = scene.route(scene.upstream(script))
    for _ in range(5):
        client = scene.client(edge)
        client.hello()
        time.sleep(0.02)
        assert client.read_all() == (payload, "eof")
        client.close()
    for event in edge.wait_events(5):
        assert event["conn"]["bytes_out"] == size


def test_last_bytes_of_the_client_arrive(scene):
    """The client sends, closes and is gone."""
    payload = os.urandom(400_000)
    upstream = scene.upstream(record)
    edge = scene.route(upstream)
    for _ in range(5):
        client = scene.client(edge)
        wire = client.hello()
        client.send(payload)
        client.close()
        arrival = upstream.next()
        assert arrival.wait_end() == "eof"
        assert bytes(arrival.data) == wire + payload
    edge.wait_events(5)


def test_client_that_closes_with_unread_bytes(scene):
    """The kernel makes a reset of that; nothing is left over."""
    upstream = scene.upstream(deaf)
    edge = scene.route(upstream)
    for _ in range(10):
        client, arrival, _ = pair(scene, edge, upstream)
        Sender(arrival.sock, 4 * MIB)
        client.read(1000)
        client.close()
        arrival.sock.settimeout(5 * PATIENCE)
        try:
            while arrival.sock.recv(65536):
                pass
        except ConnectionResetError:
            pass
        arrival.close()
    for event in edge.wait_events(10):
        assert event["close"]["reason"] in ("client_closed", "client_reset")


@pytest.mark.core
def test_idle_timeout(scene):
    upstream = scene.upstream(record)
    edge = scene.edge([
        {"url": "tls://a.test", "upstream": upstream.address},
        {"url": "tls://b.test", "upstream": upstream.address,
         "timeouts": {"idle": "300ms"}}],
        edge={"timeouts": {"idle": "900ms"}})
    for name, low, high in (("a.test", 0.8, 1.6), ("b.test", 0.2, 0.8)):
        client = scene.client(edge)
        client.hello(name)
        began = time.monotonic()
        client.read_all()
        assert low < time.monotonic() - began < high * PATIENCE
        client.close()
        upstream.next().wait_end()
    for event in edge.wait_events(2):
        assert event["close"]["reason"] == "idle_timeout"


def test_bytes_in_any_direction_keep_it_open(scene):
    upstream = scene.upstream(deaf)
    edge = scene.route(upstream, timeouts={"idle": "500ms"})
    client, arrival, _ = pair(scene, edge, upstream)
    for turn in range(8):
        time.sleep(0.2)
        if turn < 4:
            client.send(b"x")
            assert arrival.sock.recv(1) == b"x"
        else:
            arrival.send(b"y")
            assert client.read(1) == b"y"
    client.close()
    arrival.close()
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] != "idle_timeout"


@pytest.mark.core
@pytest.mark.parametrize("direction", ["in", "out"])
def test_bytes_per_second(scene, direction):
    rate, size = 400_000, 500_000
    upstream = scene.upstream(deaf)
    edge = scene.route(upstream, bytes_per_second=rate)
    client, arrival, _ = pair(scene, edge, upstream)
    here, there = (client.sock, arrival.sock) if direction == "in" \
        else (arrival.sock, client.sock)
    began = time.monotonic()
    Sender(here, size)
    got = Receiver(there)
    got.join(20 * PATIENCE)
    took = time.monotonic() - began
    assert got.right and got.count == size and got.end == "eof"
    assert size / rate * 0.7 < took < size / rate * 1.6 * PATIENCE, took
    there.shutdown(socket.SHUT_WR)
    edge.wait_events(1)


def test_early_data_from_the_upstream(scene):
    """What it sends before the client's next byte is delivered, and after
    the client's half-close too."""
    payload = os.urandom(200_000)

    def script(arrival):
        arrival.send(payload)
        record(arrival)

    edge = scene.route(scene.upstream(script))
    client = scene.client(edge)
    client.hello()
    client.shut()
    data, end = client.read_all()
    assert data == payload and end == "eof"


def test_ping_pong_has_no_delay(scene):
    """Two small writes a turn must not wait for acknowledgements."""
    edge = scene.route(scene.upstream(echo))
    client = scene.client(edge)
    wire = client.hello()
    client.read(len(wire))
    began = time.monotonic()
    for turn in range(200):
        client.send(b"a").send(b"b%d" % turn)
        client.read(2 + len(str(turn)))
    assert time.monotonic() - began < 2 * PATIENCE


def test_urgent_data_does_not_stall_a_copy(scene):
    """A read stops where the urgent byte stood; what is behind it must not
    wait for the next segment."""
    upstream = scene.upstream(deaf)
    edge = scene.route(upstream)
    for _ in range(20):
        client, arrival, _ = pair(scene, edge, upstream)
        client.send(bytes(1000))
        client.sock.send(b"!", socket.MSG_OOB)
        client.send(bytes(1000))
        left = 2000
        arrival.sock.settimeout(5)
        while left > 0:
            left -= len(arrival.sock.recv(left))
        arrival.close()
        client.close()
    edge.wait_events(20)


def test_urgent_data_does_not_stall_the_splice(scene):
    """A byte out of band in a bulk stream (MSG_OOB)."""
    upstream = scene.upstream(deaf)
    edge = scene.route(upstream)
    client, arrival, _ = pair(scene, edge, upstream)
    got = []

    def take():
        try:
            while True:
                data = arrival.sock.recv(262144)
                if not data:
                    break
                got.append(len(data))
        except OSError:
            pass
    thread = threading.Thread(target=take)
    thread.start()
    for _ in range(20):
        client.send(bytes(500_000))
        client.sock.send(b"!", socket.MSG_OOB)
        client.send(bytes(1000))
    client.shut()
    thread.join(20 * PATIENCE)
    assert not thread.is_alive()
    # An urgent byte that was overtaken by the next one is an ordinary byte.
    assert 20 * 501_000 <= sum(got) <= 20 * 501_001
    arrival.close()
    edge.wait_events(1)


def test_many_bulk_streams_beside_small_ones(scene):
    """Fairness: a small exchange stays quick beside bulk."""
    upstream = scene.upstream(deaf)
    small = scene.upstream(answer(b"ok"))
    edge = scene.edge([
        {"url": "tls://a.test", "upstream": upstream.address},
        {"url": "tls://small.test", "upstream": small.address}],
        edge={"workers": 1})
    size = scaled(30) * MIB
    receivers = []
    for _ in range(4):
        client, arrival, _ = pair(scene, edge, upstream)
        Sender(arrival.sock, size)
        receivers.append(Receiver(client.sock))
    worst = 0
    for _ in range(20):
        began = time.monotonic()
        client = scene.client(edge)
        client.hello("small.test")
        assert client.read(2) == b"ok"
        client.close()
        worst = max(worst, time.monotonic() - began)
    assert worst < 0.5 * PATIENCE, worst
    for receiver in receivers:
        receiver.join(60 * PATIENCE)
        assert receiver.right and receiver.count == size


@pytest.mark.parametrize("bulk", [False, True])
def test_resets_in_the_middle_leave_nothing_behind(scene, bulk):
    """RE-08: bytes stand in a pipe (bulk) or a buffer when a side resets;
    the next streams carry no foreign byte."""
    upstream = scene.upstream(deaf)
    edge = scene.route(upstream, options={"edge": {"workers": 1}})
    size = 20 * MIB if bulk else 100_000
    for turn in range(scaled(24, 6)):
        client, arrival, _ = pair(scene, edge, upstream,
                                  receive_buffer=8192)
        sender = Sender(arrival.sock, size, shut=False)
        if bulk:
            # Enough for the splice, then stop reading: the pipe fills.
            taken = 0
            while taken < MIB:
                taken += len(client.sock.recv(65536))
        else:
            client.read(1000)
        if turn % 2:
            client.reset()
        else:
            arrival.reset()
            # What was read before the reset may still come; then it ends.
            client.sock.settimeout(10 * PATIENCE)
            assert client.read_all()[1] == "reset"
            client.close()
        sender.join(10 * PATIENCE)
        arrival.close()
        good, there, _ = pair(scene, edge, upstream)
        Sender(there.sock, 2 * MIB, offset=turn * 1000)
        got = Receiver(good.sock, offset=turn * 1000)
        got.join(20 * PATIENCE)
        assert got.right and got.count == 2 * MIB, turn
        good.close()
        there.close()
    events = edge.wait_events(scaled(24, 6) * 2)
    reasons = [e["close"]["reason"] for e in events[::2]]
    assert set(reasons) <= {"client_reset", "upstream_reset"}, reasons


@pytest.mark.skipif(SANITIZED, reason="measures memory")
def test_idle_connections_are_small(scene):
    """Orientation only; the bench measures the bar of 600 bytes."""
    upstream = scene.crowd()
    edge = scene.route(upstream, options={"edge": {"workers": 1}})

    def grow(count):
        clients = []
        for _ in range(count):
            client = scene.client(edge)
            client.hello()
            clients.append(client)
        until(lambda: len(upstream.open) >= len(scene.clients), 20,
              "all arrived")
        return clients
    grow(500)
    before = edge.process.rss_bytes()
    grow(2000)
    each = (edge.process.rss_bytes() - before) / 2000
    assert each < 2048, each
