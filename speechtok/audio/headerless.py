"""Recordings without a header: mono, 16-bit little-endian integers, at a rate that whoever asks must know."""

from __future__ import annotations

import os
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from speechtok.audio.info import AudioInfo
from speechtok.audio.source import PIECE_SAMPLES, Recording, unreadable

_BYTES = 2
_FULL_SCALE = np.float32(32_768)


class HeaderlessSource:
    """One recording of plain samples.

    Args:
        recording: the file.
        rate: Hz.
    """

    def __init__(self, recording: Recording, rate: int) -> None:
        try:
            self._file = recording.path.open("rb")
        except OSError as error:
            raise unreadable(recording.name, f"the system says {error.strerror!r}") from None
        size = os.fstat(self._file.fileno()).st_size
        if not size or size % _BYTES:
            self.close()
            raise unreadable(recording.name, f"its {size} bytes are no 16-bit samples")
        self.info = AudioInfo(
            sample_rate=rate, num_channels=1, num_samples=size // _BYTES, format="RAW/PCM_16"
        )

    def begins(self, first: int) -> int:
        """Return `first`: any sample can be read at once."""
        return first

    def pieces(self, first: int, stop: int | None) -> Generator[NDArray[np.float32]]:
        """Yield `(samples, 1)` from sample `first` up to `stop`, or to the end if that is None."""
        end = self.info.num_samples if stop is None else min(stop, self.info.num_samples)
        self._file.seek(first * _BYTES)
        for start in range(first, end, PIECE_SAMPLES):
            data = self._file.read(min(PIECE_SAMPLES, end - start) * _BYTES)
            yield np.frombuffer(data, "<i2").astype(np.float32)[:, None] / _FULL_SCALE

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
