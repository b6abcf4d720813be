"""A process of clients, good and bad, in several threads. Standard input has a
line of JSON that says where everything is, then lines "SECONDS": each is a
round, answered by one line of JSON with what was done and what went wrong.

The first label of the name that a client asks for is its kind: by that the
ledger knows what may stand in its event."""

import collections
import json
import os
import random
import socket
import ssl
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))

import hello  # noqa: E402
import proxyheader  # noqa: E402
from client import Client  # noqa: E402
from exchange import (FINE, Cut, Pouring, Wrong, exactly, expect,  # noqa: E402
                      request, to_the_end)
from tlspeer import Refused, Tls, client_context  # noqa: E402

RSA_ONLY = "ECDHE-RSA-AES128-GCM-SHA256"
OVER_LIMIT, POLICY_DENIED, UNKNOWN_NAME = 80, 49, 112


class Player(threading.Thread):
    """One thread: one client after the other until the round is over."""

    def __init__(self, plan, shared, seed, until):
        super().__init__()
        self.plan, self.until = plan, until
        self.contexts, self.sessions = shared
        self.rng = random.Random(seed)
        self.named = collections.Counter()  # connections by name asked for
        self.done = collections.Counter()
        self.faults = []
        self.start()

    def run(self):
        while time.monotonic() < self.until:
            names = list(KINDS)
            kind = self.rng.choices(
                names, [KINDS[n][0] for n in names])[0]
            try:
                KINDS[kind][1](self)
                self.done[kind] += 1
            except Exception as error:  # each is a fault of the edge
                self.faults.append(f"{kind}: {type(error).__name__} {error}")

    # Connections.

    def open(self, name, port=None, buffer=None):
        """A TCP connection, counted under the name that it will ask for;
        None: it will never get that far."""
        client = Client(port or self.plan["port"], timeout=60,
                        source=f"127.0.0.{self.rng.randrange(2, 10)}",
                        receive_buffer=buffer)
        self.named[name or ""] += 1
        return client

    def context(self, site, cert=None):
        """One of a few, so that sessions can be resumed."""
        version = self.rng.choice(["1.2", "1.3", "1.3"])
        rsa = version == "1.2" and site.get("rsa") and \
            self.rng.random() < 0.5
        if cert is None and site.get("client"):
            cert = self.plan["certs"]["good"]
        key = (version, bool(rsa), tuple(cert or ()), site["verify"])
        with self.contexts["lock"]:
            if key not in self.contexts:
                self.contexts[key] = client_context(
                    self.plan["ca"] if site["verify"] else None,
                    version=version, cert=cert,
                    ciphers=RSA_ONLY if rsa else None)
        return key, self.contexts[key]

    def handshake(self, client, name, site, cert=None):
        """With a session, if there is one. That of one certificate must not
        be shown with another, so its key has both."""
        key, context = self.context(site, cert)
        known = (key, name) if site["terminated"] else None
        tls = Tls(client.sock, context, name=name,
                  session=self.sessions.pop(known, None)
                  if self.rng.random() < 0.7 else None)
        tls.known = known
        tls.handshake()
        self.done["resumed"] += bool(tls.resumed)
        self.done["handshakes"] += 1
        return tls

    def keep_session(self, tls):
        if tls.known and tls.session:
            self.sessions[tls.known] = tls.session

    def site(self, *wanted):
        names = [n for n, s in self.plan["sites"].items()
                 if all(s.get(w) for w in wanted)]
        name = self.rng.choice(names)
        return name, self.plan["sites"][name]

    def size(self, most):
        """As often a few bytes as many."""
        return int(most ** self.rng.random()) if self.rng.random() < 0.95 \
            else 0

    # Exchanges.

    def exchange(self, tls, port, up, down, shut=False, pace=None):
        offsets = self.rng.randrange(2 ** 30), self.rng.randrange(2 ** 30)
        tls.sendall(request(up, down, *offsets, port))
        pouring = Pouring(tls, up, offsets[0], shut)
        try:
            expect(tls, down, offsets[1], pace)
            verdict = exactly(tls, 1)
        except BaseException:
            tls.sock.close()
            pouring.join()
            raise
        pouring.finish()
        if verdict != FINE:
            raise Wrong(f"the upstream's verdict is {verdict!r}")
        self.done["bytes"] += up + down
        if not shut:
            tls.shutdown(1)
        if not to_the_end(tls):
            raise Wrong("bytes after the end")
        self.keep_session(tls)

    def talk(self, kind, most=1 << 18, shut=False, pace=None, buffer=None):
        """A whole exchange with a site. Only where upstreams are being
        killed or handshakes are limited may it fail."""
        label, site = self.site()
        name = f"{kind}.{label}.test"
        header = b""
        announced = 0
        if self.rng.random() < 0.15:
            client = self.open(name, self.plan["proxy_port"], buffer)
            announced = self.rng.randrange(1024, 65536)
            make = self.rng.choice([proxyheader.v1, proxyheader.v2])
            header = make(f"192.0.2.{self.rng.randrange(256)}", announced)
        else:
            client = self.open(name, buffer=buffer)
        try:
            client.send(header)
            tls = self.handshake(client, name, site)
            self.exchange(tls, announced or client.port, self.size(most),
                          self.size(most), shut, pace)
        except Refused as refused:
            if not (site.get("shaky") or site.get("limited") and
                    refused.alert == OVER_LIMIT):
                raise
            self.done["lost"] += bool(site.get("shaky"))
            self.done["over the limit"] += bool(site.get("limited"))
        except (OSError, Cut) as error:
            if not site.get("shaky"):
                raise type(error)(f"{name}: {error}") from None
            self.done["lost"] += 1
        finally:
            client.close()

    def good(self):
        self.talk("good", 1 << self.rng.choice([10, 14, 18, 21]))

    def half(self):
        """Says that it has no more before it has read anything."""
        self.talk("half", shut=True)

    def slow(self):
        self.talk("slow", 1 << 17, buffer=4096, pace=lambda: time.sleep(
            self.rng.random() / 20))

    def long(self):
        """Sees reloads, and upstreams that die."""
        self.talk("long", 1 << 19, pace=lambda: time.sleep(
            self.rng.random() / 3))

    # Those that break off.

    def midway(self, kind, *wanted, down=1 << 23):
        """In the middle of a relay: the handshake is done, some bytes came."""
        label, site = self.site("steady", *wanted)
        name = f"{kind}.{label}.test"
        client = self.open(name)
        try:
            tls = self.handshake(client, name, site)
            tls.sendall(request(1 << 20, down, 0, 0))
            if down:
                expect(tls, self.rng.randrange(1, down // 2), 0)
        except BaseException:
            client.close()
            raise
        return client, tls

    def reset(self):
        client, _ = self.midway("reset")
        client.reset()

    def vanish(self):
        """FIN without close_notify and with bytes unread."""
        client, _ = self.midway("vanish")
        client.close()

    def stall(self):
        """Reads no more, though much is on its way."""
        client, _ = self.midway("stall")
        time.sleep(self.plan["idle"] * 1.5 + 1)
        client.close()

    def silent(self):
        """Says no more: the edge must end it."""
        client, tls = self.midway("silent", down=0)
        self.must_end(tls, client, self.plan["idle"])

    def must_end(self, sock, client, seconds):
        began = time.monotonic()
        try:
            while sock.recv(65536):
                pass
        except (Refused, ConnectionError, ssl.SSLError):
            pass
        finally:
            client.close()
        took = time.monotonic() - began
        if took > seconds * 2 + 3:
            raise Wrong(f"stuck for {took:.1f} s, {seconds} s allowed")

    def corrupt(self):
        client, _ = self.midway("corrupt", "terminated")
        client.send(b"\x17\3\3\0\x40" + self.rng.randbytes(64))
        self.must_end(client.sock, client, 2)

    def mute(self):
        """Leaves the handshake open."""
        name = f"mute.{self.site('terminated', 'steady')[0]}.test"
        client = self.open(name)
        client.send(hello.python_hello(name))
        self.must_end(client.sock, client, self.plan["handshake"])

    def quit(self):
        """Leaves in the middle of the handshake."""
        name = f"quit.{self.site('terminated', 'steady')[0]}.test"
        client = self.open(name)
        client.send(hello.python_hello(name))
        client.read(self.rng.randrange(1, 100))
        client.reset() if self.rng.random() < 0.5 else client.close()

    def part(self):
        """A part of a hello, then nothing, the end, or a reset."""
        wire = hello.python_hello("part.term.test")
        client = self.open(None)
        client.send(wire[:self.rng.randrange(len(wire) - 1)])
        how = self.rng.choice(["wait", "close", "reset"])
        if how == "wait":
            self.must_end(client.sock, client, self.plan["hello"])
        elif how == "close":
            client.close()
        else:
            client.reset()

    def drip(self):
        """A hello byte by byte is served all the same."""
        name = "burst.pass.test"
        client = self.open(name)
        wire = hello.python_hello(name)
        for at in range(0, len(wire), 16):
            client.send(wire[at:at + 16])
        client.read(100)
        client.close()

    def garbage(self):
        port = self.rng.choice(["port", "proxy_port"])
        client = self.open(None, self.plan[port])
        client.send(self.rng.choice([
            b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", b"\x16\3\1\0\5hello",
            b"\x80" + self.rng.randbytes(99), b"\x15\3\1\0\2\2\x28",
            b"PROXY TCP4 1.2.3.4 nonsense\r\n", proxyheader.SIGNATURE +
            self.rng.randbytes(40)]))
        self.must_end(client.sock, client, self.plan["hello"])

    def burst(self):
        """Many at once, none of which goes on."""
        names = [f"burst.{self.rng.choice(['pass', 'term'])}.test"
                 for _ in range(self.rng.randrange(2, 50))]
        clients = [self.open(name) for name in names]
        for client, name in zip(clients, names):
            client.hello(name)
        for client in clients:
            client.read(self.rng.randrange(1, 6))
            client.close()
        self.done["in bursts"] += len(names)

    # Those that must not get in.

    def refused(self, kind, label, cert=None, alert=None):
        """The alert's number, if it is known; never a byte from behind."""
        name = f"{kind}.{label}.test"
        site = self.plan["sites"].get(label, {"verify": False,
                                              "terminated": False})
        client = self.open(name)
        try:
            tls = self.handshake(client, name, {**site, "client": False},
                                 cert)
            tls.sendall(request(0, 8, 0, 0))
            data = tls.recv(64)
        except Refused as refused:
            if alert and refused.alert != alert:
                raise
            return
        except ConnectionError:
            return
        finally:
            client.close()
        if data:
            raise Wrong(f"{name} was let in and got {data!r}")

    def stranger(self):
        self.refused("stranger", self.rng.choice(["mtls", "script"]),
                     self.plan["certs"]["stranger"])

    def revoked(self):
        self.refused("revoked", "mtls", self.plan["certs"]["revoked"])

    def nobody(self):
        self.refused("nobody", self.rng.choice(["mtls", "script"]))

    def deny(self):
        self.refused("deny", "script", self.plan["certs"]["good"],
                     POLICY_DENIED)

    def later(self):
        """Denied once it has been seen who it is."""
        self.refused("later", "script", self.plan["certs"]["good"])

    def boom(self):
        """The script fails: nothing falls through to allow."""
        self.refused("boom", "script", self.plan["certs"]["good"])

    def unknown(self):
        self.refused("unknown", f"n{self.rng.randrange(10 ** 6)}",
                     alert=UNKNOWN_NAME)


KINDS = {
    "good": (40, Player.good), "half": (10, Player.half),
    "slow": (3, Player.slow), "long": (2, Player.long),
    "reset": (4, Player.reset),
    "vanish": (3, Player.vanish), "stall": (0.5, Player.stall),
    "silent": (0.5, Player.silent), "corrupt": (3, Player.corrupt),
    "mute": (0.5, Player.mute), "quit": (4, Player.quit),
    "part": (4, Player.part), "drip": (2, Player.drip),
    "garbage": (4, Player.garbage), "burst": (2, Player.burst),
    "stranger": (4, Player.stranger), "revoked": (3, Player.revoked),
    "nobody": (3, Player.nobody), "deny": (3, Player.deny),
    "later": (3, Player.later), "boom": (1, Player.boom),
    "unknown": (3, Player.unknown),
}


def main():
    plan = json.loads(sys.stdin.readline())
    shared = {"lock": threading.Lock()}, {}  # contexts, sessions
    for number, line in enumerate(sys.stdin):
        until = time.monotonic() + float(line)
        players = [Player(plan, shared, f"{plan['seed']}-{number}-{n}",
                          until) for n in range(plan["threads"])]
        named, done = collections.Counter(), collections.Counter()
        faults = []
        for player in players:
            player.join()
            named += player.named
            done += player.done
            faults += player.faults
        print(json.dumps({"named": named, "done": done, "faults": faults}),
              flush=True)


if __name__ == "__main__":
    main()
