import os
import re

import numpy as np
import pytest
import soundfile

from speechtok.audio.io import probe_audio, read_blocks, read_waveform
from speechtok.errors import AudioError


def refusal(path, **options):
    """The sentence with which `path` is refused, less the part that names it."""
    with pytest.raises(AudioError) as caught:
        read_waveform(path, **options)
    prefix = f"Cannot read {os.fspath(path)!r}: "
    assert str(caught.value).startswith(prefix)
    return str(caught.value).removeprefix(prefix)


def cut(path, share=0.6):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def test_missing(tmp_path):
    assert refusal(tmp_path / "a.wav") == "there is no such file."


def test_directory(tmp_path):
    assert refusal(tmp_path) == "it is a directory; name the files in it."


def test_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    assert refusal(tmp_path / "a.wav") == "it is a pipe or a device; only regular files can be read."


def test_below_a_file(tmp_path):
    (tmp_path / "a").write_text("x")
    assert refusal(tmp_path / "a" / "b.wav") == "the system says 'Not a directory'."


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.wav", b"", "the file is empty (0 bytes)."),
        ("a.wav", b"He was wounded\nin the arm.", "it is not audio but text."),
        (
            "a.flac",
            bytes(range(200, 250)) * 9,
            "it is not audio in a known format (Format not recognised); convert it to WAV or FLAC.",
        ),
        (
            "a.raw",
            bytes(range(256)) * 9,
            "it has no header, so rate, channels and sample format are unknown; convert it to WAV, "
            "or name it FILE#rate=HZ if it holds 16-bit mono samples.",
        ),
    ],
)
def test_not_audio(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path / name) == sentence


def test_half_a_header(make, voice):
    path = make("a.wav", voice(1, 16000))
    path.write_bytes(path.read_bytes()[:22])
    assert refusal(path).startswith("its WAV header is cut or malformed (")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"format": "WAV"}, "the file is cut: its header promises 32000 bytes of samples, it holds 19182."),
        ({"format": "W64"}, "the file is cut: its header promises 32104 bytes of samples, it holds 19262."),
        ({"format": "AIFF"}, "the file is cut: its header promises 32008 bytes of samples, it holds 19186."),
        ({"format": "AU"}, "the file is cut: its header promises 32000 bytes of samples, it holds 19190."),
        ({"format": "RF64"}, "the file is cut: its header promises 16000 samples, it holds 9579."),
        ({"format": "NIST"}, "the file is cut: its header promises 16000 samples, it holds 9395."),
        ({"format": "CAF"}, r"its CAF header is cut or malformed \(.*\)."),
        (
            {"format": "FLAC"},
            r"decoding fails between 0.0 s and \d\.\d s \(.*\); the file is cut or damaged.",
        ),
    ],
)
def test_cut(make, voice, capfd, options, sentence):
    path = cut(make("a.bin", voice(1, 16000), subtype=None, **options))
    assert re.fullmatch(sentence, refusal(path))
    assert capfd.readouterr() == ("", "")


def test_cut_mp3(make, voice, capfd):
    path = cut(make("a.mp3", voice(5, 16000)))
    assert re.fullmatch(
        r"the file is cut: its header promises \d+ bytes of MP3, it holds \d+\.", refusal(path)
    )
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_cut_ogg(make, voice, subtype):
    path = cut(make("a.ogg", voice(20, 16000), format="OGG", subtype=subtype))
    assert refusal(path) == "the file is cut: it ends without the mark of a last page."
    with pytest.raises(AudioError, match="last page"):
        probe_audio(path)


def test_flac_that_breaks_midway(make, voice):
    path = make("a.flac", voice(20, 16000))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(255 - byte for byte in data[middle : middle + 64])
    path.write_bytes(data)
    assert re.fullmatch(
        r"decoding fails between \d\.\d s and \d+\.\d s \(.*\); the file is cut or damaged\.", refusal(path)
    )
    assert probe_audio(path).num_samples == 320_000
    assert len(next(read_blocks(path, block_seconds=1))) == 16000


def test_no_samples(make):
    path = make("a.wav", np.zeros(0))
    assert refusal(path) == "it holds no samples."
    path.write_bytes(path.read_bytes() + b"LIST\x04\0\0\0INFO")
    assert refusal(path) == "it holds no samples."


def test_header_that_promises_nothing(make, voice):
    path = make("a.wav", voice(0.5, 16000))
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = bytes(4)
    path.write_bytes(data)
    assert refusal(path) == (
        "its header promises 0 bytes of samples, but more follow (16044 bytes in all); repair the header."
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(make, value):
    samples = np.zeros(200_000)
    samples[[100_000, 150_000, 199_999]] = value
    path = make("a.wav", samples, subtype="FLOAT")
    tail = "the first at 6.250 s; repair or leave out the file."
    assert refusal(path) == f"3 of its samples are NaN or infinite, {tail}"
    assert refusal(path, start=6, sample_rate=8000) == f"3 of its samples are NaN or infinite, {tail}"
    assert len(read_waveform(path, duration=6).samples) == 96000


def test_infinities_that_cancel(make):
    path = make("a.wav", np.array([[0, 0], [np.inf, -np.inf]]), subtype="FLOAT")
    assert refusal(path).startswith("1 of its samples are NaN or infinite, the first at 0.000 s")


@pytest.mark.parametrize(
    ("start", "duration", "sentence"),
    [
        (2.0, None, "the segment from 2.000 s to its end lies outside the file, which is 2.000 s long."),
        (1.5, 0.6, "the segment from 1.500 s to 2.100 s lies outside the file, which is 2.000 s long."),
        (1.0, 1e-6, "a segment of 1e-06 s holds no sample."),
    ],
)
def test_segment_outside(make, voice, start, duration, sentence):
    path = make("a.wav", voice(2, 16000))
    assert refusal(path, start=start, duration=duration) == sentence


def test_too_short_for_the_rate(make):
    path = make("a.wav", np.zeros(1), 192000)
    assert refusal(path, sample_rate=16000) == "it is too short: nothing is left of it at the rate wanted."


@pytest.mark.parametrize(
    "samples",
    [np.zeros(320), np.ones(320), np.full(320, 0.4), np.array([0.1]), np.array([[0.5, -0.5]] * 320)],
)
def test_silence_clipping_offset_and_short_clips_are_fine(tmp_path, samples):
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    assert len(read_waveform(tmp_path / "a.wav").samples) == len(samples)
