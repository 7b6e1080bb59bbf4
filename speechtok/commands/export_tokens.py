"""Token dataset → the files another toolkit reads.

Contents: `FORMATS`, `export_tokens`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from speechtok.errors import DatasetError
from speechtok.formats.codecs_txt import codecs_line
from speechtok.formats.kaldi_matrix import Matrix, MatrixWriter
from speechtok.formats.table import SAMPLES, SCALES, write_table
from speechtok.loading import load_for_dataset
from speechtok.shards.reader import TokenDataset
from speechtok.shards.rows import row_to_tokens
from speechtok.storage import AnyPath, as_path, replacing
from speechtok.tokens import TokenizerInfo

FORMATS: dict[str, tuple[str, ...]] = {
    "funcodec-codecs": ("codecs.txt",),
    "funcodec-indices": ("indices.ark", "indices.scp"),
    "funcodec-embeddings": ("codec_emb.ark", "codec_emb.scp"),
}
"""Name of a format of FunCodec → the files it writes, beside `utt2num_samples` and, for levels, `utt2scale`."""
STREAM = "acoustic"
"""The stream FunCodec's formats hold."""


def export_tokens(
    dataset: str | AnyPath,
    folder: str | Path,
    *,
    to: str = "funcodec-codecs",
    split: str | None = None,
    tokenizer: str | Path | None = None,
    checkpoint: str | AnyPath | None = None,
    all_frames: bool = False,
    allow_partial: bool = False,
    on_row: Callable[[], None] | None = None,
) -> int:
    """Write the codes of a dataset as FunCodec does; returns the number of utterances.

    Levels and lengths, which FunCodec writes nowhere, go to `utt2scale` and `utt2num_samples`, so that
    `import_tokens` gives the same dataset back.

    Args:
        dataset: token dataset or token file with the stream `acoustic`.
        folder: where to write; must not hold the files yet.
        to: one of `FORMATS`.
        split: only this split.
        tokenizer: what made the tokens, when its card's name is not enough; for embeddings only.
        checkpoint: local folder with its published files; for embeddings only.
        all_frames: whether the frame that FreqCodec has beyond ceil(samples / hop) is kept; FunCodec's
            own files lack it.
        allow_partial: take what is there of an unfinished dataset.
        on_row: called after each utterance.

    Raises:
        DatasetError: when the dataset holds other tokens, a file exists, or an id holds white space.
        TokensError: when embeddings are asked for with another tokenizer's checkpoint.
    """
    if to not in FORMATS:
        raise ValueError(f"`to` must be one of {', '.join(FORMATS)}, got '{to}'.")
    rows = TokenDataset(dataset, split=split, allow_partial=allow_partial)
    _check_stream(rows.info, f"{dataset}", to)
    folder = _new_folder(folder, [*FORMATS[to], SAMPLES, *([SCALES] if rows.info.has_scale else [])])
    values = (
        _embeddings(as_path(dataset), rows, tokenizer, checkpoint)
        if to == "funcodec-embeddings"
        else _codes(rows)
    )
    hop = rows.info.stream(STREAM).hop_length
    samples, scales = [], []

    def utterances() -> Iterator[tuple[str, Matrix]]:
        """Yield id and `(frames, columns)`, noting length and level."""
        for row, matrix in values:
            samples.append((row["id"], row["num_samples"]))
            scales.append((row["id"], row.get("scale")))
            yield row["id"], matrix if all_frames else matrix[: -(-row["num_samples"] // hop)]
            if on_row is not None:
                on_row()

    _write(folder, FORMATS[to], utterances())
    write_table(folder / SAMPLES, samples)
    if rows.info.has_scale:
        write_table(folder / SCALES, scales)
    return len(samples)


def _check_stream(info: TokenizerInfo, dataset: str, to: str) -> None:
    names = [stream.name for stream in info.streams]
    if names != [STREAM]:
        raise DatasetError(
            f"{dataset} holds {', '.join(names)} of '{info.name}'; the format {to} holds FunCodec's stream '{STREAM}' only."
        )


def _new_folder(folder: str | Path, names: list[str]) -> Path:
    """Return a folder, made when it is missing, that holds no file of these names yet."""
    folder = Path(folder)
    there = next((name for name in names if (folder / name).exists()), None)
    if there is not None:
        raise DatasetError(f"{folder / there} exists already; export into another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write(folder: Path, names: tuple[str, ...], utterances: Iterator[tuple[str, Matrix]]) -> None:
    tmp = folder / ".tmp"
    try:
        with replacing(folder / names[0], tmp) as first:
            if names == FORMATS["funcodec-codecs"]:
                with first.open("w", encoding="utf-8", newline="\n") as file:
                    file.writelines(codecs_line(key, matrix.T) for key, matrix in utterances)
                return
            with (
                replacing(folder / names[1], tmp) as second,
                MatrixWriter(first, second, ark_name=str(folder / names[0])) as writer,
            ):
                for key, matrix in utterances:
                    writer.add(key, matrix)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)


def _codes(rows: TokenDataset) -> Iterator[tuple[dict[str, Any], Matrix]]:
    for row in rows:
        yield row, row[STREAM].T


def _embeddings(
    dataset: AnyPath, rows: TokenDataset, tokenizer: str | Path | None, checkpoint: str | AnyPath | None
) -> Iterator[tuple[dict[str, Any], Matrix]]:
    """Yield each frame's codebook vectors side by side, `(frames, codebooks * channels)`, float32."""
    from speechtok.tokenizers.funcodec.tokenizer import FuncodecTokenizer

    loaded = load_for_dataset(dataset, rows.info.name, tokenizer=tokenizer, checkpoint=checkpoint)
    if not isinstance(loaded, FuncodecTokenizer):
        raise DatasetError(
            f"'{loaded.name}' is no FunCodec tokenizer, so it has no codebook vectors to export."
        )
    for row in rows:
        vectors = loaded.codebook_vectors(row_to_tokens(row, rows.info))[0]  # (codebooks, channels, frames)
        yield row, vectors.flatten(0, 1).t().cpu().numpy()
