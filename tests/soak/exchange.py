"""What the soak's clients ask of its upstreams: so many bytes each way, of a
stream that both know, and a verdict at the end."""

import struct
import threading

from stream import BLOCK

REQUEST = struct.Struct("!4sIIIIH")
MAGIC = b"soak"
FINE, WRONG_BYTES, WRONG_CLIENT = b"Y", b"N", b"P"
CHUNK = 65536


class Cut(Exception):
    """The stream ended before its time."""


class Wrong(Exception):
    """Bytes that were never sent, or for somebody else."""


def request(up, down, up_offset, down_offset, port=0):
    """`port` is the client's, for upstreams that get a PROXY header; 0 is
    not looked at."""
    return REQUEST.pack(MAGIC, up, down, up_offset, down_offset, port)


def pour(sock, size, offset):
    while size:
        at = offset % len(BLOCK)
        part = memoryview(BLOCK)[at:at + min(size, CHUNK)]
        sock.sendall(part)
        size, offset = size - len(part), offset + len(part)


def expect(sock, size, offset, pace=None):
    """Reads exactly so many bytes and compares each."""
    while size:
        if pace:
            pace()
        data = sock.recv(min(size, CHUNK))
        if not data:
            raise Cut(f"{size} bytes are missing")
        size -= len(data)
        while data:
            at = offset % len(BLOCK)
            want = BLOCK[at:at + len(data)]
            if data[:len(want)] != want:
                raise Wrong(f"other bytes at {offset}")
            offset, data = offset + len(want), data[len(want):]


def exactly(sock, count):
    data = b""
    while len(data) < count:
        block = sock.recv(count - len(data))
        if not block:
            raise Cut(f"end after {len(data)} of {count} bytes")
        data += block
    return data


def to_the_end(sock):
    """Whether nothing came but the end."""
    return sock.recv(1) == b""


class Pouring(threading.Thread):
    """Sends while the caller reads, then perhaps half-closes."""

    def __init__(self, sock, size, offset, shut=False):
        super().__init__(daemon=True)
        self.sock, self.size, self.offset = sock, size, offset
        self.shut, self.error = shut, None
        self.start()

    def run(self):
        try:
            pour(self.sock, self.size, self.offset)
            if self.shut:
                self.sock.shutdown(1)
        except OSError as error:
            self.error = error

    def finish(self):
        self.join()
        if self.error:
            raise self.error


def serve(sock, client_port=None):
    """The upstream's part, up to the client's end."""
    magic, up, down, up_offset, down_offset, port = REQUEST.unpack(
        exactly(sock, REQUEST.size))
    if magic != MAGIC:
        raise Wrong(f"not a request: {magic!r}")
    pouring = Pouring(sock, down, down_offset)
    verdict = FINE
    try:
        expect(sock, up, up_offset)
    except Wrong:
        verdict = WRONG_BYTES
    if port and client_port is not None and port != client_port:
        verdict = WRONG_CLIENT
    pouring.finish()
    sock.sendall(verdict)
    to_the_end(sock)
    sock.shutdown(1)
