"""Many segments of one recording are read in one pass, and are what each alone would be."""

import numpy as np
import pytest
import soundfile

from speechtok.audio import io as audio_io
from speechtok.audio.io import AudioReader, read_waveform
from speechtok.errors import AudioError

RATE = 16000
FORMATS = [
    ("WAV", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
    ("WAV", "MS_ADPCM"),
]
TIMES = [(0.0, 1.0), (1.0, 2.5), (3.5, 0.25), (3.6, 9.0), (20.0, 5.0), (25.0, None), (2.0, 1.0), (2.5, 18.0)]


@pytest.mark.parametrize(("container", "sample_format"), FORMATS)
def test_segments_are_those_read_alone(make, voice, container, sample_format):
    path = make("long.bin", voice(30.0, RATE), format=container, subtype=sample_format)
    reader = AudioReader()
    for start, duration in TIMES:
        options = {"start": start, "duration": duration, "sample_rate": 8000}
        np.testing.assert_array_equal(
            reader.read_waveform(path, **options).samples, read_waveform(path, **options).samples
        )
    reader.close()


def test_one_pass_however_many_segments(make, voice, monkeypatch):
    path = make("long.mp3", voice(30.0, RATE), format="MP3", subtype="MPEG_LAYER_III")
    other = make("other.wav", voice(1.0, RATE))
    opened, decoded = [], []
    original = audio_io.open_source, soundfile.SoundFile.read

    def counted_open(audio):
        opened.append(audio)
        return original[0](audio)

    def counted_read(self, *arguments, **options):
        decoded.append(1)
        return original[1](self, *arguments, **options)

    monkeypatch.setattr(audio_io, "open_source", counted_open)
    monkeypatch.setattr(soundfile.SoundFile, "read", counted_read)
    reader = AudioReader()
    for second in range(29):
        reader.read_waveform(path, start=float(second), duration=1.0)
    assert opened == [str(path)]
    assert len(decoded) == 8  # pieces of 65,536 samples in 30 s
    reader.read_waveform(other, duration=0.5)
    assert opened == [str(path), str(other)]
    reader.close()


def test_after_an_error_the_reader_goes_on(make, voice):
    path = make("clip.wav", voice(1.0, RATE))
    reader = AudioReader()
    with pytest.raises(AudioError, match="lies outside the file"):
        reader.read_waveform(path, start=5.0)
    samples = voice(3.0, RATE)
    samples[40000] = np.nan
    bad = make("bad.wav", samples, subtype="FLOAT")
    assert len(reader.read_waveform(bad, start=0.0, duration=1.0).samples) == RATE
    with pytest.raises(AudioError, match="NaN"):
        reader.read_waveform(bad, start=2.0, duration=1.0)
    assert len(reader.read_waveform(bad, start=1.0, duration=1.0).samples) == RATE
    flac = make("cut.flac", voice(9.0, RATE), format="FLAC")
    flac.write_bytes(flac.read_bytes()[:-9000])
    with pytest.raises(AudioError):
        reader.read_waveform(flac)
    np.testing.assert_array_equal(
        reader.read_waveform(flac, duration=1.0).samples, read_waveform(flac, duration=1.0).samples
    )
    reader.close()
