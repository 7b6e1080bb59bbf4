import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.audio.resample import resample, resample_stream, resampled_length

RATES = st.sampled_from([4000, 8000, 12345, 16000, 22050, 24000, 44100, 48000, 192000])


def tone(hz, rate, seconds=1.0):
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def level_db(samples):
    return 20 * np.log10(np.abs(samples).max() + 1e-300)


@pytest.mark.parametrize("hz", [100, 1000, 7000])
def test_a_tone_keeps_its_shape(hz):
    out = resample(tone(hz, 48000), 48000, 16000)
    assert level_db((out - tone(hz, 16000))[1000:-1000]) < -100


@pytest.mark.parametrize("hz", [9000, 11000, 20000])
def test_what_the_lower_rate_cannot_hold_is_removed(hz):
    assert level_db(resample(tone(hz, 48000), 48000, 16000)[1000:-1000]) < -100


@given(num_samples=st.integers(0, 3000), from_rate=RATES, to_rate=RATES)
def test_the_length_is_the_exact_ratio_rounded_half_up(num_samples, from_rate, to_rate):
    out = resample(np.ones(num_samples, np.float32), from_rate, to_rate)
    assert len(out) == resampled_length(num_samples, from_rate, to_rate)
    assert abs(len(out) - num_samples * to_rate / from_rate) <= 0.5


@given(cuts=st.lists(st.integers(0, 5000), max_size=6), from_rate=RATES, to_rate=RATES)
def test_a_stream_gives_what_the_array_gives_wherever_it_is_cut(cuts, from_rate, to_rate):
    samples = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    stream = resample_stream(np.split(samples, sorted(cuts)), from_rate, to_rate)
    out = np.concatenate(list(stream))
    if from_rate != to_rate:
        np.testing.assert_array_equal(out, resample(samples, from_rate, to_rate))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_type_is_kept(dtype):
    assert resample(np.zeros(100, dtype), 48000, 16000).dtype == dtype


def test_equal_rates_change_nothing():
    samples = np.ones(5, np.float32)
    assert resample(samples, 16000, 16000) is samples


@pytest.mark.parametrize(
    ("samples", "rates", "error", "sentence"),
    [
        (np.zeros(5), (0, 16000), ValueError, "`from_rate` must be positive, in Hz, but is 0."),
        (np.zeros(5), (16000, -1), ValueError, "`to_rate` must be positive, in Hz, but is -1."),
        (np.zeros(5), (16000.0, 8000), TypeError, "`from_rate` must be an integer in Hz, but is 16000.0."),
        (np.zeros((5, 2)), (1, 2), ValueError, "`samples` must have shape (samples,), but has shape (5, 2)."),
        (np.zeros(5, int), (1, 2), TypeError, "`samples` must be float32 or float64, but are int64."),
    ],
)
def test_wrong_arguments(samples, rates, error, sentence):
    with pytest.raises(error) as caught:
        resample(samples, *rates)
    assert str(caught.value) == sentence
