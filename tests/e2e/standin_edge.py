"""An edge of the test's own, for agents that are real: SDKs, and (`lunette`)
Lunette's own, with data connections. It speaks the agent protocol over TLS,
keeps every message, and answers and asks as the test says."""

import base64
import json
import os
import queue
import socket
import struct
import threading

import dataconnection as data
import muxado
import tunnelpeer
from muxado import AUTH, BIND, PROXY, SRVINFO, UNBIND, Dead, Mux
from tlspeer import Refused, Tls, server_context
from waiting import PATIENCE, until

NAMES = {AUTH: "Auth", BIND: "Bind", UNBIND: "Unbind", SRVINFO: "SrvInfo",
         muxado.LABEL: "StartTunnelWithLabel", muxado.DATA_END: "DataEnd"}


class Direct:
    """A data connection as it came to the edge."""

    def __init__(self, session, sock, preface):
        self.session, self.sock, self.preface = session, sock, preface
        self.mode = preface[7]
        self.counter = int.from_bytes(preface[24:32], "big")
        self.salt = os.urandom(16)

    def open(self, header, **options):
        """OPEN with this PROXY header, and what is to follow it."""
        after = options.pop("after", b"")
        self.sock.sendall(self.session.keys.open(
            self.preface, header, salt=self.salt, **options) + after)
        return self

    def answer(self, timeout=10):
        """The reason in the agent's ANSWER, 0 if it accepts."""
        self.sock.settimeout(timeout * PATIENCE)
        status, reason = self.session.keys.read_answer(
            self.preface, self.salt, data.read_record(self.sock))
        assert status == (reason != 0)
        return reason

    def is_closed(self, timeout=10):
        """The agent closed it without a byte."""
        self.sock.settimeout(timeout * PATIENCE)
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.sock.close()


class Session:
    """One agent's session at the stand-in."""

    def __init__(self, edge, carrier, peer):
        self.edge, self.peer = edge, peer
        self.carrier = carrier
        self.messages = []  # (name, request) in the order of their coming
        self.streams = []
        self.bound = {}  # the ids that we gave, and the requests
        self.id = os.urandom(16)
        self.directs = queue.Queue()
        if edge.lunette:
            self.keys = data.Keys.of(carrier, self.id)
        self.mux = Mux(carrier, "edge", **edge.mux_options)
        self.mux.on_stream = self.serve
        self.mux.start()

    def serve(self, stream):
        """One request of the agent."""
        self.streams.append(stream)
        name = NAMES.get(stream.kind, hex(stream.kind))
        try:
            request = stream.hear()
        except (AssertionError, OSError, Dead):
            request = None
        response = self.edge.response(self, name, request)
        self.messages.append((name, request))
        if response is not None:
            try:
                stream.say(response)
            except OSError:
                pass

    def all(self, name):
        return [request for n, request in list(self.messages) if n == name]

    def message(self, name, timeout=10, count=1):
        """The request number `count` of this name."""
        until(lambda: len(self.all(name)) >= count, timeout,
              f"{count} of {name}, not {self.messages}")
        return self.all(name)[count - 1]

    def proxy(self, endpoint, client=("192.0.2.7", 4711), *, passthrough=True,
              proto="tls", kind="0", header=b"", more=None):
        """Opens a client's connection to the agent."""
        text = json.dumps({
            "Id": endpoint, "ClientAddr": "%s:%d" % client, "Proto": proto,
            "EdgeType": kind, "PassthroughTLS": passthrough,
            **(more or {})}).encode()
        return self.mux.open(
            PROXY, struct.pack("<Q", len(text)) + text + header)

    def refused_stream(self, endpoint, open_, more=b"", timeout=10, **options):
        """Opens a stream with this Open; the reason of the agent's refusal,
        or 0 if the bytes came back from an echo."""
        stream = self.proxy(endpoint, more={
            "Open": base64.b64encode(open_).decode()}, **options)
        try:
            if more:
                stream.sendall(more)
            got = stream.recv(len(more) or 1, timeout)
        except ConnectionResetError:
            return stream.error - 0x100
        stream.close()
        assert got == more[:len(got)], got
        return 0

    def ask(self, first=1, count=1, mode=data.RAW):
        """Asks for data connections."""
        return self.mux.request(muxado.DATA_CONNECTIONS, {
            "First": first, "Count": count, "Mode": mode})

    def direct(self, timeout=10):
        """The next data connection."""
        return self.directs.get(timeout=timeout * PATIENCE)

    def command(self, kind, value, timeout=10):
        return self.mux.request(kind, value, timeout)

    def endpoint(self):
        """The id of the only endpoint so far."""
        until(lambda: self.bound, 10, "a bind")
        return next(iter(self.bound))

    def close(self):
        self.mux.close()


