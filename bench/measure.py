"""What is measured, of a contestant that runs."""

import os
import resource
import subprocess
import time
from collections import namedtuple

from processes import (Failure, cpu_seconds, read_line, stop,
                       user_memory_bytes)
from terminators import MANY_CERTIFICATES

GIB = 1 << 30
ANSWER_BYTES = 64
IDLE_FROM, IDLE_TO = 1000, 9000
OPEN_FEW, OPEN_MANY = 100, 9000


# A contestant at work; `began_s` is when it was started, monotonic.
Run = namedtuple("Run", "contestant process port began_s")


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.workers = 2
        self.descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.sinks, self.helpers, self.notes = {}, [], []
        self.bulk_bytes = (GIB // 4) if args.quick else GIB
        self.handshakes = 1000 if args.quick else 4000
        self.count = 2000 if args.quick else 10000
        self.rounds = args.rounds or (3 if args.quick else 7)

    def tool(self, name):
        return os.path.join(self.args.build, "bench", name)

    def start_upstream(self, name, program, *argv):
        process = subprocess.Popen([self.tool(program), *argv], text=True,
                                   stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
        self.helpers.append(process)
        self.sinks[name] = int(read_line(process.stdout, 5, program))

    def start_upstreams(self):
        self.start_upstream("short", "sink", str(ANSWER_BYTES))
        self.start_upstream("bulk", "sink", str(self.bulk_bytes))
        self.start_upstream("hold", "sink", str(ANSWER_BYTES), "hold")
        self.start_upstream("up", "sink", str(ANSWER_BYTES),
                            str(self.bulk_bytes))

    def make_certificates(self, count):
        subprocess.run([self.tool("certificates"), self.folder, str(count)],
                       check=True)
        self.start_upstream("secure", "terminator", str(self.sinks["short"]),
                            os.path.join(self.folder, "ecdsa.pem"))

    def close(self):
        for process in self.helpers:
            stop(process)

    def load(self, port, name, size, mode, count, number):
        """Runs the clients; all connections must be served in full."""
        return self.run_clients(
            count, [self.tool("load"), str(port), f"{name}.bench", str(size),
                    mode, str(count), str(number)])

    def tls_load(self, port, name, count, *options):
        return self.run_clients(
            count, [self.tool("tlsload"), *[str(o) for o in options],
                    str(port), f"{name}.bench", str(count)])

    def run_clients(self, count, argv):
        done = subprocess.run(argv, text=True, capture_output=True,
                              timeout=600)
        fields = done.stdout.split()
        if done.returncode != 0 or int(fields[0]) != count:
            raise Failure(f"served {fields[0] if fields else 'none'} of "
                          f"{count} {done.stderr.strip()}")
        return [float(f) for f in fields]

    def holder(self, port):
        return Holder([self.tool("load"), str(port), "hold.bench",
                       str(ANSWER_BYTES), "hold"])

    def tls_holder(self, port):
        return Holder([self.tool("tlsload"), "-r", str(ANSWER_BYTES),
                       str(port), "hold.bench", "hold"])


class Holder:
    """Clients that stay open and idle."""

    def __init__(self, argv):
        self.process = subprocess.Popen(argv, text=True,
                                        stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def open(self, count):
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        if read_line(self.process.stdout, 120, "load").strip() != "ok":
            raise Failure("idle connections were closed")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop(self.process)


def measure_connections(bench, run):
    """Microseconds of CPU a short connection."""
    bench.load(run.port, "short", ANSWER_BYTES, "run", 200, 32)
    before = cpu_seconds(run.process.pid)
    bench.load(run.port, "short", ANSWER_BYTES, "run", bench.count, 32)
    return (cpu_seconds(run.process.pid) - before) / bench.count * 1e6


def measure_bulk(bench, run):
    """CPU seconds a gigabyte (10^9 bytes)."""
    bench.load(run.port, "bulk", bench.bulk_bytes, "run", 1, 1)
    count = 4
    before = cpu_seconds(run.process.pid)
    bench.load(run.port, "bulk", bench.bulk_bytes, "run", count, 2)
    return (cpu_seconds(run.process.pid) - before) / \
        (count * bench.bulk_bytes / 1e9)


def idle_memory(clients, run):
    with clients:
        clients.open(IDLE_FROM)
        before = user_memory_bytes(run.process.pid)
        clients.open(IDLE_TO)
        after = user_memory_bytes(run.process.pid)
    return (after - before) / (IDLE_TO - IDLE_FROM)


def measure_memory(bench, run):
    """Bytes of user memory an idle connection."""
    return idle_memory(bench.holder(run.port), run)


def measure_growth(bench, run):
    """CPU of a connection beside many open ones, over that beside few."""
    costs = []
    with bench.holder(run.port) as clients:
        for count in (OPEN_FEW, OPEN_MANY):
            clients.open(count)
            costs.append(measure_connections(bench, run))
    return costs[1] / costs[0]


def measure_latency(bench, run):
    """Median microseconds to the first byte, over that without a proxy."""
    count = 1000 if bench.args.quick else 3000
    bench.load(run.port, "short", ANSWER_BYTES, "run", 200, 8)
    direct = bench.load(bench.sinks["short"], "short", ANSWER_BYTES, "rate",
                        count, 500)
    through = bench.load(run.port, "short", ANSWER_BYTES, "rate", count, 500)
    return through[2] - direct[2]


# The tunnel

def tunnel_costs(bench, run, name, size, warm_up, count, number):
    """CPU seconds of both ends, of the edge, of the agent, and seconds."""
    def serve(count):
        if run.contestant.at_edge:
            return bench.tls_load(run.port, name, count, "-w", number,
                                  "-r", size)
        return bench.load(run.port, name, size, "run", count, number)

    def costs():
        ended = run.contestant.has_short_threads
        return [cpu_seconds(each.pid, ended) for each in run.process]

    serve(warm_up)
    before = costs()
    passed_s = serve(count)[1]
    edge, agent = (b - a for a, b in zip(before, costs()))
    run.contestant.check()
    return edge + agent, edge, agent, passed_s


def measure_tunnel_connections(bench, run):
    """Microseconds of CPU a short connection, and connections a second."""
    *cpu, passed_s = tunnel_costs(bench, run, "short", ANSWER_BYTES, 200,
                                  bench.count, 32)
    return (*(each / bench.count * 1e6 for each in cpu),
            bench.count / passed_s)


def measure_tunnel_bulk(bench, run):
    """CPU seconds a gigabyte (10^9 bytes) to the client, and megabytes a
    second."""
    count, size = 4, bench.bulk_bytes
    *cpu, passed_s = tunnel_costs(bench, run, "bulk", size, 1, count, 2)
    gigabytes = count * size / 1e9
    return (*(each / gigabytes for each in cpu), gigabytes * 1000 / passed_s)


# Termination

def client_cost(bench, run, name, warm_up, count, *options):
    """CPU seconds of these TLS clients."""
    options = ("-r", ANSWER_BYTES, *options)
    ended = run.contestant.has_short_threads
    bench.tls_load(run.port, name, warm_up, *options)
    before = cpu_seconds(run.process.pid, ended)
    bench.tls_load(run.port, name, count, *options)
    return cpu_seconds(run.process.pid, ended) - before


def measure_handshakes(bench, run):
    """Microseconds of CPU a short connection with a full handshake."""
    return client_cost(bench, run, "short", 200,
                       bench.handshakes) / bench.handshakes * 1e6


def measure_resumed(bench, run):
    """The same with a resumed session."""
    return client_cost(bench, run, "short", 200, bench.handshakes,
                       "-R") / bench.handshakes * 1e6


def measure_handshakes_1_2(bench, run):
    """The same with a full handshake of TLS 1.2."""
    return client_cost(bench, run, "short", 200, bench.handshakes,
                       "-2") / bench.handshakes * 1e6


def measure_down(bench, run):
    """CPU seconds a gigabyte (10^9 bytes) to the client."""
    size = bench.bulk_bytes
    return client_cost(bench, run, "bulk", 1, 4, "-w", 2, "-r", size) / \
        (4 * size / 1e9)


def measure_up(bench, run):
    """CPU seconds a gigabyte (10^9 bytes) from the client."""
    size = bench.bulk_bytes
    return client_cost(bench, run, "up", 1, 4, "-w", 2, "-s", size) / \
        (4 * size / 1e9)


def measure_terminated_memory(bench, run):
    """Bytes of user memory an idle terminated connection."""
    return idle_memory(bench.tls_holder(run.port), run)


def names_of(run):
    """The names and number of them that its certificates are for."""
    if not run.contestant.has_many:
        return "short", ()
    return "many", ("-n", MANY_CERTIFICATES)


def measure_start(bench, run):
    """Seconds from the start to the first handshake, CPU seconds of that,
    bytes of user memory before the first handshake."""
    memory = user_memory_bytes(run.process.pid)
    name, options = names_of(run)
    bench.tls_load(run.port, name, 1, "-r", ANSWER_BYTES, *options)
    return (time.monotonic() - run.began_s,
            cpu_seconds(run.process.pid, True), memory / 1e6)


def measure_chosen(bench, run):
    """Microseconds of CPU a full handshake, a name of many each time: when all
    have been used before, and when each is used for the first time."""
    name, options = names_of(run)
    count = MANY_CERTIFICATES
    first = client_cost(bench, run, name, 1, count, *options)
    again = client_cost(bench, run, name, 1, bench.handshakes, *options)
    return again / bench.handshakes * 1e6, first / count * 1e6
