"""Several token datasets as one stream for training, each with its share of the steps.

Which dataset a step takes is a pure function of how many steps each has had, so the shares are kept to within one step at any
time, every rank takes the same dataset at the same step, and the state is that of the streams and a count for each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow.compute as pc

from speechtok.errors import DatasetError
from speechtok.shards.order import Place
from speechtok.shards.reader import TokenDataset
from speechtok.shards.stream import Step, Stepped, TokenBatch
from speechtok.tokens import TokenizerInfo

STATE_VERSION = 1
"""Version of `TokenMixture.state_dict`."""
DATASET = "dataset"
"""Column that says which dataset a row is from."""


class TokenMixture(Stepped):
    """Rows or batches of several datasets of one tokenizer, by weight, without an end.

    Each step, a row or a batch, is of one dataset, the same one on all ranks; the column `dataset` names it. A dataset that is
    through begins its next epoch. Within an epoch of a dataset no row comes twice, and none is left out but the last batches of
    which not every rank would get one. With `max_tokens` batches are about equally large, so the shares are those of the tokens.

    It is an iterable torch dataset like `TokenStream`: `loader` puts workers in front of it.

    Args:
        datasets: by name; of one tokenizer, with the same streams.
        weights: share of each dataset, relative to each other; or by the step from which they hold, such as
            `{0: {"a": 3, "b": 1}, 10_000: {"a": 1, "b": 1}}`; 0 leaves a dataset out. None takes `temperature`.
        temperature: shares are seconds of audio to the power of 1 / temperature: 1 as they are, more makes small ones heavier.
            Conneau and Lample 2019, Cross-lingual Language Model Pretraining, section 3.1, with alpha = 1 / temperature.
        options: of `TokenDataset.stream`, such as `seed`, `max_tokens`, `window` (which each dataset holds), `rank`; all but
            `drop_last`.

    Raises:
        DatasetError: when the datasets are of different tokenizers or streams.
        ValueError: when weights are none, or name other datasets.
    """

    def __init__(
        self,
        datasets: Mapping[str, TokenDataset],
        *,
        weights: Mapping[str, float] | Mapping[int, Mapping[str, float]] | None = None,
        temperature: float | None = None,
        **options: Any,
    ) -> None:
        if not datasets:
            raise ValueError("`datasets` must name at least one dataset.")
        self.datasets = dict(datasets)
        self.info = _common_info(self.datasets)
        if weights is not None and temperature is not None:
            raise ValueError("Give `weights` or `temperature`, not both.")
        self._phases = (
            _by_temperature(self.datasets, 1.0 if temperature is None else temperature)
            if weights is None
            else _phases(self.datasets, weights)
        )
        self._streams = {name: item.stream(**options, drop_last=True) for name, item in datasets.items()}
        for name, stream in self._streams.items():
            if not stream.count() // stream.world_size:
                raise DatasetError(
                    f"The dataset '{name}' of a mixture has {stream.count()} batches or rows for {stream.world_size} ranks; each rank "
                    "must get one: take smaller batches, or leave it out."
                )
        self.counts = dict.fromkeys(datasets, 0)
        """How many steps each dataset has had, on each rank."""

    @property
    def epochs(self) -> dict[str, int]:
        """Number of the epoch that each dataset is in."""
        return {name: stream.epoch for name, stream in self._streams.items()}

    def weights(self, step: int) -> dict[str, float]:
        """Return the share of each dataset at a step; they add up to 1."""
        return next(shares for begin, shares in reversed(self._phases) if begin <= step)

    def steps(self) -> Iterator[Step]:
        """Yield the steps of this rank from where it stands on, without an end."""
        counts, step = dict(self.counts), sum(self.counts.values())
        places = {name: stream.place() for name, stream in self._streams.items()}
        walks = {name: stream.walk(places[name]) for name, stream in self._streams.items()}
        while True:
            name = self._chosen(step, counts)
            stream = self._streams[name]
            while (found := next(walks[name], None)) is None:  # this epoch is through
                places[name] = Place(epoch=places[name].epoch + 1).among(stream.world_size)
                walks[name] = stream.walk(places[name])
            step += 1
            counts[name] += 1
            yield Step(
                found.owner,
                partial(self._read, name, found),
                partial(self._note, name, found, counts[name]),
            )

    def finish(self) -> None:
        """Do nothing: a mixture has no end."""

    def state_dict(self) -> dict[str, Any]:
        """Return where the mixture stands: plain values, and good for any number of ranks, as those of `TokenStream`."""
        step = sum(self.counts.values())
        return {
            "version": STATE_VERSION,
            "weights": self._until(step),
            "counts": dict(self.counts),
            "datasets": {name: stream.state_dict() for name, stream in self._streams.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken; weights may differ from there on.

        Raises:
            DatasetError: when the state is of other datasets, of other settings, or of other weights until there.
        """
        if state.get("version") != STATE_VERSION or set(state["datasets"]) != set(self._streams):
            raise DatasetError(
                f"The state is not one of a mixture of {', '.join(self._streams)}; open the same datasets under the same names."
            )
        counts = {name: int(state["counts"][name]) for name in self._streams}
        if state["weights"] != self._until(sum(counts.values())):
            raise DatasetError(
                f"The state was taken after {sum(counts.values()):,} steps with the weights {state['weights']}, not "
                f"{self._until(sum(counts.values()))}; keep them, and let other weights hold from a later step."
            )
        for name, stream in self._streams.items():
            stream.load_state_dict(state["datasets"][name])
        self.counts = counts

    def _until(self, step: int) -> list[list[Any]]:
        """Return the weights that held before a step."""
        return [[begin, shares] for begin, shares in self._phases if begin < step]

    def _chosen(self, step: int, counts: Mapping[str, int]) -> str:
        """Return the dataset of a step: the one that is farthest behind its share."""
        due = dict.fromkeys(counts, 0.0)
        ends = [begin for begin, _ in self._phases[1:]] + [math.inf]
        for (begin, shares), end in zip(self._phases, ends, strict=True):
            if begin <= step:
                for name, share in shares.items():
                    due[name] += share * (min(step + 1, end) - begin)
        now = self.weights(step)
        return max((name for name in counts if now[name]), key=lambda name: due[name] - counts[name])

    def _read(self, name: str, step: Step) -> Any:
        item = step.read()
        if isinstance(item, TokenBatch):
            return replace(item, columns={**item.columns, DATASET: [name] * len(item)})
        return {**item, DATASET: name}

    def _note(self, name: str, step: Step, count: int) -> None:
        step.note()
        self.counts[name] = count


