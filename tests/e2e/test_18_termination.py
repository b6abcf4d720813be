"""TLS that ends at the edge: real clients, versions, ALPN, certificates."""

import os
import ssl
import time

import pytest

import hello
import proxyheader
from certificates import openssl
from process import run
from stream import BLOCK, Sender
from tlspeer import Tls, client_context, raw_alert, read_word, refusal, \
    told_alert
from tlsupstream import PAGE, greet, greet_and_close, greet_and_echo, web

REQUEST = b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n"


def ask(who, version, port, ca, name="a.test", more=()):
    """One request by a real client; returns the whole process."""
    if who == "curl":
        versions = ["--tlsv1.2", "--tls-max", version]
        if version == "1.3":
            versions = ["--tlsv1.3"]
        return run(["curl", "-sS", "--http1.0", "--cacert", ca, *versions,
                    "--resolve", f"{name}:{port}:127.0.0.1", *more,
                    f"https://{name}:{port}/"])
    if who == "openssl":
        return run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}",
                    "-servername", name, "-CAfile", ca,
                    "-verify_return_error", "-verify_hostname", name,
                    "-ign_eof", "-" + {"1.2": "tls1_2",
                                       "1.3": "tls1_3"}[version], *more],
                   stdin=REQUEST)
    return run(["gnutls-cli", "--x509cafile", ca, f"--sni-hostname={name}",
                f"--verify-hostname={name}", "--priority",
                f"NORMAL:-VERS-ALL:+VERS-TLS{version}", "-p", port, *more,
                "127.0.0.1"], stdin=REQUEST)


def python_ask(port, context, name="a.test"):
    import client
    plain = client.Client(port)
    with context.wrap_socket(plain.sock, server_hostname=name) as tls:
        tls.sendall(REQUEST)
        data = b""
        while block := tls.recv(65536):
            data += block
        return data


@pytest.mark.core
@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("who", ["curl", "openssl", "gnutls-cli", "python"])
def test_four_clients(scene, needs, who, version):
    """Each reads a page of a plain upstream, to a clean end."""
    upstream = scene.upstream(web)
    edge = scene.terminated(upstream)
    ca = scene.certificates.ca
    if who == "python":
        # Its recv would raise if the end came without close_notify.
        shown = python_ask(edge.port, client_context(ca, version=version))
        assert shown.endswith(PAGE)
    else:
        needs(who)
        shown = ask(who, version, edge.port, ca)
        assert PAGE in shown.stdout and shown.returncode == 0, shown
    arrival = upstream.next()
    assert b"GET / HTTP/1.0\r\n" in arrival.wait_bytes(20)
    event = edge.wait_events(1)[0]
    assert event["tls"]["version"] == version
    assert event["tls"]["session_resumed"] is False
    assert event["endpoint"]["terminate_at"] == "edge"
    assert event["upstream"]["tls"] is False
    assert event["close"]["reason"] in ("client_closed", "upstream_closed")
    assert event["timing"]["handshake_ms"] > 0
    # Bytes are those inside TLS.
    assert event["conn"]["bytes_in"] == len(arrival.data)
    assert event["conn"]["server_name"] == "a.test"


@pytest.mark.core
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_the_event_tells_what_was_agreed(scene, version):
    edge = scene.terminated(scene.greeter(), alpn=["h2", "http/1.1"])
    tls = scene.greeted(edge, client_context(
        scene.certificates.ca, version=version, alpn=["http/1.1", "h2"]))
    facts = tls.facts()
    assert facts["negotiated_alpn"] == "h2", "the endpoint's order"
    tls.close_notify()
    assert tls.read_all() == (b"", "notify")
    told = edge.wait_events(1)[0]["tls"]
    assert told == facts, "and no client where there was no certificate"


