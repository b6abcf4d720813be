"""`tls://` upstreams: verified, named, never wrapped twice, and told of the
client in a header in clear."""

import os
import threading

import pytest

import proxyheader
from certificates import DAY
from process import run
from servers import PAGE, lines_of
from tlspeer import client_context, server_context
from tlsupstream import greet, greet_and_close, greet_and_echo
from waiting import until

BOTH = pytest.mark.parametrize("version", ["1.2", "1.3"])


def reencrypted(scene, upstream, name="a.test", host=None, **options):
    """The edge dials the upstream by TLS; `host` replaces its address."""
    port = getattr(upstream, "port", upstream)
    settings = options.pop("upstream_tls", {})
    return scene.terminated(f"tls://{host or '127.0.0.1'}:{port}", name,
                            upstream_tls=settings, **options)


def verified(scene, name="up.test", **more):
    return {"verify": True, "cas": scene.certificates.ca,
            "server_name": name, **more}


@pytest.mark.core
@BOTH
def test_both_ways_over_two_times_tls(scene, version):
    upstream = scene.tls_upstream(greet_and_echo, version=version)
    edge = reencrypted(scene, upstream, upstream_tls=verified(scene))
    tls = scene.greeted(edge, client_context(scene.certificates.ca))
    tls.sendall(b"there and back")
    assert tls.read(14) == b"there and back"
    arrival = upstream.next()
    assert arrival.server_name == "up.test"
    assert arrival.sock.facts()["version"] == version
    tls.shutdown(1)
    assert tls.read_all() == (b"", "notify")
    assert arrival.wait_end() == "eof" and arrival.how == "notify"
    event = edge.wait_events(1)[0]
    assert event["upstream"]["tls"] is True
    assert event["close"]["reason"] == "client_closed"
    assert event["conn"]["bytes_in"] == 14
    assert event["conn"]["bytes_out"] == 16


def refused_by_edge(scene, edge, word, upstream=None):
    """The upstream is not trusted: the client gets nothing."""
    tls = scene.connect(edge, client_context())
    data, end = tls.read_all()
    assert data == b"" and end in ("notify", "fin", "reset")
    tls.close()
    event = edge.event()
    assert event["close"]["reason"] == "upstream_tls_failed", event
    assert word in event["close"]["detail"], event
    if upstream:
        assert not any(a.data for a in upstream.arrivals)
    return event


@BOTH
def test_verification(scene, version):
    """Wrong CA, wrong name, expired, self-signed: none gets a byte."""
    certificates = scene.certificates
    cases = [
        (certificates.pair("up.test"), certificates.authority(
            "strangers").crt, "up.test", "issuer"),
        (certificates.pair("up.test"), certificates.ca, "other.test",
         "name"),
        (certificates.pair("*.up.test"), certificates.ca, "a.b.up.test",
         "name"),
        (certificates.once("expired up", lambda: certificates.root.leaf(
            "up.test", begin=-9 * DAY, end=-DAY)), certificates.ca,
         "up.test", "expired"),
        (certificates.once("client up", lambda: certificates.root.leaf(
            "up.test", usage="clientAuth")), certificates.ca, "up.test",
         "purpose"),
    ]
    for pair, ca, name, word in cases:
        upstream = scene.tls_upstream(pair=pair, version=version)
        edge = reencrypted(scene, upstream, upstream_tls={
            "verify": True, "cas": ca, "server_name": name})
        refused_by_edge(scene, edge, word, upstream)
        assert upstream.arrivals[0].wait_failed()
        edge.stop()


def test_verification_is_off_for_loopback_and_can_be_asked_for(scene):
    """Of whom nobody vouches, and of what name."""
    upstream = scene.tls_upstream(names=("whoever.test",))
    edge = reencrypted(scene, upstream)
    scene.greeted(edge, client_context()).close()
    assert edge.event()["upstream"]["tls"] is True
    edge.endpoints[0]["upstream_tls"] = {"verify": True}
    assert edge.reload()[0]
    refused_by_edge(scene, edge, "issuer")
    edge.endpoints[0]["upstream_tls"] = {"verify": False}
    assert edge.reload()[0]
    scene.greeted(edge, client_context()).close()


