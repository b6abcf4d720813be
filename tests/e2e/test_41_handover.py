"""Listening sockets that a process is born with: of the one that it succeeds
(SIGUSR2), or of systemd's socket activation."""

import os
import shutil
import signal
import tempfile

import pytest

from edge import Edge, binary
from process import Heir, free_port, run
from test_13_reload import Load
from test_16_running import AS_ROOT, Manager, low_port, status_of
from test_37_tunnel_faults import goes_on, held
from tunnel import AgentProcess, TunnelEdge, endpoint
from upstream import answer_and_close, echo
from waiting import scaled, until

NAME, HELD = "a.test", "held.test"


def routes(scene):
    """An endpoint that says ok and one that keeps its connections."""
    return [{"url": "tls://" + NAME,
             "upstream": scene.upstream(answer_and_close(b"ok")).address},
            {"url": "tls://" + HELD, "upstream": scene.upstream(echo).address}]


@pytest.mark.core
def test_a_successor_under_load(scene):
    """Nobody is refused, and who is there stays with the old process."""
    edge = scene.edge(routes(scene))
    load = Load(edge.port)
    generations = scaled(4, 2)
    clients, old = [], []
    for _ in range(generations):
        clients.append(held(scene, edge, HELD))
        done = load.done
        old.append(edge.hand_over())
        until(lambda: load.done > done + 20, 20, "it goes on")
    assert not load.stop(), load.failures[:5]
    for client, process in zip(clients, old):
        assert process.alive()
        goes_on(client)
        client.close()
        assert process.wait() == 0
    edge.wait_events(load.done + generations)


def test_what_a_successor_reads(scene):
    """The configuration as it is now; two listeners keep their ports."""
    edge = scene.edge(routes(scene)[:1], listen=[
        {"address": "127.0.0.1:0"}, {"address": "127.0.0.1:0"}])
    ports = edge.ports
    edge.endpoints.append({"url": "tls://new.test",
                           "upstream": edge.endpoints[0]["upstream"]})
    edge.write()
    edge.hand_over().wait()
    assert edge.listening_ports()[-2:] == ports
    load = Load(ports[1], names=("new.test",))
    until(lambda: load.done > 5, 10, "the new name")
    assert not load.stop()
    fine, entry = edge.reload()
    assert fine, entry
    edge.wait_events(load.done)


def test_a_successor_that_fails(scene):
    """The old process goes on, and another may be tried."""
    edge = scene.edge(routes(scene))
    good = edge.text()
    with open(edge.config_path, "w") as f:
        f.write("version: 1\nedge: nonsense\n")
    edge.kill(signal.SIGUSR2)
    edge.wait_log("the successor has failed", 10)
    assert "expected keys and values" in edge.raw_log()
    client = held(scene, edge, HELD)
    with open(edge.config_path, "w") as f:
        f.write(good)
    old = edge.hand_over()
    goes_on(client)
    client.close()
    old.wait()
    edge.wait_events(1)


def test_a_newer_program(scene):
    """What lies where the program lay is started."""
    program, edge = replaceable(scene)
    shutil.copy(binary(), program + ".new")
    os.rename(program + ".new", program)
    assert os.readlink(f"/proc/{edge.process.pid}/exe").endswith("(deleted)")
    edge.hand_over().wait()
    assert os.readlink(f"/proc/{edge.process.pid}/exe") == program
    held(scene, edge, HELD).close()
    edge.wait_events(1)


def replaceable(scene):
    """An edge, and its program's file, which a test may replace."""
    program = scene.path("lunette")
    shutil.copy(binary(), program)
    return program, scene.edge(routes(scene), wrapper=[
        "/bin/sh", "-c", f'shift; exec {program} "$@"', "sh"])


def replace(program, text):
    with open(program + ".new", "w") as f:
        f.write(text)
    os.chmod(program + ".new", 0o755)
    os.rename(program + ".new", program)


def test_a_program_that_is_gone(scene):
    program, edge = replaceable(scene)
    os.remove(program)
    edge.kill(signal.SIGUSR2)
    edge.wait_log("no successor can be started")
    held(scene, edge, HELD).close()
    edge.wait_events(1)


def test_a_file_that_is_no_program(scene):
    program, edge = replaceable(scene)
    replace(program, "nonsense")
    edge.kill(signal.SIGUSR2)
    entry = edge.wait_log("the successor has failed")
    assert "format" in entry["error"].lower(), entry
    held(scene, edge, HELD).close()
    edge.wait_events(1)


def test_a_stop_while_one_is_starting(scene):
    """Who is told to stop takes the other one along."""
    program, edge = replaceable(scene)
    replace(program, "#!/bin/sh\nexec sleep 600\n")
    edge.kill(signal.SIGUSR2)
    entry = edge.wait_log("a successor is starting")
    heir = Heir(edge.process, int(entry["successor"]))
    until(lambda: b"sleep" in command_of(heir.pid), 5, "it sleeps")
    edge.drain()
    assert edge.process.wait() == 0
    heir.wait()
    assert "has failed" not in edge.raw_log()


