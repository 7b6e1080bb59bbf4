"""Send files to the Hugging Face Hub, blind to their content.

Only calls that huggingface_hub has had from 0.34 to 2.x are used: large files are sent ahead of the commit that
names them, and the Hub knows them by their sha256. What an interrupted push has sent is therefore
not sent again, committed or not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechtok.errors import HubError
from speechtok.hub.faults import call

if TYPE_CHECKING:
    from huggingface_hub import HfApi

FILES_AT_ONCE = 8
"""Files that are sent before a fault makes only later ones start anew."""
FILES_PER_COMMIT = 2000
"""The Hub takes long over larger commits."""

Content = Path | bytes


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What a push did."""

    url: str
    """Address of the repository."""
    commit: str
    """The commit that holds everything now."""
    sent: int
    """Files sent; the others were there already."""
    removed: int
    """Files removed because the folder no longer has them."""
    private: bool
    """Whether only the owner sees the repository."""


def push_files(
    repository: str,
    files: Mapping[str, Content],
    *,
    kind: str = "dataset",
    private: bool | None = None,
    revision: str | None = None,
    tag: str | None = None,
    message: str = "Upload with speechtok",
    owned: Sequence[str] = (),
) -> Pushed:
    """Make a repository hold files, sending what it lacks.

    Args:
        repository: user/name; made when there is none.
        files: path in the repository → local file, or its bytes; the last are committed last.
        kind: "dataset" or "model".
        private: whether only the owner sees it; None makes a new repository private and leaves an old one alone.
        revision: branch to commit to, made when there is none; None takes the main one.
        tag: name that the commit gets besides.
        message: first line of the commit.
        owned: folders of which nothing but `files` stays in the repository.

    Raises:
        HubError: when the repository cannot be written; the same call later sends only what is missing.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api, what = HfApi(), f"{kind.capitalize()} '{repository}' could not be pushed"
    where: dict[str, Any] = {"repo_id": repository, "repo_type": kind}
    call(partial(_check_card, api, files, kind), what)
    url = call(partial(_open, api, where, private, revision), what)
    where["revision"] = revision
    have = call(partial(_listing, api, where), what)
    additions = [
        CommitOperationAdd(path_in_repo=path, path_or_fileobj=content)
        for path, content in files.items()
        if path not in have or have[path] != _oid(content, have[path])
    ]
    removals = [
        CommitOperationDelete(path_in_repo=path)
        for path in have
        if path not in files and path.startswith(tuple(f"{folder}/" for folder in owned))
    ]
    for part in _parts(additions, FILES_AT_ONCE):
        call(partial(api.preupload_lfs_files, additions=part, **where), what)
    parts = _parts(additions, FILES_PER_COMMIT) or ([[]] if removals else [])
    for number, part in enumerate(parts, start=1):
        operations = [*part, *(removals if number == len(parts) else [])]
        title = message if len(parts) == 1 else f"{message} ({number} of {len(parts)})"
        call(partial(api.create_commit, operations=operations, commit_message=title, **where), what)
    info = call(partial(api.repo_info, **where), what)
    commit = str(info.sha)
    if tag is not None:
        call(partial(_tag, api, where, tag, commit), what)
    return Pushed(
        url=url, commit=commit, sent=len(additions), removed=len(removals), private=bool(info.private)
    )


def _check_card(api: HfApi, files: Mapping[str, Content], kind: str) -> None:
    """Let the Hub read the card before anything is sent: it refuses, for instance, licences that it does not know."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        get_session,
        hf_raise_for_status,
    )

    card = files.get("README.md")
    if card is None:
        return
    text = (card if isinstance(card, bytes) else card.read_bytes()).decode()
    response = get_session().post(
        f"{api.endpoint}/api/validate-yaml",
        json={"content": text, "repoType": kind},
        headers=build_hf_headers(),
    )
    if response.status_code == 400:
        found = "; ".join(str(item.get("message")) for item in response.json().get("errors", ()))
        raise HubError(f"the Hub does not accept what its README.md states: {found}")
    hf_raise_for_status(response)


def _open(api: HfApi, where: Mapping[str, Any], private: bool | None, revision: str | None) -> str:
    """Make repository and branch where they are missing; return the repository's address."""
    url = api.create_repo(**where, private=private is not False, exist_ok=True)
    if private is not None and api.repo_info(**where).private != private:
        api.update_repo_settings(**where, private=private)
    if revision is not None:
        api.create_branch(**where, branch=revision, exist_ok=True)
    return str(url)


def _tag(api: HfApi, where: Mapping[str, Any], tag: str, commit: str) -> None:
    """Let a tag name a commit, also when it named another one before."""
    place = {name: value for name, value in where.items() if name != "revision"}
    tags = {item.name: item.target_commit for item in api.list_repo_refs(**place).tags}
    if tags.get(tag, commit) != commit:
        api.delete_tag(**place, tag=tag)
        del tags[tag]
    if tag not in tags:
        api.create_tag(**place, tag=tag, revision=commit)


def _listing(api: HfApi, where: Mapping[str, Any]) -> dict[str, str]:
    """Return path → sha256 of every large file, git's hash of every other one."""
    from huggingface_hub.hf_api import RepoFile

    found = {}
    for item in api.list_repo_tree(**where, recursive=True):
        if isinstance(item, RepoFile):
            found[item.path] = item.lfs.sha256 if item.lfs is not None else item.blob_id
    return found


def _oid(content: Content, like: str) -> str:
    """Return a file's hash, of the kind that the Hub stated: sha256, or git's sha1 of size and content."""
    if len(like) == 64:
        return _hash(content, hashlib.sha256())
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    return _hash(content, hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False))


def _hash(content: Content, digest: Any) -> str:
    if isinstance(content, bytes):
        digest.update(content)
    else:
        with content.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return str(digest.hexdigest())


def _parts(items: Sequence[Any], size: int) -> list[list[Any]]:
    iterator = iter(items)
    return list(iter(lambda: list(islice(iterator, size)), []))
