"""A DNS server of the test's own, over UDP and TCP on one port."""

import ipaddress
import socket
import struct
import threading

A, AAAA = 1, 28


def read_name(packet, at):
    labels = []
    while packet[at]:
        size = packet[at]
        labels.append(packet[at + 1:at + 1 + size].decode())
        at += size + 1
    return ".".join(labels).lower(), at + 1


class Nameserver:
    """Answers from `names`: a name to a list of addresses, to None (no
    such name), to "silence", or to a callable that returns one of these.
    Each answer lives `ttl` seconds."""

    def __init__(self, names=None, ttl=1):
        self.names, self.ttl = names or {}, ttl
        self.asked = []
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.address = f"127.0.0.1:{self.port}"
        for work in (self.serve_udp, self.serve_tcp):
            threading.Thread(target=work, daemon=True).start()

    def serve_udp(self):
        while True:
            try:
                packet, peer = self.udp.recvfrom(4096)
            except OSError:
                return
            if not packet:
                return  # shut down
            reply = self.reply(packet)
            if reply and len(reply) > 1200:
                # Truncated: the client comes back by TCP.
                reply = reply[:2] + b"\x87\x80" + packet[4:6] + bytes(6) + \
                    packet[12:self.question_end(packet)]
            if reply:
                self.udp.sendto(reply, peer)

    def serve_tcp(self):
        while True:
            try:
                sock, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self.converse, args=(sock,),
                             daemon=True).start()

    def converse(self, sock):
        with sock:
            while True:
                head = sock.recv(2, socket.MSG_WAITALL)
                if len(head) < 2:
                    return
                packet = sock.recv(struct.unpack("!H", head)[0],
                                   socket.MSG_WAITALL)
                reply = self.reply(packet)
                if not reply:
                    return
                sock.sendall(struct.pack("!H", len(reply)) + reply)

    def question_end(self, packet):
        return read_name(packet, 12)[1] + 4

    def reply(self, packet):
        name, at = read_name(packet, 12)
        kind = struct.unpack("!H", packet[at:at + 2])[0]
        self.asked.append((name, kind))
        found = self.names.get(name)
        if callable(found):
            found = found()
        if found == "silence":
            return None
        question = packet[12:at + 4]
        answers = []
        for text in found or []:
            ip = ipaddress.ip_address(text)
            if (ip.version == 4) == (kind == A) and kind in (A, AAAA):
                answers.append(struct.pack(
                    "!HHHIH", 0xC00C, kind, 1, self.ttl, len(ip.packed)) +
                    ip.packed)
        flags = 0x8580 if found is not None else 0x8583
        return packet[:2] + struct.pack(
            "!HHHHH", flags, 1, len(answers), 0, 0) + question + \
            b"".join(answers)

    def close(self):
        for sock in (self.udp, self.tcp):
            try:
                # An unconnected UDP socket says ENOTCONN and wakes its
                # reader all the same.
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
