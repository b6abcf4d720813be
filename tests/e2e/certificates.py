"""Certificates of every kind that the tests need, made with openssl."""

import base64
import datetime
import hashlib
import math
import os
import random
import ssl
import subprocess
from typing import NamedTuple

KEYS = {
    "ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "explicit": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                 "-pkeyopt", "ec_param_enc:explicit"],
    "rsa": ["-newkey", "rsa:2048"],
    "ed25519": ["-newkey", "ed25519"],
}
DAY = 86400


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)],
                          capture_output=True, check=False)
    assert done.returncode == 0, \
        f"openssl {arguments}: {done.stderr.decode()}"
    return done.stdout


class Pair(NamedTuple):
    """Files with a certificate (and its chain) and its key."""
    crt: str
    key: str

    def der(self):
        """The leaf."""
        with open(self.crt) as f:
            text = f.read()
        return ssl.PEM_cert_to_DER_cert(
            text[text.index("-----BEGIN CERT"):].split("-----END")[0] +
            "-----END CERTIFICATE-----\n")

    def fingerprint(self):
        return hashlib.sha256(self.der()).hexdigest()

    def settings(self, **more):
        """As one entry of the configuration's list."""
        return {"crt": self.crt, "key": self.key, **more}


def append(path, *sources):
    with open(path, "ab") as out:
        for source in sources:
            with open(source, "rb") as f:
                out.write(f.read())


def moment(seconds):
    """So many seconds from now, as `openssl ca` wants it."""
    when = datetime.datetime.now(datetime.timezone.utc) + \
        datetime.timedelta(seconds=seconds)
    return when.strftime("%Y%m%d%H%M%SZ")


CONFIG = """[ca]
default_ca = this
[this]
dir = {folder}
database = $dir/index.txt
new_certs_dir = $dir
serial = $dir/serial
crlnumber = $dir/crlnumber
certificate = {crt}
private_key = {key}
default_md = sha256
policy = any
unique_subject = no
email_in_dn = no
[any]
countryName = optional
organizationName = optional
organizationalUnitName = optional
commonName = optional
"""


