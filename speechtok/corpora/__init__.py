"""Corpora: audio that comes in. Each format is one module that gives slices of it, and `Utterance` by `Utterance` what each holds."""

from __future__ import annotations

from collections.abc import Mapping

from speechtok.audio.io import looks_like_audio
from speechtok.corpora.corpus import Corpus
from speechtok.corpora.fairseq import Fairseq, is_fairseq
from speechtok.corpora.folder import Folder, walk
from speechtok.corpora.hugging_face import HuggingFace, holds_audio, is_saved, names_files
from speechtok.corpora.kaldi import Kaldi
from speechtok.corpora.layouts import LAYOUTS, find_layout
from speechtok.corpora.lhotse import Lhotse, lhotse_kind
from speechtok.corpora.manifest import SUFFIXES, read_manifest
from speechtok.corpora.segments import segment_corpus
from speechtok.corpora.slices import Slice, Source
from speechtok.corpora.webdataset import WebDataset
from speechtok.errors import DatasetError
from speechtok.storage import AnyPath, as_path
from speechtok.utterances import CORPUS_FORMATS

WITH_COLUMNS = ("manifest", "webdataset", "hugging_face", "audiofolder", "ljspeech")
"""Formats whose columns have names."""


def read_corpus(
    path: str | AnyPath, *, columns: Mapping[str, str] | None = None, corpus_format: str | None = None
) -> Corpus:
    """Return a corpus, its format told by what `path` is.

    Only as much is read as tells the format; what is wrong with a corpus shows when its utterances are
    iterated.

    Args:
        path: a path or the URI of an object store: a folder of audio, of tars, of Parquet files, or in the layout of a well-known corpus; a folder
            with `wav.scp`, or that file; a fairseq `.tsv`; a WebDataset `.tar`; a lhotse `.jsonl.gz`; a folder
            that `datasets` saved; or a `.csv`, `.tsv`, `.jsonl` or `.parquet` manifest with an `audio` column.
        columns: names the corpus uses, by the name they have here, for formats that have such.
        corpus_format: one of `CORPUS_FORMATS`, instead of looking.

    Raises:
        DatasetError: when nothing is there, the format is unknown or another, or the beginning is malformed.
        ValueError: when `corpus_format` is none.
    """
    path, columns = as_path(path), columns or {}
    if corpus_format is not None and corpus_format not in CORPUS_FORMATS:
        raise ValueError(
            f"`corpus_format` must be one of {', '.join(CORPUS_FORMATS)}, got {corpus_format!r}."
        )
    if not path.exists():
        raise DatasetError(f"There is no corpus at {path}.")
    if not path.is_dir() and not path.is_file():
        raise DatasetError(f"{path} is a pipe or a device; a corpus is a regular file or a folder.")
    if corpus_format is not None:
        found = _forced(path, columns, corpus_format)
    else:
        found = _folder(path, columns) if path.is_dir() else _file(path, columns)
    if columns and found.kind not in WITH_COLUMNS:
        raise DatasetError(
            f"{path} is a corpus of the format {found.kind}, whose columns have no names that could be changed."
        )
    return Corpus.of(found)


def _forced(path: AnyPath, columns: Mapping[str, str], wanted: str) -> Source:
    """Return the corpus in the format that the user names, whatever it looks like."""
    found: Source | None = None
    if path.is_dir():
        if wanted == "folder":
            found = Folder(path)
        elif wanted == "kaldi" and (path / "wav.scp").is_file():
            found = Kaldi(path / "wav.scp")
        elif wanted == "hugging_face":
            found = HuggingFace(path, columns)
        elif wanted == "webdataset":
            found = WebDataset(path, columns)
        elif wanted in LAYOUTS:
            found = find_layout(path, columns, [wanted])
    elif wanted == "kaldi":
        found = Kaldi(path)
    elif wanted == "webdataset":
        found = WebDataset(path, columns)
    elif wanted == "hugging_face":
        found = HuggingFace(path, columns)
    elif wanted == "fairseq":
        found = Fairseq(path)
    elif wanted == "lhotse" and (kind := lhotse_kind(path)) is not None:
        found = Lhotse(path, kind)
    elif wanted == "manifest":
        found = read_manifest(path, columns)
    if found is None:
        raise DatasetError(
            f"{path} cannot be read as a corpus of the format {wanted}: it lacks the files of one; leave the format out to "
            "have it told."
        )
    return found


def _folder(path: AnyPath, columns: Mapping[str, str]) -> Source:
    if (path / "wav.scp").is_file():
        return Kaldi(path / "wav.scp")
    if is_saved(path):
        return HuggingFace(path, columns)
    layout = find_layout(path, columns)
    if layout is not None:
        return layout
    if names_files(path, columns):
        return HuggingFace(path, columns)
    for file in walk(path):  # the first file that tells the format does
        if file.suffix == ".tar":
            return WebDataset(path, columns)
        if file.suffix == ".parquet" and holds_audio(file, columns):
            return HuggingFace(path, columns)
        if looks_like_audio(file):
            break
    return Folder(path)


def _file(path: AnyPath, columns: Mapping[str, str]) -> Source:
    if path.name == "wav.scp":
        return Kaldi(path)
    if path.suffix == ".tar":
        return WebDataset(path, columns)
    if path.suffix == ".tsv" and is_fairseq(path):
        return Fairseq(path)
    kind = lhotse_kind(path)
    if kind is not None:
        return Lhotse(path, kind)
    if path.suffix == ".parquet" and holds_audio(path, columns):
        return HuggingFace(path, columns)
    if path.name.endswith(SUFFIXES):
        return read_manifest(path, columns)
    raise DatasetError(
        f"{path} is no corpus format known here; give a folder, a wav.scp, a .tar, or a manifest ending in "
        f"{', '.join(SUFFIXES)}."
    )


__all__ = ["Corpus", "Slice", "read_corpus", "segment_corpus"]
