"""Recordings inside other files: tar members, cells of tables, single channels."""

import io
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from speechtok.audio.io import probe_audio, read_waveform
from speechtok.audio.location import Location, is_location, location_of
from speechtok.errors import AudioError

RATE = 16000
numbers = st.integers(0, 2**40)
names = st.text(min_size=1).filter(lambda text: not is_location(text))


@given(
    path=names,
    channel=st.none() | st.integers(0, 9),
    part=st.none()
    | st.tuples(numbers, numbers, st.text()).map(
        lambda t: dict(zip(("offset", "bytes", "member"), t, strict=True))
    )
    | st.tuples(numbers, st.text(min_size=1)).map(lambda t: dict(zip(("row", "column"), t, strict=True)))
    | numbers.map(lambda offset: {"offset": offset})
    | st.integers(1, 10**6).map(lambda rate: {"rate": rate}),
)
def test_what_is_written_is_read(path, channel, part):
    place = Location(path=path, channel=channel, **(part or {}))
    assert location_of(str(place)) == place
    assert place.is_whole_file == (part is None or "rate" in part)


@pytest.mark.parametrize(
    "path",
    [
        "a.wav",
        "take #2.wav",
        "a#channel.wav",
        "#row=1",
        "x#offset=1&bytes=2",
        "a#row=1",
        "a#b=1",
        f"a.ark#offset={'9' * 5000}",
    ],
)
def test_ordinary_paths_stay_paths(path):
    assert location_of(path) == Location(path=path)
    assert not is_location(path)


def test_the_last_part_may_hold_anything():
    place = location_of("a#1/x.tar#channel=1&offset=512&bytes=7&member=b&c=d#row=1&column=e.wav")
    assert place == Location(
        path="a#1/x.tar", channel=1, offset=512, bytes=7, member="b&c=d#row=1&column=e.wav"
    )


