"""Which endpoint a name leads to, and what unknown names are told."""

import time

import pytest

import hello
from upstream import answer
from waiting import PATIENCE, scaled, until

UNKNOWN, DENIED, INTERNAL = 112, 49, 80


def said(scene, edge, name, **options):
    """What comes back for a name: the upstream's word or an alert."""
    client = scene.client(edge)
    client.hello(name, **options)
    first = client.read(1)
    if first == b"\x15":
        rest, end = client.read_all()
        assert end == "eof", "the alert was followed by a reset"
        result = ("alert", (first + rest)[-1])
        assert first + rest == hello.alert(result[1])
    else:
        size = first[0]
        result = client.read(size).decode()
    client.close()
    return result


def worded(scene, text):
    """An upstream that says its own name, length first."""
    return scene.upstream(answer(bytes([len(text)]) + text.encode()))


def endpoints(scene, **names):
    """Endpoints whose upstreams answer with the key's word."""
    return [{"url": "tls://" + url, "upstream": worded(scene, word).address}
            for word, url in names.items()]


@pytest.mark.core
def test_exact_wildcard_and_case(scene):
    """CH-09 and CH-11."""
    edge = scene.edge(endpoints(scene, exact="a.test", wild="*.wild.test",
                                deep="*.deep.wild.test",
                                one="one.wild.test"))
    table = {
        "a.test": "exact", "A.TEST": "exact", "a.TeSt": "exact",
        "a.test.": "exact", "A.test.": "exact",
        "x.wild.test": "wild", "X.WILD.test.": "wild",
        "y.x.wild.test": "wild", "q.r.s.t.wild.test": "wild",
        "one.wild.test": "one", "x.one.wild.test": "wild",
        "z.deep.wild.test": "deep", "deep.wild.test": "wild",
        "y.z.deep.wild.test": "deep",
        "wild.test": ("alert", UNKNOWN), "xwild.test": ("alert", UNKNOWN),
        "b.test": ("alert", UNKNOWN), "a.test.example": ("alert", UNKNOWN),
        "xa.test": ("alert", UNKNOWN), "test": ("alert", UNKNOWN),
        "under_score.wild.test": "wild",
    }
    for name, expected in table.items():
        assert said(scene, edge, name) == expected, name
    events = edge.wait_events(len(table))
    for (name, expected), event in zip(table.items(), events):
        assert event["conn"]["server_name"] == name.lower().rstrip("."), name
        if isinstance(expected, tuple):
            assert event["close"]["reason"] == "unknown_name"
            assert "upstream" not in event
        else:
            assert event["endpoint"]["url"].startswith("tls://")
            assert event["endpoint"]["terminate_at"] == "upstream"


def test_no_name_without_default(scene):
    edge = scene.edge(endpoints(scene, exact="a.test"))
    assert said(scene, edge, None) == ("alert", UNKNOWN)
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "unknown_name"
    assert not event["conn"].get("server_name")


def test_default_endpoint(scene):
    routes = endpoints(scene, exact="a.test", fallback="fallback.test")
    edge = scene.edge(routes,
                      edge={"default_endpoint": "tls://fallback.test"})
    assert said(scene, edge, "a.test") == "exact"
    assert said(scene, edge, "other.test") == "fallback"
    assert said(scene, edge, None) == "fallback"
    assert said(scene, edge, "fallback.test") == "fallback"
    # Not well formed is never routed, whatever the default.
    assert said(scene, edge, "bad name.test") == ("alert", UNKNOWN)
    assert said(scene, edge, "127.0.0.1") == ("alert", UNKNOWN)
    events = edge.wait_events(6)
    assert [e.get("endpoint", {}).get("url") for e in events[:4]] == [
        "tls://a.test", "tls://fallback.test", "tls://fallback.test",
        "tls://fallback.test"]
    assert events[1]["conn"]["server_name"] == "other.test"


def test_hide_names_answers_alike(scene):
    routes = endpoints(scene, open="open.test", shut="shut.test")
    routes[1]["ip_restriction"] = {"allow": ["192.0.2.0/24"]}
    plain = scene.edge(routes)
    hidden = scene.edge(routes, edge={"hide_names": True})
    assert said(scene, plain, "shut.test") == ("alert", DENIED)
    assert said(scene, plain, "none.test") == ("alert", UNKNOWN)
    assert said(scene, hidden, "shut.test") == ("alert", UNKNOWN)
    assert said(scene, hidden, "none.test") == ("alert", UNKNOWN)
    assert said(scene, hidden, "open.test") == "open"
    reasons = [e["close"]["reason"] for e in hidden.wait_events(3)]
    assert reasons[:2] == ["denied_ip", "unknown_name"]


def test_any_name_in_lunette_tls(scene):
    edge = scene.tls(worded(scene, "any").port)
    for name in ("a.test", "x.y.z.example", None):
        assert said(scene, edge, name) == "any"
    edge.wait_events(3)


def test_upstream_gone_is_told_within_a_second(scene):
    upstream = scene.upstream()
    address = upstream.address
    upstream.stop_listening()
    edge = scene.route(address)
    began = time.monotonic()
    assert said(scene, edge, "a.test") == ("alert", INTERNAL)
    assert time.monotonic() - began < 1 * PATIENCE
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "upstream_refused"


@pytest.mark.core
def test_reload_changes_the_routes(scene):
    edge = scene.edge(endpoints(scene, before="a.test"))
    held = scene.client(edge)
    held.hello("a.test")
    assert held.read(7) == b"\x06before"
    edge.endpoints = endpoints(scene, after="a.test", more="b.test")
    assert edge.reload()[0]
    assert said(scene, edge, "a.test") == "after"
    assert said(scene, edge, "b.test") == "more"
    held.close()
    edge.wait_events(3)


def test_ten_thousand_names_route_like_ten(scene):
    count = scaled(10000)
    word = worded(scene, "yes")

    def edge_with(names):
        return scene.edge(
            [{"url": f"tls://n{n}.many.test", "upstream": word.address}
             for n in range(names)] +
            [{"url": f"tls://*.w{n}.many.test", "upstream": word.address}
             for n in range(names // 100)])

    def cpu_for(edge, names, connections):
        before = edge.process.cpu_seconds()
        for i in range(connections):
            assert said(scene, edge, f"n{i * 7919 % names}.many.test") == \
                "yes"
        return edge.process.cpu_seconds() - before

    few, many = edge_with(10), edge_with(count)
    assert said(scene, many, f"n{count - 1}.many.test") == "yes"
    assert said(scene, many, f"x.w{count // 100 - 1}.many.test") == "yes"
    assert said(scene, many, f"n{count}.many.test") == ("alert", UNKNOWN)
    turns = 300
    small = min(cpu_for(few, 10, turns), cpu_for(few, 10, turns))
    large = min(cpu_for(many, count, turns), cpu_for(many, count, turns))
    # Ticks are 10 ms: this catches a linear search, the bench measures 3 %.
    assert large < small * 2 + 0.05, (small, large)


def test_events_of_a_burst_of_unknown_names_stay_bounded(scene):
    """A scan over random names costs an event each and nothing that stays."""
    edge = scene.edge(endpoints(scene, exact="a.test"))
    for number in range(20):
        said(scene, edge, f"r{number}.test")
    before = edge.process.rss_bytes()
    count = scaled(1000)
    for number in range(count):
        said(scene, edge, f"r{number}.{number}.random.test")
    edge.wait_events(count + 20)
    until(lambda: edge.process.rss_bytes() < before + 3 * 2**20, 2,
          "memory stays")
