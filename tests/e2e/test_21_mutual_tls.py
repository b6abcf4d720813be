"""Mutual TLS and the policy that terminates: who the client is, and what a
script may do with it."""

import json
import ssl

import pytest

import hello
from client import Client
from tlspeer import Refused, Tls, client_context, raw_alert, read_word, \
    refusal, told_alert
from tlsupstream import greet
from waiting import until

BOTH = pytest.mark.parametrize("version", ["1.2", "1.3"])


def logged(event):
    """What conn:log gave to the event."""
    return event["traffic_policy"]["logs"]


class Cast:
    """CA files, a policy that uses them, and clients of several kinds."""

    def __init__(self, scene):
        self.scene = scene
        self.certificates = scene.certificates
        with open(self.certificates.authority("clients").crt) as f:
            scene.write("corp.pem", f.read())

    def edge(self, policy, upstream=None, **endpoint):
        self.upstream = upstream or self.scene.greeter()
        path = self.scene.write("p.lua", "local lunette = require 'lunette'\n"
                                "local corp = lunette.cas 'corp.pem'\n" +
                                policy)
        options = endpoint.pop("options", {})
        options["top"] = {"certificates": [
            self.certificates.pair("a.test").settings(name="app")]}
        options.setdefault("edge", {})["policy"] = {"file": path}
        return self.scene.route(self.upstream, options=options, **endpoint)

    def client(self, name="bob", version=None, **options):
        return client_context(version=version, cert=self.certificates.client(
            name, **options))


@pytest.fixture
def cast(scene):
    return Cast(scene)


UNITS = """
    return function(conn)
      local tls = conn:terminate {
        certificate = "app", mutual_tls = { cas = corp } }
      if tls.client.subject.organizational_unit[1] ~= "payments" then
        return lunette.deny "wrong unit"
      end
      return lunette.forward {}
    end
"""


@pytest.mark.core
@BOTH
def test_by_organizational_unit(scene, cast, version):
    """And a resumed session is judged the same."""
    edge = cast.edge(UNITS)
    good = cast.client("bob", version, unit="payments")
    session = None
    for _ in range(2):
        tls = scene.greeted(edge, good, session=session)
        tls.close_notify()
        assert tls.resumed == (session is not None)
        session = tls.session
        tls.close()
    bad = cast.client("joe", version, unit="sales")
    session = None
    for turn in range(2):
        tls = scene.connect(edge, bad, session=session)
        # Denied after the handshake: a clean end, and not a byte.
        assert tls.read_all() == (b"", "notify")
        assert tls.resumed == (turn == 1)
        session = tls.session
        tls.close()
    assert refusal(edge.port, client_context(version=version)) == \
        {"1.2": 40, "1.3": 116}[version]
    assert cast.upstream.count() == 2
    events = edge.wait_events(5)
    assert [e["close"]["reason"] for e in events[2:]] == [
        "denied_policy", "denied_policy", "client_certificate_missing"]
    assert [e.get("tls", {}).get("session_resumed") for e in events[:4]] == [
        False, True, False, True]
    for event in events[2:4]:
        assert event["policy"]["reason"] == "wrong unit"
        assert event["tls"]["client"]["fingerprint_sha256"] == \
            scene.certificates.client("joe", unit="sales").fingerprint()


SPIFFE = """
    local roles = { ["spiffe://corp/payments"] = true }
    return function(conn)
      local tls = conn:terminate { mutual_tls = { cas = corp } }
      for _, uri in ipairs(tls.client.san.uris) do
        if roles[uri] then return { tags = { role = uri } } end
      end
      return lunette.deny "no role"
    end
"""


