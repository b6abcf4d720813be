#!/usr/bin/env python3
"""Measures Lunette, its peers and our floors side by side on loopback.

The headline is the CPU time of the proxy's process tree for a unit of work.
The contestants take turns, round after round, so that what the machine does
besides falls on all of them; medians are shown with their spread, and ratios
are made within a round. Absolute figures say little about other machines.

Needs nothing but Python's standard library; peers that are not installed are
left out and named. Ends only what it started.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import contestants as c  # noqa: E402
import measure as m  # noqa: E402
import terminators as t  # noqa: E402
import tunnels as u  # noqa: E402
from processes import Failure, raise_limits  # noqa: E402


class Table:
    """One measurement of several contestants in turn. Its `parts` are pairs of
    a title and a unit, one for each value that `measure` gives."""

    def __init__(self, key, parts, work, measure, contestants):
        self.key, self.parts = key, parts
        self.work, self.measure = work, measure
        self.contestants = contestants
        self.values = {each.name: [] for each in contestants}
        self.failed = {}

    def run_one(self, bench, contestant):
        began_s = time.monotonic()
        process, port = contestant.start(self.work)
        try:
            run = m.Run(contestant, process, port, began_s)
            values = self.measure(bench, run)
            if process.poll() is not None:
                raise Failure("it ended by itself")
            if not isinstance(values, tuple):
                values = (values,)
            self.values[contestant.name].append(values)
        finally:
            contestant.stop(process)

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

    def column(self, name, part):
        return [values[part] for values in self.values[name]]

    def ratios(self, name, part):
        """Lunette's value over another's, round by round."""
        if name == "lunette" or "lunette" not in self.values or \
                "lunette" in self.failed:
            return []
        pairs = zip(self.column("lunette", part), self.column(name, part))
        return sorted(a / b for a, b in pairs if b > 0)

    def row(self, name, part):
        if name in self.failed:
            return f"  {name:<18} failed: {self.failed[name]}"
        values = sorted(self.column(name, part))
        text = (f"  {name:<18}{statistics.median(values):>10.3f}"
                f"{values[0]:>10.3f}{values[-1]:>10.3f}")
        pairs = self.ratios(name, part)
        if pairs:
            text += (f"{statistics.median(pairs):>12.3f}"
                     f"  ({pairs[0]:.3f} to {pairs[-1]:.3f})")
        return text

    def show(self):
        """Prints the table at once, for whoever reads a pipe."""
        for part, (title, unit) in enumerate(self.parts):
            print(f"\n{title} [{unit}]")
            print(f"  {'':<18}{'median':>10}{'least':>10}{'most':>10}"
                  f"{'lunette / it':>14}")
            for contestant in self.contestants:
                print(self.row(contestant.name, part), flush=True)


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def find(program):
    """Servers often stand where a user's PATH does not look."""
    return shutil.which(program) or shutil.which(
        program, path="/usr/sbin:/usr/local/sbin")


def find_lunette(bench):
    return shutil.which(bench.args.lunette or
                        os.path.join(bench.args.build, "lunette"))


def passthrough_tables(bench):
    lunette = c.Lunette("lunette", bench, find_lunette(bench))
    routes = c.LunetteRoutes(f"{c.MANY_ROUTES} routes", bench, lunette.binary)
    floor = c.Floor("floor", bench, bench.tool("floor"))
    haproxy = c.Haproxy("haproxy", bench, find("haproxy"))
    spliced = c.HaproxySplice("haproxy splice", bench, haproxy.binary)
    nginx = c.Nginx("nginx", bench, find("nginx"))
    nginx_bulk = c.NginxBulk("nginx 256k", bench, nginx.binary)
    sniproxy = c.Sniproxy("sniproxy", bench, find("sniproxy"))
    everyone = [lunette, floor, haproxy, nginx, sniproxy]
    return [
        Table("connections",
              [("Passthrough, CPU of a short connection", "us")],
              "short", m.measure_connections, everyone),
        Table("bulk", [("Passthrough, CPU of a gigabyte", "s")],
              "bulk", m.measure_bulk,
              [lunette, floor, haproxy, spliced, nginx_bulk]),
        Table("memory",
              [("Passthrough, user memory of an idle connection", "bytes")],
              "hold", m.measure_memory, [lunette, haproxy, nginx, sniproxy]),
        Table("routes", [(f"CPU of a short connection, {c.MANY_ROUTES} routes",
                          "us")],
              "short", m.measure_connections, [lunette, routes]),
        Table("growth", [(f"CPU of a connection beside {m.OPEN_MANY} open "
                          f"ones over that beside {m.OPEN_FEW}", "ratio")],
              "short", m.measure_growth, [lunette, haproxy, nginx]),
        Table("latency", [("Added latency to the first byte, 500 connections "
                           "a second, median", "us")],
              "short", m.measure_latency,
              [lunette, floor, haproxy, nginx, sniproxy]),
    ]


