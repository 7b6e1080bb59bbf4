"""Alignments that others have made, found by the id of a row.

Known are TextGrid files, one for each recording, as the Montreal Forced Aligner writes them; CTM files; cuts or supervisions of lhotse with
alignments, as .jsonl or .jsonl.gz; and the manifest of NeMo's forced aligner, whose CTM files lie below its folder. A TextGrid belongs to the row whose id is its path below
the folder or, where no other has it, its name; the others state ids themselves.

Source: Montreal Forced Aligner, user guide, "Output formats"; lhotse, `lhotse/supervision.py` describes the fields; NeMo, user guide, "NeMo Forced Aligner".

Contents: `AlignmentFiles`, `read_alignment_files`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from speechtok.annotations.aligned import Aligned
from speechtok.corpora.lines import Lines
from speechtok.corpora.manifest import json_lines
from speechtok.errors import AnnotationError, DatasetError
from speechtok.formats.ctm import read_ctm
from speechtok.formats.intervals import Interval
from speechtok.formats.textgrid import read_textgrid
from speechtok.storage import file_sha256

PHONES = frozenset({"phones", "phone", "phonemes", "phoneme", "phn"})
"""Names of tiers of phones, in small letters; before them may stand a speaker, as in "anna - phones"."""
WORDS = frozenset({"words", "word"})
"""Names of tiers of words."""
_LISTS = (".jsonl", ".jsonl.gz", ".json")
_KINDS = (".textgrid", ".ctm", *_LISTS)


@dataclass(frozen=True, eq=False)
class AlignmentFiles:
    """All alignments below a folder, or of one file."""

    folder: Path
    """Where they lie."""
    files: tuple[Path, ...]
    """The files, sorted."""
    textgrids: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    """Path without its ending, and name, → TextGrid files."""
    stated: dict[str, Aligned] = field(default_factory=dict)
    """Id → alignment, of files that state ids."""

    def of(self, name: str) -> Aligned:
        """Return the alignment of a row.

        Raises:
            AnnotationError: when there is none or more than one, or when its file cannot be read.
        """
        if name in self.stated:
            return self.stated[name]
        places = self.textgrids.get(name) or self.textgrids.get(Path(name).name, ())
        if not places:
            raise AnnotationError(f"{self.folder} has no alignment of '{name}'.")
        if len(places) > 1:
            raise AnnotationError(
                f"{places[0]} and {places[1]} could both be of '{name}'; name them by their ids, folders included."
            )
        return _of_textgrid(places[0])

    @cached_property
    def sha256(self) -> str:
        """A hash of all files and their names."""
        whole = hashlib.sha256()
        for file in self.files:
            whole.update(f"{_below(file, self.folder)}\0{file_sha256(file)}\n".encode())
        return whole.hexdigest()

    @cached_property
    def phones(self) -> frozenset[str]:
        """The labels of all phones; files that cannot be read are left aside, their rows will say so."""
        found: set[str] = set()
        for name in (*self.stated, *self.textgrids):
            try:
                found |= {item.label.strip() for item in self.of(name).phones or ()}
            except AnnotationError:
                continue
        return frozenset(found)


@cache
def read_alignment_files(folder: str) -> AlignmentFiles:
    """Return what a folder or file has; TextGrid files are opened when their row comes.

    Raises:
        AnnotationError: when there is none, or a file that states ids cannot be read.
    """
    root = Path(folder)
    if not root.exists():
        raise AnnotationError(f"There are no alignments in '{folder}'; give the folder as alignment.folder.")
    textgrids: dict[str, tuple[Path, ...]] = {}
    stated: dict[str, Aligned] = {}
    try:
        files = [root, *_ctms_of(root)] if root.is_file() else sorted(filter(_is_known, root.rglob("*")))
        if not files:
            raise AnnotationError(f"'{folder}' has no files of alignments; known are {', '.join(_KINDS)}.")
        for file in files:
            if file.suffix.lower() == ".textgrid":
                for name in {str(_below(file, root).with_suffix("")), file.stem}:
                    textgrids[name] = (*textgrids.get(name, ()), file)
            else:
                for name, made in _of_list(file):
                    stated[name] = _merged(stated.get(name), made, name)
    except DatasetError as error:
        raise AnnotationError(str(error)) from error
    return AlignmentFiles(root, tuple(files), textgrids, stated)


def _names(path: Path) -> set[str]:
    """Return the ids that a file may have: its path, and its name; `speechtok export` writes some characters as %XX."""
    parts = ["" if part == "%2F" else unquote(part) for part in path.parts]
    return {"/".join(parts), parts[-1], str(path), path.name}


def _is_known(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(_KINDS)


def _below(file: Path, folder: Path) -> Path:
    return file.relative_to(folder if folder.is_dir() else folder.parent)


def _merged(one: Aligned | None, other: Aligned, name: str) -> Aligned:
    """Return the words and phones of one row that two files have.

    Raises:
        DatasetError: when both have the same tier.
    """
    if one is None:
        return other
    if (one.phones and other.phones) or (one.words and other.words):
        raise DatasetError(
            f"{one.source} and {other.source} both have alignments of '{name}'; leave one out."
        )
    return replace(one, phones=one.phones or other.phones, words=one.words or other.words)


def _of_textgrid(path: Path) -> Aligned:
    try:
        grid = read_textgrid(path)
    except DatasetError as error:
        raise AnnotationError(str(error)) from error
    tiers = {}
    for kind, names in (("phones", PHONES), ("words", WORDS)):
        found = [items for name, items in grid.tiers if name.lower().rpartition(" - ")[2].strip() in names]
        if len(found) > 1:
            raise AnnotationError(f"{path} has {len(found)} tiers of {kind}; give a file for each speaker.")
        tiers[kind] = found[0] if found else None
    return Aligned(phones=tiers["phones"], words=tiers["words"], source=str(path), seconds=grid.seconds)


def _of_list(path: Path) -> Iterator[tuple[str, Aligned]]:
    """Yield id and alignment of a file that states ids; a manifest of NeMo has them in its CTM files."""
    if path.suffix.lower() == ".ctm":
        yield from _of_ctm(path)
        return
    for number, item in json_lines(Lines(path)):
        if _ctm_names(item):
            continue
        place = f"{path} line {number}"
        try:
            yield from _of_lhotse(item, place)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise DatasetError(f"{place} is neither of lhotse nor of NeMo's aligner ({error!r}).") from None


def _ctms_of(path: Path) -> list[Path]:
    """Return the CTM files that a manifest of NeMo names."""
    if not path.name.lower().endswith(_LISTS):
        return []
    return [
        _inside(file, path, f"{path} line {number}")
        for number, item in json_lines(Lines(path))
        for file in _ctm_names(item)
    ]


def _ctm_names(item: Mapping[str, Any]) -> list[Any]:
    return [item[key] for key in item if key.endswith("_level_ctm_filepath")]


def _inside(file: object, manifest: Path, place: str) -> Path:
    """Return a file that a manifest names, below the manifest's folder."""
    found = (manifest.parent / str(file)).resolve()
    if not found.is_relative_to(manifest.parent.resolve()):
        raise DatasetError(
            f"{place} names {file}, which does not lie below {manifest.parent}; move it there."
        )
    return found


