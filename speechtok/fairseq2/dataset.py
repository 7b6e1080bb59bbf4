"""Token datasets as fairseq2 reads them: a dataset family, and a reader of `SequenceBatch`es.

The order of rows, bucketing and resuming are those of `speechtok.shards.stream`, so a reader goes on with the
exact next batch, also with another number of data-parallel ranks or workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from fairseq2.datasets import DataReader, DataReadError, DatasetError, DatasetHubAccessor, SequenceBatch
from fairseq2.gang import Gangs

from speechtok.errors import SpeechtokError
from speechtok.lm.collate.batch import IGNORE
from speechtok.lm.collate.flat import FlatCollator
from speechtok.lm.vocabulary import Vocabulary
from speechtok.shards.reader import TokenDataset
from speechtok.shards.stream import TokenBatch, TokenStream

FAMILY = "speechtok"
"""Name of the dataset family."""


@dataclass(kw_only=True)
class SpeechTokenDatasetConfig:
    """What a dataset card says under `dataset_config`."""

    path: str = ""
    """The token dataset: a folder, the URI of an object store, or user/name on the Hub."""
    revision: str | None = None
    """Branch, tag or commit of a dataset on the Hub; None takes the main branch."""
    split: str | None = None
    """Only this split; None reads all."""
    streams: list[str] = field(default_factory=list)
    """Only these streams; empty for all."""


class SpeechTokenDataset:
    """A token dataset and its vocabulary.

    Args:
        config: where it is and what of it is read.
    """

    def __init__(self, config: SpeechTokenDatasetConfig) -> None:
        self.config = config
        self.rows = TokenDataset(
            config.path, split=config.split, streams=config.streams or None, revision=config.revision
        )
        self.vocabulary = Vocabulary.of(self.rows.info, streams=config.streams or None)

    def create_reader(
        self,
        gangs: Gangs,
        *,
        max_tokens: int | None = None,
        batch_size: int | None = None,
        layout: Literal["codes", "ids"] = "codes",
        collator: FlatCollator | None = None,
        seed: int = 0,
        shuffle: bool = True,
        window: int = 8192,
        lanes: int = 8,
        num_accumulate: int = 1,
        num_workers: int = 0,
    ) -> TokenDataReader:
        """Return a reader of this rank's share.

        All data-parallel ranks get equally many batches; the few rows that are left over wait for another epoch.

        Args:
            gangs: whose data-parallel gang shares the rows.
            max_tokens: most frames of a batch, padding included; rows of like length meet.
            batch_size: most rows of a batch.
            layout: "codes" gives `seqs` `(batch, frames, codebooks)` with raw codes; "ids" gives `(batch, length)` ids of
                a flat layout with a `target_mask`.
            collator: makes the ids; `FlatCollator(vocabulary=dataset.vocabulary)` when left out.
            seed: decides the order.
            shuffle: mix rows and batches.
            window: about how many rows a rank mixes with each other.
            lanes: bundles of row groups that a rank weaves its window from; a multiple of `num_workers`.
            num_accumulate: batches that each step of the reader returns.
            num_workers: processes that read ahead; 0 reads in this one.

        Raises:
            ValueError: when a number is out of range, or neither `max_tokens` nor `batch_size` is given.
        """
        if max_tokens is None and batch_size is None:
            raise ValueError("A reader needs `max_tokens` or `batch_size`, got neither.")
        if num_accumulate < 1:
            raise ValueError(f"`num_accumulate` must be at least 1, got {num_accumulate}.")
        if layout not in ("codes", "ids"):
            raise ValueError(f"`layout` must be codes or ids, got {layout!r}.")
        if layout == "codes" and len({stream.hop_length for stream in self.vocabulary.streams}) > 1:
            raise ValueError(
                "The layout codes needs streams of one frame rate; choose `streams` in the dataset's config, or take ids."
            )
        stream = self.rows.stream(
            seed=seed,
            shuffle=shuffle,
            window=window,
            lanes=lanes,
            batch_size=batch_size,
            max_tokens=max_tokens,
            drop_last=True,
            rank=gangs.dp.rank,
            world_size=gangs.dp.size,
        )
        convert: Any = _codes
        if layout == "ids":
            convert = _Ids(collator or FlatCollator(vocabulary=self.vocabulary, loss_masks=False))
        return TokenDataReader(stream, convert, num_accumulate=num_accumulate, num_workers=num_workers)


class TokenDataReader(DataReader[SequenceBatch]):
    """Reads `SequenceBatch`es; `example` of each is the `TokenBatch` it was made of, with ids and texts.

    One pass is one epoch; after `reset` the next begins, in another order. The state belongs to what was handed
    out and is the same for all ranks.

    Args:
        stream: where batches come from.
        convert: makes a `SequenceBatch` of a `TokenBatch`.
        num_accumulate: batches of each step.
        num_workers: processes that read ahead.
    """

    def __init__(self, stream: TokenStream, convert: Any, *, num_accumulate: int, num_workers: int) -> None:
        self._stream, self._convert, self._num_accumulate = stream, convert, num_accumulate
        self._loader = stream.loader(num_workers=num_workers)
        self._batches: Iterator[TokenBatch] | None = None
        self._ended = False

    def __iter__(self) -> TokenDataReader:
        return self

    def __next__(self) -> list[SequenceBatch]:
        """Return the next batches, `num_accumulate` or those that are left.

        Raises:
            DataReadError: when the dataset is damaged.
        """
        if self._ended:
            raise StopIteration
        if self._batches is None:
            self._batches = iter(self._loader)
        taken: list[SequenceBatch] = []
        try:
            while len(taken) < self._num_accumulate:
                batch = next(self._batches, None)
                if batch is None:
                    break
                taken.append(self._convert(batch))
        except SpeechtokError as error:
            raise DataReadError(str(error)) from error
        if not taken:
            self._ended = True
            raise StopIteration
        return taken

    def reset(self) -> None:
        """Go to the beginning of an epoch: of the next after a whole one, else of this one."""
        epoch = self._stream.epoch
        self._stream.set_epoch(epoch + 1)
        self._stream.set_epoch(epoch)
        self._batches, self._ended = None, False

    def state_dict(self) -> dict[str, object]:
        """Return where the reader is: a few integers."""
        return dict(self._stream.state_dict())

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Go to where a reader was; the number of ranks and workers may differ.

        Raises:
            DatasetError: of speechtok, when the state is of other data or settings.
        """
        self._batches, self._ended = None, False
        self._stream.load_state_dict(dict(state_dict))

    @property
    def num_accumulate(self) -> int:
        """Batches of each step."""
        return self._num_accumulate


