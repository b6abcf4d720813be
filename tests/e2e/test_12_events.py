"""The one event of each connection: its fields, its sinks."""

import datetime
import hashlib
import json
import os
import signal
import time

import pytest

import hello
from edge import Running, Tail, binary
from upstream import answer_and_close, record
from waiting import PATIENCE, until


def moment(text):
    return datetime.datetime.fromisoformat(
        text.replace("Z", "+00:00")).timestamp()


@pytest.mark.core
def test_all_fields(scene):
    upstream = scene.upstream(answer_and_close(b"answer"))
    edge = scene.route(upstream, proxy_proto=1,
                       ip_restriction={"allow": ["127.0.0.0/8"]})
    before = time.time()
    client = scene.client(edge)
    wire = client.hello(protocols=(b"h2",))
    assert client.read_all()[0] == b"answer"
    client.close()
    edge.wait_events(1)
    event = edge.events_seen[0]
    assert event["event_id"].startswith("ev_")
    assert event["event_type"] == "tcp_connection_closed.v0"
    assert abs(moment(event["event_timestamp"]) - before) < 10 * PATIENCE
    seen = event["object"]
    conn = seen["conn"]
    assert conn.pop("id")
    start, end = moment(conn.pop("start_ts")), moment(conn.pop("end_ts"))
    assert before - 1 < start <= end < before + 10 * PATIENCE
    assert conn == {
        "bytes_in": len(wire), "bytes_out": 6, "client_ip": "127.0.0.1",
        "client_port": client.port, "peer_ip": "127.0.0.1",
        "peer_port": client.port, "server_ip": "127.0.0.1",
        "server_port": edge.port, "server_name": "a.test",
        "listener": "127.0.0.1:0"}
    assert seen["ip_policy"] == {"decision": "allow"}
    assert seen["close"]["reason"] in ("upstream_closed", "client_closed")
    assert seen["endpoint"]["url"] == "tls://a.test"
    assert seen["endpoint"]["id"].startswith("ep_")
    assert seen["endpoint"]["terminate_at"] == "upstream"
    assert seen["upstream"] == {"address": upstream.address,
                                "proxy_proto": 1, "tls": False} or \
        seen["upstream"]["address"] == upstream.address
    timing = seen["timing"]
    for key in ("hello_ms", "dial_ms", "first_byte_ms", "total_ms"):
        assert 0 <= timing[key] < 10000 * PATIENCE, key
    assert timing["hello_ms"] <= timing["total_ms"] + 1
    assert "policy" not in seen and "tags" not in seen


def test_what_does_not_apply_is_left_out(scene):
    edge = scene.route(scene.upstream())
    client = scene.client(edge)
    client.close()
    seen = edge.wait_events(1)[0]
    for key in ("ip_policy", "upstream", "endpoint", "policy", "tags",
                "ja4_fingerprint"):
        assert key not in seen, key
    assert "server_name" not in seen["conn"] or \
        seen["conn"]["server_name"] == ""


def test_ids_are_unique_and_stable(scene):
    edge = scene.route(scene.upstream(answer_and_close(b"ok")))
    for _ in range(50):
        client = scene.client(edge)
        client.hello()
        client.read_all()
        client.close()
    edge.wait_events(50)
    assert len({e["event_id"] for e in edge.events_seen}) == 50
    assert len({e["object"]["conn"]["id"] for e in edge.events_seen}) == 50
    assert len({e["object"]["endpoint"]["id"]
                for e in edge.events_seen}) == 1


def test_ja4_of_a_known_hello(scene):
    """Independently computed for this one hello."""
    edge = scene.route(scene.upstream(record))
    client = scene.client(edge)
    client.hello("a.test", protocols=(b"h2",), grease=True)
    client.close()
    ciphers = sorted(["1301", "1302", "c02b", "c02f"])
    kinds = sorted(f"{k:04x}" for k in (10, 13, 11, 23, 43, 51, 45))
    signatures = "0403,0804"

    def short(text):
        return hashlib.sha256(text.encode()).hexdigest()[:12]
    expected = "t13d0409h2_" + short(",".join(ciphers)) + "_" + \
        short(",".join(kinds) + "_" + signatures)
    assert edge.wait_events(1)[0]["ja4_fingerprint"] == expected


