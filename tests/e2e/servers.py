"""Real servers, each with a configuration of its own in the test's folder."""

import os
import socket

from process import free_port

PAGE = b"the page of nginx\n"


class Servers:
    def __init__(self, scene):
        self.scene = scene

    def folder(self, name):
        path = self.scene.path(f"{name}-{free_port()}")
        os.makedirs(path)
        return path

    def nginx(self, *names, proxy_protocol=False):
        """nginx with TLS; returns its port and its access log, in which a
        line reads CLIENT PROXYCLIENT NAME."""
        folder = self.folder("nginx")
        crt, key = self.scene.certificates.pair(*names)
        port = free_port()
        log = os.path.join(folder, "access.log")
        with open(os.path.join(folder, "index.html"), "wb") as f:
            f.write(PAGE)
        mode = "ssl proxy_protocol" if proxy_protocol else "ssl"
        user = "user root;" if os.geteuid() == 0 else ""
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};\n" for kind in
            ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(os.path.join(folder, "nginx.conf"), "w") as f:
            f.write(f"""daemon off; {user} worker_processes 1;
pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
{temporary}
log_format plain '$remote_addr $proxy_protocol_addr $ssl_server_name';
access_log {log} plain;
server {{
  listen 127.0.0.1:{port} {mode};
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_certificate {crt}; ssl_certificate_key {key};
  root {folder};
}}
}}
""")
        process = self.scene.program("nginx", [
            "nginx", "-p", folder, "-c", folder + "/nginx.conf",
            "-e", folder + "/error.log"])
        process.wait_port(port)
        return port, log

    def mosquitto(self, name):
        folder = self.folder("mosquitto")
        crt, key = self.scene.certificates.pair(name)
        port = free_port()
        with open(os.path.join(folder, "m.conf"), "w") as f:
            f.write(f"""user root
allow_anonymous true
listener {port} 127.0.0.1
certfile {crt}
keyfile {key}
""")
        process = self.scene.program(
            "mosquitto", ["mosquitto", "-c", folder + "/m.conf"])
        process.wait_port(port)
        return port

    def redis(self, name):
        folder = self.folder("redis")
        crt, key = self.scene.certificates.pair(name)
        port = free_port()
        process = self.scene.program("redis-server", [
            "redis-server", "--port", "0", "--tls-port", port,
            "--bind", "127.0.0.1", "--tls-cert-file", crt,
            "--tls-key-file", key, "--tls-auth-clients", "no",
            "--save", "", "--dir", folder])
        process.wait_port(port)
        return port

    def unbound(self, name):
        """DNS over TLS; it knows answer.test as 192.0.2.77."""
        folder = self.folder("unbound")
        crt, key = self.scene.certificates.pair(name)
        port = free_port()
        with open(os.path.join(folder, "unbound.conf"), "w") as f:
            f.write(f"""server:
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  use-syslog: no
  logfile: ""
  interface: 127.0.0.1@{port}
  tls-port: {port}
  tls-service-key: "{key}"
  tls-service-pem: "{crt}"
  do-ip6: no
  local-zone: "test." static
  local-data: "answer.test. A 192.0.2.77"
remote-control:
  control-enable: no
""")
        process = self.scene.program(
            "unbound", ["unbound", "-d", "-p", "-c", folder + "/unbound.conf"])
        process.wait_port(port)
        return port

    def haproxy(self, body):
        """HAProxy with these sections; `{port}` in them becomes a free port,
        which is returned."""
        folder = self.folder("haproxy")
        port = free_port()
        path = os.path.join(folder, "haproxy.cfg")
        with open(path, "w") as f:
            f.write("""global
  maxconn 1000
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 20s
  timeout server 20s
""" + body.replace("{port}", str(port)))
        process = self.scene.program(
            "haproxy", ["haproxy", "-db", "-f", path])
        process.wait_port(port)
        return port

    def bundle(self, *names):
        """Certificate and key in one file, as HAProxy wants it."""
        crt, key = self.scene.certificates.pair(*names)
        path = self.scene.path(names[0].replace("*", "_") + ".bundle.pem")
        with open(path, "wb") as out:
            for part in (crt, key):
                with open(part, "rb") as f:
                    out.write(f.read())
        return path


def lines_of(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read().splitlines()
    except FileNotFoundError:
        return []


def takes_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        return True
    except OSError:
        return False