get_speech_token_dataset_hub = DatasetHubAccessor(FAMILY, SpeechTokenDataset, SpeechTokenDatasetConfig)
"""Call it for the hub: `get_speech_token_dataset_hub().open_dataset("my_dataset")`."""


def open_speech_token_dataset(config: SpeechTokenDatasetConfig) -> SpeechTokenDataset:
    """Open a dataset for fairseq2, which turns its `DatasetError` into one about the card."""
    if not config.path:
        raise DatasetError("The card of a speechtok dataset needs `path` under `dataset_config`.")
    try:
        return SpeechTokenDataset(config)
    except SpeechtokError as error:
        raise DatasetError(str(error)) from error


def _codes(batch: TokenBatch) -> SequenceBatch:
    """Return raw codes `(batch, frames, codebooks)`."""
    lengths = next(iter(batch.tokens.num_frames.values()))
    for other in batch.tokens.num_frames.values():
        lengths = lengths.minimum(other)
    codes = [item[:, :, : int(lengths.max())] for item in batch.tokens.streams.values()]
    return SequenceBatch(
        torch.cat(codes, dim=1).transpose(1, 2).contiguous(), lengths.tolist(), example=batch
    )


@dataclass(frozen=True)
class _Ids:
    """Makes flat ids; what is no label is left out of the target."""

    collator: FlatCollator

    def __call__(self, batch: TokenBatch) -> SequenceBatch:
        made = self.collator(batch)
        lengths = made["attention_mask"].sum(dim=1).tolist()
        return SequenceBatch(made["input_ids"], lengths, target_mask=made["labels"] != IGNORE, example=batch)