def test_a_ca_for_a_loopback_upstream_is_used(scene):
    """Who names CAs wants them checked: fail closed (incident 18)."""
    upstream = scene.tls_upstream(names=("up.test",))
    edge = reencrypted(scene, upstream, upstream_tls={
        "verify": True, "cas": scene.certificates.authority("strangers").crt,
        "server_name": "up.test"})
    refused_by_edge(scene, edge, "issuer", upstream)
    os.unlink(edge.config_path)
    edge.endpoints[0]["upstream_tls"]["cas"] = "/nonexistent.pem"
    fine, entry = edge.reload()
    assert not fine and "nonexistent" in entry["error"]


def test_by_ip_address(scene):
    """No SNI then; the certificate must be for the address."""
    right = scene.certificates.once("ip", lambda: scene.certificates.root.
                                    leaf(subject="/CN=ip", extensions=[
                                        "subjectAltName=IP:127.0.0.1"]))
    wrong = scene.certificates.once("other ip", lambda: scene.certificates.
                                    root.leaf(subject="/CN=ip", extensions=[
                                        "subjectAltName=IP:127.0.0.2"]))
    settings = {"verify": True, "cas": scene.certificates.ca}
    upstream = scene.tls_upstream(pair=right)
    edge = reencrypted(scene, upstream, upstream_tls=settings)
    scene.greeted(edge, client_context()).close()
    assert upstream.next().server_name is None
    other = reencrypted(scene, scene.tls_upstream(pair=wrong),
                        upstream_tls=settings)
    refused_by_edge(scene, other, "address")


def test_by_name(scene):
    """The address's own name is sent and checked."""
    settings = {"verify": True, "cas": scene.certificates.ca}
    for names, fine in ((("localhost",), True), (("up.test",), False)):
        upstream = scene.tls_upstream(names=names)
        edge = reencrypted(scene, upstream, host="localhost",
                           upstream_tls=settings)
        if fine:
            scene.greeted(edge, client_context()).close()
            assert upstream.next().server_name == "localhost"
        else:
            refused_by_edge(scene, edge, "name")


@BOTH
def test_alpn_is_passed_on(scene, version):
    """What the client got is what the upstream is offered, and no more."""
    offers = []
    context = server_context(scene.certificates.pair("up.test"),
                             version=version, alpn=["h2", "http/1.1"])
    upstream = scene.tls_upstream(context=context)
    edge = reencrypted(scene, upstream, alpn=["h2", "http/1.1"],
                       upstream_tls=verified(scene))
    for wanted in (["h2"], ["http/1.1"], None):
        tls = scene.greeted(edge, client_context(alpn=wanted))
        tls.close()
        offers.append(upstream.next().sock.facts()["negotiated_alpn"])
    assert offers == ["h2", "http/1.1", None]
    edge.wait_events(3)


@BOTH
def test_a_certificate_for_the_upstream(scene, version):
    """Shown where it is asked for; without one the upstream's alert tells."""
    certificates = scene.certificates
    ours = certificates.client("edge")
    context = server_context(certificates.pair("up.test"),
                             ca=certificates.authority("clients").crt,
                             version=version)
    upstream = scene.tls_upstream(context=context)
    edge = reencrypted(
        scene, upstream, certificates=[
            certificates.pair("a.test").settings(),
            ours.settings(name="ours")],
        upstream_tls=verified(scene, certificate="ours"))
    scene.greeted(edge, client_context()).close()
    assert upstream.next().sock.certificate() == ours.der()
    edge.wait_events(1)
    del edge.endpoints[0]["upstream_tls"]["certificate"]
    assert edge.reload()[0]
    tls = scene.connect(edge, client_context())
    assert tls.read_all()[0] == b""
    tls.close()
    event = edge.wait_events(2)[1]
    # With TLS 1.3 the alert comes after the handshake.
    assert event["close"]["reason"] == "upstream_tls_failed", event
    assert event["close"]["detail"].endswith(
        {"1.2": "handshake_failure", "1.3": "certificate_required"}[version])


