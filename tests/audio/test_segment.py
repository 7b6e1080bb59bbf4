import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechtok.audio.segment import even_cuts, quiet_cuts

RATE = 8000


def speech_with_pauses(seconds: float, pauses: list[float]) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    loud = np.random.default_rng(0).standard_normal(len(time))
    for pause in pauses:
        loud[np.abs(time - pause) < 0.15] *= 0.01
    return 0.1 * loud


def test_cuts_fall_into_pauses() -> None:
    pauses = [4.0, 8.0, 13.0, 16.0, 22.0]  # cuts may lie 5 to 10 s after the one before
    cuts = quiet_cuts([speech_with_pauses(30, pauses)], RATE, 10)
    assert len(cuts) == 3
    for cut, pause in zip(cuts, (8.0, 16.0, 22.0), strict=True):
        assert abs(cut - 1000 * pause) <= 60


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60_000),
    st.floats(1, 4),
    st.integers(1, 9000),
    st.sampled_from([800, 1001, 1378]),
    st.booleans(),
)
def test_pieces_are_neither_too_long_nor_too_short(
    samples: int, longest: float, size: int, rate: int, silent: bool
) -> None:
    wave = np.zeros(samples) if silent else np.random.default_rng(samples).standard_normal(samples)
    cuts = quiet_cuts([wave[at : at + size] for at in range(0, samples, size)], rate, longest)
    pieces = np.diff([0, *cuts, 1000 * samples / rate])
    assert pieces.max() <= 1000 * longest + 1e-6
    assert cuts == quiet_cuts([wave], rate, longest)
    if cuts:
        assert pieces[:-1].min() >= 500 * longest - 10
        assert pieces[-1] >= 250 * longest - 20
    else:
        assert samples / rate <= longest


def test_bounds() -> None:
    assert quiet_cuts([], RATE, 10) == []
    with pytest.raises(ValueError, match=r"`max_seconds` must be at least 1, got 0\.5"):
        quiet_cuts([], RATE, 0.5)


@given(st.integers(1, 100_000), st.floats(1, 30))
def test_even_pieces(end: int, longest: float) -> None:
    pieces = np.diff([0, *even_cuts(end, longest), end])
    assert pieces.max() <= 1000 * longest
    assert set(pieces[:-2]) <= {int(1000 * longest)}
    if len(pieces) > 1:
        assert pieces.min() >= int(1000 * longest) // 4
