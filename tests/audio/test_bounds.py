"""What reading may cost: headers that lie, recordings too long to hold, numbers without sense."""

import tracemalloc

import numpy as np
import pytest

from speechtok.audio import blocks
from speechtok.audio.io import AudioReader, probe_audio, read_blocks, read_waveform
from speechtok.audio.location import location_of
from speechtok.errors import AudioError

RATE = 16000


@pytest.fixture(scope="module")
def silence(tmp_path_factory):
    """Ten hours in half a megabyte."""
    import soundfile

    path = tmp_path_factory.mktemp("long") / "silence.flac"
    with soundfile.SoundFile(path, "w", 8000, 1) as file:
        hour = np.zeros(8000 * 3600, np.int16)
        for _ in range(10):
            file.write(hour)
    return path


def test_half_a_second_of_ten_hours(silence):
    tracemalloc.start()
    try:
        assert len(read_waveform(silence, start=30_000, duration=0.5, sample_rate=RATE).samples) == 8000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_ten_hours_are_not_held_at_once(silence):
    assert probe_audio(silence).duration == 36_000
    with pytest.raises(
        AudioError,
        match=r"silence\.flac': 36000\.000 s of it would be held at once, and 16777\.216 s may be; "
        r"cut it with --segment, or read it in blocks\.",
    ):
        read_waveform(silence, sample_rate=RATE)
    assert len(next(read_blocks(silence, sample_rate=RATE))) == 30 * RATE


def test_a_reader_holds_no_more_than_it_is_told(make, voice):
    path = make("a.wav", voice(3.0, RATE))
    reader = AudioReader()
    with pytest.raises(
        AudioError, match=r"a\.wav': 3\.000 s of it would be held at once, and 2\.000 s may be"
    ):
        reader.read_waveform(path, max_seconds=2)
    assert len(reader.read_waveform(path, max_seconds=3).samples) == 3 * RATE
    assert len(reader.read_waveform(path, duration=1.0, max_seconds=2).samples) == RATE
    reader.close()


def test_a_low_rate_is_counted_at_the_rate_wanted(make, monkeypatch):
    monkeypatch.setattr(blocks, "WAVEFORM_SAMPLES", 30_000)
    path = make("a.wav", np.zeros(1001), 1000)
    with pytest.raises(AudioError, match=r"1\.001 s of it would be held at once, and 0\.938 s may be"):
        read_waveform(path, sample_rate=32_000)
    assert len(read_waveform(path, sample_rate=16_000).samples) == 16_016


@pytest.mark.parametrize("rate", [1, 499, 6_144_001, 2**31 - 1])
@pytest.mark.parametrize("container", ["WAV", "AU"])
def test_rates_that_are_none(make, rate, container):
    path = make("a.wav", np.zeros(100), rate, format=container)
    with pytest.raises(
        AudioError, match=rf"its header states a rate of {rate} Hz, and only 500 to 6144000 Hz can be sound\."
    ):
        probe_audio(path)


@pytest.mark.parametrize("rate", [500, 4000, 6_144_000])
def test_odd_rates(make, rate):
    assert len(read_waveform(make("a.wav", np.zeros(600), rate)).samples) == 600


def test_flac_headers_that_claim_hours(make, voice):
    path = make("a.flac", voice(0.05, RATE))
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
    path.write_bytes(data)
    with pytest.raises(
        AudioError, match=r"its header promises 68719476735 samples, which its \d+ bytes cannot hold"
    ):
        probe_audio(path)


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_ogg_pages_that_claim_hours(make, voice, subtype):
    path = make("a.ogg", voice(0.5, RATE), subtype=subtype)
    data = bytearray(path.read_bytes())
    last = data.rfind(b"OggS")
    data[last + 6 : last + 14] = (2**40).to_bytes(8, "little")
    path.write_bytes(data)
    with pytest.raises(AudioError, match=r"which its \d+ bytes cannot hold|cut|no samples"):
        probe_audio(path)


def test_many_channels(make):
    path = make("a.wav", np.zeros((100, 1000)))
    tracemalloc.start()
    try:
        assert len(read_waveform(path).samples) == 100
        assert tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "part",
    [
        "offset=" + "9" * 5000,
        "offset=" + "9" * 5000 + "&bytes=1&member=x",
        "offset=1&bytes=" + "9" * 5000 + "&member=x",
        "row=" + "9" * 5000 + "&column=audio",
        "row=99999999999999999999&column=audio",
        "channel=" + "9" * 5000,
        "channel=99999999999999999999",
        "rate=" + "9" * 5000,
        "rate=99999999999999999999",
        "rate=999999999999999999",
        "rate=1",
        "offset=99999999999999999999&bytes=9&member=x",
        "offset=9223372036854775807&bytes=9&member=x",
        "offset=0&bytes=99999999999999999999&member=x",
        "offset=-1",
        "channel=-1",
        "rate=0",
        "rate=nan",
    ],
)
@pytest.mark.parametrize("name", ["a.wav", "a.pcm", "a.parquet", "a.arrow"])
def test_places_that_cannot_be(make, voice, part, name):
    path = make("a.wav", voice(0.1, RATE)).rename
    path = path(make("b.wav", voice(0.1, RATE)).with_name(name))
    location_of(f"{path}#{part}")
    for read in (probe_audio, read_waveform):
        with pytest.raises(AudioError) as caught:
            read(f"{path}#{part}")
        assert len(str(caught.value)) < 6000


@pytest.mark.parametrize(
    "name", ["a\0.wav", "a\0b/c.wav", "\0", "a.wav\0#channel=0", "x" * 300, "x/" * 3000, "\udcff.wav"]
)
def test_names_that_no_file_has(tmp_path, name):
    for read in (probe_audio, read_waveform):
        with pytest.raises(AudioError, match="Cannot read "):
            read(f"{tmp_path}/{name}")
        with pytest.raises(AudioError, match="Cannot read "):
            read(f"{tmp_path}/{name}.tar#offset=512&bytes=9&member=x")
        with pytest.raises(AudioError, match="Cannot read "):
            read(f"{tmp_path}/{name}.parquet#row=0&column=audio")


@pytest.mark.parametrize(
    ("start", "duration"), [(1e308, None), (0.0, 1e308), (1e308, 1e308), (0.05, 1.7e308), (1e300, 1.0)]
)
def test_times_beyond_all_numbers(make, voice, start, duration):
    path = make("a.wav", voice(0.1, RATE))
    with pytest.raises(
        AudioError, match=r"the segment from \S+ s to .{1,12} lies outside the file, which is 0\.100 s long"
    ):
        read_waveform(path, start=start, duration=duration)
