"""A token dataset as a stream for training: shuffled, batched, shared by ranks and workers, resumable.

The order is that of `speechtok.shards.order`. Because it is known without reading a row's codes, the state of a stream
is a few integers: going on takes as long at the end of an epoch as at its beginning, and the number of ranks
and workers may change.
"""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from speechtok.errors import DatasetError
from speechtok.shards.order import Integers, Order, OrderSettings, Place
from speechtok.shards.packing import Packing, unpacked
from speechtok.shards.rows import RowGroups, Rows, text_lengths, tokens_of
from speechtok.tokens import SpeechTokens

STATE_VERSION = 2
"""Version of `TokenStream.state_dict`."""


_NOT_FOR_LOADERS = {
    "batch_size": "give it to `TokenDataset.stream`",
    "shuffle": "give it to `TokenDataset.stream`",
    "drop_last": "give it to `TokenDataset.stream`",
    "sampler": "leave it out, since the stream decides the order",
    "batch_sampler": "leave it out, since the stream makes the batches",
    "persistent_workers": "leave it out, since each epoch begins with new workers, which know where the stream stands",
}
"""Options of torch's loaders that a stream takes over, and what to do instead."""


class Turn(Enum):
    """What a worker yields where another one has an item; torch asks its workers one after the other."""

    PASSED = "passed"


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenBatch:
    """Some rows, padded to the longest."""

    tokens: SpeechTokens
    """The codes, with lengths and vectors."""
    columns: dict[str, list[Any]]
    """All other columns: one value per row."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.tokens)

    def __getitem__(self, name: str) -> Any:
        """Return a stream's codes `(batch, codebooks, frames)`, or a column's values, by name."""
        return self.columns[name] if name in self.columns else self.tokens[name]

    def to(self, device: torch.device | str) -> TokenBatch:
        """Return the batch with its tokens on `device`."""
        return replace(self, tokens=self.tokens.to(device))


class Step(NamedTuple):
    """One item that a rank takes."""

    owner: int
    """The worker that reads it."""
    read: Callable[[], Any]
    """Gives it."""
    note: Callable[[], None]
    """Lets the stream stand behind it."""


class Stepped(IterableDataset[Any]):
    """An iterable dataset whose steps are known before anything is read, so workers share them and any process can follow."""

    @abstractmethod
    def steps(self) -> Iterator[Step]:
        """Yield the steps of this rank, from where it stands on."""

    @abstractmethod
    def finish(self) -> None:
        """Stand at the end of what `steps` gave."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return where it stands."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""

    def __iter__(self) -> Iterator[Any]:
        for step in self.turns():
            if not isinstance(step, Turn):
                item = step.read()
                step.note()
                yield item
        self.finish()

    def loader(self, **options: Any) -> TokenLoader:
        """Return a loader that reads in worker processes while this stream keeps the state.

        Args:
            options: options of `torch.utils.data.DataLoader`, such as `num_workers`, `collate_fn` (given each row
                or batch) and `multiprocessing_context`.
        """
        return TokenLoader(self, **options)

    def turns(self) -> Iterator[Step | Turn]:
        """Yield this worker's steps, and `Turn.PASSED` as often as their order needs when workers are asked in turn."""
        worker, workers = worker_of()
        turn = 0
        for step in self.steps():
            passed = (step.owner - turn) % workers
            if (worker - turn) % workers < passed:
                yield Turn.PASSED
            turn += passed + 1
            if step.owner == worker:
                yield step


