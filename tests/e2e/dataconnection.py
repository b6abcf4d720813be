"""Direct data connections, written independently of Lunette: keys, preface,
OPEN and ANSWER, of both ends, right and wrong."""

import hashlib
import hmac
import os
import struct

import proxyheader
from proxyheader import tlv

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError:  # the tests that need it skip themselves
    AESGCM = None

    class InvalidTag(Exception):
        pass

MAGIC = bytes.fromhex("C54C554E4554")
ALPN = "lunette-data/1"
CIPHERS = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
RAW, SEALED = 0, 1  # modes
EDGE, AGENT, UPSTREAM = range(3)  # where TLS ends, in TLV 0xF0
ROUTING = 0xF0
REASONS = ["", "unknown endpoint", "termination differs",
           "not the announced hello", "denied", "upstream refused",
           "upstream timeout", "upstream name", "limit", "drain"]


def mac_of(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def expand(key, info, length):
    """HKDF-Expand with SHA-256, RFC 5869."""
    out, block, count = b"", b"", 0
    while len(out) < length:
        count += 1
        block = mac_of(key, block + info + bytes([count]))
        out += block
    return out[:length]


def prove(token, binding):
    """The token as Lunette's agent sends it: it shows only to who has its
    hash, and only in this session (binding: the exporter's)."""
    key = mac_of(hashlib.sha256(token).digest(),
                 b"lunette1 token\0" + binding)
    pad = expand(key, b"", len(token))
    return bytes(a ^ b for a, b in zip(token, pad))


def token_id(token):
    return hashlib.sha256(b"lunette id" + token).digest()[:8]


class Keys:
    """Those of a session, from its exporter."""

    def __init__(self, root, session):
        self.root, self.session = root, session

    @classmethod
    def of(cls, peer, session):
        """`peer` is a tunnelpeer.Peer."""
        return cls(peer.export("EXPORTER-lunette-data", session), session)

    def preface(self, counter, mode=RAW, *, version=1, session=None,
                magic=MAGIC, mac=None):
        head = magic + bytes([version, mode]) + \
            (self.session if session is None else session) + \
            struct.pack(">Q", counter)
        if mac is None:
            mac = mac_of(expand(self.root, b"lunette1 preface\0", 32), head)
        return head + mac

    def psk(self, preface):
        return expand(self.root, b"lunette1 psk\0" + preface[:32], 32)

    def sealer(self, label, preface, salt):
        key = expand(self.root, label + b"\0" + preface[:32] + salt, 44)
        return AESGCM(key[:32]), key[32:]

    # Edge to agent.

    def open(self, preface, header, *, salt=None, version=1, kind=1,
             length=None):
        """A whole OPEN around this PROXY header."""
        salt = salt or os.urandom(16)
        size = len(header) + 16 if length is None else length
        head = struct.pack(">BBH", kind, version, size) + salt
        gcm, nonce = self.sealer(b"lunette1 open", preface, salt)
        return head + gcm.encrypt(nonce, header, preface + head)

    def read_open(self, preface, wire):
        """The PROXY header in it, and its salt; ValueError if it is bad."""
        kind, version, size = struct.unpack(">BBH", wire[:4])
        if kind != 1 or version != 1 or len(wire) != 20 + size:
            raise ValueError(f"no OPEN: {wire[:20].hex()}")
        gcm, nonce = self.sealer(b"lunette1 open", preface, wire[4:20])
        try:
            return gcm.decrypt(nonce, wire[20:], preface + wire[:20]), \
                wire[4:20]
        except InvalidTag:
            raise ValueError("an OPEN that is not for this") from None

    # Agent to edge.

    def answer(self, preface, salt, reason=0, *, status=None, rest=None,
               version=1, kind=2):
        head = struct.pack(">BBH", kind, version, 32)
        text = bytes([1 if reason else 0, reason]) + bytes(14)
        if status is not None:
            text = bytes([status]) + text[1:]
        if rest is not None:
            text = text[:2] + rest
        gcm, nonce = self.sealer(b"lunette1 answer", preface, salt)
        return head + gcm.encrypt(nonce, text, preface + head)

    def read_answer(self, preface, salt, wire):
        """(status, reason) of it."""
        if wire[:4] != b"\2\1\0\x20" or len(wire) != 36:
            raise ValueError(f"no ANSWER: {wire.hex()}")
        gcm, nonce = self.sealer(b"lunette1 answer", preface, salt)
        try:
            text = gcm.decrypt(nonce, wire[4:], preface + wire[:4])
        except InvalidTag:
            raise ValueError("an ANSWER that is not for this") from None
        if text[2:] != bytes(14):
            raise ValueError(f"ANSWER says {text.hex()}")
        return text[0], text[1]


# The PROXY header inside of OPEN.

def routing(endpoint, termination=UPSTREAM, hello=b"", *, proxy=0, version=1,
            zero=0, length=None, digest=None):
    """The value of TLV 0xF0."""
    if digest is None:
        digest = hashlib.sha256(hello).digest() if hello else bytes(32)
    size = len(hello) if length is None else length
    return bytes([version, termination, proxy, zero]) + \
        struct.pack(">I", size) + digest + endpoint.encode()


def header(endpoint, termination=UPSTREAM, hello=b"", *,
           source="192.0.2.7", port=4711, target="192.0.2.9",
           target_port=443, name="a.test", tlvs=b"", route=None, **options):
    """A whole header as an edge would send it."""
    if route is None:
        route = routing(endpoint, termination, hello, **options)
    return proxyheader.v2(
        source, port, target, target_port,
        tlvs=tlv(proxyheader.AUTHORITY, name.encode()) + tlvs +
        tlv(ROUTING, route))


class Routing:
    """TLV 0xF0, read."""

    def __init__(self, value):
        assert len(value) > 40, value
        self.version, self.termination, self.proxy, zero = value[:4]
        assert zero == 0 and self.version == 1, value
        self.length = struct.unpack(">I", value[4:8])[0]
        self.digest = value[8:40]
        self.endpoint = value[40:].decode()


class Opened:
    """What an OPEN said, to an agent of the test's own."""

    def __init__(self, wire, salt):
        self.header, self.salt = proxyheader.Header(wire), salt
        assert self.header.rest == b"" and self.header.command == 1
        self.source = (self.header.source, self.header.port)
        self.routing = Routing(self.header.tlvs[ROUTING])
        self.name = self.header.tlvs.get(proxyheader.AUTHORITY)
        self.unique_id = self.header.tlvs.get(proxyheader.UNIQUE_ID)


def read_exactly(sock, count):
    data = b""
    while len(data) < count:
        block = sock.recv(count - len(data))
        if not block:
            raise EOFError(f"end after {len(data)} of {count} bytes")
        data += block
    return data


def read_record(sock):
    """One OPEN or ANSWER from the wire, whole."""
    head = read_exactly(sock, 4)
    size = struct.unpack(">H", head[2:])[0]
    return head + read_exactly(sock, size + (16 if head[0] == 1 else 0))
