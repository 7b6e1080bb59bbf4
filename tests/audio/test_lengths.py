"""Files that hold more, or other things, than their headers say: all of it is read, or none."""

import numpy as np
import pytest

from speechtok.audio.io import probe_audio, read_waveform
from speechtok.errors import AudioError

RATE = 16000


def synchsafe(number):
    return bytes(number >> shift & 127 for shift in (21, 14, 7, 0))


def id3(size=300, flags=0):
    footer = b"3DI\x04\0" + bytes([flags]) + synchsafe(size) if flags & 0x10 else b""
    return b"ID3\x04\0" + bytes([flags]) + synchsafe(size) + bytes(size) + footer


ID3V1 = b"TAG" + bytes(125)
APE = b"APETAGEX" + (2000).to_bytes(4, "little") + (132).to_bytes(4, "little") + bytes(16)
APE = APE[:20] + b"\0\0\0\xa0" + bytes(108) + APE[:20] + b"\0\0\0\x80" + bytes(8)
LYRICS = b"LYRICSBEGININD0000200" + b"000021LYRICS200"
JUNK = np.random.default_rng(0).bytes(5000)


@pytest.fixture
def encode(make, voice):
    """Return the bytes of an encoded clip, and what is read of it alone."""

    def encode(name, seconds=3.0, seed=0, rate=RATE, **options):
        path = make(name, voice(seconds, rate, seed), rate, **options)
        return path.read_bytes(), read_waveform(path).samples

    return encode