@BOTH
def test_sessions_to_the_upstream_are_used_again(scene, version):
    upstream = scene.tls_upstream(greet_and_close, version=version)
    edge = reencrypted(scene, upstream, upstream_tls=verified(scene),
                       options={"edge": {"workers": 1}})
    resumed = []
    for _ in range(6):
        tls = scene.connect(edge, client_context())
        assert tls.read_all()[0] == b"ok"
        tls.close()
        resumed.append(upstream.next().sock.resumed)
    assert resumed[0] is False and resumed.count(True) >= 4, resumed


@BOTH
def test_two_backends_behind_one_address(scene, version):
    """TL-07: each endpoint verifies its own; no session is shared."""
    certificates = scene.certificates
    strangers = certificates.authority("strangers")
    pairs = {"one.test": certificates.pair("one.test"),
             "two.test": certificates.once(
                 "two", lambda: strangers.leaf("two.test"))}
    contexts = {name: server_context(pair, version=version)
                for name, pair in pairs.items()}
    # One context gives the tickets: both names could read them.
    front = server_context(pairs["one.test"], version=version)
    seen = []

    def choose(tls, name, _):
        seen.append((name, tls))
        if name == "two.test":
            tls.context = contexts["two.test"]
    upstream = scene.tls_upstream(greet_and_close, context=front)
    front.sni_callback = choose
    cas = {"one.test": certificates.ca, "two.test": strangers.crt}
    edge = scene.edge([
        {"url": f"tls://{name}", "terminate_at": "edge",
         "upstream": f"tls://127.0.0.1:{upstream.port}",
         "certificate": "front", "upstream_tls": {
             "verify": True, "cas": cas[name], "server_name": name}}
        for name in pairs] + [
        {"url": "tls://crossed.test", "terminate_at": "edge",
         "upstream": f"tls://127.0.0.1:{upstream.port}",
         "certificate": "front", "upstream_tls": {
             "verify": True, "cas": cas["two.test"],
             "server_name": "one.test"}}],
        edge={"workers": 1}, top={"certificates": [
            certificates.pair("one.test", "two.test",
                              "crossed.test").settings(name="front")]})
    for turn in range(3):
        for name in pairs:
            tls = scene.connect(edge, client_context(), name)
            assert tls.read_all()[0] == b"ok"
            tls.close()
            assert seen[-1][0] == name
            arrival = upstream.next()
            assert arrival.sock.resumed == (turn > 0), (turn, name)
        # The right name under the wrong CA: no session of one.test helps.
        tls = scene.connect(edge, client_context(), "crossed.test")
        assert tls.read_all()[0] == b""
        tls.close()
        upstream.taken += 1  # that one has failed
    reasons = [e["close"]["reason"] for e in edge.wait_events(9)]
    assert reasons.count("upstream_tls_failed") == 3


def test_sessions_are_forgotten_when_trust_changes(scene):
    """After a reload with other CAs the next handshake verifies again."""
    upstream = scene.tls_upstream(greet_and_close)
    edge = reencrypted(scene, upstream, upstream_tls=verified(scene),
                       options={"edge": {"workers": 1}})
    for _ in range(2):
        tls = scene.connect(edge, client_context())
        assert tls.read_all()[0] == b"ok"
        tls.close()
        edge.event()
    edge.endpoints[0]["upstream_tls"]["cas"] = \
        scene.certificates.authority("strangers").crt
    assert edge.reload()[0]
    refused_by_edge(scene, edge, "issuer")