def test_alpn_of_the_endpoint(scene):
    """TL-11: an overlap, none (120), no list of the client, none of ours."""
    ca = scene.certificates.ca
    edge = scene.edge([
        {"url": "tls://a.test", "upstream": scene.greeter().address,
         "terminate_at": "edge", "alpn": ["http/1.1"]},
        {"url": "tls://b.test", "upstream": scene.greeter().address,
         "terminate_at": "edge"}], top={"certificates": [
             scene.certificates.pair("a.test", "b.test").settings()]})
    for version in ("1.2", "1.3"):
        both = client_context(ca, version=version, alpn=["h2", "http/1.1"])
        tls = scene.greeted(edge, both)
        assert tls.facts()["negotiated_alpn"] == "http/1.1"
        tls = scene.greeted(edge, client_context(ca, version=version))
        assert tls.facts()["negotiated_alpn"] is None
        tls = scene.greeted(edge, both, "b.test")
        assert tls.facts()["negotiated_alpn"] is None
        assert refusal(edge.port, client_context(
            ca, version=version, alpn=["h2"])) == 120
    for client in scene.clients:
        client.close()
    refused = [e for e in edge.wait_events(8)
               if e["close"]["reason"] == "handshake_failed"]
    assert [told_alert(e) for e in refused] == [120, 120]
    assert all(e["close"]["detail"] for e in refused)


@pytest.mark.parametrize("low,high,works", [
    ("1.2", "1.3", {"1.2", "1.3"}), ("1.3", "1.3", {"1.3"}),
    ("1.2", "1.2", {"1.2"})])
def test_versions_of_the_endpoint(scene, low, high, works):
    edge = scene.terminated(scene.greeter(), min_version=low,
                            max_version=high)
    for version in ("1.2", "1.3"):
        context = client_context(scene.certificates.ca, version=version)
        if version in works:
            tls = scene.greeted(edge, context)
            assert tls.facts()["version"] == version
            tls.close()
        else:
            assert refusal(edge.port, context) == 70
    both = scene.greeted(edge, client_context(scene.certificates.ca))
    assert both.facts()["version"] == max(works)
    both.close()
    events = edge.wait_events(3)
    for event in events:
        if event["close"]["reason"] == "handshake_failed":
            assert told_alert(event) == 70


@pytest.mark.parametrize("legacy", [0x0300, 0x0301, 0x0302])
def test_older_versions_are_refused(scene, legacy):
    """SSL 3.0 knows no alert 70: handshake_failure there."""
    number = 40 if legacy == 0x0300 else 70
    edge = scene.terminated(scene.greeter())
    client = scene.client(edge)
    client.hello(tls13=False, legacy=legacy)
    assert raw_alert(client) == number
    assert client.read_all() == (b"", "eof")
    client.close()
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "handshake_failed"
    assert told_alert(event) in (number, 70)


WEAK = {
    "cbc": 0xC009, "cbc-sha256": 0xC023, "rsa key exchange": 0x009C,
    "3des": 0xC008, "rc4": 0xC007, "null": 0xC006, "dhe": 0x009E,
    "anonymous": 0xC018, "ccm8": 0xC0AE, "export": 0x0003,
}


@pytest.mark.parametrize("what", WEAK)
def test_weak_ciphers_are_refused(scene, what):
    pairs = [scene.certificates.pair("a.test", key=key).settings()
             for key in ("ec", "rsa")]
    edge = scene.terminated(scene.greeter(), certificates=pairs)
    client = scene.client(edge)
    client.hello(tls13=False, ciphers=[WEAK[what]])
    assert raw_alert(client) == 40
    client.close()
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "handshake_failed"
    assert told_alert(event) == 40
    assert "cipher" in event["close"]["detail"]


def test_exact_before_wildcard_and_each_its_own(scene):
    """CH-11: several certificates on one port."""
    make = scene.certificates.pair
    exact, wild, other = make("x.wild.test"), make("*.wild.test"), \
        make("other.test")
    endpoints = [{"url": f"tls://{name}", "terminate_at": "edge",
                  "upstream": scene.greeter().address}
                 for name in ("*.wild.test", "other.test")]
    edge = scene.edge(endpoints, top={"certificates": [
        wild.settings(), exact.settings(), other.settings()]})
    context = client_context(scene.certificates.ca)
    for name, pair in (("x.wild.test", exact), ("y.wild.test", wild),
                       ("other.test", other), ("X.Wild.Test", exact)):
        tls = scene.greeted(edge, context, name)
        assert tls.certificate() == pair.der(), name
        tls.close()
    # The route's wildcard goes deeper than a certificate's may.
    client = scene.client(edge)
    client.hello("a.b.wild.test")
    assert client.read_all()[0] == hello.alert(112)
    client.close()
    event = edge.wait_events(5)[4]
    assert event["close"]["reason"] == "no_certificate"
    assert told_alert(event) == 112


