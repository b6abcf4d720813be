#!/usr/bin/env python3
"""Writes the seed corpora of the fuzz targets: make_seeds.py FOLDER.

Seeds are made here, not kept as files, so that a reader sees what each of
them is. One function a target; its name is the target's.
"""
import os
import struct
import subprocess
import sys


def u8(n):
    return bytes([n & 0xFF])


def u16(n):
    return struct.pack(">H", n & 0xFFFF)


def vector8(data):
    return u8(len(data)) + data


def vector16(data):
    return u16(len(data)) + data


def extension(kind, body=b""):
    return u16(kind) + vector16(body)


def server_name(name, kind=0):
    return extension(0, vector16(u8(kind) + vector16(name)))


def alpn(*names):
    return extension(16, vector16(b"".join(vector8(n) for n in names)))


def message(extensions=b"", session=b"s" * 32, ciphers=b"\x13\x01\xc0\x2f",
            compression=b"\0", version=0x0303, tail=b"", block=True):
    body = u16(version) + b"r" * 32 + vector8(session) + vector16(ciphers)
    body += vector8(compression)
    if block:
        body += vector16(extensions)
    body += tail
    return b"\x01" + struct.pack(">I", len(body))[1:] + body


def records(data, size=16384, kind=22, version=0x0301):
    out = b""
    for at in range(0, len(data), size):
        out += u8(kind) + u16(version) + vector16(data[at:at + size])
    return out


GREASE = 0x1A1A
NAME = server_name(b"a.test")
GROUPS = extension(10, vector16(b"\x1a\x1a\x11\xec\x00\x1d"))
SIGNATURES = extension(13, vector16(b"\x04\x03\x08\x04\x04\x01"))
VERSIONS = extension(43, vector8(b"\x3a\x3a\x03\x04\x03\x03"))
SHARE = extension(51, vector16(b"\x11\xec" + vector16(b"k" * 1216)))
ECH = extension(0xFE0D, b"\0" + b"e" * 185)
PSK = extension(41, b"p" * 40)
BROWSER = (extension(GREASE) + GROUPS + ECH + SHARE + alpn(b"h2", b"http/1.1")
           + VERSIONS + SIGNATURES + NAME + extension(0x2A2A, b"\0"))

BAD_NAMES = [b"", b".", b"a.test.", b"A.TeSt", b"*.test", b"192.0.2.1",
             b"127.1", b"::1", b"[::1]", b"a.test:443", b"a/b", b"a b",
             b"a\0b", b"a\n", b"a..b", b".a", b"x" * 64 + b".test",
             b"x." * 126 + b"x", b"x." * 127 + b"x", b"%s%n", b"' or 1=1",
             b"xn--mller-kva.test", b"m\xc3\xbcller.test", b"_a-b.test"]


