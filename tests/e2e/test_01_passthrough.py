"""Real clients reach real servers through the edge, by name, untouched."""

import re
import ssl
import threading

import pytest

import hello
from client import http_get
from edge import lunette
from process import run
from servers import PAGE, lines_of
from upstream import answer, echo, record
from waiting import until


def certificate_of(path):
    with open(path) as f:
        return ssl.PEM_cert_to_DER_cert(f.read())


@pytest.mark.fixture
def test_the_servers_themselves_answer(scene, needs):
    """What the other tests rely on works without Lunette."""
    needs("nginx", "mosquitto", "mosquitto_pub", "redis-server", "redis-cli",
          "unbound", "kdig", "haproxy")
    ca = scene.certificates.ca
    port, log = scene.servers.nginx("a.test")
    assert http_get(port, "a.test", ca).endswith(PAGE)
    assert redis_ping(scene.servers.redis("redis.test"), "redis.test",
                      ca) == b"PONG\n"
    assert kdig(scene.servers.unbound("dns.test"), "dns.test",
                ca) == b"192.0.2.77\n"
    mqtt_round_trip(scene.servers.mosquitto("mqtt.test"), "localhost", ca,
                    insecure=True)
    crt = scene.servers.bundle("h.test")
    port = scene.servers.haproxy(
        f"frontend f\n  bind 127.0.0.1:{{port}} ssl crt {crt}\n"
        "  mode http\n  http-request return status 200 content-type "
        "text/plain string hi\n")
    assert http_get(port, "h.test", ca).endswith(b"hi")


@pytest.mark.fixture
def test_the_recorded_hellos_carry_the_name(needs):
    needs("openssl", "curl", "gnutls-cli")
    for who, wire in hello.real_hellos("a.test").items():
        assert wire[0] == 22 and b"\0\x06a.test" in wire, who


def redis_ping(port, name, ca):
    return run(["redis-cli", "-h", "127.0.0.1", "-p", port, "--tls",
                "--cacert", ca, "--sni", name, "ping"]).stdout


def kdig(port, name, ca):
    return run(["kdig", "+short", "+tls", f"+tls-ca={ca}",
                f"+tls-hostname={name}", f"+tls-sni={name}",
                "@127.0.0.1", "-p", port, "answer.test", "A"]).stdout


def mqtt_round_trip(port, host, ca, insecure=False):
    """One message from mosquitto_pub to mosquitto_sub. `host` is also the
    name that they send, so it must resolve to loopback."""
    common = ["-h", host, "-p", str(port), "--cafile", ca, "-t", "room"]
    if insecure:
        common.append("--insecure")
    # A retained message: whichever of the two comes first, it arrives.
    published = run(["mosquitto_pub", *common, "-m", "warm", "-r"])
    assert published.returncode == 0, published.stderr
    heard = run(["mosquitto_sub", *common, "-C", "1"])
    assert heard.stdout == b"warm\n", heard.stderr


@pytest.mark.core
def test_nginx_through_lunette_tls(scene):
    upstream, _ = scene.servers.nginx("a.test")
    edge = scene.tls(f"127.0.0.1:{upstream}")
    page = run(["curl", "-s", "--cacert", scene.certificates.ca, "--resolve",
                f"a.test:{edge.port}:127.0.0.1",
                f"https://a.test:{edge.port}/"])
    assert page.stdout == PAGE, page.stderr
    event = edge.wait_events(1)[0]
    assert event["conn"]["server_name"] == "a.test"
    assert event["close"]["reason"] in ("client_closed", "upstream_closed")
    assert event["upstream"]["address"] == f"127.0.0.1:{upstream}"


def test_the_certificate_is_the_servers_own(scene):
    upstream, _ = scene.servers.nginx("a.test")
    edge = scene.route(f"127.0.0.1:{upstream}")
    with scene.tls_client(edge, "a.test") as tls:
        crt, _ = scene.certificates.pair("a.test")
        assert tls.getpeercert(True) == certificate_of(crt)
    edge.wait_events(1)


@pytest.mark.core
@pytest.mark.parametrize("who", ["openssl", "openssl-1.2", "curl", "gnutls",
                                 "python", "python-h2", "python-1.2"])
