"""PROXY protocol headers, written and read independently of Lunette."""

import ipaddress
import struct

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID = 1, 2, 3, 4, 5


def crc32c(data):
    """RFC 3720, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def tlv(kind, value):
    return struct.pack("!BH", kind, len(value)) + value


def v1(source="192.0.2.1", port=51000, target="192.0.2.9", target_port=443):
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {target} {port} {target_port}\r\n" \
        .encode()


def v2(source="192.0.2.1", port=51000, target="192.0.2.9", target_port=443,
       *, tlvs=b"", command=1, family=None, version=2, length=None,
       addresses=None, checksum=False):
    if addresses is None:
        addresses = ipaddress.ip_address(source).packed + \
            ipaddress.ip_address(target).packed + \
            struct.pack("!HH", port, target_port)
    if family is None:
        family = 0x21 if ":" in source else 0x11
    if checksum:
        tlvs += tlv(CRC32C, bytes(4))
    body = addresses + tlvs
    header = SIGNATURE + struct.pack(
        "!BBH", version << 4 | command, family,
        len(body) if length is None else length) + body
    if checksum:
        header = header[:-4] + struct.pack("!I", crc32c(header))
    return header


class Header:
    """A v2 header taken from the front of some bytes."""

    def __init__(self, wire):
        assert wire[:12] == SIGNATURE, wire[:16]
        self.version, self.command = wire[12] >> 4, wire[12] & 15
        self.family = wire[13]
        size = struct.unpack("!H", wire[14:16])[0]
        self.raw, self.rest = wire[:16 + size], wire[16 + size:]
        assert len(self.raw) == 16 + size
        body = self.raw[16:]
        half = {0x11: 4, 0x21: 16}.get(self.family)
        skip = 0
        if half:
            self.source = str(ipaddress.ip_address(body[:half]))
            self.target = str(ipaddress.ip_address(body[half:2 * half]))
            self.port, self.target_port = struct.unpack(
                "!HH", body[2 * half:2 * half + 4])
            skip = 2 * half + 4
        self.tlvs, self.order = {}, []
        while skip < len(body):
            kind, length = struct.unpack("!BH", body[skip:skip + 3])
            value = body[skip + 3:skip + 3 + length]
            assert len(value) == length and kind not in self.tlvs
            self.tlvs[kind] = value
            self.order.append(kind)
            if kind == CRC32C:
                at = 16 + skip + 3
                zeroed = self.raw[:at] + bytes(4) + self.raw[at + 4:]
                assert struct.unpack("!I", value)[0] == crc32c(zeroed)
            skip += 3 + length
        assert skip == len(body)


assert crc32c(b"123456789") == 0xE3069283