def command_of(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        return f.read()


def test_the_state_stays_where_it_is(scene):
    """Also for one that starts as another user than its predecessor did."""
    edge = TunnelEdge(scene)
    edge.hand_over().wait()
    with open(f"/proc/{edge.process.pid}/environ", "rb") as f:
        assert b"STATE_DIRECTORY=" + edge.settings["state"].encode() in \
            f.read().split(b"\0")


def test_a_state_folder_with_a_colon(scene):
    """STATE_DIRECTORY would be cut there: the successor reads its file."""
    folder = scene.path("state:one")
    edge = TunnelEdge(scene, edge={"state": folder})
    edge.hand_over().wait()
    with open(f"/proc/{edge.process.pid}/environ", "rb") as f:
        assert not [v for v in f.read().split(b"\0")
                    if v.startswith(b"STATE_DIRECTORY=/")]
    assert os.path.isdir(folder)
    assert not os.path.exists(folder.partition(":")[0])


def test_one_successor_at_a_time(scene):
    edge = scene.edge(routes(scene))
    client = held(scene, edge, HELD)
    old = edge.hand_over(signals=5)
    old.kill(signal.SIGUSR2)
    edge.wait_log(lambda e: e.get("error") == "draining")
    goes_on(client)
    client.close()
    assert old.wait() == 0
    starts = [e for e in edge.log_lines()
              if e.get("msg") == "a successor is starting"]
    assert len(starts) == 1
    edge.wait_events(1)


def test_the_service_manager_is_told_who_serves(scene):
    manager = Manager(scene.path("notify"))
    edge = scene.edge(routes(scene), env={"NOTIFY_SOCKET": manager.path,
                                          "WATCHDOG_USEC": "10000000"})
    manager.hear("READY=1")
    old = edge.hand_over()
    # The successor's own, which a manager takes of the main process only.
    manager.hear("READY=1")
    assert manager.hear("MAINPID=") == f"MAINPID={edge.process.pid}"
    old.wait()
    edge.drain()
    manager.hear("STOPPING=1")
    manager.socket.close()


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
def test_a_low_port_is_passed_on(scene):
    """By a process that could not open it itself."""
    with tempfile.TemporaryDirectory(prefix="lunette-") as folder:
        os.chmod(folder, 0o755)
        edge = Edge(folder, routes(scene), edge={"user": "nobody"},
                    listen=[{"address": f"127.0.0.1:{low_port()}"}])
        scene.edges.append(edge)
        edge.hand_over().wait()
        assert "0" not in status_of(edge.process.pid)["Uid"].split()
        held(scene, edge, HELD).close()
        edge.wait_events(1)
        edge.stop()


def test_an_agent_has_nothing_to_pass_on(scene):
    edge = TunnelEdge(scene)
    process = AgentProcess(scene, [edge], [endpoint(NAME, "127.0.0.1:1")])
    edge.wait_online(NAME)
    process.kill(signal.SIGUSR2)
    process.wait_log("no successor is started")
    assert process.process.alive()


# Socket activation.

def activation(*addresses, pid="$$", count=None, kind="STREAM"):
    """A wrapper that listens and passes the sockets on."""
    script = f"""
import os, socket, sys
made = []
for host, port in {list(addresses)!r}:
    sock = socket.socket(socket.AF_INET, socket.SOCK_{kind})
    sock.bind((host, port))
    if {kind!r} == "STREAM":
        sock.listen(64)
    made.append(os.dup(sock.fileno()))
    sock.close()
high = [os.dup2(fd, 100 + n) for n, fd in enumerate(made)]
for n, fd in enumerate(high):
    os.dup2(fd, 3 + n)
    os.set_inheritable(3 + n, True)
os.environ["LISTEN_PID"] = {pid!r}.replace("$$", str(os.getpid()))
os.environ["LISTEN_FDS"] = {str(count or len(addresses))!r}
os.closerange(3 + len(high), 256)
os.execv(sys.argv[1], sys.argv[1:])
"""
    return ["/usr/bin/env", "python3", "-c", script]


def test_sockets_of_the_service_manager(scene):
    """Were it to listen by itself, the port would be in use."""
    port, spare = free_port(), free_port()
    edge = scene.edge(routes(scene),
                      listen=[{"address": f"127.0.0.1:{port}"}],
                      wrapper=activation(("127.0.0.1", spare),
                                         ("127.0.0.1", port)))
    edge.wait_log(lambda e: "no listener" in e.get("msg", "") and
                  e["count"] == "1")
    assert edge.port == port
    held(scene, edge, HELD).close()
    edge.wait_events(1)
    with open(f"/proc/{edge.process.pid}/environ") as f:
        assert "LISTEN_FDS" in f.read()  # as it was born
    old = edge.hand_over()
    old.wait()
    held(scene, edge, HELD).close()
    edge.wait_events(2)


def refused(scene, **options):
    path = scene.path("refused.yaml")
    with open(path, "w") as f:
        f.write('version: 1\nedge: { listen: ["127.0.0.1:0"] }\n'
                'endpoints: [{ url: "tls://a.test", '
                'upstream: "127.0.0.1:1" }]\n')
    wrapper = activation(("127.0.0.1", 0), **options)
    return run([*wrapper, binary(), "edge", "-c", path])


@pytest.mark.parametrize("options", [
    {"kind": "DGRAM"}, {"count": 2}, {"count": "x"}, {"count": "0"},
    {"count": 257}, {"count": "-1"}, {"count": "99999999999999999999"}])
def test_what_is_passed_must_be_right(scene, options):
    shown = refused(scene, **options)
    assert shown.returncode == 1
    assert b"LISTEN_FDS" in shown.stderr, shown.stderr


def test_what_is_meant_for_another_process(scene):
    """The variables are inherited; those of a parent are not ours."""
    port = free_port()
    edge = scene.edge(routes(scene), wrapper=activation(
        ("127.0.0.1", port), pid="1"))
    assert edge.port != port
    held(scene, edge, HELD).close()
    edge.wait_events(1)