def everyone_with(bench, pem):
    """All that terminate, with this certificate."""
    return [each.with_pem(pem) for each in (
        t.LunetteTerminates("lunette", bench, find_lunette(bench)),
        t.Terminator("floor", bench, bench.tool("terminator")),
        t.TerminatorNoTickets("floor, no tickets", bench,
                              bench.tool("terminator")),
        t.HaproxyTerminates("haproxy", bench, find("haproxy")),
        t.NginxTerminates("nginx", bench, find("nginx")),
        t.Hitch("hitch", bench, find("hitch")),
        t.Stunnel("stunnel", bench, find("stunnel") or find("stunnel4")))]


def certificate_tables(bench):
    one = t.LunetteTerminates("lunette", bench, find_lunette(bench))
    many = [each.with_pem("many") for each in (
        t.LunetteTerminates("lunette", bench, one.binary),
        t.HaproxyTerminates("haproxy", bench, find("haproxy")),
        t.Hitch("hitch", bench, find("hitch")))]
    of_many = t.LunetteTerminates(f"{t.MANY_CERTIFICATES} certificates",
                                  bench, one.binary).with_pem("many")
    title = f"{t.MANY_CERTIFICATES} certificates"
    return [
        Table("certificates-start",
              [(f"{title}, from the start to the first handshake", "s"),
               (f"{title}, CPU of that", "s"),
               (f"{title}, user memory before the first handshake", "MB")],
              "short", m.measure_start, many),
        Table("certificates-handshake",
              [(f"CPU of a full handshake, one certificate and {title}",
                "us"), ("The same, each for the first time", "us")],
              "short", m.measure_chosen, [one, of_many]),
    ]


def termination_tables(bench):
    ecdsa = everyone_with(bench, "ecdsa.pem")
    rsa = everyone_with(bench, "rsa.pem")
    lunette, floor, bare, haproxy, nginx, hitch, stunnel = ecdsa
    ticketed = [lunette, floor, haproxy, nginx, hitch, stunnel]
    bulk = [lunette, floor, haproxy,
            t.HaproxyBulk("haproxy 64k", bench, haproxy.binary),
            nginx,
            t.NginxTerminatesBulk("nginx 256k", bench, nginx.binary),
            hitch, stunnel]
    title = "Termination, CPU of a short connection"
    return [
        Table("terminate-ecdsa", [(f"{title}, ECDSA P-256", "us")],
              "short", m.measure_handshakes, ecdsa),
        Table("terminate-rsa", [(f"{title}, RSA-2048", "us")],
              "short", m.measure_handshakes,
              [each for each in rsa if each.name != bare.name]),
        Table("terminate-resumed", [(f"{title}, resumed", "us")],
              "short", m.measure_resumed, ticketed),
        Table("terminate-1.2", [(f"{title}, ECDSA P-256, TLS 1.2", "us")],
              "short", m.measure_handshakes_1_2, ticketed),
        Table("terminate-down",
              [("Termination, CPU of a gigabyte to the client", "s")],
              "bulk", m.measure_down, bulk),
        Table("terminate-up",
              [("Termination, CPU of a gigabyte from the client", "s")],
              "up", m.measure_up, bulk),
        Table("reencrypt",
              [("Re-encryption, CPU of a short connection", "us")],
              "secure", m.measure_handshakes, [lunette, haproxy, nginx]),
        Table("terminate-memory",
              [("Termination, user memory of an idle connection", "bytes")],
              "hold", m.measure_terminated_memory, ticketed),
    ]


