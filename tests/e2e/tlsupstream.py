"""Upstreams that speak TLS, and tell what they saw of it."""

import socket
import ssl
import threading

import proxyheader
from tlspeer import Refused, Tls
from upstream import Arrival, Upstream, record
from waiting import PATIENCE, until


class TlsArrival(Arrival):
    """A connection whose `sock` is TLS once the handshake is done."""

    def __init__(self, sock, peer):
        super().__init__(sock, peer)
        self.raw = sock
        self.header = b""  # PROXY, in clear
        self.server_name = None
        self.ready, self.failed = False, None

    def read_step(self):
        try:
            return super().read_step()
        except (Refused, ssl.SSLError) as error:
            self.end, self.failed = "alert", error
            return False

    @property
    def how(self):
        """How TLS ended: "notify" or "fin"."""
        return getattr(self.sock, "end", None)

    def wait_ready(self, timeout=5):
        until(lambda: self.ready or self.failed, timeout,
              "the handshake at the upstream")
        assert self.ready, self.failed
        return self

    def wait_failed(self, timeout=5):
        return until(lambda: self.failed, timeout,
                     "a failed handshake at the upstream")


def read_header(sock):
    """A PROXY header, either version, and no byte more."""
    wire = b""
    while not wire.endswith(b"\r\n") or \
            proxyheader.SIGNATURE.startswith(wire):
        wire += exactly(sock, 1)
        if wire == proxyheader.SIGNATURE:
            wire += exactly(sock, 4)
            return wire + exactly(sock, int.from_bytes(wire[14:16], "big"))
    return wire


def exactly(sock, count):
    data = b""
    while len(data) < count:
        block = sock.recv(count - len(data))
        if not block:
            raise ConnectionError(f"end after {data!r}")
        data += block
    return data


class TlsUpstream(Upstream):
    """`context` (see tlspeer.server_context) and then a script."""

    def __init__(self, script=record, *, context, proxy=False, before=None,
                 **options):
        self.context, self.proxy, self.before = context, proxy, before
        self.context.sni_callback = self.note_name
        self.names = {}
        super().__init__(script, **options)

    def note_name(self, tls, name, _):
        self.names[id(tls)] = name

    def accept(self):
        while True:
            try:
                sock, peer = self.listener.accept()
            except OSError:
                return
            sock.settimeout(30 * PATIENCE)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            arrival = TlsArrival(sock, peer)
            self.arrivals.append(arrival)
            threading.Thread(target=self.serve, args=(arrival,),
                             daemon=True).start()

    def serve(self, arrival):
        try:
            if self.proxy:
                arrival.header = read_header(arrival.raw)
            if self.before:
                self.before(arrival.raw)
            tls = Tls(arrival.raw, self.context, server=True)
            tls.handshake()
            arrival.sock = tls
            arrival.server_name = self.names.pop(id(tls.tls), None)
        except (Refused, OSError) as error:
            arrival.failed = error
            arrival.raw.close()
            return
        arrival.ready = True
        self.script(arrival)

    def next(self, timeout=5):
        return super().next(timeout).wait_ready(timeout)


def greet(arrival, word=b"ok"):
    """Says ok at once, so that a client knows it was let through."""
    try:
        arrival.send(word)
    except OSError:
        return
    record(arrival)


PAGE = b"the page of an upstream\n"


def web(arrival):
    """One answer to one HTTP request."""
    while b"\r\n\r\n" not in arrival.data:
        if not arrival.read_step():
            arrival.close()
            return
    try:
        arrival.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n"
                     b"Content-Length: %d\r\nConnection: close\r\n\r\n" %
                     len(PAGE) + PAGE)
        arrival.shut()
    except OSError:
        return
    record(arrival)


def greet_and_close(arrival):
    try:
        arrival.send(b"ok")
        arrival.shut()
    except OSError:
        return
    record(arrival)


def greet_and_echo(arrival):
    """Says ok, then sends back what comes."""
    try:
        arrival.send(b"ok")
        seen = 0
        while arrival.read_step():
            arrival.send(arrival.data[seen:])
            seen = len(arrival.data)
    except OSError:
        return
    arrival.close()

