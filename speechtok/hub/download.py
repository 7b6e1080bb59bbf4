"""Fetch files from the Hugging Face Hub, blind to their content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from speechtok.errors import CheckpointError, HubError


def download_file(repository: str, path: str, *, revision: str | None = None) -> Path:
    """Return the local copy of one file, from the Hub's cache or fetched now.

    Raises:
        HubError: when the file cannot be had; the message names repository, file and reason.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, path, revision=revision))
    except LocalEntryNotFoundError as error:
        raise HubError(
            f"{path} of {repository} is not in the local cache and the Hugging Face Hub cannot be reached; "
            "go online, or pass checkpoint=FOLDER with the published files."
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise HubError(f"{path} of {repository} could not be downloaded: {reason}") from error


def check_sha256(path: Path, expected: str) -> None:
    """Raise `CheckpointError` unless the file has the expected hash."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise CheckpointError(
            f"{path} has sha256 {found}, but its card states {expected}; fetch the file again."
        )