def tunnel_parts(of_connections):
    what, unit, rate, per_second = (
        ("a short connection", "us", "short connections", "1/s")
        if of_connections else ("a gigabyte", "s", "bytes", "MB/s"))

    def parts(title):
        return [(f"{title}, CPU of {what}, both ends", unit),
                (f"{title}, CPU of {what}, at the edge", unit),
                (f"{title}, CPU of {what}, at the agent", unit),
                (f"{title}, {rate} a second", per_second)]
    return parts


def tunnel_tables(bench):
    lunette = find_lunette(bench)
    stunnel = find("stunnel") or find("stunnel4")
    haproxy = find("haproxy")
    everyone = [u.LunetteTunnel("lunette", bench, lunette),
                u.LunetteMultiplexed("multiplexed", bench, lunette),
                u.LunetteEncrypted("encrypted", bench, lunette),
                u.StunnelTunnel("stunnel", bench, stunnel)]
    at_edge = [u.LunetteTunnelAtEdge("lunette", bench, lunette),
               u.LunetteMultiplexedAtEdge("multiplexed", bench, lunette)]
    short, bulk = tunnel_parts(True), tunnel_parts(False)
    title, terminated = "Tunnel", "Tunnel, TLS that ends at the edge"
    return [
        Table("tunnel-connections", short(title), "short",
              m.measure_tunnel_connections,
              everyone + [u.HaproxyTunnel("haproxy", bench, haproxy)]),
        Table("tunnel-bulk", bulk(title), "bulk", m.measure_tunnel_bulk,
              everyone + [u.HaproxyTunnelBulk("haproxy 64k", bench,
                                              haproxy)]),
        Table("tunnel-edge-connections", short(terminated), "short",
              m.measure_tunnel_connections,
              at_edge + [u.HaproxyTunnelAtEdge("haproxy", bench, haproxy)]),
        Table("tunnel-edge-bulk", bulk(terminated), "bulk",
              m.measure_tunnel_bulk,
              at_edge + [u.HaproxyTunnelAtEdgeBulk("haproxy 64k", bench,
                                                   haproxy)]),
    ]


KEYS = ("connections, bulk, memory, routes, growth, latency, terminate, "
        "reencrypt, certificates or tunnel; one of the parts of the last "
        "ones as in terminate-rsa or tunnel-bulk")


def make_tables(bench):
    tables = passthrough_tables(bench) + termination_tables(bench) + \
        certificate_tables(bench) + tunnel_tables(bench)
    wanted = bench.args.only
    if not wanted:
        return tables
    return [table for table in tables
            if table.key in wanted or table.key.split("-")[0] in wanted]


def leave_out_missing(tables):
    names = set()
    for table in tables:
        names |= {each.name for each in table.contestants if each.missing()}
        table.contestants = [each for each in table.contestants
                             if not each.missing()]
    tables[:] = [table for table in tables if table.contestants]
    return sorted(names)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default=".", help="the build folder")
    parser.add_argument("--lunette", help="another lunette to measure")
    parser.add_argument("--quick", action="store_true",
                        help="fewer rounds, less work: a look, no figures")
    parser.add_argument("--rounds", type=int, help="how often each is run")
    parser.add_argument("--only", action="append", metavar="KEY",
                        help=KEYS + "; may be repeated")
    parser.add_argument("--without", action="append", metavar="NAME",
                        default=[], help="leaves a contestant out")
    return parser.parse_args()


def run(args, folder):
    bench = m.Bench(args, folder)
    tables = make_tables(bench)
    for table in tables:
        table.contestants = [each for each in table.contestants
                             if each.name not in args.without]
    missing = leave_out_missing(tables)
    try:
        bench.start_upstreams()
        many = any(table.key.startswith("certificates") for table in tables)
        bench.make_certificates(t.MANY_CERTIFICATES if many else 0)
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
    return 1 if any(table.failed for table in tables) else 0


def main():
    args = parse_arguments()
    raise_limits()
    with tempfile.TemporaryDirectory(prefix="lunette-bench-") as folder:
        os.chmod(folder, 0o755)
        return run(args, folder)


if __name__ == "__main__":
    sys.exit(main())