def _of_ctm(path: Path) -> Iterator[tuple[str, Aligned]]:
    """Yield id and alignment; words where the name of the file or its folder says so, segments are left aside, else phones."""
    kind = f"{path.parent.name} {path.stem}".lower()
    if "segment" in kind:
        return
    for name, intervals in read_ctm(path).items():
        found = tuple(intervals)
        is_words = "word" in kind
        yield (
            name,
            Aligned(source=str(path), phones=None if is_words else found, words=found if is_words else None),
        )


def _of_lhotse(item: Mapping[str, Any], place: str) -> Iterator[tuple[str, Aligned]]:
    """Yield id and alignment of a cut and of its supervisions, or of a supervision.

    Times of alignments count from the beginning of the recording, in cuts too; those of a supervision from the beginning of its cut, where it has one.
    """
    begin = float(item.get("start", 0.0)) if "supervisions" in item else 0.0
    supervisions = item.get("supervisions", [item])
    tiers = [_tiers(one.get("alignment") or {}) for one in supervisions]
    for one, found in zip(supervisions, tiers, strict=True):
        if one is item or one["id"] != item["id"]:
            yield str(one["id"]), _lhotse_aligned(found, begin + float(one["start"]), place)
    if "supervisions" in item:
        joined = {
            kind: [part for found in tiers for part in found.get(kind, ())] for kind in ("phones", "words")
        }
        yield (
            str(item["id"]),
            _lhotse_aligned({kind: items for kind, items in joined.items() if items}, begin, place),
        )


def _tiers(alignment: Mapping[str, Any]) -> dict[str, list[Interval]]:
    found = {}
    for name, items in alignment.items():
        kind = "phones" if name.lower() in PHONES else "words" if name.lower() in WORDS else None
        if kind:
            found[kind] = [
                Interval(start=float(start), end=float(start) + float(length), label=str(symbol))
                for symbol, start, length, *_ in items
            ]
    return found


def _lhotse_aligned(tiers: Mapping[str, list[Interval]], origin: float, place: str) -> Aligned:
    moved = {
        kind: tuple(
            Interval(start=max(0.0, item.start - origin), end=item.end - origin, label=item.label)
            for item in sorted(items, key=lambda one: one.start)
        )
        for kind, items in tiers.items()
    }
    return Aligned(source=place, phones=moved.get("phones"), words=moved.get("words"))