@pytest.mark.core
def test_rotation_on_usr1(scene):
    edge = scene.route(scene.upstream(answer_and_close(b"ok")))
    path = edge.events_tail.path

    def visit():
        client = scene.client(edge)
        client.hello()
        client.read_all()
        client.close()

    for _ in range(3):
        visit()
    edge.wait_events(3)
    os.rename(path, path + ".1")
    edge.kill(signal.SIGUSR1)
    until(lambda: os.path.exists(path), 5, "the new file")
    for _ in range(4):
        visit()
    fresh = Tail(path)
    lines = []
    until(lambda: lines.extend(fresh.lines()) or len(lines) == 4, 5,
          "the events in the new file")
    with open(path + ".1", "rb") as f:
        assert len(f.readlines()) == 3
    for line in lines:
        json.loads(line)


def test_log_file_is_reopened_too(scene):
    path = scene.path("lunette.log")
    upstream = scene.upstream(answer_and_close(b"ok"))
    process = scene.program("logged", [
        binary(), "tls", upstream.port, "--listen", "127.0.0.1:0", "--log",
        path, "--log-format", "logfmt"])
    until(lambda: os.path.exists(path) and
          "ready" in open(path).read(), 5, "the log")
    os.rename(path, path + ".1")
    process.kill(signal.SIGUSR1)
    until(lambda: os.path.exists(path) and os.path.getsize(path), 5,
          "the new log")
    assert process.stop() == 0
    assert "draining" in open(path).read() or os.path.getsize(path)


def test_stdout(scene):
    """Events on standard output, log lines on standard error."""
    upstream = scene.upstream(answer_and_close(b"ok"))
    edge = scene.route(upstream, options={"events": [{"stdout": True}]})
    client = scene.client(edge)
    client.hello()
    client.read_all()
    client.close()
    until(lambda: edge.process.stdout().endswith(b"\n"), 5, "the event")
    lines = edge.process.stdout().splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0])["object"]["conn"]["server_name"] == "a.test"


def test_tls_events_on_stdout(scene):
    upstream = scene.upstream(answer_and_close(b"ok"))
    edge = Running(["tls", str(upstream.port), "--listen", "127.0.0.1:0",
                    "--events", "stdout"], scene.folder)
    scene.edges.append(edge)
    client = scene.client(edge)
    client.hello()
    client.read_all()
    client.close()
    until(lambda: edge.process.stdout().endswith(b"\n"), 5, "the event")
    json.loads(edge.process.stdout())


def test_a_slow_sink_slows_nobody(scene):
    """A pipe that nobody reads: connections go on; what did not fit is
    counted, not waited for."""
    fifo = scene.path("events.fifo")
    os.mkfifo(fifo)
    held = os.open(fifo, os.O_RDWR)
    try:
        upstream = scene.crowd(b"ok")
        edge = scene.route(upstream, options={"events": [{"file": fifo}]})
        began = time.monotonic()
        for _ in range(300):
            client = scene.client(edge)
            client.hello()
            assert client.read(2) == b"ok"
            client.close()
        assert time.monotonic() - began < 10 * PATIENCE
    finally:
        os.set_blocking(held, False)
        taken = b""
        deadline = time.monotonic() + 3 * PATIENCE
        while taken.count(b"\n") < 300 and time.monotonic() < deadline:
            try:
                taken += os.read(held, 65536)
            except BlockingIOError:
                time.sleep(0.01)
        edge.stop()
        os.close(held)
    assert taken.count(b"\n") == 300


def test_full_disk_is_counted_and_survived(scene):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    upstream = scene.upstream(answer_and_close(b"ok"))
    edge = scene.route(upstream,
                       options={"events": [{"file": "/dev/full"}]})
    for _ in range(5):
        client = scene.client(edge)
        client.hello()
        assert client.read_all()[0] == b"ok"
        client.close()
    edge.wait_log(lambda e: e.get("level") in ("warn", "error"), 5)


def test_two_sinks_and_types(scene):
    first, second = scene.path("one.jsonl"), scene.path("two.jsonl")
    upstream = scene.upstream(answer_and_close(b"ok"))
    edge = scene.route(upstream, options={"events": [
        {"file": first}, {"file": second,
                          "types": ["tcp_connection_closed.v0"]}]})
    client = scene.client(edge)
    client.hello()
    client.read_all()
    client.close()
    for path in (first, second):
        until(lambda: os.path.exists(path) and
              open(path).read().count("\n") == 1, 5, path)


def test_names_are_escaped_in_events(scene):
    """Whatever the bytes, a line stays one line of valid JSON."""
    edge = scene.route(scene.upstream())
    names = [b'a"b\\c', b"\xff\xfe\x80", b"a\nb", b"\0", b"</script>",
             "ü.test".encode(), b"\x1b]0;x\x07"]
    for name in names:
        client = scene.client(edge).send(hello.hello(name))
        client.read_all()
        client.close()
    edge.wait_events(len(names))
