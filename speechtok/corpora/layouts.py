"""Well-known corpora in the folders they are published in: LibriSpeech, LibriTTS, VCTK, LJSpeech, Common Voice.

A folder is one of them if its files lie as published; then ids, text, speaker, language and split are
those of the corpus. Everything else is an ordinary folder of audio.

Sources: the README files of openslr.org/12 and /60, of datashare.ed.ac.uk/handle/10283/3443, of
keithito.com/LJ-Speech-Dataset, and of commonvoice.mozilla.org.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import PurePosixPath

from speechtok.audio.containers import AUDIO_SUFFIXES
from speechtok.corpora.corpus import Corpus, Pairs, Unique, labelled, plain_path, read_lines, text_of
from speechtok.corpora.manifest import delimited
from speechtok.errors import DatasetError
from speechtok.storage import AnyPath, relative
from speechtok.utterances import Utterance

COMMON_VOICE_SPLITS = ("train", "dev", "test")
"""Lists of a Common Voice language that are read; the others repeat or lack recordings."""
_VCTK_FOLDERS = ("wav48_silence_trimmed", "wav48", "wav16")


def read_layout(root: AnyPath) -> Corpus | None:
    """Return the corpus that a folder holds as published, or None when it is none of these.

    Raises:
        DatasetError: when iterated, for a malformed list, or an id that occurs twice.
    """
    for kind, find in _LAYOUTS.items():
        read = find(root)
        if read is not None:
            return Corpus(kind=kind, name=root.resolve().name, root=root, utterances=Unique(read, str(root)))
    return None


Read = Callable[[], Pairs]


def _librispeech(root: AnyPath) -> Read | None:
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
            values = {"text": text.get(audio.stem), "speaker": chapter.parent.name, "language": "en"}
            yield _pair(root, audio, audio.stem, values | {"split": split})


def _libritts(root: AnyPath) -> Read | None:
    subsets = _subsets(root, "*_*.normalized.txt")
    return partial(_libritts_rows, root, subsets) if subsets else None


def _libritts_rows(root: AnyPath, subsets: list[AnyPath]) -> Pairs:
    for chapter, split in _chapters(subsets):
        for audio in _audio(chapter):
            text = _whole(audio.with_suffix(".normalized.txt"))
            values = {"text": text, "speaker": chapter.parent.name, "language": "en"}
            yield _pair(root, audio, audio.stem, values | {"split": split})


def _vctk(root: AnyPath) -> Read | None:
    folders = [root / name for name in _VCTK_FOLDERS if (root / name).is_dir()]
    if not folders or not (root / "txt").is_dir():
        return None
    return partial(_vctk_rows, root, folders[0])


def _vctk_rows(root: AnyPath, folder: AnyPath) -> Pairs:
    for speaker in _folders(folder):
        for audio in _audio(speaker):
            sentence, _, microphone = audio.stem.partition("_mic")
            text = _whole(root / "txt" / speaker.name / f"{sentence}.txt")
            values = {"text": text, "speaker": speaker.name, "language": "en"}
            yield _pair(root, audio, audio.stem, values | ({"microphone": microphone} if microphone else {}))


def _ljspeech(root: AnyPath) -> Read | None:
    is_one = (root / "metadata.csv").is_file() and (root / "wavs").is_dir()
    return partial(_ljspeech_rows, root) if is_one else None


def _ljspeech_rows(root: AnyPath) -> Pairs:
    table = root / "metadata.csv"
    for number, line in enumerate(read_lines(table), start=1):
        if not line:
            continue
        name, *texts = line.split("|")
        if not 1 <= len(texts) <= 2:
            raise DatasetError(f"{table} line {number} must be 'id|text|normalized text', got '{line[:60]}'.")
        values = {"text": texts[-1], "speaker": "LJ", "language": "en"}
        yield labelled(name, f"wavs/{name}.wav", values), f"{table.name} line {number}"


def _common_voice(root: AnyPath) -> Read | None:
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
    speaker = next((item for item in _folders(folder) if item.name.isdecimal()), None)
    chapter = speaker and next((item for item in _folders(speaker) if item.name.isdecimal()), None)
    return bool(chapter and next(chapter.glob(beside), None))


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
    found = (item for item in folder.iterdir() if item.is_dir() and not item.name.startswith("."))
    return sorted(found, key=str)


def _audio(folder: AnyPath) -> list[AnyPath]:
    found = (
        item
        for item in folder.iterdir()
        if item.suffix.lower() in AUDIO_SUFFIXES and not item.name.startswith(".")
    )
    return sorted(found, key=str)


def _whole(path: AnyPath) -> str | None:
    return text_of(" ".join(read_lines(path)).strip()) if path.is_file() else None


def _pair(
    root: AnyPath, audio: AnyPath, name: str, values: Mapping[str, str | None]
) -> tuple[Utterance, str]:
    path = plain_path(relative(audio, root), str(root))
    return labelled(name, path, values), path


_LAYOUTS: dict[str, Callable[[AnyPath], Read | None]] = {
    "common_voice": _common_voice,
    "ljspeech": _ljspeech,
    "vctk": _vctk,
    "librispeech": _librispeech,
    "libritts": _libritts,
}
