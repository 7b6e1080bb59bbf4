"""Cutting long audio for readers that look at all of it.

Attention sees a whole utterance and takes time quadratic in its length, so long audio goes in segments. A segment
that begins at frame a and ends before frame b covers exactly the samples those frames see, so segments together
have as many frames as the whole; the codes of a segment are those of its audio alone.

Contents: `Segment`, `plan_segments`, `plan_reference_segments`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Samples `start` to `stop`."""

    start: int
    stop: int


def plan_segments(waveform: Tensor, *, longest: int, hop: int, reach: int) -> list[Segment]:
    """Cut at the quietest places.

    Args:
        waveform: `(samples,)`, at least `reach`.
        longest: samples of a segment at most; each cut lies in the second half of what it could keep.
        hop: samples per frame.
        reach: samples one frame sees.

    Returns:
        Segments whose frames are those of the whole, each exactly once.
    """
    frames = (len(waveform) - reach) // hop + 1
    most = max(2, (longest - reach) // hop + 1)
    energy = waveform[: frames * hop].unfold(0, hop, hop).square().mean(dim=1)
    segments, first = [], 0
    while frames - first > most:
        window = energy[first + most // 2 + 1 : first + most + 1]
        stop = first + most // 2 + 1 + int(window.argmin())
        segments.append(Segment(start=first * hop, stop=(stop - 1) * hop + reach))
        first = stop
    return [*segments, Segment(start=first * hop, stop=len(waveform))]


def plan_reference_segments(num_samples: int, *, longest: int, reach: int) -> list[Segment]:
    """Cut every `longest` samples, as the published quantizers did with 100 s; each cut loses a frame.

    A rest too short for a frame is left out.
    """
    starts = range(0, num_samples, longest)
    segments = [Segment(start=start, stop=min(start + longest, num_samples)) for start in starts]
    return [segment for segment in segments if segment.stop - segment.start >= reach]
