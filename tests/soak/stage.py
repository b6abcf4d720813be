"""What the soak runs: certificates, upstreams, a name server and one edge with
every kind of endpoint."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys

from certificates import Authority
from edge import Edge
from nameserver import Nameserver
from process import free_port

HERE = os.path.dirname(os.path.abspath(__file__))
HELLO, HANDSHAKE, IDLE = 3, 5, 8  # seconds

SCRIPT = """
local lunette = require "lunette"
local corp = lunette.cas "clients.pem"
local visits = lunette.shared "visits"

local function connect(conn)
  local kind = conn.sni:match "^(%%a+)"
  visits:set(conn.client_ip, (visits:get(conn.client_ip) or 0) + 1, 60)
  lunette.sleep(math.random() / 20)
  if kind == "deny" then
    return lunette.deny "denied by name"
  end
  if kind == "boom" then
    error "on purpose"
  end
  local found = assert(lunette.resolve("up.internal.test"))
  local tls = conn:terminate {
    certificate = "script", mutual_tls = { cas = corp } }
  lunette.sleep(math.random() / 50)
  if kind == "later" then
    return lunette.deny("not you, " .. tls.client.subject.common_name)
  end
  conn:log { seen = visits:get(conn.client_ip) or 0 }
  return lunette.forward { upstream = found[1] .. ":%d" }
end

