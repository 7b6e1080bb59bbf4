"""Measures of quality: known signals have known values, and damage moves what should tell of it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.annotations import Row, load_annotation, packages
from speechtok.annotations.level import clipping_share, loudness_lufs, peak_dbfs, silence_share
from speechtok.annotations.noise import bandwidth_hz, wada_snr_db
from speechtok.audio.io import read_waveform
from speechtok.audio.resample import resample
from speechtok.errors import AnnotationError


def tone(hz, seconds=1.0, rate=16000, peak=1.0):
    return (peak * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(seconds=1.0, rate=16000, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_a_full_tone_has_the_loudness_of_the_standard(rate):
    assert loudness_lufs(tone(997, rate=rate, peak=0.999), rate) == pytest.approx(-3.01, abs=0.25)


def test_what_is_short_or_silent_has_no_loudness():
    assert loudness_lufs(tone(997, 0.39), 16000) is None
    assert loudness_lufs(np.zeros(16000, np.float32), 16000) is None
    assert peak_dbfs(np.zeros(10, np.float32)) is None


@given(st.floats(-40, 0))
def test_level_moves_loudness_and_peak_alone(change):
    samples, softer = noise(), noise() * np.float32(10 ** (change / 20))
    assert loudness_lufs(softer, 16000) - loudness_lufs(samples, 16000) == pytest.approx(change, abs=1e-3)
    assert peak_dbfs(softer) - peak_dbfs(samples) == pytest.approx(change, abs=1e-3)
    assert wada_snr_db(softer) == pytest.approx(wada_snr_db(samples), abs=1e-2)
    assert bandwidth_hz(softer, 16000, 70) == bandwidth_hz(samples, 16000, 70)
    assert silence_share(softer, 16000, 40) == silence_share(samples, 16000, 40)


@given(st.floats(0.1, 0.9))
def test_clipping_is_counted_whatever_came_after(level):
    samples = np.clip(tone(200), -level, level)
    share = 1 - np.arcsin(level) / (np.pi / 2)
    assert clipping_share(samples) == pytest.approx(share, abs=0.03)
    assert clipping_share(samples * np.float32(0.1)) == pytest.approx(share, abs=0.03)


def test_clean_peaks_are_not_clipping():
    assert clipping_share(noise()) == 0
    assert clipping_share(tone(200, peak=0.5)) == 0
    assert clipping_share(np.zeros(100, np.float32)) == 0


def test_silence():
    samples = np.concatenate([noise(), np.zeros(16000, np.float32)])
    assert silence_share(samples, 16000, 40) == 0.5
    assert silence_share(np.zeros(16000, np.float32), 16000, 40) == 1.0
    assert silence_share(noise(0.001), 16000, 40) == 0.0


@pytest.mark.parametrize("ratio", [0, 10, 20, 30])
def test_snr_of_what_the_estimator_assumes(ratio):
    random = np.random.default_rng(ratio)
    speech = random.gamma(0.4, size=100_000) * random.choice((-1, 1), 100_000)
    mixed = speech / speech.std() + 10 ** (-ratio / 20) * random.standard_normal(100_000)
    assert wada_snr_db(mixed) == pytest.approx(ratio, abs=1.5)


def test_snr_at_the_ends():
    assert wada_snr_db(np.zeros(100, np.float32)) is None
    assert wada_snr_db(noise()) < 0


@pytest.mark.parametrize("rate", [16000, 24000, 48000])
def test_an_upsampled_telephone_recording_shows(rate):
    assert bandwidth_hz(noise(rate=rate), rate, 70) == pytest.approx(rate / 2, rel=0.01)
    assert bandwidth_hz(resample(noise(rate=8000), 8000, rate), rate, 70) == pytest.approx(4000, abs=120)
    assert bandwidth_hz(np.zeros(rate, np.float32), rate, 70) is None
    assert bandwidth_hz(tone(1000, 0.01, rate), rate, 20) == pytest.approx(1000, abs=400)


def quality(samples, rate=16000, **settings):
    row = Row(id="a", duration=len(samples) / rate, waveform=samples, sample_rate=rate)
    return load_annotation("quality", **settings)(row)


DAMAGES = {
    "noise": (lambda x: x + noise(len(x) / 16000)[: len(x)], "snr_db", -1),
    "clipping": (lambda x: np.clip(x, -np.abs(x).max() / 4, np.abs(x).max() / 4), "clipping_share", 1),
    "band": (lambda x: resample(resample(x, 16000, 8000), 8000, 16000), "bandwidth_hz", -1),
    "level": (lambda x: x / np.float32(4), "loudness_lufs", -1),
    "pauses": (lambda x: np.concatenate([x, np.zeros(16000, np.float32)]), "silence_share", 1),
    "no speech": (lambda x: np.concatenate([x, np.zeros(32000, np.float32)]), "speech_share", -1),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_moves_its_column(clips, damage):
    make, column, direction = DAMAGES[damage]
    for samples in clips:
        assert direction * (quality(make(samples))[column] - quality(samples)[column]) > 0


@pytest.fixture(scope="module")
def clips():
    from importlib.resources import files

    folder = files("speechtok.demo") / "clips"
    found = sorted(Path(str(folder)).rglob("*.flac"))
    return [read_waveform(path, sample_rate=16000).samples for path in found[:4]]


def test_silence_has_shares_and_no_level():
    values = quality(np.zeros(16000, np.float32))
    assert values["speech_share"] == 0
    assert values["silence_share"] == 1
    assert {name for name, value in values.items() if value is None} == {
        "loudness_lufs",
        "peak_dbfs",
        "snr_db",
        "bandwidth_hz",
    }


def test_settings_have_bounds():
    with pytest.raises(ValueError, match="`silence_db` must lie between 0 and 200 dB, got 0"):
        load_annotation("quality", silence_db=0)
    with pytest.raises(ValueError, match=r"`hop_seconds` must be at least 0.1, got 0"):
        load_annotation("dnsmos", hop_seconds=0)


@pytest.mark.parametrize(("name", "package"), [("quality", "pyloudnorm"), ("dnsmos", "speechmos")])
def test_packages_that_are_missing(monkeypatch, name, package):
    def missing(name):
        raise packages.PackageNotFoundError(name)

    monkeypatch.setattr(packages, "version", missing)
    with pytest.raises(
        AnnotationError, match=rf"'{name}' needs the package {package}: pip install 'speechtok\[quality\]'"
    ):
        load_annotation(name).files()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_dnsmos_prefers_what_is_not_noisy(clips):
    dnsmos = load_annotation("dnsmos", hop_seconds=9.01)

    def opinions(samples):
        return dnsmos(Row(id="a", duration=1.0, waveform=samples, sample_rate=16000))

    clean, noisy = opinions(clips[0]), opinions(clips[0] + noise(len(clips[0]) / 16000)[: len(clips[0])])
    assert noisy["dnsmos_background"] < clean["dnsmos_background"]
    assert all(1 <= value <= 5 for value in clean.values())
    assert opinions(np.concatenate([clips[0]] * 2)[:8000] * 4)["dnsmos"] > 0  # short, and over full scale
    assert [len(list(dnsmos._windows(np.zeros(length, np.float32)))) for length in (10, 144160, 288320)] == [
        1,
        1,
        2,
    ]


def rows_of(*pairs):
    return [
        {"id": str(number), "speaker": who, "speaker_embedding": vector}
        for number, (who, vector) in enumerate(pairs)
    ]


def test_similarity_to_the_other_rows_of_a_speaker():
    rows = rows_of(("anna", [2, 0]), ("anna", [0, 1]), ("anna", [1, 0]), ("bo", [1, 1]), (None, [1, 0]))
    similarity = load_annotation("speaker_similarity").over(rows)

    def of(row):
        return similarity(Row(id=row["id"], duration=1.0, columns=row))["speaker_similarity"]

    assert of(rows[0]) == pytest.approx(0.5**0.5)
    assert of(rows[1]) == pytest.approx(0)
    with pytest.raises(AnnotationError, match="The speaker 'bo' has no other row"):
        of(rows[3])
    with pytest.raises(AnnotationError, match="The row names no speaker"):
        of(rows[4])
    assert "sums" not in similarity.settings()


@pytest.mark.parametrize(("phones", "expected"), [(None, None), ("HH AH L OW", 2.0), (["HH", "AH"], 1.0)])
def test_speaking_rate(phones, expected):
    row = Row(id="a", duration=2.0, text="Hello you", columns={"phones": phones})
    assert load_annotation("speaking_rate")(row) == {
        "characters_per_second": 4.0,
        "phones_per_second": expected,
    }
