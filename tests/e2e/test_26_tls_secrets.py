"""What must never leave the process, and what scanners find."""

import base64
import os
import random
import re

import pytest

import hello
from edge import lunette
from process import run
from tlspeer import Refused, client_context, refusal
from tlsupstream import greet_and_echo
from waiting import SANITIZED, scaled, until


@pytest.mark.parametrize("flag", [False, True])
def test_the_key_log_needs_its_flag(scene, flag):
    """SSLKEYLOGFILE alone does nothing; with the flag it is warned of."""
    path = scene.path("keys.log")
    edge = scene.tls(
        scene.greeter().port, "--terminate-at", "edge", "--domain", "a.test",
        "--crt", scene.certificates.pair("a.test").crt, "--key",
        scene.certificates.pair("a.test").key,
        *(["--allow-keylog"] if flag else []), env={"SSLKEYLOGFILE": path})
    context = client_context(scene.certificates.ca)
    context.keylog_filename = scene.path("client-keys.log")
    scene.greeted(edge, context).close()
    edge.wait_events(1)
    warned = [e for e in edge.log_lines() if e.get("level") in
              ("warn", "warning") and "keys.log" in str(e)]
    if not flag:
        assert not os.path.exists(path) and not warned
        return
    assert warned
    assert os.stat(path).st_mode & 0o77 == 0
    with open(path) as f:
        ours = set(f.read().split("\n"))
    with open(scene.path("client-keys.log")) as f:
        theirs = {line for line in f.read().split("\n")
                  if line and line[0] != "#"}
    assert theirs and theirs <= ours


def needles(scene, pair, keylog):
    """Parts of the private key and of the session's secrets, as text and as
    bytes."""
    found = []
    with open(pair.key) as f:
        lines = [line for line in f.read().splitlines()
                 if line and "-----" not in line]
    found += [line.encode() for line in lines if len(line) > 40]
    raw = base64.b64decode("".join(lines))
    found.append(raw.hex().encode())
    with open(keylog) as f:
        for line in f.read().splitlines():
            if line and line[0] != "#" and "EXPORTER" not in line:
                found.append(line.split()[2].encode())
    return found


