import numpy as np
import pytest

from speechtok.audio.io import probe_audio, read_waveform
from speechtok.errors import AudioError

# container, sample format, greatest error of one round trip
EXACT = [
    ("WAV", "PCM_16", 2**-15),
    ("WAV", "PCM_24", 2**-23),
    ("WAV", "PCM_32", 1e-7),
    ("WAV", "PCM_U8", 2**-7),
    ("WAV", "FLOAT", 0),
    ("WAV", "DOUBLE", 0),
    ("WAV", "ULAW", 0.02),
    ("WAV", "ALAW", 0.02),
    ("WAVEX", "PCM_16", 2**-15),
    ("RF64", "PCM_16", 2**-15),
    ("W64", "PCM_16", 2**-15),
    ("AIFF", "PCM_24", 2**-23),
    ("AU", "PCM_16", 2**-15),
    ("CAF", "PCM_16", 2**-15),
    ("CAF", "ALAC_16", 2**-15),
    ("NIST", "PCM_16", 2**-15),
    ("FLAC", "PCM_16", 2**-15),
    ("FLAC", "PCM_24", 2**-23),
    ("VOC", "PCM_16", 2**-15),
    ("IRCAM", "PCM_16", 2**-15),
    ("OGG", "VORBIS", None),
    ("OGG", "OPUS", None),
    ("MP3", "MPEG_LAYER_III", None),
]
PADDED = [
    ("WAV", "IMA_ADPCM", 0.2),
    ("WAV", "MS_ADPCM", 0.1),
    ("W64", "IMA_ADPCM", 0.2),
    ("WAV", "GSM610", None),
    ("W64", "GSM610", None),
    ("AIFF", "GSM610", None),
]


@pytest.mark.parametrize(("container", "sample_format", "tolerance"), EXACT + PADDED)
def test_what_was_written_is_read(make, voice, container, sample_format, tolerance):
    samples = voice(1.2, 16000)
    path = make("clip.bin", samples, format=container, subtype=sample_format)
    info, waveform = probe_audio(path), read_waveform(path)
    assert info.format == f"{container}/{sample_format}"
    assert (info.sample_rate, info.num_channels) == (16000, 1)
    assert len(waveform.samples) == info.num_samples >= len(samples)
    assert (container, sample_format, tolerance) in PADDED or info.num_samples == len(samples)
    assert waveform.samples.dtype == np.float32
    error = waveform.samples[: len(samples)] - samples
    if tolerance is None:  # a lossy format: alike, without a shift
        assert np.corrcoef(waveform.samples, samples)[0, 1] > 0.97
    else:
        assert np.abs(error).max() <= tolerance


@pytest.mark.parametrize(("container", "sample_format", "_"), EXACT + PADDED)
def test_a_segment_is_a_slice_of_the_whole(make, voice, container, sample_format, _):
    path = make("clip.bin", voice(3.0, 16000), format=container, subtype=sample_format)
    whole = read_waveform(path).samples
    for start, duration in [(0.0, 0.5), (0.0001, 0.1), (1.25, 0.7), (1.9, None), (2.5, 0.25)]:
        first = round(start * 16000)
        stop = None if duration is None else round((start + duration) * 16000)
        segment = read_waveform(path, start=start, duration=duration).samples
        np.testing.assert_array_equal(segment, whole[first:stop])


def test_integers_are_divided_by_half_their_range(make):
    path = make("clip.wav", np.array([-(2**15), 1, 2**15 - 1], np.int16))
    np.testing.assert_array_equal(read_waveform(path).samples * 2**15, [-(2**15), 1, 2**15 - 1])


def test_floats_above_full_scale_are_kept(make):
    path = make("clip.wav", np.array([4.0, -4.0, 0.0]), subtype="FLOAT")
    np.testing.assert_array_equal(read_waveform(path).samples, [4.0, -4.0, 0.0])


