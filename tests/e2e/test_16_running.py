"""What the commands that run are to their surroundings: the service manager,
the user, the terminal, the environment's limits."""

import fcntl
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import time

import pytest

from edge import Edge, binary
from waiting import PATIENCE, SANITIZED, until

AS_ROOT = os.geteuid() == 0
ENDPOINT = [{"url": "tls://a.test", "upstream": "127.0.0.1:1"}]
CAP_NET_BIND_SERVICE = 1 << 10


def status_of(pid):
    with open(f"/proc/{pid}/status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f
                    if ":\t" in line)


def low_port():
    """A free port that an ordinary user may not listen on."""
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as f:
        first_open = int(f.read())
    for port in range(min(first_open, 1024) - 1, 100, -1):
        try:
            socket.create_server(("127.0.0.1", port)).close()
            return port
        except OSError:
            continue
    pytest.skip("every port is open to every user here")


class Manager:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.settimeout(10 * PATIENCE)

    def hear(self, beginning):
        """The next message that begins so; WATCHDOG=1 may come between."""
        while True:
            message = self.socket.recv(4096).decode()
            if message.startswith(beginning):
                return message
            assert message == "WATCHDOG=1", message


@pytest.fixture
def manager(scene):
    manager = Manager(scene.path("notify"))
    yield manager
    manager.socket.close()


def test_the_service_manager_is_told(scene, manager):
    edge = scene.edge(ENDPOINT, env={"NOTIFY_SOCKET": manager.path})
    manager.hear("READY=1")
    edge.kill(signal.SIGHUP)
    assert re.search(r"^MONOTONIC_USEC=\d+$", manager.hear("RELOADING=1"),
                     re.M)
    manager.hear("READY=1")
    edge.kill(signal.SIGTERM)
    manager.hear("STOPPING=1")


def test_the_watchdog_is_fed(scene, manager):
    scene.edge(ENDPOINT, env={"NOTIFY_SOCKET": manager.path,
                              "WATCHDOG_USEC": "200000"})
    manager.hear("READY=1")
    for _ in range(3):
        assert manager.socket.recv(4096) == b"WATCHDOG=1"


@pytest.fixture
def open_folder():
    """A folder that everybody may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="lunette-") as folder:
        os.chmod(folder, 0o755)
        yield folder


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
def test_root_is_left_behind_and_low_ports_stay(open_folder, scene):
    """HD-01: who it is, what it may do; and a reload still listens low and
    opens its files again."""
    first = low_port()
    edge = Edge(open_folder, ENDPOINT, edge={"user": "nobody"},
                listen=[{"address": f"127.0.0.1:{first}"}])
    scene.edges.append(edge)
    status = status_of(edge.process.pid)
    assert set(status["Uid"].split()) != {"0"}
    assert "0" not in status["Uid"].split() + status["Gid"].split()
    assert int(status["CapEff"], 16) == CAP_NET_BIND_SERVICE
    assert int(status["CapPrm"], 16) == CAP_NET_BIND_SERVICE
    for task in os.listdir(f"/proc/{edge.process.pid}/task"):
        if int(task) != edge.process.pid:
            of_thread = status_of(f"{edge.process.pid}/task/{task}")
            assert int(of_thread["CapEff"], 16) == 0, of_thread["Name"]
            assert "0" not in of_thread["Uid"].split()
    second = low_port()
    edge.settings["listen"].append({"address": f"127.0.0.1:{second}"})
    taken, entry = edge.reload()
    assert taken, entry
    edge.base_sockets += 1
    edge.kill(signal.SIGUSR1)
    edge.wait_log("opened again")
    assert "cannot open" not in edge.raw_log()
    for port in (first, second):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_no_dumps_no_new_privileges(scene):
    edge = scene.edge(ENDPOINT)
    assert status_of(edge.process.pid)["NoNewPrivs"] == "1"
    if SANITIZED:
        return
    with open(f"/proc/{edge.process.pid}/limits") as f:
        core = re.search(r"^Max core file size\s+(\S+)\s+(\S+)", f.read(),
                         re.M)
    assert core.groups() == ("0", "0")
    # proc(5): what is not dumpable belongs to root, whoever runs it.
    assert os.stat(f"/proc/{edge.process.pid}/environ").st_uid == 0


def test_the_soft_limit_of_descriptors_is_raised(scene):
    edge = scene.edge(ENDPOINT, wrapper=["prlimit", "--nofile=128:4096"])
    with open(f"/proc/{edge.process.pid}/limits") as f:
        limit = re.search(r"^Max open files\s+(\d+)\s+(\d+)", f.read(), re.M)
    assert limit.groups() == ("4096", "4096")


def as_user(arguments):
    """The command as somebody who may not listen on low ports."""
    if AS_ROOT:
        arguments = ["setpriv", "--reuid=65534", "--regid=65534",
                     "--clear-groups", "--inh-caps=-all", *arguments]
    return subprocess.run(arguments, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=20 * PATIENCE)


def test_no_permission_for_a_port_is_told_with_advice():
    port = low_port()
    shown = as_user([binary(), "tls", "1", "--listen", f"127.0.0.1:{port}"])
    assert shown.returncode == 1
    assert "--listen :8443" in shown.stderr
    assert len(shown.stderr.splitlines()) == 1, shown.stderr


def test_only_root_can_become_another_user(open_folder):
    path = os.path.join(open_folder, "edge.yaml")
    with open(path, "w") as f:
        f.write("""version: 1
