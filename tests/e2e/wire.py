"""A wire between agent and edge that a test can watch, stall and cut, and
proxies through which an agent goes out."""

import base64
import select
import socket
import struct
import threading

from upstream import reset
from waiting import PATIENCE, until


class Passing:
    """One connection over the wire: one thread, so that a reset is sent when
    it is made. (One that waited in recv would hold it back.)"""

    def __init__(self, wire, near, far):
        self.wire, self.near, self.far = wire, near, far
        self.seen = {"out": bytearray(), "in": bytearray()}
        self.held = {near: b"", far: b""}  # what is to be sent there
        self.open = {near, far}  # those that may still send
        self.other = {near: far, far: near}
        self.way = {near: "out", far: "in"}
        self.over = False
        self.bell, self.ringer = socket.socketpair()
        self.end = None  # what another thread wants: "close" or "reset"
        for sock in (near, far):
            sock.setblocking(False)
        self.thread = threading.Thread(target=self.work, daemon=True)
        wire.passing.append(self)  # before the first byte, for cut
        self.thread.start()

    def work(self):
        try:
            while not self.end and (self.open or any(self.held.values())):
                self.turn()
        except ConnectionResetError:
            self.end = self.end or "reset"
        except OSError:
            pass
        for sock in (self.near, self.far):
            if self.end == "reset":
                reset(sock)
            else:
                sock.close()
        with self.wire.lock:
            self.over = True
            self.bell.close()
            self.ringer.close()

    def turn(self):
        poll = select.poll()
        poll.register(self.bell, select.POLLIN)
        if self.wire.flowing.is_set():
            for sock in (self.near, self.far):
                wanted = select.POLLOUT if self.held[sock] else 0
                if sock in self.open and not self.held[self.other[sock]]:
                    wanted |= select.POLLIN
                if wanted:
                    poll.register(sock, wanted)
        ready = dict(poll.poll())
        if self.bell.fileno() in ready:
            self.bell.recv(64)
        for sock in (self.near, self.far):
            if ready.get(sock.fileno(), 0) & ~select.POLLOUT:
                self.take(sock)
        for sock in (self.near, self.far):
            if ready.get(sock.fileno(), 0) & select.POLLOUT:
                sent = sock.send(self.held[sock])
                self.held[sock] = self.held[sock][sent:]
                self.pass_end_on(sock)

    def take(self, sock):
        try:
            data = sock.recv(65536)
        except BlockingIOError:
            return
        if not data:
            self.open.discard(sock)
        if self.wire.records:
            self.seen[self.way[sock]] += data
        self.held[self.other[sock]] += data
        self.pass_end_on(self.other[sock])

    def pass_end_on(self, sock):
        if not self.held[sock] and self.other[sock] not in self.open:
            sock.shutdown(socket.SHUT_WR)

    def ring(self):
        with self.wire.lock:
            if not self.over:
                self.ringer.send(b"!")

    def finish(self, how):
        if not self.over:
            self.end = how
            self.ring()
            self.thread.join(10 * PATIENCE)


class Wire:
    """Listens, and carries to the port given. `most` connections at a time
    reach the far end; further ones are closed, so that with 1 an agent has
    its session and no data connections."""

    def __init__(self, port, most=None, records=False):
        self.target, self.most, self.records = port, most, records
        self.flowing = threading.Event()
        self.flowing.set()
        self.passing, self.refused = [], 0
        self.open = True
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.address = f"localhost:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            alive = sum(not p.over for p in list(self.passing))
            if not self.open or (self.most and alive >= self.most):
                self.refused += 1
                reset(near)
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                reset(near)
                continue
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            Passing(self, near, far)

    def stall(self):
        """Nothing gets through, and nobody is told."""
        self.flowing.clear()

    def resume(self):
        self.flowing.set()
        for passing in list(self.passing):
            passing.ring()

    def cut(self):
        """All that passes now is reset at both ends."""
        for passing in list(self.passing):
            passing.finish("reset")

    def bytes(self):
        """All that was recorded, both ways."""
        return b"".join(bytes(p.seen[way]) for p in self.passing
                        for way in ("out", "in"))

    def close(self):
        self.resume()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for passing in list(self.passing):
            passing.finish("close")


class OutboundProxy:
    """An HTTP proxy (CONNECT) or a SOCKS5 proxy that takes everybody, or only
    `user`, a pair of name and password."""

    def __init__(self, kind, user=None, status=None):
        self.kind, self.user, self.status = kind, user, status
        self.asked = []  # "host:port" as asked for
        self.heads = []
        self.passing = []
        self.lock = threading.Lock()
        self.records = False
        self.flowing = threading.Event()
        self.flowing.set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def url(self):
        who = f"{self.user[0]}:{self.user[1]}@" if self.user else ""
        return f"{self.kind}://{who}127.0.0.1:{self.port}"

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,),
                             daemon=True).start()

    def serve(self, sock):
        try:
            far = self.serve_http(sock) if self.kind == "http" else \
                self.serve_socks(sock)
        except (OSError, AssertionError, ValueError):
            far = None
        if far:
            Passing(self, sock, far)
        else:
            sock.close()

    def dial(self, host, port):
        self.asked.append(f"{host}:{port}")
        return socket.create_connection((host, port), timeout=10)

    def serve_http(self, sock):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += exactly(sock, 1)
        self.heads.append(head.decode())
        word, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        assert word == "CONNECT"
        if self.user:
            wanted = base64.b64encode(":".join(self.user).encode())
            if b"\r\nProxy-Authorization: Basic " + wanted + b"\r\n" \
                    not in head:
                sock.sendall(b"HTTP/1.1 407 Proxy Authentication Required"
                             b"\r\nContent-Length: 0\r\n\r\n")
                return None
        if self.status:
            sock.sendall(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
            return None
        host, _, port = target.rpartition(":")
        far = self.dial(host.strip("[]"), int(port))
        sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return far

    def serve_socks(self, sock):
        version, count = exactly(sock, 2)
        methods = exactly(sock, count)
        assert version == 5
        wanted = 2 if self.user else 0
        if wanted not in methods:
            sock.sendall(b"\5\xff")
            return None
        sock.sendall(bytes([5, wanted]))
        if self.user:
            exactly(sock, 1)
            name = exactly(sock, exactly(sock, 1)[0]).decode()
            word = exactly(sock, exactly(sock, 1)[0]).decode()
            good = (name, word) == self.user
            sock.sendall(b"\1\0" if good else b"\1\1")
            if not good:
                return None
        version, command, _, kind = exactly(sock, 4)
        assert (version, command) == (5, 1)
        if kind == 1:
            host = socket.inet_ntoa(exactly(sock, 4))
        elif kind == 4:
            host = socket.inet_ntop(socket.AF_INET6, exactly(sock, 16))
        else:
            host = exactly(sock, exactly(sock, 1)[0]).decode()
        port = struct.unpack(">H", exactly(sock, 2))[0]
        if self.status:
            sock.sendall(bytes([5, self.status, 0, 1]) + bytes(6))
            return None
        far = self.dial(host, port)
        sock.sendall(b"\5\0\0\1" + bytes(6))
        return far

    def wait_asked(self, count=1, timeout=10):
        until(lambda: len(self.asked) >= count, timeout,
              f"{count} connections through the proxy, not {self.asked}")
        return self.asked

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for passing in list(self.passing):
            passing.finish("close")


def exactly(sock, count):
    data = b""
    while len(data) < count:
        block = sock.recv(count - len(data))
        if not block:
            raise ConnectionError(f"end after {data!r}")
        data += block
    return data
