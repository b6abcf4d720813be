"""Upstreams of the test's own: they record bytes and follow scripts."""

import os
import select
import socket
import struct
import threading

from waiting import PATIENCE, until

RESET = struct.pack("ii", 1, 0)


def reset(sock):
    """Ends a TCP connection by RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


class Arrival:
    """One connection that reached the upstream."""

    def __init__(self, sock, peer):
        self.sock, self.peer = sock, peer
        self.data = bytearray()
        self.end = None  # "eof" or "reset"

    def read_step(self):
        """Reads once; false at the end."""
        try:
            block = self.sock.recv(262144)
        except ConnectionResetError:
            self.end = "reset"
            return False
        except OSError:
            self.end = self.end or "closed"
            return False
        if not block:
            self.end = "eof"
            return False
        self.data += block
        return True

    def send(self, data):
        self.sock.sendall(data)

    def shut(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        # A close alone would leave the reading thread in recv.
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def reset(self):
        reset(self.sock)

    def wait_bytes(self, count, timeout=5):
        until(lambda: len(self.data) >= count, timeout,
              f"{count} bytes at the upstream, not {len(self.data)}")
        return bytes(self.data)

    def wait_end(self, timeout=5):
        return until(lambda: self.end, timeout, "the end at the upstream")


# Scripts: called with the arrival on its own thread. They end by returning.

def record(arrival):
    """Reads to the end, then closes."""
    while arrival.read_step():
        pass
    if arrival.end == "eof":
        arrival.close()


def hold(arrival):
    """Reads to the end; the test closes."""
    while arrival.read_step():
        pass


def deaf(arrival):
    """Never reads."""


def echo(arrival):
    """Sends back what comes; passes a half-close on."""
    seen = 0
    while arrival.read_step():
        try:
            arrival.send(arrival.data[seen:])
        except OSError:
            return
        seen = len(arrival.data)
    arrival.close()


def say(arrival, text):
    """The word, if the client is still there to be told."""
    try:
        if arrival.read_step():
            arrival.send(text)
            return True
    except OSError:
        pass
    return False


def answer(text):
    """Says a word as soon as something came, then reads to the end."""
    def script(arrival):
        say(arrival, text)
        record(arrival)
    return script


def answer_and_close(text):
    def script(arrival):
        if say(arrival, text):
            arrival.shut()
        record(arrival)
    return script


class Upstream:
    """A listener whose connections each get a thread and a script."""

    def __init__(self, script=record, host="127.0.0.1", port=0, path=None,
                 backlog=512):
        self.script = script
        self.arrivals = []
        self.taken = 0
        self.path = path
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.listener.listen(backlog)
            self.port, self.address = None, "unix:" + path
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.listener = socket.create_server(
                (host, port), family=family, backlog=backlog)
            self.port = self.listener.getsockname()[1]
            shown = f"[{host}]" if ":" in host else host
            self.address = f"{shown}:{self.port}"
        self.open = True
        self.placeholder = None
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, peer = self.listener.accept()
            except OSError:
                return
            arrival = Arrival(sock, peer)
            self.arrivals.append(arrival)
            threading.Thread(target=self.script, args=(arrival,),
                             daemon=True).start()

    def next(self, timeout=5):
        """The next connection that no call has returned yet."""
        until(lambda: len(self.arrivals) > self.taken, timeout,
              f"a connection at {self.address}")
        self.taken += 1
        return self.arrivals[self.taken - 1]

    def count(self):
        return len(self.arrivals)

    def stop_listening(self):
        if self.open:
            self.open = False
            # shutdown wakes the thread in accept; close alone does not.
            try:
                self.listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            name, family = self.listener.getsockname(), self.listener.family
            self.listener.close()
            if self.path:
                os.unlink(self.path)
            else:
                self.keep_port(family, name)

    def keep_port(self, family, name):
        """Bound and not listening, it refuses, and nobody else gets it: an
        edge that asked for any port would be its own upstream."""
        self.placeholder = socket.socket(family)
        self.placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.placeholder.bind(name)

    def close(self):
        self.stop_listening()
        if self.placeholder:
            self.placeholder.close()
        for arrival in self.arrivals:
            arrival.close()


class Crowd:
    """An upstream for thousands: one thread, one epoll. With `word` it says
    that after the first bytes of each connection and closes; without, it
    holds them all open."""

    def __init__(self, word=None, port=0):
        self.word, self.port = word, port
        self.served = 0
        self.lock = threading.Lock()
        self.start()

    def start(self):
        self.listener = socket.create_server(("127.0.0.1", self.port),
                                             backlog=4096)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.epoll = select.epoll()
        self.epoll.register(self.listener, select.EPOLLIN)
        self.open = {}
        self.running = True
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        while self.running:
            for fd, _ in self.epoll.poll(0.05):
                if fd == self.listener.fileno():
                    self.take()
                else:
                    self.serve(fd)

    def take(self):
        for _ in range(64):
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setblocking(False)
            self.open[sock.fileno()] = sock
            self.epoll.register(sock, select.EPOLLIN)

    def serve(self, fd):
        sock = self.open[fd]
        try:
            data = sock.recv(65536)
            if data and self.word is None:
                return
            if data:
                sock.sendall(self.word)
                self.served += 1
        except OSError:
            pass
        del self.open[fd]
        sock.close()

    def kill(self):
        """As kill -9 would: nobody listens, all is reset."""
        self.running = False
        self.thread.join(10 * PATIENCE)
        self.listener.close()
        for sock in self.open.values():
            reset(sock)
        self.open = {}
        self.epoll.close()

    close = kill
