"""WebDataset tars: the members `KEY.flac`, `KEY.json`, `KEY.txt` next to each other are one utterance.

Source: webdataset, "The WebDataset Format": a key is a member's path up to the first dot of its name. Names with more
dots are told by what lies beside them: `a_1.5.flac` with `a_1.5.json` has the key `a_1.5`.

Recordings are read in place, by their offset in the archive; only JSON and text are read to plan a job. What is wrong
with one key, or with the rest of a tar that was cut, is an utterance that goes to quarantine.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from speechtok.audio.containers import AUDIO_SUFFIXES
from speechtok.audio.location import Location
from speechtok.corpora.corpus import Renamed, json_value, labelled, plain_path
from speechtok.corpora.folder import listed, suffix_of
from speechtok.corpora.slices import File, Pairs, Slice, Source, guessed_seconds
from speechtok.errors import DatasetError
from speechtok.limits import JSON_BYTES, TEXT_BYTES, require_regular_file
from speechtok.storage import AnyPath
from speechtok.utterances import Utterance
from speechtok.wording import size_text

_BROKEN = (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError, MemoryError, LookupError)
"""What reading a damaged archive raises."""
_SUFFIXES = AUDIO_SUFFIXES | {".json", ".txt"}
WHOLE_BYTES = 1 << 30
"""A tar that is no longer is one slice, whose headers need not be read to plan …"""
WANTED_SLICES = 16
"""… unless the corpus then had fewer than these to share among workers …"""
LEAST_BYTES = 1 << 21
"""… of this size or more."""
_MOST_LINKS = 8
"""Links of an archive that are followed from one to the next."""


class WebDataset(Source):
    """The utterances of a tar, or of all tars below a folder.

    Args:
        path: the tar or the folder.
        columns: fields of the JSON members, by the name they have here; `audio` names the extension of the
            recording where there are several, such as {"audio": "mic1.flac"}, and `id` a field to take ids from.

    Raises:
        DatasetError: when slices are asked for, for a single archive that cannot be read in place, a first key with
            several recordings, or a field that no key has.
    """

    kind = "webdataset"

    def __init__(self, path: AnyPath, columns: Mapping[str, str]) -> None:
        super().__init__(path if path.is_dir() else path.parent, path.resolve().name)
        self.place, self._columns = path, columns
        self._is_alone = path.is_file()

    def files(self) -> Iterator[File]:
        if self._is_alone:
            head = self.place.stat()
            yield File(self.place.name, head.st_size)
            return
        for file in listed(self.root):
            if suffix_of(file.name) == ".tar":
                plain_path(file.name, str(self.root))
                yield file
            else:
                self.ignored[suffix_of(file.name) or "no suffix"] += 1

    def slices(self, files: Iterable[File], seconds: float) -> Iterator[Slice]:
        """Yield slices of a corpus; of a tar they are cut only where it is large for the corpus, since to find where, its headers are read."""
        tars = list(files)
        self._check(tars)
        whole = min(WHOLE_BYTES, max(LEAST_BYTES, sum(tar.size for tar in tars) // WANTED_SLICES))
        for tar in tars:
            part = Slice(container=tar.name, stop=tar.size, seconds=guessed_seconds(tar))
            if tar.size <= whole or part.seconds <= seconds:
                yield replace(part, stop=None)
            else:
                yield from _cut(self.root / tar.name, part, int(seconds * tar.size / part.seconds))

    def read(self, part: Slice) -> Pairs:
        tar, fields = self.root / part.container, self._fields()
        archive = _Archive(tar, part.start, part.stop, ignored=self.ignored)
        for sample in archive.samples(self._columns.get("audio")):
            item = _utterance(part.container, tar, sample, self._columns, fields, self.ignored)
            yield item, f"{part.container}, key '{sample.key}'"
        if archive.fault is not None:
            item = Utterance(id=part.container, audio=part.container, fault=archive.fault)
            yield item, part.container

    def _fields(self) -> Renamed:
        return Renamed({ours: theirs for ours, theirs in self._columns.items() if ours != "audio"})

    def _check(self, tars: Sequence[File]) -> None:
        """Look at the first keys: as many as tell that each field is there, and which recording is meant."""
        fields, wanted, is_first = self._fields(), self._columns.get("audio"), True
        for file in tars:
            tar = self.root / file.name
            archive = _Archive(tar, ignored=Counter())
            for sample in archive.samples(wanted):
                if is_first and (fault := _undecided(tar, sample, wanted)) is not None:
                    raise DatasetError(fault)
                _utterance(file.name, tar, sample, self._columns, fields, Counter())
                is_first = False
                if fields.are_known:
                    return
            if self._is_alone and archive.is_unreadable:
                raise DatasetError(str(archive.fault))
        fields.check()


def _cut(tar: AnyPath, part: Slice, size: int) -> Iterator[Slice]:
    """Yield runs of keys of one archive, each of `size` bytes or more."""
    key, begin, end = None, 0, part.stop or 0
    with suppress(*_BROKEN, DatasetError), tar.open("rb") as file:  # what is wrong, the last run will say
        for info, archive in _infos(file):
            if archive.pax_headers:  # which hold for all that follows
                break
            if not (_is_one(info) and PurePosixPath(info.name).suffix.lower() in _SUFFIXES):
                continue
            own = _first_key(info.name)
            if own != key and info.offset - begin >= size:
                yield replace(
                    part, start=begin, stop=info.offset, seconds=part.seconds * (info.offset - begin) / end
                )
                begin = info.offset
            key = own
    yield replace(part, start=begin, stop=None, seconds=part.seconds * (end - begin) / end)


@dataclass(frozen=True, kw_only=True)
class _Member:
    """A file of an archive."""

    name: str
    offset: int
    size: int
    values: Mapping[str, Any] | str | None = None
    """What JSON or text says; None for other files."""
    fault: str | None = None
    """Why it cannot be read."""

    @property
    def first_key(self) -> str:
        """The path up to the first dot of the name."""
        return _first_key(self.name)

    @property
    def stem(self) -> str:
        """The path without its suffix."""
        return PurePosixPath(self.name).with_suffix("").as_posix()

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix.lower()

    @property
    def is_audio(self) -> bool:
        return self.suffix in AUDIO_SUFFIXES

    def end(self, key: str) -> str:
        """Return what follows a key, in lower case and without the dot."""
        return PurePosixPath(self.name).as_posix()[len(key) + 1 :].lower()


@dataclass(kw_only=True)
class _Sample:
    """The members of one key."""

    key: str
    audio: dict[str, _Member] = field(default_factory=dict)
    beside: list[_Member] = field(default_factory=list)


def _first_key(name: str) -> str:
    path = PurePosixPath(name)
    return (path.parent / path.name.partition(".")[0]).as_posix()


def _is_one(info: tarfile.TarInfo) -> bool:
    """Return whether a member is a file, or a link to one, that is not hidden."""
    is_hidden = PurePosixPath(info.name).name.startswith(".")
    return not is_hidden and (info.isreg() or info.islnk() or info.issym())


def _samples(members: Sequence[_Member], wanted: str | None) -> Iterator[_Sample]:
    """Yield the utterances among members that have the same name up to its first dot."""
    first = members[0].first_key
    recordings = [item for item in members if item.is_audio]
    others = [item for item in members if not item.is_audio]
    own = {item.stem: _Sample(key=item.stem) for item in recordings}
    owners = [_owner(item.stem, own) for item in others]
    is_one = wanted is not None and any(item.end(first) == wanted for item in recordings)
    is_one |= bool(others) and not any(owners)  # `a.audio.flac` with `a.meta.json`, or no recording at all
    is_one |= any(item.stem == first and owner is None for item, owner in zip(others, owners, strict=True))
    if is_one:
        yield _Sample(key=first, audio={item.end(first): item for item in recordings}, beside=others)
        return
    for item in recordings:
        own[item.stem].audio[item.suffix[1:]] = item
    alone = dict[str, _Sample]()
    for item, owner in zip(others, owners, strict=True):
        sample = own[owner] if owner else alone.setdefault(item.stem, _Sample(key=item.stem))
        sample.beside.append(item)
    yield from own.values()
    yield from alone.values()


def _owner(stem: str, recordings: Mapping[str, _Sample]) -> str | None:
    """Return the recording that a file lies beside: the one of its name, or of its name up to one of the last dots."""
    folder, slash, name = stem.rpartition("/")
    while name:
        if f"{folder}{slash}{name}" in recordings:
            return f"{folder}{slash}{name}"
        name = name.rpartition(".")[0]
    return None


def _utterance(
    name: str,
    tar: AnyPath,
    sample: _Sample,
    columns: Mapping[str, str],
    fields: Renamed,
    ignored: Counter[str],
) -> Utterance:
    key, wanted = sample.key, columns.get("audio")
    found = [item for end, item in sample.audio.items() if wanted in (None, end)]
    values, faults = _described(tar, sample, ignored)
    if (fault := _undecided(tar, sample, wanted)) is not None:
        faults.insert(0, fault)
    if not found:
        ends = ", ".join(item.end(key) for item in [*sample.audio.values(), *sample.beside])
        faults.insert(0, f"{tar} must have one recording for '{key}', but has: {ends or 'none'}.")
    faults += [item.fault for item in found if item.fault is not None]
    if columns.get("id") != "id":
        values["id"] = key
    values = fields(values, f"{tar}, key '{key}',")
    place = (found or [*sample.audio.values(), *sample.beside])[0]
    audio = Location(path=name, offset=place.offset, bytes=place.size, member=place.name)
    identity = str(values.pop("id") or key)
    return labelled(identity, str(audio), values, fault=faults[0] if faults else None)


def _undecided(tar: AnyPath, sample: _Sample, wanted: str | None) -> str | None:
    """Return what is wrong with a key of which it is not known which recording is meant."""
    if len(sample.audio) < 2 or wanted is not None:
        return None
    return (
        f"{tar} must have one recording for '{sample.key}', but has: {', '.join(list(sample.audio)[:8])}. "
        "Choose one of several with --column audio=EXTENSION."
    )


def _described(tar: AnyPath, sample: _Sample, ignored: Counter[str]) -> tuple[dict[str, Any], list[str]]:
    """Return what JSON and text say of a key, and what is wrong with them."""
    values, texts, faults = dict[str, Any](), dict[str, str](), list[str]()
    ends = {item.end(sample.key) for item in sample.beside}
    for item in sample.beside:
        end = item.end(sample.key)
        is_object = end == "json" or (item.suffix == ".json" and "json" not in ends)
        if not (is_object or item.suffix == ".txt"):
            ignored[f".{end}"] += 1
        elif item.fault is not None:
            faults.append(item.fault)
        elif isinstance(item.values, str):
            texts[end] = item.values
            values |= {"text": item.values} if end == "txt" else {}
        elif isinstance(item.values, Mapping):
            values |= {
                name: value for name, value in item.values.items() if _is_plain(value) and name != "audio"
            }
        else:
            faults.append(f"{tar} has the member '{item.name}', which must hold a JSON object.")
    plain = next((end for end in ("txt", "normalized.txt", *texts) if end in texts), "txt")
    if plain != "txt":
        values.setdefault("text", texts[plain])
    for end in sorted(texts.keys() - {"txt", plain}):
        column = re.sub(r"\W+", "_", end.removesuffix(".txt"))
        values.setdefault(f"{column}_text", texts[end])
    return values, faults


class _Archive:
    """The members of a tar, up to where it cannot be read.

    Args:
        tar: the archive.
        start: byte of the first header.
        stop: where the headers end that are wanted; None reads to the end.
        ignored: where members are counted that are neither recording nor JSON nor text.
    """

    def __init__(
        self, tar: AnyPath, start: int = 0, stop: int | None = None, *, ignored: Counter[str]
    ) -> None:
        self._tar, self._start, self._stop, self._ignored = tar, start, stop, ignored
        self._index: dict[str, tarfile.TarInfo] | None = None
        self.fault: str | None = None
        """What is wrong with the archive, once its members were iterated."""
        self.is_unreadable = False
        """Whether not a single member could be read."""

    def samples(self, wanted: str | None) -> Iterator[_Sample]:
        """Yield what belongs together; `wanted` is the extension of the recording where there are several."""
        for _, group in groupby(self, key=lambda member: member.first_key):
            yield from _samples(list(group), wanted)

    def __iter__(self) -> Iterator[_Member]:
        before: str | None = None
        try:
            if isinstance(self._tar, Path):
                require_regular_file(self._tar, "tar archive", error=DatasetError)
            with self._tar.open("rb") as file:
                size = file.seek(0, 2)
                for info, archive in _infos(file, self._start, self._stop):
                    before = info.name
                    if (member := self._member(info, archive, size)) is not None:
                        yield member
        except (*_BROKEN, DatasetError) as error:
            reason = (
                f"{type(error).__name__} in its headers" if isinstance(error, LookupError) else str(error)
            )
            if before is not None or self._start:
                place = f"byte {self._start:,}" if before is None else f"its member '{before}'"
                self.fault = f"{self._tar} cannot be read any further than {place} ({reason}); it is damaged or was cut."
                return
            self.is_unreadable = True
            self.fault = (
                f"{self._tar} cannot be read as a tar archive ({reason}); a compressed one must be unpacked, "
                "since its members cannot be read in place."
            )

    def _member(self, info: tarfile.TarInfo, archive: tarfile.TarFile, size: int) -> _Member | None:
        """Return a file, that a link leads to as if it lay here; None for what belongs to no utterance."""
        name = info.name
        suffix = PurePosixPath(name).suffix.lower()
        if not _is_one(info):
            return None
        if suffix not in _SUFFIXES:
            self._ignored[suffix or "no suffix"] += 1
            return None
        file = info if info.isreg() else self._target(info)
        if file is None:
            fault = f"{self._tar} has the member '{name}', a link to '{info.linkname}', which is not in the archive."
            return _Member(name=name, offset=info.offset_data, size=0, fault=fault)
        where: dict[str, Any] = {"name": name, "offset": file.offset_data, "size": file.size}
        if file.issparse():
            return _Member(
                **where,
                fault=f"{self._tar} has the member '{name}' with holes in it, which cannot be read in place.",
            )
        if file.offset_data + file.size > size:
            return _Member(**where, fault=f"{self._tar} ends within its member '{name}'; it was cut.")
        if suffix not in (".json", ".txt"):
            return _Member(**where)
        limit = TEXT_BYTES if suffix == ".txt" else JSON_BYTES
        if file.size > limit:
            longest = size_text(limit)
            return _Member(
                **where,
                fault=f"{self._tar} has the member '{name}', which is longer than {longest}, the most that is read.",
            )
        said, reason = self._values(file, archive, name)
        return _Member(**where, values=said, fault=reason)

    def _values(
        self, file: tarfile.TarInfo, archive: tarfile.TarFile, name: str
    ) -> tuple[Mapping[str, Any] | str | None, str | None]:
        """Return what a member of JSON or text says, or why that is not known."""
        opened = archive.extractfile(file)
        content = b"" if opened is None else opened.read()
        kind = PurePosixPath(name).suffix[1:].lower()
        try:
            if kind == "txt":
                return content.decode("utf-8-sig").strip(), None
            values = json_value(content.decode("utf-8-sig"))
        except ValueError as error:
            return None, f"{self._tar} has the member '{name}', which is no {kind.upper()}: {error}."
        return (values, None) if isinstance(values, dict) else (None, None)

    def _target(self, link: tarfile.TarInfo) -> tarfile.TarInfo | None:
        """Return the file that a link of the archive leads to, or None if it is not in there."""
        if self._index is None:
            with self._tar.open("rb") as file:
                self._index = {posixpath.normpath(info.name): info for info, _ in _infos(file)}
        found: tarfile.TarInfo | None = link
        for _ in range(_MOST_LINKS):
            if found is None or found.isreg():
                return found
            folder = posixpath.dirname(found.name) if found.issym() else ""
            found = self._index.get(posixpath.normpath(posixpath.join(folder, found.linkname)))
        return None


def _infos(
    file: BinaryIO, start: int = 0, stop: int | None = None
) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """Yield the headers of an archive that begin from one byte on, and before another."""
    end = -1
    file.seek(start)
    with tarfile.open(fileobj=_Short(file), mode="r:") as archive:  # type: ignore[call-overload]
        while (stop is None or archive.offset < stop) and (info := archive.next()) is not None:
            archive.members = []  # which otherwise holds all of them
            if info.size < 0 or archive.offset <= end:
                raise tarfile.ReadError("a header leads backwards")
            end = archive.offset
            yield info, archive
        if stop is not None and archive.offset >= stop:
            return
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):  # at which tarfile takes the archive for ended
            raise tarfile.ReadError("a header is damaged or cut")


class _Short:
    """A file that is read in short pieces only: headers are no longer, whatever they claim."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= JSON_BYTES:
            raise tarfile.ReadError(f"a header claims to be longer than {size_text(JSON_BYTES)}")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
