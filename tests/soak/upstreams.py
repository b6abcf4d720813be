"""A process of upstreams, to be killed and stopped at will. Standard input has
one line of JSON, the list of its listeners; it says "ready" and serves until
standard input ends, which is also when its parent has died."""

import json
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))

import exchange  # noqa: E402
import proxyheader  # noqa: E402
from tlspeer import Refused, Tls, server_context  # noqa: E402
from tlsupstream import read_header  # noqa: E402

PATIENCE = 60  # seconds; the edge's own timeouts are far below


def listen(port):
    """The parent holds the port too, without listening, so that nobody else
    gets it while we are dead."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(1024)
    return sock


def converse(sock, context, with_header):
    with sock:
        try:
            sock.settimeout(PATIENCE)
            port = None
            if with_header:
                port = proxyheader.Header(read_header(sock)).port
            end = Tls(sock, context, server=True).handshake() if context \
                else sock
            exchange.serve(end, port)
        except (OSError, Refused, exchange.Cut):
            pass  # resetters, health checks, clients that leave


def accept(listener, context, with_header):
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=converse, args=(sock, context, with_header),
                         daemon=True).start()


def main():
    for entry in json.loads(sys.stdin.readline()):
        context = server_context(entry["pair"]) if entry["pair"] else None
        threading.Thread(target=accept, daemon=True, args=(
            listen(entry["port"]), context, entry["proxy"])).start()
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
