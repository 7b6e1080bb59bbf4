import itertools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from speechtok.audio.io import AudioInfo, probe_audio, read_blocks, read_waveform, write_wav
from speechtok.audio.resample import resample, resampled_length
from speechtok.errors import AudioError


@pytest.fixture(scope="module")
def stereo(tmp_path_factory):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (150_001, 2)).astype(np.float32)
    path = tmp_path_factory.mktemp("audio") / "stereo.wav"
    soundfile.write(path, samples, 48000, subtype="FLOAT")
    return path, samples


def test_probe_states_what_the_header_says(stereo):
    info = probe_audio(stereo[0])
    assert info == AudioInfo(sample_rate=48000, num_channels=2, num_samples=150_001, format="WAV/FLOAT")
    assert info.duration == 150_001 / 48000


@settings(deadline=None, max_examples=40)
@given(
    block_seconds=st.floats(0.001, 5),
    sample_rate=st.sampled_from([None, 8000, 16000, 22050, 48000, 96000]),
    start=st.floats(0, 3),
)
def test_block_size_changes_no_sample(stereo, block_seconds, sample_rate, start):
    options = {"sample_rate": sample_rate, "start": start}
    blocks = list(read_blocks(stereo[0], block_seconds=block_seconds, **options))
    whole = read_waveform(stereo[0], **options)
    np.testing.assert_array_equal(np.concatenate(blocks), whole.samples)
    sizes = {len(block) for block in blocks[:-1]}
    assert len(sizes) <= 1
    assert all(abs(size - block_seconds * whole.sample_rate) <= 1 for size in sizes)


def test_several_channels(stereo):
    path, samples = stereo
    np.testing.assert_array_equal(read_waveform(path).samples, samples.mean(axis=1))
    np.testing.assert_array_equal(read_waveform(path, channels="first").samples, samples[:, 0])
    with pytest.raises(AudioError, match=r'2 channels, and one is wanted; read it with channels="mean"'):
        read_waveform(path, channels="error")


def test_one_channel_is_no_error(make, voice):
    assert len(read_waveform(make("a.wav", voice(0.1, 16000)), channels="error").samples) == 1600


def test_reading_at_another_rate_equals_resampling_the_array(stereo):
    native, lower = read_waveform(stereo[0]), read_waveform(stereo[0], sample_rate=16000)
    np.testing.assert_array_equal(lower.samples, resample(native.samples, 48000, 16000))
    assert (lower.sample_rate, lower.source_sample_rate) == (16000, 48000)
    assert (native.sample_rate, native.duration) == (48000, 150_001 / 48000)
    assert len(lower.samples) == resampled_length(150_001, 48000, 16000)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.01, 3.1), min_size=1, max_size=5, unique=True))
def test_adjoining_segments_tile_the_file(stereo, cuts):
    edges = [0.0, *sorted(cuts)]
    parts = [
        read_waveform(stereo[0], start=a, duration=b - a).samples
        for a, b in itertools.pairwise(edges)
        if round(b * 48000) - round(a * 48000) > 1
    ]
    parts.append(read_waveform(stereo[0], start=edges[-1]).samples)
    if len(parts) == len(edges):
        np.testing.assert_array_equal(np.concatenate(parts), stereo[1].mean(axis=1))


def test_a_segment_may_end_a_little_after_the_file(stereo):
    assert len(read_waveform(stereo[0], start=3.0, duration=0.134).samples) == 150_001 - 144_000


def test_opus_segments_far_into_the_file_are_slices(make, voice):
    path = make("clip.opus", voice(25.0, 16000), format="OGG", subtype="OPUS")
    whole = read_waveform(path).samples
    for start in (9.3, 12.34, 17.001, 24.5):
        segment = read_waveform(path, start=start, duration=0.5).samples
        np.testing.assert_array_equal(segment, whole[round(start * 16000) :][:8000])


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "long.wav"
    minute = (np.random.default_rng(0).standard_normal((60 * 24000, 2)) * 3000).astype(np.int16)
    with soundfile.SoundFile(path, "w", 24000, 2) as file:
        for _ in range(20):
            file.write(minute)
    del minute
    tracemalloc.start()
    total = sum(len(block) for block in read_blocks(path, sample_rate=16000, block_seconds=10))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 20 * 60 * 16000
    assert peak < 8e6  # the whole is 230 MB in float32


def test_a_segment_late_in_a_long_file_is_not_read_from_the_start(tmp_path, monkeypatch):
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros(600 * 8000, np.int16), 8000)
    num_reads = 0
    read = soundfile.SoundFile.read

    def counting(self, *args, **kwargs):
        nonlocal num_reads
        num_reads += 1
        return read(self, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    assert len(read_waveform(path, start=590, duration=1).samples) == 8000
    assert num_reads == 1


def test_files_are_closed(stereo, tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    read_waveform(stereo[0])
    next(iter(read_blocks(stereo[0], block_seconds=0.1)))
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF1234WAVE")
    with pytest.raises(AudioError):
        probe_audio(bad)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"start": -1.0}, "`start` must be at least 0 s, but is -1.0."),
        ({"duration": 0.0}, "`duration` must be above 0 s, or None for the rest, but is 0.0."),
        ({"block_seconds": 0.0}, "`block_seconds` must be above 0 s, but is 0.0."),
        ({"sample_rate": 0}, "`sample_rate` must be positive, in Hz, but is 0."),
        ({"channels": "left"}, '`channels` must be "mean", "first" or "error", but is \'left\'.'),
    ],
)
def test_wrong_arguments_are_refused_before_the_file_is_opened(options, sentence):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read_blocks("no such file", **options)
    assert str(caught.value) == sentence


def test_write_wav_clips_and_replaces(tmp_path):
    path = tmp_path / "out.wav"
    path.write_text("old")
    write_wav(path, np.array([0.0, 0.5, 1.0, 2.0, -1.0, -3.0]), 16000)
    samples, rate = soundfile.read(path, dtype="int16")
    np.testing.assert_array_equal(samples, [0, 16384, 32767, 32767, -32768, -32768])
    assert rate == 16000
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_read_from_16_bits_is_written_back_unchanged(tmp_path):
    samples = np.arange(-(2**15), 2**15, 7).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    write_wav(tmp_path / "b.wav", read_waveform(tmp_path / "a.wav").samples, 16000)
    np.testing.assert_array_equal(soundfile.read(tmp_path / "b.wav", dtype="int16")[0], samples)


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        (np.zeros((2, 5)), "`samples` must have shape (samples,), but has shape (2, 5)."),
        ([0.0, np.nan], "`samples` must be finite, but hold NaN or infinity."),
    ],
)
def test_write_wav_refuses(tmp_path, samples, sentence):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        write_wav(tmp_path / "out.wav", samples, 16000)
    assert str(caught.value) == sentence
    assert not list(tmp_path.iterdir())
