"""Fetch files from the Hugging Face Hub, blind to their content."""

from __future__ import annotations

from pathlib import Path

from speechtok.errors import CheckpointError, HubError
from speechtok.storage import file_sha256


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


def commit_of(path: Path) -> str | None:
    """Return the commit that a file of the Hub's cache belongs to, or None for any other file."""
    origin = origin_of(path)
    return None if origin is None else origin[1]


def origin_of(path: Path) -> tuple[str, str] | None:
    """Return repository and commit of a file of the Hub's cache, or None for any other file.

    The cache keeps files at `models--<owner>--<name>/snapshots/<commit>/<path in the repository>`.
    """
    for folder in path.parents:
        cached = folder.parent.parent.name
        if folder.parent.name == "snapshots" and cached.startswith("models--"):
            return cached.removeprefix("models--").replace("--", "/"), folder.name
    return None


def check_sha256(path: Path, expected: str) -> None:
    """Raise `CheckpointError` unless the file has the expected hash."""
    found = file_sha256(path)
    if found != expected:
        raise CheckpointError(
            f"{path} has sha256 {found}, but its card states {expected}; fetch the file again."
        )