def test_the_hello_arrives_unchanged(scene, who):
    wire = hello.real_hellos("a.test")[who]
    upstream = scene.upstream()
    edge = scene.route(upstream)
    client = scene.client(edge).send(wire)
    arrival = upstream.next()
    assert arrival.wait_bytes(len(wire)) == wire
    client.send(b"later bytes")
    arrival.wait_bytes(len(wire) + 11)
    client.close()
    assert arrival.wait_end() == "eof"
    assert bytes(arrival.data) == wire + b"later bytes"
    event = edge.wait_events(1)[0]
    assert event["conn"]["bytes_in"] == len(wire) + 11
    assert event["conn"]["bytes_out"] == 0
    assert event["close"]["reason"] == "client_closed"
    assert re.fullmatch(r"[tq]1[0-3][di][0-9]{4}[0-9a-z]{2}_[0-9a-f]{12}_"
                        r"[0-9a-f]{12}", event["ja4_fingerprint"])


def test_four_protocols_by_name_on_one_port(scene, needs):
    needs("mosquitto", "mosquitto_pub", "mosquitto_sub", "redis-server",
          "redis-cli", "unbound", "kdig")
    ca = scene.certificates.ca
    web, _ = scene.servers.nginx("web.test")
    redis = scene.servers.redis("redis.test")
    dns = scene.servers.unbound("dns.test")
    mqtt = scene.servers.mosquitto("localhost")
    edge = scene.edge([
        {"url": "tls://web.test", "upstream": f"127.0.0.1:{web}"},
        {"url": "tls://redis.test", "upstream": f"127.0.0.1:{redis}"},
        {"url": "tls://dns.test", "upstream": f"127.0.0.1:{dns}"},
        # mosquitto_pub has no option for the name: it sends the host's.
        {"url": "tls://localhost", "upstream": f"127.0.0.1:{mqtt}"},
    ])
    assert http_get(edge.port, "web.test", ca).endswith(PAGE)
    assert redis_ping(edge.port, "redis.test", ca) == b"PONG\n"
    assert kdig(edge.port, "dns.test", ca) == b"192.0.2.77\n"
    mqtt_round_trip(edge.port, "localhost", ca)
    events = edge.wait_events(5)
    assert sorted(e["conn"]["server_name"] for e in events) == [
        "dns.test", "localhost", "localhost", "redis.test", "web.test"]


def test_redis_benchmark_and_pipelines(scene, needs):
    """Many small answers over a few connections."""
    needs("redis-server", "redis-benchmark")
    port = scene.servers.redis("redis.test")
    edge = scene.route(f"127.0.0.1:{port}", "redis.test")
    done = run(["redis-benchmark", "-h", "127.0.0.1", "-p", edge.port,
                "--tls", "--sni", "redis.test", "--cacert",
                scene.certificates.ca, "-n", "4000", "-c", "20", "-P", "8",
                "-t", "set,get", "-q"], timeout=60)
    assert b"SET:" in done.stdout and b"GET:" in done.stdout, done.stderr
    assert b"rror" not in done.stdout + done.stderr


def test_gnutls_and_openssl_clients(scene, needs):
    needs("gnutls-cli", "openssl")
    upstream, _ = scene.servers.nginx("a.test")
    edge = scene.route(f"127.0.0.1:{upstream}")
    request = b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n"
    ca = scene.certificates.ca
    shown = run(["gnutls-cli", "--x509cafile", ca, "--sni-hostname=a.test",
                 "--verify-hostname=a.test", "-p", edge.port, "127.0.0.1"],
                stdin=request)
    assert PAGE in shown.stdout
    for option in ("-tls1_2", "-tls1_3"):
        shown = run(["openssl", "s_client", "-connect",
                     f"127.0.0.1:{edge.port}", "-servername", "a.test",
                     "-CAfile", ca, "-quiet", "-ign_eof", option],
                    stdin=request)
        assert PAGE in shown.stdout, shown.stderr


