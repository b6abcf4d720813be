"""The soak: mixed traffic, good and hostile, against one edge, while it is
reloaded and signalled and its files and upstreams come and go. It goes in
rounds; after each one all must be gone and the books must balance.

    LUNETTE=build/lunette LUNETTE_LUA=lua python3 tests/soak/run.py --quick

All that is random comes from the seed, which is printed."""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))

from ledger import Ledger  # noqa: E402
from stage import HANDSHAKE, IDLE, Program, Stage, replace  # noqa: E402
from waiting import SANITIZED, until  # noqa: E402

# Of memory, from the end of the warm-up to the end. How many connections happen
# to be in their handshakes at one time sets the heap's high water, which stays
# (fragmented), and minutes do not show the highest: they tell gross leaks only.
GROWTH, GROWTH_IN_MINUTES = 1.05, 1.30
LONG_ENOUGH = 15  # minutes
POOLED_PIPES = 64  # descriptors that an idle edge may keep


class Disturber:
    """What happens to the edge meanwhile. Each deed leaves it able to serve:
    good clients must not notice."""

    def __init__(self, stage, ledger, seed):
        self.stage, self.ledger, self.edge = stage, ledger, stage.edge
        self.rng = random.Random(f"{seed}-disturber")
        self.reloads = self.refused = self.files = 0
        self.kills = self.signals = 0
        self.later = []  # (moment, deed): what ends a disturbance
        self.deeds = {
            self.reload: 4, self.reload_broken: 3, self.reload_bad_script: 1,
            self.swap_certificate: 3, self.spoil_certificate: 1,
            self.swap_crl: 2, self.rotate: 2, self.kill_upstream: 5,
            self.stop_upstream: 2, self.signal_at_random: 3,
            self.reload_storm: 1,
        }

    def run(self, until_moment):
        """Each once in a round, so that the warm-up has seen them all."""
        deeds = list(self.deeds)
        planned = self.rng.sample(deeds, len(deeds))
        while time.monotonic() < until_moment:
            for due in [d for d in self.later if d[0] < time.monotonic()]:
                self.later.remove(due)
                due[1]()
            deed = planned.pop() if planned else \
                self.rng.choices(deeds, self.deeds.values())[0]
            deed()
            self.ledger.read_events()
            time.sleep(self.rng.uniform(0.2, 1.2))
        for _, deed in self.later:
            deed()
        self.later = []

    def soon(self, deed):
        self.later.append(
            (time.monotonic() + self.rng.uniform(0.3, 3), deed))

    # Reloads.

    def expect_reload(self, good):
        fine, entry = self.edge.reload_raw(30)
        self.reloads += 1
        self.refused += not fine
        if fine != good:
            self.ledger.fault(f"reload: {entry}, expected to be "
                              f"{'taken' if good else 'refused'}")

    def reload(self):
        """With an endpoint more or less, and other settings."""
        endpoints = self.stage.endpoints()
        self.rng.choice(endpoints)["metadata"] = str(self.rng.random())
        for n in range(self.rng.randrange(20)):
            endpoints.append({"url": f"tls://extra{n}.test",
                              "upstream": "127.0.0.1:9"})
        self.rng.shuffle(endpoints)
        self.edge.endpoints = endpoints
        self.stage.put_script(self.stage.good_script +
                              f"-- {self.rng.random()}\n")
        self.edge.write()
        self.expect_reload(True)

    def reload_broken(self):
        with open(self.edge.config_path, "a") as f:
            f.write(self.rng.choice([
                "nonsense: true\n", "- [\n", "version: 2\n",
                "edge: { limits: { connections: -1 } }\n"]))
        self.expect_reload(False)
        self.edge.write()

    def reload_bad_script(self):
        self.stage.put_script(self.rng.choice([
            "return 1", "return function(", "error 'at load'"]))
        self.expect_reload(False)
        self.stage.put_script(self.stage.good_script)

    # Files.

    def swap_certificate(self):
        swapped = self.rng.choice(self.stage.swapped)
        swapped.put(self.rng.choice(swapped.pairs))
        self.files += 1

    def spoil_certificate(self):
        """Until another one comes, the old one stays in use."""
        swapped = self.rng.choice(self.stage.swapped)
        swapped.spoil()
        self.files += 1
        time.sleep(self.rng.uniform(0, 1.5))
        swapped.put(self.rng.choice(swapped.pairs))

    def swap_crl(self):
        replace(self.rng.choice(self.stage.crls), self.stage.crl)
        self.files += 1

    def rotate(self):
        if not os.path.exists(self.stage.events_path):
            return  # the edge is about to open it
        self.ledger.rotate()
        self.reopen()

    def reopen(self):
        before = len(self.edge.log_lines())
        self.edge.kill(signal.SIGUSR1)
        self.signals += 1
        self.edge.wait_log("opened again", 30, before)

    # Upstreams and signals.

    def kill_upstream(self):
        backend = self.rng.choice(self.stage.shaky)
        if backend.program:
            backend.kill()
            self.kills += 1
            self.soon(backend.start)

    def stop_upstream(self):
        backend = self.rng.choice(self.stage.shaky)
        backend.signal(signal.SIGSTOP)
        self.soon(lambda: backend.signal(signal.SIGCONT))

    def signal_at_random(self):
        for _ in range(self.rng.randrange(1, 200)):
            self.edge.kill(self.rng.choice(
                [signal.SIGCHLD, signal.SIGPIPE, signal.SIGWINCH,
                 signal.SIGUSR1]))
            self.signals += 1

    def reload_storm(self):
        """Signals that wait are one; the lowest number is taken first. So
        when the second SIGUSR1 was taken, no SIGHUP of ours is left."""
        for _ in range(self.rng.randrange(2, 20)):
            self.edge.kill(signal.SIGHUP)
            self.signals += 1
            time.sleep(self.rng.uniform(0, 0.02))
        self.reopen()
        self.reopen()


