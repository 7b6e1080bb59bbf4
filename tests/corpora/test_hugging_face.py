import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speechtok.audio.io import read_waveform
from speechtok.audio.location import location_of
from speechtok.corpora import read_corpus
from speechtok.errors import AudioError, DatasetError

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def cells(*paths, empty=False):
    return pa.array([{"bytes": None if empty else b"sound", "path": path} for path in paths], AUDIO)


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def utterances(path, **options):
    return list(read_corpus(path, **options).utterances)


def test_rows(tmp_path):
    path = write(
        tmp_path / "a.parquet",
        audio=cells("1.flac", None, None),
        text=["x", None, "z"],
        speaker=[7, 8, 9],
        duration=[1.5, 2.0, None],
        words=[["x"], [], ["z"]],
        raw=[b"1", b"2", b"3"],
        snr=[1.0, 2.0, 3.0],
    )
    corpus = read_corpus(path)
    assert (corpus.kind, corpus.name, corpus.root) == ("hugging_face", "a.parquet", tmp_path)
    one, two, three = corpus.utterances
    assert [item.id for item in (one, two, three)] == ["1.flac", "a.parquet:00000001", "a.parquet:00000002"]
    assert (one.text, one.speaker, one.seconds, one.extra) == ("x", "7", 1.5, {"snr": 1.0})
    assert (two.text, three.seconds, three.split) == (None, None, None)
    place = location_of(three.audio)
    assert (place.path, place.row, place.column) == ("a.parquet", 2, "audio")


def test_shards_splits_and_names(tmp_path):
    named = {"sentence": ["x"], "sex": [1], "wav": cells("1.wav")}
    write(tmp_path / "data" / "train.clean-00000-of-00001.parquet", **named)
    write(tmp_path / "other" / "test" / "0000.parquet", **named | {"wav": cells("2.wav")})
    write(tmp_path / "more.parquet", **named | {"wav": cells("3.wav")})
    found = utterances(tmp_path, columns={"text": "sentence"})
    assert [(item.id, item.split, item.text) for item in found] == (
        [("1.wav", "train.clean", "x"), ("3.wav", None, "x"), ("2.wav", "test", "x")]
    )
    binary = write(tmp_path / "b.parquet", mp3=[b"1"], id=["u"])
    assert read_corpus(binary).kind == "manifest"
    (item,) = utterances(binary, columns={"audio": "mp3"})
    assert (item.id, location_of(item.audio).column) == ("u", "mp3")


def test_classes_have_names(tmp_path):
    features = {"language": {"names": ["de", "en"], "_type": "ClassLabel"}}
    table = pa.table({"audio": cells("1", "2", "3"), "language": [1, 0, -1]})
    described = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    pq.write_table(table.replace_schema_metadata(described), tmp_path / "a.parquet")
    assert [item.language for item in utterances(tmp_path / "a.parquet")] == ["en", "de", None]


def test_cells_without_bytes_name_files(tmp_path):
    (item, _) = utterances(write(tmp_path / "a.parquet", audio=cells("x/1.flac", "2", empty=True)))
    assert item.audio == "x/1.flac"


def test_saved_datasets(tmp_path):
    from datasets import Audio, Dataset

    rows = [{"id": f"{n}", "audio": {"bytes": b"sound", "path": f"{n}.wav"}} for n in range(5)]
    dataset = Dataset.from_list(rows).cast_column("audio", Audio(decode=False))
    dataset.select([3, 1]).save_to_disk(tmp_path / "some")
    assert [item.id for item in utterances(tmp_path / "some")] == ["3", "1"]
    state = tmp_path / "some" / "state.json"
    content = json.loads(state.read_text())
    state.write_text(json.dumps(content | {"_indices_data_files": [{"filename": "x"}]}))
    with pytest.raises(DatasetError, match=r"holds a selection of rows; call `flatten_indices\(\)`"):
        utterances(tmp_path / "some")
    state.write_text("{")
    with pytest.raises(DatasetError, match=r"state.json' cannot be read as JSON \(Expecting"):
        utterances(tmp_path / "some")
    state.write_text(json.dumps(content))
    (tmp_path / "some" / content["_data_files"][0]["filename"]).write_bytes(b"no arrow")
    with pytest.raises(DatasetError, match=r"\.arrow cannot be read: "):
        utterances(tmp_path / "some")


