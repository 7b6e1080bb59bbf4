"""An exchange over a network, tried again while its faults pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def keep_trying(
    action: Callable[[], T],
    *,
    passes: Callable[[BaseException], bool],
    attempts: int,
    first_pause_seconds: float,
    longest_pause_seconds: float,
) -> T:
    """Return what an action returns, trying again while its faults pass, with growing, random pauses.

    Args:
        action: what to do; must be safe to do twice.
        passes: whether a fault may be gone at the next try.
        attempts: how often the action is tried at most.
        first_pause_seconds: the first pause is up to this long, each further one up to twice as long …
        longest_pause_seconds: … and never longer than this.

    Raises:
        Exception: the action's own, when it stays.
    """
    import tenacity

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(passes),
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_random_exponential(multiplier=first_pause_seconds, max=longest_pause_seconds),
        reraise=True,
    )
    return retrying(action)