def test_passthrough_is_never_wrapped_again(scene):
    """The client's own TLS goes to a tls:// upstream as it is."""
    upstream = scene.tls_upstream(names=("a.test",))
    edge = scene.route(f"tls://127.0.0.1:{upstream.port}")
    tls = scene.greeted(edge, client_context(scene.certificates.ca))
    assert tls.certificate() == scene.certificates.pair("a.test").der()
    tls.close()
    assert upstream.next().server_name == "a.test"
    event = edge.wait_events(1)[0]
    assert event["upstream"]["tls"] is False and "tls" not in event


@pytest.mark.core
@pytest.mark.parametrize("header", [1, 2])
def test_the_header_goes_in_clear_before_our_tls(scene, header):
    upstream = scene.tls_upstream(proxy=True)
    edge = reencrypted(scene, upstream, proxy_proto=header,
                       upstream_tls=verified(scene))
    tls = scene.greeted(edge, client_context())
    arrival = upstream.next()
    if header == 1:
        assert arrival.header == b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n" \
            % (tls.port, edge.port)
    else:
        told = proxyheader.Header(arrival.header)
        assert (told.source, told.port) == ("127.0.0.1", tls.port)
        assert told.rest == b""
    tls.close()
    event = edge.wait_events(1)[0]
    assert event["upstream"]["proxy_proto"] == header
    assert event["upstream"]["tls"] is True


def test_nginx_and_haproxy_take_header_and_tls(scene, needs):
    needs("nginx", "haproxy", "curl")
    port, log = scene.servers.nginx("up.test", proxy_protocol=True)
    edges = [reencrypted(scene, port, upstream_tls=verified(scene),
                         proxy_proto=2)]
    crt = scene.servers.bundle("up.test")
    port = scene.servers.haproxy(
        f"frontend f\n  bind 127.0.0.1:{{port}} accept-proxy ssl crt {crt}\n"
        "  mode http\n  http-request return status 200 content-type "
        "text/plain lf-string \"%[src]:%[src_port] %[ssl_fc_sni]\\n\"\n")
    for version in (1, 2):
        edges.append(reencrypted(scene, port, upstream_tls=verified(scene),
                                 proxy_proto=version))
    pages = [run(["curl", "-sS", "--cacert", scene.certificates.ca,
                  "--resolve", f"a.test:{edge.port}:127.0.0.1",
                  f"https://a.test:{edge.port}/"]) for edge in edges]
    assert pages[0].stdout == PAGE, pages[0]
    until(lambda: "127.0.0.1 127.0.0.1 up.test" in lines_of(log), 5, log)
    for page, edge in zip(pages[1:], edges[1:]):
        event = edge.wait_events(1)[0]
        assert page.stdout.decode() == \
            f"127.0.0.1:{event['conn']['client_port']} up.test\n", page


