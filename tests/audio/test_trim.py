"""Trimming as librosa does it, and padding."""

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechtok.audio.trim import pad_to_multiple, trim_silence


@settings(max_examples=40)
@given(
    lengths=st.tuples(*[st.integers(0, 6000)] * 3),
    levels=st.tuples(*[st.sampled_from([0.0, 1e-7, 1e-3, 0.02, 0.09, 0.11, 0.5])] * 3),
    top_db=st.sampled_from([6.0, 20.0, 60.0]),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 999),
)
def test_same_as_librosa(lengths, levels, top_db, dtype, seed) -> None:
    random = np.random.default_rng(seed)
    parts = [level * random.standard_normal(length) for level, length in zip(levels, lengths, strict=True)]
    samples = np.concatenate(parts).astype(dtype)
    if not len(samples):
        return
    want, _ = librosa.effects.trim(samples, top_db=top_db)
    got = trim_silence(samples, top_db=top_db)
    assert got.dtype == dtype
    assert np.array_equal(got, want)


def test_silence_is_kept_and_nothing_stays_nothing() -> None:
    assert len(trim_silence(np.zeros(5000))) == 5000
    assert len(trim_silence(np.zeros(0))) == 0
    with pytest.raises(ValueError, match=r"`top_db` must be above 0, got 0\."):
        trim_silence(np.zeros(9), top_db=0)


def test_padding_reaches_the_next_multiple() -> None:
    samples = np.ones(1281, np.float32)
    padded = pad_to_multiple(samples, 1280)
    assert padded.dtype == np.float32
    assert len(padded) == 2560
    assert padded.sum() == 1281
    assert len(pad_to_multiple(padded, 1280)) == 2560
    with pytest.raises(ValueError, match=r"`multiple` must be at least 1, got 0\."):
        pad_to_multiple(samples, 0)
