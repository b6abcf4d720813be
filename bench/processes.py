"""Processes: what they used of the machine, and how they are ended."""

import os
import re
import resource
import select
import socket
import subprocess
import time


class Failure(Exception):
    """A contestant or helper did not do its work."""


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


def cpu_seconds(pid, with_ended=False):
    """Of the tree. Only clock ticks count threads that have ended as well."""
    ticks = with_ended or not os.path.exists("/proc/self/schedstat")
    total = 0
    for each in tree(pid):
        try:
            total += stat_cpu_ns(each) if ticks else task_cpu_ns(each)
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
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_listening(port, process, what):
    """Until /proc shows the listening socket: no connection is spent on it."""
    wanted = f"0100007F:{port:04X}"
    deadline = time.monotonic() + 120  # ten thousand certificates take long
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failure(f"{what} ended with {process.returncode}")
        with open("/proc/net/tcp") as f:
            for line in f:
                fields = line.split()
                if fields[1] == wanted and fields[3] == "0A":
                    return
        time.sleep(0.002)
    raise Failure(f"{what} does not listen")
