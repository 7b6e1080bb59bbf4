"""What goes wrong between here and the Hub: which faults pass, and the sentence for the others.

Faults that pass (too many requests, a server error, a broken connection) are tried again with growing, random
pauses. All others become one `HubError` at once. No message holds a token.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from speechtok.errors import HubError
from speechtok.redaction import guard_log, redact, remember, without_secrets
from speechtok.storage.retrying import keep_trying

ATTEMPTS = 6
"""How often a request is tried, besides what the client does by itself."""
FIRST_PAUSE_SECONDS = 1.0
"""The first pause is up to this long; each further one up to twice as long …"""
LONGEST_PAUSE_SECONDS = 60.0
"""… and never longer than this."""

_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}
_PASSING_TYPES = {"TransportError", "RequestException", "ConnectionError", "TimeoutError", "ProtocolError"}
"""Names of the bases of what httpx, requests and urllib3 raise when a connection fails."""
_PASSING_WORDS = ("consistency check failed", "should have been")
"""How the client calls a download that was cut."""
MOST_REASON = 2000
"""Characters of an unknown fault's text that are looked at."""
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"

T = TypeVar("T")


def call(action: Callable[[], T], what: str) -> T:
    """Return what an exchange with the Hub returns, trying again while its faults pass.

    Args:
        action: what to do; must be safe to do twice.
        what: what is being done, to begin the sentence with: "Dataset 'a/b' could not be pushed".

    Raises:
        HubError: for every fault that stays, in one sentence.
    """
    keep_token_out()
    try:
        return keep_trying(
            action,
            passes=_passes,
            attempts=ATTEMPTS,
            first_pause_seconds=FIRST_PAUSE_SECONDS,
            longest_pause_seconds=LONGEST_PAUSE_SECONDS,
        )
    except Exception as error:
        raise HubError(f"{what}: {_reason(error)}") from without_secrets(error)


def keep_token_out() -> None:
    """Keep the access token, which may lie in a file, out of messages and of what the client logs from now on."""
    from huggingface_hub import get_token

    remember(get_token(), "hf_…")
    guard_log("huggingface_hub")


def show_progress(visible: bool) -> None:
    """Let the client draw progress bars on stderr, or not."""
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    if not visible:
        disable_progress_bars()
    elif os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS") is None:
        enable_progress_bars()


def _passes(error: BaseException) -> bool:
    from huggingface_hub.errors import OfflineModeIsEnabled

    error = _unwrapped(error)
    if isinstance(error, OfflineModeIsEnabled):
        return False
    status = _status(error)
    if status is not None:
        return status in _PASSING_STATUS
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & _PASSING_TYPES) or any(word in str(error) for word in _PASSING_WORDS)


def _unwrapped(error: BaseException) -> BaseException:
    """Return what the client met, where it says only which file could not be sent or fetched."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while type(error) in (RuntimeError, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return int(status) if status is not None else None


def _reason(error: BaseException) -> str:
    """Return what was found and the next step, as the rest of a sentence."""
    from huggingface_hub import errors

    error = _unwrapped(error)
    status = _status(error)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "the client is told to stay offline; unset HF_HUB_OFFLINE, or work with local files."
    if isinstance(error, errors.HFValidationError):
        return "a repository is called user/name, of letters, digits, '-', '_' and '.'."
    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"no access token was found; {_LOG_IN}."
    if isinstance(error, errors.RevisionNotFoundError):
        return "it has no such revision; name a branch, a tag or a commit that it has."
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"there is no such repository, or this access token may not see it; check the name, or {_LOG_IN}."
        )
    if isinstance(error, errors.EntryNotFoundError):
        return "the repository holds no such file."
    if status == 401:
        return f"the Hub does not accept the access token (status 401); it may have expired: {_LOG_IN}."
    if status == 403:
        return (
            "the access token does not allow it (status 403); take one that may write to this namespace, "
            f"and {_LOG_IN}."
        )
    if _passes(error):
        shown = f"status {status}" if status is not None else type(error).__name__
        return (
            f"the Hub did not answer properly in {ATTEMPTS} tries ({shown}). What was transferred is kept; run the "
            "same command again later."
        )
    if isinstance(error, HubError):
        return redact(str(error))
    told = str(getattr(error, "server_message", None) or error)[:MOST_REASON]
    lines = [line.strip() for line in redact(told).splitlines() if line.strip()]
    return f"{' '.join(lines[:2]).rstrip('.') or type(error).__name__}."