@BOTH
def test_by_spiffe_id(scene, cast, version):
    edge = cast.edge(SPIFFE)
    good = cast.client("pay", version, uris=("spiffe://corp/payments",))
    session = None
    for _ in range(2):
        tls = scene.greeted(edge, good, session=session)
        tls.close_notify()
        assert tls.resumed == (session is not None)
        session = tls.session
        tls.close()
    for bad in (("spiffe://corp/payments.evil",), ("spiffe://corp/sales",)):
        tls = scene.connect(edge, cast.client("other", version, uris=bad))
        assert tls.read_all() == (b"", "notify")
        tls.close()
    events = edge.wait_events(4)
    assert [e.get("tags") for e in events[:2]] == \
        [{"role": "spiffe://corp/payments"}] * 2
    assert [e["close"]["reason"] for e in events[2:]] == \
        ["denied_policy"] * 2


FIELDS = """
    return function(conn)
      assert(conn.tls.version == nil)
      local tls = conn:terminate { mutual_tls = { cas = corp } }
      local c = tls.client
      assert(tls == conn.tls and c == conn.tls.client)
      conn:log {
        version = tls.version, cipher = tls.cipher_suite,
        alpn = tls.negotiated_alpn, resumed = tls.session_resumed,
        sni = tls.sni, cn = c.subject.common_name,
        unit = table.concat(c.subject.organizational_unit, "+"),
        org = table.concat(c.subject.organization, "+"),
        issuer = c.issuer.common_name, dns = table.concat(c.san.dns_names, "+"),
        uris = table.concat(c.san.uris, "+"),
        mail = table.concat(c.san.email_addresses, "+"),
        ips = table.concat(c.san.ip_addresses, "+"),
        serial = c.serial_number, fingerprint = c.fingerprint_sha256,
        algorithm = c.signature_algorithm,
        before = c.validity.not_before, after = c.validity.not_after,
        pem = c.pem }
    end
"""


@BOTH
def test_every_field_of_the_client(scene, cast, version):
    """What OpenSSL says of the certificate, the script reads."""
    edge = cast.edge(FIELDS.replace("{ mutual", "{ alpn = { 'h2' }, mutual"))
    issuer = scene.certificates.authority("clients")
    pair = scene.certificates.once("fields", lambda: issuer.leaf(
        subject="/O=One/OU=x/OU=y, z/CN=caf\\C3\\A9 \\\\ \"q\"",
        usage="clientAuth", extensions=[
            "subjectAltName=DNS:c.test,URI:spiffe://x/y,"
            "email:a@c.test,IP:192.0.2.7,IP:2001:db8::7"]))
    tls = scene.greeted(edge, client_context(version=version, cert=pair,
                                             alpn=["h2"]))
    facts = tls.facts()
    tls.close()
    log = logged(edge.wait_events(1)[0])[0]
    assert log["version"] == facts["version"]
    assert log["cipher"] == facts["cipher_suite"]
    assert log["alpn"] == "h2" and log["resumed"] is False
    assert log["sni"] == "a.test" and log["issuer"] == "clients"
    assert log["unit"] == "x+y, z" and log["org"] == "One"
    assert log["dns"] == "c.test" and log["uris"] == "spiffe://x/y"
    assert log["mail"] == "a@c.test"
    assert log["ips"] == "192.0.2.7+2001:db8::7"
    assert log["fingerprint"] == pair.fingerprint()
    assert log["algorithm"] == "ecdsa-with-SHA256"
    with open(pair.crt) as f:
        assert log["pem"].strip() == f.read().strip()
    assert log["serial"] and '"q"' in log["cn"]


def test_the_decision_is_the_short_form(scene, cast):
    edge = cast.edge("""
        return function(conn)
          return { terminate_at = "edge", certificate = "app",
                   alpn = { "h2" }, min_version = "1.3",
                   mutual_tls = { cas = corp, mode = "request" } }
        end
    """)
    tls = scene.greeted(edge, client_context(alpn=["http/1.1", "h2"]))
    assert tls.facts()["negotiated_alpn"] == "h2"
    tls.close()
    scene.greeted(edge, cast.client()).close()
    assert refusal(edge.port, client_context(version="1.2")) == 70
    assert refusal(edge.port, client_context(
        cert=scene.certificates.client("eve", "strangers"))) == 48
    events = edge.wait_events(4)
    assert events[0]["endpoint"]["terminate_at"] in ("edge", "upstream")
    assert "client" not in events[0]["tls"]
    assert events[1]["tls"]["client"]["fingerprint_sha256"] == \
        scene.certificates.client("bob").fingerprint()
    assert [e["close"]["reason"] for e in events[2:]] == [
        "handshake_failed", "client_certificate_invalid"]