class Authority:
    """A CA: a root, or below a parent. It keeps a database, for CRLs."""

    def __init__(self, folder, name, parent=None, key="ec"):
        os.makedirs(folder, exist_ok=True)
        self.folder, self.name, self.parent = folder, name, parent
        self.count = 0
        self.crt = os.path.join(folder, "ca.pem")
        self.key = os.path.join(folder, "ca.key")
        self.config = os.path.join(folder, "ca.cnf")
        if parent:
            made = parent.leaf(subject=f"/CN={name}", key=key, extensions=[
                "basicConstraints=critical,CA:true",
                "keyUsage=critical,keyCertSign,cRLSign",
                "subjectKeyIdentifier=hash"])
            os.rename(made.crt, self.crt)
            os.rename(made.key, self.key)
        else:
            openssl("req", "-x509", *KEYS[key], "-nodes", "-days", "365",
                    "-subj", f"/CN={name}", "-keyout", self.key,
                    "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                    "-out", self.crt)
        with open(self.config, "w") as f:
            f.write(CONFIG.format(folder=folder, crt=self.crt,
                                  key=self.key))
        open(os.path.join(folder, "index.txt"), "w").close()
        for counter in ("serial", "crlnumber"):
            with open(os.path.join(folder, counter), "w") as f:
                f.write("%x\n" % random.randrange(2 ** 62, 2 ** 63))

    def leaf(self, *names, subject=None, uris=(), unit=None, key="ec",
             begin=-DAY, end=90 * DAY, usage=None, extensions=(),
             chain=False):
        """A certificate for these DNS names. `chain`: with the CAs between
        it and the root. `key` may be the path of an existing one."""
        self.count += 1
        stem = os.path.join(self.folder, f"leaf{self.count}")
        made = Pair(stem + ".pem", stem + ".key")
        if subject is None:
            subject = "/O=Test" + (f"/OU={unit}" if unit else "") + \
                f"/CN={names[0] if names else 'client'}"
        extensions = list(extensions)
        if names or uris:
            extensions.append("subjectAltName=" + ",".join(
                [f"DNS:{n}" for n in names] + [f"URI:{u}" for u in uris]))
        if usage:
            extensions.append("extendedKeyUsage=" + usage)
        with open(stem + ".ext", "w") as f:
            f.write("".join(line + "\n" for line in extensions) or "\n")
        if key in KEYS:
            openssl("req", "-new", *KEYS[key], "-nodes", "-subj", subject,
                    "-keyout", made.key, "-out", stem + ".csr")
        else:
            openssl("req", "-new", "-key", key, "-subj", subject, "-out",
                    stem + ".csr")
            append(made.key, key)
        openssl("ca", "-batch", "-notext", "-config", self.config, "-in",
                stem + ".csr", "-out", made.crt, "-extfile", stem + ".ext",
                "-startdate", moment(begin), "-enddate", moment(end))
        # Servers that drop root read them too.
        os.chmod(made.key, 0o644)
        if chain:
            append(made.crt, *self.chain())
        return made

    def chain(self):
        """Files of the CAs up to, but not with, the root."""
        return [self.crt, *self.parent.chain()] if self.parent else []

    def revoke(self, pair):
        openssl("ca", "-config", self.config, "-revoke", pair.crt)

    def crl(self, path=None, days=30):
        """Writes the list of what was revoked so far."""
        path = path or os.path.join(self.folder, "ca.crl")
        openssl("ca", "-config", self.config, "-gencrl", "-crldays", days,
                "-out", path + ".new")
        os.rename(path + ".new", path)
        return path

    def deep(self, depth):
        """A leaf under so many CAs, each signed by the one before; all in
        its file. One key is enough for them, so we sign by ourselves:
        openssl would take seconds."""
        stem = os.path.join(self.folder, "deep")
        primes = weak_rsa_key(stem + ".key", 2048, 128)
        top = self.leaf(subject="/CN=deep 000", key=stem + ".key",
                        extensions=["basicConstraints=critical,CA:true"])
        with open(stem + ".ext", "w") as f:
            f.write("basicConstraints=critical,CA:true\n")
        openssl("pkey", "-in", top.key, "-pubout", "-out", stem + ".pub")
        openssl("x509", "-new", "-subj", "/CN=deep 001", "-force_pubkey",
                stem + ".pub", "-CA", top.crt, "-CAkey", top.key, "-days",
                "2", "-extfile", stem + ".ext", "-out", stem + ".pem")
        second = Pair(stem + ".pem", top.key).der()
        chain = [top.der(), second] + [
            renamed(second, {b"deep 000": b"deep %03d" % (n - 1),
                             b"deep 001": b"deep %03d" % n}, primes)
            for n in range(2, depth + 1)]
        made = Pair(stem + "-chain.pem", top.key)
        with open(made.crt, "w") as f:
            f.writelines(map(ssl.DER_cert_to_PEM_cert, reversed(chain)))
        return made

    def ocsp_response(self, pair, path, *, status=None, days=2):
        """A signed answer about a certificate, as DER in a file; `status`
        "revoked" needs revoke() first."""
        openssl("ocsp", "-index", os.path.join(self.folder, "index.txt"),
                "-CA", self.crt, "-rsigner", self.crt, "-rkey", self.key,
                "-issuer", self.crt, "-cert", pair.crt, "-ndays", days,
                "-respout", path, "-noverify")
        return path


class Certificates:
    """Those of the session. Each is made when first asked for."""

    def __init__(self, folder):
        self.folder = folder
        self.made = {}
        self.root = Authority(os.path.join(folder, "root"),
                              "Lunette test CA")
        self.ca, self.ca_key = self.root.crt, self.root.key

    def once(self, what, make):
        if what not in self.made:
            self.made[what] = make()
        return self.made[what]

    def pair(self, *names, key="ec"):
        """Files with certificate and key for these names."""
        return self.once((names, key), lambda: self.root.leaf(
            *names, key=key))

    def authority(self, name, parent=None):
        """Another CA, known by its name to all tests of the session: only
        for those that revoke nothing."""
        return self.once(("authority", name), lambda: Authority(
            os.path.join(self.folder, name.replace(" ", "-")), name,
            parent))

    def client(self, name="client", authority="clients", **options):
        """A client's certificate from a CA of its own."""
        issuer = self.authority(authority)
        unit = f"/OU={options.pop('unit')}" if "unit" in options else ""
        options.setdefault("usage", "clientAuth")
        return self.once(("client", name, authority, unit,
                          tuple(sorted(options.items()))),
                         lambda: issuer.leaf(
                             subject=f"/O=Test{unit}/CN={name}", **options))


# Many certificates that differ in names and serial number alone. Their
# signatures do not fit, which only a client that verifies would notice.

def template(issuer, length, key="ec"):
    """A certificate for a name of so many letters, to be copied."""
    return issuer.leaf("t" * length + ".test", key=key)


def variants(pair, names, mark):
    """PEM texts, like the pair's certificate, for other names of the same
    length; `mark` (8 bytes) replaces the serial number's low half."""
    der = pair.der()
    with open(pair.crt) as f:
        assert f.read().count("BEGIN") == 1
    start = der.index(b"\x02\x08") + 2
    old = None
    for name in names:
        old = old or b"t" * (len(name) - 5) + b".test"
        assert len(name) == len(old)
        changed = der.replace(old, name.encode())
        yield ssl.DER_cert_to_PEM_cert(
            changed[:start + 4] + mark + changed[start + 8:])


def renamed(der, names, primes):
    """The certificate with other names of the same length in it, signed
    again with the key of these primes (SHA-256, RFC 8017 section 9.2)."""
    tbs = der[4:8 + int.from_bytes(der[6:8], "big")]
    tail = der[4 + len(tbs):-256]
    for old, new in names.items():
        tbs = tbs.replace(old, b"\0" + new[1:])
    tbs = tbs.replace(b"\0eep", b"deep")
    digest = bytes.fromhex("3031300d060960864801650304020105000420") + \
        hashlib.sha256(tbs).digest()
    padded = b"\0\1" + b"\xff" * (253 - len(digest)) + b"\0" + digest
    n, signature = math.prod(primes), 0
    for p in primes:  # much faster than with n
        part = pow(int.from_bytes(padded, "big"), pow(65537, -1, p - 1), p)
        signature += part * (n // p) * pow(n // p, -1, p)
    signature %= n
    return der[:4] + tbs + tail + signature.to_bytes(256, "big")


# A huge RSA key at once: of many small primes instead of two large ones.

def is_prime(n):
    for p in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        if n % p == 0:
            return n == p
    d, r = n - 1, 0
    while d % 2 == 0:
        d, r = d // 2, r + 1
    for _ in range(4):
        x = pow(random.randrange(2, n - 1), d, n)
        if x in (1, n - 1):
            continue
        for _ in range(r - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def prime(bits):
    while True:
        n = random.getrandbits(bits) | 0xff << bits - 8 | 1
        if is_prime(n) and (n - 1) % 65537:
            return n


def der_integer(n):
    body = n.to_bytes(n.bit_length() // 8 + 1, "big")
    return b"\x02" + der_length(len(body)) + body


def der_length(n):
    if n < 128:
        return bytes([n])
    size = n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes([128 | len(size)]) + size


def weak_rsa_key(path, bits, part=256):
    """Writes an RSA key that works, though it would protect nothing; returns
    its primes."""
    while True:
        primes = list({prime(part) for _ in range(bits // part)})
        half = bits // part // 2
        p, q = math.prod(primes[:half]), math.prod(primes[half:])
        n = p * q
        if len(primes) == bits // part and n.bit_length() > bits - 8:
            break
    lp, lq = (math.lcm(*(p - 1 for p in some)) for some in
              (primes[:half], primes[half:]))
    e = 65537
    numbers = [0, n, e, pow(e, -1, math.lcm(lp, lq)), p, q,
               pow(e, -1, lp), pow(e, -1, lq), pow(q, -1, p)]
    body = b"".join(map(der_integer, numbers))
    der = b"\x30" + der_length(len(body)) + body
    text = base64.encodebytes(der).decode().replace("\n", "")
    kind = "RSA PRIVATE KEY"
    with open(path, "w") as f:
        label = "RSA PRIVATE KEY"
        f.write(f"-----BEGIN {label}-----\n")
        f.writelines(text[i:i + 64] + "\n" for i in range(0, len(text), 64))
        f.write(f"-----END {label}-----\n")
    return primes
