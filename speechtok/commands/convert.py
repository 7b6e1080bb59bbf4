"""Say one recording in the voice of another, from audio or from stored tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechtok.commands.decode import choose_rows, write_speech
from speechtok.commands.encode import encode_file
from speechtok.errors import DatasetError
from speechtok.loading import load_for_dataset, load_tokenizer
from speechtok.shards.reader import TokenDataset
from speechtok.storage import AnyPath
from speechtok.tokens import SpeechTokens

if TYPE_CHECKING:
    from speechtok.tokenizers.base import SpeechTokenizer

SUFFIX = ".wav"
"""What the name of the output ends with."""


def convert_file(
    source: AnyPath,
    reference: AnyPath | None,
    output: Path,
    *,
    source_id: str | None = None,
    reference_id: str | None = None,
    speaker: str | None = None,
    tokenizer: str | None = None,
    checkpoint: str | AnyPath | None = None,
    device: str = "cpu",
    method: str | None = None,
) -> float:
    """Write what `source` says in the voice of `reference` as a 16-bit WAV file; return its seconds.

    The file appears whole or not at all; one that is there already is replaced. Several channels of a
    recording are averaged, and other sample rates converted.

    Args:
        source: an audio file; or, with `source_id`, a token dataset or one Parquet file of tokens.
        reference: the same for the voice, with `reference_id`; None with `speaker`.
        output: file to write, ending in .wav; its folder is made when it is missing.
        source_id: row of `source`.
        reference_id: row of `reference`.
        speaker: a voice of the tokenizer's table instead, by name or row.
        tokenizer: name, card path or folder for `load_tokenizer`; None takes the name in the dataset.
        checkpoint: local folder with the published files.
        device: where the tokenizer runs.
        method: for families with more than one; None takes the family's own.

    Returns:
        Seconds written.

    Raises:
        ValueError: when `output` ends otherwise, no tokenizer is named anywhere, the tokenizer has no
            such method or voice, or not just one of `reference` and `speaker` is given.
        TypeError: when the family of the tokenizer does not convert voices.
        AudioError: when a recording cannot be used.
        DatasetError: when there is no token dataset or row of that name, or tokens come without id.
        CardError, CheckpointError, HubError: when the tokenizer cannot be loaded.
        TokensError: when the tokens were made by another tokenizer.
        OSError: when the file cannot be written.
    """
    _check(output, reference, reference_id, speaker)
    stored_source = _stored(source, source_id, "--id")
    stored_reference = None if reference is None else _stored(reference, reference_id, "--reference-id")
    stored = [(source, stored_source), (reference, stored_reference)]
    loaded = _loaded(tokenizer, stored, checkpoint, device)
    options: dict[str, Any] = {} if method is None else {"method": method}
    if method is not None:
        loaded.check_method(method)
    tokens = encode_file(loaded, source) if stored_source is None else stored_source
    voice: Any = stored_reference
    if speaker is not None:
        voice = loaded.find_voice(speaker)
    elif reference is not None and voice is None:
        voice = encode_file(loaded, reference)
    waveform = loaded.convert_voice(tokens, voice, **options)  # (1, samples)
    write_speech(output, waveform, loaded.sample_rate)
    return waveform.shape[1] / loaded.sample_rate


def _check(output: Path, reference: AnyPath | None, reference_id: str | None, speaker: str | None) -> None:
    if output.suffix.lower() != SUFFIX:
        raise ValueError(f"The output must be a {SUFFIX} file, got {output}.")
    if (reference is None) == (speaker is None):
        raise ValueError(
            "Name the voice by a REFERENCE, or with --speaker by a name of the tokenizer's table."
        )
    if reference is None and reference_id is not None:
        raise ValueError("--reference-id needs a REFERENCE that holds the row.")


def _loaded(
    tokenizer: str | None,
    stored: Sequence[tuple[AnyPath | None, SpeechTokens | None]],
    checkpoint: str | AnyPath | None,
    device: str,
) -> SpeechTokenizer:
    """Return the tokenizer that was asked for, else that of the first tokens."""
    if tokenizer:
        return load_tokenizer(tokenizer, checkpoint=checkpoint, device=device)
    for place, tokens in stored:
        if place is not None and tokens is not None:
            return load_for_dataset(place, tokens.info.name, checkpoint=checkpoint, device=device)
    raise ValueError("Name the tokenizer that converts with --tokenizer, such as facodec.")


def _stored(path: AnyPath, row_id: str | None, option: str) -> SpeechTokens | None:
    """Return one row of stored tokens, or None for an audio file."""
    if row_id is None:
        if path.is_dir() or path.suffix == ".parquet":
            raise DatasetError(f"{path} is no audio file; if it holds tokens, choose a row with {option} ID.")
        return None
    ((index, _),) = choose_rows(path, ids=[row_id])
    return TokenDataset(path).tokens(index)
