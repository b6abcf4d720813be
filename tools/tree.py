"""Where the source is and which files belong to it, for the checks here.

The source is $SOURCE (set by the test harness), else the root of the git
checkout, else the folder above this one. Without git, as in an unpacked
release, everything counts that a build does not leave behind.
"""

import os
import re
import subprocess
import sys

BUILD_FOLDERS = re.compile(
    r"^(\.git|\.deps|\.dirstamp|_build|_inst|_sub|build(-.*)?|autom4te\.cache"
    r"|__pycache__|\.pytest_cache)$")
BUILD_FILES = re.compile(
    r"^(Makefile(\.in)?|configure~?|aclocal\.m4|config\.(h|h\.in|log|status)"
    r"|stamp-h1|.*\.(o|a|pyc|log|trs))$")


def git(folder, *arguments):
    """What git says, "" if it fails or is not installed."""
    # A clone that another user made is only listed, nothing of it is run.
    trust = f"safe.directory={os.path.realpath(folder)}"
    try:
        done = subprocess.run(("git", "-C", folder, "-c", trust) + arguments,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return ""
    return done.stdout.decode() if done.returncode == 0 else ""


def find_source():
    folder = os.environ.get("SOURCE")
    if not folder:
        folder = git(".", "rev-parse", "--show-toplevel").strip()
    if not folder:
        folder = os.path.join(os.path.dirname(__file__), "..")
    return os.path.realpath(folder)


def is_checkout(source):
    """A checkout, and a git that can say which files belong to it."""
    return os.path.exists(os.path.join(source, ".git")) and \
        git(source, "rev-parse", "--git-dir") != ""


def walk(source):
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(f for f in folders if not BUILD_FOLDERS.match(f))
        for name in sorted(names):
            if not BUILD_FILES.match(name):
                path = os.path.join(folder, name)
                yield os.path.relpath(path, source)


def list_files(source):
    """Paths relative to the source: what is tracked or about to be."""
    if is_checkout(source):
        listed = git(source, "ls-files", "-z", "--cached", "--others",
                     "--exclude-standard").split("\0")
        return sorted(f for f in set(listed)
                      if f and os.path.isfile(os.path.join(source, f)))
    return list(walk(source))


def c_files(source, *folders):
    return [f for f in list_files(source)
            if f.endswith((".c", ".h")) and f.startswith(folders)]


def read_text(source, path):
    """The text of a file, None if it is binary."""
    with open(os.path.join(source, path), "rb") as file:
        data = file.read()
    if b"\0" in data:
        return None
    return data.decode("utf-8", "replace")


def finish(name, findings):
    for finding in findings:
        print(finding)
    print(f"{name}: {len(findings)} finding(s)")
    sys.exit(1 if findings else 0)
