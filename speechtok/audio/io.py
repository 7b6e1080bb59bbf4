"""Audio files in, audio files out.

Conventions: samples are float32 with full scale [-1, 1]; integers of a file are divided by
2 ** (bits - 1), float files are taken as they are, above full scale included. Times are in seconds.
A file is known by its content; its suffix matters only to `looks_like_audio`. Wherever a recording is asked
for, a place inside a file (see `speechtok.audio.location`) does as well as a path.

Contents: `probe_audio`, `read_blocks`, `read_waveform`, `AudioReader`, `write_wav`, `looks_like_audio`.
"""

import os
import uuid
import wave
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechtok.audio.blocks import Blocks, Channels, open_once
from speechtok.audio.containers import AUDIO_SUFFIXES, looks_like_audio
from speechtok.audio.forward import ForwardSource
from speechtok.audio.info import AudioInfo, Waveform
from speechtok.audio.opening import open_source
from speechtok.audio.resample import check_rate
from speechtok.audio.source import Source
from speechtok.storage import Place

__all__ = [
    "AUDIO_SUFFIXES",
    "AudioInfo",
    "AudioReader",
    "Channels",
    "Waveform",
    "looks_like_audio",
    "probe_audio",
    "read_blocks",
    "read_waveform",
    "write_wav",
]


def probe_audio(path: Place) -> AudioInfo:
    """Return what the header of an audio file says, without decoding the file.

    The length is exact, but that of a file that only ffmpeg reads may differ by some milliseconds. A file whose
    header states no length, or one that the file contradicts, is read once to count.

    Raises:
        AudioError: If the file is missing, empty, not audio, cut, or holds no samples.
    """
    with closing(open_source(path)) as source:
        return source.info


def read_waveform(
    path: Place,
    *,
    sample_rate: int | None = None,
    start: float = 0.0,
    duration: float | None = None,
    channels: Channels = "mean",
) -> Waveform:
    """Return a recording, or a segment of it, as one channel in memory.

    The samples are those of `read_blocks` joined; see there for the arguments and errors. More than
    `speechtok.limits.WAVEFORM_SAMPLES` of them are refused.
    """
    return Blocks(path, sample_rate, start, duration, channels, block_seconds=30.0).joined()


def read_blocks(
    path: Place,
    *,
    sample_rate: int | None = None,
    start: float = 0.0,
    duration: float | None = None,
    channels: Channels = "mean",
    block_seconds: float = 30.0,
) -> Iterator[NDArray[np.float32]]:
    """Yield a recording, or a segment of it, block by block, in memory that does not grow with it.

    The samples do not depend on `block_seconds`. A segment is cut at the file's own rate, from sample
    `start * rate` to sample `(start + duration) * rate`, both rounded half up, so that adjoining
    segments share no sample and lose none; it is then resampled on its own. A segment may end up to
    10 ms after the file does, as happens where a list rounds its times, and is then cut at the end.

    Args:
        path: an audio file; a path or the URI of an object store.
        sample_rate: Hz wanted; None keeps the file's rate. See `resample` for the length that results.
        start: seconds, at least 0, where the segment begins.
        duration: seconds, above 0, length of the segment; None means to the end of the file.
        channels: what to do with several: "mean" averages them, "first" takes the first, "error" raises.
        block_seconds: seconds per block, above 0.

    Yields:
        `(samples,)`, float32, `block_seconds` long but for the last.

    Raises:
        ValueError: If an argument is out of its range; before the first block is asked for.
        AudioError: If the file cannot be decoded to its end, holds no samples, NaN or infinity, has
            several channels while `channels` is "error", or does not contain the segment. Damage deep
            in the file shows only after the blocks before it.
    """
    return iter(Blocks(path, sample_rate, start, duration, channels, block_seconds))


class AudioReader:
    """Reads segments as `read_waveform` does, and keeps the recording it read last open.

    Many segments of one recording, asked for in the order of their times, are read in one pass, which
    is what formats that cannot be entered in the middle, and recordings inside other files, need. For
    one thread at a time; close it at the end.
    """

    def __init__(self) -> None:
        self._name: str | None = None
        self._source: ForwardSource | None = None

    def read_waveform(
        self,
        path: Place,
        *,
        sample_rate: int | None = None,
        start: float = 0.0,
        duration: float | None = None,
        channels: Channels = "mean",
        max_seconds: float | None = None,
    ) -> Waveform:
        """Return what the function `read_waveform` does; raise `AudioError` if that is more than `max_seconds`."""
        is_whole = start == 0 and duration is None  # of which no other segment follows
        opener = open_once if is_whole else self._open
        return Blocks(path, sample_rate, start, duration, channels, 30.0, opener).joined(max_seconds)

    def close(self) -> None:
        """Let go of the recording."""
        self._name, source, self._source = None, self._source, None
        if source is not None:
            source.close()

    @contextmanager
    def _open(self, audio: Place) -> Iterator[Source]:
        name = str(audio)
        if self._source is None or name != self._name:
            self.close()
            self._source, self._name = ForwardSource(open_source(name)), name
        yield self._source


def write_wav(path: str | os.PathLike[str], samples: ArrayLike, sample_rate: int) -> None:
    """Write one channel as a WAV file of 16-bit integers, under a temporary name first.

    Args:
        path: the file to write or replace; its folder must exist.
        samples: `(samples,)`, float; beyond [-1, 1] they are clipped.
        sample_rate: Hz.

    Raises:
        ValueError: If `samples` have another shape or hold NaN or infinity.
    """
    check_rate("sample_rate", sample_rate)
    array = np.asarray(samples, np.float64)
    if array.ndim != 1:
        raise ValueError(f"`samples` must have shape (samples,), but has shape {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError("`samples` must be finite, but hold NaN or infinity.")
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file, wave.open(file) as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(int(sample_rate))
            out.writeframes(np.clip(np.rint(array * 32768), -32768, 32767).astype("<i2").tobytes())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
