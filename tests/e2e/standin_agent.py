"""Agents of the test's own: one as the SDKs are (TLS without ALPN) and one as
Lunette's is (ALPN lunette/1, a proof instead of the token, data connections).
They behave as far as the test lets them."""

import base64
import json
import os
import queue
import re
import struct
import threading

import dataconnection as data
import tunnelpeer
from document import yaml
from muxado import (AUTH, BIND, DATA_CONNECTIONS, MOVING, PROXY, UNBIND, Mux,
                    Stream)
from tlspeer import client_context, connect
from tunnelpeer import dial
from upstream import Arrival, echo
from waiting import PATIENCE

NUMBER = re.compile(r"^ERR_NGROK_(\d+)$", re.MULTILINE)
TOKEN = "an-agents-token-of-the-tests"


class Denied(Exception):
    """The edge answered with an error."""

    def __init__(self, text):
        super().__init__(text)
        found = NUMBER.search(text)
        self.number = int(found[1]) if found else None


def encoded(value):
    """Bytes as messages have them."""
    return base64.b64encode(value).decode()


def pem(path):
    with open(path, "rb") as f:
        return encoded(f.read())


class Carried(Arrival):
    """One client's connection as it reached the agent. `sock` is a stream or
    a data connection; scripts of upstream.py work with it."""

    def __init__(self, sock, header=None, opened=None, link=None):
        super().__init__(sock, None)
        self.header, self.opened, self.link = header, opened, link
        if isinstance(sock, Stream):
            self.sock = Patient(sock)

    @property
    def is_direct(self):
        return self.link is not None

    def close(self):
        self.sock.close()


class Patient:
    """A stream for threads that may wait as long as the test lasts."""

    def __init__(self, stream):
        self.stream = stream

    def recv(self, size):
        return self.stream.recv(size, timeout=600)

    def __getattr__(self, name):
        return getattr(self.stream, name)


class Link:
    """One data connection, step by step."""

    def __init__(self, agent, counter, mode, preface=None):
        self.agent, self.counter, self.mode = agent, counter, mode
        self.keys = agent.keys
        self.preface = preface or agent.keys.preface(counter, mode)
        self.sock = self.opened = None
        self.closed = False  # by us
        self.wire = b""  # of OPEN

    def dial(self, **options):
        """Connects and says the preface; in mode 1 shakes hands."""
        self.sock = dial(self.agent.port)
        self.port = self.sock.getsockname()[1]
        if self.mode == data.RAW:
            self.sock.sendall(self.preface)
            return self
        self.sock = tunnelpeer.Peer(self.sock, "client", **{
            "sni": self.agent.name, "alpn": data.ALPN, "version": "1.3",
            "ciphers": data.CIPHERS, "groups": "X25519",
            "identity": self.preface, "psk": self.keys.psk(self.preface),
            **options})
        self.sock.handshake()
        return self

    def read_open(self, timeout=70):
        self.sock.settimeout(timeout * PATIENCE)
        self.wire = data.read_record(self.sock)
        self.opened = data.Opened(
            *self.keys.read_open(self.preface, self.wire))
        return self.opened

    def answer(self, reason=0, **how):
        self.sock.sendall(self.keys.answer(
            self.preface, self.opened.salt, reason, **how))

    def read_hello(self):
        """The ClientHello that OPEN announced."""
        return data.read_exactly(self.sock, self.opened.routing.length)

    def is_closed(self, timeout=5):
        """The edge closed it without a byte."""
        if self.closed:
            return True
        self.sock.settimeout(timeout * PATIENCE)
        try:
            return self.sock.recv(1) == b""
        except OSError:  # reset, or closed here before
            return True

    def close(self):
        self.closed = True
        if self.sock:
            self.sock.close()


