"""The interface between the decoders and the reader in `io`."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from speechtok.audio.info import AudioInfo
from speechtok.errors import AudioError
from speechtok.storage import Place

PIECE_SAMPLES = 65536
"""Samples per channel that a decoder hands over at a time, whatever block size a caller asks for."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A file to decode, and what messages call it."""

    path: Path
    """The file; for a recording inside another one, a temporary copy."""
    name: str
    """The recording as it was asked for."""


class Source(Protocol):
    """One opened recording."""

    info: AudioInfo

    def begins(self, first: int) -> int:
        """Return the sample from which the recording is decoded so that sample `first` comes out exact."""
        ...

    def pieces(self, first: int, stop: int | None) -> Generator[NDArray[np.float32]]:
        """Yield `(samples, channels)` from sample `first` up to `stop`, or to the end if that is None."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


def unreadable(path: Place, reason: str) -> AudioError:
    """Return the error that names a recording and the reason why it cannot be used."""
    return AudioError(f"Cannot read {str(path)!r}: {reason}.")


def trim(pieces: Iterator[NDArray[Any]], first: int, stop: int | None) -> Generator[NDArray[Any]]:
    """Yield what lies between samples `first` and `stop` of a signal that arrives from its start."""
    position = 0
    for piece in pieces:
        kept = piece[max(first - position, 0) : None if stop is None else max(stop - position, 0)]
        position += len(piece)
        if len(kept):
            yield kept
        if stop is not None and position >= stop:
            return
