"""The stream multiplexer between agent and edge, in Python: an endpoint of
either role that behaves, and raw frames for a test that does not want it to.

The carrier is anything with recv, sendall, shutdown and close: a socket, or
Tls of tlspeer. One thread reads it for as long as the session lives."""

import collections
import json
import os
import queue
import socket
import struct
import threading
import time
from typing import NamedTuple

from waiting import PATIENCE, until

RST, DATA, WNDINC, GOAWAY = range(4)
FIN, SYN = 1, 2
NAMES = ["rst", "data", "wndinc", "goaway"]
WINDOW = 256 * 1024
LARGEST = (1 << 24) - 1

# The types of streams.
(AUTH, BIND, UNBIND, PROXY, RESTART, STOP, UPDATE, LABEL, SRVINFO,
 STOPTUNNEL) = range(10)
DATA_CONNECTIONS, DATA_END, MOVING = 0x4C01, 0x4C02, 0x4C03
HEARTBEAT = 0xFFFFFFFF


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes

    def __str__(self):
        name = NAMES[self.kind] if self.kind < 4 else str(self.kind)
        flags = "".join(n for bit, n in ((SYN, "+syn"), (FIN, "+fin"))
                        if self.flags & bit)
        return f"{name}{flags} {self.stream} {len(self.payload)}"

    def number(self):
        """The payload of a RST or WNDINC."""
        return int.from_bytes(self.payload[:4], "big")


def frame(kind, stream, payload=b"", flags=0, length=None):
    """Its bytes; `length` may say something else than the truth."""
    size = len(payload) if length is None else length
    return struct.pack(">II", size << 8 | (kind & 15) << 4 | flags & 15,
                       stream) + payload


def number(value):
    return struct.pack(">I", value)


class Dead(ConnectionError):
    """The session is gone; the text says how."""


class Stream:
    """One stream. recv, sendall, shutdown and close are as a socket's, so
    that scripts and Sender and Receiver of stream.py work with it."""

    def __init__(self, mux, number, kind=None):
        self.mux, self.id, self.kind = mux, number, kind
        self.data = bytearray()
        self.received = 0  # bytes that came in all
        self.credit = WINDOW  # what we may send
        self.granted = WINDOW  # what the peer may send, as it knows
        self.end = None  # of the peer's direction: "fin", "reset", "dead"
        self.error = None  # the number in the peer's RST
        self.shut_down = False
        self.credits = mux.credits

    # The peer's direction.

    def take(self, data):
        """Called by the reading thread with the lock held."""
        self.data += data
        self.received += len(data)
        self.granted -= len(data)

    def wait(self, ready, timeout, what):
        with self.mux.changed:
            done = self.mux.changed.wait_for(ready, timeout * PATIENCE)
        assert done, f"not within {timeout:g} s: {what} on stream {self.id}"

    def recv(self, size, timeout=10):
        self.wait(lambda: self.data or self.end, timeout, "bytes")
        with self.mux.changed:
            data = bytes(self.data[:size])
            del self.data[:size]
            ended = self.end
        if data:
            if self.credits and ended is None:
                self.grant(len(data))
            return data
        if ended == "reset":
            raise ConnectionResetError(f"reset with {self.error}")
        if ended == "dead":
            raise Dead(self.mux.why)
        return b""

    def grant(self, count):
        """Lets the peer send so many more bytes."""
        self.granted += count
        try:
            self.mux.send(WNDINC, self.id, number(count))
        except OSError:
            pass

    def read(self, count, timeout=10):
        data = b""
        while len(data) < count:
            block = self.recv(count - len(data), timeout)
            assert block, f"end after {data!r}, {count} bytes expected"
            data += block
        return data

    def read_all(self, timeout=10):
        """All bytes up to the end, and how it came."""
        data = bytearray()
        try:
            while block := self.recv(262144, timeout):
                data += block
        except ConnectionResetError:
            return bytes(data), "reset"
        except Dead:
            return bytes(data), "dead"
        return bytes(data), "eof"

    def wait_end(self, timeout=10):
        self.wait(lambda: self.end, timeout, "the end")
        return self.end

    # Ours.

    def sendall(self, data, flags=0):
        view = memoryview(data)
        while view:
            with self.mux.changed:
                ready = self.mux.changed.wait_for(
                    lambda: self.credit > 0 or self.end in ("reset", "dead"),
                    30 * PATIENCE)
                if self.end in ("reset", "dead"):
                    raise ConnectionResetError(f"{self.end} {self.error}")
                assert ready, f"no window on stream {self.id}"
                size = min(self.credit, len(view), 65536)
                self.credit -= size
            last = size == len(view)
            self.mux.send(DATA, self.id, bytes(view[:size]),
                          flags if last else 0)
            view = view[size:]

    send = sendall

    def shut(self):
        if not self.shut_down:
            self.shut_down = True
            self.mux.send(DATA, self.id, b"", FIN)

    def shutdown(self, how=socket.SHUT_WR):
        if how != socket.SHUT_RD:
            self.shut()

    def reset(self, code=0):
        self.mux.send(RST, self.id, number(code))
        self.mux.forget(self)

    def close(self):
        """A close of both directions, where something is still open."""
        try:
            if self.end is None:
                self.reset()
            elif self.end == "fin":
                self.shut()
        except OSError:
            pass
        self.mux.forget(self)

    def settimeout(self, _):
        """For code that has a socket in mind."""

    # JSON.

    def say(self, value, fin=True):
        text = json.dumps(value).encode()
        self.sendall(text, FIN if fin else 0)
        self.shut_down = self.shut_down or fin

    def hear(self, timeout=10):
        """The JSON value that comes next. Some peers end a message by FIN and
        others go on, so the text itself tells where it ends."""
        decoder, text = json.JSONDecoder(), b""
        while True:
            block = self.recv(65536, timeout)
            text += block
            try:
                value, end = decoder.raw_decode(text.decode().lstrip())
                self.rest = text.decode().lstrip()[end:]
                return value
            except ValueError:
                assert block, f"{self.end} after {text!r}"


