"""Token dataset → WAV files, one per row.

An id becomes a path below the folder, and different ids always become different paths: parts
between slashes become folders, and whatever could leave the folder, hide a file or trouble a file
system is written as `%` and two hexadecimal digits per UTF-8 byte, as in a web address. So
`a/b.flac` becomes `a/b.flac.wav`, and `../x` becomes `%2E./x.wav`.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from speechtok.audio.io import write_wav
from speechtok.errors import DatasetError
from speechtok.loading import load_for_dataset
from speechtok.shards.reader import TokenDataset
from speechtok.storage import AnyPath

if TYPE_CHECKING:
    import torch

SUFFIX = ".wav"
"""Added to every id, whatever suffix it has."""
MAX_NAME_BYTES = 200
"""Longest name of one file or folder; file systems allow 255, and a temporary name is longer."""
_PLAIN = frozenset("-_.+=,@~()[] '!#&")
"""Characters that stay as they are, besides letters, marks and digits of any script."""


def decode_dataset(
    dataset: AnyPath,
    folder: Path,
    *,
    split: str | None = None,
    ids: Iterable[str] | None = None,
    limit: int | None = None,
    tokenizer: str | None = None,
    checkpoint: str | AnyPath | None = None,
    device: str = "cpu",
    accept_from: str | None = None,
    speaker: str | None = None,
    allow_partial: bool = False,
    on_row: Callable[[str, Path], None] | None = None,
) -> int:
    """Decode rows of a token dataset to 16-bit WAV files, and return how many.

    Each file appears whole or not at all; one that is there already is replaced.

    Args:
        dataset: a token dataset, or one Parquet file of tokens.
        folder: where the files go, at `wav_path(folder, id)`; made when it is missing.
        split: only this split; None takes all.
        ids: only these rows; None takes all.
        limit: at most this many rows, the first ones; None takes all.
        tokenizer: name, card path or folder for `load_tokenizer`; None takes the name in the dataset.
        checkpoint: local folder with the tokenizer's published files.
        device: where the tokenizer runs.
        accept_from: name or fingerprint of another tokenizer whose tokens are decoded anyway.
        speaker: a voice of the decoder's table, by name or row; None gives each row its own, where the table has
            the name in its column `speaker`.
        allow_partial: take what is there of an unfinished dataset.
        on_row: called with id and file after each row.

    Raises:
        ValueError: when `limit` is negative, or the decoder has no voice of that name.
        DatasetError: when there is no token dataset or split of that name, an id of `ids` is not in
            it, or two rows have the same id.
        CardError, CheckpointError, HubError: when the tokenizer cannot be loaded.
        TokensError: when the tokens were made by another tokenizer.
        OSError: when a file cannot be written.
    """
    if limit is not None and limit < 0:
        raise ValueError(f"`limit` must be at least 0, got {limit}.")
    rows = TokenDataset(dataset, split=split, allow_partial=allow_partial)
    chosen = choose_rows(dataset, split=split, ids=ids, allow_partial=allow_partial)[:limit]
    loaded = load_for_dataset(
        dataset, rows.info.name, tokenizer=tokenizer, checkpoint=checkpoint, device=device
    )
    asked = None if speaker is None else loaded.find_voice(speaker)
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in chosen:
        voice = loaded.voice_options(rows[index].get("speaker"), asked)
        waveform = loaded.decode(rows.tokens(index), accept_from=accept_from, **voice)  # (1, samples)
        path = wav_path(folder, name)
        write_speech(path, waveform, loaded.output_sample_rate)
        if on_row is not None:
            on_row(name, path)
    return len(chosen)


def write_speech(path: Path, waveform: torch.Tensor, sample_rate: int) -> None:
    """Write a waveform `(1, samples)` as a 16-bit WAV file, whose folder is made when it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, waveform[0].cpu().numpy(), sample_rate)


def wav_path(folder: Path, name: str) -> Path:
    """Return the file that the row with the id `name` is decoded to, always below `folder`."""
    return row_path(folder, name, SUFFIX)


def row_path(folder: Path, name: str, suffix: str) -> Path:
    """Return the file with an ending that belongs to the row with the id `name`, always below `folder`."""
    *parents, last = name.split("/")
    return folder.joinpath(*(_escape(part, folder_suffix=suffix) for part in parents), _escape(last) + suffix)


def _escape(part: str, *, folder_suffix: str | None = None) -> str:
    """Return one part of an id as a file name.

    Undoing the percent signs gives the part back, so different parts have different names. An empty
    part is `%2F`, a character no part contains; too long a name ends in `%~` and its hash.
    """
    if not part:
        return "%2F"
    text = "".join(char if _is_plain(char) else _percent(char) for char in part)
    if text.startswith("."):
        text = _percent(".") + text[1:]
    if folder_suffix and text.endswith(
        folder_suffix
    ):  # else the row `a` and the folder of `a.wav/b` were one name
        text = text.removesuffix(folder_suffix) + _percent(".") + folder_suffix[1:]
    if len(text.encode()) > MAX_NAME_BYTES:
        kept = text.encode()[: MAX_NAME_BYTES - 34].decode(errors="ignore")
        text = f"{kept}%~{hashlib.sha256(part.encode()).hexdigest()[:32]}"
    return text


def _is_plain(char: str) -> bool:
    return char in _PLAIN or unicodedata.category(char)[0] in "LMN"


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode())


def choose_rows(
    dataset: AnyPath,
    *,
    split: str | None = None,
    ids: Iterable[str] | None = None,
    allow_partial: bool = False,
) -> list[tuple[int, str]]:
    """Return number and id of the rows wanted, in the dataset's order.

    Args:
        dataset: a token dataset, or one Parquet file of tokens.
        split: only this split; None takes all.
        ids: only these rows; None takes all.
        allow_partial: take what is there of an unfinished dataset.

    Raises:
        DatasetError: when an id of `ids` is not there, or two rows have the same id.
    """
    wanted = None if ids is None else dict.fromkeys(ids)
    chosen: dict[str, int] = {}
    for index, row in enumerate(
        TokenDataset(dataset, split=split, columns=["id"], allow_partial=allow_partial)
    ):
        if wanted is not None and row["id"] not in wanted:
            continue
        if row["id"] in chosen:
            raise DatasetError(
                f"{dataset} holds two rows with the id '{row['id']}'; choose one of its splits or files."
            )
        chosen[row["id"]] = index
    absent = [name for name in wanted or () if name not in chosen]
    if absent:
        where = f"split '{split}' of {dataset}" if split is not None else str(dataset)
        raise DatasetError(
            f"{where} has no row with the id '{absent[0]}' ({len(absent)} of {len(wanted or ())} ids are not there); "
            "ids are listed in the column `id`."
        )
    return [(index, name) for name, index in chosen.items()]