edge: { user: root, listen: ["127.0.0.1:0"] }
endpoints: [{ url: "tls://a.test", upstream: "127.0.0.1:1" }]
""")
    shown = as_user([binary(), "edge", "-c", path])
    assert shown.returncode == 1
    assert "edge.user: only root can become" in shown.stderr, shown.stderr


def test_the_holder_of_a_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        shown = subprocess.run(
            [binary(), "tls", "1", "--listen", f"127.0.0.1:{port}"],
            capture_output=True, text=True, timeout=20 * PATIENCE)
    assert shown.returncode == 1
    assert f"(pid {os.getpid()})" in shown.stderr, shown.stderr


class Terminal:
    """`lunette` with a terminal of its own, 100 columns by 24 rows."""

    def __init__(self, *arguments):
        self.fd, inner = pty.openpty()
        self.resize(24, 100)
        self.process = subprocess.Popen(
            [binary(), *arguments], stdin=inner, stdout=inner, stderr=inner,
            start_new_session=True, env={**os.environ, "TERM": "xterm"},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(inner)
        self.text = ""

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ,
                    struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        if select.select([self.fd], [], [], 0.05)[0]:
            try:
                self.text += os.read(self.fd, 65536).decode()
            except OSError:  # Linux says EIO when the last writer has gone
                return False
        return True

    def wait(self, text):
        def shown():
            self.read()
            return text in self.text
        until(shown, 10, f"{text!r} on the screen")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.fd >= 0:
            os.close(self.fd)


@pytest.fixture
def terminal(request):
    terminals = []

    def start(*arguments):
        terminals.append(Terminal(*arguments))
        return terminals[-1]
    yield start
    for terminal in terminals:
        terminal.close()


def test_the_status_screen(terminal):
    screen = terminal("tls", "127.0.0.1:1", "--domain", "a.test",
                      "--listen", "127.0.0.1:0")
    screen.wait("this edge cannot read the bytes")
    screen.wait("tls://a.test")
    port = int(re.search(r"listening on 127\.0\.0\.1:(\d+)",
                         screen.text).group(1))
    with socket.create_connection(("127.0.0.1", port), timeout=5) as c:
        c.sendall(b"SSH-2.0-x\r\n")
        c.recv(100)
    screen.wait("not_tls")
    screen.text = ""
    screen.resize(5, 40)
    screen.process.send_signal(signal.SIGWINCH)
    screen.wait("\033[J")
    screen.text = ""
    screen.wait("\033[J")
    picture = screen.text.split("\033[J")[0]
    assert "rates" not in picture, "five rows only"
    os.write(screen.fd, b"\x03")
    while screen.read():
        pass
    assert screen.process.wait(10 * PATIENCE) == 0
    assert screen.text.endswith("\033[?25h\033[?1049l"), "terminal restored"


def test_no_screen_when_output_is_wanted(terminal):
    screen = terminal("tls", "127.0.0.1:1", "--listen", "127.0.0.1:0",
                      "--log", "stdout", "--log-format", "logfmt")
    screen.wait('msg="ready"')
    assert "\033" not in screen.text
    screen.process.terminate()
    assert screen.process.wait(10 * PATIENCE) == 0


def test_a_terminal_that_goes_away_ends_it(terminal):
    screen = terminal("tls", "127.0.0.1:1", "--listen", "127.0.0.1:0")
    screen.wait("listening on")
    os.close(screen.fd)
    screen.fd = -1
    assert screen.process.wait(10 * PATIENCE) == 0


def test_time_goes_on_while_nothing_happens(scene):
    """A deadline is counted from when a connection came, not from when its
    worker last had something to do."""
    edge = scene.edge(ENDPOINT, edge={"workers": 1,
                                      "timeouts": {"hello": "1s"}})
    time.sleep(1.5)  # what is tested is the passing of this time
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as c:
        assert c.recv(1) == b""
    assert time.monotonic() - begun > 0.9
    assert edge.event()["close"]["reason"] == "hello_timeout"