def descriptors(pid):
    """How many of each kind."""
    kinds = {}
    folder = f"/proc/{pid}/fd"
    for fd in os.listdir(folder):
        try:
            kind = os.readlink(f"{folder}/{fd}").split(":")[0]
        except FileNotFoundError:
            continue
        kind = kind if kind in ("socket", "pipe", "anon_inode") else "file"
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def mappings(pid):
    """Resident KiB by what is mapped, or where."""
    found, name = {}, ""
    with open(f"/proc/{pid}/smaps") as f:
        for line in f:
            fields = line.split()
            if "-" in fields[0]:
                name = fields[5] if len(fields) > 5 else \
                    fields[0].split("-")[0]
            elif fields[0] == "Rss:":
                found[name] = found.get(name, 0) + int(fields[1])
    return found


class Soak:
    def __init__(self, options, folder):
        self.options = options
        self.stage = Stage(folder, options.seed)
        self.edge = self.stage.edge
        self.ledger = Ledger(self.stage.events_path, self.edge)
        self.disturber = Disturber(self.stage, self.ledger, options.seed)
        self.clients = [Program("clients.py", json.dumps(self.stage.plan(
            options.threads, n))) for n in range(options.processes)]
        self.before = descriptors(self.edge.process.pid)
        self.samples = []  # of memory, MiB, with nobody connected
        self.mapped = []
        self.began = time.monotonic()

    # A round.

    def round(self, seconds):
        for program in self.clients:
            program.tell(str(seconds))
        self.disturber.run(time.monotonic() + seconds)
        for program in self.clients:
            self.ledger.take_report(json.loads(program.hear()))
        self.settle()
        self.samples.append(self.edge.process.rss_bytes() / 2 ** 20)
        self.mapped.append(mappings(self.edge.process.pid))
        self.show()

    def settle(self):
        """All clients are gone: so must be all else of theirs."""
        def complain(text):
            self.ledger.fault(f"after {self.elapsed():.0f} s: {text}")
        try:
            until(lambda: self.nothing_left(), IDLE + HANDSHAKE + 5,
                  "all events told and all descriptors back")
        except AssertionError:
            for line in self.ledger.balance():
                complain(line)
            if self.descriptors_left():
                complain(f"descriptors {descriptors(self.edge.process.pid)}, "
                         f"at the start {self.before}")
        self.ledger.read_log()
        if not self.edge.process.alive():
            complain("the edge is dead")

    def nothing_left(self):
        self.ledger.read_events()
        return not self.ledger.balance() and not self.descriptors_left()

    def descriptors_left(self):
        now = descriptors(self.edge.process.pid)
        return any(count > self.before.get(kind, 0) + (
            POOLED_PIPES if kind == "pipe" else 0)
            for kind, count in now.items())

    def elapsed(self):
        return time.monotonic() - self.began

    def show(self):
        ledger, done = self.ledger, self.ledger.done
        kinds = descriptors(self.edge.process.pid)
        print(f"{self.elapsed() / 60:6.1f} min: "
              f"{ledger.connections} connections, "
              f"{ledger.events / max(1, ledger.connections):.3f} events each; "
              f"{done['resumed'] / max(1, done['handshakes']):.2f} resumed, "
              f"{done['lost'] / max(1, ledger.connections):.4f} lost with "
              f"their upstreams; {done['bytes'] >> 20} MiB checked; "
              f"{self.samples[-1]:.1f} MiB, {sum(kinds.values())} "
              f"descriptors; {len(ledger.faults)} faults", flush=True)

    # The end.

    def check_growth(self):
        warm = max(1, len(self.samples) // 3)
        after = self.samples[warm - 1:]
        part = max(1, min(5, len(after) // 3))
        first = statistics.median(after[:part])
        last = statistics.median(after[-part:])
        shown = " ".join(f"{s:.1f}" for s in self.samples)
        print(f"memory, MiB: {shown}; {last / first:.3f} of what it was after "
              f"the warm-up", flush=True)
        if SANITIZED:
            return  # a quarantine grows
        limit = GROWTH if self.options.minutes >= LONG_ENOUGH else \
            GROWTH_IN_MINUTES
        if last > first * limit:
            self.ledger.fault(f"memory grew from {first:.1f} to {last:.1f} "
                              f"MiB after the warm-up: KiB by mapping "
                              f"{self.grown(warm - 1)}")

    def grown(self, since):
        before, after = self.mapped[since], self.mapped[-1]
        grown = {k: n - before.get(k, 0) for k, n in after.items()}
        return dict(sorted(grown.items(), key=lambda i: -i[1])[:5])

    def check_mix(self):
        """A soak in which nothing happens would pass, too."""
        for what, count in (("resumed", self.ledger.done["resumed"]),
                            ("bytes", self.ledger.done["bytes"]),
                            ("reloads", self.disturber.reloads)):
            if not count:
                self.ledger.fault(f"no {what} at all")

    def finish(self):
        for program in self.clients:
            program.stop()
        self.check_growth()
        self.check_mix()
        try:
            self.edge.drain()
            until(lambda: not self.edge.process.alive(), 5,
                  "nobody is connected, so one SIGTERM is enough")
            self.edge.stop()
        except AssertionError as error:
            self.ledger.fault(f"at the end: {error}")
        self.ledger.read_events()
        self.ledger.read_log()
        for line in self.ledger.balance():
            self.ledger.fault(line)
        self.show_all()

    def show_all(self):
        ledger, disturber = self.ledger, self.disturber
        for title, counter in (("clients", ledger.done),
                               ("reasons", ledger.reasons),
                               ("warnings and errors", ledger.logged)):
            print(f"{title}: " + ", ".join(
                f"{k} {n}" for k, n in counter.most_common()))
        print(f"soak: {ledger.connections} connections, {ledger.events} "
              f"events, {disturber.reloads} reloads ({disturber.refused} "
              f"refused), {disturber.files} files replaced, "
              f"{ledger.rotations} rotations, {disturber.kills} kills, "
              f"{disturber.signals} signals: "
              f"{'FAILED' if ledger.faults else 'passed'}")
        kinds = {}
        for fault in ledger.faults:
            kinds.setdefault(fault[:40], []).append(fault)
        for faults in list(kinds.values())[:20]:
            print(f"  {len(faults)} x {faults[0]}")

    def close(self):
        for program in self.clients:
            program.stop()
        if not self.edge.stopped:
            self.edge.process.stop(signal.SIGKILL)
        self.stage.close()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--quick", action="store_true", help="three minutes")
    parser.add_argument("--seed", type=int,
                        default=random.SystemRandom().randrange(10 ** 9))
    parser.add_argument("--processes", type=int, default=2,
                        help="of clients")
    parser.add_argument("--threads", type=int, default=8,
                        help="of each of them")
    parser.add_argument("--keep", action="store_true",
                        help="the folder with configuration, log and events")
    options = parser.parse_args()
    if options.quick:
        options.minutes = 3
    return options


def main():
    options = arguments()
    print(f"soak: seed {options.seed}, {options.minutes:g} minutes",
          flush=True)
    folder = tempfile.mkdtemp(prefix="lunette-soak-")
    soak = Soak(options, folder)
    try:
        end = soak.began + options.minutes * 60
        length = 60 if options.minutes >= LONG_ENOUGH else 15
        while time.monotonic() < end:
            soak.round(length)
        soak.finish()
        failed = bool(soak.ledger.faults)
    finally:
        soak.close()
        if options.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