def test_no_secret_in_logs_and_events(scene):
    """At the level debug, with a policy that logs what it sees, failures of
    all kinds and reloads that do not work."""
    policy = scene.write("p.lua", """
        local lunette = require "lunette"
        return function(conn)
          local tls = conn:terminate {}
          conn:log { sni = conn.sni, cipher = tls.cipher_suite }
          lunette.log.info("seen", { version = tls.version })
        end
    """)
    pair = scene.certificates.pair("a.test")
    tickets = scene.path("tickets.key")
    with open(tickets, "wb") as f:
        f.write(b"TICKETKEY-" * 8)
    os.chmod(tickets, 0o600)
    edge = scene.terminated(
        scene.greeter(greet_and_echo), options={
            "log_level": "debug", "edge": {
                "policy": {"file": policy},
                "session_tickets": {"keys": tickets}}})
    keylog = scene.path("client.keys")
    for version in ("1.2", "1.3"):
        context = client_context(scene.certificates.ca, version=version)
        context.keylog_filename = keylog
        session = None
        for _ in range(2):
            tls = scene.greeted(edge, context, session=session)
            tls.sendall(b"PLAINTEXT-CANARY")
            assert tls.read(16) == b"PLAINTEXT-CANARY"
            session = tls.session
            tls.close()
        assert refusal(edge.port, client_context(version=version),
                       "b.test") == 112
    edge.wait_events(6)
    # A key where a certificate belongs, and one that was cut in half.
    half = scene.path("half.key")
    with open(pair.key) as f, open(half, "w") as out:
        text = f.read()
        out.write(text[:len(text) // 2])
    for crt, key in ((pair.key, pair.key), (pair.crt, half)):
        edge.top["certificates"] = [{"crt": crt, "key": key}]
        assert not edge.reload()[0]
        shown = lunette("check", "-c", edge.config_path)
        assert shown.returncode == 1
        text = shown.stdout + shown.stderr
        assert not any(n in text for n in needles(scene, pair, keylog))
    with open(edge.events_tail.path, "rb") as f:
        everything = f.read() + edge.process.output()
    for needle in [*needles(scene, pair, keylog), b"PLAINTEXT-CANARY",
                   b"TICKETKEY", base64.b64encode(b"TICKETKEY-" * 8)[:30],
                   b"PRIVATE KEY"]:
        assert needle not in everything, needle


def memory_of(pid):
    """All readable pages of a process, or a skip."""
    pages = []
    try:
        with open(f"/proc/{pid}/maps") as maps, \
                open(f"/proc/{pid}/mem", "rb", 0) as mem:
            for line in maps:
                place, mode = line.split()[:2]
                if mode[:2] != "rw":
                    continue
                start, end = (int(x, 16) for x in place.split("-"))
                try:
                    mem.seek(start)
                    pages.append(mem.read(end - start))
                except (OSError, ValueError):
                    pass
    except PermissionError:
        pytest.skip("no right to read the process's memory")
    return b"".join(pages)


@pytest.mark.parametrize("where", ["edge", "upstream"])
def test_what_the_memory_holds(scene, where):
    """Section 5 of the design: of a connection that ends elsewhere there is
    nothing here; of one that ends here, as control, there is."""
    if SANITIZED:
        pytest.skip("a sanitizer's memory is too large to search")
    names = ["CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"]
    if where == "edge":
        edge = scene.terminated(scene.greeter(greet_and_echo))
    else:
        inner = scene.tls_upstream(greet_and_echo, names=("a.test",))
        edge = scene.route(f"tls://127.0.0.1:{inner.port}")
    context = client_context(scene.certificates.ca, version="1.3")
    context.keylog_filename = scene.path("client.keys")
    tls = scene.greeted(edge, context)
    tls.sendall(b"PLAINTEXT-CANARY")
    assert tls.read(16) == b"PLAINTEXT-CANARY"
    with open(scene.path("client.keys")) as f:
        secrets = [bytes.fromhex(line.split()[2]) for line in f
                   if line.split()[0] in names]
    assert len(secrets) == 2
    memory = memory_of(edge.process.pid)
    assert len(memory) > 2 ** 20
    found = [s in memory for s in secrets]
    if where == "upstream":
        assert found == [False, False]
        assert b"PLAINTEXT-CANARY" not in memory
    else:
        assert any(found), "the control finds them"
    tls.close()
    edge.wait_events(1)


def test_sslscan_finds_nothing_weak(scene, needs):
    """TL-01."""
    needs("sslscan")
    pairs = [scene.certificates.pair("a.test", key=key).settings()
             for key in ("ec", "rsa")]
    edge = scene.terminated(scene.greeter(), certificates=pairs)
    shown = run(["sslscan", "--no-colour", "--sni-name=a.test",
                 f"127.0.0.1:{edge.port}"], timeout=60).stdout.decode()
    assert re.findall(r"(SSLv2|SSLv3|TLSv1\.[0-3])\s+(enabled|disabled)",
                      shown) == [
        ("SSLv2", "disabled"), ("SSLv3", "disabled"),
        ("TLSv1.0", "disabled"), ("TLSv1.1", "disabled"),
        ("TLSv1.2", "enabled"), ("TLSv1.3", "enabled")]
    ciphers = re.findall(
        r"(?:Preferred|Accepted)\s+TLSv1\.\d\s+(\d+) bits\s+(\S+)", shown)
    assert len(ciphers) >= 6
    for bits, cipher in ciphers:
        assert int(bits) >= 128 and re.match(
            r"TLS_(AES|CHACHA20)|ECDHE-(ECDSA|RSA)-(AES\d+-GCM|CHACHA20)",
            cipher), cipher
    assert "Session renegotiation not supported" in shown
    assert "Compression enabled" not in shown
    assert "vulnerable to heartbleed" not in shown.replace(
        "not vulnerable to heartbleed", "")


def mutated(wire, chance):
    data = bytearray(wire)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(5, len(data))
        how = chance.randrange(4)
        if how == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif how == 1:
            data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif how == 2:
            del data[at:at + chance.randrange(1, 5)]
        else:
            data[at:at] = bytes(chance.randrange(1, 5))
    # The lengths outside fit again, half of the time.
    if chance.random() < 0.5 and len(data) > 9:
        data[3:5] = (len(data) - 5).to_bytes(2, "big")
        data[6:9] = (len(data) - 9).to_bytes(3, "big")
    return bytes(data)


def test_mutated_hellos_at_a_terminating_edge(scene):
    """CH-15: an alert, an end, or a handshake for the name; an event each,
    and no other name's endpoint."""
    chance = random.Random(20261123)
    seeds = [hello.python_hello("a.test"),
             hello.python_hello("a.test", protocols=["h2"]),
             hello.hello(grease=True, post_quantum=True,
                         ech=hello.ech_outer()), hello.hello(tls13=False)]
    upstream = scene.greeter()
    edge = scene.terminated(upstream, options={"edge": {
        "timeouts": {"hello": "1s", "handshake": "1s"}}})
    count = scaled(600, 100)
    clients = []
    for turn in range(count):
        client = scene.client(edge, timeout=5)
        clients.append(client)
        try:
            client.send(mutated(chance.choice(seeds), chance))
            client.shut()
        except OSError:
            pass
        if len(clients) == 50 or turn == count - 1:
            for client in clients:
                data, _ = client.read_all()
                assert data == b"" or data[0] in (20, 21, 22), data
                client.close()
            clients = []
    events = edge.wait_events(count, timeout=15)
    assert edge.process.alive() and upstream.count() == 0
    for event in events:
        if "endpoint" in event:
            assert event["conn"]["server_name"] == "a.test"
    assert len({e["close"]["reason"] for e in events}) >= 2


def test_certificate_text_is_escaped(scene):
    """Fields that a client wrote itself: one log line, valid JSON."""
    cert = scene.certificates.once("evil", lambda: scene.certificates.
                                   authority("clients").leaf(
        subject="/O=Test/CN=x\"\\\\ level=error msg=forged {}",
        usage="clientAuth", extensions=["subjectAltName=URI:a\"b\\\\c"]))
    edge = scene.terminated(
        scene.greeter(), options={"log_level": "debug"}, mutual_tls={
            "cas": scene.certificates.authority("clients").crt})
    scene.greeted(edge, client_context(cert=cert)).close()
    event = edge.wait_events(1)[0]
    assert "forged" in str(event["tls"]["client"]["subject"])
    edge.wait_log("connection closed")
    assert not any(e.get("msg", "").startswith("forged")
                   for e in edge.log_lines())
    bad = scene.certificates.once("evil stranger", lambda: scene.certificates.
                                  authority("strangers").leaf(
        subject="/CN=y\" level=error msg=forged", usage="clientAuth"))
    with pytest.raises(Refused):
        scene.greeted(edge, client_context(cert=bad))
    until(lambda: len(edge.events()) == 2, 5, "events")
    assert not any(e.get("msg", "").startswith("forged")
                   for e in edge.log_lines())
