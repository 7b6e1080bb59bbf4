"""Batches for models with one head per codebook: delay and parallel patterns, and masked factors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechtok.errors import TokensError
from speechtok.lm.collate.batch import IGNORE, Batch, TextIds, pad
from speechtok.lm.examples import (
    MissingText,
    check_missing_text,
    grid_of,
    named,
    read_examples,
    text_of,
    with_text,
)
from speechtok.lm.layouts.align import frame_rate
from speechtok.lm.layouts.factors import cosine_mask, mask_stage, stage_labels, stage_of_rows, stages_of
from speechtok.lm.layouts.grid import delay
from speechtok.lm.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class DelayCollator:
    """Grids of head ids, each codebook later than the one before: MusicGen's pattern.

    A grid starts with one step of `<bos>`; where a codebook has no code stands `<pad>`. The batch has `input_ids`,
    `labels` and `loss_masks`, `(batch, codebooks, steps)`, and `attention_mask` `(batch, steps)`; with text also
    `text_ids` and `text_mask` `(batch, length)`. `undelay(grid[:, 1:], delays)` gives the codes back.
    """

    vocabulary: Vocabulary
    """Numbers the specials of the heads."""
    delays: Sequence[int] | None = None
    """Steps that each row is late; 0, 1, 2 … when left out. All 0 is the parallel pattern."""
    text: bool = False
    """Whether the batch has the text."""
    text_ids: TextIds | None = None
    """From text to ids; `vocabulary.text_ids` when left out."""
    missing_text: MissingText = "error"
    """What is done with an utterance without text: it is named in an error, or skipped."""

    def __post_init__(self) -> None:
        check_missing_text(self.missing_text)

    def __call__(self, items: Any) -> Batch:
        """Return a batch; `items` is what `speechtok.lm.read_examples` takes."""
        vocabulary = self.vocabulary
        examples = read_examples(items, vocabulary)
        examples = with_text(examples, self.missing_text) if self.text else examples
        filler, start = vocabulary.head_special("pad"), vocabulary.head_special("bos")
        grids = []
        for example in examples:
            grid = delay(grid_of(example, vocabulary, filler, head_ids=True), filler, self.delays)
            grids.append(np.concatenate([np.full_like(grid, start, shape=(grid.shape[0], 1)), grid], axis=1))
        ids = pad(grids, filler)
        learned = ids < vocabulary.codebook_size
        batch = {
            "input_ids": ids,
            "labels": ids.where(learned, IGNORE),
            "attention_mask": pad([np.ones_like(grid[0]) for grid in grids], 0),
            "loss_masks": learned,
        }
        if self.text:
            texts = [text_of(example, self.text_ids or vocabulary.text_ids) for example in examples]
            batch |= text_batch(texts, vocabulary)
        return batch


@dataclass(frozen=True, kw_only=True)
class FactorCollator:
    """Masked grids of head ids, one stage of NaturalSpeech 3 per utterance.

    The batch has `input_ids`, `labels` and `loss_masks`, `(batch, codebooks, frames)`; `attention_mask` and
    `prompt_mask`, `(batch, frames)`; `stage`, `(batch,)`; and with text `text_ids` and `text_mask`,
    `(batch, length)`. Rows that have a `durations` column (frames of each text symbol) also give `frame_text`,
    `(batch, frames)`, the symbol spoken in each frame. Labels stand where the masked codes are; nothing is shifted.
    """

    vocabulary: Vocabulary
    """The streams are the factors, in order."""
    stage: int | None = None
    """Learn this stage only; None draws one for each utterance."""
    prompt_seconds: tuple[float, float] = (0.0, 0.0)
    """Shortest and longest prompt; drawn for each utterance, at most half of it."""
    text: bool = False
    """Whether the batch has the text."""
    text_ids: TextIds | None = None
    """From text to ids; `vocabulary.text_ids` when left out."""
    missing_text: MissingText = "error"
    """What is done with an utterance without text: it is named in an error, or skipped."""
    seed: int = 0
    """Draws depend on it and on the codes; change it from epoch to epoch, as with `dataclasses.replace`."""

    def __post_init__(self) -> None:
        stages = stages_of(self.vocabulary.streams)
        if self.stage is not None and not 0 <= self.stage < len(stages):
            raise ValueError(f"`stage` must be from 0 to {len(stages) - 1} ({stages}), got {self.stage}.")
        check_missing_text(self.missing_text)
        check_prompt(self.prompt_seconds)

    def __call__(self, items: Any) -> Batch:
        """Return a batch; `items` is what `speechtok.lm.read_examples` takes."""
        import torch

        vocabulary = self.vocabulary
        examples = read_examples(items, vocabulary)
        examples = with_text(examples, self.missing_text) if self.text else examples
        filler, mask = vocabulary.head_special("pad"), vocabulary.head_special("mask")
        row_stages = stage_of_rows(vocabulary.streams)
        seen, labels, prompts, chosen = [], [], [], []
        for example in examples:
            grid = grid_of(example, vocabulary, filler, head_ids=True)
            generator = example.generator(self.seed)
            stage = int(generator.integers(max(row_stages) + 1)) if self.stage is None else self.stage
            prompt = draw_prompt(self.prompt_seconds, vocabulary, grid.shape[1], generator)
            masked = np.zeros(grid.shape[1], dtype=bool)
            masked[prompt:] = cosine_mask(grid.shape[1] - prompt, 1 - generator.random(), generator)
            seen.append(mask_stage(grid, row_stages, stage, masked, mask=mask, prompt_frames=prompt))
            target = stage_labels(grid, row_stages, stage, masked, ignore=IGNORE, prompt_frames=prompt)
            labels.append(np.where(target == filler, IGNORE, target))
            prompts.append((np.arange(grid.shape[1]) < prompt).astype(np.int64))
            chosen.append(stage)
        batch = {
            "input_ids": pad(seen, filler),
            "labels": pad(labels, IGNORE),
            "attention_mask": pad([np.ones_like(grid[0]) for grid in seen], 0),
            "prompt_mask": pad(prompts, 0),
            "stage": torch.tensor(chosen),
        }
        batch["loss_masks"] = batch["labels"] != IGNORE
        if self.text:
            texts = [text_of(example, self.text_ids or vocabulary.text_ids) for example in examples]
            batch |= text_batch(texts, vocabulary)
            spans = [example.fields.get("durations") for example in examples]
            if all(item is not None for item in spans):
                spoken = []
                for example, text, item, grid in zip(examples, texts, spans, seen, strict=True):
                    with named(example.fields):
                        spoken.append(frame_text(text, np.asarray(item), grid.shape[1]))
                batch["frame_text"] = pad(spoken, vocabulary.pad_id)
        return batch


def text_batch(texts: Sequence[Any], vocabulary: Vocabulary) -> Batch:
    """Return ids of texts as `text_ids` and `text_mask`, `(batch, length)`."""
    return {
        "text_ids": pad(texts, vocabulary.pad_id),
        "text_mask": pad([np.ones_like(text) for text in texts], 0),
    }


def frame_text(text: Any, durations: Any, frames: int) -> Any:
    """Return the text id of each frame `(frames,)`.

    Raises:
        TokensError: when the durations do not fit the text and the frames.
    """
    if len(durations) != len(text) or int(durations.sum()) != frames:
        raise TokensError(
            f"`durations` must be {len(text)} numbers of frames, one for each text symbol, that sum to {frames}, "
            f"got {len(durations)} that sum to {int(durations.sum())}."
        )
    return np.repeat(text, durations)


def check_prompt(prompt_seconds: tuple[float, float]) -> None:
    """Raise `ValueError` unless the numbers are a range."""
    if not 0 <= prompt_seconds[0] <= prompt_seconds[1] < math.inf:
        raise ValueError(
            f"`prompt_seconds` must be (shortest, longest) with 0 <= shortest <= longest, got {prompt_seconds}."
        )


def draw_prompt(
    prompt_seconds: tuple[float, float], vocabulary: Vocabulary, frames: int, generator: np.random.Generator
) -> int:
    """Return how many (super)frames the prompt has: in the range, but at most half of the utterance."""
    rate = frame_rate(vocabulary.streams)
    fewest, most = (round(seconds * rate) for seconds in prompt_seconds)
    return min(int(generator.integers(fewest, most + 1)), frames // 2)