AFTER = {
    "terminate_at": ("return { terminate_at = 'upstream' }", "terminate_at"),
    "certificate": ("return { certificate = 'app' }", "certificate"),
    "alpn": ("return { alpn = { 'h2' } }", "alpn"),
    "version": ("return { min_version = '1.3' }", "min_version"),
    "mutual_tls": ("return { mutual_tls = { cas = corp } }", "mutual_tls"),
    "twice": ("conn:terminate {}", "terminate"),
    "raised": ("error('after')", "after"),
}


@pytest.mark.parametrize("what", AFTER)
def test_too_late_after_terminate(scene, cast, what):
    """A decision that comes too late is an error, and an error a clean end
    for a client that had its handshake."""
    code, word = AFTER[what]
    edge = cast.edge("return function(conn)\nconn:terminate {}\n" + code +
                     "\nend\n")
    tls = scene.connect(edge, client_context())
    assert tls.read_all() == (b"", "notify")
    tls.close()
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "policy_error"
    assert word in json.dumps(event) + edge.raw_log()
    assert cast.upstream.count() == 0


def test_each_close_after_terminate(scene, cast):
    edge = cast.edge("""
        return function(conn)
          conn:terminate {}
          return lunette.deny { reason = "no", close = conn.sni:match "^%a+" }
        end
    """, name="*.a.test", options={})
    edge.top["certificates"] = [
        scene.certificates.pair("*.a.test").settings()]
    assert edge.reload()[0]
    for close, end in (("alert", "notify"), ("close", None),
                       ("reset", "reset")):
        tls = scene.connect(edge, client_context(), close + ".a.test")
        data, got = tls.read_all()
        tls.close()
        assert data == b"" and (end is None or got == end), (close, got)
        assert edge.event()["close"]["reason"] == "denied_policy"


def test_to_another_endpoint_after_terminate(scene, cast):
    """Only where mutual TLS asks for nothing more than was asked."""
    corp = scene.certificates.authority("clients").crt
    other = scene.certificates.authority("strangers").crt
    upstream = scene.greeter()

    def endpoint(name, **more):
        return {"url": f"tls://{name}.test", "upstream": upstream.address,
                "terminate_at": "edge", **more}

    endpoints = [
        endpoint("open"),
        endpoint("corp", mutual_tls={"cas": corp}),
        endpoint("asked", mutual_tls={"cas": corp, "mode": "request"}),
        endpoint("other", mutual_tls={"cas": other})]
    policy = scene.write("p.lua", """
        local lunette = require "lunette"
        local corp = lunette.cas "corp.pem"
        return function(conn)
          local from, to = conn.sni:match "^(from%-%a+)%.(%a+)%.test$"
          local asked = {}
          if from == "from-corp" then
            asked.mutual_tls = { cas = corp }
          elseif from == "from-asked" then
            asked.mutual_tls = { cas = corp, mode = "request" }
          end
          conn:terminate(asked)
          return { endpoint = "tls://" .. to .. ".test" }
        end
    """)
    names = [f"{f}.{t}" for f in ("from-open", "from-corp", "from-asked")
             for t in ("open", "corp", "asked", "other")]
    edge = scene.edge(
        endpoints + [endpoint(name) for name in names],
        edge={"policy": {"file": policy}},
        top={"certificates": [scene.certificates.pair(
            *[name + ".test" for name in names]).settings()]})
    context = cast.client()
    allowed = {("from-open", "open"), ("from-corp", "open"),
               ("from-corp", "corp"), ("from-corp", "asked"),
               ("from-asked", "open"), ("from-asked", "asked")}
    for start in ("from-open", "from-corp", "from-asked"):
        for to in ("open", "corp", "asked", "other"):
            name = f"{start}.{to}.test"
            if (start, to) in allowed:
                scene.greeted(edge, context, name).close()
                event = edge.event()
                assert event["endpoint"]["url"] == f"tls://{to}.test"
            else:
                tls = scene.connect(edge, context, name)
                assert tls.read_all() == (b"", "notify"), name
                tls.close()
                assert edge.event()["close"]["reason"] == "policy_error", \
                    name
    assert upstream.count() == len(allowed)


