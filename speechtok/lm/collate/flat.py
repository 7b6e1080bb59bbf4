"""Batches of flat sequences for causal models: any flat layout, units, interleaved text and speech."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from speechtok.lm.collate.batch import Batch, FlatSequence, TextIds, flat_batch, pad, prefix
from speechtok.lm.examples import (
    Codes,
    Example,
    MissingText,
    check_missing_text,
    grid_of,
    read_examples,
    text_of,
    with_text,
)
from speechtok.lm.layouts.factors import stage_of_rows
from speechtok.lm.layouts.grid import flatten_frames
from speechtok.lm.layouts.interleave import alternate, join_spans
from speechtok.lm.layouts.units import deduplicate, pair
from speechtok.lm.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class FlatCollator:
    """`<bos> [speaker] [text ids] <speech> codes <eos>`, with the codes in one of three orders.

    `Vocabulary.split` gives the codes back. A batch is as `speechtok.lm.collate.batch` describes, with
    `(batch, length)` ids.
    """

    vocabulary: Vocabulary
    """Numbers everything."""
    order: Literal["frames", "codebooks", "coarse_first"] = "frames"
    """As `flatten_frames`, `flatten_codebooks` and `coarse_first` do."""
    num_coarse: int | None = None
    """Codebooks, counted over all streams, that come first with "coarse_first"; half, rounded up, when left out."""
    text: bool = False
    """Whether the text is a condition in front."""
    text_ids: TextIds | None = None
    """From text to ids; `vocabulary.text_ids` when left out."""
    missing_text: MissingText = "error"
    """What is done with an utterance without text: it is named in an error, or skipped."""
    speaker: bool = False
    """Whether the speaker's token is a condition in front."""
    learn_text: bool = False
    """Whether conditions are labels too."""
    prompt_only: bool = False
    """Whether the sequence ends at `<speech>`, for generation."""
    padding_side: Literal["right", "left"] = "right"
    """`left` for generation in batches."""
    loss_masks: bool = True
    """Whether the batch has `loss_masks`; without them it has what `transformers.Trainer` expects."""

    def __post_init__(self) -> None:
        check_missing_text(self.missing_text)
        if self.order not in ("frames", "codebooks", "coarse_first"):
            raise ValueError(f"`order` must be frames, codebooks or coarse_first, got {self.order!r}.")
        if self.order == "coarse_first" and not 1 <= self._num_coarse() < self.vocabulary.num_codebooks:
            raise ValueError(
                f"`num_coarse` must be from 1 to {self.vocabulary.num_codebooks - 1}, got {self._num_coarse()}."
            )

    def __call__(self, items: Any) -> Batch:
        """Return a batch; `items` is what `speechtok.lm.read_examples` takes."""
        examples = read_examples(items, self.vocabulary)
        examples = with_text(examples, self.missing_text) if self.text else examples
        sequences = [self.sequence(example) for example in examples]
        return flat_batch(
            sequences, self.vocabulary, padding_side=self.padding_side, loss_masks=self.loss_masks
        )

    def sequence(self, example: Example) -> FlatSequence:
        """Return one utterance's sequence."""
        vocabulary = self.vocabulary
        head = np.asarray(prefix(vocabulary, example, speaker=self.speaker))
        text = text_of(example, self.text_ids or vocabulary.text_ids) if self.text else head[:0]
        head = np.concatenate([head, text, [vocabulary.special("speech")]])
        codes = head[:0]
        if not self.prompt_only:
            codes = np.concatenate([self.codes(example), [vocabulary.eos_id]])
        learned = np.full(len(head) + len(codes), True)
        learned[: 1 if self.learn_text else len(head)] = False
        return FlatSequence(np.concatenate([head, codes]), learned)

    def codes(self, example: Example) -> Codes:
        """Return the ids of one utterance's codes in the collator's order."""
        # Cells that a slow stream lacks in the last superframe are dropped; -1 is no id.
        grid = grid_of(example, self.vocabulary, -1)
        stages = np.asarray(stage_of_rows(self.vocabulary.streams))
        # Each part is in order of time, also where a codebook has several rows of the grid.
        parts = [flatten_frames(grid[np.isin(stages, part)]) for part in self._parts()]
        flat = np.concatenate(parts)
        return flat[flat >= 0]

    def _parts(self) -> list[list[int]]:
        """Return the codebooks, numbered over all streams, that stand together frame by frame."""
        codebooks = list(range(self.vocabulary.num_codebooks))
        if self.order == "frames":
            return [codebooks]
        if self.order == "codebooks":
            return [[codebook] for codebook in codebooks]
        coarse = self._num_coarse()
        return [codebooks[:coarse], codebooks[coarse:]]

    def _num_coarse(self) -> int:
        return -(-self.vocabulary.num_codebooks // 2) if self.num_coarse is None else self.num_coarse


@dataclass(frozen=True, kw_only=True)
class UnitCollator:
    """`<bos> unit unit … <eos>` of one stream with runs merged; or `unit duration unit duration …`.

    `restore` gives the frames back where durations are in the sequence.
    """

    vocabulary: Vocabulary
    """Numbers units and durations."""
    stream: str = "content"
    """The stream of units; it must have one codebook."""
    durations: Literal["none", "tokens", "values"] = "none"
    """`tokens` puts a duration token behind each unit; `values` gives them as a tensor of their own."""
    speaker: bool = False
    """Whether the speaker's token is a condition in front."""
    loss_masks: bool = False
    """Whether the batch has `loss_masks`."""

    def __post_init__(self) -> None:
        if self.vocabulary.range_of(self.stream) and f"{self.stream}_1" in self.vocabulary.blocks:
            raise ValueError(f"Stream '{self.stream}' must have one codebook to be read as units.")
        if self.durations == "tokens" and not self.vocabulary.num_durations:
            raise ValueError(
                "Duration tokens need a vocabulary that has them; make it with `num_durations`, the longest run."
            )
        if self.durations not in ("none", "tokens", "values"):
            raise ValueError(f"`durations` must be none, tokens or values, got {self.durations!r}.")

    def __call__(self, items: Any) -> Batch:
        """Return a batch; with "values", `durations` `(batch, length)` are 0 where the id is no unit."""
        sequences, all_durations = [], []
        for example in read_examples(items, self.vocabulary):
            head = prefix(self.vocabulary, example, speaker=self.speaker)
            ids, durations = self.units(example)
            body = np.concatenate([head, ids, [self.vocabulary.eos_id]])
            learned = np.full(len(body), True)
            learned[: len(head)] = False
            sequences.append(FlatSequence(body, learned))
            all_durations.append(np.concatenate([np.zeros(len(head), np.int64), durations, [0]]))
        batch = flat_batch(sequences, self.vocabulary, loss_masks=self.loss_masks)
        if self.durations == "values":
            batch["durations"] = pad(all_durations, 0)
        return batch

    def units(self, example: Example) -> tuple[Codes, Codes]:
        """Return one utterance's ids, and the frames of each run."""
        longest = self.vocabulary.num_durations if self.durations == "tokens" else None
        units, durations = deduplicate(example.codes[self.stream][0], longest)
        ids = self.vocabulary.code_ids(units[None], self.stream)[0]
        if self.durations == "tokens":
            first = self.vocabulary.blocks["durations"].start
            return pair(ids, durations + (first - 1)), durations
        return ids, durations

    def restore(self, ids: Any) -> Codes:
        """Return the frames `(1, frames)` of a sequence with duration tokens; a unit without one lasts one frame."""
        units = self.vocabulary.range_of(self.stream)
        lengths = self.vocabulary.blocks["durations"]
        frames: list[int] = []
        for token_id in np.asarray(ids).tolist():
            if token_id in units:
                frames.append(token_id - units.start)
            elif token_id in lengths and frames:
                frames += [frames[-1]] * (token_id - lengths.start)  # the unit itself is there already
        return np.asarray([frames], dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class InterleavedCollator:
    """`<bos> <text> t t <speech> s s s <text> … <eos>`: text and speech in turn, both learned."""

    vocabulary: Vocabulary
    """Numbers everything."""
    num_text: int
    """Text ids of one span."""
    num_frames: int
    """Frames (superframes of streams with several rates) of one span."""
    text_ids: TextIds | None = None
    """From text to ids; `vocabulary.text_ids` when left out."""
    missing_text: MissingText = "error"
    """What is done with an utterance without text: it is named in an error, or skipped."""
    speaker: bool = False
    """Whether the speaker's token is a condition in front."""
    loss_masks: bool = True
    """Whether the batch has `loss_masks`."""

    def __post_init__(self) -> None:
        check_missing_text(self.missing_text)

    def __call__(self, items: Any) -> Batch:
        """Return a batch; `items` is what `speechtok.lm.read_examples` takes."""
        sequences = []
        for example in with_text(read_examples(items, self.vocabulary), self.missing_text):
            head = prefix(self.vocabulary, example, speaker=self.speaker)
            body = np.concatenate([head, self.codes(example), [self.vocabulary.eos_id]])
            learned = np.full(len(body), True)
            learned[: len(head)] = False
            sequences.append(FlatSequence(body, learned))
        return flat_batch(sequences, self.vocabulary, loss_masks=self.loss_masks)

    def codes(self, example: Example) -> Codes:
        """Return one utterance's text and speech in turn."""
        vocabulary = self.vocabulary
        text = text_of(example, self.text_ids or vocabulary.text_ids)
        grid = grid_of(example, vocabulary, -1)
        spans = alternate(text, flatten_frames(grid), self.num_text, self.num_frames * grid.shape[0])
        ids = join_spans(spans, vocabulary.special("text"), vocabulary.special("speech"))
        return ids[ids >= 0]