class Agent:
    """A session with an edge. `script` serves each connection."""

    def __init__(self, port, ca, *, name="localhost", token=TOKEN,
                 script=echo, **mux_options):
        self.port, self.ca, self.name, self.token = port, ca, name, token
        self.script = script
        self.mux_options = mux_options
        self.client_id = self.cookie = ""
        self.bound, self.tokens = {}, {}  # id: URL, id: token
        self.arrivals, self.taken = queue.Queue(), []
        self.serving = True  # else streams wait in mux.accepted
        self.mux = None

    def carrier(self):
        return connect(self.port, client_context(self.ca), self.name,
                       timeout=60)

    def connect(self):
        carrier = self.carrier()
        carrier.settimeout(None)
        self.mux = Mux(carrier, "agent", **self.mux_options)
        if self.serving:
            self.mux.on_stream = self.serve
        self.mux.start()
        return self

    def said(self):
        """The Extra of Auth that proves who we are."""
        return {"AuthToken": self.token}

    def auth(self, **change):
        """Authenticates; what is given goes into Extra."""
        extra = {"OS": "linux", "Arch": "x86_64", "Version": "1.7.0",
                 "Hostname": "", "UserAgent": "standin/1", "Metadata": "",
                 "Cookie": self.cookie, "HeartbeatInterval": 10 ** 10,
                 "HeartbeatTolerance": 15 * 10 ** 9,
                 "UpdateUnsupportedError": "no", "StopUnsupportedError": "",
                 "RestartUnsupportedError": "", "ClientType": "standin",
                 **self.said(), **change.pop("extra", {})}
        self.response = self.mux.request(AUTH, {
            "Version": ["3", "2"], "ClientId": self.client_id,
            "Extra": extra, **change})
        self.check(self.response)
        self.client_id = self.response["ClientId"]
        self.cookie = self.response["Extra"]["Cookie"]
        return self

    @staticmethod
    def check(response):
        if response.get("Error"):
            raise Denied(response["Error"])
        return response

    def request_bind(self, domain="", *, given="", token="", opts=None,
                     extra=None, proto="tls"):
        return self.mux.request(BIND, {
            "Id": given, "Proto": proto, "ForwardsTo": "tcp://test",
            "ForwardsProto": "", "Opts": {
                "Domain": domain, "Hostname": "", "Subdomain": "",
                "ProxyProto": 0, "MutualTLSAtAgent": False,
                "MutualTLSAtEdge": None, "TLSTermination": None,
                "IPRestriction": None, "TrafficPolicy": None,
                **(opts or {})},
            "Extra": {"Token": token, "IPPolicyRef": "", "Metadata": "",
                      "Bindings": [], "PoolingEnabled": False,
                      **(extra or {})}})

    def bind(self, domain="", **options):
        """The id of the new endpoint; Denied if the edge refuses."""
        response = self.check(self.request_bind(domain, **options))
        given = response["Id"]
        self.bound[given] = response["URL"]
        self.tokens[given] = response["Extra"]["Token"]
        return given

    def unbind(self, given):
        self.check(self.mux.request(UNBIND, {"Id": given}))
        self.bound.pop(given, None)

    # Connections.

    def serve(self, stream):
        if stream.kind == PROXY:
            self.serve_proxy(stream)
        else:
            answer = self.on_request(stream.kind, stream.hear())
            try:
                stream.say(answer)
            except OSError:
                pass  # the session has gone meanwhile

    def on_request(self, kind, request):
        return {"Error": ""}

    def serve_proxy(self, stream):
        size = struct.unpack("<Q", stream.read(8))[0]
        header = json.loads(stream.read(size))
        self.arrived(Carried(stream, header))

    def arrived(self, carried):
        self.taken.append(carried)
        self.arrivals.put(carried)
        self.script(carried)

    def next(self, timeout=10):
        """The next connection that no call returned yet."""
        return self.arrivals.get(timeout=timeout * PATIENCE)

    def close(self):
        if self.mux:
            self.mux.close()

    def kill(self):
        """No word, only the end of TCP."""
        self.close()


class LunetteAgent(Agent):
    """As Lunette's own. With `direct` it opens the data connections that it
    is asked for and serves them; else `asks` has the requests for a test
    that wants to do it by itself."""

    def __init__(self, *arguments, direct=True, accepts=True, **options):
        super().__init__(*arguments, **options)
        self.direct, self.accepts = direct, accepts
        self.asks = queue.Queue()
        self.links = []
        self.keys = self.session = None
        self.moving = threading.Event()
        self.ends = []  # DataEnd messages of the edge

    def carrier(self):
        self.peer = tunnelpeer.connect(
            self.port, sni=self.name, ca=self.ca, alpn="lunette/1",
            version="1.3")
        assert self.peer.facts["alpn"] == "lunette/1", self.peer.facts
        return self.peer

    def said(self):
        token = self.token.encode()
        binding = self.peer.export("EXPORTER-lunette-token")
        return {"TokenId": encoded(data.token_id(token)),
                "Proof": encoded(data.prove(token, binding))}

    def auth(self, **change):
        super().auth(**change)
        self.session = base64.b64decode(self.response["Extra"]["SessionId"])
        assert len(self.session) == 16
        self.keys = data.Keys.of(self.peer, self.session)
        return self

    def on_request(self, kind, request):
        if kind == DATA_CONNECTIONS:
            self.asks.put(request)
            if self.direct:
                for counter in range(request["First"], request["First"] +
                                     request["Count"]):
                    threading.Thread(
                        target=self.serve_link,
                        args=(self.link(counter, request["Mode"]),),
                        daemon=True).start()
        elif kind == MOVING:
            self.moving.set()
        else:
            self.ends.append(request)
        return {"Error": ""}

    def link(self, counter, mode=data.RAW, **options):
        link = Link(self, counter, mode, **options)
        self.links.append(link)
        return link

    def asked(self, timeout=10):
        """The next request for data connections, and a link for each."""
        request = self.asks.get(timeout=timeout * PATIENCE)
        return [self.link(counter, request["Mode"]) for counter in range(
            request["First"], request["First"] + request["Count"])]

    def serve_link(self, link):
        try:
            link.dial().read_open()
        except (OSError, EOFError):
            link.close()
            return
        link.sock.settimeout(None)
        if self.accepts:
            link.answer()
        self.arrived(Carried(link.sock, opened=link.opened, link=link))

    def serve_proxy(self, stream):
        size = struct.unpack("<Q", stream.read(8))[0]
        header = json.loads(stream.read(size))
        opened = data.Opened(base64.b64decode(header["Open"]), None)
        self.arrived(Carried(stream, header, opened))

    def close(self):
        super().close()
        for link in self.links:
            link.close()


def tokens_file(scene, name="tokens.yaml", tokens=None):
    """A file for edge.agents.authtokens_file: everything for TOKEN, or the
    entries given."""
    if tokens is None:
        tokens = [{"name": "tests", "token": TOKEN}]
    path = scene.write(name, yaml({"tokens": tokens}))
    os.chmod(path, 0o600)
    return path
