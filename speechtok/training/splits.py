"""What is trained on, and what is looked at for validation.

Contents: `held_out`, `dataset_splits`, `dataset_tokenizer`, `check_kind`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from speechtok.errors import CardError, TokensError
from speechtok.loading import load_for_dataset
from speechtok.shards.reader import TokenDataset
from speechtok.storage import AnyPath, as_path
from speechtok.tokenizers.base import SpeechTokenizer

T = TypeVar("T")
Kind = TypeVar("Kind", bound=SpeechTokenizer)

DEV = "dev"
"""Split for validation, where speech has it and no other is named."""


def held_out(items: Sequence[T], share: float, seed: int) -> tuple[list[T], list[T]]:
    """Return items to train on, and a share of at least one to look at, both in their order."""
    chosen = set(np.random.default_rng(seed).permutation(len(items))[: max(1, round(share * len(items)))])
    parts: tuple[list[T], list[T]] = ([], [])
    for index, item in enumerate(items):
        parts[index in chosen].append(item)
    return parts


def dataset_splits(
    path: str | AnyPath, train_split: str, dev_split: str | None
) -> tuple[TokenDataset, TokenDataset | None]:
    """Return two splits of a token dataset: to train on, and for validation where there is one.

    Args:
        path: a token dataset.
        train_split: name of the first.
        dev_split: name of the second; None takes `dev` where the dataset has it.

    Raises:
        DatasetError: when there is no such dataset or split, or it is damaged.
    """
    if dev_split is None and DEV in TokenDataset(path).file_splits:
        dev_split = DEV
    dev = None if dev_split is None else TokenDataset(path, split=dev_split)
    return TokenDataset(path, split=train_split), dev


def dataset_tokenizer(
    path: str | AnyPath,
    name: str | Path | None,
    kind: type[Kind],
    refusal: str,
    *,
    checkpoint: str | AnyPath | None = None,
) -> Kind:
    """Return the tokenizer that made a token dataset.

    Args:
        path: the dataset.
        name: for `load_tokenizer`; None takes the name in the dataset.
        kind: class it must have.
        refusal: what is said of one of another class, after its name.
        checkpoint: as `name`.

    Raises:
        CardError, CheckpointError, HubError: when it cannot be loaded, or is of another class.
        DatasetError: when there is no such dataset.
        TokensError: when another one made the dataset.
    """
    info = TokenDataset(path).info
    loaded = check_kind(
        load_for_dataset(as_path(path), info.name, tokenizer=name, checkpoint=checkpoint), kind, refusal
    )
    if info.fingerprint != loaded.fingerprint:
        raise TokensError(
            f"{path} was made by the tokenizer '{info.name}' with fingerprint {info.fingerprint}, but "
            f"'{loaded.name}' has {loaded.fingerprint}; name the one that made it."
        )
    return loaded


def check_kind(tokenizer: SpeechTokenizer, kind: type[Kind], refusal: str) -> Kind:
    """Return a tokenizer that must be of a class; see `dataset_tokenizer`.

    Raises:
        CardError: when it is of another.
    """
    if not isinstance(tokenizer, kind):
        raise CardError(f"'{tokenizer.name}' {refusal}")
    return tokenizer
