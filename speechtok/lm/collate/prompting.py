"""Prompts in batches: how long they are, and where they come from.

Contents: `check_prompt`, `draw_prompt`, `draw_stretch`, `other_utterance`.
"""

from __future__ import annotations

import math

import numpy as np

from speechtok.errors import TokensError
from speechtok.lm.examples import Codes, Example, read_examples
from speechtok.lm.layouts.align import frame_rate
from speechtok.lm.prompts import SpeakerPrompts
from speechtok.lm.vocabulary import Vocabulary


def check_prompt(prompt_seconds: tuple[float, float], prompts: SpeakerPrompts | None = None) -> None:
    """Raise `ValueError` unless the numbers are a range, and more than nothing where prompts are looked for."""
    if not 0 <= prompt_seconds[0] <= prompt_seconds[1] < math.inf:
        raise ValueError(
            f"`prompt_seconds` must be (shortest, longest) with 0 <= shortest <= longest, got {prompt_seconds}."
        )
    if prompts is not None and prompt_seconds[1] == 0:
        raise ValueError("`prompts` needs `prompt_seconds` above 0, such as (3.0, 3.0).")


def draw_prompt(
    prompt_seconds: tuple[float, float], vocabulary: Vocabulary, frames: int, generator: np.random.Generator
) -> int:
    """Return how many (super)frames the prompt has: in the range, but at most half of the utterance."""
    rate = frame_rate(vocabulary.streams)
    fewest, most = (round(seconds * rate) for seconds in prompt_seconds)
    return min(int(generator.integers(fewest, most + 1)), frames // 2)


def draw_stretch(
    grid: Codes, prompt_seconds: tuple[float, float], vocabulary: Vocabulary, generator: np.random.Generator
) -> Codes:
    """Return a random stretch of a grid `(rows, frames)` that is as long as the range says; all of a shorter one."""
    length = min(draw_prompt(prompt_seconds, vocabulary, 2**62, generator), grid.shape[1])
    start = int(generator.integers(grid.shape[1] - length + 1))
    return grid[:, start : start + length]


def other_utterance(
    prompts: SpeakerPrompts | None, example: Example, vocabulary: Vocabulary, generator: np.random.Generator
) -> Example | None:
    """Return another utterance of the speaker; None without `prompts`, or where there is none.

    Raises:
        TokensError: when the example has no id, or is not in the dataset of the prompts.
    """
    if prompts is None:
        return None
    utterance = example.fields.get("id")
    if utterance is None:
        raise TokensError("`prompts` needs the column `id`; have the dataset read it.")
    row = prompts.draw(str(utterance), generator)
    return None if row is None else read_examples([row], vocabulary)[0]
