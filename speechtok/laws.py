"""The laws every tokenizer keeps, checked on any of them: ours, yours, one of another package.

Laws: *batch*, codes of an utterance are the same alone, in any batch, in any order, with any padding; *chunk*,
`chunk_seconds` and blocks give the codes of the whole; *stream*, `stream()` gives them block by block, before the
end; *length*, `decode(encode(x))` has exactly `len(x)` samples, or as many at the rate of its output,
and frames follow `num_frames`; *stored*, tokens read back from Parquet decode to the same waveform; *identity*,
tokens of another fingerprint are refused; *saved*, `save_pretrained` keeps the codes; *context*, autocast, matmul
precision, threads and pickling around a call change no code.

Codes are counted where they may differ: none may in float64, one in 10,000 in float32.

Contents: `check_laws`, `assert_laws`, `LawResult`, `SHARE`.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechtok.errors import TokensError
from speechtok.loading import load_tokenizer
from speechtok.shards.reader import TokenDataset
from speechtok.shards.rows import tokens_to_rows
from speechtok.shards.schema import token_schema
from speechtok.shards.writer import ShardWriter
from speechtok.tokenizers.base import SpeechTokenizer
from speechtok.tokens import SpeechTokens

SHARE = {torch.float64: 0.0}
"""Share of codes that may differ, by dtype; 1 in 10,000 for the others."""


@dataclass(frozen=True, kw_only=True)
class LawResult:
    """What came of one law."""

    law: str
    """Its name."""
    holds: bool
    """Whether it was kept."""
    detail: str
    """What was counted or went wrong, in one sentence."""


def check_laws(tokenizer: SpeechTokenizer, waveforms: Sequence[Any] | None = None) -> Iterator[LawResult]:
    """Yield what came of each law, as soon as it is known.

    Args:
        tokenizer: any; in float64 no code may differ, otherwise one in 10,000.
        waveforms: float `(samples,)` at the tokenizer's rate, at least two, of unequal length; noise that rises and
            falls when left out.
    """
    speech = _speech(tokenizer) if waveforms is None else [torch.as_tensor(item) for item in waveforms]
    if len(speech) < 2 or len({len(item) for item in speech}) < 2:
        raise ValueError("`waveforms` must hold at least two, of unequal length.")
    alone = [tokenizer.encode(item) for item in speech]
    for law, check in _LAWS.items():
        try:
            holds, detail = check(tokenizer, speech, alone)
        except Exception as error:
            holds, detail = False, f"{type(error).__name__}: {error}"
        yield LawResult(law=law, holds=holds, detail=detail)


def assert_laws(tokenizer: SpeechTokenizer, waveforms: Sequence[Any] | None = None) -> None:
    """Raise `AssertionError` with a line for each law that was broken; for test suites.

    Args:
        tokenizer: as for `check_laws`.
        waveforms: as for `check_laws`.
    """
    broken = [result for result in check_laws(tokenizer, waveforms) if not result.holds]
    if broken:
        raise AssertionError("\n".join(f"{result.law}: {result.detail}" for result in broken))


def _speech(tokenizer: SpeechTokenizer) -> list[Tensor]:
    """Return noise whose level rises and falls: the shortest there is, a part of a frame, and up to two seconds."""
    rate, least = tokenizer.sample_rate, tokenizer.min_samples
    random = np.random.default_rng(0)
    lengths = (least, least + 1, rate // 3 + least, rate + 7, 2 * rate)
    return [
        torch.from_numpy(0.1 * random.standard_normal(n) * (1 + np.sin(np.arange(n) / rate * 20)))
        for n in lengths
    ]


def _batch(tokenizer: SpeechTokenizer, speech: list[Tensor], alone: list[SpeechTokens]) -> tuple[bool, str]:
    count = _Count(tokenizer)
    for item, tokens in zip(alone, tokenizer.encode(speech), strict=True):
        count.compare(item, tokens)
    for item, tokens in zip(alone[::-1], tokenizer.encode(speech[::-1]), strict=True):
        count.compare(item, tokens)
    padded = torch.nn.utils.rnn.pad_sequence(speech, batch_first=True, padding_value=0.7)
    for item, tokens in zip(alone, tokenizer.encode(padded, [len(item) for item in speech]), strict=True):
        count.compare(item, tokens)
    return count.result()


def _chunk(tokenizer: SpeechTokenizer, speech: list[Tensor], alone: list[SpeechTokens]) -> tuple[bool, str]:
    count = _Count(tokenizer)
    random = np.random.default_rng(1)
    for item, tokens in zip(speech, alone, strict=True):
        for seconds in (0.3, 1.1):
            count.compare(tokens, tokenizer.encode(item, chunk_seconds=seconds))
        cuts = np.sort(random.integers(0, len(item), 3))
        count.compare(tokens, tokenizer.encode_blocks(np.split(item.numpy(), cuts), chunk_seconds=0.5))
    return count.result()


def _stream(tokenizer: SpeechTokenizer, speech: list[Tensor], alone: list[SpeechTokens]) -> tuple[bool, str]:
    if not tokenizer.can_stream:
        return True, "codes depend on the whole utterance; there is no stream"
    count = _Count(tokenizer)
    random = np.random.default_rng(2)
    longest = torch.cat([speech[-1]] * (1 + 6 * tokenizer.sample_rate // len(speech[-1])))
    early = 0
    for item, tokens in [*zip(speech, alone, strict=True), (longest, tokenizer.encode(longest))]:
        for chunk_seconds in (None, 0.5):
            stream = tokenizer.stream(chunk_seconds=chunk_seconds)
            pieces, start = [], 0
            while start < len(item):
                seconds = 10 ** random.uniform(-3, 0.5)  # 1 ms to 3 s
                stop = start + max(1, round(seconds * tokenizer.sample_rate))
                pieces.append(stream.feed(item[start:stop]))
                start = stop
            early = max(early, *(int(frames) for piece in pieces for frames in piece.num_frames.values()))
            found = SpeechTokens.join([*pieces, stream.finish()])
            if int(found.num_samples) != len(item):
                return False, f"{len(item)} samples come out as {int(found.num_samples)}"
            count.compare(tokens, found)
    if early == 0:
        return False, f"no token came before the end of {len(longest) / tokenizer.sample_rate:.1f} s"
    return count.result()


def _length(tokenizer: SpeechTokenizer, speech: list[Tensor], alone: list[SpeechTokens]) -> tuple[bool, str]:
    for item, tokens in zip(speech, alone, strict=True):
        for stream in tokens.streams:
            frames, rule = int(tokens.num_frames[stream]), tokenizer.num_frames(len(item), stream)
            if frames != rule:
                return (
                    False,
                    f"{len(item)} samples have {frames} frames of '{stream}', but num_frames says {rule}",
                )
    if not tokenizer.can_decode:
        return True, "frames follow num_frames; these files cannot decode"
    for item, tokens in zip(speech, alone, strict=True):
        waveform = _decode(tokenizer, tokens)
        if waveform.shape != (1, tokenizer.output_samples(len(item))) or not bool(
            torch.isfinite(waveform).all()
        ):
            return False, f"{len(item)} samples decode to {tuple(waveform.shape)}, or to NaN"
    together = _decode(tokenizer, SpeechTokens.cat(alone))
    for row, item in zip(together, speech, strict=True):
        if bool(row[tokenizer.output_samples(len(item)) :].any()):
            return False, "decode is not zero past num_samples"
    return True, f"{len(speech)} lengths from {min(map(len, speech))} to {max(map(len, speech))} samples"


def _stored(tokenizer: SpeechTokenizer, speech: list[Tensor], alone: list[SpeechTokens]) -> tuple[bool, str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "laws.parquet")
        with ShardWriter(
            path, token_schema(tokenizer.info, tokenizer.card.to_dict(), {}), tokenizer.info
        ) as out:
            for index, tokens in enumerate(alone):
                columns = {"id": str(index), "audio": "", "source_sample_rate": tokenizer.sample_rate}
                out.add(
                    {**dict.fromkeys(("text", "speaker", "language")), **tokens_to_rows(tokens)[0], **columns}
                )
        dataset = TokenDataset(path)
        for index, tokens in enumerate(alone):
            stored = dataset.tokens(index)
            if any(not torch.equal(stored[name], codes.cpu()) for name, codes in tokens.streams.items()):
                return False, "codes read back differ"
            if tokenizer.can_decode and not torch.equal(
                _decode(tokenizer, stored), _decode(tokenizer, tokens)
            ):
                return False, "tokens read back decode to another waveform"
    return True, f"{len(alone)} rows of Parquet"


def _identity(
    tokenizer: SpeechTokenizer, speech: list[Tensor], alone: list[SpeechTokens]
) -> tuple[bool, str]:
    other = replace(alone[-1], info=replace(alone[-1].info, name="another", fingerprint="0" * 32))
    try:
        tokenizer.check_tokens(other)
    except TokensError:
        tokenizer.check_tokens(other, accept_from="another")
        return True, "tokens of another fingerprint are refused, and taken when they are named"
    return False, "tokens of another fingerprint are taken"


def _saved(tokenizer: SpeechTokenizer, speech: list[Tensor], alone: list[SpeechTokens]) -> tuple[bool, str]:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        again = load_tokenizer(folder, device=tokenizer.device, dtype=tokenizer.dtype)
        if again.fingerprint != tokenizer.fingerprint:
            return False, f"the fingerprint becomes {again.fingerprint}"
        count = _Count(tokenizer)
        count.compare(alone[-1], again.encode(speech[-1]))
        return count.result()


def _context(tokenizer: SpeechTokenizer, speech: list[Tensor], alone: list[SpeechTokens]) -> tuple[bool, str]:
    contexts: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "autocast to bfloat16": lambda: torch.autocast(tokenizer.device.type, dtype=torch.bfloat16),
        "matmul precision high": lambda: _matmul("high"),
        "matmul precision medium": lambda: _matmul("medium"),
        "gradients": torch.enable_grad,
        "one thread": lambda: _threads(1),
        "two threads": lambda: _threads(2),
    }
    for name, context in contexts.items():
        count = _Count(tokenizer)
        with context():
            count.compare(alone[-1], tokenizer.encode(speech[-1]))
        holds, detail = count.result()
        if not holds:
            return False, f"{name}: {detail}"
    count = _Count(tokenizer)
    # Safe because no file holds it: the bytes are made in the same line, of the tokenizer that is tried.
    count.compare(alone[-1], pickle.loads(pickle.dumps(tokenizer)).encode(speech[-1]))  # noqa: S301
    holds, detail = count.result()
    return holds, f"{', '.join(contexts)}, pickling" if holds else f"pickled: {detail}"


_LAWS: dict[str, Callable[[SpeechTokenizer, list[Tensor], list[SpeechTokens]], tuple[bool, str]]] = {
    "batch": _batch,
    "chunk": _chunk,
    "stream": _stream,
    "length": _length,
    "stored": _stored,
    "identity": _identity,
    "saved": _saved,
    "context": _context,
}


class _Count:
    """How many codes differ of how many."""

    def __init__(self, tokenizer: SpeechTokenizer) -> None:
        self._share = SHARE.get(tokenizer.dtype, 1e-4)
        self._differing = self._all = 0

    def compare(self, expected: SpeechTokens, found: SpeechTokens) -> None:
        """Count the codes of one utterance.

        Raises:
            TokensError: when the two have other streams or frames.
        """
        for name, codes in expected.streams.items():
            frames, others = int(expected.num_frames[name]), int(found.num_frames[name])
            if frames != others:
                raise TokensError(f"Stream '{name}' has {others} frames instead of {frames}.")
            self._all += codes[..., :frames].numel()
            self._differing += int((codes[..., :frames] != found[name][..., :frames]).sum())

    def result(self) -> tuple[bool, str]:
        """Return whether few enough differ, and the count as text."""
        return self._differing <= self._share * self._all, f"{self._differing} of {self._all:,} codes differ"


def _decode(tokenizer: SpeechTokenizer, tokens: SpeechTokens) -> Tensor:
    voice = {"speaker": tokenizer.voices[0]} if tokenizer.voices else {}
    return tokenizer.decode(tokens, **voice)


@contextmanager
def _matmul(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
