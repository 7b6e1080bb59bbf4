"""Batches for the two models of VALL-E."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from speechtok.lm.collate.batch import IGNORE, Batch, FlatSequence, TextIds, flat_batch, pad
from speechtok.lm.collate.grid import text_batch
from speechtok.lm.collate.prompting import check_prompt, draw_prompt, draw_stretch, other_utterance
from speechtok.lm.examples import (
    Codes,
    Example,
    MissingText,
    check_missing_text,
    read_examples,
    text_of,
    with_text,
)
from speechtok.lm.layouts.valle import ar_sequence, nar_example
from speechtok.lm.prompts import SpeakerPrompts
from speechtok.lm.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class ValleCollator:
    """What the AR and the NAR model of VALL-E learn from the same utterances.

    The batch has the AR model's `input_ids`, `labels` and `attention_mask`, `(batch, length)`, in ids; and for the NAR
    model, in head ids, `prompt_codes` `(batch, codebooks, prompt frames)` with `prompt_mask` `(batch, prompt frames)`,
    `codes` `(batch, codebooks, frames)` after the prompt where the level and all above it are `<mask>`, `nar_labels`
    `(batch, frames)`, `nar_mask` `(batch, frames)`, `level` `(batch,)`, `loss_masks` `(batch, codebooks, frames)` and,
    with text, `text_ids` and `text_mask`.

    All streams of the vocabulary together are the levels; they must share a frame rate.
    """

    vocabulary: Vocabulary
    """Numbers everything; its first codebook is the AR model's."""
    text: bool = True
    """Whether text is the condition."""
    text_ids: TextIds | None = None
    """From text to ids; `vocabulary.text_ids` when left out. Phones are what the paper uses."""
    missing_text: MissingText = "error"
    """What is done with an utterance without text: it is named in an error, or skipped."""
    prompt_seconds: tuple[float, float] = (3.0, 3.0)
    """Shortest and longest NAR prompt: 3 s, as in the paper; at most half the utterance."""
    prompts: SpeakerPrompts | None = None
    """Where NAR prompts come from: another utterance of the speaker. None takes the beginning of the utterance itself, as is done
    where the speaker has no other."""
    level: int | None = None
    """Learn this NAR level only; None draws one for each utterance."""
    seed: int = 0
    """Draws depend on it and on the codes; change it from epoch to epoch, as with `dataclasses.replace`."""

    def __post_init__(self) -> None:
        check_missing_text(self.missing_text)
        check_prompt(self.prompt_seconds, self.prompts)
        levels = self.vocabulary.num_codebooks
        if levels < 2 or len({stream.hop_length for stream in self.vocabulary.streams}) > 1:
            raise ValueError(
                "VALL-E needs at least two codebooks of one frame rate, got "
                + ", ".join(
                    f"{s.name} {s.num_codebooks} at {s.frame_rate:g} Hz" for s in self.vocabulary.streams
                )
                + "."
            )
        if self.level is not None and not 1 <= self.level < levels:
            raise ValueError(f"`level` must be from 1 to {levels - 1}, got {self.level}.")

    def __call__(self, items: Any) -> Batch:
        """Return a batch; `items` is what `speechtok.lm.read_examples` takes."""
        import torch

        vocabulary = self.vocabulary
        examples = read_examples(items, vocabulary)
        examples = with_text(examples, self.missing_text) if self.text else examples
        texts = [self._text(example) for example in examples]
        batch = flat_batch(
            [self.ar(example, text) for example, text in zip(examples, texts, strict=True)],
            vocabulary,
            loss_masks=False,
        )
        filler = vocabulary.head_special("pad")
        prompts, codes, targets, levels = [], [], [], []
        for example in examples:
            prompt, seen, target, chosen = self.nar(example)
            prompts.append(prompt)
            codes.append(seen)
            targets.append(target)
            levels.append(chosen)
        labels, level = pad(targets, IGNORE), torch.tensor(levels)
        rows = torch.arange(vocabulary.num_codebooks)
        batch |= {
            "prompt_codes": pad(prompts, filler),
            "prompt_mask": pad([np.ones_like(prompt[0]) for prompt in prompts], 0),
            "codes": pad(codes, filler),
            "nar_labels": labels,
            "nar_mask": pad([np.ones_like(target) for target in targets], 0),
            "level": level,
            "loss_masks": (rows == level[:, None])[:, :, None] & (labels != IGNORE)[:, None],
        }
        return batch | (text_batch(texts, vocabulary) if self.text else {})

    def ar(self, example: Example, text: Codes) -> FlatSequence:
        """Return the AR model's sequence; codes and `<eos>` are its labels."""
        vocabulary = self.vocabulary
        stream = vocabulary.streams[0].name
        first = vocabulary.code_ids(example.codes[stream][:1], stream)[0]
        ids = ar_sequence(
            text, first, bos=vocabulary.bos_id, speech=vocabulary.special("speech"), eos=vocabulary.eos_id
        )
        return FlatSequence(ids, np.arange(len(ids)) >= len(text) + 2)

    def nar(self, example: Example) -> tuple[Codes, Codes, Codes, int]:
        """Return the prompt, the codes as the NAR model sees them, its labels, and the level."""
        grid = np.concatenate(list(_same_length(example)), axis=0)
        generator = example.generator(self.seed)
        level = int(generator.integers(1, grid.shape[0])) if self.level is None else self.level
        other = other_utterance(self.prompts, example, self.vocabulary, generator)
        if other is None:
            frames = draw_prompt(self.prompt_seconds, self.vocabulary, grid.shape[1], generator)
            prompt, known, target = nar_example(grid, level, frames)
        else:
            _, known, target = nar_example(grid, level, 0)
            spoken = np.concatenate(_same_length(other), axis=0)
            prompt = draw_stretch(spoken, self.prompt_seconds, self.vocabulary, generator)
        unknown = np.full((grid.shape[0] - level, target.shape[0]), self.vocabulary.head_special("mask"))
        return prompt, np.concatenate([known, unknown]), target, level

    def _text(self, example: Example) -> Codes:
        if not self.text:
            return np.zeros(0, np.int64)
        return text_of(example, self.text_ids or self.vocabulary.text_ids)


def _same_length(example: Example) -> list[Codes]:
    """Return the streams' codes cut to the shortest; streams of one rate may differ by a frame."""
    shortest = min(codes.shape[1] for codes in example.codes.values())
    return [codes[:, :shortest] for codes in example.codes.values()]