class StandinEdge:
    """Listens, and answers Auth and Bind as an edge would. `answers` maps a
    message's name to what is said instead: a dictionary that is merged into
    the answer, or a function of (session, request, answer)."""

    def __init__(self, certificates, name="localhost", *, pair=None,
                 alpn=None, version=None, port=0, lunette=False,
                 **mux_options):
        self.pair = pair or certificates.pair(name)
        self.lunette = lunette
        self.context = server_context(self.pair, alpn=alpn, version=version)
        self.name = name
        self.mux_options = mux_options
        self.answers = {}
        self.sessions, self.taken = [], 0
        self.failed = []  # handshakes
        self.raw = []  # connections before TLS
        self.names = 0
        self.accepting = True
        self.listen(port)

    def listen(self, port):
        self.listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.address = f"{self.name}:{self.port}"
        threading.Thread(target=self.accept, args=(self.listener,),
                         daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                sock, peer = listener.accept()
            except OSError:
                return
            self.raw.append(sock)
            threading.Thread(target=self.greet, args=(sock, peer),
                             daemon=True).start()

    def greet(self, sock, peer):
        sock.settimeout(60 * PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self.lunette:
                self.greet_lunette(sock, peer)
                return
            tls = Tls(sock, self.context, server=True).handshake()
        except (Refused, OSError, AssertionError) as error:
            self.failed.append(error)
            sock.close()
            return
        sock.settimeout(None)
        self.sessions.append(Session(self, tls, peer))

    def greet_lunette(self, sock, peer):
        """A session, or a data connection of one."""
        first = sock.recv(8192, socket.MSG_PEEK)
        at = first.find(data.MAGIC)
        if at < 0:
            tls = tunnelpeer.accept(sock, crt=self.pair.crt,
                                    key=self.pair.key, alpn="lunette/1",
                                    version="1.3")
            self.sessions.append(Session(self, tls, peer))
            return
        if at == 0:
            preface = data.read_exactly(sock, 64)
        else:
            preface = first[at:at + 64]
        session = next(s for s in self.sessions if s.id == preface[8:24])
        assert preface == session.keys.preface(
            int.from_bytes(preface[24:32], "big"), preface[7])
        if at > 0:
            assert data.ALPN.encode() in first
            sock = tunnelpeer.accept(
                sock, identity=preface, psk=session.keys.psk(preface),
                alpn=data.ALPN, ciphers=data.CIPHERS, groups="X25519",
                version="1.3")
        session.directs.put(Direct(session, sock, preface))

    def session(self, timeout=10):
        """The next session that no call returned yet."""
        until(lambda: len(self.sessions) > self.taken, timeout,
              f"a session; failed: {self.failed}")
        self.taken += 1
        return self.sessions[self.taken - 1]

    def response(self, session, name, request):
        make = getattr(self, "on_" + name.lower(), None)
        answer = make(session, request) if make and request else {}
        change = self.answers.get(name)
        if callable(change):
            return change(session, request, answer)
        return {**answer, **change} if change is not None else answer

    def on_auth(self, session, request):
        client = request.get("ClientId") or os.urandom(8).hex()
        extra = request.get("Extra") or {}
        ours = {}
        if self.lunette:
            ours = {"SessionId": base64.b64encode(session.id).decode(),
                    "AgentSessionID": "ts_" + session.id.hex()}
        return {"Version": "3", "ClientId": client, "Error": "", "Extra": {
            **ours,
            "Version": "standin", "Region": "test",
            "Cookie": extra.get("Cookie") or os.urandom(32).hex(),
            "AccountName": "", "SessionDuration": 0, "PlanName": "",
            "Banner": ""}}

    @staticmethod
    def proves(session, auth, token):
        """Whether this Auth proves this token."""
        binding = session.carrier.export("EXPORTER-lunette-token")
        token = token.encode()
        return base64.b64decode(auth["Extra"]["Proof"]) == \
            data.prove(token, binding) and \
            base64.b64decode(auth["Extra"]["TokenId"]) == data.token_id(token)

    def on_bind(self, session, request):
        opts = request.get("Opts") or {}
        name = opts.get("Domain") or opts.get("Hostname")
        if not name:
            self.names += 1
            name = f"random{self.names}.test"
        given = request.get("Id") or os.urandom(8).hex()
        session.bound[given] = request
        return {"Id": given, "URL": "tls://" + name, "Proto": "tls",
                "Opts": opts, "Error": "", "Extra": {
                    "Token": (request.get("Extra") or {}).get("Token") or
                    os.urandom(16).hex()}}

    def on_unbind(self, session, request):
        session.bound.pop(request.get("Id"), None)
        return {"Error": ""}

    def on_srvinfo(self, session, request):
        return {"Region": "test"}

    def stop_listening(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def cut(self):
        """As kill -9 would: all sessions end at once."""
        for session in self.sessions:
            session.close()

    def close(self):
        self.stop_listening()
        self.cut()
        for sock in self.raw:
            sock.close()
