"""Sequences to padded tensors, and what every collator shares.

Conventions of all batches: `input_ids` are padded on the right (or left) and `attention_mask` is 1 where they are
real. `labels` stand where their inputs do and are `IGNORE` where nothing is learned; an autoregressive
model predicts `labels[..., 1:]` from the outputs `[..., :-1]`, as the models of transformers do by themselves.
`loss_masks` tells for each codebook (row of the aligned grid) where its labels are, so that losses can be
weighted and reported one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from speechtok.lm.examples import Example, named
from speechtok.lm.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

IGNORE = -100
"""Label of what is not learned: the value losses skip by default."""

Batch = dict[str, "Tensor"]
"""Name → tensor, ready for `model(**batch)`."""

TextIds = Callable[[Any], Sequence[int]]
"""From what a row has as text to ids, such as `lambda text: tokenizer(text)["input_ids"]`."""


@dataclass(frozen=True)
class FlatSequence:
    """One sequence before padding."""

    ids: np.ndarray[Any, np.dtype[np.int64]]
    """`(length,)`."""
    learned: np.ndarray[Any, np.dtype[np.bool_]]
    """`(length,)`, whether the id is a label."""


def pad(arrays: Sequence[Any], value: int, side: Literal["right", "left"] = "right") -> Tensor:
    """Return arrays `(…, length)` as one tensor `(batch, …, longest)`."""
    import torch

    longest = max(array.shape[-1] for array in arrays)
    rest = [[(0, 0)] * (array.ndim - 1) for array in arrays]
    padded = [
        np.pad(
            array,
            [*none, (0, longest - array.shape[-1]) if side == "right" else (longest - array.shape[-1], 0)],
            constant_values=value,
        )
        for array, none in zip(arrays, rest, strict=True)
    ]
    return torch.from_numpy(np.stack(padded))


def flat_batch(
    sequences: Sequence[FlatSequence],
    vocabulary: Vocabulary,
    *,
    padding_side: Literal["right", "left"] = "right",
    loss_masks: bool = True,
) -> Batch:
    """Return flat sequences as a batch.

    Returns:
        `input_ids`, `labels` and `attention_mask`, `(batch, length)`, and with `loss_masks` `(batch, codebooks,
        length)`, bool, one row for each of `vocabulary`'s codebooks.
    """
    ids = [sequence.ids for sequence in sequences]
    labels = [np.where(sequence.learned, sequence.ids, IGNORE) for sequence in sequences]
    batch = {
        "input_ids": pad(ids, vocabulary.pad_id, padding_side),
        "labels": pad(labels, IGNORE, padding_side),
        "attention_mask": pad([np.ones_like(item) for item in ids], 0, padding_side),
    }
    if loss_masks:
        batch["loss_masks"] = codebook_masks(batch["labels"], vocabulary)
    return batch


def codebook_masks(labels: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Return where flat labels `(batch, length)` belong to each codebook, `(batch, codebooks, length)`, bool."""
    import torch

    blocks = [
        vocabulary.range_of(stream.name, codebook)
        for stream in vocabulary.streams
        for codebook in range(stream.num_codebooks)
    ]
    return torch.stack([(labels >= block.start) & (labels < block.stop) for block in blocks], dim=1)


def prefix(vocabulary: Vocabulary, example: Example, *, speaker: bool) -> list[int]:
    """Return `<bos>`, and the speaker where it is asked for."""
    if not speaker:
        return [vocabulary.bos_id]
    with named(example.fields):
        return [vocabulary.bos_id, vocabulary.speaker_id(str(example.speaker))]


def codebook_losses(logits: Tensor, labels: Tensor, loss_masks: Tensor, *, shift: bool = True) -> Tensor:
    """Return the mean cross entropy of each codebook, in nats; NaN for codebooks without labels.

    Args:
        logits: `(batch, length, classes)` of a flat layout, or `(batch, codebooks, steps, classes)`.
        labels: `(batch, length)` or `(batch, codebooks, steps)`, as in the batch.
        loss_masks: `(batch, codebooks, length)`, as in the batch.
        shift: whether outputs predict the next position; False for masked and NAR models.

    Returns:
        `(codebooks,)`.
    """
    import torch

    if shift:
        logits, labels, loss_masks = logits[..., :-1, :], labels[..., 1:], loss_masks[..., 1:]
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORE, reduction="none"
    ).view(labels.shape)
    losses = losses if losses.ndim == 3 else losses[:, None]
    total = torch.where(loss_masks, losses, 0).sum(dim=(0, 2))
    return total / loss_masks.sum(dim=(0, 2))
