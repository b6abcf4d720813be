"""Handshakes that fail: the alert that the RFC names, and an event that says
which one and why."""

import json
import subprocess
import threading
import time

import pytest

import hello
from certificates import DAY, Authority, Pair, append, weak_rsa_key
from tlspeer import Refused, client_context, raw_alert, refusal, \
    told_alert
from waiting import PATIENCE, until

pytestmark = pytest.mark.hostile

BOTH = pytest.mark.parametrize("version", ["1.2", "1.3"])


def demanding(scene, upstream=None, mode="require", **options):
    """An edge whose clients need a certificate of the CA "clients"."""
    cas = scene.certificates.authority("clients").crt
    return scene.terminated(
        upstream or scene.greeter(), mutual_tls={
            "cas": cas, "mode": mode, **options.pop("mutual_tls", {})},
        **options)


def refused(scene, edge, version, cert, upstream=None):
    """What this client gets, and the event about it."""
    number = refusal(edge.port, client_context(
        scene.certificates.ca, version=version, cert=cert))
    event = edge.event()
    assert told_alert(event) == number, event
    assert not event["close"].get("alert_received")
    if upstream:
        assert upstream.count() == 0, "not even dialled"
    return number, event["close"]["reason"], \
        event["close"].get("detail", ""), json.dumps(event)


def kinds(certificates):
    """TL-08: each kind of bad certificate, with its alerts and a word of the
    reason."""
    clients = certificates.authority("clients")
    make = certificates.client
    return {
        "wrong ca": (make("eve", "strangers"), {48}, "issuer"),
        "expired": (make("old", begin=-9 * DAY, end=-DAY), {45}, "expired"),
        "not yet valid": (make("early", begin=DAY, end=9 * DAY), {42, 45},
                          "not yet valid"),
        "wrong usage": (make("server", usage="serverAuth"), {43},
                        "purpose"),
        "self-signed": (self_signed(certificates), {48}, "self"),
        "explicit curve": (certificates.once("explicit", lambda: clients.leaf(
            key="explicit", usage="clientAuth")), {42, 43, 46, 47, 80}, ""),
    }


def self_signed(certificates):
    issuer = certificates.authority("Alone")
    return Pair(issuer.crt, issuer.key)


@pytest.mark.core
@BOTH
@pytest.mark.parametrize("kind", [
    "wrong ca", "expired", "not yet valid", "wrong usage", "self-signed",
    "explicit curve"])
def test_bad_client_certificates(scene, version, kind):
    """TL-08: the alert on the wire; reason and fingerprint in the event."""
    cert, alerts, word = kinds(scene.certificates)[kind]
    upstream = scene.greeter()
    edge = demanding(scene, upstream)
    number, reason, detail, text = refused(scene, edge, version, cert,
                                           upstream)
    assert number in alerts
    assert reason == "client_certificate_invalid"
    assert detail and word in detail, detail
    assert cert.fingerprint() in text, text
    # The same client without its certificate is no better.
    good = scene.certificates.client("bob")
    scene.greeted(edge, client_context(cert=good, version=version)).close()


@pytest.mark.core
@BOTH
def test_no_client_certificate(scene, version):
    upstream = scene.greeter()
    edge = demanding(scene, upstream)
    number, reason, detail, _ = refused(scene, edge, version, None, upstream)
    assert number == {"1.2": 40, "1.3": 116}[version]
    assert reason == "client_certificate_missing"


@BOTH
def test_a_revoked_certificate(scene, version):
    """TL-08: 44 by the CRL; the others of that CA are served."""
    issuer = Authority(scene.path("issuer"), "Revoking CA")
    bad, good = (issuer.leaf(usage="clientAuth") for _ in range(2))
    issuer.revoke(bad)
    upstream = scene.greeter()
    edge = scene.terminated(upstream, mutual_tls={
        "cas": issuer.crt, "crls": [issuer.crl()]})
    number, reason, detail, text = refused(scene, edge, version, bad,
                                           upstream)
    assert (number, reason) == (44, "client_certificate_invalid")
    assert "revoked" in detail and bad.fingerprint() in text
    scene.greeted(edge, client_context(version=version, cert=good)).close()


@BOTH
def test_from_an_intermediate(scene, version):
    """TL-08: accepted with the chain that the client sends."""
    below = scene.certificates.authority(
        "clients below", scene.certificates.authority("clients"))
    cert = scene.certificates.once("client below", lambda: below.leaf(
        subject="/CN=below", usage="clientAuth", chain=True))
    edge = demanding(scene)
    scene.greeted(edge, client_context(version=version, cert=cert)).close()
    told = edge.wait_events(1)[0]["tls"]["client"]
    assert told["fingerprint_sha256"] == cert.fingerprint()
    assert "below" in json.dumps(told["subject"])


