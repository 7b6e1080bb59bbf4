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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

from speechtok.audio.containers import AUDIO_SUFFIXES
from speechtok.corpora.corpus import Corpus, Pairs, Unique, labelled, plain_path, read_lines, transcript
from speechtok.corpora.manifest import delimited
from speechtok.corpora.metadata import Read, find_audiofolder, find_ljspeech
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


def read_layout(root: AnyPath, columns: Mapping[str, str], kinds: Iterable[str] = LAYOUTS) -> Corpus | None:
    """Return the corpus that a folder holds as published, or None when it is none of these.

    Args:
        root: the folder.
        columns: names the corpus uses, by the name they have here; of layouts with a list of fields.
        kinds: which of `LAYOUTS` to look for.

    Raises:
        DatasetError: when iterated, for a malformed list, or an id that occurs twice.
    """
    for kind in kinds:
        ignored = Counter[str]()
        read = _LAYOUTS[kind](root, columns, ignored)
        if read is not None:
            utterances = Unique(read, str(root))
            return Corpus(
                kind=kind, name=root.resolve().name, root=root, utterances=utterances, ignored=ignored
            )
    return None


def _librispeech(root: AnyPath, *_: object) -> Read | None:
    subsets = _subsets(root, "*-*.trans.txt")
    return partial(_librispeech_rows, root, subsets) if subsets else None


def _librispeech_rows(root: AnyPath, subsets: list[AnyPath]) -> Pairs:
    for chapter, split in _chapters(subsets):
        text = {}
        for table in chapter.glob("*.trans.txt"):
            for line in read_lines(table):
                key, _, words = line.partition(" ")
                text[key] = words.strip()
        for audio in _audio(chapter):
            values = {"text": text.get(audio.stem), "split": split, **_reader(chapter)}
            yield _pair(root, audio, audio.stem, values)


def _libritts(root: AnyPath, columns: Mapping[str, str], ignored: Counter[str]) -> Read | None:
    subsets = _subsets(root, "*_*.normalized.txt")
    return partial(_libritts_rows, root, subsets, ignored) if subsets else None


def _libritts_rows(root: AnyPath, subsets: list[AnyPath], ignored: Counter[str]) -> Pairs:
    ignored.clear()
    for chapter, split in _chapters(subsets):
        for audio in _audio(chapter):
            text = _beside(audio.with_suffix(".normalized.txt"), ignored)
            yield _pair(root, audio, audio.stem, {"text": text, "split": split, **_reader(chapter)})


def _reader(chapter: AnyPath) -> dict[str, str | None]:
    """Return the speaker of a chapter, and the language if the subset is one of those that were published."""
    speaker, subset = chapter.parent.name, chapter.parent.parent.resolve().name
    is_published = speaker.isdecimal() and _LIBRI_SUBSET.fullmatch(subset)
    return {"speaker": speaker, "language": "en" if is_published else None}


def _vctk(root: AnyPath, columns: Mapping[str, str], ignored: Counter[str]) -> Read | None:
    folders = [root / name for name in _VCTK_FOLDERS if (root / name).is_dir()]
    if not folders or not (root / "txt").is_dir():
        return None
    return partial(_vctk_rows, root, folders[0], ignored)


def _vctk_rows(root: AnyPath, folder: AnyPath, ignored: Counter[str]) -> Pairs:
    ignored.clear()
    for speaker in _folders(folder):
        for audio in _audio(speaker):
            sentence, _, microphone = audio.stem.partition("_mic")
            text = _beside(root / "txt" / speaker.name / f"{sentence}.txt", ignored)
            language = "en" if _VCTK_SPEAKER.fullmatch(speaker.name) else None
            values = {"text": text, "speaker": speaker.name, "language": language}
            yield _pair(root, audio, audio.stem, values | ({"microphone": microphone} if microphone else {}))


def _common_voice(root: AnyPath, *_: object) -> Read | None:
    languages = [folder for folder in [root, *_folders(root)] if _is_common_voice(folder)]
    return partial(_common_voice_rows, root, languages) if languages else None


def _is_common_voice(folder: AnyPath) -> bool:
    return (folder / "clips").is_dir() and any((folder / f"{n}.tsv").is_file() for n in COMMON_VOICE_SPLITS)


def _common_voice_rows(root: AnyPath, languages: list[AnyPath]) -> Pairs:
    for folder in languages:
        seconds = _common_voice_seconds(folder / "clip_durations.tsv")
        for split in COMMON_VOICE_SPLITS:
            table = folder / f"{split}.tsv"
            for place, row in delimited(table) if table.is_file() else ():
                clip, sentence = row.get("path"), row.get("sentence")
                if not clip:
                    raise DatasetError(f"{table} {place} names no clip in the column path.")
                values = {
                    "text": sentence,
                    "speaker": row.get("client_id"),
                    "language": row.get("locale") or folder.resolve().name,
                    "split": split,
                    "duration": seconds.get(clip),
                    **{name: row.get(name) for name in ("age", "gender", "accents")},
                }
                audio = relative(folder / "clips" / clip, root)
                yield labelled(PurePosixPath(clip).stem, audio, values), f"{relative(table, root)} {place}"


def _common_voice_seconds(table: AnyPath) -> dict[str, float]:
    """Return the seconds of each clip, as far as a list states them in ms."""
    if not table.is_file():
        return {}
    found = {}
    for _, row in delimited(table):
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


def _chapters(subsets: list[AnyPath]) -> Iterator[tuple[AnyPath, str | None]]:
    """Yield the folder of each chapter, and its split: `train-clean-100` is "train.clean.100"."""
    for subset in subsets:
        name = subset.resolve().name
        split = name.replace("-", ".") if re.match(r"(train|dev|test)\b", name) else None
        for speaker in _folders(subset):
            for chapter in _folders(speaker):
                yield chapter, split


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


def _audio(folder: AnyPath) -> list[AnyPath]:
    found = (
        item
        for item in folder.iterdir()
        if item.suffix.lower() in AUDIO_SUFFIXES and not item.name.startswith(".")
    )
    return sorted(found, key=str)


def _beside(path: AnyPath, ignored: Counter[str]) -> str | None:
    return transcript(path, ignored) if path.exists() else None


def _pair(
    root: AnyPath, audio: AnyPath, name: str, values: Mapping[str, str | None]
) -> tuple[Utterance, str]:
    path = plain_path(relative(audio, root), str(root))
    return labelled(name, path, values), path


_LAYOUTS: dict[str, Callable[[AnyPath, Mapping[str, str], Counter[str]], Read | None]] = {
    "audiofolder": find_audiofolder,
    "common_voice": _common_voice,
    "ljspeech": find_ljspeech,
    "vctk": _vctk,
    "librispeech": _librispeech,
    "libritts": _libritts,
}
