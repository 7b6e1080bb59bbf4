"""What is known of a recording before and after it is read."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class AudioInfo:
    """What the header of an audio file says."""

    sample_rate: int
    """Hz."""
    num_channels: int
    """Channels in the file."""
    num_samples: int
    """Samples per channel, at `sample_rate`."""
    format: str
    """Container and sample format, such as "WAV/PCM_16"."""

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate


@dataclass(frozen=True, kw_only=True, eq=False)
class Waveform:
    """One channel of audio in memory."""

    samples: NDArray[np.float32]
    """`(samples,)`, float32, full scale is [-1, 1]."""
    sample_rate: int
    """Rate of `samples` in Hz."""
    source_sample_rate: int
    """Rate of the file in Hz, before any resampling."""

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate
