"""Clients of the test's own."""

import socket
import ssl
import time

import hello as hellos
from upstream import reset
from waiting import PATIENCE


class Client:
    """A TCP connection to the edge, seen as bytes."""

    def __init__(self, port, host="127.0.0.1", source=None, timeout=10,
                 receive_buffer=None):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF,
                                 receive_buffer)
        self.sock.settimeout(timeout * PATIENCE)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect((host, port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address = self.sock.getsockname()
        self.port = self.address[1]

    def send(self, data):
        self.sock.sendall(data)
        return self

    def hello(self, name="a.test", **options):
        wire = hellos.hello(name, **options)
        self.send(wire)
        return wire

    def read(self, count):
        """Exactly so many bytes."""
        data = b""
        while len(data) < count:
            block = self.sock.recv(count - len(data))
            assert block, f"end after {data!r}, {count} bytes expected"
            data += block
        return data

    def read_all(self):
        """All bytes up to the end, and how it came: "eof" or "reset"."""
        data = bytearray()
        while True:
            try:
                block = self.sock.recv(262144)
            except ConnectionResetError:
                return bytes(data), "reset"
            if not block:
                return bytes(data), "eof"
            data += block

    def ends_within(self, seconds):
        """Reads to the end and asserts how long it took."""
        began = time.monotonic()
        data, end = self.read_all()
        took = time.monotonic() - began
        assert took < seconds * PATIENCE, f"closed after {took:.3f} s"
        return data, end

    def shut(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        reset(self.sock)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def tls_context(ca=None, protocols=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca:
        context.load_verify_locations(ca)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def tls_client(port, name, ca=None, *, source=None, host="127.0.0.1",
               protocols=None):
    """A verified TLS connection; the socket is the caller's."""
    plain = Client(port, host, source)
    try:
        return tls_context(ca, protocols).wrap_socket(
            plain.sock, server_hostname=name)
    except BaseException:
        plain.close()
        raise


def http_get(port, name, ca=None, **options):
    """The whole answer of one HTTP/1.0 request over TLS."""
    with tls_client(port, name, ca, **options) as tls:
        tls.sendall(f"GET / HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
        data = b""
        while True:
            try:
                block = tls.recv(65536)
            except ssl.SSLEOFError:
                return data
            if not block:
                return data
            data += block
