"""Where connections lead: balancing, health, retries, DNS, Unix, IPv6."""

import collections
import socket
import time

import pytest

import hello
from nameserver import Nameserver
from upstream import Upstream, answer_and_close, hold, record
from waiting import PATIENCE, scaled, until

INTERNAL = hello.alert(80)


def ask(scene, edge, name="a.test", **options):
    """One connection to its end: what came back."""
    client = scene.client(edge, **options)
    client.hello(name)
    data = client.read_all()[0]
    client.close()
    return data


def three(scene):
    return [scene.upstream(answer_and_close(w)) for w in (b"1", b"2", b"3")]


def spread(scene, edge, count, **options):
    return collections.Counter(
        ask(scene, edge, **options) for _ in range(count))


@pytest.mark.core
def test_round_robin_in_turn(scene):
    ups = three(scene)
    edge = scene.route([u.address for u in ups], balance="round_robin",
                       options={"edge": {"workers": 1}})
    order = [ask(scene, edge) for _ in range(9)]
    assert collections.Counter(order) == {b"1": 3, b"2": 3, b"3": 3}
    assert order[:3] == order[3:6] == order[6:9]
    events = edge.wait_events(9)
    assert {e["upstream"]["address"] for e in events} == \
        {u.address for u in ups}


def test_round_robin_is_the_default(scene):
    edge = scene.route([u.address for u in three(scene)])
    assert set(spread(scene, edge, 12)) == {b"1", b"2", b"3"}


def test_weights(scene):
    ups = three(scene)
    edge = scene.route(
        [{"address": ups[0].address, "weight": 3},
         {"address": ups[1].address, "weight": 1}],
        balance="round_robin", options={"edge": {"workers": 1}})
    assert spread(scene, edge, 16) == {b"1": 12, b"2": 4}


def test_least_connections(scene):
    ups = [scene.upstream(hold) for _ in range(3)]
    edge = scene.route([u.address for u in ups], balance="least_connections")
    for _ in range(12):
        scene.client(edge).hello()
        want = len(scene.clients)
        until(lambda: sum(u.count() for u in ups) == want, 5, "arrival")
    assert [u.count() for u in ups] == [4, 4, 4]


def test_random_two_uses_all_and_avoids_the_busy(scene):
    ups = [scene.upstream(hold) for _ in range(4)]
    edge = scene.route([u.address for u in ups], balance="random_two")
    for _ in range(40):
        scene.client(edge).hello()
        want = len(scene.clients)
        until(lambda: sum(u.count() for u in ups) == want, 5, "arrival")
    counts = [u.count() for u in ups]
    assert min(counts) >= 5 and max(counts) <= 16, counts


def test_hash_keeps_a_client_and_moves_few(scene):
    ups = three(scene)
    edge = scene.route([u.address for u in ups], balance="hash")
    sources = [f"127.0.{i // 250}.{i % 250 + 1}" for i in range(60)]
    first = {s: ask(scene, edge, source=s) for s in sources}
    assert len(set(first.values())) == 3
    again = {s: ask(scene, edge, source=s) for s in sources}
    assert again == first
    # One goes: only its clients move.
    gone = ups[2]
    gone.stop_listening()
    after = {s: ask(scene, edge, source=s) for s in sources}
    for source in sources:
        if first[source] != b"3":
            assert after[source] == first[source], source
        else:
            assert after[source] in (b"1", b"2")


@pytest.mark.core
def test_refused_goes_to_the_next(scene):
    ups = three(scene)
    for up in ups[:2]:
        up.stop_listening()
    edge = scene.route([u.address for u in ups])
    for _ in range(6):
        assert ask(scene, edge) == b"3"
    for event in edge.wait_events(6):
        assert event["upstream"]["address"] == ups[2].address
        assert event["close"]["reason"] == "upstream_closed" or \
            event["close"]["reason"] == "client_closed"


def test_all_refused(scene):
    ups = three(scene)
    for up in ups:
        up.stop_listening()
    edge = scene.route([u.address for u in ups])
    began = time.monotonic()
    assert ask(scene, edge) == INTERNAL
    assert time.monotonic() - began < 1 * PATIENCE
    assert edge.wait_events(1)[0]["close"]["reason"] == "upstream_refused"


