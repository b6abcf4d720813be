"""A network namespace at the end of a cable of the test's own: packets are
carried between the two in this process, so they can be lost, slowed down and
cut off, on any kernel. Needs root."""

import array
import ctypes
import fcntl
import os
import random
import select
import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest

ETH_P_ALL = 3
SIOCETHTOOL = 0x8946
# ETHTOOL_S...: checksums, scatter-gather, TSO and GSO would leave packets on
# the cable that no real one could carry.
OFFLOADS = (0x17, 0x19, 0x1F, 0x24)


def ip(*words):
    done = subprocess.run(["ip", *map(str, words)], check=False,
                          capture_output=True)
    assert done.returncode == 0, f"ip {words}: {done.stderr.decode()}"


def without_offload(name):
    with socket.socket() as sock:
        for command in OFFLOADS:
            value = array.array("I", [command, 0])
            address = (ctypes.c_char * (len(value) * value.itemsize)) \
                .from_buffer(value)
            request = struct.pack("16sP", name.encode(),
                                  ctypes.addressof(address))
            fcntl.ioctl(sock, SIOCETHTOOL, request)


class Cable:
    """The host has `here`, the namespace `there`; wrap a program's argv by
    `inside` to run it there."""

    def __init__(self):
        if os.geteuid() != 0 or not shutil.which("ip"):
            pytest.skip("needs root and ip for a network namespace")
        mark = f"{os.getpid() % 65536:04x}{random.randrange(256):02x}"
        self.name = "lun" + mark
        self.ends = ["l" + mark + end for end in "abcd"]
        near, near_raw, far_raw, far = self.ends
        third, fourth = random.randrange(256), random.randrange(64) * 4
        self.here, self.there = (f"10.{100 + random.randrange(100)}."
                                 f"{third}.{fourth + n}" for n in (1, 2))
        self.there = self.here[:self.here.rindex(".")] + f".{fourth + 2}"
        try:
            ip("netns", "add", self.name)
        except AssertionError:
            pytest.skip("no network namespaces here")
        self.sockets = []
        try:
            ip("link", "add", near, "type", "veth", "peer", "name", near_raw)
            ip("link", "add", far_raw, "type", "veth", "peer", "name", far)
            for name in self.ends:
                without_offload(name)
            ip("link", "set", far, "netns", self.name)
            ip("addr", "add", self.here + "/30", "dev", near)
            for name in (near, near_raw, far_raw):
                ip("link", "set", name, "up")
            ip("-n", self.name, "addr", "add", self.there + "/30", "dev",
               far)
            for name in (far, "lo"):
                ip("-n", self.name, "link", "set", name, "up")
            for name in (near_raw, far_raw):
                sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW,
                                     socket.htons(ETH_P_ALL))
                sock.bind((name, 0))
                self.sockets.append(sock)
        except BaseException:
            self.close()
            raise
        self.loss, self.rate = 0.0, None  # a share; bytes a second
        self.connected = True
        self.carried = self.lost = 0
        self.free_at = [0.0, 0.0]
        self.running = True
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        poll = select.epoll()
        for sock in self.sockets:
            poll.register(sock, select.EPOLLIN)
        while self.running:
            for fd, _ in poll.poll(0.05):
                way = fd == self.sockets[1].fileno()
                self.carry(way)

    def carry(self, way):
        packet, where = self.sockets[way].recvfrom(65536)
        if where[2] == socket.PACKET_OUTGOING:
            return
        if not self.connected or random.random() < self.loss:
            self.lost += 1
            return
        if self.rate:
            # A queue of a quarter second; what does not fit is lost.
            now = time.monotonic()
            at = max(now, self.free_at[way])
            if at - now > 0.25:
                self.lost += 1
                return
            self.free_at[way] = at + len(packet) / self.rate
        try:
            self.sockets[not way].send(packet)
            self.carried += 1
        except OSError:
            pass

    def inside(self):
        """Before a program's argv, to run it in the namespace."""
        return ["ip", "netns", "exec", self.name]

    def close(self):
        self.running = False
        if hasattr(self, "thread"):
            self.thread.join(5)
        for sock in self.sockets:
            sock.close()
        for name in self.ends[:1] + self.ends[2:3]:
            subprocess.run(["ip", "link", "del", name], check=False,
                           capture_output=True)
        subprocess.run(["ip", "netns", "del", self.name], check=False,
                       capture_output=True)