def fuzz_hello():
    whole = message(BROWSER)
    small = message(NAME)
    yield records(small)
    yield records(whole)
    yield records(message(VERSIONS + NAME + PSK))
    yield records(message(extension(42) + NAME + PSK)) + records(
        b"early", kind=23)
    yield records(message(block=False), version=0x0300)
    yield records(message(session=b"", version=0x0301, ciphers=b"\0\x2f"))
    # Records: cut inside the header, one byte each, small, and with faults.
    for size in (1, 2, 3, 4, 5, 7, 100):
        yield records(small, size)
    yield records(whole, 512)
    cut = records(small[:20])
    yield cut + records(b"\x01", kind=20) + records(small[20:])
    yield cut + records(b"\x02\x28", kind=21) + records(small[20:])
    yield cut + records(b"x", kind=23) + records(small[20:])
    yield cut + b"\x16\x03\x01\x00\x00" + records(small[20:])
    yield cut + records(small[20:], version=0x0200)
    yield cut
    yield records(small + small)
    yield records(small) + records(small)
    yield records(small + b"\0")
    for kind in (20, 21, 23, 24):
        yield records(small, kind=kind)
    yield b"\x16\x03\x01\x40\x01\x01"
    yield b"\x16\x03\x01\xff\xff\x01"
    yield b"\x16\x03\x01\x40\x00\x01\xff\xff\xff"
    yield b"\x16\x03\x01\x00\x10\x02\x00\x00\x0c"
    yield b"\x16\x02\x00\x00\x10\x01\x00\x00\x0c"
    # Not TLS.
    yield b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
    yield b"SSH-2.0-OpenSSH_9.2\r\n"
    yield b"EHLO a.test\r\n"
    yield b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
    yield b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10"
    yield b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
    yield b"\0" * 16
    # Large.
    yield records(message(NAME + extension(21, b"\0" * 16000)))
    yield records(message(extension(21, b"\0" * 64000) + NAME))
    yield records(message(extension(21, b"\0" * 65300) + NAME))
    yield records(message(b"".join(
        extension(1000 + i) for i in range(800)) + NAME))
    # Fields.
    yield records(message(NAME, session=b"s" * 33))
    yield records(message(NAME, ciphers=b""))
    yield records(message(NAME, ciphers=b"\x13"))
    yield records(message(NAME, compression=b""))
    yield records(message(NAME, compression=b"\x01"))
    yield records(message(NAME, tail=b"\0"))
    yield records(message(NAME, version=0x0002))
    # Extensions.
    yield records(message(NAME + NAME))
    yield records(message(extension(23) + extension(23)))
    yield records(message(PSK + NAME))
    yield records(message(extension(0xFFCE, b"esni") + NAME))
    for name in BAD_NAMES:
        yield records(message(server_name(name)))
    for body in (b"", b"\0", b"\0\0", vector16(b"\0" + vector16(b"a") * 2),
                 vector16(b"\1" + vector16(b"a")), b"\0\4\0\xff\xffa",
                 b"\xff\xff\0\0\1a", vector16(b"\0\0\1a\0\0\1b")):
        yield records(message(extension(0, body)))
    for body in (b"", b"\0\0", b"\0\1\0", b"\0\3\2h2", b"\0\4\2h2",
                 b"\0\3\3h2", b"\0\5\2h2\1x"):
        yield records(message(extension(16, body) + NAME))
    for kind in (10, 13, 43):
        for body in (b"", b"\0", b"\0\0", b"\0\1\1", b"\2\3\4", b"\0\2\3\4"):
            yield records(message(extension(kind, body) + NAME))
    yield records(message(extension(42, b"\0") + NAME))
    yield records(message(b"\0\5\xff\xff"))


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
IP4 = b"\xc0\0\2\1\xc6\x33\x64\2" + u16(12345) + u16(443)
IP6 = b"\x20\1\x0d\xb8" + b"\0" * 11 + b"\1" + b"\0" * 15 + b"\1" + u16(
    1) + u16(2)


def tlv(kind, value=b""):
    return u8(kind) + vector16(value)


def v2(command, family, block):
    return SIGNATURE + u8(0x20 | command) + u8(family) + vector16(block)


def with_crc(family, block):
    head = v2(1, family, block + tlv(3, b"\0" * 4))
    return head[:-4] + struct.pack(">I", crc32c(head))


