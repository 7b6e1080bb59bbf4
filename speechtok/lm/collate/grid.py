"""Batches for models with one head per codebook: delay and parallel patterns, and masked factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from speechtok.errors import TokensError
from speechtok.lm.collate.batch import IGNORE, Batch, TextIds, pad
from speechtok.lm.collate.prompting import check_prompt, draw_prompt, draw_stretch, other_utterance
from speechtok.lm.examples import (
    Codes,
    Example,
    MissingText,
    check_missing_text,
    grid_of,
    named,
    read_examples,
    text_of,
    with_text,
)
from speechtok.lm.layouts.factors import cosine_mask, mask_stage, stage_labels, stage_of_rows, stages_of
from speechtok.lm.layouts.grid import delay
from speechtok.lm.prompts import SpeakerPrompts
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
    prompts: SpeakerPrompts | None = None
    """Where prompts come from: another utterance of the speaker, a stretch of which then stands before the frames of this one. None
    takes the beginning of the utterance itself, as is done where the speaker has no other."""
    aligned_stream: str | None = None
    """Stream by whose frames the phones are aligned, as `speechtok annotate alignment` does: the text is then that of the column `phone`,
    and `phone_frames_<stream>` tells how long each lasts."""
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
        check_prompt(self.prompt_seconds, self.prompts)
        if self.aligned_stream is not None and not self.text:
            raise ValueError("`aligned_stream` says what the text is; set `text=True` with it.")

    def __call__(self, items: Any) -> Batch:
        """Return a batch; `items` is what `speechtok.lm.read_examples` takes."""
        import torch

        vocabulary = self.vocabulary
        examples = read_examples(items, vocabulary)
        if self.aligned_stream is not None:
            examples = [replace(example, text=example.fields.get("phone")) for example in examples]
        examples = with_text(examples, self.missing_text) if self.text else examples
        filler = vocabulary.head_special("pad")
        masked = [self._masked(example) for example in examples]
        batch = {
            "input_ids": pad([item.seen for item in masked], filler),
            "labels": pad([item.labels for item in masked], IGNORE),
            "attention_mask": pad([np.ones_like(item.seen[0]) for item in masked], 0),
            "prompt_mask": pad([item.is_prompt for item in masked], 0),
            "stage": torch.tensor([item.stage for item in masked]),
        }
        batch["loss_masks"] = batch["labels"] != IGNORE
        if self.text:
            texts = [text_of(example, self.text_ids or vocabulary.text_ids) for example in examples]
            batch |= text_batch(texts, vocabulary)
            if all(self._durations(example) is not None for example in examples):
                spoken = [
                    self._frame_text(example, text, item)
                    for example, text, item in zip(examples, texts, masked, strict=True)
                ]
                batch["frame_text"] = pad(spoken, vocabulary.pad_id)
        return batch

    def _masked(self, example: Example) -> _Masked:
        """Return what the model sees of one utterance, behind its prompt, and what it has to tell."""
        vocabulary = self.vocabulary
        filler, mask = vocabulary.head_special("pad"), vocabulary.head_special("mask")
        grid = grid_of(example, vocabulary, filler, head_ids=True)
        rows = stage_of_rows(vocabulary.streams)
        generator = example.generator(self.seed)
        stage = int(generator.integers(max(rows) + 1)) if self.stage is None else self.stage
        other = other_utterance(self.prompts, example, vocabulary, generator)
        own = 0  # frames of the prompt that are not the utterance's
        if other is None:
            prompt = draw_prompt(self.prompt_seconds, vocabulary, grid.shape[1], generator)
        else:
            heard = grid_of(other, vocabulary, filler, head_ids=True)
            heard = draw_stretch(heard, self.prompt_seconds, vocabulary, generator)
            prompt = own = heard.shape[1]
            grid = np.concatenate([heard, grid], axis=1)
        hidden = np.zeros(grid.shape[1], dtype=bool)
        hidden[prompt:] = cosine_mask(grid.shape[1] - prompt, 1 - generator.random(), generator)
        labels = stage_labels(grid, rows, stage, hidden, ignore=IGNORE, prompt_frames=prompt)
        return _Masked(
            seen=mask_stage(grid, rows, stage, hidden, mask=mask, prompt_frames=prompt),
            labels=np.where(labels == filler, IGNORE, labels),
            is_prompt=(np.arange(grid.shape[1]) < prompt).astype(np.int64),
            stage=stage,
            before=own,
        )

    def _durations(self, example: Example) -> Any:
        """Return the frames of each text symbol, or None."""
        if self.aligned_stream is None:
            return example.fields.get("durations")
        name = f"phone_frames_{self.aligned_stream}"
        if example.fields.get(name) is None:
            raise TokensError(
                f"{example.name} has no {name}, which `aligned_stream` needs; annotate the dataset with `alignment`, and take rows that "
                f'have it: TokenDataset(..., filter="{name} is not null").'
            )
        return example.fields[name]

    def _frame_text(self, example: Example, text: Any, masked: _Masked) -> Any:
        """Return the text id of each frame; that of padding where the prompt is another utterance."""
        with named(example.fields):
            spoken = frame_text(
                text, np.asarray(self._durations(example)), masked.seen.shape[1] - masked.before
            )
        return np.concatenate([np.full(masked.before, self.vocabulary.pad_id), spoken])


@dataclass(frozen=True, kw_only=True)
class _Masked:
    """One utterance behind its prompt."""

    seen: Codes
    """`(codebooks, frames)`, hidden codes masked."""
    labels: Codes
    """`(codebooks, frames)`, the hidden codes of the stage."""
    is_prompt: Codes
    """`(frames,)`, 1 in the prompt."""
    stage: int
    """What is learnt."""
    before: int
    """Frames of another utterance at the beginning."""


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
