"""A running Lunette: its configuration, log, events and descriptors."""

import json
import os
import re
import signal
import time

from document import yaml
from process import COMPLAINT, Heir, Process, run
from waiting import until

FIELD = re.compile(r'([A-Za-z_.]+)=("(?:[^"\\]|\\.)*"|\S*)')


def binary():
    return os.environ.get("LUNETTE") or os.path.join(
        os.path.dirname(__file__), "..", "..", "build", "lunette")


def parse_line(line):
    """One logfmt line as a dictionary."""
    fields = {}
    for key, value in FIELD.findall(line):
        if value.startswith('"'):
            value = value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
        fields[key] = value
    return fields


def mentions(value, wanted):
    """Whether it is one of the values in this object."""
    if isinstance(value, dict):
        return any(mentions(inner, wanted) for inner in value.values())
    if isinstance(value, list):
        return any(mentions(inner, wanted) for inner in value)
    return value == wanted


class Tail:
    """Reads what a growing file gained, whole lines only."""

    def __init__(self, path):
        self.path = path
        self.offset = 0
        self.partial = b""

    def lines(self):
        if not os.path.exists(self.path):
            return []
        with open(self.path, "rb") as f:
            f.seek(self.offset)
            data = f.read()
        self.offset += len(data)
        lines = (self.partial + data).split(b"\n")
        self.partial = lines.pop()
        return lines


class Running:
    """What `lunette edge` and `lunette tls` have in common."""

    def __init__(self, arguments, folder, *, listeners=1, events_path=None,
                 env=None, descriptors=None, wrapper=(), ready_timeout=15):
        self.folder = folder
        self.process = Process(
            "lunette", [*wrapper, binary(), *arguments], folder, env=env,
            descriptors=descriptors)
        self.log_tail = Tail(self.process.stderr_path)
        self.log = []
        self.events_tail = Tail(events_path) if events_path else None
        self.events_seen = []  # tcp_connection_closed.v0
        self.others_seen = []  # all other types
        self.expected_exit = {0}
        self.stopped = False
        try:
            self.wait_log(lambda e: e.get("msg") == "ready",
                          timeout=ready_timeout)
        except BaseException:
            self.process.stop(signal.SIGKILL)
            raise
        self.ports = self.listening_ports()[-listeners:]
        self.base_sockets = self.process.sockets()

    # The log.

    def log_lines(self):
        for line in self.log_tail.lines():
            self.log.append(parse_line(line.decode("utf-8", "replace")))
        return self.log

    def wait_log(self, wanted, timeout=5, after=0):
        """The first line from number `after` on that `wanted` takes. A
        string is looked for in the message."""
        if isinstance(wanted, str):
            text = wanted
            wanted = lambda e: text in e.get("msg", "")

        def found():
            for entry in self.log_lines()[after:]:
                if wanted(entry):
                    return entry
            assert self.process.alive(), \
                "lunette ended:\n" + self.raw_log()[-4000:]
            return None
        try:
            return until(found, timeout, "a log line")
        except AssertionError as error:
            raise AssertionError(
                f"{error}\n{self.raw_log()[-4000:]}") from None

    def raw_log(self):
        return self.process.stderr().decode("utf-8", "replace")

    def listening_ports(self):
        """Ports of all "listening" lines so far, in order; None for other
        sockets."""
        ports = []
        for entry in self.log_lines():
            if entry.get("msg") == "listening":
                tail = entry.get("address", "").rpartition(":")[2]
                ports.append(int(tail) if tail.isdigit() else None)
        return ports

    @property
    def port(self):
        return self.ports[0]

    # The events.

    def events(self):
        """All tcp_connection_closed.v0 so far: their objects, in the order
        in which the connections began. (They end in any order, and workers
        do not wait for each other.)"""
        for line in self.events_tail.lines():
            event = json.loads(line)
            if event["event_type"] == "tcp_connection_closed.v0":
                self.events_seen.append(event)
            else:
                self.others_seen.append(event)
        return sorted((e["object"] for e in self.events_seen),
                      key=lambda o: o["conn"]["start_ts"])

    def wait_events(self, count, timeout=5):
        try:
            until(lambda: len(self.events()) >= count, timeout,
                  f"{count} events")
        except AssertionError:
            raise AssertionError(
                f"{len(self.events())} events, {count} expected; the last: "
                f"{self.events()[-3:]}\n{self.raw_log()[-3000:]}") from None
        events = self.events()
        assert len(events) == count, \
            f"{len(events)} events for {count} connections: {events[-3:]}"
        return events

    def event(self, timeout=5):
        """The next event that was not asked for yet."""
        self.asked = getattr(self, "asked", 0) + 1
        until(lambda: len(self.events()) >= self.asked, timeout,
              "the next event")
        return self.events()[self.asked - 1]

    def told(self, kind, mentioning=()):
        """The objects of the events of another type so far that have all of
        these values somewhere."""
        self.events()
        wanted = [mentioning] if isinstance(mentioning, str) else mentioning
        return [e["object"] for e in self.others_seen
                if e["event_type"] == kind and
                all(mentions(e["object"], value) for value in wanted)]

    def wait_told(self, kind, mentioning=(), timeout=10, count=1):
        """Number `count` of them."""
        try:
            until(lambda: len(self.told(kind, mentioning)) >= count, timeout,
                  f"{count} of {kind} about {mentioning}")
        except AssertionError as error:
            raise AssertionError(
                f"{error}; {[e['event_type'] for e in self.others_seen]}\n"
                f"{self.raw_log()[-3000:]}") from None
        return self.told(kind, mentioning)[count - 1]

    # Signals.

    def kill(self, number):
        self.process.kill(number)

    def drain(self):
        self.kill(signal.SIGTERM)

    def hand_over(self, timeout=10, signals=1):
        """Lets a successor take over; the process that goes."""
        before = len(self.log_lines())
        for _ in range(signals):
            self.kill(signal.SIGUSR2)
        entry = self.wait_log("the successor serves", timeout, before)
        old = self.process
        self.process = Heir(old, int(entry["successor"]))
        return old

    # The end.

    def settle(self, timeout=2):
        """All connections of the test are gone: so must be their sockets."""
        try:
            until(lambda: self.process.sockets() <= self.base_sockets,
                  timeout, "sockets back to those of an idle edge")
        except AssertionError as error:
            raise AssertionError(
                f"{error}: {self.process.sockets()} open, "
                f"{self.base_sockets} expected") from None

    def check_clean(self):
        output = self.process.output()
        found = COMPLAINT.search(output)
        if found:
            start = max(0, found.start() - 200)
            raise AssertionError(
                output[start:start + 8000].decode("utf-8", "replace"))

    def stop(self):
        """Ends it and checks that it ended well."""
        if self.stopped:
            return
        self.stopped = True
        alive = self.process.alive()
        if alive:
            self.kill(signal.SIGTERM)
            deadline = time.monotonic() + 1
            while self.process.alive() and time.monotonic() < deadline:
                time.sleep(0.005)
            if self.process.alive():
                self.kill(signal.SIGTERM)
        status = self.process.stop()
        self.check_clean()
        assert status in self.expected_exit, \
            f"lunette ended with {status}:\n{self.raw_log()[-4000:]}"


