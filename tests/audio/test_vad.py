"""Speech is found where it is, however the audio arrives; the rules on made-up probabilities."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import speechtok
from speechtok.audio import vad
from speechtok.audio.io import read_waveform
from speechtok.audio.vad import speech_spans

CLIP = Path(speechtok.__file__).parent / "demo" / "clips" / "de" / "otto-1.flac"


def spans_of(monkeypatch, probability, seconds):
    monkeypatch.setattr(vad, "speech_probabilities", lambda blocks: iter(probability))
    return speech_spans([], seconds)


def test_speech_is_found_however_it_arrives():
    clip = read_waveform(CLIP, sample_rate=16000).samples
    silence = np.zeros(3 * 16000, np.float32)
    samples = np.concatenate([silence, clip, silence])
    (span,) = spans = speech_spans([samples], 20)
    assert abs(span[0] - 3000) < 200
    assert abs(span[1] - 3000 - 1000 * len(clip) / 16000) < 300
    for size in (7, 16000):
        assert speech_spans((samples[at : at + size] for at in range(0, len(samples), size)), 20) == spans
    assert speech_spans([silence], 20) == []
    assert speech_spans([], 20) == []


def test_pauses_and_short_sounds(monkeypatch):
    probability = [0.0] * 400
    probability[100:150] = [0.9] * 50
    probability[120:125] = [0.1] * 5  # bridged: 160 ms
    probability[140:145] = [0.4] * 5  # not yet silence
    probability[200:204] = [0.9] * 4  # no speech: 128 ms
    probability[300:330] = [0.9] * 30
    assert spans_of(monkeypatch, probability, 20) == [(96 * 32, 154 * 32), (296 * 32, 334 * 32)]
    probability[170:200] = [0.9] * 30  # half a second after the first
    assert spans_of(monkeypatch, probability, 20)[0] == (96 * 32, 208 * 32)
    assert spans_of(monkeypatch, probability, 2)[:2] == [(96 * 32, 154 * 32), (166 * 32, 208 * 32)]


@given(st.lists(st.floats(0, 1), max_size=400), st.floats(1, 6))
def test_spans_are_in_order_and_not_too_long(probability, seconds):
    with pytest.MonkeyPatch.context() as patch:
        spans = spans_of(patch, probability, seconds)
    times = [time for span in spans for time in span]
    assert times == sorted(times)
    assert all(0 < end - begin <= 1000 * seconds for begin, end in spans)
    assert not times or (times[0] >= 0 and times[-1] <= len(probability) * 32)
    spoken = {frame for frame, value in enumerate(probability) if value >= 0.5}
    covered = {frame for begin, end in spans for frame in range(begin // 32, end // 32)}
    assert not covered or covered & spoken
