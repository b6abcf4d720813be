"""Programs that a test starts, and ends by their own id."""

import os
import re
import resource
import signal
import socket
import subprocess
import time

from waiting import PATIENCE, until

COMPLAINT = re.compile(
    rb"ERROR: (Address|Leak|Memory)Sanitizer|WARNING: ThreadSanitizer"
    rb"|: runtime error: |^assertion failed: "  # Lua says "assertion failed!"
    rb"|Segmentation fault|stack smashing|malloc\(\): |double free",
    re.MULTILINE)


def free_port(kind=socket.SOCK_STREAM, host="127.0.0.1"):
    """A port that was free a moment ago, for programs that cannot take 0."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def answers(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), timeout=1).close()
        return True
    except OSError:
        return False


class Process:
    """A running program with its output in two files."""

    def __init__(self, name, argv, folder, *, env=None, descriptors=None,
                 stdin=subprocess.DEVNULL, cwd=None):
        self.name = name
        self.argv = [str(a) for a in argv]
        stem = os.path.join(folder, f"{name}-{time.monotonic_ns()}")
        self.stdout_path = stem + ".out"
        self.stderr_path = stem + ".err"

        def limits():
            if descriptors is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE,
                                   (descriptors, descriptors))

        with open(self.stdout_path, "wb") as out, \
                open(self.stderr_path, "wb") as err:
            self.popen = subprocess.Popen(
                self.argv, stdin=stdin, stdout=out, stderr=err, cwd=cwd,
                env={**os.environ, **(env or {})}, start_new_session=True,
                preexec_fn=limits if descriptors is not None else None)
        self.pid = self.popen.pid

    def stdout(self):
        with open(self.stdout_path, "rb") as f:
            return f.read()

    def stderr(self):
        with open(self.stderr_path, "rb") as f:
            return f.read()

    def output(self):
        return self.stdout() + self.stderr()

    def alive(self):
        return self.popen.poll() is None

    def wait(self, timeout=10):
        return self.popen.wait(timeout * PATIENCE)

    def kill(self, number):
        self.popen.send_signal(number)

    def wait_output(self, text, timeout=10):
        def found():
            assert self.alive() or text in self.output(), \
                f"{self.name} ended: {self.output()[-4000:]!r}"
            return text in self.output()
        until(found, timeout, f"{text!r} from {self.name}")

    def wait_port(self, port, timeout=10, host="127.0.0.1"):
        def ready():
            assert self.alive(), \
                f"{self.name} ended: {self.output()[-4000:]!r}"
            return answers(port, host)
        until(ready, timeout, f"{self.name} listens on {port}")

    def stop(self, number=signal.SIGTERM, timeout=5):
        """Ends it whatever happens; returns its exit status."""
        if self.alive():
            self.kill(number)
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill(signal.SIGKILL)
        return self.wait()

    # What /proc knows about it.

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def sockets(self):
        """Open sockets only: pipes are pooled on purpose."""
        folder = f"/proc/{self.pid}/fd"
        count = 0
        for fd in os.listdir(folder):
            try:
                count += os.readlink(f"{folder}/{fd}").startswith("socket:")
            except FileNotFoundError:
                pass
        return count

    def rss_bytes(self):
        with open(f"/proc/{self.pid}/status") as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        ticks = int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


class Heir(Process):
    """A program that another one has started with its own output: no child of
    ours, so how it ends is not known."""

    def __init__(self, parent, pid):  # pylint: disable=super-init-not-called
        self.name, self.pid = parent.name, pid
        self.stdout_path = parent.stdout_path
        self.stderr_path = parent.stderr_path

    def alive(self):
        try:
            with open(f"/proc/{self.pid}/stat") as f:
                return f.read().rsplit(")", 1)[1].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def wait(self, timeout=10):
        try:
            until(lambda: not self.alive(), timeout, "its end")
        except AssertionError:
            raise subprocess.TimeoutExpired(self.name, timeout) from None
        return 0

    def kill(self, number):
        if self.alive():
            os.kill(self.pid, number)


def run(argv, *, timeout=20, env=None, stdin=b"", cwd=None):
    """Runs a program to its end; returns it with bytes in stdout, stderr."""
    return subprocess.run(
        [str(a) for a in argv], input=stdin, capture_output=True, cwd=cwd,
        timeout=timeout * PATIENCE, env={**os.environ, **(env or {})},
        check=False)
