"""Encode a few files into one Parquet file of tokens, without plan or Ray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from speechtok.audio.io import probe_audio, read_blocks
from speechtok.errors import AudioError, DatasetError
from speechtok.loading import load_tokenizer
from speechtok.shards.rows import tokens_to_rows
from speechtok.shards.schema import token_schema
from speechtok.shards.writer import ShardWriter
from speechtok.storage import AnyPath, replacing
from speechtok.tokenizers.base import SpeechTokenizer
from speechtok.tokens import SpeechTokens, with_codebooks

CHUNK_SECONDS = 60.0
"""Files are read and encoded in pieces of this length."""


def encode_files(
    files: Sequence[AnyPath],
    output: Path,
    *,
    tokenizer: str = "dmel_16k",
    checkpoint: str | AnyPath | None = None,
    device: str = "cpu",
    channels: Literal["mean", "first", "error"] = "mean",
    num_codebooks: int | None = None,
) -> Iterator[tuple[AnyPath, dict[str, Any] | str]]:
    """Yield each file with its row, or with the sentence that says why it cannot be used.

    The output appears when the last file is done, if any could be used; ids are the paths as given.

    Args:
        files: audio files.
        output: Parquet file to write; must not exist.
        tokenizer: name, card path or folder for `load_tokenizer`.
        checkpoint: local folder with the published files.
        device: where the tokenizer runs.
        channels: how recordings of several channels become one.
        num_codebooks: keep only the first codebooks.

    Raises:
        DatasetError: when the output exists, or a file is given twice.
    """
    if output.exists():
        raise DatasetError(f"{output} exists already; choose another output.")
    if len(set(files)) < len(files):
        twice = next(file for index, file in enumerate(files) if file in files[:index])
        raise DatasetError(f"{twice} is given twice.")
    loaded = load_tokenizer(tokenizer, checkpoint=checkpoint, device=device)
    if num_codebooks is not None:
        loaded.check_codebooks(num_codebooks)
    info = with_codebooks(loaded.info, num_codebooks)
    rows = 0
    with replacing(output, output.parent) as temporary:
        with ShardWriter(temporary, token_schema(info, loaded.card.to_dict(), {}), info) as writer:
            for file in files:
                try:
                    tokens = encode_file(loaded, file, channels=channels, num_codebooks=num_codebooks)
                except AudioError as error:
                    yield file, str(error)
                    continue
                row = tokens_to_rows(tokens)[0] | {
                    "id": file.as_posix(),
                    "audio": file.as_posix(),
                    "source_sample_rate": probe_audio(file).sample_rate,
                    "text": None,
                    "speaker": None,
                    "language": None,
                }
                writer.add(row)
                rows += 1
                yield file, row
        if not rows:
            temporary.unlink()


def encode_file(
    tokenizer: SpeechTokenizer,
    file: AnyPath,
    *,
    channels: Literal["mean", "first", "error"] = "mean",
    num_codebooks: int | None = None,
) -> SpeechTokens:
    """Return the tokens of an audio file of any format and rate, read in pieces.

    Args:
        tokenizer: what encodes.
        file: an audio file.
        channels: how several channels become one.
        num_codebooks: keep only the first codebooks.

    Raises:
        AudioError: when the file cannot be used.
    """
    blocks = read_blocks(file, sample_rate=tokenizer.sample_rate, channels=channels)
    try:
        return tokenizer.encode_blocks(blocks, chunk_seconds=CHUNK_SECONDS, num_codebooks=num_codebooks)
    except AudioError as error:
        named = str(file) in str(error)
        raise AudioError(str(error) if named else f"Cannot encode '{file}': {error}") from error