def fuzz_proxy():
    for line in (b"TCP4 192.0.2.1 198.51.100.2 12345 443",
                 b"TCP6 2001:db8::1 ::1 0 65535", b"UNKNOWN",
                 b"UNKNOWN a b c d", b"TCP6 ::ffff:1.2.3.4 ::1 1 2",
                 b"TCP4 256.0.0.1 1.1.1.1 1 2", b"TCP4 01.0.0.1 1.1.1.1 1 2",
                 b"TCP4 1.1.1.1 1.1.1.1 65536 2", b"TCP4 ::1 ::1 1 2",
                 b"TCP6 1.1.1.1 1.1.1.1 1 2", b"TCP4  1.1.1.1 1.1.1.1 1 2",
                 b"TCP6 fe80::1%1 ::1 1 2", b"UNKNOWN " + b"x" * 91,
                 b"UNKNOWN " + b"x" * 92):
        yield b"PROXY " + line + b"\r\n"
        yield b"PROXY " + line + b"\r\n" + records(message(NAME))
    yield b"PROXY TCP4 1.1.1.1 1.1.1.1 1 2\n"
    yield b"PROXY TCP4 1.1.1.1 1.1.1.1 1 2\r"
    tls = tlv(0x20, b"\1\0\0\0\1" + tlv(0x21, b"TLSv1.3"))
    for block in (b"", tlv(2, b"a.test"), tlv(1, b"h2"), tlv(4), tls,
                  tlv(5, b"u" * 128), tlv(5, b"u" * 129), tlv(0x30, b"ns"),
                  tlv(0xE0, b"custom"), b"\4", b"\4\0", b"\4\0\1",
                  tlv(0x20, b"\1\0\0\0"), tlv(3, b"\0" * 4)):
        yield v2(1, 0x11, IP4 + block)
        yield v2(1, 0x21, IP6 + block)
        yield with_crc(0x11, IP4 + block)
        yield with_crc(0x21, IP6 + block) + records(message(NAME))
    mapped = b"\0" * 10 + b"\xff\xff\1\2\3\4"
    yield v2(1, 0x21, mapped + mapped + u16(1) + u16(2))
    yield v2(1, 0x31, b"/" * 216)
    yield v2(1, 0x31, b"/" * 216 + tlv(4))
    for command in (0, 1, 2):
        for family in (0, 0x01, 0x10, 0x12, 0x13, 0x32, 0x41, 0xFF):
            yield v2(command, family, b"")
            yield v2(command, family, IP4)
    yield v2(0, 0, b"x" * 40)
    yield v2(1, 0x11, IP4 + tlv(0xE1, b"x" * 4065))
    yield v2(1, 0x11, IP4 + tlv(0xE1, b"x" * 4066))


def private(version=1, ends=2, proxy=2, zero=0, length=517, digest=b"h" * 32,
            endpoint=b"ep_1"):
    return tlv(0xF0, u8(version) + u8(ends) + u8(proxy) + u8(zero)
               + struct.pack(">I", length) + digest + endpoint)


def fuzz_data_record():
    # The first byte says which kind follows.
    start = b"\xc5LUNET\1"
    for mode in (0, 1, 2):
        yield (b"\0" + start + u8(mode) + b"s" * 16 + b"\0" * 7 + b"\1"
               + b"m" * 32)
    yield b"\0" + start + b"\0" + b"\xff" * 56 + b"\1\1"
    yield b"\0\xc5LUNET\2"
    for length in (31, 32, 100, 4096, 4097):
        yield b"\1\1\1" + u16(length) + b"s" * 16 + b"x" * length
    yield b"\2\2\1\0\x20" + b"x" * 32
    yield b"\2\2\1\0\x20" + b"x" * 40
    yield b"\2\2\1\0\x21"
    whole = private() + tlv(2, b"a.test") + tlv(1, b"h2") + tlv(5, b"id")
    edge = private(ends=0, length=0, digest=b"\0" * 32)
    for block in (whole, whole + tlv(0xE3, b"policy") + tlv(4), edge, b"",
                  private() * 2, whole + tlv(2, b"b.test"), tlv(2) + private(),
                  private(version=2), private(ends=3), private(proxy=3),
                  private(zero=1), private(length=0), private(length=65537),
                  private(ends=0), private(endpoint=b""),
                  private(endpoint=b"e" * 64), private(endpoint=b"e" * 65)):
        yield b"\3" + v2(1, 0x11, IP4 + block)
        yield b"\3" + v2(1, 0x21, IP6 + block)
    yield b"\3" + with_crc(0x11, IP4 + whole)
    yield b"\3" + v2(1, 0x11, IP4 + whole) + b"\0"
    for command, family in ((0, 0x11), (1, 0), (1, 0x12)):
        yield b"\3" + v2(command, family, IP4 + whole)
    yield b"\3PROXY TCP4 1.1.1.1 1.1.1.1 1 2\r\n"
    for status, reason in ((0, 0), (1, 1), (1, 9), (1, 10), (0, 1), (1, 0)):
        yield b"\4" + u8(status) + u8(reason) + b"\0" * 14
    yield b"\4" + b"\1\1" + b"\0" * 13 + b"\1"


