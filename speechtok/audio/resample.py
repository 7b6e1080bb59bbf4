"""Change of sample rate, for arrays and for streams.

Both use the soxr library at quality "HQ": below the lower Nyquist frequency the error stays under
-120 dB, and what lies above it is removed by as much.

Length rule: `num_samples` at `from_rate` become `num_samples * to_rate / from_rate` samples, rounded
half up, as `resampled_length` computes. The stream gives bit for bit what the array gives, however
its input is cut into pieces.
"""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_Float = TypeVar("_Float", np.float32, np.float64)

QUALITY = "HQ"


def resampled_length(num_samples: int, from_rate: int, to_rate: int) -> int:
    """Return how many samples `num_samples` at `from_rate` become at `to_rate`, rounded half up."""
    return (2 * num_samples * to_rate + from_rate) // (2 * from_rate)


def resample(samples: NDArray[_Float], from_rate: int, to_rate: int) -> NDArray[_Float]:
    """Return `samples` at another sample rate.

    Args:
        samples: `(samples,)`, float32 or float64; the type is kept.
        from_rate: Hz, rate of `samples`.
        to_rate: Hz, rate wanted.

    Returns:
        `(resampled_length(samples, from_rate, to_rate),)`; `samples` itself if the rates are equal.

    Raises:
        ValueError: If a rate is not positive or `samples` has another number of dimensions.
        TypeError: If `samples` are not float32 or float64, or a rate is not an integer.
    """
    check_rate("from_rate", from_rate)
    check_rate("to_rate", to_rate)
    if samples.ndim != 1:
        raise ValueError(f"`samples` must have shape (samples,), but has shape {samples.shape}.")
    if samples.dtype not in (np.float32, np.float64):
        raise TypeError(f"`samples` must be float32 or float64, but are {samples.dtype}.")
    if from_rate == to_rate or not len(samples):
        return samples
    return np.concatenate(list(resample_stream([samples], from_rate, to_rate, samples.dtype)))


def resample_stream(
    pieces: Iterable[NDArray[_Float]], from_rate: int, to_rate: int, dtype: Any = np.float32
) -> Iterator[NDArray[_Float]]:
    """Yield a signal that arrives in pieces at another sample rate, in bounded memory.

    Args:
        pieces: each `(samples,)`; where the cuts lie changes nothing in the output.
        from_rate: Hz, rate of `pieces`.
        to_rate: Hz, rate wanted.
        dtype: float32 or float64, the type of `pieces`.

    Yields:
        `(samples,)`, of no fixed length, possibly 0.
    """
    import soxr

    stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype=np.dtype(dtype).name, quality=QUALITY)
    for piece in pieces:
        yield stream.resample_chunk(np.ascontiguousarray(piece))
    yield stream.resample_chunk(np.zeros(0, dtype), last=True)


def check_rate(name: str, rate: object) -> None:
    """Raise unless `rate` is a positive integer; `name` is the argument's name in the message."""
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer):
        raise TypeError(f"`{name}` must be an integer in Hz, but is {rate!r}.")
    if rate <= 0:
        raise ValueError(f"`{name}` must be positive, in Hz, but is {rate!r}.")