@pytest.fixture
def put(tmp_path):
    def put(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return put


def all_of(path):
    """Return what is read, after a look that the plan would say so and that segments are parts of it."""
    samples = read_waveform(path).samples
    assert probe_audio(path).num_samples == len(samples)
    segment = read_waveform(path, start=len(samples) / RATE - 1, duration=0.5).samples
    first = round((len(samples) / RATE - 1) * RATE)
    np.testing.assert_array_equal(segment, samples[first : first + RATE // 2])
    return samples


def retagged(data, frames=None, num_bytes=None, flags=None):
    tag = max(data.find(b"Xing"), data.find(b"Info"))
    data = bytearray(data)
    for offset, value in ((4, flags), (8, frames), (12, num_bytes)):
        if value is not None:
            data[tag + offset : tag + offset + 4] = value.to_bytes(4, "big")
    return bytes(data)


def untagged(data):
    """An MP3 file less the first frame, which states the length."""
    return data[data.find(data[:2], 4) :] if b"Info" in data[:64] or b"Xing" in data[:64] else data


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("frames", [0, 1, 40, 83, 86, 87, 200, 2**31, 2**32 - 1])
def test_an_mp3_tag_with_another_number_of_frames(encode, put, mode, frames):
    data, samples = encode("a.mp3", bitrate_mode=mode)
    path = put("b.mp3", retagged(data, frames=frames))
    np.testing.assert_array_equal(all_of(path), samples)


@pytest.mark.parametrize("num_bytes", [0, 5000])
def test_an_mp3_tag_with_fewer_bytes(encode, put, num_bytes):
    data, samples = encode("a.mp3")
    np.testing.assert_array_equal(all_of(put("b.mp3", retagged(data, num_bytes=num_bytes))), samples)


@pytest.mark.parametrize("flags", [0, 2, 4])
def test_an_mp3_tag_without_frames(encode, put, flags):
    data, samples = encode("a.mp3")
    assert 0 <= len(all_of(put("b.mp3", retagged(data, flags=flags)))) - len(samples) < 2304


@pytest.mark.parametrize("frames", [0.97, 1.03])
def test_a_large_mp3_whose_tag_is_almost_right_is_refused_when_it_is_read(make, voice, put, frames):
    data = make("a.mp3", voice(30.0, 44100), 44100, bitrate_mode="VARIABLE").read_bytes()
    assert len(data) > 65536
    tag = max(data.find(b"Xing"), data.find(b"Info"))
    stated = int.from_bytes(data[tag + 8 : tag + 12], "big")
    path = put("b.mp3", retagged(data, frames=int(stated * frames)))
    with pytest.raises(AudioError, match=r"the file is cut|is not what the file holds"):
        read_waveform(path)
    assert len(read_waveform(path, duration=5).samples) == 5 * 44100


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (id3(), b""),
        (id3(flags=0x10), b""),
        (id3(flags=0x40), b""),
        (id3(flags=0x80), b""),
        (id3() + id3(5000), b""),
        (id3() + bytes(3000), b""),
        (bytes(5000), b""),
        (JUNK, b""),
        (b"ID3\x04\0\0" + synchsafe(20) + JUNK, b""),
        (b"ID3\x04\0\0" + synchsafe(10**8), b""),
        (b"", ID3V1),
        (b"", APE),
        (b"", APE + ID3V1),
        (b"", LYRICS + ID3V1),
        (b"", JUNK),
        (b"", bytes(5000)),
        (id3(), ID3V1),
    ],
)
def test_what_lies_around_an_mp3(encode, put, capfd, before, behind):
    data, samples = encode("a.mp3")
    np.testing.assert_array_equal(all_of(put("b.mp3", before + data + behind)), samples)
    plain = untagged(data)
    alone = all_of(put("c.mp3", plain))
    np.testing.assert_array_equal(all_of(put("c.mp3", before + plain + behind)), alone)
    assert capfd.readouterr() == ("", "")


def test_joined_mp3_files(encode, put):
    one, samples = encode("a.mp3")
    two, others = encode("b.mp3", 2.0, seed=1, bitrate_mode="CONSTANT")
    np.testing.assert_array_equal(all_of(put("c.mp3", one + two)), np.concatenate([samples, others]))
    joined = one + ID3V1 + id3() + two + APE + one
    np.testing.assert_array_equal(all_of(put("c.mp3", joined)), np.concatenate([samples, others, samples]))
    twice = all_of(put("c.mp3", 2 * untagged(one)))
    assert len(twice) == 2 * len(all_of(put("c.mp3", untagged(one))))


def test_joined_mp3_files_that_differ(encode, put):
    one, _ = encode("a.mp3")
    two, _ = encode("b.mp3", rate=44100)
    with pytest.raises(
        AudioError, match=r"joined from parts that differ \(layer III, 16000 Hz, one channel; lay"
    ):
        read_waveform(put("c.mp3", one + two))


def test_an_mp3_file_of_varying_bit_rate_without_a_tag(encode, put):
    loud, _ = encode("a.mp3", 1.0, compression_level=0.0, bitrate_mode="CONSTANT")
    quiet, _ = encode("a.mp3", 5.0, compression_level=0.99, bitrate_mode="CONSTANT")
    parts = [len(all_of(put("c.mp3", untagged(data)))) for data in (loud, quiet)]
    for data in (loud + quiet, quiet + loud):
        both = untagged(data[: len(loud)]) if data.startswith(loud) else untagged(data[: len(quiet)])
        both += untagged(data[len(loud) :]) if data.startswith(loud) else untagged(data[len(quiet) :])
        assert len(all_of(put("c.mp3", both))) == sum(parts)


def test_an_mp3_cut_in_its_last_frame(encode, put):
    data, samples = encode("a.mp3")
    cut = all_of(put("b.mp3", data[:-20]))
    assert len(samples) - 1152 <= len(cut) < len(samples)


@pytest.mark.parametrize("container", ["FLAC", "WAV", "OGG", "AIFF", "AU", "CAF", "W64", "RF64", "NIST"])
@pytest.mark.parametrize("tag", [id3(), id3() + id3(4000, 0x10)])
def test_any_container_behind_a_tag(encode, put, container, tag):
    data, samples = encode("a.bin", format=container)
    np.testing.assert_array_equal(all_of(put("b.mp3", tag + data)), samples)


@pytest.mark.parametrize("behind", [ID3V1, APE + ID3V1, JUNK, bytes(70_000)])
def test_what_lies_behind_a_flac(encode, put, behind):
    data, samples = encode("a.flac")
    np.testing.assert_array_equal(all_of(put("b.flac", data + behind)), samples)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize("stated", [0, 1, 16000, 47999])
@pytest.mark.parametrize("around", [(b"", b""), (id3(), ID3V1)])
def test_a_flac_header_that_states_less(encode, put, subtype, stated, around):
    data, samples = encode("a.flac", subtype=subtype)
    wrong = bytearray(data)
    wrong[21] &= 0xF0
    wrong[22:26] = stated.to_bytes(4, "big")
    np.testing.assert_array_equal(all_of(put("b.flac", around[0] + wrong + around[1])), samples)


def test_joined_flac_files(encode, put):
    one, samples = encode("a.flac")
    two, others = encode("b.flac", 2.0, seed=1)
    np.testing.assert_array_equal(all_of(put("c.flac", one + two)), np.concatenate([samples, others]))
    np.testing.assert_array_equal(all_of(put("c.flac", two + one)), np.concatenate([others, samples]))
    with pytest.raises(AudioError, match="which is not what the file holds: it was joined from several"):
        read_waveform(put("c.flac", one + one))  # its last frame is the one that was promised
    assert len(read_waveform(put("c.flac", one + one), duration=1).samples) == RATE


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_chained_ogg(encode, put, subtype):
    one, samples = encode("a.ogg", subtype=subtype)
    two, others = encode("b.ogg", 2.0, seed=1, subtype=subtype)
    expected = np.concatenate([samples, others, samples])
    for joined in (one + two + one, id3() + one + two + one, one + JUNK + two + one + ID3V1):
        np.testing.assert_array_equal(all_of(put("c.ogg", joined)), expected)
    np.testing.assert_array_equal(
        read_waveform(put("c.ogg", one + two), start=2.5, duration=1.0).samples, expected[40000:56000]
    )


def test_a_long_chained_ogg(encode, put):
    one, samples = encode("a.opus", 40.0, format="OGG", subtype="OPUS")
    two, others = encode("b.opus", 1.0, seed=1, format="OGG", subtype="OPUS")
    one, samples = 2 * one, np.concatenate([samples, samples])
    assert len(one) > 262_144
    np.testing.assert_array_equal(all_of(put("c.ogg", one + two)), np.concatenate([samples, others]))
    with pytest.raises(AudioError, match="is not what the file holds"):
        read_waveform(put("c.ogg", one))  # both parts have one serial number, which is against the rules


def test_chained_ogg_that_differs(encode, put):
    one, _ = encode("a.ogg", subtype="OPUS")
    for two, _ in (
        encode("b.ogg", rate=48000, subtype="OPUS"),
        encode("b.ogg", subtype="VORBIS"),
    ):
        with pytest.raises(
            AudioError, match=r"it is joined from parts that differ \(OGG/OPUS, 16000 Hz, channels: 1"
        ):
            probe_audio(put("c.ogg", one + two))


def test_damaged_ogg_chains(encode, put):
    one, _ = encode("a.ogg", subtype="OPUS")
    two, _ = encode("b.ogg", seed=1, subtype="OPUS")
    with pytest.raises(AudioError, match="the file is cut: it ends without the mark of a last page"):
        probe_audio(put("c.ogg", one[:-2000] + two))
    with pytest.raises(AudioError, match=r"the stream of the page at byte \d+ has no beginning"):
        probe_audio(put("c.ogg", one + two[two.find(b"OggS", 4) :]))
    page = one.find(b"OggS", 4)
    with pytest.raises(AudioError, match="several streams run side by side"):
        probe_audio(put("c.ogg", one[:page] + two[: two.find(b"OggS", 4)] + one[page:]))


def test_too_many_streams(encode, put):
    one, _ = encode("a.mp3", 0.1)
    with pytest.raises(AudioError, match="it is joined from 4097 parts, more than 4096; separate them"):
        probe_audio(put("b.mp3", 4097 * one))


def patched(data, mark, offset, value, size=4, order="little"):
    place = data.find(mark) + offset
    return data[:place] + (value % 256**size).to_bytes(size, order) + data[place + size :]


@pytest.mark.parametrize(
    ("container", "subtype", "mark", "offset", "size", "order"),
    [
        ("WAV", "PCM_16", b"data", 4, 4, "little"),
        ("WAV", "FLOAT", b"data", 4, 4, "little"),
        ("WAV", "ULAW", b"data", 4, 4, "little"),
        ("WAV", "IMA_ADPCM", b"data", 4, 4, "little"),
        ("AU", "PCM_16", b".snd", 8, 4, "big"),
        ("AIFF", "PCM_16", b"SSND", 4, 4, "big"),
        ("CAF", "PCM_16", b"data", 4, 8, "big"),
    ],
)
@pytest.mark.parametrize("before", [b"", id3()])
def test_samples_behind_the_end_that_a_header_states(
    encode, put, container, subtype, mark, offset, size, order, before
):
    data, samples = encode("a.bin", format=container, subtype=subtype)
    for stated in (1, 2, 400, len(data) // 2, len(data) - 12_000):
        path = put("b.bin", before + patched(data, mark, offset, stated, size, order))
        with pytest.raises(
            AudioError,
            match=rf"its header promises {stated} bytes of samples, but more follow \(\d+ bytes in all\); repair",
        ):
            probe_audio(path)
    np.testing.assert_array_equal(all_of(put("b.bin", before + data + bytes(50_000))), samples)
    np.testing.assert_array_equal(all_of(put("b.bin", before + data + JUNK[:400])), samples)


def test_a_wav_header_whose_two_sizes_are_too_small(encode, put):
    data, _ = encode("a.wav")
    with pytest.raises(AudioError, match="promises 9000 bytes of samples, but more follow"):
        probe_audio(put("b.wav", patched(patched(data, b"data", 4, 9000), b"RIFF", 4, 9036)))


def test_joined_wav_files(encode, put):
    data, _ = encode("a.wav")
    with pytest.raises(AudioError, match="promises 96000 bytes of samples, but more follow"):
        probe_audio(put("b.wav", data + data))


def test_chunks_behind_the_samples(encode, put):
    data, samples = encode("a.wav", 1.0)
    chunks = b"LIST" + (10_004).to_bytes(4, "little") + b"INFO" + bytes(range(250)) * 40
    for behind in (chunks, chunks * 3, b"id3 \3\0\0\0abc\0" + chunks, b"id3 \3\0\0\0abc" + chunks):
        np.testing.assert_array_equal(all_of(put("b.wav", data + behind)), samples)


@pytest.mark.parametrize(
    ("container", "mark", "offset", "size", "order"),
    [
        ("AU", b".snd", 8, 4, "big"),
        ("AIFF", b"SSND", 4, 4, "big"),
        ("CAF", b"data", 4, 8, "big"),
        ("W64", b"data\xf3", 16, 8, "little"),
        ("WAV", b"data", 4, 4, "little"),
    ],
)
@pytest.mark.parametrize("before", [b"", id3()])
def test_a_header_that_does_not_know_its_length(encode, put, container, mark, offset, size, order, before):
    data, samples = encode("a.bin", format=container)
    path = put("b.bin", before + patched(data, mark, offset, -1, size, order))
    np.testing.assert_array_equal(all_of(path), samples)


@pytest.mark.parametrize(
    "chunk",
    [
        b"junk\0\0\0\0" * 200_000,
        b"".join(
            b"LIST" + (8 * (9000 - number) + 4).to_bytes(4, "little") + b"LIST" for number in range(9000)
        ),
        b"cue " + (2**31 - 1).to_bytes(4, "little") + (2**30).to_bytes(4, "little") + bytes(240),
        b"cue " + (244).to_bytes(4, "little") + (2**31 - 1).to_bytes(4, "little") + bytes(240),
        b"smpl" + (60).to_bytes(4, "little") + bytes(28) + b"\xff\xff\xff\x7f" + bytes(28),
        b"bext" + (2**31 - 1).to_bytes(4, "little") + bytes(700),
    ],
)
def test_wav_headers_of_hostile_chunks(encode, put, chunk):
    data, samples = encode("a.wav")
    path = put("b.wav", data[:36] + chunk + data[36:])
    try:
        found = all_of(path)
    except AudioError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        np.testing.assert_array_equal(found, samples)


@pytest.mark.parametrize(("offset", "size"), [(2, 2), (4, 4), (8, 4), (12, 2), (14, 2)])
@pytest.mark.parametrize("value", [0, 1, 1000, -1, 2**31 - 1])
def test_wav_headers_with_numbers_at_their_limits(encode, put, offset, size, value):
    data, _ = encode("a.wav", 0.5)
    path = put("b.wav", patched(data, b"fmt ", 8 + offset, value, size))
    try:
        assert probe_audio(path).num_samples == len(read_waveform(path).samples)
    except AudioError as error:
        assert str(path) in str(error)  # noqa: PT017