def test_the_label_of_the_endpoint_beats_the_name(scene):
    first, second = (scene.certificates.root.leaf("a.test")
                     for _ in range(2))
    edge = scene.terminated(
        scene.greeter(), certificate="second", certificates=[
            first.settings(name="first"), second.settings(name="second")])
    tls = scene.greeted(edge, client_context(scene.certificates.ca))
    assert tls.certificate() == second.der()
    tls.close()
    edge.wait_events(1)


SHOWN = {"ec": "id-ecPublicKey", "rsa": "rsaEncryption",
         "ed25519": "ED25519"}


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_the_key_by_what_the_client_offers(scene, needs, version):
    """RSA, ECDSA and Ed25519 for one name, side by side."""
    needs("openssl")
    pairs = {key: scene.certificates.pair("a.test", key=key)
             for key in SHOWN}
    edge = scene.terminated(scene.upstream(web), certificates=[
        p.settings() for p in pairs.values()])
    offers = {"ec": "ecdsa_secp256r1_sha256", "rsa": "rsa_pss_rsae_sha256",
              "ed25519": "ed25519"}
    for key, schemes in offers.items():
        shown = ask("openssl", version, edge.port, scene.certificates.ca,
                    more=["-sigalgs", schemes])
        # The CA signs with ECDSA: TLS 1.2 clients may check that too.
        assert PAGE in shown.stdout, (key, shown)
        assert f"PKEY: {SHOWN[key]}".encode() in shown.stdout, key
        assert ssl.DER_cert_to_PEM_cert(pairs[key].der())[:200].replace(
            "\n", "") in shown.stdout.decode().replace("\n", "")
    if version == "1.2":
        for ciphers, key in (("ECDHE-RSA-AES128-GCM-SHA256", "rsa"),
                             ("ECDHE-RSA-CHACHA20-POLY1305", "rsa")):
            tls = scene.connect(edge, client_context(
                scene.certificates.ca, version="1.2", ciphers=ciphers))
            assert tls.certificate() == pairs[key].der()
            tls.close()
        edge.wait_events(5)
    else:
        edge.wait_events(3)


def test_a_hello_retry_is_asked_for(scene, needs):
    """The client's first key share is of a group that we do not take."""
    needs("openssl")
    edge = scene.terminated(scene.upstream(web))
    shown = ask("openssl", "1.3", edge.port, scene.certificates.ca,
                more=["-groups", "P-521:P-256", "-msg"])
    assert PAGE in shown.stdout, shown
    assert shown.stdout.count(b"ClientHello") == 2
    assert edge.wait_events(1)[0]["tls"]["version"] == "1.3"


def test_no_group_in_common(scene, needs):
    needs("openssl")
    edge = scene.terminated(scene.upstream(web))
    shown = ask("openssl", "1.3", edge.port, scene.certificates.ca,
                more=["-groups", "ffdhe2048"])
    assert shown.returncode != 0
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "handshake_failed"
    assert told_alert(event) == 40 and event["close"]["detail"]


def test_no_name_and_the_default_endpoint(scene):
    """Without SNI the endpoint's own name chooses the certificate."""
    pair = scene.certificates.pair("a.test")
    other = scene.certificates.pair("b.test")
    upstream = scene.greeter()
    edge = scene.edge(
        [{"url": f"tls://{name}", "upstream": upstream.address,
          "terminate_at": "edge"} for name in ("b.test", "a.test")],
        edge={"default_endpoint": "tls://a.test"},
        top={"certificates": [other.settings(), pair.settings()]})
    context = client_context()
    tls = scene.greeted(edge, context, None)
    assert tls.certificate() == pair.der()
    tls.close()
    # A name that nobody has: the default endpoint takes it, but no
    # certificate covers it.
    client = scene.client(edge)
    client.hello("stranger.test")
    assert client.read_all()[0] == hello.alert(112)
    client.close()
    events = edge.wait_events(2)
    assert events[0]["endpoint"]["url"] == "tls://a.test"
    assert "server_name" not in events[0]["conn"]
    assert events[1]["close"]["reason"] == "no_certificate"


def test_no_certificate_at_all(scene):
    """Told before ServerHello, in clear; the upstream hears nothing."""
    upstream = scene.greeter()
    edge = scene.terminated(upstream, "*.test", certificates=[
        scene.certificates.pair("b.test").settings()])
    client = scene.client(edge)
    client.hello()
    assert client.read_all() == (hello.alert(112), "eof")
    client.close()
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "no_certificate"
    assert told_alert(event) == 112
    assert upstream.count() == 0 and "tls" not in event


