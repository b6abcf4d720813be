"""Who is measured for the tunnel: Lunette's edge and agent, and peers that put
each connection into a TLS connection of its own between two processes.

The edge is where clients connect, the agent where the upstream is. All of them
encrypt with AES-128-GCM, if they do, and the edge and its peers know whom they
speak with: Lunette by its local CA and a token, the others by the certificate.
"""

import os
import subprocess
import time
from collections import namedtuple

from contestants import Lunette
from processes import Failure, free_port, stop
from terminators import GROUPS, SUITES, HaproxyTerminates, Stunnel

TOKEN = "the-token-of-the-benchmarks"


class Ends(namedtuple("Ends", "edge agent")):
    """The two processes of a tunnel."""

    def poll(self):
        codes = (each.poll() for each in self)
        return next((code for code in codes if code is not None), None)


class Tunnel:
    at_edge = False  # whether the client's TLS ends there

    def stop(self, ends):
        for each in reversed(ends):
            stop(each)

    def check(self):
        """Raises Failure if it did not do what it stands for."""


class LunetteTunnel(Tunnel, Lunette):
    """One session, and data connections beside it."""

    agents = ""  # more of edge.agents

    @property
    def log_path(self):
        return os.path.join(self.bench.folder, self.slug + ".log")

    def state(self, end):
        return os.path.join(self.bench.folder, f"{self.slug}-{end}-state")

    def config(self, work):
        """The edge's."""
        tokens = self.write("tokens.yaml", "tokens:\n  - name: bench\n"
                            f"    token: {TOKEN}\n")
        os.chmod(tokens, 0o600)
        return "\n".join(self.edge_lines() + [
            "  local_ca: auto", f"  state: {self.state('edge')}",
            "  agents: {server_names: [localhost], "
            f"authtokens_file: {tokens}{self.agents}}}",
            "certificates:", f"  - crt: {self.bench.folder}/ecdsa.pem"]) + "\n"

    def agent_config(self, work, port):
        place = "edge" if self.at_edge else "upstream"
        lines = ["version: 1", "agent:", f"  edges: [\"localhost:{port}\"]",
                 f"  authtoken: {TOKEN}",
                 f"  connect_cas: {self.state('edge')}/local-ca.pem",
                 "  connections: 1", "  web_addr: false",
                 f"  workers: {self.bench.workers}",
                 f"  state: {self.state('agent')}", "endpoints:"]
        for name, sink in self.upstreams(work):
            lines += [f"  - name: {name}", f"    url: tls://{name}",
                      f"    terminate_at: {place}",
                      f"    upstream: 127.0.0.1:{sink}"]
        return "\n".join(lines) + "\n"

    def start(self, work):
        edge, port = super().start(work)
        agent = None
        try:
            agent = self.start_agent(work, port)
            self.wait_bound(agent, len(self.upstreams(work)))
        except (Failure, OSError):
            self.stop([each for each in (edge, agent) if each])
            raise
        return Ends(edge, agent), port

    def start_agent(self, work, port):
        path = self.write("agent.yaml", self.agent_config(work, port))
        os.chmod(path, 0o600)
        log = os.path.join(self.bench.folder, self.slug + "-agent.log")
        with open(log, "w") as f:
            return subprocess.Popen(
                [self.binary, "agent", "-c", path, "--all"],
                stdin=subprocess.DEVNULL, stdout=f, stderr=f)

    def wait_bound(self, agent, count):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and agent.poll() is None:
            if self.log_text().count("an endpoint is bound") == count:
                return
            time.sleep(0.002)
        raise Failure(f"the agent of {self.name} did not get online")

    def log_text(self):
        with open(self.log_path) as f:
            return f.read()

    def check(self):
        if "data connections do not come" in self.log_text():
            raise Failure("it went without data connections")


class LunetteMultiplexed(LunetteTunnel):
    """All in the session."""

    agents = ", data_connections: never"


class LunetteEncrypted(LunetteTunnel):
    """What is encrypted by the client once more."""

    agents = ", data_encryption: always"


class LunetteTunnelAtEdge(LunetteTunnel):
    at_edge = True


class LunetteMultiplexedAtEdge(LunetteMultiplexed):
    at_edge = True


class PeerTunnel(Tunnel):
    """Its agent is a server that terminates TLS, for one kind of work."""

    def upstreams(self, work):
        return [("short.bench", self.sink(work))]

    def start(self, work):
        agent, agent_port = super().start(work)
        try:
            edge, port = self.start_edge(agent_port)
        except (Failure, OSError):
            stop(agent)
            raise
        return Ends(edge, agent), port


class StunnelTunnel(PeerTunnel, Stunnel):
    def start_edge(self, agent_port):
        port = free_port()
        path = self.write("edge.conf", f"""\
foreground = yes
pid =
debug = crit
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[bench]
client = yes
accept = 127.0.0.1:{port}
connect = 127.0.0.1:{agent_port}
verifyPeer = yes
CAfile = {self.pem_path}
sslVersionMin = TLSv1.3
ciphersuites = {SUITES}
curves = {GROUPS}
""")
        return self.run([self.binary, path], port)


class HaproxyTunnel(PeerTunnel, HaproxyTerminates):
    def start_edge(self, agent_port):
        port = free_port()
        tls = f" ssl crt {self.pem_path} curves {GROUPS}" \
            if self.at_edge else ""
        path = self.write("edge.cfg", f"""\
global
    nbthread {self.bench.workers}
    maxconn 9500
    ssl-default-bind-ciphersuites {SUITES}
    ssl-default-server-ciphersuites {SUITES}
    {self.tuning}
defaults
    mode tcp
    timeout connect 5s
    timeout client 10m
    timeout server 10m
listen edge
    bind 127.0.0.1:{port}{tls}
    default-server ssl verify required ca-file {self.pem_path}
    server agent 127.0.0.1:{agent_port}
""")
        return self.run([self.binary, "-db", "-q", "-f", path], port)


class HaproxyTunnelBulk(HaproxyTunnel):
    tuning = "tune.bufsize 65536"


class HaproxyTunnelAtEdge(HaproxyTunnel):
    at_edge = True


class HaproxyTunnelAtEdgeBulk(HaproxyTunnelBulk):
    at_edge = True
