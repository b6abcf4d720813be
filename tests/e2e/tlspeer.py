"""TLS by Python's ssl over memory, so that a test holds every byte itself:
it sees how an end came, cuts and glues records, and half-closes."""

import socket
import ssl
import threading

from client import Client

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = {"1.2": TLS12, "1.3": TLS13}

ALERTS = {
    "UNEXPECTED_MESSAGE": 10, "BAD_RECORD_MAC": 20, "RECORD_OVERFLOW": 22,
    "HANDSHAKE_FAILURE": 40, "BAD_CERTIFICATE": 42,
    "UNSUPPORTED_CERTIFICATE": 43, "CERTIFICATE_REVOKED": 44,
    "CERTIFICATE_EXPIRED": 45, "CERTIFICATE_UNKNOWN": 46,
    "ILLEGAL_PARAMETER": 47, "UNKNOWN_CA": 48, "ACCESS_DENIED": 49,
    "DECODE_ERROR": 50, "DECRYPT_ERROR": 51, "PROTOCOL_VERSION": 70,
    "INSUFFICIENT_SECURITY": 71, "INTERNAL_ERROR": 80,
    "NO_RENEGOTIATION": 100, "UNRECOGNIZED_NAME": 112,
    "CERTIFICATE_REQUIRED": 116, "NO_APPLICATION_PROTOCOL": 120,
}


def told_alert(event):
    """The number of the alert that an event tells of, or None."""
    name = event["close"].get("alert")
    return None if name is None else ALERTS[name.upper()]


class Refused(Exception):
    """The peer gave up: with this alert, or (None) with none."""

    def __init__(self, alert, text):
        super().__init__(f"{alert}: {text}")
        self.alert = alert


def alert_in(error):
    """The number of the alert that an error of OpenSSL stands for, if the
    peer sent one. (Python has no symbol for some of the texts.)"""
    text = str(error).lower().replace(" ", "_")
    if "alert" in text or "tlsv1_unrecognized_name" in text:
        for name, number in ALERTS.items():
            if name.lower() in text:
                return number
    return None


def standard_name(cipher):
    """ECDHE-RSA-AES128-GCM-SHA256 as RFC 5289 names it."""
    if cipher.startswith("TLS_"):
        return cipher
    kind, key, rest = cipher.split("-", 2)
    rest = rest.replace("-", "_").replace("AES", "AES_").replace(
        "POLY1305", "POLY1305_SHA256")
    return f"TLS_{kind}_{key}_WITH_{rest}"


