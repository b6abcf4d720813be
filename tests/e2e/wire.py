"""A wire between agent and edge that a test can watch, stall and cut, and
proxies through which an agent goes out."""

import base64
import socket
import struct
import threading

from upstream import reset
from waiting import until


class Passing:
    """One connection over the wire."""

    def __init__(self, wire, near, far):
        self.wire, self.near, self.far = wire, near, far
        self.seen = {"out": bytearray(), "in": bytearray()}
        self.ends = 0
        for source, target, way in ((near, far, "out"), (far, near, "in")):
            threading.Thread(target=self.carry, args=(source, target, way),
                             daemon=True).start()

    def carry(self, source, target, way):
        try:
            while block := source.recv(65536):
                self.wire.flowing.wait()
                if self.wire.records:
                    self.seen[way] += block
                target.sendall(block)
            target.shutdown(socket.SHUT_WR)
        except OSError as error:
            if isinstance(error, ConnectionResetError):
                self.reset_one(target)
        self.ends += 1
        if self.ends == 2:
            self.close()

    def close(self):
        for sock in (self.near, self.far):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    @staticmethod
    def reset_one(sock):
        try:
            reset(sock)
        except OSError:
            pass  # closed already

    def reset(self):
        for sock in (self.near, self.far):
            self.reset_one(sock)


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
            alive = sum(p.ends < 2 for p in self.passing)
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
            self.passing.append(Passing(self, near, far))

    def stall(self):
        """Nothing gets through, and nobody is told."""
        self.flowing.clear()

    def resume(self):
        self.flowing.set()

    def cut(self):
        """All that passes now is reset at both ends."""
        for passing in self.passing:
            passing.reset()

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
        for passing in self.passing:
            passing.close()


class OutboundProxy:
    """An HTTP proxy (CONNECT) or a SOCKS5 proxy that takes everybody, or only
    `user`, a pair of name and password."""

    def __init__(self, kind, user=None, status=None):
        self.kind, self.user, self.status = kind, user, status
        self.asked = []  # "host:port" as asked for
        self.heads = []
        self.passing = []
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
            self.passing.append(Passing(self, sock, far))
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
        for passing in self.passing:
            passing.close()


def exactly(sock, count):
    data = b""
    while len(data) < count:
        block = sock.recv(count - len(data))
        if not block:
            raise ConnectionError(f"end after {data!r}")
        data += block
    return data
