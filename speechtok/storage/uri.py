"""What a URI of an object store may look like; it holds no secrets."""

from __future__ import annotations

import re

from speechtok.errors import StorageError
from speechtok.redaction import without_credentials

SCHEMES = ("s3", "gs", "hf")
"""Object stores; `file://` is another spelling of a local path, and `memory://` lasts as long as this process."""
_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)


def is_uri(text: object) -> bool:
    """Return whether something is text of the form `scheme://…`."""
    return isinstance(text, str) and _URI.fullmatch(text) is not None


def is_store(text: object) -> bool:
    """Return whether something is the URI of an object store known here."""
    return is_uri(text) and str(text).partition("://")[0].lower() in (*SCHEMES, "memory")


def split_uri(text: str) -> tuple[str, str]:
    """Return the scheme of a URI, in lower case, and what follows `://`, without slashes at its end.

    Raises:
        StorageError: when the scheme is unknown here, no bucket is named, or the URI holds credentials:
            plans and datasets keep the names of recordings, so those must not hold any.
    """
    match = _URI.fullmatch(text)
    assert match is not None, text  # noqa: S101
    scheme, rest = match["scheme"].lower(), match["rest"]
    if scheme not in (*SCHEMES, "file", "memory"):
        raise StorageError(
            f"{without_credentials(text)} is of a kind unknown here; use {', '.join(f'{name}://' for name in SCHEMES)}, file:// or a path."
        )
    if without_credentials(text) != text:
        raise StorageError(
            f"{without_credentials(text)} holds credentials, which would be kept in plans and datasets; "
            "give them in the environment and leave them out of the address."
        )
    if not rest.strip("/"):
        raise StorageError(f"{text} names no {'file' if scheme == 'file' else 'bucket or repository'}.")
    return scheme, rest.rstrip("/")