def fuzz_host():
    yield from BAD_NAMES
    yield from (b"*.a.test", b"*", b"*.", b"tls://a.test", b"tls://*.a.test",
                b"tls://a.test:443", b"tls://a.test:8443", b"https://a.test",
                b"443", b"0", b"65535", b"65536", b"a.test:80",
                b"192.0.2.1:80", b"[2001:db8::1]:80", b"[::1]", b"[::1",
                b"2001:db8::1:80", b"tcp://a.test:80", b"tcp://80",
                b"tls://80", b"unix:/run/a.sock", b"unix:a", b"unix:",
                b"unix:/" + b"x" * 106, b"unix:/" + b"x" * 107,
                b"uNix:8", b"fe80::1%lo", b"[fe80::1%1]:80", b"0x7f.1", b"a.0x1f",
                b"unrecognized_name", b"close_notify")


ONE = b"endpoints: [{url: tls://a.test, upstream: '192.0.2.1:1'}]\n"
AGENT = b"version: 1\nagent: {edges: [e.test], local_ca: auto%s}\n" \
    b"endpoints: [{name: a, upstream: 1%s}, {name: b, url: b.test, " \
    b"upstream: {url: 2, proxy_protocol: 2}}]\n"


def fuzz_yaml():
    """The examples, then faults of the text, then of the values."""
    folder = os.path.join(os.path.dirname(__file__), "..", "..", "examples")
    for name in sorted(os.listdir(folder)):
        if name.endswith(".yaml"):
            with open(os.path.join(folder, name), "rb") as file:
                yield file.read()
    yield from (b"", b"a", b"- a", b"{", b"[", b"? [a]\n: b\n", b"a: &b c",
                b"a: *b", b"a: !!int 1", b"a: 1\na: 2\n", b"a: 1\n---\nb: 2",
                b"\xef\xbb\xbfa: 1", b"\xff\xfea\0", b"a:\n\tb: 1", b"a: \0",
                b"a: \"\\0\"", b"a: |\n  b\n", b"a: >-\n  b\n", b"a: \r b",
                b"%YAML 1.2\n---\na: 1\n...\n", b"a: \xc2\x85b: \xe2\x80\xa8",
                b"[" * 70, b"{a: " * 70, b"<<: {a: b}", b"'': 1")
    for agent in (b", authtoken: 0123456789abcdef", b", connections: 10",
                  b", connect_cas: 'sha256:" + b"0a" * 32 + b"'",
                  b", proxy_url: 'http://u:p%%41@p.test:1'",
                  b", web_addr: false, metadata: m, data_encryption: always",
                  b", connect_timeout: 1s, heartbeat_interval: 1s, "
                  b"heartbeat_tolerance: 1s", b", authtoken_file: /dev/null",
                  b", workers: 2, log: {target: stdout}", b", listen: [':1']"):
        yield AGENT % (agent, b"")
    for key in (b", terminate_at: agent", b", terminate_at: edge, alpn: [h2]",
                b", url: 'tls://'", b", url: '*.a.test'",
                b", agent_tls_termination: {server_certificate: x, "
                b"server_private_key: y, mutual_tls_certificate_authorities: "
                b"[z]}", b", pooling_enabled: true", b", certificate: x",
                b", mutual_tls: {cas: x}, terminate_at: edge"):
        yield AGENT % (b"", key)
    yield AGENT % (b"", b"") + b"edge: {}\n"
    for agents in (b"", b", data_encryption: always", b", certificate: x",
                   b", data_connections: never",
                   b", limits: {sessions: 1, endpoints_per_session: 2}",
                   b", heartbeat_interval: 1s, heartbeat_tolerance: 2s"):
        yield b"version: 1\nedge: {local_ca: auto, base_domain: t.test, " \
            b"listen: [{address: ':1', serves: both}], agents: " \
            b"{server_names: [c.test], authtokens_file: /dev/null" + \
            agents + b"}}\n" + ONE
    for listen in (b"':443'", b"'[::1]:0'", b"'::1:1'", b"'0.0.0.0:443'",
                   b"{address: ':1', proxy_protocol: {accept: [1, 2], from: "
                   b"[10.0.0.0/8], required: false}}"):
        yield b"version: 1\nedge: {listen: [" + listen + b"]}\n" + ONE
    for key in (b"workers: auto", b"default_endpoint: a.test", b"user: x",
                b"policy: {file: /dev/null, path: [/], cpu: 1ms, wall: 1m, "
                b"memory: 2MiB, run_memory: 1MiB, jit: on}",
                b"resolver: {servers: ['127.0.0.1:53', '::1']}",
                b"limits: {connections: 1, connections_per_client: 2}",
                b"timeouts: {proxy: 1s, hello: 1s, connect: 1s, idle: 1s}",
                b"log: {target: stdout, format: term, level: warn}",
                b"state: /x, local_ca: auto, "
                b"session_tickets: {keys: /dev/null, life: 1h}",
                b"limits: {handshakes_per_second: 1}, "
                b"timeouts: {handshake: 1s}",
                b"mutual_tls: x", b"hidenames: true"):
        yield b"version: 1\nedge: {" + key + b"}\n" + ONE
    for key in (b"upstream: [{address: '1', weight: 256}, 'unix:/a']",
                b"upstream: 443", b"upstream: tls://b.test",
                b"ip_restriction: {allow: ['::/0'], deny: [192.0.2.1]}",
                b"ip_restriction: {deny: [192.0.2.1]}",
                b"proxy_proto: 2, proxy_tlvs: [alpn, crc32c]",
                b"balance: hash, health: {every: 1s, fall: 1, rise: 9}",
                b"terminate_at: edge, certificate: a, min_version: 1.3, "
                b"max_version: 1.2, alpn: [h2, http/1.1], "
                b"mutual_tls: {cas: [x], mode: request, crls: y}",
                b"terminate_at: edge, upstream: 'tls://a:1', upstream_tls: "
                b"{verify: true, cas: x, server_name: '::1', certificate: a}",
                b"handshakes_per_second: 1, timeouts: {handshake: 1s}",
                b"policy: /dev/null", b"timeouts: {connect: 1s, idle: 1d}",
                b"bytes_per_second: 1MB, metadata: '', labels: {a: b}"):
        yield (b"version: 1\nendpoints:\n- {url: 'tls://*.a.test', " + key +
               b"}\n- {url: tls://a.test, upstream: 192.0.2.1:443}\n")
    for entry in (b"{name: a, crt: x.pem, key: x.key, ocsp: fetch}",
                  b"{crt: /dev/null}", b"{folder: x, ocsp: off}",
                  b"{folder: x, crt: y}, {crt: x}, {crt: x}", b"x"):
        yield b"version: 1\ncertificates: [" + entry + b"]\n" + ONE
    yield (b"version: 1\n" + ONE + b"events: [{stdout: true}, {file: x, types:"
           b" [tcp_connection_closed.v0]}]\n")