class Mux:
    """One end of a session. role "agent" opens odd streams, "edge" even ones.

    `beats` answers the peer's heartbeats; `credits` gives back window as it
    is read; both may be switched off to be a bad peer."""

    def __init__(self, carrier, role, *, beats=True, credits=True):
        self.carrier, self.role = carrier, role
        self.beats, self.credits = beats, credits
        self.next = 1 if role == "agent" else 2
        self.streams = {}
        self.changed = threading.Condition(threading.RLock())
        self.sending = threading.Lock()
        self.accepted = queue.Queue()
        self.seen = collections.deque(maxlen=100000)  # frames of the peer
        self.beat_count = 0  # of the peer's heartbeats that we saw
        self.goaway = None  # (last stream, error, text) of the peer
        self.why = None  # once the session is dead
        self.died_at = None
        self.on_stream = None  # called with each stream of the peer
        self.thread = threading.Thread(target=self.work, daemon=True)

    def start(self):
        self.thread.start()
        return self

    # Frames.

    def send(self, kind, stream, payload=b"", flags=0, length=None):
        self.raw(frame(kind, stream, payload, flags, length))

    def raw(self, data):
        with self.sending:
            self.carrier.sendall(data)

    def exactly(self, count):
        data = bytearray()
        while len(data) < count:
            block = self.carrier.recv(min(count - len(data), 262144))
            if not block:
                raise EOFError("end of file")
            data += block
        return bytes(data)

    def read_frame(self):
        first, stream = struct.unpack(">II", self.exactly(8))
        payload = self.exactly(first >> 8)
        return Frame(first >> 4 & 15, first & 15, stream, payload)

    def work(self):
        try:
            while True:
                self.take(self.read_frame())
        except (EOFError, OSError, ValueError) as error:
            self.die(str(error) or type(error).__name__)

    def die(self, why):
        with self.changed:
            if self.why is None:
                self.why, self.died_at = why, time.monotonic()
            for stream in self.streams.values():
                stream.end = stream.end or "dead"
            self.changed.notify_all()
        self.accepted.put(None)

    def take(self, got):
        self.seen.append(got)
        with self.changed:
            stream = self.streams.get(got.stream)
            if got.kind == GOAWAY:
                last, error = struct.unpack(">II", got.payload[:8])
                self.goaway = (last, error, got.payload[8:].decode())
            elif got.kind == WNDINC and stream:
                stream.credit += got.number()
            elif got.kind == RST and stream and stream.end != "reset":
                # Only the first: what was under way then has its own.
                stream.error, stream.end = got.number(), "reset"
            elif got.kind == DATA:
                if got.flags & SYN:
                    stream = self.streams[got.stream] = Stream(
                        self, got.stream)
                if stream:
                    stream.take(got.payload)
                    if got.flags & FIN:
                        stream.end = "fin"
                    self.arrived(stream)
            self.changed.notify_all()

    def arrived(self, stream):
        """A stream of the peer is there once its type is."""
        if stream.kind is None and len(stream.data) >= 4:
            stream.kind = int.from_bytes(stream.data[:4], "big")
            del stream.data[:4]
            if stream.kind == HEARTBEAT:
                threading.Thread(target=self.beat, args=(stream,),
                                 daemon=True).start()
            elif self.on_stream:
                threading.Thread(target=self.on_stream, args=(stream,),
                                 daemon=True).start()
            else:
                self.accepted.put(stream)

    def beat(self, stream):
        """Answers the peer's heartbeats for as long as it sends them."""
        try:
            while True:
                word = stream.read(4, timeout=600)
                self.beat_count += 1
                if self.beats:
                    stream.sendall(word)
        except (AssertionError, OSError, Dead):
            try:
                stream.close()
            except OSError:
                pass

    # Streams.

    def open(self, kind, payload=b"", flags=0, number_=None):
        """A new stream of this type; the type goes in its first frame."""
        with self.changed:
            if number_ is None:
                number_, self.next = self.next, self.next + 2
            stream = self.streams[number_] = Stream(self, number_, kind)
            stream.credit -= 4 + len(payload)
            stream.shut_down = bool(flags & FIN)
        self.send(DATA, number_, number(kind) + payload, SYN | flags)
        return stream

    def forget(self, stream):
        with self.changed:
            self.streams.pop(stream.id, None)

    def accept(self, kind=None, timeout=10):
        """The next stream of the peer, of this type if one is given."""
        stream = self.accepted.get(timeout=timeout * PATIENCE)
        if stream is None:
            self.accepted.put(None)
            raise Dead(self.why)
        assert kind is None or stream.kind == kind, \
            f"a stream of type {stream.kind:#x}, not {kind:#x}"
        return stream

    def request(self, kind, value, timeout=10):
        """A request and its response, as JSON."""
        stream = self.open(kind)
        stream.say(value, fin=False)
        try:
            return stream.hear(timeout)
        finally:
            stream.close()

    def heartbeat(self, timeout=10):
        """One heartbeat of ours: how long it took, in seconds."""
        word, began = os.urandom(4), time.monotonic()
        stream = self.open(HEARTBEAT, word)
        assert stream.read(4, timeout) == word
        took = time.monotonic() - began
        stream.close()
        return took

    # The end.

    def alive(self):
        return self.why is None

    def wait_dead(self, timeout=10):
        until(lambda: self.why is not None, timeout, "the session's end")
        return self.why

    def count(self, kind):
        return sum(1 for f in list(self.seen) if f.kind == kind)

    def say_goaway(self, last=0, error=0, text=""):
        self.send(GOAWAY, 0, struct.pack(">II", last, error) + text.encode())

    def close(self):
        for end in (lambda: self.carrier.shutdown(socket.SHUT_RDWR),
                    self.carrier.close):
            try:
                end()
            except (OSError, ValueError):
                pass
        if self.thread.is_alive() and \
                self.thread is not threading.current_thread():
            self.thread.join(5 * PATIENCE)