def test_the_content_decides_not_the_suffix(make, voice):
    path = make("clip.bin", voice(0.5, 16000), format="FLAC")
    for name in ("clip.wav", "clip.raw", "clip"):
        path = path.rename(path.with_name(name))
        assert probe_audio(path).format == "FLAC/PCM_16"
        assert len(read_waveform(path).samples) == 8000


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFFF - 36, 0x80000000])
def test_a_streaming_header_of_unknown_length_is_fine(make, voice, size):
    path = make("clip.wav", voice(0.5, 16000))
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = size.to_bytes(4, "little")
    path.write_bytes(data)
    assert probe_audio(path).num_samples == len(read_waveform(path).samples) == 8000


def test_a_flac_header_without_a_length_is_fine(make, voice):
    path = make("clip.flac", voice(10.0, 16000))
    whole = read_waveform(path).samples
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert probe_audio(path).num_samples == 160000
    np.testing.assert_array_equal(read_waveform(path).samples, whole)
    np.testing.assert_array_equal(read_waveform(path, start=5, duration=1).samples, whole[80000:96000])


def test_bytes_around_the_samples_do_no_harm(make, voice):
    path = make("clip.wav", voice(0.5, 16000))
    data = path.read_bytes()
    path.write_bytes(data[:36] + b"JUNK\x03\0\0\0abc\0" + data[36:] + bytes(range(100)))
    assert len(read_waveform(path).samples) == 8000


def test_an_mp3_file_without_a_length_in_its_header_is_counted(make, voice):
    quiet = make("quiet.mp3", voice(2.0, 16000), compression_level=0.99, bitrate_mode="CONSTANT")
    loud = make("loud.mp3", voice(2.0, 16000), compression_level=0.0, bitrate_mode="CONSTANT")
    path = quiet.with_name("both.mp3")
    frames = without_tag(quiet.read_bytes()) + without_tag(loud.read_bytes())
    path.write_bytes(b"ID3\x03\0\0\0\0\x02\0" + bytes(256) + frames)
    info = probe_audio(path)
    assert info.duration == pytest.approx(4.0, abs=0.3)  # by the first frame's bit rate it would be 40 s
    assert len(read_waveform(path).samples) == info.num_samples


def test_reading_prints_nothing(make, voice, capfd):
    path = make("clip.mp3", voice(12.0, 16000), bitrate_mode="VARIABLE")
    read_waveform(path, start=5.0, duration=2.0)
    read_waveform(path, sample_rate=8000)
    assert capfd.readouterr() == ("", "")


def without_tag(data):
    """An MP3 file less the first frame that states the length, if there is one."""
    return data[data.find(data[:2], 4) :] if b"Info" in data[:64] or b"Xing" in data[:64] else data


@pytest.mark.parametrize("num_samples", [1, 320, 640, 641, 960, 961, 8000])
def test_gsm_blocks_of_any_number(make, voice, num_samples):
    """libsndfile finds an odd number of blocks truncated, and counts the padding as one more."""
    path = make("clip.wav", voice(1.0, 8000)[:num_samples], 8000, subtype="GSM610")
    blocks = -(-num_samples // 320)
    waveform = read_waveform(path)
    assert len(waveform.samples) == probe_audio(path).num_samples == 320 * blocks
    halves = [read_waveform(path, duration=0.02).samples, read_waveform(path, start=0.02).samples]
    np.testing.assert_array_equal(np.concatenate(halves), waveform.samples)


@pytest.mark.parametrize("missing", [2, 33, 65, 66, 130, 400])
def test_gsm_that_is_cut(make, voice, missing):
    path = make("clip.wav", voice(1.0, 8000)[:7800], 8000, subtype="GSM610")
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(
        AudioError, match="the file is cut: its header promises 1625 bytes of samples, it holds"
    ):
        read_waveform(path)


def test_gsm_whose_header_states_part_of_a_block(make, voice):
    path = make("clip.wav", voice(1.0, 8000)[:7800], 8000, subtype="GSM610")
    data = path.read_bytes().replace(
        b"data" + (1625).to_bytes(4, "little"), b"data" + (1600).to_bytes(4, "little")
    )
    path.write_bytes(data)
    with pytest.raises(AudioError, match="the file is cut: its end is missing"):
        read_waveform(path)
