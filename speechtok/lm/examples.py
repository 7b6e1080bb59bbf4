"""One utterance as the layouts take it, from fresh tokens and from dataset rows alike; and back to tokens."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from speechtok.errors import TokensError
from speechtok.lm.layouts.align import align
from speechtok.lm.vocabulary import Vocabulary, check_range
from speechtok.tokens import SpeechTokens, TokenizerInfo

Codes = np.ndarray[Any, np.dtype[np.int64]]
"""`(codebooks, frames)` or `(frames,)`."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One utterance."""

    codes: Mapping[str, Codes]
    """Stream name → `(codebooks, frames)`, raw codes, of the vocabulary's streams."""
    text: Any = None
    """What `text_ids` of the collator takes: a string, or a list of phones."""
    speaker: str | None = None
    """Name of the speaker."""
    fields: Mapping[str, Any]
    """All columns of the row; empty for tokens."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"utterance '{self.fields['id']}'" if "id" in self.fields else "an utterance of this batch"

    def generator(self, seed: int) -> np.random.Generator:
        """Return random numbers that depend on the codes and the seed alone.

        So an example gets the same masks and prompts whether it was stored or encoded on the fly, in every
        batch, worker and rank, and after every resume.
        """
        content = 0
        for codes in self.codes.values():
            content = zlib.crc32(np.ascontiguousarray(codes, dtype="<i8").tobytes(), content)
        return np.random.default_rng([seed, content])


def read_examples(items: Any, vocabulary: Vocabulary) -> list[Example]:
    """Return the utterances of a batch.

    Args:
        items: `SpeechTokens`; a `TokenBatch` of a stream; or a list of rows (dictionaries with a `(codebooks, frames)` or `(frames,)` array
            or list for each stream, and columns such as `text` and `speaker`), of `SpeechTokens`, or of
            dictionaries with `SpeechTokens` under "tokens" beside such columns.
        vocabulary: the streams to read, and the tokenizer they must be of.

    Raises:
        TokensError: when the tokens are another tokenizer's, lack a stream, or hold codes out of range.
    """
    from speechtok.shards.stream import TokenBatch

    if isinstance(items, TokenBatch):
        columns = [
            dict(zip(items.columns, values, strict=True))
            for values in zip(*items.columns.values(), strict=True)
        ]
        items = [
            {**row, "tokens": tokens}
            for tokens, row in zip(items.tokens, columns or [{}] * len(items), strict=True)
        ]
    examples = []
    for item in [items] if isinstance(items, SpeechTokens | Mapping) else items:
        if isinstance(item, SpeechTokens):
            examples += [_example(tokens, {}, vocabulary) for tokens in item]
        elif isinstance(item.get("tokens"), SpeechTokens):
            with named(item):
                examples.append(_example(item["tokens"], item, vocabulary))
        else:
            with named(item):
                examples.append(_example(None, item, vocabulary))
    if not examples:
        raise ValueError("A batch must hold at least one utterance.")
    return examples


MissingText = Literal["error", "skip"]
"""What a collator with text does with an utterance that has none: say which, or leave it out of the batch."""


def with_text(examples: Sequence[Example], missing_text: MissingText) -> list[Example]:
    """Return the utterances of a batch that have a text, or all of them.

    Raises:
        TokensError: when none is left.
    """
    if missing_text == "error":
        return list(examples)
    kept = [example for example in examples if example.text is not None]
    if not kept:
        raise TokensError(
            f"No utterance of a batch has a text, from {examples[0].name} on; take rows with one only: "
            'TokenDataset(..., filter="text is not null").'
        )
    return kept


def check_missing_text(missing_text: str) -> None:
    """Raise `ValueError` unless it is one of `MissingText`."""
    if missing_text not in get_args(MissingText):
        raise ValueError(f"`missing_text` must be error or skip, got {missing_text!r}.")


def grid_of(example: Example, vocabulary: Vocabulary, fill: int, *, head_ids: bool = False) -> Codes:
    """Return the ids of all streams as one grid `(rows, superframes)`; `fill` where a stream has no frame.

    Args:
        example: the utterance.
        vocabulary: numbers the codes.
        fill: id of what is missing.
        head_ids: whether codes stay as they are, for models with one head per codebook.
    """
    ids = example.codes
    with named(example.fields):
        if not head_ids:
            ids = {name: vocabulary.code_ids(codes, name) for name, codes in ids.items()}
        return align(ids, vocabulary.streams, fill)


def text_of(example: Example, text_ids: Callable[[Any], Sequence[int]]) -> Codes:
    """Return the ids of an example's text.

    Raises:
        TokensError: naming the utterance, when it has none, or one that is not in the vocabulary.
    """
    if example.text is None:
        raise TokensError(f"A layout with text needs it, but {example.name} has none.")
    try:
        return np.asarray(text_ids(example.text), dtype=np.int64).reshape(-1)
    except TokensError as error:
        raise TokensError(f"The text of {example.name} has no ids: {error}") from error


@contextmanager
def named(row: Mapping[str, Any]) -> Iterator[None]:
    """Name the utterance in the errors about it, by its `id` where it has one."""
    try:
        yield
    except TokensError as error:
        if row.get("id") is None:
            raise
        raise TokensError(f"Utterance '{row['id']}': {error}") from error


def tokens_from_codes(
    streams: Mapping[str, Any], info: TokenizerInfo, *, num_samples: int | None = None, **vectors: Any
) -> SpeechTokens:
    """Return generated codes as tokens, ready for `decode`.

    Args:
        streams: stream name → `(codebooks, frames)`, as `Vocabulary.split` and the inverses of layouts give.
        info: the tokenizer's.
        num_samples: valid samples; `frames × hop_length` of the shortest stream when left out.
        vectors: `speaker_embedding` `(channels,)` and `scale` `()`, where the family decodes with them.
    """
    import torch

    codes = {name: torch.as_tensor(streams[name]).to(torch.int64)[None] for name in streams}
    kept = tuple(info.stream(name) for name in streams)
    for stream in kept:
        check_range(codes[stream.name], stream, "Codes")
    if num_samples is None:
        num_samples = min(codes[stream.name].shape[2] * stream.hop_length for stream in kept)
    return SpeechTokens(
        streams=codes,
        num_frames={name: torch.tensor([item.shape[2]]) for name, item in codes.items()},
        num_samples=torch.tensor([num_samples]),
        info=replace(info, streams=kept),
        **{name: torch.as_tensor(value)[None] for name, value in vectors.items() if value is not None},
    )


def _example(tokens: SpeechTokens | None, row: Mapping[str, Any], vocabulary: Vocabulary) -> Example:
    if tokens is not None:
        vocabulary.check_tokens(tokens.info)
        if len(tokens) != 1:
            raise TokensError(f"Tokens beside other columns must be of one utterance, got {len(tokens)}.")
    have = row if tokens is None else tokens.streams
    codes = {}
    for stream in vocabulary.streams:
        if stream.name not in have:
            raise TokensError(
                f"The vocabulary needs the stream '{stream.name}', but an utterance of this batch has only: "
                f"{', '.join(have)}."
            )
        found = have[stream.name]
        if tokens is not None:
            found = found[0, :, : int(tokens.num_frames[stream.name][0])].cpu().numpy()
        array = np.asarray(found, dtype=np.int64)
        array = (array[None] if array.ndim == 1 else array)[: stream.num_codebooks]
        if array.ndim != 2 or array.shape[0] != stream.num_codebooks:
            raise TokensError(
                f"Codes of stream '{stream.name}' must be ({stream.num_codebooks} codebooks, frames), "
                f"got shape {array.shape}."
            )
        check_range(array, stream, "Codes")
        codes[stream.name] = array
    return Example(codes=codes, text=_text(row), speaker=row.get("speaker"), fields=row)


def _text(row: Mapping[str, Any]) -> Any:
    """Return the phones of a row, a string of them split at white space; without any its text."""
    phones = row.get("phones")
    if isinstance(phones, int | float) and phones == phones:
        raise TokensError(
            f"The column phones must hold a list or a string, got {phones!r} for {row.get('id')!r}."
        )
    if (
        phones is None or isinstance(phones, float) or len(phones) == 0
    ):  # tables from pandas write NaN for what is missing
        return row.get("text")
    return phones.split() if isinstance(phones, str) else phones
