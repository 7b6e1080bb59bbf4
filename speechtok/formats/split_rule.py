"""Which utterances go to training, validation and test, as the published unit lists were divided.

Source: `facebookresearch/speech-resynthesis`, `scripts/parse_hubert_codes.py`.

Contents: `divide`, `divide_like`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from speechtok.errors import DatasetError
from speechtok.formats.unit_lines import read_unit_lines

TRAIN, VAL, TEST = "train", "val", "test"
SEED = 42
"""Of the published lists."""


def divide(keys: Sequence[str], share: float = 0.05, *, seed: int = SEED) -> dict[str, str]:
    """Return key → split: of the shuffled keys the first `share` to test, as many to val, the rest to train.

    Args:
        keys: in the order of their corpus, which decides the result together with the seed.
        share: from 0 to 0.5.
        seed: of the shuffle.

    Raises:
        ValueError: when the share is out of range.
    """
    if not 0 <= share <= 0.5:
        raise ValueError(f"`share` must be from 0 to 0.5, got {share}.")
    shuffled = list(keys)
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - no secret
    first, second = int(len(keys) * share), int(len(keys) * share + len(keys) * share)
    return {
        key: TEST if place < first else VAL if place < second else TRAIN for place, key in enumerate(shuffled)
    }


def divide_like(audios: Sequence[str], reference: Path) -> dict[str, str]:
    """Return audio → split as other lists divide recordings of the same file names.

    Args:
        audios: paths of recordings; only their file names are compared.
        reference: folder with `train.txt`, `val.txt` and `test.txt`.

    Raises:
        DatasetError: when a list is missing, or a recording is in none of them.
    """
    known: dict[str, str] = {}
    for split in (TRAIN, TEST, VAL):  # a name in several lists belongs to the last of these
        for item in read_unit_lines(reference / f"{split}.txt"):
            known[PurePosixPath(item.audio).name] = split
    unknown = next((audio for audio in audios if PurePosixPath(audio).name not in known), None)
    if unknown is not None:
        raise DatasetError(f"'{unknown}' is in none of the lists in {reference}, so its split is not known.")
    return {audio: known[PurePosixPath(audio).name] for audio in audios}
