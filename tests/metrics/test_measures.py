"""Each measure against the library that computes it, a hand-written one, or a value known beforehand."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.errors import AudioError, HubError
from speechtok.metrics.intelligibility import stoi
from speechtok.metrics.measures import MEASURES, MODEL_MEASURES, check_installed, measure
from speechtok.metrics.pitch import compare_contours
from speechtok.metrics.quality import pesq
from speechtok.metrics.signal import si_sdr
from speechtok.metrics.speaker import SpeakerModel, speaker_similarity
from speechtok.metrics.spectral import RESOLUTIONS, mel_distance, stft_distance
from speechtok.metrics.transcript import Transcriber, character_error_rate, plain_text, word_error_rate

NOISE = np.random.default_rng(0).standard_normal(16000) * 0.1
PLAIN = [name for name in MEASURES if name not in MODEL_MEASURES]


def test_values_of_libraries_are_theirs(clips, damaged):
    import pesq as pesq_package
    import pystoi

    clip, copy = clips[0], damaged[0][1]
    assert stoi(clip, copy, 16000) == pystoi.stoi(clip, copy, 16000)
    # pystoi adds noise at the level of rounding
    extended = pystoi.stoi(clip, copy, 16000, extended=True)
    assert stoi(clip, copy, 16000, extended=True) == pytest.approx(extended, abs=1e-12)
    assert pesq(clip, copy, 16000) == pesq_package.pesq(16000, clip, copy, "wb")
    assert pesq(clip[::2], copy[::2], 8000, band="nb") == pesq_package.pesq(8000, clip[::2], copy[::2], "nb")


@pytest.mark.parametrize("level", [0.01, 1.0, 30.0])
def test_si_sdr_is_the_ratio_of_orthogonal_parts(level):
    tone, other = (np.sin(2 * np.pi * hz * np.arange(16000) / 16000) for hz in (200, 300))
    assert si_sdr(tone, level * (tone + 0.1 * other)) == pytest.approx(20.0)
    assert si_sdr(tone + 3.0, level * (tone + 0.1 * other) - 2.0) == pytest.approx(20.0)
    assert si_sdr(tone, 2 * tone) > 250


def test_mel_distance_of_a_change_of_level_is_that_change():
    assert mel_distance(NOISE, NOISE, 16000) == 0
    assert mel_distance(NOISE, 0.5 * NOISE, 16000) == pytest.approx(20 * math.log10(2))
    assert mel_distance(np.zeros(16000), np.zeros(16000), 24000) == 0


def test_stft_distance_against_frames_cut_by_hand():
    reference, decoded = NOISE[:4000], NOISE[4000:8000]

    def magnitude(samples, points, window, hop):
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
        hann = np.pad(hann, ((points - window) // 2, points - window - (points - window) // 2))
        padded = np.pad(samples, points // 2, mode="reflect")
        frames = [padded[at : at + points] * hann for at in range(0, len(samples) + 1, hop)]
        return np.sqrt(np.maximum(np.abs(np.fft.rfft(frames)) ** 2, 1e-7))

    total = 0.0
    for points, window, hop in RESOLUTIONS:
        first, second = (magnitude(item, points, window, hop) for item in (reference, decoded))
        total += np.linalg.norm(first - second) / np.linalg.norm(first)
        total += np.abs(np.log(first) - np.log(second)).mean()
    assert stft_distance(reference, decoded) == pytest.approx(total / 3, rel=1e-9)


contour = st.lists(st.one_of(st.just(0.0), st.floats(60, 400)), min_size=20, max_size=20)


@given(contour, contour)
def test_pitch_errors_counted_one_by_one(reference, decoded):
    found = compare_contours(np.array(reference), np.array(decoded))
    voicing = gross = both = 0
    squares = cents = 0.0
    for truth, value in zip(reference, decoded, strict=True):
        if (truth > 0) != (value > 0):
            voicing += 1
        elif truth > 0:
            both += 1
            gross += abs(value - truth) > 0.2 * truth
            squares += (value - truth) ** 2
            cents += (1200 * math.log2(value / truth)) ** 2
    assert found.vde == voicing / 20
    assert found.ffe == (voicing + gross) / 20
    if both:
        assert found.gpe == gross / both
        assert found.rmse_hz == pytest.approx(math.sqrt(squares / both))
        assert found.rmse_cents == pytest.approx(math.sqrt(cents / both))
    else:
        for name in ("gpe", "rmse_hz", "rmse_cents"):
            with pytest.raises(AudioError, match="is undefined: no frame is voiced in both"):
                getattr(found, name)


def test_an_octave_is_1200_cents():
    found = compare_contours(np.array([100.0, 200.0, 0.0]), np.array([200.0, 400.0, 0.0]))
    assert (found.rmse_cents, found.gpe, found.vde) == (1200.0, 1.0, 0.0)
    with pytest.raises(ValueError, match="one length above 0, got 2 and 3 frames"):
        compare_contours(np.ones(2), np.ones(3))


def edits(first, second):
    """Return the edit distance by the table of Wagner and Fischer."""
    row = list(range(len(second) + 1))
    for number, left in enumerate(first, 1):
        before, row[0] = row[0], number
        for place, right in enumerate(second, 1):
            before, row[place] = (
                row[place],
                min(row[place] + 1, row[place - 1] + 1, before + (left != right)),
            )
    return row[-1]


words = st.sampled_from(["ab", "c", "de"])


@given(st.lists(words, min_size=1), st.lists(words))
def test_error_rates_are_edits_per_word_and_character(reference, heard):
    first, second = " ".join(reference), " ".join(heard)
    assert word_error_rate(first, second) == pytest.approx(edits(reference, heard) / len(reference))
    assert character_error_rate(first, second) == pytest.approx(edits(first, second) / len(first))


def test_case_and_punctuation_do_not_count():
    assert plain_text("  Don’t, «stop»—NOW! ") == "dont stop now"
    assert word_error_rate("Guten Tag, Straße.", "guten tag strasse") == 0
    with pytest.raises(AudioError, match="the transcript holds no word"):
        word_error_rate("?!", "a")


@pytest.fixture(scope="module")
def means(clips, damaged):
    """The mean over clips of each measure, for each amount of noise."""
    levels = []
    for level in zip(*damaged, strict=True):
        scores = [measure(*pair, 16000, PLAIN).values for pair in zip(clips, level, strict=True)]
        levels.append({name: np.mean([item[name] for item in scores]) for name in PLAIN})
    return levels


@pytest.mark.parametrize("name", PLAIN)
def test_more_noise_is_worse(name, means):
    values = [level[name] for level in means]
    ordered = sorted(values, reverse=MEASURES[name].better == "higher")
    assert values == ordered
    assert len(set(values)) == len(values)


def test_more_noise_is_worse_for_models(clips, damaged, recogniser, speaker_model):
    hear, voice = Transcriber(recogniser), SpeakerModel(speaker_model)
    similar, wrong = [], []
    for level in zip(*damaged, strict=True):
        pairs = list(zip(clips, level, strict=True))
        similar.append(
            np.mean([speaker_similarity(voice(clip, 16000), voice(copy, 16000)) for clip, copy in pairs])
        )
        wrong.append(
            np.mean([character_error_rate(hear(clip, 16000), hear(copy, 16000)) for clip, copy in pairs])
        )
    assert similar == sorted(similar, reverse=True)
    assert wrong == sorted(wrong)
    assert wrong[0] < wrong[-1]
    assert hear(clips[0], 16000) == hear(clips[0], 16000) != ""


def test_models_hear_at_their_own_rate(clips, recogniser, speaker_model):
    slow = clips[0][: len(clips[0]) // 3 * 3 : 2]
    assert isinstance(Transcriber(recogniser)(slow, 8000), str)
    assert SpeakerModel(speaker_model)(slow, 8000).shape == (16,)


def test_models_that_cannot_be_loaded_are_named(tmp_path):
    with pytest.raises(HubError, match=r"recogniser '.*' cannot be loaded"):
        Transcriber(str(tmp_path))
    with pytest.raises(HubError, match=r"speaker model '.*' cannot be loaded"):
        SpeakerModel(str(tmp_path))


def test_too_short_for_a_voice(speaker_model):
    with pytest.raises(AudioError, match=r"0\.001 s is too short for a speaker vector"):
        SpeakerModel(speaker_model)(np.ones(10), 16000)
    with pytest.raises(AudioError, match="a speaker vector is zero or not finite"):
        speaker_similarity(np.zeros(4), np.ones(4))


SILENCE = np.zeros(16000)


@pytest.mark.parametrize(
    ("name", "reference", "decoded", "message"),
    [
        ("si_sdr", SILENCE, NOISE, "the reference is silent"),
        ("si_sdr", NOISE, SILENCE, "the decoded audio is silent"),
        ("stft_distance", SILENCE, NOISE, "the reference is silent"),
        ("stft_distance", NOISE[:1024], NOISE[:1024], "more than 1024 samples, got 1024"),
        ("stoi", NOISE[:3000], NOISE[:3000], "STOI is undefined"),
        ("stoi", NOISE[:20], NOISE[:20], "STOI is undefined"),
        ("estoi", SILENCE, SILENCE, "STOI is undefined"),
        ("pesq_wb", NOISE[:3000], NOISE[:3000], r"needs at least 0\.25 s, got 0\.188 s"),
        ("pesq_wb", SILENCE, SILENCE, "PESQ is undefined"),
        ("pesq_nb", SILENCE, SILENCE, "PESQ is undefined"),
        ("gpe", SILENCE, SILENCE, "no frame is voiced in both"),
        ("mel_distance", NOISE, NOISE[:8000], r"has 0\.500 s and the reference 1\.000 s"),
    ],
)
def test_what_has_no_value_has_a_reason(name, reference, decoded, message):
    import re

    scores = measure(reference, decoded, 16000, [name])
    assert not scores.values
    assert re.search(message, scores.failures[name])


def test_a_library_that_gives_up_takes_down_one_value(monkeypatch):
    def fail(*arguments):
        raise MemoryError("no room")

    monkeypatch.setattr("speechtok.metrics.measures.si_sdr", fail)
    scores = measure(NOISE, NOISE, 16000, ["si_sdr", "mel_distance"])
    assert scores.failures == {"si_sdr": "SI-SDR failed: MemoryError: no room"}
    assert scores.values == {"mel_distance": 0}


def test_lengths_that_nearly_agree_are_cut_to_the_shorter():
    assert measure(NOISE, NOISE[:-100], 16000, ["mel_distance"]).values == {"mel_distance": 0}
    with pytest.raises(ValueError, match="'wer' needs a model"):
        measure(NOISE, NOISE, 16000, ["wer"])


def test_what_cannot_be_computed_here_is_said_at_once(monkeypatch):
    with pytest.raises(ValueError, match="There is no measure 'mos'; there are: pesq_wb"):
        check_installed(["mos"])
    monkeypatch.setattr("speechtok.metrics.measures.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="'stoi' needs the package pystoi"):
        check_installed(["stoi"])
    check_installed(["si_sdr"])


@pytest.mark.parametrize(
    "fields",
    [
        {"attn_implementation": "someone/kernel"},
        {"_attn_implementation": ["someone/kernel"]},
        {"text_config": {"_attn_implementation_internal": "someone/kernel"}},
        {"quantization_config": {"quant_method": "fp8"}},
        {"use_kernels": True},
    ],
)
def test_a_model_does_not_choose_code(tmp_path, fields) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wavlm", **fields}))
    for build in (Transcriber, SpeakerModel):
        with pytest.raises(HubError, match=r"is refused because its config\.json chooses code to run"):
            build(str(tmp_path))