class Edge(Running):
    """`lunette edge -c FILE` with a configuration given as dictionaries."""

    def __init__(self, folder, endpoints, *, edge=None, listen=None,
                 events=None, top=None, log_level=None, **options):
        self.folder = folder
        self.config_path = os.path.join(
            folder, f"edge-{time.monotonic_ns()}.yaml")
        events_path = None
        if events is None:
            events_path = os.path.join(
                folder, f"events-{time.monotonic_ns()}.jsonl")
            events = [{"file": events_path}]
        listen = listen or [{"address": "127.0.0.1:0"}]
        self.settings = {"listen": listen, "workers": 2}
        if log_level:
            self.settings["log"] = {"level": log_level}
        self.settings.update(edge or {})
        self.endpoints, self.event_sinks = endpoints, events
        self.top = top or {}
        self.write()
        super().__init__(["edge", "-c", self.config_path], folder,
                         listeners=len(listen), events_path=events_path,
                         **options)

    def write(self):
        with open(self.config_path, "w") as f:
            f.write(self.text())

    def text(self):
        return yaml({"version": 1, "edge": self.settings,
                     "endpoints": self.endpoints,
                     "events": self.event_sinks, **self.top})

    def reload(self, timeout=10):
        """Writes the configuration as it is now, asks for it and says
        whether it was taken, with the log entry."""
        self.write()
        return self.reload_raw(timeout)

    def reload_raw(self, timeout=10):
        before = len(self.log_lines())
        self.kill(signal.SIGHUP)
        entry = self.wait_log(
            lambda e: e.get("msg", "").startswith(("reloaded",
                                                   "reload failed")),
            timeout, before)
        return entry["msg"].startswith("reloaded"), entry


def lunette(*arguments, **options):
    """Runs one command of the binary to its end."""
    return run([binary(), *arguments], **options)
