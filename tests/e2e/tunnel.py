"""Edges that take agents, and agents of all kinds at them."""

import os

from certificates import Pair
from document import yaml
from edge import Edge, Running
from standin_agent import TOKEN, Agent, LunetteAgent, tokens_file
from tlspeer import Refused, client_context, greeted
from waiting import until

HOST = "localhost"  # the reserved name: agents find it without a resolver
BASE = "tunnels.test"
ONLINE, OFFLINE = "endpoint_online.v0", "endpoint_offline.v0"
START, STOP = "agent_session_start.v0", "agent_session_stop.v0"
QUICK = {"heartbeat_interval": "500ms", "heartbeat_tolerance": "1500ms"}


def edge_pair(certificates):
    """What the edge shows to agents: for its name and for its addresses."""
    return certificates.once("the edge's", lambda: certificates.root.leaf(
        subject="/O=Test/CN=" + HOST, extensions=[
            f"subjectAltName=DNS:{HOST},DNS:other.{HOST},IP:127.0.0.1,"
            "IP:127.0.0.2,IP:::1"]))


class TunnelEdge(Edge):
    """An edge that takes agents, with endpoints of its own if any."""

    def __init__(self, scene, endpoints=(), *, tokens=None, agents=None,
                 edge=None, certificates=(), top=None, **options):
        self.scene = scene
        self.tokens = tokens_file(scene, f"tokens-{len(scene.edges)}.yaml",
                                  tokens)
        settings = {
            "agents": {"server_names": [HOST], "authtokens_file": self.tokens,
                       **(agents or {})},
            "base_domain": BASE, "state": scene.path("edge-state"),
            **(edge or {})}
        entries = [edge_pair(scene.certificates), *certificates]
        top = {"certificates": [
            e.settings() if isinstance(e, Pair) else e for e in entries],
            **(top or {})}
        super().__init__(scene.folder, list(endpoints), edge=settings,
                         top=top, **options)
        scene.edges.append(self)

    @property
    def address(self):
        return f"{HOST}:{self.port}"

    def set_tokens(self, tokens):
        """Other credentials, from the next reload on."""
        tokens_file(self.scene, os.path.basename(self.tokens), tokens)

    def wait_online(self, url, timeout=15, count=1):
        """The endpoint's event; `url` may be only the name."""
        url = url if "://" in url else "tls://" + url
        return self.wait_told(ONLINE, url, timeout, count)

    def wait_bound(self, url, count, timeout=15):
        """So many agents have bound it; online it is but once."""
        until(lambda: sum(e.get("msg") == "an endpoint is bound" and
                          e["url"] == "tls://" + url
                          for e in self.log_lines()) >= count, timeout,
              f"{count} agents at {url}")

    def wait_offline(self, url, timeout=15, count=1):
        url = url if "://" in url else "tls://" + url
        return self.wait_told(OFFLINE, url, timeout, count)


class Served(Running):
    """What `lunette agent` and `lunette tls --edge` have in common: they hold
    sessions, so what is open at rest is known only once they are online."""

    def __init__(self, *arguments, **options):
        options.setdefault("listeners", 0)
        super().__init__(*arguments, **options)
        self.rests = False

    def rest(self):
        """From here on no socket may be added for good."""
        self.base_sockets = self.process.sockets()
        self.rests = True

    def close(self):
        try:
            if self.rests and self.process.alive() and not self.stopped:
                self.settle()
        finally:
            self.stop()


class AgentProcess(Served):
    """`lunette agent -c FILE` with a configuration given as dictionaries."""

    def __init__(self, scene, edges, endpoints, *, names=("--all",),
                 token=TOKEN, agent=None, top=None, **options):
        number = len(scene.agents)
        self.config_path = scene.path(f"agent-{number}.yaml")
        events = scene.path(f"agent-events-{number}.jsonl")
        self.settings = {
            "edges": [getattr(edge, "address", edge) for edge in edges],
            "authtoken": token, "connect_cas": scene.certificates.ca,
            "connections": 1, "web_addr": "false",
            "workers": 2, "state": scene.path(f"agent-state-{number}"),
            **(agent or {})}
        self.endpoints = endpoints
        self.top = {"events": [{"file": events}], **(top or {})}
        self.write()
        os.chmod(self.config_path, 0o600)
        super().__init__(["agent", "-c", self.config_path, *names],
                         scene.folder, events_path=events, **options)
        scene.agents.append(self)

    def wait_online(self):
        """Until the edges' answers have come: before, it knows of no
        endpoint, whatever an edge thinks."""
        for one in self.endpoints:
            self.wait_log(lambda e, url=one["url"]: "is online" in e["msg"]
                          and e["url"] == url, 10)

    def write(self):
        with open(self.config_path, "w") as f:
            f.write(yaml({"version": 1, "agent": self.settings,
                          "endpoints": self.endpoints, **self.top}))


def agent(scene, edge, *endpoints, online=True, **options):
    """Lunette's agent at this edge (or these), its endpoints online."""
    edges = edge if isinstance(edge, (list, tuple)) else [edge]
    process = AgentProcess(scene, edges, list(endpoints), **options)
    if online:
        for one in endpoints:
            edges[0].wait_online(one["url"])
    return process


def endpoint(name, upstream, **more):
    """One endpoint of an agent's file."""
    return {"name": name.replace("*.", "any-"), "url": "tls://" + name,
            "upstream": getattr(upstream, "address", upstream), **more}


def agent_tls(pair, **more):
    """TLS that ends at the agent, with this certificate."""
    return {"agent_tls_termination": {
        "server_certificate": pair.crt, "server_private_key": pair.key,
        **more}}


def served(scene, edge, *arguments, domain="app.test", token=None,
           **options):
    """`lunette tls ... --edge`, online under this name. The token comes from
    a file, or by the arguments given instead."""
    number = len(scene.agents)
    if token is None:
        path = scene.write(f"token-{number}", TOKEN + "\n")
        os.chmod(path, 0o600)
        token = ["--authtoken-file", path]
    events = scene.path(f"tls-events-{number}.jsonl")
    command = ["tls", *map(str, arguments), "--edge", edge.address,
               *token, "--connect-cas", scene.certificates.ca,
               "--connections", "1", "--web-addr", "false", "--events",
               events]
    if domain:
        command += ["--domain", domain]
    env = {"STATE_DIRECTORY": scene.path(f"tls-state-{number}"),
           **options.pop("env", {})}
    process = Served(command, scene.folder, events_path=events, env=env,
                     **options)
    scene.agents.append(process)
    if domain:
        edge.wait_online(domain)
    return process


def standin(scene, edge, *domains, kind=Agent, **options):
    """An agent of the test's own with these endpoints bound."""
    binds = options.pop("binds", {})
    auth = options.pop("auth", {})
    made = kind(edge.port, scene.certificates.ca, **options)
    scene.agents.append(made)
    made.connect().auth(**auth)
    for domain in domains:
        made.bind(domain, **binds)
        edge.wait_online(domain)
    return made


def lunette_standin(scene, edge, *domains, **options):
    return standin(scene, edge, *domains, kind=LunetteAgent, **options)


def wait_served(scene, edge, name, timeout=10, ca=None):
    """Until a client of this name is let through to a greeting upstream."""
    context = client_context(ca or scene.certificates.ca)

    def answered():
        try:
            tls = greeted(edge.port, context, name)
        except (Refused, OSError):
            return False
        tls.close()
        return True
    until(answered, timeout, f"somebody serves {name}")