def test_a_chain_with_an_intermediate(scene):
    """The whole chain is sent, the root's clients need no more."""
    below = scene.certificates.authority("Below", scene.certificates.root)
    pair = below.leaf("a.test", chain=True)
    edge = scene.terminated(scene.greeter(),
                            certificates=[pair.settings()])
    for version in ("1.2", "1.3"):
        tls = scene.greeted(edge, client_context(
            scene.certificates.ca, version=version))
        tls.close()
    edge.wait_events(2)


def test_certificate_and_key_in_one_file(scene):
    path = scene.servers.bundle("a.test")
    edge = scene.terminated(scene.greeter(), certificates=[{"crt": path}])
    scene.greeted(edge, client_context(scene.certificates.ca)).close()
    edge.wait_events(1)


def test_a_folder_of_certificates(scene):
    folder = scene.path("pairs")
    os.mkdir(folder)
    for name in ("a.test", "b.test"):
        pair = scene.certificates.pair(name)
        for source, ending in ((pair.crt, "crt"), (pair.key, "key")):
            with open(source) as f, \
                    open(f"{folder}/{name}.{ending}", "w") as out:
                out.write(f.read())
    edge = scene.edge(
        [{"url": "tls://*.test", "upstream": scene.greeter().address,
          "terminate_at": "edge"}],
        top={"certificates": [{"folder": folder}]})
    for name in ("a.test", "b.test"):
        scene.greeted(edge, client_context(scene.certificates.ca),
                      name).close()
    edge.wait_events(2)


def test_the_local_ca(scene, needs):
    """Made on first use, kept for the next start; clients trust its file."""
    needs("curl")
    state = scene.path("state")
    upstream = scene.upstream(web)
    cas = []
    for turn in range(2):
        edge = scene.tls(upstream.port, "--terminate-at", "edge",
                         "--domain", "app.example.com",
                         env={"XDG_STATE_HOME": state, "HOME": state,
                              "STATE_DIRECTORY": state + "/lunette"})
        told = edge.wait_log(lambda e: "local-ca.pem" in str(e))
        path = next(value for value in told.values()
                    if "local-ca.pem" in value)
        path = next(word.strip('"\',:;()') for word in path.split()
                    if "local-ca.pem" in word)
        with open(path) as f:
            cas.append(f.read())
        assert os.stat(path.replace(".pem", ".key")).st_mode & 0o77 == 0
        shown = ask("curl", "1.3", edge.port, path, "app.example.com")
        assert shown.stdout == PAGE, shown.stderr
        shown = ask("openssl", "1.2", edge.port, path, "app.example.com")
        assert PAGE in shown.stdout, shown
        events = edge.wait_events(2)
        assert all(e["conn"]["server_name"] == "app.example.com" and
                   "tls" in e for e in events)
        # Only names that are served get one.
        client = scene.client(edge)
        client.hello("other.example.com")
        assert client.read_all()[0] == hello.alert(112)
        client.close()
        edge.stop()
    assert cas[0] == cas[1], "the second start keeps the CA"


def test_the_local_ca_is_off_in_files(scene):
    edge = scene.terminated(scene.greeter(), "*.test", certificates=[
        scene.certificates.pair("b.test").settings()],
        options={"edge": {"state": scene.path("state")}})
    client = scene.client(edge)
    client.hello()
    assert client.read_all()[0] == hello.alert(112)
    client.close()
    edge.settings["local_ca"] = "auto"
    assert edge.reload()[0]
    path = scene.path("state/local-ca.pem")
    scene.greeted(edge, client_context(path)).close()
    assert edge.wait_events(2)[1]["tls"]["version"] == "1.3"
    assert b"CA:TRUE" in openssl("x509", "-in", path, "-noout", "-text")


