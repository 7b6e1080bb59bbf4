"""What VALL-E learns from one utterance.

Two models share the work. An autoregressive (AR) one writes the first codebook after the text:
`<bos> text <speech> codes <eos>`. A non-autoregressive (NAR) one writes each further codebook, its *level*,
at once, from the text, all codebooks of a prompt of the same voice, and the levels below.

Source: Wang et al. 2023, VALL-E, arXiv:2301.02111, section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from speechtok.errors import TokensError
from speechtok.lm.arrays import ArrayT, concatenated, filled


def ar_sequence(text: ArrayT, first: ArrayT, *, bos: int, speech: int, eos: int) -> ArrayT:
    """Return `<bos> text <speech> first <eos>`.

    Args:
        text: `(length,)` ids of phones or characters; may be empty.
        first: `(frames,)` ids of the first codebook, the prompt's frames included.
        bos: id of `<bos>`.
        speech: id of `<speech>`.
        eos: id of `<eos>`.
    """
    return concatenated(
        [filled(first, (1,), bos), text, filled(first, (1,), speech), first, filled(first, (1,), eos)]
    )


def split_ar_sequence(sequence: ArrayT, *, speech: int, eos: int) -> tuple[ArrayT, ArrayT]:
    """Return text and first codebook of an `ar_sequence`, also of a generated one without `<eos>`.

    Raises:
        TokensError: when there is no `<speech>`.
    """
    ids = sequence.tolist()
    if speech not in ids:
        raise TokensError(f"An AR sequence must hold the mark {speech} where speech starts; it does not.")
    border = ids.index(speech)
    end = ids.index(eos, border) if eos in ids[border:] else len(ids)
    return sequence[1:border], sequence[border + 1 : end]


def nar_example(codes: ArrayT, level: int, prompt_frames: int) -> tuple[ArrayT, ArrayT, ArrayT]:
    """Return prompt, known codes and target of one NAR level.

    Args:
        codes: `(codebooks, frames)`.
        level: from 1 to `codebooks - 1`.
        prompt_frames: frames at the beginning that serve as the prompt, from 0 to all.

    Returns:
        `(codebooks, prompt frames)` all levels of the prompt; `(level, frames)` the levels below, after
        the prompt; `(frames,)` the codes of the level.
    """
    if not 1 <= level < codes.shape[0]:
        raise ValueError(
            f"`level` must be from 1 to {codes.shape[0] - 1} for {codes.shape[0]} codebooks, got {level}."
        )
    if not 0 <= prompt_frames <= codes.shape[1]:
        raise ValueError(f"`prompt_frames` must be from 0 to {codes.shape[1]}, got {prompt_frames}.")
    return codes[:, :prompt_frames], codes[:level, prompt_frames:], codes[level, prompt_frames:]


def join_levels(prompt: ArrayT, first: ArrayT, targets: Sequence[ArrayT]) -> ArrayT:
    """Return `(codebooks, frames)` codes from a prompt, the first codebook and the levels above, in order.

    Args:
        prompt: `(codebooks, prompt frames)`.
        first: `(frames,)`, the AR model's codes after the prompt.
        targets: `(frames,)` of each level, from 1 on.
    """
    if prompt.shape[0] != 1 + len(targets):
        raise ValueError(
            f"`targets` must hold the {prompt.shape[0] - 1} levels above the first of a prompt of {prompt.shape[0]} "
            f"codebooks, got {len(targets)}."
        )
    frames = first[None]
    for target in targets:
        frames = concatenated([frames, target[None]], axis=0)
    return concatenated([prompt, frames])