def certificate(subject, extensions, key):
    """A certificate in DER that signs itself; nothing without openssl(1)."""
    command = ["openssl", "req", "-x509", "-nodes", "-outform", "DER",
               "-keyout", "/dev/null", "-subj", subject, "-utf8",
               "-multivalue-rdn", "-newkey"] + key
    for extension in extensions:
        command += ["-addext", extension]
    made = subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=False)
    return made.stdout


def fuzz_peer():
    """Certificates of each kind of key and name, whole and cut."""
    curve = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    names = ("subjectAltName=DNS:a.test,DNS:*.b.test,IP:192.0.2.1,IP:::1,"
             "email:me@a.test,URI:spiffe://a/b,otherName:1.2.3;UTF8:x")
    for made in (
            certificate("/CN=a.test", [], curve),
            certificate("/C=DE/O=M\u00fcller/OU=a/OU=b+L=c/ST=d/CN=x/CN=y"
                        "/postalCode=1/street=s", [], curve),
            certificate("/CN=a", [names], curve),
            certificate("/", ["subjectAltName=DNS:a"], ["ed25519"]),
            certificate("/CN=r", [], ["rsa:1024"])):
        if made:
            yield made
            yield made[:len(made) // 2]
    yield b"\x30\x80\0\0"


def pem_pair(key, names="subjectAltName=DNS:a.test,DNS:*.b.test"):
    """A certificate and its key in PEM; nothing without openssl(1)."""
    made = subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-subj", "/CN=a.test",
         "-addext", names, "-keyout", "/dev/stdout", "-newkey"] + key,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
    at = made.find(b"-----BEGIN CERT")
    return made[at:], made[:at]