@pytest.mark.core
def test_active_health_takes_down_and_brings_back(scene):
    ups = three(scene)[:2]
    edge = scene.route([u.address for u in ups], health={
        "every": "100ms", "fall": 2, "rise": 2})
    assert set(spread(scene, edge, 8)) == {b"1", b"2"}
    port = ups[1].port
    ups[1].stop_listening()
    edge.wait_log(lambda e: "down" in str(e) and str(port) in str(e), 5)
    # What is known to be down is not tried: nothing to wait for.
    assert spread(scene, edge, 10) == {b"1": 10}
    back = Upstream(answer_and_close(b"2"), port=port)
    scene.upstreams.append(back)
    until(lambda: b"2" in spread(scene, edge, 4), 5, "traffic again")


def test_when_all_are_down_one_is_tried_all_the_same(scene):
    up = scene.upstream(answer_and_close(b"1"))
    address, port = up.address, up.port
    up.stop_listening()
    edge = scene.route([address], health={"every": "100ms", "fall": 1,
                                          "rise": 100})
    edge.wait_log(lambda e: "down" in str(e), 5)
    scene.upstreams.append(Upstream(answer_and_close(b"back"), port=port))
    assert ask(scene, edge) == b"back"


def test_health_checks_make_no_events(scene):
    up = scene.upstream(record)
    edge = scene.route(up, health={"every": "50ms", "fall": 1, "rise": 1})
    until(lambda: up.count() >= 4, 5, "health checks")
    assert edge.events() == []


def test_connect_timeout_and_next(scene):
    """A backlog that is full swallows SYNs: after its time, the next."""
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    address = "127.0.0.1:%d" % full.getsockname()[1]
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
        fillers.append(filler)
    good = scene.upstream(answer_and_close(b"good"))
    edge = scene.edge(
        [{"url": "tls://a.test", "upstream": [address, good.address]},
         {"url": "tls://b.test", "upstream": address,
          "timeouts": {"connect": "600ms"}}],
        edge={"timeouts": {"connect": "300ms"}, "workers": 1})
    try:
        assert {ask(scene, edge), ask(scene, edge)} == {b"good"}
        began = time.monotonic()
        assert ask(scene, edge, "b.test") == INTERNAL
        assert 0.5 < time.monotonic() - began < 1.2 * PATIENCE
        assert edge.wait_events(3)[2]["close"]["reason"] == \
            "upstream_timeout"
    finally:
        for sock in [*fillers, full]:
            sock.close()


def test_unix_socket(scene):
    up = scene.upstream(answer_and_close(b"unix"), path=scene.path("u.sock"))
    edge = scene.route(up)
    assert ask(scene, edge) == b"unix"
    assert edge.wait_events(1)[0]["upstream"]["address"] == up.address
    up.stop_listening()
    assert ask(scene, edge) == INTERNAL
    assert edge.wait_events(2)[1]["close"]["reason"] in (
        "upstream_unreachable", "upstream_refused")


def test_ipv6_upstream(scene, ipv6):
    up = scene.upstream(answer_and_close(b"six"), host="::1")
    edge = scene.route(up)
    assert ask(scene, edge) == b"six"
    assert edge.wait_events(1)[0]["upstream"]["address"] == up.address


def test_early_data_of_the_upstream(scene):
    """An upstream that speaks first is heard."""
    def script(arrival):
        arrival.send(b"banner")
        record(arrival)
    edge = scene.route(scene.upstream(script))
    client = scene.client(edge)
    client.hello()
    assert client.read(6) == b"banner"


# DNS.

@pytest.fixture
def names(scene):
    server = Nameserver()
    scene.upstreams.append(server)
    return server


def asking(edge):
    """The resolver may keep a UDP and a TCP socket to its server."""
    edge.base_sockets += 2
    return edge


def dns_edge(scene, names, upstream, **endpoint):
    return asking(scene.route(upstream, options={"edge": {
        "resolver": {"servers": [names.address]},
        "timeouts": {"connect": "1s"}}}, **endpoint))


@pytest.mark.core
def test_names_are_resolved_and_cached_for_their_ttl(scene, names):
    up = scene.upstream(answer_and_close(b"dns"))
    names.names["up.internal"] = ["127.0.0.1"]
    names.ttl = 2
    edge = dns_edge(scene, names, f"up.internal:{up.port}")
    for _ in range(5):
        assert ask(scene, edge) == b"dns"
    asked = [n for n, kind in names.asked if kind == 1]
    assert asked.count("up.internal") == 1, "cached"
    # The name moves; after the TTL so do new connections.
    other = scene.upstream(answer_and_close(b"moved"), host="127.0.0.8",
                           port=up.port)
    names.names["up.internal"] = ["127.0.0.8"]
    until(lambda: ask(scene, edge) == b"moved", 5, "the TTL runs out")
    assert other.count() == 1


def test_no_such_name(scene, names):
    edge = dns_edge(scene, names, "none.internal:443")
    assert ask(scene, edge) == INTERNAL
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "upstream_dns"


