"""Long streams of bytes that can be checked without keeping them."""

import hashlib
import threading

# A block that does not repeat inside the buffers of kernel and edge.
BLOCK = b"".join(hashlib.sha512(b"%d" % i).digest() for i in range(16384))


class Sender(threading.Thread):
    """Sends `size` bytes of its own stream and shuts."""

    def __init__(self, sock, size, offset=0, shut=True):
        super().__init__(daemon=True)
        self.sock, self.size, self.offset = sock, size, offset
        self.shut, self.error = shut, None
        self.start()

    def run(self):
        left, at = self.size, self.offset % len(BLOCK)
        try:
            while left:
                part = memoryview(BLOCK)[at:at + min(left, 262144)]
                self.sock.sendall(part)
                left -= len(part)
                at = (at + len(part)) % len(BLOCK)
            if self.shut:
                self.sock.shutdown(1)
        except OSError as error:
            self.error = error


class Receiver(threading.Thread):
    """Reads to the end and compares. `pace`, if given, is called before
    each read."""

    def __init__(self, sock, offset=0, pace=None, skip=0):
        super().__init__(daemon=True)
        self.sock, self.offset, self.pace = sock, offset, pace
        self.skip, self.count, self.rests = skip, 0, 0
        self.right, self.end = True, None
        self.start()

    def run(self):
        skip = self.skip
        while True:
            if self.pace:
                self.pace(self)
            try:
                data = self.sock.recv(262144)
            except ConnectionResetError:
                self.end = "reset"
                return
            except OSError as error:
                self.end = error
                return
            if not data:
                self.end = "eof"
                return
            if skip:
                cut = min(skip, len(data))
                skip -= cut
                data = data[cut:]
            self.check(data)

    def check(self, data):
        while data:
            at = (self.offset + self.count) % len(BLOCK)
            want = BLOCK[at:at + len(data)]
            self.right = self.right and data[:len(want)] == want
            self.count += len(want)
            data = data[len(want):]