def test_a_failed_handshake_ends_the_script(scene, cast):
    """Not a line after terminate runs; the close hook does."""
    edge = cast.edge("""
        return {
          connect = function(conn)
            conn:log { step = "before" }
            conn:terminate { mutual_tls = { cas = corp } }
            conn:log { step = "after" }
          end,
          close = function(conn, summary)
            lunette.log.info("the hook ran", { reason = summary.reason })
          end }
    """)
    assert refusal(edge.port, client_context(version="1.3")) == 116
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "client_certificate_missing"
    assert [line["step"] for line in logged(event)] == ["before"]
    entry = edge.wait_log("the hook ran")
    assert "client_certificate_missing" in str(entry)
    assert cast.upstream.count() == 0


def test_the_wait_counts_as_handshake(scene, cast):
    """The script's wall clock stops; the handshake has its own limit."""
    edge = cast.edge("""
        return function(conn)
          local tls = conn:terminate {}
          return { tags = { version = tls.version } }
        end
    """, options={"edge": {"timeouts": {"handshake": "600ms"}}})
    client = scene.client(edge)
    client.hello()
    client.read(100)
    client.ends_within(5)
    client.close()
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "handshake_timeout"
    assert event["timing"]["total_ms"] >= 550


@pytest.mark.parametrize("code", [
    "conn:terminate { certificate = 'nothing' }",
    "conn:terminate { unknown = 1 }",
    "conn:terminate { min_version = '1.1' }",
    "conn:terminate { mutual_tls = { cas = 'corp.pem' } }",
    "conn:terminate { mutual_tls = { cas = corp, mode = 'maybe' } }",
    "conn:terminate { alpn = { '' } }", "conn.terminate()",
    "return { terminate_at = 'edge', certificate = 'nothing' }",
])
def test_orders_that_cannot_be_carried_out(scene, cast, code):
    """An error before the handshake: the alert of a denial."""
    edge = cast.edge("return function(conn)\n" + code + "\nend\n")
    client = scene.client(edge)
    client.hello()
    assert client.read_all()[0] == hello.alert(49)
    client.close()
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "policy_error"
    assert event["policy"]["line"] in (3, 4)
    assert cast.upstream.count() == 0


def test_terminate_without_a_certificate_for_the_name(scene, cast):
    edge = cast.edge("return function(conn) conn:terminate {} end",
                     name="b.test")
    assert refusal(edge.port, client_context(), "b.test") == 112
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "no_certificate"
    assert told_alert(event) == 112


def test_many_scripts_wait_at_once(scene, cast):
    """While one client stalls in its handshake the others go on."""
    edge = cast.edge(UNITS, options={"edge": {"workers": 1}})
    stalled = [scene.client(edge) for _ in range(20)]
    for client in stalled:
        client.hello()
        client.read(50)
    good = cast.client("bob", unit="payments")
    for _ in range(10):
        scene.greeted(edge, good).close()
    for client in stalled:
        client.close()
    edge.wait_events(30)


# The oldest holes of this kind of product: odd hellos that walk past a name's
# client certificates (security.md, incidents 1 to 4).

