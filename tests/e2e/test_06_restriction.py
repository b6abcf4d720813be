"""Allow and deny lists of endpoints."""

import random
import time

import pytest

import hello
from edge import lunette
from upstream import answer
from waiting import PATIENCE, scaled

DENIED = hello.alert(49)


def allowed(scene, edge, **options):
    client = scene.client(edge, **options)
    client.hello()
    data = client.read_all()[0]
    client.close()
    assert data in (b"ok", DENIED), data
    return data == b"ok"


def upstream_that_says_ok(scene):
    def script(arrival):
        if arrival.read_step():
            arrival.send(b"ok")
            arrival.shut()
        while arrival.read_step():
            pass
        arrival.close()
    return scene.upstream(script)


@pytest.mark.core
def test_deny_wins_and_allow_is_needed(scene):
    upstream = upstream_that_says_ok(scene)
    edge = scene.route(upstream, ip_restriction={
        "allow": ["127.0.0.0/29", "127.0.1.1"], "deny": ["127.0.0.3/32",
                                                        "127.0.0.4/31"]})
    table = {"127.0.0.1": True, "127.0.0.2": True, "127.0.0.3": False,
             "127.0.0.4": False, "127.0.0.5": False, "127.0.0.6": True,
             "127.0.0.8": False, "127.0.1.1": True, "127.0.1.2": False}
    for source, expected in table.items():
        assert allowed(scene, edge, source=source) == expected, source
    events = edge.wait_events(len(table))
    for (source, expected), event in zip(table.items(), events):
        assert event["conn"]["client_ip"] == source
        assert event["ip_policy"]["decision"] == \
            ("allow" if expected else "block")
        if not expected:
            assert event["close"]["reason"] == "denied_ip"
            assert "upstream" not in event
    assert upstream.count() == sum(table.values())


def test_without_restriction_the_event_has_no_decision(scene):
    edge = scene.route(upstream_that_says_ok(scene))
    assert allowed(scene, edge)
    assert "ip_policy" not in edge.wait_events(1)[0]


def test_ipv6_and_v4_mapped(scene, ipv6):
    upstream = upstream_that_says_ok(scene)
    edge = scene.edge(
        [{"url": "tls://a.test", "upstream": upstream.address,
          "ip_restriction": {"allow": ["::1/128", "127.0.0.1/32",
                                       "::ffff:127.0.0.6/128"],
                             "deny": ["::ffff:127.0.0.2/128"]}}],
        listen=[{"address": "[::]:0"}])
    # The IPv4 clients come as v4-mapped; they are IPv4 all the same.
    table = [("::1", None, True), ("127.0.0.1", "127.0.0.1", True),
             ("127.0.0.1", "127.0.0.2", False),
             ("127.0.0.1", "127.0.0.6", True),
             ("127.0.0.1", "127.0.0.7", False)]
    for host, source, expected in table:
        assert allowed(scene, edge, host=host, source=source) == expected
    events = edge.wait_events(len(table))
    assert [e["conn"]["client_ip"] for e in events] == [
        "::1", "127.0.0.1", "127.0.0.2", "127.0.0.6", "127.0.0.7"]


def test_deny_alone_is_refused_at_start(scene):
    path = scene.write("bad.yaml", """version: 1
edge:
  listen:
    - address: "127.0.0.1:0"
endpoints:
  - url: tls://a.test
    upstream: "127.0.0.1:1"
    ip_restriction:
      deny: ["192.0.2.0/24"]
""")
    for command in ("check", "edge"):
        shown = lunette(command, "-c", path)
        assert shown.returncode == 1
        assert b"0.0.0.0/0" in shown.stderr and b"::/0" in shown.stderr
        assert b"bad.yaml:" in shown.stderr
    shown = lunette("tls", "127.0.0.1:1", "--listen", "127.0.0.1:0",
                    "--cidr-deny", "192.0.2.0/24")
    assert shown.returncode in (1, 2)
    assert b"0.0.0.0/0" in shown.stderr


@pytest.mark.parametrize("rule", ["300.1.2.3", "10.0.0.0/33", "10.0.0.1/8",
                                  "office", "::/129", ""])
def test_rules_that_are_no_networks(scene, rule):
    """A rule that could be read two ways is refused, or read exactly."""
    edge_file = scene.write("bad.yaml", f"""version: 1
edge:
  listen:
    - address: "127.0.0.1:0"
endpoints:
  - url: tls://a.test
    upstream: "127.0.0.1:1"
    ip_restriction:
      allow: ["{rule}"]
""")
    shown = lunette("check", "-c", edge_file)
    if rule == "10.0.0.1/8":
        return  # host bits: taken as the network, or refused
    assert shown.returncode == 1
    assert b"bad.yaml:9:" in shown.stderr, shown.stderr


def test_a_hundred_thousand_networks(scene):
    """They load in seconds and cost nothing at run time."""
    count = scaled(100000)
    draw = random.Random(7)
    networks = {f"{a}.{b}.{c}.{d}/32" for a, b, c, d in (
        (draw.randrange(1, 127), draw.randrange(256), draw.randrange(256),
         draw.randrange(256)) for _ in range(count))}
    networks |= {"127.0.0.0/8"}
    upstream = upstream_that_says_ok(scene)
    began = time.monotonic()
    edge = scene.route(upstream, ip_restriction={
        "allow": sorted(networks), "deny": ["127.0.0.9/32"]})
    assert time.monotonic() - began < 5 * PATIENCE
    assert allowed(scene, edge)
    assert not allowed(scene, edge, source="127.0.0.9")
    before = edge.process.cpu_seconds()
    for _ in range(200):
        assert allowed(scene, edge)
    assert edge.process.cpu_seconds() - before < 0.5 * PATIENCE
    assert edge.process.rss_bytes() < 120 * 2**20 * PATIENCE


def test_restriction_after_the_policy_moved_the_connection(scene):
    """The new endpoint's list is asked too: nothing falls through."""
    policy = scene.write("p.lua", """
        return function(conn)
          return { endpoint = "tls://shut.test" }
        end
    """)
    open_one = scene.upstream(answer(b"ok"))
    shut_one = scene.upstream(answer(b"ok"))
    edge = scene.edge([
        {"url": "tls://a.test", "upstream": open_one.address},
        {"url": "tls://shut.test", "upstream": shut_one.address,
         "ip_restriction": {"allow": ["192.0.2.0/24"]}}],
        edge={"policy": {"file": policy}})
    assert not allowed(scene, edge)
    assert edge.wait_events(1)[0]["close"]["reason"] == "denied_ip"
    assert shut_one.count() == 0 and open_one.count() == 0