def traditional(key):
    return subprocess.run(
        ["openssl", "pkey", "-traditional"], input=key,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout


def fuzz_pem():
    """Pairs of each kind in one text and in two, in both forms of keys."""
    for kind in (["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
                 ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
                 ["ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
                 ["ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt",
                  "ec_param_enc:explicit"],
                 ["ed25519"], ["rsa:2048"], ["rsa:1024"]):
        crt, key = pem_pair(kind)
        older = traditional(key)
        yield crt + key
        yield older + crt
        yield crt + b"\0" + key
        yield crt.replace(b"\n", b"\r\n") + b"\0" + older
        yield key + b"\0" + crt
        yield crt + crt + key
    begin = b"-----BEGIN "
    yield begin + b"EC PARAMETERS-----\nBggqhkjOPQMBBw==\n" + (
        b"-----END EC PARAMETERS-----\n")
    yield begin + b"X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"
    yield begin + b"CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
    yield begin + b"CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\n\nMAA=\n"
    yield b"\x30\x82\x01\x00"


RST, DATA, WNDINC, GOAWAY = range(4)
FIN, SYN = 1, 2


def frame(kind, stream, payload=b"", flags=0, length=None):
    if length is None:
        length = len(payload)
    return (struct.pack(">I", length << 8 | kind << 4 | flags)
            + struct.pack(">I", stream) + payload)


def fuzz_frame():
    typed = b"\0\0\0\1"
    beat = b"\xff\xff\xff\xff"
    opened = frame(DATA, 3, typed + b"{}", SYN)
    yield opened + frame(DATA, 3, b"", FIN)
    yield opened + frame(RST, 3, typed)
    yield opened + frame(WNDINC, 3, b"\0\1\0\0") + frame(DATA, 3, b"x" * 500)
    yield opened + frame(WNDINC, 3, b"\x7f\xff\xff\xff")
    yield opened + frame(DATA, 3, b"", FIN) + frame(DATA, 3, b"x")
    yield frame(DATA, 5, beat + b"abcd", SYN) + frame(DATA, 3, typed, SYN)
    yield frame(GOAWAY, 0, b"\0\0\0\2\0\0\0\1bye") + opened
    yield opened + frame(GOAWAY, 0, b"\0" * 8)
    yield b"".join(frame(DATA, 3 + 2 * i, typed + b"x" * 100, SYN)
                   for i in range(40))
    yield b"".join(frame(DATA, 3 + 2 * i, typed, SYN)
                   + frame(RST, 3 + 2 * i, typed) for i in range(100))
    yield opened + frame(DATA, 3, b"", 0, 0xFFFFFF)
    yield frame(DATA, 2, typed, SYN)
    yield frame(DATA, 0x80000003, typed, SYN)
    yield frame(RST, 3, typed) + frame(WNDINC, 3, typed)
    yield frame(WNDINC, 2, b"\0\0\0\1") + frame(DATA, 2, b"x")
    yield frame(GOAWAY, 0, b"\0" * 8 + b"x" * 4096)
    yield frame(GOAWAY, 0, b"\0" * 8 + b"x" * 4097)
    for kind in (RST, WNDINC, GOAWAY):
        for length in (0, 3, 5, 7):
            yield frame(kind, 0 if kind == GOAWAY else 3, b"x" * length)
    for kind in range(4, 16):
        yield frame(kind, 3, b"x")


# As message_kinds[] of tests/unit/message_kinds.h, from "a" on.
MESSAGES = {
    b"a": (b'{"Version":["3","2"],"ClientId":"c","Extra":{"OS":"linux",'
           b'"AuthToken":"t","Cookie":"k","Metadata":"m","LegNumber":1,'
           b'"HeartbeatInterval":10000000000,"StopUnsupportedError":"",'
           b'"UpdateUnsupportedError":null,"MutualTLS":false}}',
           b'{"Extra":{"Authtoken":"t","TokenId":"AAECAwQFBgc=",'
           b'"Proof":"AAECAwQFBgcICQoLDA0ODw=="}}'),
    b"b": (b'{"Version":"3","ClientId":"c","Error":"no\\n\\nERR_NGROK_107",'
           b'"Extra":{"Cookie":"k","SessionDuration":60,"AgentSessionID":'
           b'"ts_1","SessionId":"AAECAwQFBgcICQoLDA0ODw=="}}',),
    b"c": (b'{"Region":"eu"}',),
    b"d": (b'{"Id":"i","Proto":"tls","ForwardsTo":"a:1","Opts":{"Domain":'
           b'"a.test","ProxyProto":2,"MutualTLSAtEdge":{"mutual_tls_ca":'
           b'"Q0E="},"TLSTermination":{"cert":"Q1JU","key":"S0VZ"},'
           b'"IPRestriction":{"allow_cidrs":["::/0"],"deny_cidrs":[]},'
           b'"TrafficPolicy":null},"Extra":{"Token":"t","Bindings":["public"],'
           b'"PoolingEnabled":true}}',
           b'{"Opts":{"TLSTermination":{},"TrafficPolicy":"x"},'
           b'"Extra":{"AllowsPooling":true}}'),
    b"e": (b'{"Id":"i","URL":"tls://a","Opts":{"TLSTermination":{"cert":""},'
           b'"TerminateAt":"edge"},"Error":"","Extra":{"Token":"t"}}',),
    b"f": (b'{"Id":"i","Extra":null}',),
    b"g": (b'{"Labels":{"b":"2","a":"1","c":""},"Metadata":"m"}',),
    b"h": (b'{"Id":"i","Error":""}',),
    b"i": (b'{"Error":"no"}',),
    b"j": (b'{"Version":"2","PermitMajorVersion":true}',),
    b"k": (b'{"Id":"i","Message":"m","ErrorCode":"e"}',),
    b"l": (b'{"First":9007199254740991,"Count":1,"Mode":1}',),
    b"m": (b'{"Counter":1,"Reason":"agent_lost"}',),
    b"n": (b'{"Drain":30000000000}',),
}


def fuzz_message():
    """Each kind, whole and with what is no JSON; and headers of streams."""
    for kind, samples in MESSAGES.items():
        for sample in samples:
            yield kind + sample
            yield kind + sample[:len(sample) // 2]
        for sample in (b"{}", b"[]", b"", b"null", b'{"Extra":{"Extra":{}}}',
                       b'{"Id":1,"Id":2}', b'{"Id":"\\u0000"}',
                       b'{"Id":"\\ud83d\\ude00\xff"}', b"[" * 20,
                       b'{"x":' + b"[" * 15 + b"]" * 15 + b"}", b'{"x":1e400}'):
            yield kind + sample
    header = (b'{"Id":"i","ClientAddr":"192.0.2.7:1","Proto":"tls","EdgeType":'
              b'"0","PassthroughTLS":true,"Open":"DQoNCgA="}')
    for cut in (b"\0", b"\x20", b"\xff"):
        yield cut + struct.pack("<Q", len(header)) + header + b"client"
        yield cut + struct.pack(">Q", len(header)) + header
        yield cut + struct.pack("<Q", 16385) + header
    yield b"\0ERR_NGROK_334"


TARGETS = [fuzz_hello, fuzz_proxy, fuzz_host, fuzz_yaml, fuzz_peer, fuzz_pem,
           fuzz_data_record, fuzz_frame, fuzz_message]


def main():
    for target in TARGETS:
        folder = os.path.join(sys.argv[1], target.__name__)
        os.makedirs(folder, exist_ok=True)
        for number, seed in enumerate(target()):
            path = os.path.join(folder, "%03d" % number)
            with open(path, "wb") as file:
                file.write(seed)


if __name__ == "__main__":
    main()
