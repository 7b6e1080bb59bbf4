"""What goes wrong between here and a store: which faults pass, and the sentence for the others.

Faults that pass are an overloaded store, a connection that breaks, an answer that does not come. All others are permanent: a
refusal, a missing bucket, missing credentials. Either way one sentence tells what stays.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from speechtok.errors import StorageError
from speechtok.redaction import redact, without_secrets

MAX_REASON = 2000
"""Characters of an unknown fault's text that are told."""

_PASSING_STATUS = {408, 409, 429, 500, 502, 503, 504}
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,100})</Code>")
_BROKEN_OFF = re.compile(r"HTTP error|request or response body error|error decoding response body")
"""How the library tells of an exchange that had no end."""
_BROKEN_TYPES = {"TransportError", "RequestException", "ConnectionError", "TimeoutError", "ProtocolError"}
"""Names of the bases of what the Hub's client raises then, so that it need not be imported."""


@contextmanager
def told(where: object, doing: str) -> Iterator[None]:
    """Let what goes wrong in the block be told in one sentence without secrets.

    Args:
        where: the object; its text is the URI.
        doing: what is being done, such as "read".

    Raises:
        FileNotFoundError: when the store has no such object.
        StorageError: for every other fault.
    """
    try:
        yield
    except (StorageError, GeneratorExit):
        raise
    except Exception as error:
        raise _translated(error, str(where), doing) from without_secrets(error)


def status_of(error: BaseException) -> tuple[int | None, str]:
    """Return the HTTP status and the store's own code of an error, as far as they are known."""
    response: Any = getattr(error, "response", None)
    if status := getattr(response, "status_code", None):
        return int(status), ""
    text = _text(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    return int(status[1]) if status else None, code[1] if code else ""


def is_broken_off(error: BaseException) -> bool:
    """Return whether no answer came, or no whole one."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return status_of(error)[0] is None and bool(names & _BROKEN_TYPES or _BROKEN_OFF.search(_text(error)))


def is_passing(error: BaseException) -> bool:
    """Return whether a fault may be gone at the next try."""
    return is_broken_off(error) or status_of(error)[0] in _PASSING_STATUS


def _text(error: BaseException) -> str:
    return str(error)[:MAX_REASON].partition("\n\nDebug source:")[0]


def _translated(error: Exception, where: str, doing: str) -> Exception:
    begin = f"{where} could not be {doing}"
    status, code = status_of(error)
    shown = code or (f"status {status}" if status else type(error).__name__)
    if code == "NoSuchBucket":
        bucket = where.partition("://")[2].split("/")[0]
        return StorageError(f"{begin}: there is no bucket '{bucket}'; create it, or check the name.")
    if isinstance(error, FileNotFoundError) or status == 404:
        return FileNotFoundError(errno.ENOENT, "there is no such object", where)
    if is_passing(error):
        return StorageError(
            f"{begin}: the store did not answer properly, however often it was asked ({shown}). "
            "Finished work is kept; run the same command again when the store is well."
        )
    if status in (401, 403) or isinstance(error, PermissionError):
        return StorageError(
            f"{begin}: the store refuses it ({shown}); check that the credentials in the environment are valid and may do this."
        )
    if status in (301, 307) or "redirect without LOCATION" in _text(error):
        return StorageError(f"{begin}: the bucket lies in another region; set AWS_REGION to its region.")
    if type(error).__name__ == "InvalidPathError":
        name = re.search(r'Path "(.*?)"(?: contained|: )', _text(error), re.DOTALL)
        return StorageError(
            f"{begin}: the store names {name[1] if name else _text(error)!r}, and only plain paths below it are taken; rename it there."
        )
    reason = " ".join(redact(_text(error)).split()).rstrip(".")
    return StorageError(
        f"{begin}: {reason or type(error).__name__}; check the address and the settings of the store."
    )
