"""Who is measured for passthrough: Lunette, its peers and our floor.

Each is started for one kind of work and stopped after it. Peers are configured
as their own experts would.
"""

import os
import re
import subprocess
import time

from processes import Failure, free_port, read_line, stop, wait_listening

NAMES = ("short.bench", "bulk.bench", "hold.bench")
MANY_ROUTES = 10000

# The policy library of a lunette that is not installed.
LIBRARY = os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "lua")

POLICY = """\
local lunette = require "lunette"
local refused = lunette.cidrs { "198.51.100.0/24", "203.0.113.0/24" }

return function(conn)
  if refused:contains(conn.client_ip) then
    return lunette.deny "this network is refused"
  end
  if conn.sni == "refused.bench" then
    return lunette.deny "this name is refused"
  end
end
"""


class Contestant:
    has_short_threads = False  # that end with a connection

    def __init__(self, name, bench, binary):
        self.name, self.bench, self.binary = name, bench, binary
        self.slug = name.replace(" ", "-")

    def missing(self):
        return not self.binary

    def upstreams(self, work):
        """(name, port) of all that it routes to."""
        return [(n, self.bench.sinks[n.split(".")[0]]) for n in NAMES]

    def start(self, work):
        """Starts for a kind of work; returns (process, port)."""
        raise NotImplementedError

    def stop(self, process):
        stop(process)

    def write(self, name, text):
        path = os.path.join(self.bench.folder, f"{self.slug}-{name}")
        with open(path, "w") as f:
            f.write(text)
        return path

    def run(self, argv, port):
        log = open(os.path.join(self.bench.folder, self.slug + ".log"), "a")
        with log:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log)
        try:
            wait_listening(port, process, self.name)
        except Failure:
            stop(process)
            raise
        return process, port


class Floor(Contestant):
    def argv(self, work):
        return [self.binary, str(self.bench.sinks[work])]

    def start(self, work):
        process = subprocess.Popen(
            self.argv(work), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return process, int(read_line(process.stdout, 5, self.name))


class Lunette(Contestant):
    routes = 1

    def edge_lines(self):
        return ["version: 1", "edge:",
                "  listen: [{address: \"127.0.0.1:0\"}]",
                f"  workers: {self.bench.workers}",
                "  policy: {file: policy.lua}",
                "  log: {target: stderr, format: logfmt}"]

    def config(self, work):
        lines = self.edge_lines() + ["endpoints:"]
        for name, port in self.upstreams(work):
            lines += [f"  - url: tls://{name}",
                      f"    upstream: 127.0.0.1:{port}"]
        for i in range(1, self.routes):
            lines += [f"  - url: tls://route{i}.more.bench",
                      f"    upstream: 127.0.0.1:{self.bench.sinks['short']}"]
        return "\n".join(lines) + "\n"

    def start(self, work):
        with open(os.path.join(self.bench.folder, "policy.lua"), "w") as f:
            f.write(POLICY)
        path = self.write("edge.yaml", self.config(work))
        log = os.path.join(self.bench.folder, self.slug + ".log")
        with open(log, "w") as f:
            process = subprocess.Popen(
                [self.binary, "edge", "-c", path], stdin=subprocess.DEVNULL,
                stderr=f, env={"LUNETTE_LUA": LIBRARY, **os.environ})
        try:
            return process, self.find_port(process, log)
        except Failure:
            stop(process)
            raise

    def find_port(self, process, log):
        """Reads the log until it says that all listeners accept."""
        deadline = time.monotonic() + 30
        text = ""
        while time.monotonic() < deadline and process.poll() is None:
            with open(log) as f:
                text = f.read()
            port = re.search(r'msg="?listening"? address=\S*:(\d+)', text)
            if port and re.search(r'msg="?ready\b', text):
                return int(port.group(1))
            time.sleep(0.002)
        raise Failure(f"{self.name} did not start: {text.strip()}")


class LunetteRoutes(Lunette):
    routes = MANY_ROUTES


class Haproxy(Contestant):
    splice = "option splice-auto"

    def config(self, work, port):
        text = f"""\
global
    nbthread {self.bench.workers}
    maxconn 9500
    maxpipes 100
    tune.pipesize 1048576
defaults
    mode tcp
    {self.splice}
    timeout connect 5s
    timeout client 10m
    timeout server 10m
frontend front
    bind 127.0.0.1:{port}
    tcp-request inspect-delay 3s
    tcp-request content accept if {{ req.ssl_hello_type 1 }}
    tcp-request content reject
"""
        for name in NAMES:
            text += f"    use_backend {name} if {{ req.ssl_sni -i {name} }}\n"
        for name, sink in self.upstreams(work):
            text += f"backend {name}\n    server one 127.0.0.1:{sink}\n"
        return text

    def start(self, work):
        port = free_port()
        path = self.write("haproxy.cfg", self.config(work, port))
        return self.run([self.binary, "-db", "-q", "-f", path], port)


class HaproxySplice(Haproxy):
    splice = "option splice-request\n    option splice-response"


class Nginx(Contestant):
    buffer = "16k"

    def module_line(self):
        for folder in ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules"):
            path = f"{folder}/ngx_stream_module.so"
            if os.path.exists(path):
                return f"load_module {path};\n"
        return ""

    def table(self, work):
        return "".join(f"    {name} 127.0.0.1:{sink};\n"
                       for name, sink in self.upstreams(work))

    def server(self, work, port):
        return f"""
  map $ssl_preread_server_name $up {{
{self.table(work)}  }}
  server {{
    listen 127.0.0.1:{port} reuseport backlog=4096;
    ssl_preread on;
    proxy_buffer_size {self.buffer};
    proxy_pass $up;
  }}
"""

    def start(self, work):
        port = free_port()
        text = self.module_line() + f"""\
daemon off;
pid {self.bench.folder}/{self.slug}.pid;
error_log {self.bench.folder}/{self.slug}-error.log;
worker_processes {self.bench.workers};
worker_rlimit_nofile {self.bench.descriptors};
events {{ worker_connections {self.bench.descriptors}; }}
stream {{{self.server(work, port)}}}
"""
        path = self.write("nginx.conf", text)
        return self.run([self.binary, "-c", path, "-p", self.bench.folder],
                        port)


class NginxBulk(Nginx):
    buffer = "256k"


class Sniproxy(Contestant):
    def start(self, work):
        port = free_port()
        table = "".join(
            f"    {name} 127.0.0.1:{sink}\n"
            for name, sink in self.upstreams(work))
        path = self.write("sniproxy.conf", f"""\
pidfile {self.bench.folder}/sniproxy.pid
listen 127.0.0.1:{port} {{
    proto tls
    table names
}}
table names {{
{table}}}
""")
        return self.run([self.binary, "-f", "-c", path], port)
