import numpy as np
import pytest

from speechtok.annotations import Row, load_annotation
from speechtok.errors import AnnotationError


def glide(low, high, seconds=2.0, rate=16000):
    """Pulses, as of a voice, whose pitch rises evenly."""
    t = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(low + (high - low) * t / seconds) / rate
    return (sum(np.sin(k * phase) for k in range(1, 20)) / 40).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
def test_median_and_range(rate):
    samples = glide(120, 180, rate=rate)
    values = load_annotation("pitch")(Row(id="a", duration=2.0, waveform=samples, sample_rate=rate))
    assert values["f0_median_hz"] == pytest.approx(150, rel=0.03)
    assert values["f0_low_hz"] == pytest.approx(123, rel=0.03)
    assert values["f0_high_hz"] == pytest.approx(177, rel=0.03)
    assert 0.8 < values["voiced_share"] <= 1


def test_silence_has_no_pitch():
    with pytest.raises(AnnotationError, match="No frame is voiced"):
        load_annotation("pitch")(
            Row(id="a", duration=1, waveform=np.zeros(16000, np.float32), sample_rate=16000)
        )
