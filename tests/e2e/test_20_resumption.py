"""Resumption is an authentication path: where it works, and where never."""

import os
import threading
import time

import pytest

import hello
from certificates import Authority
from edge import Edge
from process import run
from tlspeer import client_context, refusal
from tlsupstream import greet
from waiting import PATIENCE, until

BOTH = pytest.mark.parametrize("version", ["1.2", "1.3"])


def session_of(scene, edge, context, name="a.test"):
    """A full handshake's session. (With TLS 1.3 it came before the word.)"""
    tls = scene.greeted(edge, context, name)
    assert not tls.resumed
    tls.close_notify()
    session = tls.session
    tls.close()
    return session


def resumes(scene, edge, context, session, name="a.test"):
    tls = scene.greeted(edge, context, name, session=session)
    tls.close()
    return tls.resumed


@pytest.mark.core
@BOTH
def test_every_worker_takes_the_tickets_of_the_others(scene, version):
    edge = scene.terminated(scene.greeter(),
                            options={"edge": {"workers": 4}})
    context = client_context(scene.certificates.ca, version=version)
    session = session_of(scene, edge, context)
    taken, lock = [], threading.Lock()

    def again():
        for _ in range(8):
            resumed = resumes(scene, edge, context, session)
            with lock:
                taken.append(resumed)

    threads = [threading.Thread(target=again) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == [True] * 32
    told = [e["tls"]["session_resumed"] for e in edge.wait_events(33)]
    assert told.count(True) == 32


@BOTH
def test_sessions_outlive_a_reload(scene, version):
    edge = scene.terminated(scene.greeter())
    context = client_context(scene.certificates.ca, version=version)
    session = session_of(scene, edge, context)
    for _ in range(3):
        assert edge.reload()[0]
        assert resumes(scene, edge, context, session)
    edge.wait_events(4)


@BOTH
def test_a_session_ends_after_its_life(scene, version):
    """TL-05: over a chain of resumptions, counted from the first handshake;
    HAProxy 2026: TLS 1.3 renews its tickets for ever."""
    life = 3
    edge = scene.terminated(scene.greeter(), options={"edge": {
        "session_tickets": {"life": f"{life}s"}}})
    context = client_context(scene.certificates.ca, version=version)
    began = time.time()
    session = session_of(scene, edge, context)
    count = 0
    while True:
        tls = scene.greeted(edge, context, session=session)
        tls.close_notify()
        if not tls.resumed:
            break
        assert time.time() - began < life + 1.5 * PATIENCE, "for ever"
        count, session = count + 1, tls.session
        tls.close()
        time.sleep(0.15)
    assert count > 3 and time.time() - began > life - 1.1
    assert resumes(scene, edge, context, tls.session), "a life of its own"


@BOTH
def test_no_tickets_at_all(scene, version):
    edge = scene.terminated(scene.greeter(), options={"edge": {
        "session_tickets": {"life": 0}}})
    context = client_context(scene.certificates.ca, version=version)
    session = session_of(scene, edge, context)
    assert not session or not session.has_ticket
    if session:
        assert not resumes(scene, edge, context, session)


@BOTH
def test_never_at_another_endpoint(scene, version):
    """Incidents 10 to 13: a session of one name opens no other one, whatever
    the other one asks of its clients."""
    certificates = scene.certificates
    ours, theirs = certificates.client("bob"), \
        certificates.client("eve", "strangers")
    upstream = scene.greeter()

    def endpoint(name, authority=None):
        made = {"url": f"tls://{name}", "upstream": upstream.address,
                "terminate_at": "edge"}
        if authority:
            made["mutual_tls"] = {
                "cas": certificates.authority(authority).crt}
        return made

    edge = scene.edge(
        [endpoint("a.test", "clients"), endpoint("b.test", "strangers"),
         endpoint("c.test", "clients"), endpoint("open.test")],
        edge={"default_endpoint": "tls://b.test"},
        top={"certificates": [certificates.pair(
            "a.test", "b.test", "c.test", "open.test").settings()]})
    context = client_context(version=version, cert=ours)
    session = session_of(scene, edge, context)
    assert resumes(scene, edge, context, session)
    # The client has a certificate that b.test does not know, and no name
    # leads to b.test too.
    for name in ("b.test", None):
        assert refusal(edge.port, context, name, session=session) == 48
    # Same CAs: a full handshake, with the certificate again.
    assert not resumes(scene, edge, context, session, "c.test")
    # Without it nothing is left of the session's identity.
    bare = client_context(version=version)
    bare_session = session_of(scene, edge, bare, "open.test")
    missing = {"1.2": 40, "1.3": 116}[version]
    for name in ("a.test", "b.test", None):
        assert refusal(edge.port, bare, name,
                       session=bare_session) == missing
    # And the other way round.
    other = client_context(version=version, cert=theirs)
    session = session_of(scene, edge, other, "b.test")
    assert refusal(edge.port, other, "a.test", session=session) == 48
    for event in edge.events():
        told = event.get("tls", {}).get("client")
        if event["close"]["reason"] == "client_certificate_invalid":
            assert "subject" not in told, "nothing of it is believed"
        elif told and event["endpoint"]["url"] in ("tls://a.test",
                                                   "tls://c.test"):
            assert told["fingerprint_sha256"] == ours.fingerprint()


@BOTH
def test_not_after_the_cas_changed(scene, version):
    """TL-04: replaced by reload."""
    certificates = scene.certificates
    context = client_context(version=version,
                             cert=certificates.client("bob"))
    cas = certificates.authority("clients").crt
    edge = scene.terminated(scene.greeter(), mutual_tls={"cas": cas})
    session = session_of(scene, edge, context)
    assert resumes(scene, edge, context, session)
    edge.endpoints[0]["mutual_tls"]["cas"] = \
        certificates.authority("strangers").crt
    assert edge.reload()[0]
    assert refusal(edge.port, context, session=session) == 48
    edge.endpoints[0]["mutual_tls"]["cas"] = cas
    assert edge.reload()[0]
    # What is as it was may be resumed again; it need not.
    scene.greeted(edge, context, session=session).close()
    # A stricter version range or mode is another question to the client.
    session = session_of(scene, edge, context)
    edge.endpoints[0]["mutual_tls"]["mode"] = "request"
    assert edge.reload()[0]
    assert not resumes(scene, edge, context, session)


@BOTH
@pytest.mark.parametrize("how", ["reload", "file change"])
def test_not_after_it_was_revoked(scene, version, how):
    """TL-04: the CRL's new content ends sessions too."""
    issuer = Authority(scene.path("issuer"), "Revoking CA")
    cert, other = (issuer.leaf(usage="clientAuth") for _ in range(2))
    edge = scene.terminated(scene.greeter(), mutual_tls={
        "cas": issuer.crt, "crls": [issuer.crl()]})
    context = client_context(version=version, cert=cert)
    session = session_of(scene, edge, context)
    assert resumes(scene, edge, context, session)
    issuer.revoke(cert)
    issuer.crl()
    if how == "reload":
        assert edge.reload()[0]
        assert refusal(edge.port, context, session=session) == 44
    else:
        def gone():
            try:
                return refusal(edge.port, context, session=session) == 44
            except AssertionError:
                return False
        until(gone, 10, "the new CRL is taken from the disk")
    scene.greeted(edge, client_context(version=version, cert=other)).close()


@BOTH
def test_not_after_the_certificate_expired(scene, version):
    """The session ends with the leaf that it stands for."""
    issuer = scene.certificates.authority("clients")
    life = 2
    cert = issuer.leaf(usage="clientAuth", end=life)
    began = time.time()
    edge = scene.terminated(scene.greeter(), mutual_tls={"cas": issuer.crt})
    context = client_context(version=version, cert=cert)
    session = session_of(scene, edge, context)
    assert resumes(scene, edge, context, session)
    until(lambda: time.time() > began + life + 1.1, 3 * life, "expiry")
    assert refusal(edge.port, context, session=session) == 45


@BOTH
def test_not_after_it_was_deleted(scene, version):
    """TL-06: the endpoint, then its certificate: 112, never served."""
    upstream = scene.greeter()
    pair, other = scene.certificates.pair("a.test"), \
        scene.certificates.pair("b.test")
    edge = scene.edge(
        [{"url": f"tls://{name}", "upstream": upstream.address,
          "terminate_at": "edge"} for name in ("*.test", "b.test")],
        top={"certificates": [pair.settings(), other.settings()]})
    context = client_context(version=version)
    session = session_of(scene, edge, context)
    kept = edge.endpoints
    edge.endpoints = kept[1:]
    assert edge.reload()[0]
    assert refusal(edge.port, context, session=session) == 112
    edge.endpoints = kept
    edge.top["certificates"] = [other.settings()]
    assert edge.reload()[0]
    assert refusal(edge.port, context, session=session) == 112
    assert upstream.count() == 1
    reasons = [e["close"]["reason"] for e in edge.wait_events(3)][1:]
    assert reasons == ["unknown_name", "no_certificate"]


@BOTH
def test_a_key_file_for_several_edges(scene, version):
    """And its rotation: a new key opens at once and seals when another one
    follows it, so that every edge has read it by then."""
    path = scene.path("tickets.key")

    def write(*keys):
        with open(path + ".new", "wb") as f:
            f.write(b"".join(keys))
        os.chmod(path + ".new", 0o600)
        os.rename(path + ".new", path)

    first, second, third = (os.urandom(80) for _ in range(3))
    write(first)
    upstream = scene.upstream(greet)
    here, there = (scene.terminated(upstream, options={"edge": {
        "session_tickets": {"keys": path}}}) for _ in range(2))
    alone = scene.terminated(upstream)
    context = client_context(scene.certificates.ca, version=version)
    session = session_of(scene, here, context)
    assert resumes(scene, there, context, session)
    assert not resumes(scene, alone, context, session)
    write(first, second)
    assert there.reload()[0]
    assert resumes(scene, there, context, session)
    assert resumes(scene, here, context, session_of(scene, there, context))
    assert here.reload()[0]
    write(second, third)
    assert there.reload()[0]
    assert not resumes(scene, there, context, session)
    later = session_of(scene, there, context)
    assert resumes(scene, here, context, later)
    assert here.reload()[0]
    assert resumes(scene, here, context, later)
    # A broken file changes nothing.
    with open(path, "wb") as f:
        f.write(b"short")
    fine, entry = here.reload()
    assert not fine and "tickets.key" in entry["error"]
    assert resumes(scene, here, context, later)


def test_a_key_file_for_everybody_is_refused(scene):
    path = scene.path("tickets.key")
    with open(path, "wb") as f:
        f.write(os.urandom(80))
    os.chmod(path, 0o644)
    with pytest.raises(AssertionError, match="tickets.key"):
        Edge(scene.folder, [{"url": "tls://a.test", "upstream": "127.0.0.1:9"}],
             edge={"session_tickets": {"keys": path}})


POLICY = """
    local lunette = require "lunette"
    return function(conn)
      local tls = conn:terminate {}
      if not tls.client then return lunette.deny "no certificate" end
      return { tags = { who = tls.client.subject.common_name,
                        unit = tls.client.subject.organizational_unit[1],
                        resumed = tostring(tls.session_resumed) } }
    end
"""


@pytest.mark.core
@BOTH
def test_a_resumed_client_is_the_same_client(scene, version):
    """The policy sees the certificate of the first handshake."""
    cert = scene.certificates.client("bob", unit="payments")
    edge = scene.terminated(scene.greeter(), mutual_tls={
        "cas": scene.certificates.authority("clients").crt},
        policy=scene.write("p.lua", POLICY))
    context = client_context(version=version, cert=cert)
    session = session_of(scene, edge, context)
    assert resumes(scene, edge, context, session)
    full, resumed = edge.wait_events(2)
    assert full["tags"] == {"who": "bob", "unit": "payments",
                            "resumed": "false"}
    assert resumed["tags"] == {"who": "bob", "unit": "payments",
                               "resumed": "true"}
    assert resumed["tls"]["client"] == full["tls"]["client"]
    assert resumed["tls"]["session_resumed"] is True


CHOOSING = """
    local lunette = require "lunette"
    local corp, other = lunette.cas "corp.pem", lunette.cas "other.pem"
    local asked = {
      ["127.0.0.1"] = {},
      ["127.0.0.2"] = { mutual_tls = { cas = corp } },
      ["127.0.0.3"] = { mutual_tls = { cas = corp, mode = "request" } },
      ["127.0.0.4"] = { mutual_tls = { cas = other } },
      ["127.0.0.5"] = { mutual_tls = { cas = corp }, min_version = "1.2" },
    }
    return function(conn) conn:terminate(asked[conn.client_ip]) end
"""


@BOTH
def test_never_past_what_the_policy_asks(scene, version):
    """One name, and a script that asks more of some clients: a session that
    was given for less is not resumed there."""
    certificates = scene.certificates
    for name, authority in (("corp.pem", "clients"),
                            ("other.pem", "strangers")):
        with open(certificates.authority(authority).crt) as f:
            scene.write(name, f.read())
    edge = scene.terminated(scene.greeter(),
                            policy=scene.write("p.lua", CHOOSING))
    missing = {"1.2": 40, "1.3": 116}[version]
    bare = client_context(version=version)

    def session_from(context, source):
        tls = scene.greeted(edge, context, source=source)
        tls.close_notify()
        session = tls.session
        tls.close()
        return session

    for source in ("127.0.0.1", "127.0.0.3"):
        session = session_from(bare, source)
        for target in ("127.0.0.2", "127.0.0.4"):
            assert refusal(edge.port, bare, session=session,
                           source=target) == missing
    good = client_context(version=version, cert=certificates.client("bob"))
    session = session_from(good, "127.0.0.2")
    tls = scene.greeted(edge, good, session=session, source="127.0.0.2")
    assert tls.resumed
    tls.close()
    assert refusal(edge.port, good, session=session,
                   source="127.0.0.4") == 48
    # To less than was asked for it may only go as nobody.
    tls = scene.greeted(edge, good, session=session, source="127.0.0.1")
    assert not tls.resumed
    tls.close()
    for event in edge.events():
        if event["conn"]["client_ip"] == "127.0.0.1":
            assert "client" not in event["tls"]


def test_a_client_that_takes_no_ticket(scene):
    """TLS 1.2 without the extension is not resumed, and is served."""
    import ssl
    edge = scene.terminated(scene.greeter())
    context = client_context(version="1.2")
    context.options |= ssl.OP_NO_TICKET
    session = session_of(scene, edge, context)
    assert not resumes(scene, edge, context, session)


def test_early_data_is_not_taken(scene, needs):
    """0-RTT: no ticket allows it."""
    needs("openssl")
    edge = scene.terminated(scene.greeter())
    path, early = scene.path("session.pem"), scene.write("early", "GET /")
    common = ["openssl", "s_client", "-connect", f"127.0.0.1:{edge.port}",
              "-servername", "a.test", "-tls1_3"]
    # It ends when the edge's end came; the upstream ends with the client.
    run(["sh", "-c", f"sleep 0.5 | {' '.join(common)} -sess_out {path}"])
    shown = run(["openssl", "sess_id", "-in", path, "-text", "-noout"])
    assert b"Max Early Data: 0" in shown.stdout or \
        b"Max Early Data" not in shown.stdout, shown
    shown = run(["sh", "-c", f"sleep 0.3 | {' '.join(common)} -sess_in "
                 f"{path} -early_data {early}"])
    assert b"Early data was accepted" not in shown.stdout
    assert b"Reused" in shown.stdout, shown


def test_early_data_sent_anyway_is_dropped(scene):
    """A client that announces it without a ticket is not believed."""
    upstream = scene.greeter()
    edge = scene.terminated(upstream)
    client = scene.client(edge)
    client.hello(tls12=False, early_data=True)
    client.send(hello.record(b"\x17" * 64, kind=23))
    assert client.read(1) == b"\x16", "it goes on with a ServerHello"
    client.close()
    edge.wait_events(1)
    assert upstream.count() == 0