def test_name_without_addresses(scene, names):
    names.names["empty.internal"] = []
    edge = dns_edge(scene, names, "empty.internal:443")
    assert ask(scene, edge) == INTERNAL
    assert edge.wait_events(1)[0]["close"]["reason"] == "upstream_dns"


def test_a_silent_nameserver_blocks_only_its_own(scene, names):
    """The wait is bounded, and the worker serves others meanwhile (RE-11)."""
    up = scene.upstream(answer_and_close(b"ok"))
    names.names["slow.internal"] = "silence"
    edge = asking(scene.edge(
        [{"url": "tls://slow.test", "upstream": "slow.internal:1"},
         {"url": "tls://a.test", "upstream": up.address}],
        edge={"workers": 1, "resolver": {"servers": [names.address]},
              "timeouts": {"connect": "1s"}}))
    waiting = scene.client(edge)
    waiting.hello("slow.test")
    until(lambda: names.asked, 5, "the question")
    began = time.monotonic()
    for _ in range(10):
        assert ask(scene, edge) == b"ok"
    assert time.monotonic() - began < 0.5 * PATIENCE
    waiting.sock.settimeout(15 * PATIENCE)
    assert waiting.read_all()[0] == INTERNAL
    assert time.monotonic() - began < 12 * PATIENCE
    event = edge.wait_events(11)[0]
    assert event["close"]["reason"] in ("upstream_dns", "upstream_timeout")


def test_client_leaves_while_the_name_is_resolved(scene, names):
    """The answer comes when nobody waits any more."""
    names.names["slow.internal"] = "silence"
    edge = dns_edge(scene, names, "slow.internal:1")
    for _ in range(10):
        client = scene.client(edge)
        client.hello()
        until(lambda: names.asked, 5, "the question")
        client.reset()
    edge.wait_events(10, timeout=15)


def test_two_hundred_addresses(scene, names):
    """The first that answers serves; no more than a bounded number of tries.
    All 200 fit one TCP answer (RE-11)."""
    up = scene.upstream(answer_and_close(b"many"), host="127.0.0.1")
    names.names["many.internal"] = ["127.0.0.1"] + [
        f"127.9.{i // 250}.{i % 250 + 1}" for i in range(199)]
    edge = dns_edge(scene, names, f"many.internal:{up.port}")
    began = time.monotonic()
    data = ask(scene, edge)
    assert data in (b"many", INTERNAL)
    assert time.monotonic() - began < 5 * PATIENCE
    edge.wait_events(1)


def test_dead_addresses_of_one_name_are_passed_over(scene, names):
    up = scene.upstream(answer_and_close(b"alive"), host="127.0.0.3")
    names.names["some.internal"] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    edge = dns_edge(scene, names, f"some.internal:{up.port}")
    for _ in range(3):
        assert ask(scene, edge) == b"alive"


def test_v6_only_names(scene, names, ipv6):
    up = scene.upstream(answer_and_close(b"six"), host="::1")
    names.names["six.internal"] = ["::1"]
    edge = dns_edge(scene, names, f"six.internal:{up.port}")
    assert ask(scene, edge) == b"six"


def test_hostile_answers_do_no_harm(scene, names):
    """Cut, looping and foreign answers to the resolver."""
    up = scene.upstream(answer_and_close(b"ok"))
    names.names["good.internal"] = ["127.0.0.1"]
    edge = asking(scene.edge(
        [{"url": "tls://bad.test", "upstream": "bad.internal:1"},
         {"url": "tls://a.test", "upstream": f"good.internal:{up.port}"}],
        edge={"resolver": {"servers": [names.address]},
              "timeouts": {"connect": "500ms"}}))
    plain = names.reply
    kinds = iter(range(1000))

    def reply(packet):
        if b"\3bad" not in packet:
            return plain(packet)
        whole = plain(packet)
        return [whole[:13], whole[:2], whole[:-1] + b"\xff\xff",
                packet[:2] + b"\x85\x80\0\1\xff\xff\0\0\0\0" + packet[12:],
                packet[:2] + b"\x85\x80\0\1\0\1\0\0\0\0" + packet[12:] +
                b"\xc0\x0c" * 20][next(kinds) % 5]
    names.reply = reply
    clients = [scene.client(edge) for _ in range(scaled(10, 3))]
    for client in clients:
        client.hello("bad.test")
    assert ask(scene, edge) == b"ok"
    for client in clients:
        client.sock.settimeout(20 * PATIENCE)
        assert client.read_all()[0] == INTERNAL
