"""Who is measured for termination: Lunette, its peers and our floor.

All offer TLS 1.3 with AES-128-GCM and X25519 first, and tickets. The works are
those of passthrough, and `up` (bytes from the client) and `secure` (the upstream
speaks TLS as well).
"""

import os
import pwd

from contestants import Contestant, Floor, Haproxy, Lunette, Nginx
from processes import free_port

MANY_CERTIFICATES = 10000
NAMES = ("short", "bulk", "hold", "up")
SUITES = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"
SUITES_1_2 = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
GROUPS = "X25519:P-256"


class Terminates:
    """What a contestant that terminates needs beside the others."""

    pem = "ecdsa.pem"  # a file, or "many": a folder of them

    def with_pem(self, pem):
        self.pem = pem
        self.slug += "-" + pem.partition(".")[0]
        return self

    @property
    def pem_path(self):
        return os.path.join(self.bench.folder, self.pem)

    @property
    def has_many(self):
        return self.pem == "many"

    def sink(self, work):
        """For those that have one upstream."""
        return self.bench.sinks[work]

    def upstreams(self, work):
        if work == "secure":
            return [("short.bench", self.sink(work))]
        names = [(f"{n}.bench", self.sink(n)) for n in NAMES]
        return names + [("*.many.bench", self.sink("short"))] \
            if self.has_many else names


class Terminator(Terminates, Floor):
    def argv(self, work):
        return [self.binary, str(self.sink(work)), self.pem_path]


class TerminatorNoTickets(Terminator):
    def argv(self, work):
        return super().argv(work) + ["no-tickets"]


class LunetteTerminates(Terminates, Lunette):
    def config(self, work):
        scheme = "tls://" if work == "secure" else ""
        source = "folder" if self.has_many else "crt"
        lines = self.edge_lines() + [
            "certificates:", f"  - {source}: {self.pem_path}", "endpoints:"]
        if self.has_many:  # for the names of the others
            lines.insert(-1, f"  - crt: {self.bench.folder}/ecdsa.pem")
        for name, port in self.upstreams(work):
            lines += [f"  - url: tls://{name}", "    terminate_at: edge",
                      f"    upstream: {scheme}127.0.0.1:{port}"]
        return "\n".join(lines) + "\n"


class HaproxyTerminates(Terminates, Haproxy):
    tuning = ""

    def config(self, work, port):
        tls = " ssl verify none sni ssl_fc_sni" if work == "secure" else ""
        text = f"""\
global
    nbthread {self.bench.workers}
    maxconn 9500
    ssl-default-bind-options ssl-min-ver TLSv1.2
    ssl-default-bind-ciphersuites {SUITES}
    ssl-default-bind-ciphers {SUITES_1_2}
    {self.tuning}
defaults
    mode tcp
    timeout connect 5s
    timeout client 10m
    timeout server 10m
frontend front
    bind 127.0.0.1:{port} ssl crt {self.pem_path} curves {GROUPS}
    default_backend short.bench
"""
        routes = [r for r in self.upstreams(work) if "*" not in r[0]]
        for name, _ in routes:
            text += f"    use_backend {name} if {{ ssl_fc_sni -i {name} }}\n"
        for name, sink in routes:
            text += (f"backend {name}\n"
                     f"    server one 127.0.0.1:{sink}{tls}\n")
        return text


class HaproxyBulk(HaproxyTerminates):
    tuning = "tune.bufsize 65536"


class NginxTerminates(Terminates, Nginx):
    def server(self, work, port):
        tls = """
    proxy_ssl on;
    proxy_ssl_server_name on;
    proxy_ssl_name $ssl_server_name;
    proxy_ssl_protocols TLSv1.2 TLSv1.3;""" if work == "secure" else ""
        return f"""
  map $ssl_server_name $up {{
{self.table(work)}  }}
  server {{
    listen 127.0.0.1:{port} ssl reuseport backlog=4096;
    ssl_certificate {self.pem_path};
    ssl_certificate_key {self.pem_path};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers {SUITES_1_2};
    ssl_conf_command Ciphersuites {SUITES};
    ssl_prefer_server_ciphers on;
    ssl_ecdh_curve {GROUPS};
    proxy_buffer_size {self.buffer};
    proxy_pass $up;{tls}
  }}
"""


class NginxTerminatesBulk(NginxTerminates):
    buffer = "256k"


class Hitch(Terminates, Contestant):
    def user_line(self):
        """Its workers refuse to be root."""
        if os.geteuid() != 0:
            return ""
        known = {entry.pw_name for entry in pwd.getpwall()}
        users = [u for u in ("_hitch", "hitch", "nobody") if u in known]
        return f'user = "{users[0]}"\n'

    def start(self, work):
        port = free_port()
        key = "pem-dir" if self.has_many else "pem-file"
        path = self.write("hitch.conf", f"""\
frontend = "[127.0.0.1]:{port}"
backend = "[127.0.0.1]:{self.sink(work)}"
{key} = "{self.pem_path}"
workers = {self.bench.workers}
backlog = 4096
daemon = off
log-level = 0
tls-protos = TLSv1.2 TLSv1.3
ciphers = "{SUITES_1_2}"
ciphersuites = "{SUITES}"
prefer-server-ciphers = on
ecdh-curve = "{GROUPS}"
{self.user_line()}""")
        return self.run([self.binary, f"--config={path}"], port)


class Stunnel(Terminates, Contestant):
    has_short_threads = True

    def start(self, work):
        port = free_port()
        path = self.write("stunnel.conf", f"""\
foreground = yes
pid =
debug = crit
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[bench]
accept = 127.0.0.1:{port}
connect = 127.0.0.1:{self.sink(work)}
cert = {self.pem_path}
sslVersionMin = TLSv1.2
ciphers = {SUITES_1_2}
ciphersuites = {SUITES}
curves = {GROUPS}
options = CIPHER_SERVER_PREFERENCE
""")
        return self.run([self.binary, path], port)
