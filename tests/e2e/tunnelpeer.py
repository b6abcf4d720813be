"""TLS with an exporter and an external PSK: one process of tunnelpeer.c for
each connection. It has the methods of a socket that our scripts use."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading

import pytest

from tlspeer import Refused
from waiting import PATIENCE, until

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                      "tunnelpeer.c")


def cache():
    """A folder for what is made once for all runs of this user."""
    folder = os.path.join(tempfile.gettempdir(),
                          f"lunette-tests-{os.getuid()}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    assert os.stat(folder).st_uid == os.getuid(), folder
    return folder


def program():
    """The path of the program; compiled once for all processes of a run."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("no C compiler")
    stamp = os.stat(SOURCE)
    made = os.path.join(
        cache(), f"tunnelpeer-{stamp.st_mtime_ns}-{stamp.st_size}")
    with open(made + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(made):
            subprocess.run([compiler, "-O1", "-o", made + ".new", SOURCE,
                            "-lssl", "-lcrypto"], check=True)
            os.rename(made + ".new", made)
    return made


class Peer:
    """One end of TLS on a connected socket, which it takes. The options are
    those of tunnelpeer.c; bytes are given as hex."""

    def __init__(self, sock, role, **options):
        self.plain, theirs = socket.socketpair()
        arguments = []
        for name, value in options.items():
            if value is not None:
                arguments += [name, value.hex() if isinstance(value, bytes)
                              else str(value)]
        with theirs, sock:
            sock.setblocking(True)
            self.process = subprocess.Popen(
                [program(), role, str(sock.fileno()), str(theirs.fileno()),
                 *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                pass_fds=(sock.fileno(), theirs.fileno()))
        self.said = []
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        for line in self.process.stdout:
            self.said.append(json.loads(line))
        self.process.stdout.close()

    def told(self, what, count=1):
        found = [s for s in list(self.said) if s["did"] == what]
        return found[count - 1] if len(found) >= count else None

    def wait_told(self, what, timeout=10, count=1):
        until(lambda: self.told(what, count) or not self.thread.is_alive(),
              timeout, f"{what} of the TLS peer")
        assert self.told(what, count), f"{what} expected, only {self.said}"
        return self.told(what, count)

    def handshake(self, timeout=10):
        """Waits for it; Refused with the peer's alert if it failed."""
        self.facts = self.wait_told("handshake", timeout)
        if not self.facts["ok"]:
            alert = self.facts["alert_in"]
            raise Refused(alert if alert >= 0 else None, self.facts)
        return self

    def command(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def export(self, label, context=None, length=32):
        self.exports = getattr(self, "exports", 0) + 1
        shown = "-" if context is None else context.hex()
        self.command(f"export {label} {shown} {length}")
        told = self.wait_told("export", count=self.exports)
        return bytes.fromhex(told["key"])

    def cut(self):
        """FIN without close_notify."""
        self.command("cut")

    @property
    def end(self):
        """How the peer ended: "notify", "fin" (without close_notify),
        "reset", "error", or None."""
        told = self.told("end")
        return told and told["how"]

    def wait_end(self, timeout=10):
        return self.wait_told("end", timeout)["how"]

    # As a socket.

    def recv(self, size):
        return self.plain.recv(size)

    def sendall(self, data):
        self.plain.sendall(data)

    def settimeout(self, seconds):
        self.plain.settimeout(seconds)

    def shutdown(self, how):
        self.plain.shutdown(how)

    def read(self, count):
        data = b""
        while len(data) < count:
            block = self.recv(count - len(data))
            assert block, f"{self.end} after {data!r}, {count} expected"
            data += block
        return data

    def read_all(self):
        data = bytearray()
        while block := self.recv(262144):
            data += block
        return bytes(data), self.wait_end()

    def close(self):
        """All at once; for an orderly end, shutdown first."""
        self.plain.close()
        try:
            self.process.stdin.close()
        except OSError:
            pass
        try:
            self.process.wait(1 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10 * PATIENCE)


def dial(port, host="127.0.0.1", source=None, timeout=10):
    sock = socket.socket()
    sock.settimeout(timeout * PATIENCE)
    if source:
        sock.bind((source, 0))
    sock.connect((host, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def connect(port, **options):
    """A client whose handshake is done; Refused if it fails."""
    peer = Peer(dial(port), "client", **options)
    try:
        return peer.handshake()
    except BaseException:
        peer.close()
        raise


def accept(sock, **options):
    """The same for a server on an accepted socket."""
    peer = Peer(sock, "server", **options)
    try:
        return peer.handshake()
    except BaseException:
        peer.close()
        raise
