"""Fixtures of the end-to-end tests. Run from anywhere:

    LUNETTE=build/lunette python3 -m pytest tests/e2e
"""

import os
import shutil
import socket
import subprocess

import pytest

import agentsdk
from certificates import Certificates
from edge import binary
from scene import Scene
from waiting import SANITIZED

PROGRAMS = ["openssl", "curl", "nginx", "haproxy"]


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "core: short and concurrent; the thread sanitizer runs it")
    config.addinivalue_line(
        "markers", "hostile: peers that mean harm, and memory that runs out; "
        "beside the core, what the address sanitizer runs in CI")
    config.addinivalue_line("markers", "fixture: needs no lunette")
    # Debian keeps servers where an ordinary user's PATH does not look.
    os.environ["PATH"] += ":/usr/sbin:/sbin"


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    setattr(item, "report_" + call.when, outcome.get_result())


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    folder.chmod(0o755)
    return Certificates(str(folder))


@pytest.fixture
def scene(request, tmp_path, certificates):
    if not request.node.get_closest_marker("fixture"):
        assert os.access(binary(), os.X_OK), \
            f"no program at {binary()}: set LUNETTE"
    scene = Scene(tmp_path, certificates)
    yield scene
    report = getattr(request.node, "report_call", None)
    scene.close(passed=report is None or report.passed)


@pytest.fixture
def needs():
    """Skips a test, visibly, without the programs that it names."""
    def check(*programs):
        for program in programs:
            if not shutil.which(program):
                pytest.skip(f"{program} is not installed")
    return check


@pytest.fixture
def sdk(scene):
    """Makes processes with the agent SDK from npm in them."""
    folder = agentsdk.install()

    def make(**options):
        made = agentsdk.Sdk(folder, **options)
        scene.agents.append(made)
        return made
    return make


@pytest.fixture
def ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on loopback")


@pytest.fixture
def shim(scene):
    if SANITIZED:
        pytest.skip("a sanitizer has an allocator of its own")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("no C compiler")
    source = os.path.join(os.path.dirname(__file__), "shim_malloc.c")
    library = scene.path("shim.so")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library,
                    source], check=True)
    return library
