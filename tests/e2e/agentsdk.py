"""An unmodified @ngrok/ngrok, driven by sdk/driver.js."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import threading

import pytest

from tunnelpeer import cache
from waiting import PATIENCE, until

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sdk")
FILES = ["package.json", "package-lock.json", ".npmrc", "driver.js"]


def install():
    """The folder with the SDK, put there once for all runs; the test is
    skipped where there is no npm or no registry."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("no node or no npm")
    mark = hashlib.sha256()
    for name in FILES:
        with open(os.path.join(SOURCE, name), "rb") as f:
            mark.update(f.read())
    folder = os.path.join(cache(), "sdk-" + mark.hexdigest()[:16])
    with open(folder + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(folder):
            fetch(folder)
    return folder


def fetch(folder):
    new = folder + ".new"
    shutil.rmtree(new, ignore_errors=True)
    os.mkdir(new)
    for name in FILES:
        shutil.copy(os.path.join(SOURCE, name), new)
    ran = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=new, capture_output=True, timeout=300, check=False)
    if ran.returncode:
        text = ran.stderr.decode("utf-8", "replace")
        if unreachable(text):
            pytest.skip("npm's registry is not reachable: " +
                        text.strip().splitlines()[0])
        raise AssertionError(text)
    os.rename(new, folder)


def unreachable(text):
    return any(word in text for word in (
        "ENOTFOUND", "ECONNREFUSED", "ETIMEDOUT", "EAI_AGAIN", "ENETUNREACH",
        "EHOSTUNREACH", "ECONNRESET", "ERR_SOCKET_TIMEOUT", "E403"))


class SdkError(Exception):
    def __init__(self, text, code):
        super().__init__(text)
        self.code = code


class Sdk:
    """One process with the SDK in it, at most one session."""

    def __init__(self, folder, log="INFO"):
        self.process = subprocess.Popen(
            ["node", os.path.join(folder, "driver.js")], cwd=folder,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "SDK_LOG": log})
        self.pid = self.process.pid
        self.events, self.answers, self.asked = [], {}, 0
        threading.Thread(target=self.work, daemon=True).start()
        self.wait_event("ready")

    def work(self):
        for line in self.process.stdout:
            said = json.loads(line)
            if "event" in said:
                self.events.append(said)
            else:
                self.answers[said["id"]] = said

    def all(self, word):
        return [e for e in list(self.events) if e["event"] == word]

    def wait_event(self, word, timeout=20, count=1):
        until(lambda: len(self.all(word)) >= count, timeout,
              f"{count} {word} from the SDK; it said {self.events[-5:]}")
        return self.all(word)[count - 1]

    def begin(self, what, **options):
        """Gives a command; its number is for finish."""
        self.asked += 1
        line = json.dumps({"id": self.asked, "do": what, **options})
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        return self.asked

    def finish(self, number, timeout=30):
        until(lambda: number in self.answers or
              self.process.poll() is not None, timeout,
              f"an answer of the SDK; it said {self.events[-5:]}")
        assert number in self.answers, \
            f"the SDK ended: {self.events[-5:]}"
        answer = self.answers.pop(number)
        if "error" in answer:
            raise SdkError(answer["error"], answer["code"])
        return answer["value"]

    def do(self, what, timeout=30, **options):
        return self.finish(self.begin(what, **options), timeout)

    def connect(self, server, ca, token="a token", **options):
        with open(ca) as f:
            text = f.read()
        return self.do("connect", server=server, ca=text, token=token,
                       **options)

    def listen(self, forward, **options):
        return self.do("listen", forward=forward, **options)

    def kill(self):
        self.process.kill()
        self.process.wait(10 * PATIENCE)

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(5 * PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
        self.process.stdout.close()