def test_the_mode_request(scene):
    """None is fine; one that comes must be good."""
    edge = demanding(scene, mode="request")
    good = scene.certificates.client("bob")
    bad = scene.certificates.client("eve", "strangers")
    for version in ("1.2", "1.3"):
        scene.greeted(edge, client_context(version=version)).close()
        assert "client" not in edge.event()["tls"]
        scene.greeted(edge, client_context(version=version,
                                           cert=good)).close()
        assert edge.event()["tls"]["client"]["fingerprint_sha256"] == \
            good.fingerprint()
        assert refusal(edge.port, client_context(
            version=version, cert=bad)) == 48
        assert edge.event()["close"]["reason"] == \
            "client_certificate_invalid"


def test_versions_and_ciphers_without_overlap(scene):
    edge = scene.terminated(scene.greeter(), min_version="1.3")
    assert refusal(edge.port, client_context(version="1.2")) == 70
    event = edge.event()
    assert event["close"]["reason"] == "handshake_failed"
    assert told_alert(event) == 70 and "protocol" in event["close"]["detail"]
    edge = scene.terminated(scene.greeter())
    assert refusal(edge.port, client_context(
        version="1.2", ciphers="ECDHE-RSA-AES128-GCM-SHA256")) == 40
    event = edge.event()
    assert told_alert(event) == 40 and "cipher" in event["close"]["detail"]


def test_an_empty_alpn_list(scene):
    """TL-11: decode_error, whether we speak ALPN or not."""
    for alpn in (None, ["h2"]):
        edge = scene.terminated(scene.greeter(), alpn=alpn)
        client = scene.client(edge)
        client.hello(extra=[hello.extension(hello.ALPN,
                                            hello.vector16(b""))])
        assert raw_alert(client) == 50
        client.close()
        event = edge.event()
        assert told_alert(event) == 50
        assert event["close"]["reason"] in ("hello_malformed",
                                            "handshake_failed")


def test_the_client_gives_up(scene):
    """Its alert is told, as received."""
    edge = scene.terminated(scene.greeter())
    for version in ("1.2", "1.3"):
        stranger = scene.certificates.authority("strangers").crt
        with pytest.raises(Exception, match="verify failed"):
            scene.connect(edge, client_context(stranger, version=version))
        event = edge.event()
        assert event["close"]["reason"] == "handshake_failed"
        assert told_alert(event) == 48
        assert event["close"]["alert_received"] is True


GENERATOR = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5")


STRANGE = 0x2A2A  # a group that nobody has


def retry_hello(name, group, share):
    """A hello whose only key share is of that group; P-256 is offered."""
    parts = [
        hello.server_name(name),
        hello.extension(hello.GROUPS, hello.vector16(
            hello.u16(STRANGE) + hello.u16(23))),
        hello.extension(hello.SIGNATURES, hello.vector16(
            hello.u16(0x0403) + hello.u16(0x0804))),
        hello.versions(0x0304),
        hello.extension(hello.KEY_SHARE, hello.vector16(
            hello.u16(group) + hello.vector16(share))),
        hello.extension(hello.PSK_MODES, hello.vector8(b"\1")),
    ]
    return hello.records(hello.message(parts))


@pytest.mark.parametrize("second,alert", [("b.test", 47), ("a.test", None)])
def test_the_name_may_not_change_after_a_retry(scene, second, alert):
    """CH-04: the first hello's name decides, and stays."""
    upstream = scene.greeter()
    edge = scene.edge(
        [{"url": f"tls://{name}", "upstream": upstream.address,
          "terminate_at": "edge"} for name in ("a.test", "b.test")],
        top={"certificates": [
            scene.certificates.pair("a.test", "b.test").settings()]})
    client = scene.client(edge)
    client.send(retry_hello("a.test", STRANGE, bytes(32)))
    head = client.read(5)
    retry = client.read(int.from_bytes(head[3:5], "big"))
    assert head[0] == 22 and retry[6:10] == bytes.fromhex("cf21ad74")
    client.send(retry_hello(second, 23, GENERATOR))
    if alert:
        assert raw_alert(client) == alert
        assert client.read_all() == (b"", "eof")
        client.close()
        event = edge.event()
        assert told_alert(event) == alert
        assert event["close"]["reason"] == "handshake_failed"
        assert event["conn"]["server_name"] == "a.test"
        assert upstream.count() == 0
    else:
        while True:
            head = client.read(5)
            body = client.read(int.from_bytes(head[3:5], "big"))
            if head[0] == 22:
                break
        assert body[0] == 2, "a ServerHello"


