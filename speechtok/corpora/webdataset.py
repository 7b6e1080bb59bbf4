"""WebDataset tars: the members `KEY.flac`, `KEY.json`, `KEY.txt` next to each other are one utterance.

Source: webdataset, "The WebDataset Format": a key is a member's path up to the first dot of its name.

Recordings are read in place, by their offset in the archive; only JSON and text are read to plan a job.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from speechtok.audio.containers import AUDIO_SUFFIXES
from speechtok.audio.location import Location
from speechtok.corpora.corpus import Corpus, Pairs, Unique, labelled, plain_path, renamed
from speechtok.corpora.folder import walk
from speechtok.errors import DatasetError
from speechtok.storage import AnyPath, relative

_TEXT = "txt"


def read_webdataset(path: AnyPath, columns: Mapping[str, str]) -> Corpus:
    """Return the utterances of a tar, or of all tars below a folder.

    Args:
        path: the tar or the folder.
        columns: fields of the JSON members, by the name they have here; `audio` names the extension of the
            recording where there are several, such as {"audio": "mic1.flac"}, and `id` a field to take ids from.

    Raises:
        DatasetError: when iterated, for an archive that cannot be read in place, a key without or with
            several recordings, JSON that is none, or a key that occurs twice.
    """
    root = path if path.is_dir() else path.parent
    ignored = Counter[str]()

    def read() -> Pairs:
        ignored.clear()
        for tar in [path] if path.is_file() else _tars(root, ignored):
            yield from _utterances(root, tar, columns, ignored)

    name = path.resolve().name
    return Corpus(
        kind="webdataset", name=name, root=root, utterances=Unique(read, str(path)), ignored=ignored
    )


def _tars(root: AnyPath, ignored: Counter[str]) -> Iterator[AnyPath]:
    for path in walk(root):
        if path.suffix == ".tar":
            yield path
        else:
            ignored[path.suffix.lower() or "no suffix"] += 1


def _utterances(root: AnyPath, tar: AnyPath, columns: Mapping[str, str], ignored: Counter[str]) -> Pairs:
    name = plain_path(relative(tar, root), str(root))
    for key, members, values in _samples(tar, ignored):
        wanted = columns.get("audio")
        found = {end: member for end, member in members.items() if wanted in (None, end)}
        if len(found) != 1:
            listed = ", ".join(members) or "none"
            raise DatasetError(
                f"{tar} must have one recording for '{key}', but has: {listed}. "
                "Choose one of several with --column audio=EXTENSION."
            )
        ((_, member),) = found.items()
        audio = Location(path=name, offset=member.offset_data, bytes=member.size, member=member.name)
        fields = {ours: theirs for ours, theirs in columns.items() if ours != "audio"}
        if columns.get("id") != "id":
            values["id"] = key
        values = renamed(values, fields, f"{tar}, key '{key}',")
        identity = str(values.pop("id"))
        yield labelled(identity, str(audio), values), f"{name}, key '{key}'"


def _samples(
    tar: AnyPath, ignored: Counter[str]
) -> Iterator[tuple[str, dict[str, tarfile.TarInfo], dict[str, Any]]]:
    """Yield key, recordings by extension, and what JSON and text say, of each group of members."""
    key, members, values = None, dict[str, tarfile.TarInfo](), dict[str, Any]()
    for member, archive in _members(tar):
        begin, end = _split(member.name)
        if begin != key:
            if key is not None and (members or values):
                yield key, members, values
            key, members, values = begin, {}, {}
        if f".{end.rpartition('.')[2]}" in AUDIO_SUFFIXES:
            members[end] = member
        elif end in ("json", _TEXT):
            values |= _described(tar, member, archive, end)
        else:
            ignored[f".{end}" if end else "no suffix"] += 1
    if key is not None and (members or values):
        yield key, members, values


def _members(tar: AnyPath) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    try:
        with tar.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # which otherwise holds all of them
                if member.isreg() and not PurePosixPath(member.name).name.startswith("."):
                    yield member, archive
    except (tarfile.TarError, OSError) as error:
        raise DatasetError(
            f"{tar} cannot be read as a tar archive ({error}); a compressed one must be unpacked, "
            "since its members cannot be read in place."
        ) from error


def _split(name: str) -> tuple[str, str]:
    """Return the key of a member and its extension, in lower case and without the dot."""
    path = PurePosixPath(name)
    begin, _, end = path.name.partition(".")
    key = (path.parent / begin).as_posix()
    return key, end.lower()


def _described(tar: AnyPath, member: tarfile.TarInfo, archive: tarfile.TarFile, end: str) -> dict[str, Any]:
    file = archive.extractfile(member)
    content = b"" if file is None else file.read()
    try:
        text = content.decode("utf-8-sig")
        values = {"text": text.strip()} if end == _TEXT else json.loads(text)
    except ValueError as error:
        raise DatasetError(
            f"{tar} has the member '{member.name}', which is no {end.upper()}: {error}."
        ) from None
    if not isinstance(values, dict):
        raise DatasetError(f"{tar} has the member '{member.name}', which must hold a JSON object.")
    return {name: value for name, value in values.items() if _is_plain(value) and name != "audio"}


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
