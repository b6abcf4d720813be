"""Everything that one test runs, ended in the right order."""

import os

from client import Client, tls_client
from edge import Edge, Running
from process import Process
from servers import Servers
from tlspeer import connect, greeted, server_context
from tlsupstream import TlsUpstream, greet
from upstream import Crowd, Upstream, record


class Scene:
    def __init__(self, folder, certificates):
        self.folder = str(folder)
        self.certificates = certificates
        self.edges, self.clients = [], []
        self.agents = []  # all that hold sessions with the edges
        self.upstreams, self.processes = [], []
        self.servers = Servers(self)
        self.settles = True  # a test may say that it leaves sockets open

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        path = self.path(name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def edge(self, endpoints, **options):
        edge = Edge(self.folder, endpoints, **options)
        self.edges.append(edge)
        return edge

    def route(self, upstream, name="a.test", **endpoint):
        """An edge with one endpoint."""
        options = endpoint.pop("options", {})
        address = getattr(upstream, "address", upstream)
        return self.edge([{"url": "tls://" + name, "upstream": address,
                           **endpoint}], **options)

    def terminated(self, upstream, name="a.test", *, certificates=None,
                   **endpoint):
        """An edge with one endpoint that ends TLS here, and its certificate
        (or those given, as entries of the configuration)."""
        options = endpoint.pop("options", {})
        if certificates is None:
            certificates = [self.certificates.pair(name).settings()]
        options.setdefault("top", {})["certificates"] = certificates
        return self.route(upstream, name, terminate_at="edge",
                          options=options, **endpoint)

    def tls(self, *arguments, **options):
        """`lunette tls` with an event file."""
        events = self.path(f"tls-events-{len(self.edges)}.jsonl")
        listen = options.pop("listen", ["--listen", "127.0.0.1:0"])
        edge = Running(["tls", *map(str, arguments), *listen, "--events",
                        events], self.folder, events_path=events, **options)
        self.edges.append(edge)
        return edge

    def upstream(self, script=record, **options):
        upstream = Upstream(script, **options)
        self.upstreams.append(upstream)
        return upstream

    def greeter(self, script=greet):
        """A plain upstream that says ok to whom the edge let through."""
        return self.upstream(script)

    def tls_upstream(self, script=greet, *, names=("up.test",), pair=None,
                     ca=None, version=None, alpn=None, context=None,
                     **options):
        context = context or server_context(
            pair or self.certificates.pair(*names), ca=ca, version=version,
            alpn=alpn)
        upstream = TlsUpstream(script, context=context, **options)
        self.upstreams.append(upstream)
        return upstream

    def crowd(self, word=None):
        crowd = Crowd(word)
        self.upstreams.append(crowd)
        return crowd

    def client(self, edge, **options):
        port = edge if isinstance(edge, int) else edge.port
        client = Client(port, **options)
        self.clients.append(client)
        return client

    def tls_client(self, edge, name, **options):
        port = edge if isinstance(edge, int) else edge.port
        tls = tls_client(port, name, self.certificates.ca, **options)
        self.clients.append(tls)
        return tls

    def connect(self, edge, context, name="a.test", **options):
        """A handshake by the client of tlspeer; see there."""
        return self.own(connect, edge, context, name, options)

    def greeted(self, edge, context, name="a.test", **options):
        return self.own(greeted, edge, context, name, options)

    def own(self, how, edge, context, name, options):
        port = edge if isinstance(edge, int) else edge.port
        tls = how(port, context, name, **options)
        self.clients.append(tls)
        return tls

    def program(self, name, argv, **options):
        process = Process(name, argv, self.folder, **options)
        self.processes.append(process)
        return process

    def close(self, passed):
        """Ends all. Only a test that passed so far is held to leave nothing
        behind: else the first fault would hide under the second."""
        failures = []

        def attempt(action):
            try:
                action()
            except Exception as error:  # reported below, all of them
                failures.append(error)

        for client in self.clients:
            attempt(client.close)
        for upstream in self.upstreams:
            attempt(upstream.close)
        for agent in self.agents:
            attempt(agent.close)
        for edge in self.edges:
            if passed and self.settles and edge.process.alive() \
                    and not edge.stopped:
                attempt(edge.settle)
        for edge in self.edges:
            attempt(edge.stop)
        for process in self.processes:
            attempt(process.stop)
        if failures:
            raise AssertionError("\n".join(map(str, failures)))
