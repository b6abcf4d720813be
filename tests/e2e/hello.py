"""ClientHellos: built to order, cut into records, or recorded from clients."""

import os
import socket
import ssl
import struct
import subprocess
import threading

SERVER_NAME, GROUPS, ALPN, SIGNATURES = 0, 10, 16, 13
VERSIONS, KEY_SHARE, PSK_MODES, EARLY_DATA = 43, 51, 45, 42
ECH = 0xFE0D
GREASE = 0x3A3A
X25519, MLKEM = 29, 0x11EC


def u8(n):
    return struct.pack("!B", n)


def u16(n):
    return struct.pack("!H", n)


def u24(n):
    return struct.pack("!I", n)[1:]


def vector8(body):
    return u8(len(body)) + body


def vector16(body):
    return u16(len(body)) + body


def extension(kind, body=b""):
    return u16(kind) + vector16(body)


def server_name(name):
    if isinstance(name, str):
        name = name.encode()
    return extension(SERVER_NAME, vector16(u8(0) + vector16(name)))


def alpn(*names):
    return extension(ALPN, vector16(b"".join(vector8(n) for n in names)))


def versions(*numbers):
    return extension(VERSIONS, vector8(b"".join(u16(n) for n in numbers)))


def ech_outer(size=180):
    """What Chromium sends to everybody: type outer, HKDF and AES, an id."""
    body = u8(0) + u16(1) + u16(1) + u8(7) + vector16(os.urandom(32)) + \
        vector16(os.urandom(size - 42))
    return extension(ECH, body)


def ech_inner():
    return extension(ECH, u8(1))


def extensions(name="a.test", *, tls13=True, tls12=True, last=False,
               grease=False, ech=None, post_quantum=False, unknown=0,
               protocols=(), early_data=False, extra=()):
    """The list of extensions as separate byte strings."""
    named = [] if name is None else [server_name(name)]
    groups = [X25519, 23]
    shares = u16(X25519) + vector16(os.urandom(32))
    if post_quantum:
        groups.insert(0, MLKEM)
        shares = u16(MLKEM) + vector16(os.urandom(1216)) + shares
    offered = ([0x0304] if tls13 else []) + ([0x0303] if tls12 else [])
    if grease:
        groups.insert(0, GREASE)
        offered.insert(0, GREASE)
        shares = u16(GREASE) + vector16(b"\0") + shares
    rest = [
        extension(GROUPS, vector16(b"".join(u16(g) for g in groups))),
        extension(SIGNATURES, vector16(u16(0x0403) + u16(0x0804))),
        extension(11, vector8(b"\0")),
        extension(23),
    ]
    if tls13:
        rest += [versions(*offered), extension(KEY_SHARE, vector16(shares)),
                 extension(PSK_MODES, vector8(b"\1"))]
    if early_data:
        rest.append(extension(EARLY_DATA))
    if protocols:
        rest.append(alpn(*protocols))
    if ech is not None:
        rest.append(ech)
    if grease:
        rest.insert(0, extension(0x0A0A))
        rest.append(extension(0x1A1A, b"\0"))
    rest += [extension(0x4000 + i, b"u") for i in range(unknown)]
    rest += list(extra)
    return rest + named if last else named + rest


def message(parts=None, *, legacy=0x0303, session=b"\x5a" * 32,
            ciphers=(0x1301, 0x1302, 0xC02B, 0xC02F), compression=b"\0",
            block=None, tail=b"", kind=1, length=None, **options):
    """The handshake message, header included."""
    if parts is None:
        parts = extensions(**options)
    if block is None:
        block = vector16(b"".join(parts))
    suites = b"".join(u16(c) for c in ciphers)
    if options.get("grease"):
        suites = u16(GREASE) + suites
    body = u16(legacy) + os.urandom(32) + vector8(session) + \
        vector16(suites) + vector8(compression) + block + tail
    return u8(kind) + u24(len(body) if length is None else length) + body


def record(body, *, kind=22, version=0x0301, length=None):
    return u8(kind) + u16(version) + \
        u16(len(body) if length is None else length) + body


def records(handshake, cuts=None):
    """The wire bytes, in records that end at the cuts (else as full as can
    be)."""
    if cuts is None:
        cuts = range(16384, len(handshake), 16384)
    ends = [*cuts, len(handshake)]
    wire, start = b"", 0
    for end in ends:
        wire += record(handshake[start:end])
        start = end
    return wire


def hello(name="a.test", **options):
    """The wire bytes of an ordinary hello."""
    return records(message(name=name, **options))


def padded(size, name="a.test"):
    """A hello of exactly so many wire bytes, by RFC 7685 padding."""
    def wire(padding):
        return hello(name, last=True, extra=[extension(21, bytes(padding))])
    padding = size - len(wire(0))
    while len(wire(padding)) > size:
        padding -= len(wire(padding)) - size
    result = wire(padding)
    assert len(result) == size
    return result


def python_hello(name="a.test", *, protocols=None, maximum=None):
    """What Python's ssl (OpenSSL) sends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    if maximum:
        context.maximum_version = maximum
    outgoing = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), outgoing,
                               server_hostname=name)
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def record_client(argv_of, timeout=10):
    """Runs a real client against a mute port; returns its first flight.
    argv_of(port) gives the command."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(timeout)
    got = []

    def take():
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(timeout)
            data = peer.recv(65536)
            while len(data) < 5 or \
                    len(data) < 5 + struct.unpack("!H", data[3:5])[0]:
                more = peer.recv(65536)
                if not more:
                    break
                data += more
            got.append(data)

    thread = threading.Thread(target=take)
    thread.start()
    client = subprocess.Popen(
        argv_of(listener.getsockname()[1]), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    thread.join(timeout)
    client.kill()
    client.wait()
    listener.close()
    assert got, f"{argv_of(0)[0]} sent no hello"
    return got[0]


def real_hellos(name="a.test"):
    """First flights of the clients that are installed here."""
    return {
        "openssl": record_client(lambda p: [
            "openssl", "s_client", "-connect", f"127.0.0.1:{p}",
            "-servername", name]),
        "openssl-1.2": record_client(lambda p: [
            "openssl", "s_client", "-connect", f"127.0.0.1:{p}",
            "-servername", name, "-tls1_2"]),
        "curl": record_client(lambda p: [
            "curl", "-sk", "--resolve", f"{name}:{p}:127.0.0.1",
            f"https://{name}:{p}/"]),
        "gnutls": record_client(lambda p: [
            "gnutls-cli", "--insecure", "-p", str(p),
            f"--sni-hostname={name}", "127.0.0.1"]),
        "python": python_hello(name),
        "python-h2": python_hello(name, protocols=["h2", "http/1.1"]),
        "python-1.2": python_hello(
            name, maximum=ssl.TLSVersion.TLSv1_2),
    }


def alert(number):
    """The record that answers a hello that is refused."""
    return bytes([0x15, 3, 1, 0, 2, 2, number])