@pytest.fixture
def huge(scene):
    """Certificates whose size or kind is an attack."""
    certificates = scene.certificates

    def rsa():
        path = scene.certificates.folder + "/huge.key"
        weak_rsa_key(path, 16384)
        return certificates.authority("clients").leaf(
            subject="/CN=huge", key=path, usage="clientAuth")

    def padded():
        good = certificates.client("padded")
        made = Pair(good.crt + ".fat", good.key)
        size = len(good.der())
        append(made.crt, good.crt, *[
            certificates.client("eve", "strangers").crt] *
            (110000 // size))
        return made
    return {
        "a chain of 100": lambda: certificates.once(
            "deep", lambda: certificates.authority("clients").deep(100)),
        "100 KB": lambda: certificates.once("padded", padded),
        "RSA 16384": lambda: certificates.once("huge", rsa),
    }


@BOTH
@pytest.mark.parametrize("kind", ["a chain of 100", "100 KB", "RSA 16384"])
def test_monstrous_certificates(scene, huge, kind, version):
    """TL-12: refused within a second, and nobody else waits for it."""
    cert = huge[kind]()
    edge = demanding(scene, options={"edge": {"workers": 1}})
    good = client_context(cert=scene.certificates.client("bob"))
    scene.greeted(edge, good).close()
    stop, times = threading.Event(), []

    def others():
        while not stop.is_set():
            began = time.monotonic()
            scene.greeted(edge, good).close()
            times.append(time.monotonic() - began)

    thread = threading.Thread(target=others)
    thread.start()
    bad = client_context(version=version, cert=cert)
    # Our own signature with such a key takes most of a second, and longer
    # beside other tests; what the edge spends shows in `times`.
    limit = 10 if kind == "RSA 16384" else 1
    try:
        for _ in range(3):
            began = time.monotonic()
            refusal(edge.port, bad)
            assert time.monotonic() - began < limit * PATIENCE
        until(lambda: len(times) > 3, 10, "others are served")
    finally:
        stop.set()
        thread.join()
    assert max(times) < 1 * PATIENCE

    def told():
        return [e["close"]["reason"] for e in edge.events() if
                e["close"]["reason"] not in ("client_closed",
                                             "upstream_closed")]
    until(lambda: len(told()) == 3, 5, "three events")
    assert set(told()) <= {"client_certificate_invalid", "handshake_failed"}


def test_renegotiation_is_refused(scene, needs):
    """TLS 1.2: s_client asks for it with R."""
    needs("openssl")
    upstream = scene.greeter()
    edge = scene.terminated(upstream)
    client = scene.program("s_client", [
        "openssl", "s_client", "-connect", f"127.0.0.1:{edge.port}",
        "-servername", "a.test", "-tls1_2"], stdin=subprocess.PIPE)
    client.wait_output(b"Verify return code")
    client.popen.stdin.write(b"R\n")
    client.popen.stdin.flush()
    until(lambda: b"no renegotiation" in client.output() or
          not client.alive(), 10, "the refusal")
    assert b"RENEGOTIATING" in client.output()
    assert b"no renegotiation" in client.output()
    client.popen.stdin.close()
    client.stop()
    assert bytes(upstream.next().data) == b""
    assert edge.event()["close"]["reason"] in (
        "client_closed", "tls_failed", "client_reset")


def test_a_broken_record_in_the_handshake(scene):
    """After our flight the client talks nonsense: 20, 10 or 50."""
    upstream = scene.greeter()
    edge = scene.terminated(upstream)
    for junk in (hello.record(bytes(200), kind=23),
                 hello.record(b"\x14\0\0\x20" + bytes(32)),
                 hello.record(b"", kind=99)):
        client = scene.client(edge)
        client.hello()
        client.read(100)
        client.send(junk)
        client.ends_within(1)
        client.close()
        event = edge.event()
        assert event["close"]["reason"] == "handshake_failed"
        assert told_alert(event) in (10, 20, 47, 50), event
    assert upstream.count() == 0


def test_the_client_goes_away_in_the_handshake(scene):
    upstream = scene.greeter()
    edge = scene.terminated(upstream)
    first = scene.client(edge)
    first.hello()
    first.read(100)
    first.close()
    event = edge.event()
    assert event["close"]["reason"] in ("client_closed", "client_reset",
                                        "handshake_failed")
    second = scene.client(edge)
    second.hello()
    second.read(100)
    second.reset()
    assert edge.event()["close"]["reason"] in ("client_reset",
                                               "handshake_failed")
    assert upstream.count() == 0


def test_a_corrupt_record_after_the_handshake(scene):
    """bad_record_mac on the wire; the upstream gets what came before, and no
    clean end."""
    upstream = scene.greeter()
    edge = scene.terminated(upstream)
    for version in ("1.2", "1.3"):
        tls = scene.greeted(edge, client_context(version=version))
        tls.sendall(b"before")
        wire = bytearray(tls.seal(b"spoilt"))
        wire[-1] ^= 1
        tls.sock.sendall(wire)
        with pytest.raises(Refused) as told:
            tls.read_all()
        assert told.value.alert == 20
        event = edge.event()
        assert event["close"]["reason"] == "tls_failed"
        assert told_alert(event) == 20
        arrival = upstream.next()
        arrival.wait_end()
        assert bytes(arrival.data) == b"before"


def test_each_failure_is_counted_apart(scene):
    """A hundred failing clients leave an edge as it was."""
    edge = demanding(scene)
    context = client_context(version="1.3")
    assert [refusal(edge.port, context) for _ in range(100)] == [116] * 100
    events = edge.wait_events(100)
    assert {e["close"]["reason"] for e in events} == {
        "client_certificate_missing"}
