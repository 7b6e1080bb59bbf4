"""What a trainer tells the loop: networks, optimizers, what a step computes, and what there is to learn from.

A *step* is a sequence of *turns*, each of which moves the parameters of one optimizer: for an adversarial trainer
first the discriminator's, then the generator's. Everything random inside a step follows from the seed and the step's
number, so that a run may stop anywhere and go on as if it had not.

Contents: `Turn`, `Validation`, `Examples`, `Task`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from speechtok.report.training import Sound
from speechtok.shards.statistics import StreamStatistics

Array = np.ndarray[Any, np.dtype[Any]]
Batch = dict[str, Any]
"""Name → tensor with the examples along its first axis. A turn may leave what the next one needs in it."""
Networks = Mapping[str, nn.Module]
"""The task's networks as the loop prepared them: moved, in reduced precision, or shared by processes."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One part of a step."""

    optimizer: str
    """Name of the optimizer whose parameters move. Its groups of parameters may have a `name`, which the curves show."""
    loss: Callable[[Batch, Networks], tuple[Tensor, Mapping[str, Tensor]]]
    """A part of the batch to its mean loss, and what the curves show."""
    first_step: int = 0
    """Steps that go by before its turn comes."""
    max_gradient_norm: float | None = None
    """Gradients of a group of parameters longer than this are scaled down to it; None leaves that to the settings."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What a look at speech that is not trained on gave."""

    metrics: Mapping[str, float]
    """Name → value, for the curves."""
    sounds: Sequence[Sound] = ()
    """The same few examples each time, original and what the networks make of them."""
    usage: Sequence[StreamStatistics] = ()
    """How often each code occurred, by stream."""


class Examples(Protocol):
    """Utterances that training examples are drawn from."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return the id of an utterance."""
        ...

    def draw(self, index: int, random: np.random.Generator) -> dict[str, Array]:
        """Return one training example of an utterance; all examples have the same shapes.

        Raises:
            AudioError: when the utterance cannot be used.
        """
        ...


class Task(Protocol):
    """A trainer, as the loop sees it."""

    networks: dict[str, nn.Module]
    """What is trained, by name; saved with all buffers, moving averages included."""
    optimizers: dict[str, Optimizer]
    """By name."""
    schedules: dict[str, LRScheduler]
    """Of the learning rates, by name; each moves on where its optimizer's turn has come."""
    schedule_steps: int
    """Steps after which the schedules move on."""
    turns: Sequence[Turn]
    """What a step does, in order."""
    examples: Examples
    """What is learnt from."""
    identity: Mapping[str, Any]
    """Plain values that decide what is learnt: a run that goes on must have the same."""

    def validate(self) -> Validation:
        """Look at speech that is not trained on; called in evaluation mode, without gradients, in one process."""
        ...

    def export(self) -> None:
        """Write the model where `load_tokenizer` finds it, each file whole or not at all."""
        ...