@pytest.fixture
def pack(tmp_path):
    """Put a file into a tar, a Parquet and an Arrow file; return its places there."""

    def pack(path):
        content = path.read_bytes()
        with tarfile.open(tmp_path / "all.tar", "w") as tar:
            for name in ("before.txt", path.name):
                header = tarfile.TarInfo(name)
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
        with tarfile.open(tmp_path / "all.tar") as tar:
            member = tar.getmember(path.name)
        cells = [None, {"bytes": None, "path": "a.wav"}, {"bytes": content, "path": path.name}]
        table = pa.table({"id": [1, 2, 3], "audio": cells, "raw": [None, b"", content]})
        pq.write_table(table, tmp_path / "all.parquet", row_group_size=2)
        with pa.ipc.new_stream(tmp_path / "all.arrow", table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
        with pa.ipc.new_file(tmp_path / "file.arrow", table.schema) as writer:
            writer.write_table(table)
        return [
            f"{tmp_path}/all.tar#offset={member.offset_data}&bytes={member.size}&member={path.name}",
            *(f"{tmp_path}/{name}#row=2&column=audio" for name in ("all.parquet", "all.arrow", "file.arrow")),
            f"{tmp_path}/all.parquet#row=2&column=raw",
        ]

    return pack


@pytest.mark.parametrize(
    ("container", "sample_format"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("OGG", "OPUS"), ("NIST", "PCM_16")],
)
def test_every_place_gives_the_same_samples(make, voice, pack, container, sample_format):
    path = make("clip.bin", voice(1.0, RATE), format=container, subtype=sample_format)
    for place in pack(path):
        assert probe_audio(place) == probe_audio(path)
        np.testing.assert_array_equal(read_waveform(place).samples, read_waveform(path).samples)
        segment = read_waveform(place, start=0.25, duration=0.5, sample_rate=8000)
        again = read_waveform(path, start=0.25, duration=0.5, sample_rate=8000)
        np.testing.assert_array_equal(segment.samples, again.samples)


def test_one_channel(make, voice, pack):
    both = np.stack([voice(0.5, RATE, 1), voice(0.5, RATE, 2)], axis=1)
    path = make("two.wav", both, subtype="FLOAT")
    for place in (f"{path}#", f"{pack(path)[0].replace('#', '#channel=1&')}"):
        place = place if "&" in place else f"{place}channel=1"
        assert probe_audio(place).num_channels == 1
        np.testing.assert_array_equal(read_waveform(place, channels="error").samples, both[:, 1])
    with pytest.raises(
        AudioError, match=r"Cannot read '.*two.wav#channel=2': it has 2 channels, counted from 0"
    ):
        read_waveform(f"{path}#channel=2")


def test_messages_name_the_place(make, voice, pack, tmp_path):
    path = make("clip.wav", voice(0.1, RATE))
    tar, parquet, *_ = pack(path)
    path.write_bytes(b"not audio at all, but words")
    for place in pack(path):
        with pytest.raises(AudioError) as caught:
            read_waveform(place)
        assert str(caught.value) == f"Cannot read {place!r}: it is not audio but text."
    size = (tmp_path / "all.tar").stat().st_size
    reasons = {
        f"{tar.split('#')[0]}#offset=512&bytes=99999999&member=x": f"all.tar ends {99999999 - size + 512} bytes too early",
        f"{tmp_path}/no.tar#offset=512&bytes=9&member=x": "no.tar cannot be read .No such file",
        f"{tmp_path}/no.parquet#row=0&column=audio": "no.parquet cannot be read .No such file",
        parquet.replace("row=2", "row=0"): "its row 0 holds no audio in column audio",
        parquet.replace("row=2", "row=1"): "its row 1 holds no audio in column audio",
        parquet.replace("row=2", "row=7"): "its row 7, column audio, cannot be read .*it has 3 rows",
        parquet.replace("=audio", "=wav"): "its row 2, column wav, cannot be read",
        f"{path}#row=0&column=audio": "it does not end as a Parquet file does",
    }
    for place, reason in reasons.items():
        with pytest.raises(AudioError, match=reason):
            read_waveform(place)


def test_row_groups_are_read_once_for_neighbours_and_let_go(tmp_path, monkeypatch):
    from speechtok.audio import cells

    def clip(seed):
        out = io.BytesIO()
        soundfile.write(
            out, np.random.default_rng(seed).standard_normal(4000) / 9, RATE, format="WAV", subtype="FLOAT"
        )
        return {"bytes": out.getvalue(), "path": None}

    table = pa.table({"audio": [clip(seed) for seed in range(8)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    read = []
    original = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda self, group, **rest: read.append(group) or original(self, group, **rest),
    )
    monkeypatch.setattr(cells, "KEPT_BYTES", 40000)
    for row in [0, 1, 2, 3, 2, 6, 7, 0]:
        waveform = read_waveform(f"{tmp_path}/a.parquet#row={row}&column=audio")
        expected = np.random.default_rng(row).standard_normal(4000) / 9
        np.testing.assert_array_equal(waveform.samples, expected.astype(np.float32))
    assert read == [0, 1, 3, 0]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_32"])
def test_wav_recordings_of_an_archive(tmp_path, subtype):
    waves = [np.linspace(-1, 0.5, 100 + 10 * i) for i in range(3)]
    offsets = []
    with (tmp_path / "wav.ark").open("wb") as ark:
        for index, wave in enumerate(waves):
            ark.write(f"utt{index} ".encode())
            offsets.append(ark.tell())
            content = io.BytesIO()
            soundfile.write(content, wave, RATE, format="WAV", subtype=subtype)
            ark.write(content.getvalue())
    for wave, offset in zip(waves, offsets, strict=True):
        found = read_waveform(f"{tmp_path}/wav.ark#offset={offset}")
        step = 2.0 ** (1 - (16 if subtype == "PCM_16" else 32))
        assert found.source_sample_rate == RATE
        np.testing.assert_allclose(found.samples, wave, rtol=0, atol=step + 1e-7)
    with pytest.raises(AudioError, match="no WAV recording begins there; only archives of WAV recordings"):
        read_waveform(f"{tmp_path}/wav.ark#offset={offsets[1] + 1}")
    with pytest.raises(AudioError, match="no WAV recording begins there"):
        read_waveform(f"{tmp_path}/wav.ark#offset=1000000")
    data = bytearray((tmp_path / "wav.ark").read_bytes())
    data[offsets[0] + 4 : offsets[0] + 8] = b"\xff" * 4
    (tmp_path / "wav.ark").write_bytes(data)
    with pytest.raises(AudioError, match="its WAV header does not state how long it is"):
        read_waveform(f"{tmp_path}/wav.ark#offset={offsets[0]}")
    (tmp_path / "wav.ark").write_bytes(data[:-20])
    with pytest.raises(AudioError, match="bytes too early; it changed or was cut"):
        read_waveform(f"{tmp_path}/wav.ark#offset={offsets[2]}")


def test_samples_without_a_header(tmp_path):
    samples = np.array([0, 1, -1, 32_767, -32_768, *range(70_000)], "<i4").astype("<i2")
    (tmp_path / "a.pcm").write_bytes(samples.tobytes())
    place = f"{tmp_path}/a.pcm#rate=8000"
    info = probe_audio(place)
    assert (info.sample_rate, info.num_channels, info.num_samples) == (8000, 1, 70_005)
    np.testing.assert_array_equal(read_waveform(place).samples, samples.astype(np.float32) / 32_768)
    part = read_waveform(place, start=1.0, duration=0.5).samples
    np.testing.assert_array_equal(part, samples[8000:12_000].astype(np.float32) / 32_768)
    assert len(read_waveform(place, sample_rate=16_000).samples) == 140_010
    (tmp_path / "a.pcm").write_bytes(b"abc")
    with pytest.raises(AudioError, match="its 3 bytes are no 16-bit samples"):
        read_waveform(place)
    for content, sentence in ((b"", "the file is empty"), (None, "there is no such file")):
        (tmp_path / "a.pcm").write_bytes(content) if content is not None else (tmp_path / "a.pcm").unlink()
        with pytest.raises(AudioError, match=sentence):
            read_waveform(place)


def test_a_cell_that_inflates_without_bound(tmp_path):
    table = pa.table({"audio": [bytes(2**20)] * 80})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", use_dictionary=False)
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    with pytest.raises(
        AudioError, match=r"the column audio of its row group inflates from \S+ \S+ to 83\S* MB"
    ):
        read_waveform(f"{tmp_path}/a.parquet#row=3&column=audio")


def test_an_arrow_file_that_points_outside_itself(tmp_path):
    table = pa.table({"audio": [bytes(77_777)]})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    data = (tmp_path / "a.arrow").read_bytes()
    right, wrong = (np.array([0, stop], "<i4").tobytes() for stop in (77_777, 2**30))
    place = data.rfind(right)  # behind the metadata, in which the same numbers stand
    (tmp_path / "a.arrow").write_bytes(data[:place] + wrong + data[place + 8 :])
    with pytest.raises(AudioError, match="its row 0, column audio, cannot be read"):
        read_waveform(f"{tmp_path}/a.arrow#row=0&column=audio")