def test_bytes_before_the_server_hello(scene):
    """TL-10, incident 19: what a backend says in clear before its ServerHello
    never reaches a client."""
    upstream = scene.tls_upstream(
        before=lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nplain"))
    edge = reencrypted(scene, upstream)
    tls = scene.connect(edge, client_context())
    data, _ = tls.read_all()
    tls.close()
    assert data == b""
    event = edge.wait_events(1)[0]
    assert event["close"]["reason"] == "upstream_tls_failed"
    assert event["conn"]["bytes_out"] == 0


def test_an_upstream_that_does_not_speak_tls(scene):
    """Closed, with the reason; a mute one after its time."""
    edge = reencrypted(scene, scene.upstream(
        lambda arrival: greet(arrival, b"220 mail.test ESMTP\r\n")))
    tls = scene.connect(edge, client_context())
    assert tls.read_all()[0] == b""
    tls.close()
    assert edge.event()["close"]["reason"] == "upstream_tls_failed"
    mute = scene.upstream()
    edge = reencrypted(scene, mute, options={
        "edge": {"timeouts": {"handshake": "500ms"}}})
    tls = scene.connect(edge, client_context())
    assert tls.read_all()[0] == b""
    tls.close()
    assert edge.event()["close"]["reason"] in ("upstream_tls_failed",
                                               "upstream_timeout")
    assert mute.next().wait_bytes(5)[:1] == b"\x16"


def test_to_a_unix_socket(scene):
    """Plain, after the client's TLS."""
    upstream = scene.upstream(greet, path=scene.path("up.sock"))
    edge = scene.terminated(upstream)
    scene.greeted(edge, client_context()).close()
    event = edge.wait_events(1)[0]
    assert event["upstream"]["tls"] is False and "tls" in event


def test_what_the_policy_says_of_the_upstream(scene):
    """upstream_tls in a decision, and an upstream that only it knows."""
    right = scene.tls_upstream(names=("up.test",))
    policy = scene.write("p.lua", f"""
        local lunette = require "lunette"
        local ours = lunette.cas "{scene.certificates.ca}"
        return function(conn)
          conn:terminate {{}}
          local name = conn.sni == "a.test" and "up.test" or "wrong.test"
          return {{ upstream = "tls://127.0.0.1:{right.port}",
                    upstream_tls = {{ verify = true, cas = ours,
                                      server_name = name }} }}
        end
    """)
    edge = scene.edge(
        [{"url": f"tls://{name}", "upstream": "127.0.0.1:9",
          "terminate_at": "edge"} for name in ("a.test", "b.test")],
        edge={"policy": {"file": policy}},
        top={"certificates": [scene.certificates.pair(
            "a.test", "b.test").settings()]})
    scene.greeted(edge, client_context()).close()
    assert right.next().server_name == "up.test"
    tls = scene.connect(edge, client_context(), "b.test")
    assert tls.read_all()[0] == b""
    tls.close()
    events = edge.wait_events(2)
    assert events[0]["upstream"]["tls"] is True
    assert events[1]["close"]["reason"] == "upstream_tls_failed"


@pytest.mark.parametrize("what", ["list", "retry"])
def test_the_next_upstream_after_a_failed_handshake(scene, what):
    """An upstream that is not trusted is one that cannot be reached: the list
    or the policy's retry goes on."""
    bad = scene.tls_upstream(names=("other.test",))
    good = scene.tls_upstream(names=("up.test",))
    upstreams = [f"tls://127.0.0.1:{u.port}" for u in (bad, good)]
    endpoint = {"url": "tls://a.test", "terminate_at": "edge",
                "upstream": upstreams[0], "upstream_tls": verified(scene)}
    if what == "list":
        endpoint["upstream"] = upstreams
    else:
        endpoint["policy"] = scene.write("p.lua", f"""
            return {{ retry = function(conn, failure)
              if failure.reason == "upstream_tls_failed" then
                return {{ upstream = "{upstreams[1]}" }}
              end
            end }}
        """)
    edge = scene.edge([endpoint], top={"certificates": [
        scene.certificates.pair("a.test").settings()]})
    for _ in range(4):
        scene.greeted(edge, client_context()).close()
    for event in edge.wait_events(4):
        assert event["upstream"]["address"] == upstreams[1]
    assert good.count() == 4 and not any(a.data for a in bad.arrivals)


# PROXY v2 and its SSL TLVs.

SSL, VERSION, CN, CIPHER, KEY, GROUP, SCHEME, CERTIFICATE = \
    0x20, 0x21, 0x22, 0x23, 0x25, 0x26, 0x27, 0x28


def sub_tlvs(value):
    found, at = {}, 5
    while at < len(value):
        size = int.from_bytes(value[at + 1:at + 3], "big")
        assert value[at] not in found
        found[value[at]] = value[at + 3:at + 3 + size]
        at += 3 + size
    assert at == len(value)
    return found


@BOTH
def test_the_tlvs_of_tls(scene, version):
    """As section 2.2.6 of the specification numbers them."""
    cert = scene.certificates.client("bob", unit="payments")
    upstream = scene.greeter()
    edge = scene.terminated(
        upstream, proxy_proto=2,
        proxy_tlvs=["authority", "alpn", "crc32c", "ssl",
                    "client_certificate"], alpn=["h2"],
        mutual_tls={"mode": "request", "cas":
                    scene.certificates.authority("clients").crt})
    context = client_context(version=version, cert=cert, alpn=["h2"])
    session = None
    for turn in range(2):
        tls = scene.greeted(edge, context, session=session)
        tls.close_notify()
        session = tls.session
        tls.close()
        assert tls.resumed == (turn == 1)
        told = proxyheader.Header(upstream.next().wait_bytes(28))
        assert told.tlvs[proxyheader.AUTHORITY] == b"a.test"
        assert told.tlvs[proxyheader.ALPN] == b"h2"
        value = told.tlvs[SSL]
        # 1: TLS; 2: a certificate on this connection; 4: in this session.
        flags, verify = value[0], int.from_bytes(value[1:5], "big")
        assert flags == (7 if turn == 0 else 5) and verify == 0
        inside = sub_tlvs(value)
        assert inside[VERSION] == b"TLSv" + version.encode()
        # OpenSSL's name, as the specification has it.
        assert inside[CIPHER] == tls.tls.cipher()[0].encode()
        assert inside[CN] == b"bob"
        assert inside[CERTIFICATE] == cert.der()
        if turn == 0:
            # Of our certificate: its key, and what it signed with.
            assert inside[KEY] == b"EC256"
            assert inside[SCHEME] == b"ecdsa_secp256r1_sha256"
        if turn == 0 or version == "1.3":
            assert inside[GROUP].upper() == b"X25519"
    # No certificate: the result says that nothing was verified.
    scene.greeted(edge, client_context(version=version,
                                       alpn=["h2"])).close()
    value = proxyheader.Header(upstream.next().wait_bytes(28)).tlvs[SSL]
    assert value[0] == 1 and int.from_bytes(value[1:5], "big") != 0
    assert CN not in sub_tlvs(value) and CERTIFICATE not in sub_tlvs(value)
    edge.wait_events(3)


def test_haproxy_takes_the_tlvs(scene, needs):
    needs("haproxy", "curl")
    port = scene.servers.haproxy(
        "frontend f\n  bind 127.0.0.1:{port} accept-proxy\n  mode http\n"
        "  http-request return status 200 content-type text/plain lf-string "
        "\"%[src] %[fc_pp_authority] %[fc_pp_unique_id,length]\\n\"\n")
    edge = scene.terminated(
        f"127.0.0.1:{port}", proxy_proto=2, proxy_tlvs=[
            "authority", "unique_id", "crc32c", "ssl", "client_certificate"],
        mutual_tls={"cas": scene.certificates.authority("clients").crt})
    cert = scene.certificates.client("bob")
    page = run(["curl", "-sS", "--cacert", scene.certificates.ca,
                "--cert", cert.crt, "--key", cert.key, "--resolve",
                f"a.test:{edge.port}:127.0.0.1",
                f"https://a.test:{edge.port}/"])
    event = edge.wait_events(1)[0]
    assert page.stdout == b"127.0.0.1 a.test %d\n" % \
        len(event["conn"]["id"]), page


def test_many_at_once_each_with_its_own_bytes(scene):
    """No byte of one connection in another, over two times TLS."""
    upstream = scene.tls_upstream(greet_and_echo)
    edge = reencrypted(scene, upstream, upstream_tls=verified(scene))
    context = client_context(scene.certificates.ca)
    failures = []

    def talk(number):
        tls = scene.greeted(edge, context)
        for turn in range(10):
            text = f"connection {number} turn {turn};".encode() * 200
            tls.sendall(text)
            if tls.read(len(text)) != text:
                failures.append(number)
        tls.close()

    threads = [threading.Thread(target=talk, args=(n,)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    edge.wait_events(24)