class TokenStream(Stepped):
    """The rows of a dataset in a random order; made by `TokenDataset.stream`.

    Iterating yields this process's share of the rest of the epoch, single rows as `TokenDataset` gives them or
    `TokenBatch`es, and then stands at the beginning of the next epoch. An iteration that was broken off goes
    on with the next example.

    It is an iterable torch dataset: `loader` puts workers in front of it, and `torch.utils.data.DataLoader` with
    `batch_size=None` or torchdata's `StatefulDataLoader` do as well. Every worker reads its own share.
    """

    def __init__(
        self,
        dataset: RowGroups,
        settings: OrderSettings,
        *,
        drop_last: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self.dataset, self.settings, self.drop_last = dataset, settings, drop_last
        self.rank, self.world_size = _ranks(rank, world_size)
        self.info = replace(
            dataset.info,
            streams=tuple(item for item in dataset.info.streams if item.name in dataset.columns),
        )
        if settings.count_text is not None and settings.max_tokens is None:
            raise ValueError("`count_text` says what `max_tokens` counts; give both.")
        if settings.makes_batches and not self.info.streams:
            raise ValueError("`batch_size` and `max_tokens` need a stream among the columns, got none.")
        lengths = np.zeros(0, dtype=np.int64) if settings.max_tokens is None else self._lengths()
        self._order = Order(settings, dataset.group_rows, lengths)
        self._starts = np.concatenate([[0], np.cumsum(dataset.group_rows)])
        self._place, self._ended = Place(), False

    def check_longest(self, max_row_tokens: int) -> None:
        """Raise `DatasetError` when a row has more frames than that, those of its text included where `count_text` asks for it.

        Args:
            max_row_tokens: most frames of a row.

        Raises:
            DatasetError: with the number of such rows, the longest one, and the filter that leaves them out.
            ValueError: when `max_row_tokens` is less than 1.
        """
        if max_row_tokens < 1:
            raise ValueError(f"`max_row_tokens` must be at least 1, got {max_row_tokens}.")
        lengths = self._order.lengths if len(self._order.lengths) else self._lengths()
        too_long = int((lengths > max_row_tokens).sum())
        if not too_long:
            return
        longest = int(lengths.argmax())
        text = self.settings.count_text
        condition = f"ceil(num_samples / {self._hop_length})" + (
            f" + coalesce(len({text}), 0)" if text else ""
        )
        raise DatasetError(
            f"{too_long} of {len(lengths)} rows of {self.dataset.path} have more than {max_row_tokens} frames{f' and symbols of {text}' if text else ''}; "
            f"the longest is '{self.dataset.column('id')[longest]}' with {lengths[longest]}. Leave them out: "
            f'TokenDataset(..., filter="{condition} <= {max_row_tokens}").'
        )

    @property
    def epoch(self) -> int:
        """Number of the epoch that an iteration begins in or goes on with."""
        return self._place.epoch + self._ended

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch; within that epoch already, stay there."""
        if epoch != self.epoch:
            self._place, self._ended = Place(epoch=epoch), False

    def count(self, epoch: int | None = None) -> int:
        """Return how many rows or batches an epoch has that begins with these ranks, for all of them together."""
        return sum(
            span.stop for span in self._order.spans(self.epoch if epoch is None else epoch, self.world_size)
        )

    def padding(self, epoch: int | None = None) -> float:
        """Return the share of padding among the frames of an epoch's batches.

        Frames are those that `max_tokens` counts.
        """
        lengths = self._order.lengths if len(self._order.lengths) else self._lengths()
        valid = padded = 0
        epoch = self.epoch if epoch is None else epoch
        for groups in self._order.bundles(epoch, self.world_size):
            units = self._order.units(epoch, groups)
            valid += sum(int(lengths[rows].sum()) for rows in units)
            padded += sum(int(lengths[rows].max()) * len(rows) for rows in units)
        return 1 - valid / padded if padded else 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream stands: a few plain values, and two integers for each change of ranks within the epoch.

        Every rank's state is good for all ranks, as long as each has taken equally many rows or batches. Only in a
        worker process of a loader the state belongs to that worker, and needs the same ranks and workers again.
        """
        worker, workers = worker_of()
        reader = [self.rank, self.world_size, worker, workers] if workers > 1 else None
        return {
            **self._identity(),
            "epoch": self._place.epoch,
            "deals": [list(deal) for deal in self._place.deals],
            "ended": self._ended,
            "reader": reader,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken, with this stream's number of ranks and workers.

        Raises:
            DatasetError: when the state is of another dataset or of other settings.
        """
        for name, value in self._identity().items():
            if name not in state or state[name] != value:
                found = state.get(name, "nothing")
                raise DatasetError(
                    f"The state was taken with {name} {found}, but this stream over {self.dataset.path} has {value}; "
                    "open the same dataset with the same arguments."
                )
        worker, workers = worker_of()
        reader = [self.rank, self.world_size, worker, workers]
        if state["reader"] not in (None, reader):
            raise DatasetError(
                "The state belongs to rank {} of {}, worker {} of {}, but this is rank {} of {}, worker {} of {}; "
                "use the state of `TokenStream.loader` to change their number.".format(
                    *state["reader"], *reader
                )
            )
        deals = tuple((int(ranks), int(steps)) for ranks, steps in state["deals"])
        self._place = Place(epoch=int(state["epoch"]), deals=deals)
        self._ended = bool(state["ended"])

    def _enter(self) -> None:
        """Begin the next epoch where this one is through, and deal what is to come among the ranks there are."""
        if self._ended:
            self._place, self._ended = Place(epoch=self._place.epoch + 1), False
        self._place = self._place.among(self.world_size)

    def steps(self) -> Iterator[Step]:
        """Yield the steps of this rank in the rest of the epoch."""
        return self.walk(self.place())

    def place(self) -> Place:
        """Return where the ranks stand: at the beginning of the next epoch where this one is through."""
        self._enter()
        return self._place

    def walk(self, place: Place) -> Iterator[Step]:
        """Yield the steps of this rank from a place to the end of its epoch."""
        order, workers = self._order, worker_of()[1]
        bundles = order.bundles(place.epoch, place.deals[0][0])
        opened: dict[int, tuple[int, list[Integers], dict[int, Rows]]] = {}

        def read(lane: int, number: int, unit: int) -> Any:
            if lane not in opened or opened[lane][0] != number:
                opened[lane] = number, order.units(place.epoch, bundles[number]), {}
            _, units, groups = opened[lane]
            return self._item(units[unit], groups)

        def note(steps: int) -> None:
            self._place, self._ended = place.after(steps), False

        taken = order.turns(place, self.rank, drop_last=self.drop_last)
        for step, (lane, number, unit) in enumerate(taken, start=place.steps):
            owner = (lane if workers <= order.lanes else step) % workers
            yield Step(owner, partial(read, lane, number, unit), partial(note, step + 1))

    def finish(self) -> None:
        """Stand at the end of the epoch: at the beginning of the next, but for a worker, since others may not be through yet."""
        self._ended = True
        if worker_of()[1] == 1:
            self._enter()

    def _item(self, rows: Integers, cached: dict[int, Rows]) -> Any:
        """Return one row or batch; row groups that were read stay in `cached`."""
        places: list[tuple[Rows, int]] = []
        for row, group in zip(rows, np.searchsorted(self._starts, rows, side="right") - 1, strict=True):
            if group not in cached:
                cached[int(group)] = self.dataset.read_group(int(group), self._columns())
            places.append((cached[int(group)], int(row - self._starts[group])))
        if not self.settings.makes_batches:
            (found, position), *_ = places
            return found[position]
        plain = [name for name in self.dataset.columns if name not in places[0][0].codes]
        return TokenBatch(
            tokens=tokens_of(places, self.info),
            columns={name: [found.values[name][position] for found, position in places] for name in plain},
        )

    def _columns(self) -> list[str]:
        """Return the columns to read; tokens need their number of samples."""
        needed = ["num_samples"] if self.settings.makes_batches else []
        return [*self.dataset.columns, *(name for name in needed if name not in self.dataset.columns)]

    @property
    def _hop_length(self) -> int:
        """Samples of a frame at the streams' highest frame rate."""
        return min(stream.hop_length for stream in self.info.streams or self.dataset.info.streams)

    def _lengths(self) -> Integers:
        """Return the frames of each row at the streams' highest frame rate, by the number of samples, and of its text."""
        samples: Integers = self.dataset.column("num_samples").to_numpy()
        frames: Integers = -(-samples // self._hop_length)
        if self.settings.count_text is None:
            return frames
        return frames + text_lengths(self.dataset.column(self.settings.count_text), self.settings.count_text)

    def _identity(self) -> dict[str, Any]:
        """Return what a state must agree with."""
        content = hashlib.sha256(self.dataset.info.fingerprint.encode())
        content.update(self.dataset.group_rows.tobytes() + (self.dataset.filter or "").encode())
        return {
            "version": STATE_VERSION,
            "dataset": content.hexdigest()[:16],
            **{
                name: value
                for name, value in asdict(self.settings).items()
                if (name, value) != ("count_text", None)
            },
            "drop_last": self.drop_last,
        }


class TokenLoader:
    """A stream read by worker processes; made by its method `loader`.

    What the workers have read ahead does not count: the stream's state says what has been handed out.
    """

    def __init__(self, stream: Stepped, **options: Any) -> None:
        for name, advice in _NOT_FOR_LOADERS.items():
            if options.get(name):
                raise ValueError(f"`{name}` does not go with a loader of tokens; {advice}.")
        self.stream = stream
        collate = options.get("collate_fn") or _as_it_is
        if not options.get("pin_memory"):  # which has to find tensors
            collate = Packing(collate)
        options |= {"collate_fn": _as_it_is, "batch_size": None}
        self._loader = DataLoader(_Collated(stream, collate), **options)

    def __iter__(self) -> Iterator[Any]:
        steps = self.stream.steps()
        for item in (unpacked(item) for item in self._loader if item is not Turn.PASSED):
            next(steps).note()
            yield item
        self.stream.finish()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the stream."""
        return self.stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.stream.load_state_dict(state)


class _Collated(IterableDataset[Any]):
    """What a worker makes of its items, with its passed turns."""

    def __init__(self, stream: Stepped, collate: Callable[[Any], Any]) -> None:
        self._stream, self._collate = stream, collate

    def __iter__(self) -> Iterator[Any]:
        for step in self._stream.turns():
            yield step if isinstance(step, Turn) else self._collate(step.read())


def _as_it_is(item: Any) -> Any:
    """Keep rows as arrays; tensors would each travel through a shared file of their own."""
    return item


def worker_of() -> tuple[int, int]:
    """Return this worker's number and how many there are: one where no loader's worker runs."""
    found = get_worker_info()
    return (0, 1) if found is None else (found.id, found.num_workers)


def _ranks(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return rank and world size: as given, of the process group, of the environment, or 0 of 1."""
    if (rank is None) != (world_size is None):
        raise ValueError("`rank` and `world_size` go together: give both or neither.")
    if rank is None or world_size is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        else:
            rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if not 0 <= rank < world_size:
        raise ValueError(f"`rank` must lie in [0, {world_size}), got {rank}.")
    return rank, world_size
