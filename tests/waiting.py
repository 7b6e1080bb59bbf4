"""Waiting for what another process or thread does: never without a limit."""

import time

MAX_SECONDS = 120.0
"""On a loaded machine everything takes its time; after this long something is wrong."""


def wait_until(condition, *, alive=None):
    """Wait until `condition()` is true.

    Args:
        condition: asked again and again.
        alive: a process of `subprocess` without which it cannot become true.
    """
    deadline = time.monotonic() + MAX_SECONDS
    while not condition():
        assert alive is None or alive.poll() is None, "the process that was waited for has ended"
        assert time.monotonic() < deadline, f"waited {MAX_SECONDS:g} s in vain"
        time.sleep(0.01)
