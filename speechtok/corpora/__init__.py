"""Corpora: audio that comes in. Each format is one module that yields `Utterance`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from speechtok.corpora.corpus import Corpus
from speechtok.corpora.cut import cut_long
from speechtok.corpora.fairseq import is_fairseq, read_fairseq
from speechtok.corpora.folder import read_folder
from speechtok.corpora.kaldi import read_kaldi
from speechtok.corpora.manifest import SUFFIXES, read_manifest
from speechtok.errors import DatasetError


def read_corpus(path: str | Path, *, columns: Mapping[str, str] | None = None) -> Corpus:
    """Return a corpus, its format told by what `path` is.

    Args:
        path: a folder of audio; a folder with `wav.scp`, or that file; a fairseq `.tsv`; or a
            `.csv`, `.tsv`, `.jsonl` or `.parquet` manifest with an `audio` column.
        columns: for manifests, their column names by the name they have here.

    Raises:
        DatasetError: when nothing is there, the format is unknown, or the content is malformed.
    """
    path = Path(path)
    if not path.exists():
        raise DatasetError(f"There is no corpus at {path}.")
    wav_scp = path / "wav.scp" if path.is_dir() else path
    is_manifest = (
        path.is_file() and path.suffix in SUFFIXES and not (path.suffix == ".tsv" and is_fairseq(path))
    )
    if columns and not is_manifest:
        raise DatasetError(f"{path} is no manifest, so its columns cannot be renamed.")
    if wav_scp.name == "wav.scp" and wav_scp.is_file():
        return read_kaldi(wav_scp)
    if path.is_dir():
        return read_folder(path)
    if is_manifest:
        return read_manifest(path, columns or {})
    if path.suffix == ".tsv":
        return read_fairseq(path)
    raise DatasetError(
        f"{path} is no corpus format known here; give a folder, a wav.scp, or a manifest ending in {', '.join(SUFFIXES)}."
    )


__all__ = ["Corpus", "cut_long", "read_corpus"]
