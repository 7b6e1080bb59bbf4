"""Fetch files from the Hugging Face Hub, blind to their content."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from speechtok.errors import CheckpointError, HubError
from speechtok.hub.faults import MOST_REASON, call, keep_token_out
from speechtok.redaction import redact, without_secrets
from speechtok.storage import file_sha256, inside

FILE_SUFFIXES = (".yaml", ".yml", ".parquet")
"""A name that ends so is a file, also one that is not there."""


def download_file(repository: str, path: str, *, revision: str | None = None) -> Path:
    """Return the local copy of one file, from the Hub's cache or fetched now.

    Raises:
        HubError: when the file cannot be had; the message names repository, file and reason.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    keep_token_out()
    try:
        return Path(hf_hub_download(repository, path, revision=revision))
    except LocalEntryNotFoundError as error:
        raise HubError(
            f"{path} of {repository} is not in the local cache and the Hugging Face Hub cannot be reached; "
            "go online, or pass checkpoint=FOLDER with the published files."
        ) from without_secrets(error)
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = redact(str(error)[:MOST_REASON]).strip().partition("\n")[0] or type(error).__name__
        raise HubError(f"{path} of {repository} could not be downloaded: {reason}") from without_secrets(
            error
        )


def download_repository(
    repository: str, folder: Path, *, kind: str = "dataset", revision: str | None = None
) -> str:
    """Make a local folder hold what a repository holds; return the commit.

    Files that are there already are not fetched again; what was cut goes on where it stopped.

    Raises:
        HubError: when something cannot be fetched; the same call later fetches only what is missing.
        StorageError: when a name or a link leads out of the folder; nothing is fetched then.
    """
    from huggingface_hub import HfApi, snapshot_download

    what = f"{kind.capitalize()} '{repository}' could not be pulled"
    where: dict[str, Any] = {"repo_id": repository, "repo_type": kind}
    commit = call(lambda: str(HfApi().repo_info(**where, revision=revision).sha), what)
    for name in call(lambda: HfApi().list_repo_files(**where, revision=commit), what):
        for written in (
            name,
            f".cache/huggingface/download/{name}.metadata",
        ):  # the latter is the client's own
            inside(folder, written)
    call(lambda: snapshot_download(**where, revision=commit, local_dir=folder), what)
    return commit


def published_text(repository: str, path: str, what: str, *, revision: str | None = None) -> str | None:
    """Return what a text file of a dataset's repository says now, or None where there is none.

    Args:
        repository: user/name.
        path: of the file.
        what: what it is needed for, to begin a sentence with: "Dataset 'a/b' could not be pushed".
        revision: branch; one that is still to be made will start as the main one, so the file is read from there.

    Raises:
        HubError: when the Hub does not say whether there is one.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    def fetched(revision: str | None) -> str | None:
        try:
            info = HfApi().dataset_info(repository, revision=revision)
        except RevisionNotFoundError:
            return None if revision is None else fetched(None)
        except RepositoryNotFoundError:
            return None
        if path not in {item.rfilename for item in info.siblings or []}:
            return None
        local = hf_hub_download(repository, path, repo_type="dataset", revision=info.sha)
        return Path(local).read_text(encoding="utf-8")

    return call(lambda: fetched(revision), what)


def cached_folder(repository: str, patterns: Sequence[str], *, revision: str | None = None) -> Path:
    """Return the folder of the Hub's cache that holds files of a dataset, fetching what it lacks.

    Args:
        repository: user/name.
        patterns: which files, such as "data/*.parquet".
        revision: branch, tag or commit; None takes the main branch.

    Raises:
        HubError: when something must be fetched and cannot be.
    """
    from huggingface_hub import snapshot_download

    action = partial(
        snapshot_download,
        repository,
        repo_type="dataset",
        revision=revision,
        allow_patterns=list(patterns),
    )
    return Path(call(action, f"Dataset '{repository}' could not be fetched"))


def is_repository(name: object) -> bool:
    """Return whether a name is user/name of a repository, rather than a path that is there."""
    return (
        isinstance(name, str)
        and len(name) < 256
        and re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) is not None
        and Path(name).suffix not in FILE_SUFFIXES
        and not Path(name).exists()
    )


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
