"""What goes wrong between here and an object store: which faults pass, and the sentence for the others.

Faults that pass (the store is overloaded or restarts, a connection breaks, an answer does not come)
are tried again with growing, random pauses. All others are permanent: a refusal, a missing bucket,
missing credentials. They become one sentence at once.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from speechtok.errors import StorageError
from speechtok.redaction import redact, without_secrets
from speechtok.storage.retrying import keep_trying

ATTEMPTS = 10
"""How often a request is tried."""
FIRST_PAUSE_SECONDS = 0.2
"""The first pause is up to this long; each further one up to twice as long …"""
LONGEST_PAUSE_SECONDS = 20.0
"""… and never longer than this."""
MOST_REASON = 2000
"""Characters of an unknown fault's text that are told."""

_PASSING_STATUS = {408, 429, 500, 502, 503, 504}
_PASSING_CODES = {
    *(
        "SlowDown",
        "InternalError",
        "ServiceUnavailable",
        "RequestTimeout",
        "Throttling",
        "ThrottlingException",
    ),
    *("BadDigest", "IncompleteBody", "ConditionalRequestConflict", "OperationAborted"),
}
_PASSING_ERRNO = {
    errno.EBUSY,
    errno.EAGAIN,
    errno.EPIPE,
    errno.ECONNRESET,
    errno.ECONNREFUSED,
    errno.ETIMEDOUT,
}
_PASSING_TYPES = {
    *("HTTPClientError", "EndpointConnectionError", "ConnectionClosedError", "ReadTimeoutError"),
    *("ConnectTimeoutError", "IncompleteReadError", "IncompleteRead", "ResponseStreamingError"),
    *("ResponseParserError", "FSTimeoutError", "ClientConnectionError", "ClientPayloadError"),
    *("ServerDisconnectedError", "ChecksumError", "TransportError", "ChunkedEncodingError"),
}
"""Names of the clients' own errors, and of their bases, so that no client needs to be imported."""
_NO_CREDENTIALS = {
    *("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "DefaultCredentialsError"),
    *(
        "CredentialRetrievalError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
        "LocalTokenNotFoundError",
    ),
}
_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS to a key file, or run `gcloud auth application-default login`",
    "hf": "set HF_TOKEN, or run `hf auth login`",
}

T = TypeVar("T")


def call(action: Callable[[], T], where: str, doing: str) -> T:
    """Return what an action on a store returns, trying again while its faults pass.

    Args:
        action: what to do; must be safe to do twice.
        where: the URI, for messages.
        doing: what is being done, such as "read", for messages.

    Raises:
        FileNotFoundError: when the store has no such object.
        StorageError: for every other fault, in one sentence without secrets.
    """
    try:
        return keep_trying(
            action,
            passes=_passes,
            attempts=ATTEMPTS,
            first_pause_seconds=FIRST_PAUSE_SECONDS,
            longest_pause_seconds=LONGEST_PAUSE_SECONDS,
        )
    except (StorageError, FileExistsError):
        raise
    except Exception as error:
        raise _translated(error, where, doing) from without_secrets(error)


def status_of(error: BaseException) -> tuple[int | None, str]:
    """Return the HTTP status and the store's own code of an error, as far as they are known."""
    for link in _chain(error):
        response: Any = getattr(link, "response", None)
        if isinstance(response, dict):  # botocore
            code = str(response.get("Error", {}).get("Code", ""))
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return status or (int(code) if code.isdecimal() else None), code
        stated = [
            getattr(response, "status_code", None),
            getattr(link, "status", None),
            getattr(link, "code", None),
        ]
        numbers = [int(str(item)) for item in stated if str(item).isdecimal()]  # gcsfs has it as text
        if numbers:
            return numbers[0], ""
    return None, ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _passes(error: BaseException) -> bool:
    if not isinstance(error, Exception) or isinstance(error, StorageError):
        return False
    status, code = status_of(error)
    if status is not None:
        return status in _PASSING_STATUS or code in _PASSING_CODES
    for link in _chain(error):
        if isinstance(link, TimeoutError | ConnectionError) or _names(link) & _PASSING_TYPES:
            return True
        if isinstance(link, OSError) and link.errno in _PASSING_ERRNO:
            return True
    return False


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _translated(error: Exception, where: str, doing: str) -> Exception:
    status, code = status_of(error)
    shown = code if code and not code.isdecimal() else f"status {status}" if status else type(error).__name__
    scheme, _, rest = where.partition("://")
    bucket = rest.split("/")[0]
    if _passes(error):
        return StorageError(
            f"{where} could not be {doing}: the store did not answer properly in {ATTEMPTS} tries ({shown}). "
            "Finished work is kept; run the same command again when the store is well."
        )
    if code == "NoSuchBucket" or any("NoSuchBucket" in _names(link) for link in _chain(error)):
        return StorageError(
            f"{where} could not be {doing}: there is no bucket '{bucket}'; create it, or check the name."
        )
    if any(_names(link) & _NO_CREDENTIALS for link in _chain(error)):
        return StorageError(
            f"{where} could not be {doing}: no credentials for {scheme}:// were found; {_CREDENTIALS[scheme]}."
        )
    if status in (401, 403) or isinstance(error, PermissionError):
        return StorageError(
            f"{where} could not be {doing}: the store refuses it ({shown}); check that the credentials in the "
            f"environment are valid and may do this ({_CREDENTIALS[scheme]})."
        )
    if status == 404 or isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "there is no such object", where)
    if status in (301, 307):
        return StorageError(
            f"{where} could not be {doing}: the bucket lies in another region; set AWS_REGION to its region."
        )
    reason = " ".join(redact(str(error)[:MOST_REASON]).split()).rstrip(".")
    return StorageError(
        f"{where} could not be {doing}: {reason or type(error).__name__}; check the address and the settings of the store."
    )