return { connect = connect, close = function(conn, summary)
  visits:set("last", summary.reason)
end }
"""


class Program:
    """One of ours, talked to by lines."""

    def __init__(self, script, first_line):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, script)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.tell(first_line)

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self):
        line = self.process.stdout.readline()
        assert line, "a program of the soak ended"
        return line.strip()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Backend:
    """A process of upstreams on ports that stay its own."""

    def __init__(self, *listeners):
        self.holders, self.entries = [], []
        for pair, proxy in listeners:
            holder = socket.socket()
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind(("127.0.0.1", 0))
            self.holders.append(holder)
            self.entries.append({"port": holder.getsockname()[1],
                                 "pair": pair, "proxy": proxy})
        self.program = None
        self.start()

    @property
    def ports(self):
        return [entry["port"] for entry in self.entries]

    def start(self):
        if self.program is None:
            self.program = Program("upstreams.py", json.dumps(self.entries))
            assert self.program.hear() == "ready"

    def kill(self):
        if self.program:
            self.program.stop()
            self.program = None

    def signal(self, number):
        if self.program:
            self.program.process.send_signal(number)

    def close(self):
        self.kill()
        for holder in self.holders:
            holder.close()


class Swapped:
    """A pair of files that the edge reads, and others to put there."""

    def __init__(self, folder, stem, pairs):
        self.crt = os.path.join(folder, stem + ".pem")
        self.key = os.path.join(folder, stem + ".key")
        self.pairs = pairs
        self.put(pairs[0])

    def put(self, pair):
        """Not at once: between the two renames they do not match."""
        for source, target in ((pair[0], self.crt), (pair[1], self.key)):
            replace(source, target)

    def spoil(self):
        with open(self.crt + ".new", "w") as f:
            f.write("-----BEGIN CERTIFICATE-----\nnothing\n")
        os.rename(self.crt + ".new", self.crt)

    def settings(self, **more):
        return {"crt": self.crt, "key": self.key, **more}


def guarded(pair):
    """The edge warns of a key that others can read."""
    os.chmod(pair.key, 0o600)
    return pair


def replace(source, target):
    shutil.copy(source, target + ".new")
    os.rename(target + ".new", target)


class Stage:
    def __init__(self, folder, seed):
        self.folder, self.seed = folder, seed
        self.make_certificates()
        self.make_backends()
        self.nameserver = Nameserver({"up.internal.test": ["127.0.0.1"]})
        self.write_script()
        self.events_path = os.path.join(folder, "events.jsonl")
        self.edge = self.make_edge()

    def path(self, name):
        return os.path.join(self.folder, name)

    def make_certificates(self):
        self.root = Authority(self.path("root"), "Soak CA")
        self.clients = Authority(self.path("clients"), "Soak clients")
        strangers = Authority(self.path("strangers"), "Soak strangers")
        hosts = [f"*.{site}.test" for site in (
            "term", "mtls", "script", "reenc", "shaky", "proxied",
            "limited")]
        # Two certificates, two keys each, so that there is always another.
        self.swapped = [
            Swapped(self.folder, kind, [
                guarded(self.root.leaf(*hosts, key=kind))
                for _ in range(3)])
            for kind in ("ec", "rsa")]
        self.upstream_pair = self.root.leaf("up.test", "*.pass.test",
                                            "*.shakypass.test")
        self.script_pair = guarded(self.root.leaf("*.script.test"))
        made = {name: self.clients.leaf(subject=f"/O=Soak/CN={name}",
                                        usage="clientAuth")
                for name in ("good", "revoked", "other", "third")}
        made["stranger"] = strangers.leaf(subject="/O=Soak/CN=stranger",
                                          usage="clientAuth")
        self.client_certs = made
        # Lists in the order in which they grew.
        self.crls = []
        for name in ("revoked", "other", "third"):
            self.clients.revoke(made[name])
            self.crls.append(self.clients.crl(self.path(f"{name}.crl")))
        self.crl = self.path("current.crl")
        replace(self.crls[0], self.crl)
        replace(self.clients.crt, self.path("clients.pem"))

    def make_backends(self):
        tls = self.upstream_pair
        self.steady = Backend((None, False), (tls, False), (None, True))
        self.shaky = [Backend((tls, False)) for _ in range(3)]

    def write_script(self):
        self.script = self.path("script.lua")
        self.good_script = SCRIPT % self.steady.ports[0]
        self.put_script(self.good_script)

    def put_script(self, text):
        with open(self.script, "w") as f:
            f.write(text)

    def endpoints(self):
        plain, tls, proxied = (f"127.0.0.1:{p}" for p in self.steady.ports)
        shaky = [f"127.0.0.1:{b.ports[0]}" for b in self.shaky]
        verified = {"verify": True, "cas": self.root.crt,
                    "server_name": "up.test"}
        mutual = {"cas": self.clients.crt, "crls": [self.crl]}

        def site(name, upstream, **more):
            return {"url": f"tls://*.{name}.test", "upstream": upstream,
                    **more}

        def ended(name, upstream, **more):
            return site(name, upstream, terminate_at="edge", **more)
        return [
            site("pass", tls),
            ended("term", plain),
            ended("mtls", plain, mutual_tls=mutual),
            site("script", plain, policy=self.script),
            ended("reenc", "tls://" + tls, upstream_tls=verified),
            ended("shaky", ["tls://" + a for a in shaky],
                  upstream_tls=verified, balance="random_two",
                  health={"every": "500ms", "fall": 2, "rise": 1}),
            site("shakypass", shaky, balance="least_connections"),
            ended("proxied", proxied, proxy_proto=2, proxy_tlvs=[
                "authority", "unique_id", "crc32c", "ssl"]),
            ended("own", plain),
            ended("limited", plain, handshakes_per_second=5),
        ]

    def sites(self):
        """What the clients know of the endpoints."""
        steady = {"steady": True, "verify": True}
        ended = {**steady, "terminated": True, "rsa": True}
        one_key = {**ended, "rsa": False}
        return {
            "pass": {**steady, "terminated": False},
            "term": ended, "reenc": ended, "proxied": ended,
            "mtls": {**ended, "client": True},
            "script": {**one_key, "client": True},
            "own": {**one_key, "verify": False},
            "shaky": {"shaky": True, "verify": True, "terminated": True},
            "shakypass": {"shaky": True, "verify": True,
                          "terminated": False},
            "limited": {"limited": True, "verify": True,
                        "terminated": True},
        }

    def make_edge(self):
        return Edge(self.folder, self.endpoints(), listen=[
            {"address": "127.0.0.1:0"},
            {"address": f"127.0.0.1:{free_port()}", "proxy_protocol": {
                "from": ["127.0.0.0/8"], "accept": [1, 2]}},
        ], edge={
            "state": self.path("state"), "local_ca": "auto",
            "resolver": {"servers": [self.nameserver.address]},
            "timeouts": {"hello": f"{HELLO}s", "handshake": f"{HANDSHAKE}s",
                         "idle": f"{IDLE}s", "connect": "1s",
                         "proxy": f"{HELLO}s", "drain": "5s"},
            "limits": {"handshakes_per_second_per_client": 100000},
        }, top={"certificates": [
            *[s.settings(name="main") for s in self.swapped],
            {"crt": self.script_pair.crt, "key": self.script_pair.key,
             "name": "script"}]},
            events=[{"file": self.events_path}], ready_timeout=30)

    def plan(self, threads, number):
        """For one process of clients."""
        return {
            "seed": f"{self.seed}-{number}", "threads": threads,
            "port": self.edge.ports[0], "proxy_port": self.edge.ports[1],
            "ca": self.root.crt, "sites": self.sites(),
            "certs": {n: list(p) for n, p in self.client_certs.items()},
            "hello": HELLO, "handshake": HANDSHAKE, "idle": IDLE,
        }

    def close(self):
        for backend in (self.steady, *self.shaky):
            backend.close()
        self.nameserver.close()