def client_context(ca=None, *, version=None, alpn=None, cert=None,
                   ciphers=None, curve=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca:
        context.load_verify_locations(ca)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if version:
        context.minimum_version = context.maximum_version = VERSIONS[version]
    if alpn:
        context.set_alpn_protocols(alpn)
    if ciphers:
        context.set_ciphers(ciphers)
    if curve:
        context.set_ecdh_curve(curve)
    if cert:
        context.load_cert_chain(*cert)
    return context


def server_context(pair, *, ca=None, auth=ssl.CERT_REQUIRED, version=None,
                   alpn=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    if ca:
        context.load_verify_locations(ca)
        context.verify_mode = auth
    if version:
        context.minimum_version = context.maximum_version = VERSIONS[version]
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


class Tls:
    """One end of TLS on a connected socket, with the methods of a socket
    that our scripts and streams use. One thread may read while another
    writes."""

    def __init__(self, sock, context, *, name=None, server=False,
                 session=None):
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server,
            server_hostname=None if server else name, session=session)
        self.lock, self.sending = threading.Lock(), threading.Lock()
        self.end = None  # "notify", "fin" (without close_notify), "reset"
        self.received = 0
        self.ready = b""  # decrypted by the way

    def __getattr__(self, name):
        return getattr(self.sock, name)

    # Below TLS.

    def flush(self):
        """Sends what OpenSSL has ready. A thread that is sending will take it
        along: to wait for that one would stop our reading."""
        if not self.outgoing.pending or not self.sending.acquire(False):
            return
        try:
            with self.lock:
                wire = self.outgoing.read()
            self.sock.sendall(wire)
        finally:
            self.sending.release()

    def feed(self):
        """Reads from the socket once; false at its end."""
        try:
            wire = self.sock.recv(262144)
        except ConnectionResetError:
            self.end = self.end or "reset"
            raise
        if not wire:
            self.end = self.end or "fin"
            return False
        self.received += len(wire)
        with self.lock:
            self.incoming.write(wire)
        return True

    def step(self, action):
        """Does it until it needs no more from the peer. None: the socket
        ended."""
        while True:
            try:
                with self.lock:
                    result = action()
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                if not self.feed():
                    return None
            except ssl.SSLError as error:
                try:
                    self.flush()  # our own alert
                except OSError:
                    pass
                alert = alert_in(error)
                if alert is None:
                    raise
                self.end = "alert"
                raise Refused(alert, error) from None

    # TLS.

    def handshake(self):
        try:
            done = self.step(lambda: self.tls.do_handshake() or True)
        except ConnectionResetError as error:
            raise Refused(None, error) from None
        if not done:
            raise Refused(None, "end of file in the handshake")
        return self

    def recv(self, size):
        if self.end in ("notify", "fin") and not self.ready:
            return b""

        def read():
            if self.ready:
                data, self.ready = self.ready[:size], self.ready[size:]
                return data
            try:
                return self.tls.read(size)
            except ssl.SSLZeroReturnError:
                return b""
        data = self.step(read)
        if data == b"":
            self.end = "notify"
        return data or b""

    def sendall(self, data):
        view = memoryview(data)
        while view:
            with self.sending:
                with self.lock:
                    sent = self.tls.write(view[:65536])
                    wire = self.outgoing.read()
                self.sock.sendall(wire)
            view = view[sent:]

    def seal(self, data):
        """The wire bytes of this text, not sent."""
        with self.lock:
            self.tls.write(data)
            return self.outgoing.read()

    def seal_close_notify(self):
        """Its wire bytes. unwrap also looks for the peer's, and must find
        nothing: data before it would be an error."""
        with self.lock:
            while self.tls.pending():
                self.ready += self.tls.read(65536)
            held = self.incoming.read()
            try:
                self.tls.unwrap()
            except (ssl.SSLError, ValueError):
                pass
            self.incoming.write(held)
            return self.outgoing.read()

    def close_notify(self):
        with self.sending:
            wire = self.seal_close_notify()
            if wire:
                self.sock.sendall(wire)

    def shutdown(self, how):
        """A half-close as TLS wants it: close_notify, then FIN."""
        if how != socket.SHUT_RD:
            try:
                self.close_notify()
            except OSError:
                pass
        self.sock.shutdown(how)

    def cut(self):
        """FIN without close_notify."""
        self.sock.shutdown(socket.SHUT_WR)

    def read(self, count):
        data = b""
        while len(data) < count:
            block = self.recv(count - len(data))
            assert block, f"{self.end} after {data!r}, {count} expected"
            data += block
        return data

    def read_all(self):
        """All that comes, and how it ended: "notify" (and then FIN), "fin"
        without close_notify, or "reset"."""
        data = bytearray()
        try:
            while block := self.recv(262144):
                data += block
            if self.end == "notify":
                assert self.sock.recv(1) == b"", "bytes after close_notify"
        except ConnectionResetError:
            self.end = "reset"
        return bytes(data), self.end

    @property
    def session(self):
        return self.tls.session

    @property
    def resumed(self):
        return self.tls.session_reused

    def certificate(self):
        """The peer's, as DER."""
        return self.tls.getpeercert(True)

    def facts(self):
        return {"version": self.tls.version()[4:],
                "cipher_suite": standard_name(self.tls.cipher()[0]),
                "negotiated_alpn": self.tls.selected_alpn_protocol(),
                "session_resumed": self.tls.session_reused}


def connect(port, context, name="a.test", *, session=None, **options):
    """A TLS connection; Refused if the handshake fails on our side."""
    plain = Client(port, **options)
    try:
        tls = Tls(plain.sock, context, name=name, session=session)
        tls.port = plain.port
        return tls.handshake()
    except BaseException:
        plain.close()
        raise


def greeted(port, context, name="a.test", word=b"ok", **options):
    """Connects and waits for the upstream's first word, which comes only when
    the edge was content. (In TLS 1.3 the client is done before the edge has
    looked at its certificate.)"""
    tls = connect(port, context, name, **options)
    try:
        got = read_word(tls, len(word))
        assert got == word, got
    except BaseException:
        tls.close()
        raise
    return tls


def read_word(tls, count):
    data = b""
    while len(data) < count:
        try:
            block = tls.recv(count - len(data))
        except ConnectionResetError as error:
            raise Refused(None, error) from None
        if not block:
            raise Refused(None, f"{tls.end} after {data!r}")
        data += block
    return data


def refusal(port, context, name="a.test", **options):
    """The alert's number that this client gets."""
    try:
        tls = greeted(port, context, name, **options)
    except Refused as refused:
        return refused.alert
    tls.close()
    raise AssertionError("served, not refused")


def raw_alert(client):
    """Reads records until a fatal alert in clear: its number."""
    while True:
        try:
            head = client.read(5)
            body = client.read(int.from_bytes(head[3:5], "big"))
        except (AssertionError, ConnectionResetError) as error:
            raise Refused(None, error) from None
        if head[0] == 21:
            assert len(body) == 2 and body[0] == 2, body
            return body[1]
        assert head[0] in (20, 22), head
