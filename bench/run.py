#!/usr/bin/env python3
"""Measures Lunette, its peers and our floor side by side on loopback.

The headline is the CPU time of the proxy's process tree for a unit of work.
The contestants take turns, round after round, so that what the machine does
besides falls on all of them; medians are shown with their spread, and ratios
are made within a round. Absolute figures say little about other machines.

Needs nothing but Python's standard library; peers that are not installed are
left out and named. Ends only what it started.
"""

import argparse
import os
import re
import resource
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

GIB = 1 << 30
ANSWER_BYTES = 64
IDLE_FROM, IDLE_TO = 1000, 9000
OPEN_FEW, OPEN_MANY = 100, 9000
MANY_ROUTES = 10000
NAMES = ("short.bench", "bulk.bench", "hold.bench")

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


class Failure(Exception):
    """A contestant or helper did not do its work."""


# Processes

def tree(pid):
    """The process and all its descendants."""
    found, at = [pid], 0
    while at < len(found):
        folder = f"/proc/{found[at]}/task"
        at += 1
        try:
            for task in os.listdir(folder):
                with open(f"{folder}/{task}/children") as f:
                    found += [int(word) for word in f.read().split()]
        except OSError:
            continue
    return found


def task_cpu_ns(pid):
    """Nanoseconds on a CPU of all threads of a process that are alive."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                total += int(f.read().split()[0])
        except FileNotFoundError:
            continue
    return total


def stat_cpu_ns(pid):
    """The same from utime and stime, in clock ticks (mostly 10 ms)."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 10**9 // \
        os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    read = task_cpu_ns if os.path.exists("/proc/self/schedstat") \
        else stat_cpu_ns
    total = 0
    for each in tree(pid):
        try:
            total += read(each)
        except OSError:
            continue
    return total / 1e9


def user_memory_bytes(pid):
    """Anonymous memory of the tree, shared pages counted by part."""
    total = 0
    for each in tree(pid):
        with open(f"/proc/{each}/smaps_rollup") as f:
            match = re.search(r"^Pss_Anon:\s+(\d+) kB", f.read(), re.M)
        total += int(match.group(1)) * 1024
    return total


def raise_limits():
    """For us and all that we start."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def stop(process):
    if process.stdin and not process.stdin.closed:
        process.stdin.close()
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


def read_line(stream, seconds, what):
    ready, _, _ = select.select([stream], [], [], seconds)
    line = stream.readline() if ready else ""
    if not line:
        raise Failure(f"{what} said nothing")
    return line


def free_port():
    """For peers that cannot say which port the kernel gave them."""
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_listening(port, process, what):
    """Until /proc shows the listening socket: no connection is spent on it."""
    wanted = f"0100007F:{port:04X}"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failure(f"{what} ended with {process.returncode}")
        with open("/proc/net/tcp") as f:
            for line in f:
                fields = line.split()
                if fields[1] == wanted and fields[3] == "0A":
                    return
        time.sleep(0.02)
    raise Failure(f"{what} does not listen")


# Contestants: each is started for one kind of work and stopped after it.

class Contestant:
    def __init__(self, name, bench, binary):
        self.name, self.bench, self.binary = name, bench, binary
        self.slug = name.replace(" ", "-")

    def missing(self):
        return not self.binary

    def start(self, work):
        """Starts for a kind of work; returns (process, port)."""
        raise NotImplementedError

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
    def start(self, work):
        process = subprocess.Popen(
            [self.binary, str(self.bench.sinks[work])], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return process, int(read_line(process.stdout, 5, self.name))


class Lunette(Contestant):
    routes = 1

    def config(self):
        lines = ["version: 1", "edge:", "  listen: [{address: \"127.0.0.1:0\"}]",
                 f"  workers: {self.bench.workers}",
                 "  policy: {file: policy.lua}",
                 "  log: {target: stderr, format: logfmt}", "endpoints:"]
        for name in NAMES:
            port = self.bench.sinks[name.split(".")[0]]
            lines += [f"  - url: tls://{name}",
                      f"    upstream: 127.0.0.1:{port}"]
        for i in range(1, self.routes):
            lines += [f"  - url: tls://route{i}.more.bench",
                      f"    upstream: 127.0.0.1:{self.bench.sinks['short']}"]
        return "\n".join(lines) + "\n"

    def start(self, work):
        with open(os.path.join(self.bench.folder, "policy.lua"), "w") as f:
            f.write(POLICY)
        path = self.write("edge.yaml", self.config())
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
            time.sleep(0.02)
        raise Failure(f"{self.name} did not start: {text.strip()}")


class LunetteRoutes(Lunette):
    routes = MANY_ROUTES


class Haproxy(Contestant):
    splice = "option splice-auto"

    def start(self, work):
        port = free_port()
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
        for name in NAMES:
            sink = self.bench.sinks[name.split(".")[0]]
            text += f"backend {name}\n    server one 127.0.0.1:{sink}\n"
        path = self.write("haproxy.cfg", text)
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

    def start(self, work):
        port = free_port()
        ups = "".join(
            f"    {n} 127.0.0.1:{self.bench.sinks[n.split('.')[0]]};\n"
            for n in NAMES)
        text = self.module_line() + f"""\