def test_passthrough_and_termination_on_one_port(scene):
    """Each endpoint as it says; and the policy may turn one into the other."""
    inner = scene.tls_upstream(names=("through.test",))
    plain = scene.greeter()
    policy = scene.write("p.lua", """
        return function(conn)
          if conn.sni == "turned.test" then
            return { terminate_at = "edge" }
          end
        end
    """)
    edge = scene.edge([
        {"url": "tls://through.test", "upstream": inner.address},
        {"url": "tls://ended.test", "upstream": plain.address,
         "terminate_at": "edge"},
        {"url": "tls://turned.test", "upstream": plain.address}],
        edge={"policy": {"file": policy}},
        top={"certificates": [scene.certificates.pair(
            "ended.test", "turned.test").settings()]})
    context = client_context(scene.certificates.ca)
    for name in ("through.test", "ended.test", "turned.test"):
        scene.greeted(edge, context, name).close()
    events = edge.wait_events(3)
    assert ["tls" in e for e in events] == [False, True, True]


def test_the_end_of_an_upstream_is_a_clean_end(scene):
    """Its FIN becomes close_notify and FIN."""
    edge = scene.terminated(scene.greeter(greet_and_close))
    for version in ("1.2", "1.3"):
        tls = scene.connect(edge, client_context(
            scene.certificates.ca, version=version))
        assert tls.read_all() == (b"ok", "notify")
        tls.shutdown(1)
    for event in edge.wait_events(2):
        assert event["close"]["reason"] == "upstream_closed"
        assert event["conn"]["bytes_out"] == 2


def test_behind_a_proxy_header(scene):
    """The header, then the client's TLS, in one segment or dripped: the
    announced address goes into policy, event and the header that we send."""
    upstream = scene.upstream(greet)
    edge = scene.terminated(upstream, proxy_proto=2, options={"listen": [
        {"address": "127.0.0.1:0", "proxy_protocol": {
            "accept": [1, 2], "from": ["127.0.0.0/8"]}}]})
    for head in (proxyheader.v1("192.0.2.7", 4711),
                 proxyheader.v2("192.0.2.7", 4711)):
        plain = scene.client(edge)
        tls = Tls(plain.sock, client_context(), name="a.test")
        with pytest.raises(ssl.SSLWantReadError):
            tls.tls.do_handshake()
        plain.send(head + tls.outgoing.read())
        tls.handshake()
        assert read_word(tls, 2) == b"ok"
        told = proxyheader.Header(upstream.next().wait_bytes(28))
        assert (told.source, told.port) == ("192.0.2.7", 4711)
        tls.close()
    for event in edge.wait_events(2):
        assert event["conn"]["client_ip"] == "192.0.2.7"
        assert event["tls"]["version"] == "1.3"


def test_an_ip_restriction_comes_before_the_handshake(scene):
    upstream = scene.greeter()
    edge = scene.terminated(upstream, ip_restriction={
        "allow": ["127.0.0.9/32"]})
    client = scene.client(edge)
    client.hello()
    assert client.read_all() == (hello.alert(49), "eof")
    client.close()
    scene.greeted(edge, client_context(), source="127.0.0.9").close()
    events = edge.wait_events(2)
    assert events[0]["close"]["reason"] == "denied_ip"
    assert "tls" not in events[0] and "tls" in events[1]


def test_drain_lets_terminated_connections_finish(scene):
    """RL-04: and at the end of its time they are closed."""
    edge = scene.terminated(scene.upstream(greet_and_echo), options={
        "edge": {"timeouts": {"drain": "1s"}}})
    first, second = (scene.greeted(edge, client_context())
                     for _ in range(2))
    edge.drain()
    edge.wait_log("draining")
    first.sendall(b"still here")
    assert first.read(10) == b"still here"
    first.shutdown(1)
    assert first.read_all() == (b"", "notify")
    first.close()
    assert second.read_all()[0] == b""
    assert edge.process.wait(5) == 0
    reasons = sorted(e["close"]["reason"] for e in edge.wait_events(2))
    assert reasons == ["client_closed", "drain"]


def test_a_rate_in_bytes(scene):
    """bytes_per_second counts what is inside TLS."""
    policy = scene.write("p.lua", """
        return function(conn) return { bytes_per_second = 100000 } end
    """)
    edge = scene.terminated(scene.upstream(greet_and_echo), policy=policy)
    tls = scene.greeted(edge, client_context())
    began = time.monotonic()
    sender = Sender(tls, 150000, shut=False)
    data = tls.read(150000)
    sender.join()
    assert data == (BLOCK * 3)[:150000]
    assert time.monotonic() - began > 0.3
    tls.close()
    edge.wait_events(1)