def test_tls_takes_every_form_of_address(scene, ipv6):
    word = answer(b"here")
    four = scene.upstream(word)
    six = scene.upstream(word, host="::1")
    unix = scene.upstream(word, path=scene.path("up.sock"))
    for address in (four.port, f"127.0.0.1:{four.port}",
                    f"localhost:{four.port}", f"tcp://127.0.0.1:{four.port}",
                    f"tls://127.0.0.1:{four.port}", f"[::1]:{six.port}",
                    unix.address):
        edge = scene.tls(address)
        client = scene.client(edge)
        client.hello("any.name.test")
        assert client.read(4) == b"here", address
        client.close()
        assert edge.wait_events(1)[0]["close"]["reason"] == "client_closed"
        edge.stop()


def test_tls_flags(scene):
    """Names, restriction, PROXY and policy of `lunette tls`."""
    upstream = scene.upstream(record)
    edge = scene.tls(upstream.port, "--domain", "one.test", "--url",
                     "tls://*.two.test", "--cidr-allow", "127.0.0.0/8",
                     "--cidr-deny=127.0.0.9/32", "--proxy-proto=1")
    for name in ("one.test", "x.two.test"):
        client = scene.client(edge)
        wire = client.hello(name)
        port = client.port
        head = f"PROXY TCP4 127.0.0.1 127.0.0.1 {port} {edge.port}\r\n"
        arrival = upstream.next()
        assert arrival.wait_bytes(len(head) + len(wire)) == \
            head.encode() + wire
        client.close()
    other = scene.client(edge)
    other.hello("three.test")
    assert other.read_all()[0] == hello.alert(112)
    denied = scene.client(edge, source="127.0.0.9")
    denied.hello("one.test")
    assert denied.read_all()[0] == hello.alert(49)
    reasons = sorted(e["close"]["reason"] for e in edge.wait_events(4))
    assert reasons == ["client_closed", "client_closed", "denied_ip",
                       "unknown_name"]


def test_tls_several_listeners_and_policy(scene):
    policy = scene.write("p.lua", """
        local lunette = require "lunette"
        return function(conn)
          if conn.sni == "no.test" then return lunette.deny "no" end
        end
    """)
    upstream = scene.upstream(answer(b"yes"))
    edge = scene.tls(upstream.port, "--policy-file", policy, "--listen",
                     "127.0.0.1:0", "--listen", "127.0.0.1:0", listen=[],
                     listeners=2)
    assert len(set(edge.ports)) == 2
    for port in edge.ports:
        client = scene.client(port)
        client.hello("yes.test")
        assert client.read(3) == b"yes"
        client.close()
    client = scene.client(edge)
    client.hello("no.test")
    assert client.read_all()[0] == hello.alert(49)
    assert edge.wait_events(3)[2]["close"]["reason"] == "denied_policy"


def test_tls_log_formats(scene):
    upstream = scene.upstream(answer(b"yes"))
    log = scene.path("json.log")
    edge = scene.tls(upstream.port)
    edge.stop()
    assert "msg=ready" in edge.raw_log() or 'msg="ready"' in edge.raw_log()
    for format_name, word in (("json", '"msg":"ready"'), ("term", "ready")):
        path = f"{log}.{format_name}"
        process = scene.program("formats", [
            *edge.process.argv[:1], "tls", str(upstream.port), "--listen",
            "127.0.0.1:0", "--log", path, "--log-format", format_name])
        until(lambda: word in "\n".join(lines_of(path)), 5,
              f"{word} in {lines_of(path)}")
        process.stop()


def test_many_at_once_each_with_its_own_bytes(scene):
    """No byte of one connection in another."""
    upstream = scene.upstream(echo)
    edge = scene.route(upstream, "*.test")
    failures = []

    def talk(number):
        client = scene.client(edge)
        wire = client.hello(f"n{number}.test")
        assert client.read(len(wire)) == wire
        for turn in range(20):
            text = f"connection {number} turn {turn};".encode() * 50
            client.send(text)
            if client.read(len(text)) != text:
                failures.append(number)
        client.close()

    threads = [threading.Thread(target=talk, args=(n,)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    edge.wait_events(40)


def test_version_and_help():
    shown = lunette("version")
    assert shown.returncode == 0
    for word in (b"unette", b"OpenSSL", b"LuaJIT"):
        assert word in shown.stdout
    for command in ("tls", "edge", "check", "policy"):
        help_text = lunette(command, "--help")
        assert help_text.returncode == 0 and b"lunette" in help_text.stdout
    assert lunette().returncode == 2
