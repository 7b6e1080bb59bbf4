"""A corpus of any format is its slices, one after the other, however large they are."""

import io
import json
import math
import os
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speechtok.corpora import read_corpus
from speechtok.corpora.slices import Slice, of_length
from speechtok.errors import DatasetError
from tests.corpora.test_damaged import CORPORA
from tests.miniatures import MINIATURES

TEXT = "".join(f'{n}.wav,"line\nof, {n} ü",{n % 3}\n' for n in range(9))


def written(folder):
    """Corpora whose lists are longer than those of the other tests; the place of each below the folder."""
    folder.mkdir()
    (folder / "quoted.csv").write_text("\ufeffaudio,text,speaker\r\n" + TEXT)
    (folder / "some.jsonl").write_text(
        "\n".join(
            json.dumps({"audio": f"{n}.wav", "text": "ü" * n, **({"x": n} if n else {})}) for n in range(9)
        )
    )
    rows = [{"audio": f"{n}.wav", "text": f"{n}", "duration": 1.0} for n in range(9)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet", row_group_size=4)
    cells = [{"bytes": b"sound", "path": f"{n % 7}.wav"} for n in range(9)]
    table = pa.table({"audio": pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))})
    pq.write_table(table, folder / "cells.parquet", row_group_size=2)
    (folder / "kaldi").mkdir()
    for name, line in (("wav.scp", "r{n} {n}.wav"), ("text", "u{n} words of {n}"), ("utt2spk", "u{n} s{n}")):
        (folder / "kaldi" / name).write_text("".join(line.format(n=n) + "\n" for n in range(9)))
    (folder / "kaldi" / "segments").write_text("".join(f"u{8 - n} r{n} {n} {n + 2}\n" for n in range(9)))
    with tarfile.open(folder / "keys.tar", "w") as archive:
        for n in range(9):
            for name, content in (
                (f"{n}.wav", b"1" * 3000),
                (f"{n}.jpg", b"2"),
                (f"{n}.json", b'{"text": "x"}'),
            ):
                header = tarfile.TarInfo(f"{'long/' * 40}{name}")
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
    return ["quoted.csv", "some.jsonl", "rows.parquet", "cells.parquet", "kaldi", "keys.tar"]


def sliced(corpus, seconds):
    source = corpus.source
    parts = list(source.slices(source.files(), seconds))
    return parts, [item for part in parts for item, _ in source.read(part)]


def check(path):
    """Return the number of the finest slices, once all sizes were seen to give the same."""
    whole = list(read_corpus(path).utterances)
    counts = []
    for seconds in (math.inf, 20.0, 1e-3):
        corpus = read_corpus(path)
        parts, found = sliced(corpus, seconds)
        assert found == whole, seconds
        joined = list(of_length(parts, 30.0))
        assert [item for part in joined for item, _ in corpus.source.read(part)] == whole
        assert len(joined) <= len(parts)
        counts.append(len(parts))
    assert counts == sorted(counts)
    return counts[-1]


@pytest.mark.parametrize("name", [name for name in CORPORA if name != "kaldi/wav.scp"])
def test_lists_and_archives(tmp_path, name):
    for other, content in CORPORA.items():
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).write_bytes(content)
    for recording in ("lj/a.wav", "lj/b.wav", "lj/c.wav", "folder/a.wav"):
        (tmp_path / recording).write_bytes(b"x")
    assert check(tmp_path / name.partition("/")[0])


def test_longer_lists(tmp_path, monkeypatch):
    monkeypatch.setattr("speechtok.corpora.webdataset.LEAST_BYTES", 0)
    for name in written(tmp_path / "corpora"):
        assert check(tmp_path / "corpora" / name) >= 5, name


@pytest.mark.parametrize("name", MINIATURES)
def test_published_corpora(tmp_path, write_corpus, name):
    assert check(MINIATURES[name](tmp_path, write_corpus)) >= 2


def test_columns_of_slices(tmp_path):
    """What holds for a list holds for each of its slices: names of columns, and of NeMo's where others lack them."""
    lines = [{"audio_filepath": "a.wav", "offset": 1.0, "duration": 2.0}, {"audio_filepath": "b.wav"}]
    (tmp_path / "nemo.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    _, found = sliced(read_corpus(tmp_path / "nemo.json"), 1e-3)
    assert [(item.id, item.start) for item in found] == [("a.wav:1.000-3.000", 1.0), ("b.wav", 0.0)]
    corpus = read_corpus(tmp_path / "nemo.json", columns={"text": "words"})
    with pytest.raises(DatasetError, match="line 1 has no column words"):
        sliced(corpus, 1e-3)


def test_no_recording_is_opened_to_slice(tmp_path, write_corpus):
    """A pipe nobody writes to would be waited for."""
    write_corpus(tmp_path / "c", {"a.wav": b"x", "a.txt": b"words"})
    os.mkfifo(tmp_path / "c" / "b.wav")
    source = read_corpus(tmp_path / "c").source
    (part,) = source.slices(source.files(), 60.0)
    assert part.names == ("a.txt", "a.wav", "b.wav")
    assert [(item.id, item.text) for item, _ in source.read(part)] == [("a.wav", "words"), ("b.wav", None)]


def test_large_archives_are_whole(tmp_path):
    """Unless the corpus had too few slices then."""
    names = written(tmp_path / "corpora")
    source = read_corpus(tmp_path / "corpora" / names[-1]).source
    assert [(part.start, part.stop) for part in source.slices(source.files(), 1e-3)] == [(0, None)]


def test_slices_that_follow_each_other():
    one, other = Slice(container="a", stop=5, seconds=1.0), Slice(container="a", start=5, seconds=2.0)
    assert one.joined(other) == Slice(container="a", seconds=3.0)
    assert other.joined(one) is None
    assert one.joined(Slice(container="b", start=5)) is None
    assert list(of_length([one, other], 2.0)) == [Slice(container="a", seconds=3.0)]
    assert list(of_length([one, other], 1.0)) == [one, other]