daemon off;
pid {self.bench.folder}/{self.slug}.pid;
error_log {self.bench.folder}/{self.slug}-error.log;
worker_processes {self.bench.workers};
worker_rlimit_nofile {self.bench.descriptors};
events {{ worker_connections {self.bench.descriptors}; }}
stream {{
  map $ssl_preread_server_name $up {{
{ups}  }}
  server {{
    listen 127.0.0.1:{port} reuseport backlog=4096;
    ssl_preread on;
    proxy_buffer_size {self.buffer};
    proxy_pass $up;
  }}
}}
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
            f"    {n} 127.0.0.1:{self.bench.sinks[n.split('.')[0]]}\n"
            for n in NAMES)
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


# The measurements

class Bench:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.workers = 2
        self.descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.sinks, self.helpers, self.notes = {}, [], []
        self.bulk_bytes = (GIB // 4) if args.quick else GIB
        self.count = 2000 if args.quick else 10000
        self.rounds = args.rounds or (3 if args.quick else 7)

    def tool(self, name):
        return os.path.join(self.args.build, "bench", name)

    def start_sink(self, name, *argv):
        process = subprocess.Popen([self.tool("sink"), *argv], text=True,
                                   stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
        self.helpers.append(process)
        self.sinks[name] = int(read_line(process.stdout, 5, "sink"))

    def start_sinks(self):
        self.start_sink("short", str(ANSWER_BYTES))
        self.start_sink("bulk", str(self.bulk_bytes))
        self.start_sink("hold", str(ANSWER_BYTES), "hold")

    def close(self):
        for process in self.helpers:
            stop(process)

    def load(self, port, name, size, mode, count, number):
        """Runs the clients; all connections must be served in full."""
        done = subprocess.run(
            [self.tool("load"), str(port), f"{name}.bench", str(size), mode,
             str(count), str(number)], text=True, capture_output=True,
            timeout=600)
        fields = done.stdout.split()
        if done.returncode != 0 or int(fields[0]) != count:
            raise Failure(f"served {fields[0] if fields else 'none'} of "
                          f"{count} {done.stderr.strip()}")
        return [float(f) for f in fields]

    def holder(self, port):
        return Holder(self, port)


class Holder:
    """Clients that stay open and idle."""

    def __init__(self, bench, port):
        self.process = subprocess.Popen(
            [bench.tool("load"), str(port), "hold.bench", str(ANSWER_BYTES),
             "hold"], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE)

    def open(self, count):
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        if read_line(self.process.stdout, 60, "load").strip() != "ok":
            raise Failure("idle connections were closed")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop(self.process)


def measure_connections(bench, process, port):
    """Microseconds of CPU a short connection."""
    bench.load(port, "short", ANSWER_BYTES, "run", 200, 32)
    before = cpu_seconds(process.pid)
    bench.load(port, "short", ANSWER_BYTES, "run", bench.count, 32)
    return (cpu_seconds(process.pid) - before) / bench.count * 1e6


def measure_bulk(bench, process, port):
    """CPU seconds a gigabyte (10^9 bytes)."""
    bench.load(port, "bulk", bench.bulk_bytes, "run", 1, 1)
    count = 4
    before = cpu_seconds(process.pid)
    bench.load(port, "bulk", bench.bulk_bytes, "run", count, 2)
    return (cpu_seconds(process.pid) - before) / \
        (count * bench.bulk_bytes / 1e9)


def measure_memory(bench, process, port):
    """Bytes of user memory an idle connection."""
    with bench.holder(port) as clients:
        clients.open(IDLE_FROM)
        before = user_memory_bytes(process.pid)
        clients.open(IDLE_TO)
        after = user_memory_bytes(process.pid)
    return (after - before) / (IDLE_TO - IDLE_FROM)


def measure_growth(bench, process, port):
    """CPU of a connection beside many open ones, over that beside few."""
    costs = []
    with bench.holder(port) as clients:
        for count in (OPEN_FEW, OPEN_MANY):
            clients.open(count)
            costs.append(measure_connections(bench, process, port))
    return costs[1] / costs[0]


def measure_latency(bench, process, port):
    """Median microseconds to the first byte, over that without a proxy."""
    count = 1000 if bench.args.quick else 3000
    bench.load(port, "short", ANSWER_BYTES, "run", 200, 8)
    direct = bench.load(bench.sinks["short"], "short", ANSWER_BYTES, "rate",
                        count, 500)
    through = bench.load(port, "short", ANSWER_BYTES, "rate", count, 500)
    return through[2] - direct[2]


class Table:
    """One measurement of several contestants in turn."""

    def __init__(self, key, title, unit, work, measure, contestants):
        self.key, self.title, self.unit = key, title, unit
        self.work, self.measure = work, measure
        self.contestants = contestants
        self.values = {c.name: [] for c in contestants}
        self.failed = {}

    def run_one(self, bench, contestant):
        process, port = contestant.start(self.work)
        try:
            value = self.measure(bench, process, port)
            if process.poll() is not None:
                raise Failure("it ended by itself")
            self.values[contestant.name].append(value)
        finally:
            stop(process)

    def run(self, bench):
        for turn in range(bench.rounds):
            # Another one begins each time: nobody always follows the same.
            shift = turn % len(self.contestants)
            order = self.contestants[shift:] + self.contestants[:shift]
            for contestant in order:
                if contestant.name in self.failed:
                    continue
                try:
                    self.run_one(bench, contestant)
                except (Failure, OSError, subprocess.TimeoutExpired) as e:
                    self.failed[contestant.name] = str(e)
                progress(f"{self.key}: round {turn + 1} of {bench.rounds}, "
                         f"{contestant.name}")

    def ratios(self, name):
        """Lunette's value over another's, round by round."""
        ours, theirs = self.values["lunette"], self.values[name]
        return [a / b for a, b in zip(ours, theirs) if b > 0]

    def row(self, name):
        values = sorted(self.values[name])
        if name in self.failed:
            return f"  {name:<16} failed: {self.failed[name]}"
        text = (f"  {name:<16}{statistics.median(values):>10.3f}"
                f"{values[0]:>10.3f}{values[-1]:>10.3f}")
        pairs = [] if name == "lunette" or "lunette" not in self.values \
            or "lunette" in self.failed else sorted(self.ratios(name))
        if pairs:
            text += (f"{statistics.median(pairs):>12.3f}"
                     f"  ({pairs[0]:.3f} to {pairs[-1]:.3f})")
        return text

    def show(self):
        """Prints the table at once, for whoever reads a pipe."""
        print(f"\n{self.title} [{self.unit}]")
        print(f"  {'':<16}{'median':>10}{'least':>10}{'most':>10}"
              f"{'lunette / it':>14}")
        for contestant in self.contestants:
            print(self.row(contestant.name), flush=True)


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def make_tables(bench):
    lunette = Lunette("lunette", bench,
                      shutil.which(bench.args.lunette or
                                   os.path.join(bench.args.build, "lunette")))
    routes = LunetteRoutes("10000 routes", bench, lunette.binary)
    floor = Floor("floor", bench, bench.tool("floor"))
    haproxy_path = shutil.which("haproxy") or shutil.which(
        "haproxy", path="/usr/sbin:/usr/local/sbin")
    nginx_path = shutil.which("nginx") or shutil.which(
        "nginx", path="/usr/sbin:/usr/local/sbin")
    sniproxy_path = shutil.which("sniproxy") or shutil.which(
        "sniproxy", path="/usr/sbin:/usr/local/sbin")
    haproxy = Haproxy("haproxy", bench, haproxy_path)
    spliced = HaproxySplice("haproxy splice", bench, haproxy_path)
    nginx = Nginx("nginx", bench, nginx_path)
    nginx_bulk = NginxBulk("nginx 256k", bench, nginx_path)
    sniproxy = Sniproxy("sniproxy", bench, sniproxy_path)
    everyone = [lunette, floor, haproxy, nginx, sniproxy]
    rows = [
        ("connections", "Passthrough, CPU of a short connection", "us",
         "short", measure_connections, everyone),
        ("bulk", "Passthrough, CPU of a gigabyte", "s", "bulk", measure_bulk,
         [lunette, floor, haproxy, spliced, nginx_bulk]),
        ("memory", "Passthrough, user memory of an idle connection", "bytes",
         "hold", measure_memory, [lunette, haproxy, nginx, sniproxy]),
        ("routes", f"CPU of a short connection, {MANY_ROUTES} routes", "us",
         "short", measure_connections, [lunette, routes]),
        ("growth", f"CPU of a connection beside {OPEN_MANY} open ones over "
         f"that beside {OPEN_FEW}", "ratio", "short", measure_growth,
         [lunette, haproxy, nginx]),
        ("latency", "Added latency to the first byte, 500 connections a "
         "second, median", "us", "short", measure_latency,
         [lunette, floor, haproxy, nginx, sniproxy]),
    ]
    return [Table(*row) for row in rows]


def leave_out_missing(tables):
    names = set()
    for table in tables:
        names |= {c.name for c in table.contestants if c.missing()}
        table.contestants = [c for c in table.contestants if not c.missing()]
    tables[:] = [t for t in tables if t.contestants]
    return sorted(names)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default=".", help="the build folder")
    parser.add_argument("--lunette", help="another lunette to measure")
    parser.add_argument("--quick", action="store_true",
                        help="fewer rounds, less work: a look, no figures")
    parser.add_argument("--rounds", type=int, help="how often each is run")
    parser.add_argument("--only", action="append", metavar="KEY",
                        help="connections, bulk, memory, routes, growth or "
                        "latency; may be repeated")
    return parser.parse_args()


def run(args, folder):
    bench = Bench(args, folder)
    tables = make_tables(bench)
    missing = leave_out_missing(tables)
    if args.only:
        tables = [t for t in tables if t.key in args.only]
    try:
        bench.start_sinks()
        for table in tables:
            table.run(bench)
            progress("")
            table.show()
    finally:
        bench.close()
    print(f"\n{bench.rounds} rounds, {bench.workers} workers each, loopback, "
          f"{os.cpu_count()} CPUs, kernel {os.uname().release}.")
    print("Ratios are made within a round; brackets hold their range.")
    if missing:
        print("Not installed, so left out: " + ", ".join(missing) + ".")
    arguments = " ".join(sys.argv[1:])
    print("Again: " + f"python3 {sys.argv[0]} {arguments}".strip())
    return 1 if any(t.failed for t in tables) else 0


def main():
    args = parse_arguments()
    raise_limits()
    with tempfile.TemporaryDirectory(prefix="lunette-bench-") as folder:
        os.chmod(folder, 0o755)
        return run(args, folder)


if __name__ == "__main__":
    sys.exit(main())
