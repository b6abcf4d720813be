"""The books of the soak: what clients did against what the edge says of it."""

import collections
import json
import os
import re

from edge import Tail

# What an event may say of a connection, by the kind of its client. The kinds
# that are not here leave before they have said who they are.
LEFT = {"client_closed", "client_reset", "handshake_failed"}
SERVED = {"client_closed", "upstream_closed"}
REASONS = {
    "good": SERVED, "half": SERVED, "slow": SERVED, "long": SERVED,
    "reset": {"client_reset"}, "vanish": {"client_reset", "client_closed"},
    "stall": {"idle_timeout"}, "silent": {"idle_timeout"},
    "corrupt": {"tls_failed"},
    "mute": {"handshake_timeout"}, "quit": LEFT,
    "burst": LEFT | SERVED | {"upstream_reset"},
    "stranger": {"client_certificate_invalid"},
    "revoked": {"client_certificate_invalid"},
    "nobody": {"client_certificate_missing"},
    "deny": {"denied_policy"}, "later": {"denied_policy"},
    "boom": {"policy_error"}, "unknown": {"unknown_name"},
}
NAMELESS = {"client_closed", "client_reset", "hello_timeout", "not_tls",
            "hello_malformed", "proxy_malformed", "proxy_timeout"}
# Upstreams that are killed and stopped end their connections in every way.
SHAKY = SERVED | {
    "client_reset", "upstream_reset", "upstream_refused", "upstream_timeout",
    "upstream_unreachable", "upstream_tls_failed", "idle_timeout",
    "handshake_timeout", "endpoint_offline"}

# Warnings and errors that the soak provokes. Anything else is a fault.
PROVOKED = re.compile("|".join([
    "configuration error", "reload failed, the old configuration stays",
    "upstream is down", "no upstream could be reached", "policy failed",
    "an old policy version is dropped",
    "certificate not replaced, the old one stays",
    "a client's certificate is refused", "PROXY header refused",
    "too many TLS handshakes in a second",
    "names without a certificate get one of the local CA",
]))


def allowed(name):
    """The reasons for a connection that asked for this name."""
    if not name:
        return NAMELESS
    kind, site = name.split(".")[:2]
    if site.startswith("shaky"):
        return SHAKY
    reasons = REASONS.get(kind, set())
    return reasons | {"limit"} if site == "limited" else reasons


class Ledger:
    def __init__(self, events_path, edge):
        self.events_path, self.edge = events_path, edge
        self.tails = [Tail(events_path)]
        self.rotations = 0
        self.asked = collections.Counter()  # by the clients, by name
        self.told = collections.Counter()  # by events, by name
        self.reasons = collections.Counter()
        self.done = collections.Counter()
        self.logged = collections.Counter()
        self.seen = set()
        self.faults = []
        self.log_read = 0

    def fault(self, text):
        self.faults.append(text)

    # From the clients.

    def take_report(self, report):
        self.asked.update(report["named"])
        self.done.update(report["done"])
        self.faults += report["faults"]

    @property
    def connections(self):
        return sum(self.asked.values())

    @property
    def events(self):
        return sum(self.told.values())

    # From the edge.

    def rotate(self):
        """Moves the file away; the edge is to be told."""
        moved = f"{self.events_path}.{self.rotations}"
        os.rename(self.events_path, moved)
        self.rotations += 1
        self.tails[-1].path = moved
        self.tails.append(Tail(self.events_path))

    def read_events(self):
        for tail in self.tails:
            for line in tail.lines():
                self.take_event(line)
        # The last but one may still be written to when this comes.
        for tail in self.tails[:-2]:
            if tail.partial:
                self.fault(f"half an event: {tail.partial!r}")
            os.unlink(tail.path)
        del self.tails[:-2]

    def take_event(self, line):
        try:
            event = json.loads(line)
        except ValueError:
            self.fault(f"not an event: {line[:200]!r}")
            return
        if event["event_type"] != "tcp_connection_closed.v0":
            return
        told = event["object"]
        name = told["conn"].get("server_name", "")
        reason = told["close"]["reason"]
        self.told[name] += 1
        self.reasons[reason] += 1
        if hash(told["conn"]["id"]) in self.seen:
            self.fault(f"two events of one connection: {line!r}")
        self.seen.add(hash(told["conn"]["id"]))
        if reason not in allowed(name):
            self.fault(f"{name or 'nameless'} ended by {reason}: "
                       f"{line.decode()}")

    def read_log(self):
        for entry in self.edge.log_lines()[self.log_read:]:
            if entry.get("level") not in ("warn", "error"):
                continue
            message = entry.get("msg", "")
            self.logged[message] += 1
            if not PROVOKED.match(message):
                self.fault(f"in the log: {entry}")
        self.log_read = len(self.edge.log)

    def balance(self):
        """Whom the edge did not tell of, and who never was."""
        off = []
        for name in self.asked.keys() | self.told.keys():
            asked, told = self.asked[name], self.told[name]
            if asked != told:
                off.append(f"{name or 'nameless'}: {asked} connections, "
                           f"{told} events")
        return off