def odd_connect(scene, edge, context, name, mangle):
    plain = Client(edge.port)
    scene.clients.append(plain)
    tls = Tls(plain.sock, context, name=name)
    try:
        tls.tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    with plain:
        for part in mangle(tls.outgoing.read()):
            plain.send(part)
        tls.handshake()
        assert read_word(tls, 2) == b"ok"


def whole(wire):
    return [wire]


def two_records(wire):
    message = wire[5:]
    return [hello.records(message, [2]) if len(message) < 3 else
            hello.records(message, [2, 90])]


def drip(wire):
    return [wire[:1], wire[1:7], wire[7:200], wire[200:]]


@BOTH
@pytest.mark.parametrize("name", ["a.test", "A.TEST", "a.TeSt", "a.test."])
@pytest.mark.parametrize("mangle", [whole, two_records, drip])
def test_no_odd_hello_gets_past(scene, version, name, mangle):
    """CH-09, CH-03: the same client CAs, certificate and event as a.test."""
    upstream = scene.upstream(greet)
    other = scene.greeter()
    pair = scene.certificates.pair("a.test")
    edge = scene.edge(
        [{"url": "tls://a.test", "upstream": upstream.address,
          "terminate_at": "edge", "mutual_tls": {
              "cas": scene.certificates.authority("clients").crt}},
         {"url": "tls://fallback.test", "upstream": other.address,
          "terminate_at": "edge"}],
        edge={"default_endpoint": "tls://fallback.test"},
        top={"certificates": [pair.settings(), scene.certificates.pair(
            "fallback.test").settings()]})
    odd_connect(scene, edge, client_context(
        version=version, cert=scene.certificates.client("bob")), name, mangle)
    with pytest.raises(Refused) as told:
        odd_connect(scene, edge, client_context(version=version), name,
                    mangle)
    assert told.value.alert == {"1.2": 40, "1.3": 116}[version]
    events = edge.wait_events(2)
    assert all(e["conn"]["server_name"] == "a.test" for e in events)
    assert upstream.count() == 1 and other.count() == 0


@BOTH
def test_options_follow_the_match(scene, version):
    """CH-11: the wildcard's client CAs below it, the exact name's own."""
    upstream = scene.greeter()
    corp = scene.certificates.authority("clients").crt
    edge = scene.edge(
        [{"url": "tls://*.wild.test", "upstream": upstream.address,
          "terminate_at": "edge", "certificate": "wild",
          "mutual_tls": {"cas": corp}},
         {"url": "tls://open.wild.test", "upstream": upstream.address,
          "terminate_at": "edge"}],
        top={"certificates": [scene.certificates.pair(
            "*.wild.test").settings(name="wild")]})
    bare = client_context(version=version)
    missing = {"1.2": 40, "1.3": 116}[version]
    for name in ("x.wild.test", "y.x.wild.test", "X.Wild.test"):
        assert refusal(edge.port, bare, name) == missing, name
    scene.greeted(edge, bare, "open.wild.test").close()
    assert refusal(edge.port, bare, "wild.test") == 112
    good = client_context(version=version,
                          cert=scene.certificates.client("bob"))
    for name in ("x.wild.test", "y.x.wild.test"):
        scene.greeted(edge, good, name).close()
    assert upstream.count() == 3
    until(lambda: len(edge.events()) == 7, 5, "events")


def test_a_hello_that_is_not_well_formed_never_gets_to_openssl(scene):
    """The third outcome: answered by our parser, before any certificate."""
    upstream = scene.greeter()
    edge = scene.terminated(upstream, mutual_tls={
        "cas": scene.certificates.authority("clients").crt})
    twice = hello.hello(extra=[hello.server_name("b.test")])
    client = scene.client(edge).send(twice)
    assert raw_alert(client) == 47
    client.close()
    assert edge.event()["close"]["reason"] == "hello_malformed"
    assert upstream.count() == 0