def test_errors(tmp_path):
    write(tmp_path / "x" / "a.parquet", audio=cells("1"))
    write(tmp_path / "x" / "b.parquet", text=["x"])
    with pytest.raises(DatasetError, match=r"b.parquet has no column of audio; it has: text. Binary columns"):
        utterances(tmp_path / "x")
    with pytest.raises(DatasetError, match=r"a\.parquet has no column nix; it has: audio"):
        utterances(tmp_path / "x", columns={"text": "nix"})
    write(tmp_path / "x" / "b.parquet", audio=cells("1"))
    assert {item.id for item in utterances(tmp_path / "x")} == {"a.parquet:00000000", "b.parquet:00000000"}
    for name in ("a", "b"):
        write(tmp_path / "x" / f"{name}.parquet", audio=cells("1"), id=["u"])
    sentence = (
        r"'u' twice, at a\.parquet row 0 and at b\.parquet row 0; .*Name a column of ids with --column id"
    )
    with pytest.raises(DatasetError, match=sentence):
        utterances(tmp_path / "x")


def test_equal_paths(tmp_path):
    """Rows that name the same path are told apart, and lose nothing."""
    path = write(tmp_path / "a.parquet", audio=cells("a.wav", "b.wav", "a.wav"), text=["x", "y", "z"])
    assert [(item.id, item.text) for item in utterances(path)] == [
        ("a.parquet:00000000", "x"),
        ("b.wav", "y"),
        ("a.parquet:00000002", "z"),
    ]


@pytest.mark.parametrize("statistics", [True, False])
def test_bytes_beside_names_of_files(tmp_path, statistics):
    """In one row group, row by row; a file of the name that a cell with bytes has is nobody's."""
    values = [
        {"bytes": b"s", "path": "a.wav"},
        {"bytes": None, "path": "b.wav"},
        {"bytes": b"s", "path": None},
    ]
    table = pa.table({"audio": pa.array(values, AUDIO)})
    for name in "abc":
        (tmp_path / f"{name}.wav").write_bytes(b"x")
    pq.write_table(table, tmp_path / "t.parquet", write_statistics=statistics)
    corpus = read_corpus(tmp_path)
    found = [item.audio for item in corpus.utterances]
    assert found == ["t.parquet#row=0&column=audio", "b.wav", "t.parquet#row=2&column=audio"]
    assert corpus.ignored == {"recordings that no list names": 2}


def test_decoded_samples(tmp_path):
    sound = np.array([0.25, -0.5, 0.125], np.float32)
    kinds = {
        "double": (pa.list_(pa.float64()), sound.tolist()),
        "two": (pa.list_(pa.list_(pa.float32())), [sound.tolist(), (-sound).tolist()]),
        "whole": (pa.list_(pa.int16()), (sound * 32768).astype(int).tolist()),
    }
    for name, (kind, values) in kinds.items():
        kind = pa.struct([("array", kind), ("path", pa.string()), ("sampling_rate", pa.int64())])
        cell = {"array": values, "path": None, "sampling_rate": 8000}
        odd = [{**cell, "sampling_rate": 0}, {**cell, "array": None}, None]
        path = write(tmp_path / f"{name}.parquet", audio=pa.array([cell, *odd], kind))
        corpus = read_corpus(path)
        first, *others = corpus.utterances
        read = read_waveform(corpus.root / first.audio, channels="first")
        assert (read.samples.tolist(), read.sample_rate) == (sound.tolist(), 8000)
        for item in others:
            with pytest.raises(AudioError, match=r"its row \d holds no audio in column audio"):
                read_waveform(corpus.root / item.audio)


def test_columns_without_any_other(tmp_path):
    (tmp_path / "a.parquet").parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"mp3": [b"1"] * 3}), tmp_path / "a.parquet")
    assert len(utterances(tmp_path / "a.parquet", columns={"audio": "mp3"})) == 3


def test_arrow_whose_offsets_lead_outside(tmp_path):
    """Such a file once ended the process that read it."""
    from datasets import Dataset

    Dataset.from_dict(
        {"audio": [{"bytes": b"sound", "path": "a"}] * 4, "text": ["abcdefgh"] * 4}
    ).save_to_disk(tmp_path / "saved")
    (file,) = (tmp_path / "saved").glob("*.arrow")
    content = file.read_bytes()
    place = content.index(np.arange(0, 40, 8, np.int32).tobytes())
    file.write_bytes(content[: place + 8] + np.int32(1 << 30).tobytes() + content[place + 12 :])
    with pytest.raises(DatasetError, match=r"\.arrow cannot be read: .*[Oo]ffset"):
        utterances(tmp_path / "saved")


def test_names_that_lead_elsewhere(tmp_path):
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["../x"]}')
    with pytest.raises(DatasetError, match=r"names the file '\.\./x', which is none in this folder"):
        utterances(tmp_path)
    (tmp_path / "dataset_dict.json").unlink()
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "/etc/passwd"}]}')
    with pytest.raises(DatasetError, match=r"names the file '/etc/passwd', which is none in this folder"):
        utterances(tmp_path)
