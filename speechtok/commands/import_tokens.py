"""Files of another toolkit → token dataset.

Contents: `import_tokens`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from speechtok.commands.export_tokens import STREAM
from speechtok.commands.export_units import is_unit_info
from speechtok.commands.import_units import import_units
from speechtok.commands.imported import Entry, write_imported
from speechtok.engine.settings import JobSettings
from speechtok.errors import DatasetError
from speechtok.formats.codecs_txt import Codes, read_codecs
from speechtok.formats.kaldi_matrix import read_ark, read_scp
from speechtok.formats.table import SAMPLES, SCALES, read_table
from speechtok.formats.token_files import CodeLayout, read_json_codes, read_npy_codes
from speechtok.loading import load_tokenizer
from speechtok.storage import AnyPath
from speechtok.tokenizers.base import SpeechTokenizer
from speechtok.tokens import StreamInfo, with_codebooks


@dataclass(frozen=True, kw_only=True)
class _Listed:
    """What the first pass over a file learns of one utterance."""

    key: str
    samples: int
    codebooks: int
    scale: float | None


def import_tokens(
    source: str | Path,
    output: str | AnyPath,
    *,
    tokenizer: str,
    checkpoint: str | AnyPath | None = None,
    split: str = "train",
    layout: CodeLayout | None = None,
    on_row: Callable[[], None] | None = None,
) -> int:
    """Make a token dataset from files of codes, or from lists of units; returns the number of utterances.

    For units see `import_units`. Lengths and levels come from `utt2num_samples` and `utt2scale` beside the source, or in it
    where it is a folder; JSON lines may state `num_samples`. Without the first an utterance is taken to fill its last frame;
    without the second the dataset has no `scale`, and FunCodec decodes it at about unit level.

    Args:
        source: FunCodec's `codecs.txt`, or `.scp` or `.ark` with one matrix (frames, codebooks) per utterance; `.jsonl`; a
            folder of `.npy` files, or one such file; for unit tokenizers a list of units, or a folder with one per split.
        output: folder of the dataset; new or empty.
        tokenizer: what made the codes: its fingerprint becomes theirs.
        checkpoint: local folder with its published files.
        split: split of the dataset.
        layout: where codes lie in `.jsonl` and `.npy`, and which ids they have.
        on_row: called after each utterance.

    Raises:
        DatasetError: naming the line of whatever cannot be read or does not fit the tokenizer.
        JobError: when the output is in use or cannot be written.
    """
    source = Path(source)
    loaded = load_tokenizer(tokenizer, checkpoint=checkpoint)
    is_published = source.suffix in (".jsonl", ".npy") or _holds_npy(source)
    if layout is not None and layout != CodeLayout() and not is_published:
        raise DatasetError(f"{source} is neither .jsonl nor .npy; its layout is known and cannot be chosen.")
    if is_unit_info(loaded.info) and not is_published:
        return import_units(source, output, loaded, split=split, on_row=on_row)
    stream, layout = _only_stream(loaded, source, is_published), layout or CodeLayout()
    beside = source if source.is_dir() else source.parent
    scales = read_table(beside / SCALES, float)
    listed = _listed(_read(source, stream, layout), source, loaded, read_table(beside / SAMPLES, int), scales)
    info = replace(with_codebooks(loaded.info, listed[0].codebooks), has_scale=bool(scales))
    rows = (
        {stream.name: codes.astype(np.uint16), "scale": item.scale}
        for (_, _, codes, _), item in zip(_read(source, stream, layout), listed, strict=True)
    )
    write_imported(
        output,
        [Entry(key=item.key, samples=item.samples, split=split, audio=item.key) for item in listed],
        iter(rows),
        info=info,
        card=loaded.card,
        corpus={"kind": "tokens" if is_published else "funcodec", "name": source.name},
        job=JobSettings(split=split, num_codebooks=info.streams[0].num_codebooks),
        on_row=on_row,
    )
    return len(listed)


def _only_stream(tokenizer: SpeechTokenizer, source: Path, is_published: bool) -> StreamInfo:
    names = [stream.name for stream in tokenizer.streams]
    if names != [STREAM] and (len(names) != 1 or not is_published):
        what = "one stream" if is_published else f"FunCodec's stream '{STREAM}'"
        raise DatasetError(
            f"{source} holds {what} alone, but tokenizer '{tokenizer.name}' has {', '.join(names)}."
        )
    return tokenizer.streams[0]


def _holds_npy(source: Path) -> bool:
    return source.is_dir() and next(source.rglob("*.npy"), None) is not None


def _read(
    source: Path, stream: StreamInfo, layout: CodeLayout
) -> Iterator[tuple[str, str, Codes, int | None]]:
    """Yield place, key, codes `(codebooks, frames)` and samples, where they are stated, of every utterance."""
    if source.suffix == ".jsonl":
        yield from read_json_codes(source, layout, stream.codebook_size)
        return
    if source.suffix == ".npy" or source.is_dir():
        yield from read_npy_codes(source, layout, stream.codebook_size)
        return
    if source.suffix == ".scp":
        matrices = ((f"{source} line {number}", key, matrix) for number, key, matrix in read_scp(source))
    elif source.suffix == ".ark":
        matrices = (
            (f"{source} record {number}", key, matrix)
            for number, (key, matrix) in enumerate(read_ark(source), start=1)
        )
    else:
        for number, key, codes in read_codecs(source):
            yield f"{source} line {number}", key, codes, None
        return
    for place, key, matrix in matrices:
        codes = matrix.T.astype(np.int64)
        if not codes.size or not np.array_equal(codes, matrix.T):
            raise DatasetError(f"{place} ('{key}') must hold whole numbers of shape (frames, codebooks).")
        yield place, key, codes, None


def _listed(
    rows: Iterator[tuple[str, str, Codes, int | None]],
    source: Path,
    tokenizer: SpeechTokenizer,
    samples: dict[str, int],
    scales: dict[str, float],
) -> list[_Listed]:
    """Check every utterance of the file and return what the plan needs of it."""
    stream, seen, listed = tokenizer.streams[0], dict[str, str](), list[_Listed]()
    for place, key, codes, stated in rows:
        where = f"{place} ('{key}')"
        codebooks, frames = codes.shape
        if key in seen:
            raise DatasetError(f"{where} repeats the key of {seen[key]}; keys must be unique.")
        if codes.min() < 0 or codes.max() >= stream.codebook_size:
            raise DatasetError(
                f"{where} holds codes from {codes.min()} to {codes.max()}, outside [0, {stream.codebook_size})."
            )
        if codebooks > stream.num_codebooks or (listed and codebooks != listed[0].codebooks):
            wanted = (
                f"{listed[0].codebooks}, as the lines before it"
                if listed
                else f"at most {stream.num_codebooks}"
            )
            raise DatasetError(f"{where} has {codebooks} codebooks, but must have {wanted}.")
        length = stated or samples.get(key, tokenizer.num_samples(frames, stream.name))
        if length < 1 or frames not in (
            tokenizer.num_frames(length, stream.name),
            -(-length // stream.hop_length),
        ):
            stating = "are stated beside them" if stated else f"{SAMPLES} states"
            raise DatasetError(
                f"{where} has {frames} frames, which do not fit the {length} samples that {stating}."
            )
        if scales and key not in scales:
            raise DatasetError(f"{where} has no line in {SCALES} beside it.")
        seen[key] = place
        listed.append(_Listed(key=key, samples=length, codebooks=codebooks, scale=scales.get(key)))
    if not listed:
        raise DatasetError(f"{source} holds no utterance.")
    return listed
