"""Waiting for a condition, never for a time."""

import os
import time

# A sanitizer build is slow, and so is an edge that shares its cores with other
# tests: bounds on how long a thing may take are stretched, never what must pass
# before it happens.
SANITIZED = os.environ.get("LUNETTE_SANITIZED") == "1"
SHARED = "PYTEST_XDIST_WORKER" in os.environ
PATIENCE = float(os.environ.get("LUNETTE_PATIENCE")
                 or (4 if SANITIZED else 2 if SHARED else 1))


def until(condition, timeout, what):
    """Polls until condition() is true and returns its value."""
    deadline = time.monotonic() + timeout * PATIENCE
    pause = 0.001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def scaled(count, least=1):
    """A number of connections or megabytes, fewer in a sanitizer build."""
    return max(least, count // 10) if SANITIZED else count
