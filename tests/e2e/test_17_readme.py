"""What the README says is true of this program: its commands run, its files
are accepted, its script decides."""

import os
import re
import shlex

import pytest

import hello
from edge import Running, lunette
from upstream import answer_and_close

SOURCE = os.environ.get("SOURCE") or os.path.abspath(
    os.path.join(os.path.dirname(__file__), "..", ".."))


def readme():
    with open(os.path.join(SOURCE, "README.md"), encoding="utf-8") as f:
        return f.read()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", readme(), re.S | re.M)


def commands(*words):
    """Lines of the README that begin with these words, as arguments."""
    start = " ".join(words)
    return [shlex.split(line, comments=True)
            for block in blocks("") for line in block.splitlines()
            if line.startswith(start)]


def test_the_readme_has_what_these_tests_look_for():
    assert len(commands("lunette", "tls")) >= 3
    assert blocks("yaml") and blocks("lua")


def runnable(scene, line, addresses):
    """The arguments with this test's addresses instead of the README's."""
    arguments, skip = [], False
    for word in line[1:]:
        if skip:
            skip = False
        elif word == "--listen":
            skip = True
        elif re.fullmatch(r"10\.0\.0\.\d+:\d+", word):
            arguments.append(addresses.pop(0))
        elif word.endswith(".lua"):
            arguments.append(scene.write(word, blocks("lua")[0]))
        else:
            arguments.append(word)
    return [*arguments, "--listen", "127.0.0.1:0"]


@pytest.mark.parametrize("line", commands("lunette", "tls"), ids=" ".join)
def test_tls_examples_run(scene, line):
    ups = [scene.upstream(answer_and_close(b"ok")) for _ in range(2)]
    edge = Running(runnable(scene, line, [u.address for u in ups]),
                   scene.folder)
    scene.edges.append(edge)
    client = scene.client(edge)
    client.hello("app.example.com")
    data = client.read_all()[0]
    client.close()
    # Clients of 127.0.0.1 are outside of the networks that it allows.
    refused = "--cidr-allow" in line or "--policy-file" in line
    assert data == (hello.alert(49) if refused else b"ok")


def test_configurations_pass_check(scene):
    for number, text in enumerate(blocks("yaml")):
        path = scene.write(f"readme{number}.yaml", text)
        shown = lunette("check", "-c", path)
        assert shown.returncode == 0, shown.stderr.decode()


def test_scripts_pass_policy_check(scene):
    for number, text in enumerate(blocks("lua")):
        path = scene.write(f"readme{number}.lua", text)
        shown = lunette("policy", "check", path)
        assert shown.returncode == 0, shown.stderr.decode()