def _common_info(datasets: Mapping[str, TokenDataset]) -> TokenizerInfo:
    """Return the tokenizer that datasets share.

    Raises:
        DatasetError: when they do not, or a column has a name that is needed.
    """
    first, *others = datasets
    info = datasets[first].info
    for name in others:
        other = datasets[name].info
        if other != info:
            raise DatasetError(
                f"The dataset '{name}' of a mixture holds tokens of '{other.name}' ({other.fingerprint}), and '{first}' of '{info.name}' "
                f"({info.fingerprint}), or other streams; a mixture needs one tokenizer."
            )
    for name, dataset in datasets.items():
        if DATASET in dataset.columns:
            raise DatasetError(
                f"The dataset '{name}' of a mixture has a column '{DATASET}', which says where a row is from; leave it out with `columns`."
            )
    return info


def _phases(
    datasets: Mapping[str, TokenDataset], weights: Mapping[str, float] | Mapping[int, Mapping[str, float]]
) -> list[tuple[int, dict[str, float]]]:
    """Return from which step on which shares hold."""
    by_step: dict[Any, Any] = (
        dict(weights) if all(isinstance(key, int) for key in weights) else {0: dict(weights)}
    )
    if not by_step or min(by_step) != 0:
        raise ValueError(f"`weights` must begin at step 0, got {list(by_step)}.")
    return [(step, _shares(datasets, by_step[step])) for step in sorted(by_step)]


def _shares(datasets: Mapping[str, TokenDataset], weights: Mapping[str, float]) -> dict[str, float]:
    if set(weights) != set(datasets):
        raise ValueError(f"`weights` must name the datasets {', '.join(datasets)}; got {', '.join(weights)}.")
    if not all(0 <= weight < math.inf for weight in weights.values()) or not any(weights.values()):
        raise ValueError(f"`weights` must be at least 0, and one of them more; got {dict(weights)}.")
    total = sum(weights.values())
    return {name: weights[name] / total for name in datasets}


def _by_temperature(
    datasets: Mapping[str, TokenDataset], temperature: float
) -> list[tuple[int, dict[str, float]]]:
    if not 0 < temperature < math.inf:
        raise ValueError(f"`temperature` must be more than 0, got {temperature:g}.")
    seconds = {name: float(pc.sum(item.column("num_samples")).as_py()) for name, item in datasets.items()}
    return [(0, _shares(datasets, {name: value ** (1 / temperature) for name, value in seconds.items()}))]
