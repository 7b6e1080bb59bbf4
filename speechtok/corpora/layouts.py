"""Well-known corpora in the folders they are published in: LibriSpeech, LibriTTS, VCTK, LJSpeech, Common Voice.

A folder is one of them if its files lie as published; then ids, text, speaker and split are those of the corpus, and
so is the language if the names are those of the corpus itself and not only its way. Everything else is an ordinary
folder of audio.

Sources: the README files of openslr.org/12 and /60, of datashare.ed.ac.uk/handle/10283/3443, of
keithito.com/LJ-Speech-Dataset, and of commonvoice.mozilla.org.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path, PurePosixPath

from speechtok.audio.containers import AUDIO_SUFFIXES
from speechtok.corpora.corpus import labelled, plain_path, transcript
from speechtok.corpora.folder import listed, suffix_of, with_texts
from speechtok.corpora.lines import Lines, read_lines
from speechtok.corpora.lists import ListSource
from speechtok.corpora.manifest import delimited
from speechtok.corpora.metadata import find_audiofolder, find_ljspeech
from speechtok.corpora.slices import File, Pairs, Slice, Source, guessed_seconds, in_groups
from speechtok.errors import DatasetError
from speechtok.storage import AnyPath, relative
from speechtok.utterances import Utterance

COMMON_VOICE_SPLITS = ("train", "dev", "test")
"""Lists of a Common Voice language that are read; the others repeat or lack recordings."""
_LOOKED_AT = 20
"""Chapters that are looked at for a transcript."""
_LIBRI_SUBSET = re.compile(r"train-(clean-100|clean-360|other-500)|(dev|test)-(clean|other)")
_VCTK_SPEAKER = re.compile(r"[ps]\d+")
_VCTK_FOLDERS = ("wav48_silence_trimmed", "wav48", "wav16")


LAYOUTS = ("audiofolder", "common_voice", "ljspeech", "vctk", "librispeech", "libritts")
"""Layouts known here, in the order in which they are looked for."""


def find_layout(root: AnyPath, columns: Mapping[str, str], kinds: Iterable[str] = LAYOUTS) -> Source | None:
    """Return the corpus that a folder holds as published, or None when it is none of these.

    Args:
        root: the folder.
        columns: names the corpus uses, by the name they have here; of layouts with a list of fields.
        kinds: which of `LAYOUTS` to look for.
    """
    found = (_LAYOUTS[kind](root, columns) for kind in kinds)
    return next((source for source in found if source is not None), None)


class _Tree(Source):
    """Recordings in folders whose names say who speaks."""

    def __init__(self, root: AnyPath) -> None:
        super().__init__(root, root.resolve().name)

    def pair(self, name: str, values: Mapping[str, str | None]) -> tuple[Utterance, str]:
        """Return one recording."""
        path = plain_path(name, str(self.root))
        return labelled(PurePosixPath(name).stem, path, values), path

    def words(self, name: str) -> str | None:
        """Return the text in a file, if it is there."""
        path = self.root / name
        return transcript(path, self.ignored) if path.exists() else None


class _Chapters(_Tree):
    """The subsets of LibriSpeech or LibriTTS: speakers, their chapters, and recordings in these."""

    text = ""
    """How the names of files with text end."""
    beside = ""
    """Pattern of the names by which a chapter is known."""

    def __init__(self, root: AnyPath, subsets: Sequence[AnyPath]) -> None:
        super().__init__(root)
        self._subsets = subsets

    @classmethod
    def find(cls, root: AnyPath, columns: Mapping[str, str]) -> Source | None:
        """Return the corpus in a folder, if it is one."""
        subsets = _subsets(root, cls.beside)
        return cls(root, subsets) if subsets else None

    def files(self) -> Iterator[File]:
        for subset in self._subsets:
            folder = "" if subset == self.root else relative(subset, self.root) + "/"
            for file in listed(subset):
                is_one = suffix_of(file.name) in AUDIO_SUFFIXES or file.name.endswith(self.text)
                if is_one and file.name.count("/") == 2:
                    yield file._replace(name=folder + file.name)

    def values(self, chapter: AnyPath) -> dict[str, str | None]:
        """Return what the folder of a chapter tells: `train-clean-100` is the split "train.clean.100"."""
        speaker, subset = chapter.parent.name, chapter.parent.parent.resolve().name
        is_published = speaker.isdecimal() and _LIBRI_SUBSET.fullmatch(subset)
        is_split = re.match(r"(train|dev|test)\b", subset)
        return {
            "split": subset.replace("-", ".") if is_split else None,
            "speaker": speaker,
            "language": "en" if is_published else None,
        }


class _LibriSpeech(_Chapters):
    kind = "librispeech"
    text = ".trans.txt"
    beside = "*-*.trans.txt"

    def slices(self, files: Iterable[File], seconds: float) -> Iterator[Slice]:
        return in_groups(
            (((file.name,), guessed_seconds(file)) for file in files if not file.name.endswith(self.text)),
            seconds,
        )

    def read(self, part: Slice) -> Pairs:
        for folder, names in groupby(part.names, key=lambda name: str(PurePosixPath(name).parent)):
            chapter, text = self.root / folder, {}
            for table in chapter.glob("*" + self.text):
                for line in read_lines(table):
                    key, _, words = line.partition(" ")
                    text[key] = words.strip()
            for name in names:
                yield self.pair(name, {"text": text.get(PurePosixPath(name).stem), **self.values(chapter)})


class _LibriTTS(_Chapters):
    kind = "libritts"
    text = ".normalized.txt"
    beside = "*_*.normalized.txt"

    def slices(self, files: Iterable[File], seconds: float) -> Iterator[Slice]:
        return in_groups(with_texts(files), seconds)

    def read(self, part: Slice) -> Pairs:
        texts = {name for name in part.names if name.endswith(self.text)}
        for name in part.names:
            if name not in texts:
                beside = name.rpartition(".")[0] + self.text
                words = transcript(self.root / beside, self.ignored) if beside in texts else None
                yield self.pair(name, {"text": words, **self.values((self.root / name).parent)})


class _Vctk(_Tree):
    kind = "vctk"

    def __init__(self, root: AnyPath, folder: AnyPath) -> None:
        super().__init__(root)
        self._folder = folder

    @classmethod
    def find(cls, root: AnyPath, columns: Mapping[str, str]) -> Source | None:
        """Return the corpus in a folder, if it is one."""
        folders = [root / name for name in _VCTK_FOLDERS if (root / name).is_dir()]
        return cls(root, folders[0]) if folders and (root / "txt").is_dir() else None

    def files(self) -> Iterator[File]:
        for folder, suffixes in ((self._folder, AUDIO_SUFFIXES), (self.root / "txt", {".txt"})):
            for file in listed(folder):
                if suffix_of(file.name) in suffixes and file.name.count("/") == 1:
                    yield file._replace(name=f"{folder.name}/{file.name}")

    def slices(self, files: Iterable[File], seconds: float) -> Iterator[Slice]:
        return in_groups(
            (((file.name,), guessed_seconds(file)) for file in files if not file.name.endswith(".txt")),
            seconds,
        )

    def read(self, part: Slice) -> Pairs:
        for name in part.names:
            path = PurePosixPath(name)
            speaker, (sentence, _, microphone) = path.parent.name, path.stem.partition("_mic")
            values = {
                "text": self.words(f"txt/{speaker}/{sentence}.txt"),
                "speaker": speaker,
                "language": "en" if _VCTK_SPEAKER.fullmatch(speaker) else None,
            }
            yield self.pair(name, values | ({"microphone": microphone} if microphone else {}))


class _CommonVoice(ListSource):
    """The languages of Common Voice, each with a list of each split."""

    kind = "common_voice"

    def __init__(self, root: AnyPath, languages: Sequence[AnyPath]) -> None:
        super().__init__(root, root.resolve().name)
        self._languages = languages
        self._seconds = {folder: _common_voice_seconds(folder / "clip_durations.tsv") for folder in languages}

    @classmethod
    def find(cls, root: AnyPath, columns: Mapping[str, str]) -> Source | None:
        """Return the corpus in a folder, if it is one."""
        languages = [folder for folder in [root, *_folders(root)] if _is_common_voice(folder)]
        return cls(root, languages) if languages else None

    @property
    def tables(self) -> Sequence[AnyPath]:
        return self._lists([f"{split}.tsv" for split in COMMON_VOICE_SPLITS])

    @property
    def beside(self) -> Sequence[AnyPath]:
        return self._lists(["clip_durations.tsv"])

    def newline(self, table: AnyPath) -> str:
        return ""

    def _lists(self, names: Sequence[str]) -> list[AnyPath]:
        return [folder / name for folder in self._languages for name in names if (folder / name).is_file()]

    def rows(self, lines: Lines, *, is_all: bool) -> Pairs:
        table = lines.path
        folder, name = table.parent, relative(table, self.root)
        for place, row in delimited(lines):
            clip, sentence = row.get("path"), row.get("sentence")
            if not clip:
                raise DatasetError(f"{table} {place} names no clip in the column path.")
            values = {
                "text": sentence,
                "speaker": row.get("client_id"),
                "language": row.get("locale") or folder.resolve().name,
                "split": table.stem,
                "duration": self._seconds[folder].get(clip),
                **{column: row.get(column) for column in ("age", "gender", "accents")},
            }
            audio = relative(folder / "clips" / clip, self.root)
            yield labelled(PurePosixPath(clip).stem, audio, values), f"{name} {place}"


def _is_common_voice(folder: AnyPath) -> bool:
    return (folder / "clips").is_dir() and any((folder / f"{n}.tsv").is_file() for n in COMMON_VOICE_SPLITS)


def _common_voice_seconds(table: AnyPath) -> dict[str, float]:
    """Return the seconds of each clip, as far as a list states them in ms."""
    if not table.is_file():
        return {}
    found = {}
    for _, row in delimited(Lines(table, newline="")):
        clip, *lengths = row.values()
        if clip and lengths and str(lengths[0]).isdecimal():
            found[clip] = int(str(lengths[0])) / 1000
    return found


def _subsets(root: AnyPath, beside: str) -> list[AnyPath]:
    """Return the folders `train-clean-100` and so on: those with speakers, chapters and a file in these."""
    for level in ([root], _folders(root), [inner for folder in _folders(root) for inner in _folders(folder)]):
        found = [folder for folder in level if _has_chapters(folder, beside)]
        if found:
            return found
    return []


def _has_chapters(folder: AnyPath, beside: str) -> bool:
    chapters = (chapter for speaker in _folders(folder) for chapter in _folders(speaker))
    return any(next(chapter.glob(beside), None) for chapter in islice(chapters, _LOOKED_AT))


def _folders(folder: AnyPath) -> list[AnyPath]:
    if not folder.is_dir():
        return []
    if isinstance(folder, Path):  # of which a look at each file would take most of the time
        try:
            with os.scandir(folder) as entries:
                names = [item.name for item in entries if not item.name.startswith(".") and item.is_dir()]
        except OSError as error:
            raise DatasetError(f"{error.filename} cannot be read: {error.strerror}.") from error
        return [folder / name for name in sorted(names)]
    return sorted(
        (item for item in folder.iterdir() if item.is_dir() and not item.name.startswith(".")), key=str
    )


_LAYOUTS: dict[str, Callable[[AnyPath, Mapping[str, str]], Source | None]] = {
    "audiofolder": find_audiofolder,
    "common_voice": _CommonVoice.find,
    "ljspeech": find_ljspeech,
    "vctk": _Vctk.find,
    "librispeech": _LibriSpeech.find,
    "libritts": _LibriTTS.find,
}
