import io
import json
import os
import re
import tarfile

import pyarrow.parquet as pq
import pytest

from speechtok.audio.location import Location, location_of
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.corpora import read_corpus
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.errors import DatasetError
from speechtok.shards.reader import TokenDataset


def write_tar(path, members, mode="w"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            content = content.encode() if isinstance(content, str) else content
            content = json.dumps(content).encode() if isinstance(content, dict) else content
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return path


def utterances(path, **options):
    return list(read_corpus(path, **options).utterances)


def test_members_of_a_key_are_one_utterance(tmp_path):
    described = {
        "text": "hello", "speaker": "s1", "language": "en", "duration": 2.5, "split": "dev",
        "dnsmos": 3.2, "id": "a1", "words": [1, 2],
    }  # fmt: skip
    members = [
        ("./x/a1.json", described),
        ("./x/a1.MP3", b"sound"),
        ("./x/._a1.mp3", b"macOS"),
        ("./x/a2.seg.flac", b"more sound"),
        ("./x/a2.txt", "\ufeff good bye \n"),
        ("./x/a2.lab", "?"),
        ("readme", "no utterance"),
    ]
    corpus = read_corpus(write_tar(tmp_path / "shards" / "000.tar", members))
    assert (corpus.kind, corpus.name, corpus.root) == ("webdataset", "000.tar", tmp_path / "shards")
    one, two = corpus.utterances
    assert [one.id, one.text, one.speaker, one.language, one.split, one.seconds] == (
        ["x/a1", "hello", "s1", "en", "dev", 2.5]
    )
    assert one.extra == {"dnsmos": 3.2}
    assert (two.id, two.text, two.seconds, two.segment_seconds) == ("x/a2", "good bye", None, None)
    place = location_of(one.audio)
    assert place == Location(path="000.tar", offset=place.offset, bytes=5, member="./x/a1.MP3")
    content = (tmp_path / "shards" / "000.tar").read_bytes()
    assert content[place.offset : place.offset + 5] == b"sound"
    assert corpus.ignored == {".lab": 1, "no suffix": 1}
    assert [item.id for item in corpus.utterances] == ["x/a1", "x/a2"]  # read anew
    assert corpus.ignored.total() == 2


def test_folders_long_names_and_columns(tmp_path):
    long = "d" * 90 + "/" + "n" * 120
    for number, key in enumerate(("a", long, "b")):
        name = tmp_path / f"{number % 2}" / f"{number:03d}.tar"
        write_tar(name, [(f"{key}.json", {"id": f"id-{number}", "says": "x"}), (f"{key}.wav", b"1")])
    (tmp_path / "0" / "sizes.json").write_text("{}")
    corpus = read_corpus(tmp_path)
    assert [item.id for item in corpus.utterances] == ["a", "b", long]
    assert corpus.ignored == {".json": 1}
    renamed = utterances(tmp_path, columns={"id": "id", "text": "says"})
    assert [(item.id, item.text) for item in renamed] == [("id-0", "x"), ("id-2", "x"), ("id-1", "x")]


def test_one_of_several_recordings(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("k.mic1.flac", b"1"), ("k.mic2.flac", b"22"), ("k.txt", "x")])
    with pytest.raises(DatasetError, match=r"one recording for 'k', but has: mic1.flac, mic2.flac. Choose"):
        utterances(path)
    (item,) = utterances(path, columns={"audio": "mic2.flac"})
    assert location_of(item.audio).bytes == 2


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        (
            [("a.wav", b"1"), ("b.wav", b"1"), ("a.wav", b"1")],
            r"has the id 'a' twice, at a.tar, key 'a' and at a.tar, key 'a'; ids must be unique",
        ),
        ([], "a.tar holds no utterance"),
    ],
)
def test_errors(tmp_path, members, sentence):
    with pytest.raises(DatasetError, match=sentence):
        utterances(write_tar(tmp_path / "a.tar", members))


def test_a_missing_field_is_named(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("a.json", {"sentence": "x"}), ("a.wav", b"1")])
    with pytest.raises(DatasetError, match=r"a\.tar, key 'a', has no column words; it has: sentence, id"):
        utterances(path, columns={"text": "words"})


def test_archives_that_cannot_be_read_in_place(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("a.wav", b"1" * 3000)], "w:gz")
    with pytest.raises(DatasetError, match=r"a.tar cannot be read as a tar archive .*must be unpacked"):
        utterances(path)
    write_tar(tmp_path / "b.tar", [("b.wav", b"1")])
    assert faults(tmp_path).items() >= {"b": None}.items()
    assert "must be unpacked" in faults(tmp_path)["a.tar"]


def faults(path):
    return {item.id: item.fault for item in utterances(path)}


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ([("a.txt", "x")], r"a.tar must have one recording for 'a', but has: txt"),
        ([("a.json", "{"), ("a.wav", b"1")], r"has the member 'a.json', which is no JSON: Expecting"),
        ([("a.json", "[" * 99_999), ("a.wav", b"1")], r"'a.json', which is no JSON: it is nested too deeply"),
        ([("a.json", "[1]"), ("a.wav", b"1")], r"has the member 'a.json', which must hold a JSON object"),
        ([("a.txt", b"\xff"), ("a.wav", b"1")], r"has the member 'a.txt', which is no TXT: 'utf-8'"),
        ([("a.txt", b"x" * 1_100_000), ("a.wav", b"1")], r"'a.txt', which is longer than 1.05 MB, the most"),
        ([("a.json", '{"text": "\\ud800"}'), ("a.wav", b"1")], "column text that is no valid Unicode"),
    ],
)
def test_what_is_wrong_with_one_key(tmp_path, members, sentence):
    found = faults(write_tar(tmp_path / "a.tar", [*members, ("b.wav", b"1")]))
    assert found["b"] is None
    assert re.search(sentence, found["a"])


@pytest.mark.parametrize("end", [9000, 32_256, 32_600])
def test_a_tar_that_was_cut(tmp_path, end):
    """Within a recording, between two members, and within a header: what lies before is used."""
    sizes = [("a.wav", 3000), ("b.wav", 28_000), ("c.txt", 10), ("c.wav", 10)]
    whole = write_tar(tmp_path / "a.tar", [(name, b"1" * size) for name, size in sizes]).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:end])
    write_tar(tmp_path / "b.tar", [("d.wav", b"1")])
    found = faults(tmp_path)
    assert (found["a"], found["d"]) == (None, None)
    if end == 9000:
        assert "a.tar ends within its member 'b.wav'; it was cut" in found["b"]
    else:
        assert found["b"] is None
    assert ("a.tar" in found) == (end != 32_256)
    if end != 32_256:
        assert "cannot be read any further than its member 'b.wav'" in found["a.tar"]


def test_damaged_headers(tmp_path):
    """Of each byte of a header changed, an utterance or a fault comes, and the end."""
    members = [("a.json", "{}"), ("a.wav", b"1"), ("b.wav", b"2")]
    path = write_tar(tmp_path / "a.tar", members)
    content = path.read_bytes()
    for place in range(1024, 1536, 7):
        for byte in (0, 255, 128):
            changed = bytearray(content)
            changed[place] = byte
            path.write_bytes(changed)
            found = faults(path)
            assert "a.tar" in found or set(found) >= {"a"}


def test_links_and_holes(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind, target in [
            ("./x/a.wav", tarfile.REGTYPE, ""),
            ("./x/b.wav", tarfile.LNKTYPE, "x/a.wav"),
            ("./x/b.txt", tarfile.REGTYPE, ""),
            ("y/c.wav", tarfile.SYMTYPE, "../x/b.wav"),
            ("y/d.wav", tarfile.LNKTYPE, "/etc/passwd"),
            ("y/e.wav", tarfile.SYMTYPE, "e.wav"),
        ]:
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, target
            header.size = 0 if target else 5
            tar.addfile(header, None if target else io.BytesIO(b"sound"))
    a, b, c, d, e = utterances(path)
    assert [item.id for item in (a, b, c, d, e)] == ["x/a", "x/b", "y/c", "y/d", "y/e"]
    assert b.text == "sound"
    assert len({(location_of(item.audio).offset, location_of(item.audio).bytes) for item in (a, b, c)}) == 1
    assert "a link to '/etc/passwd', which is not in the archive" in d.fault
    assert "a link to 'e.wav', which is not in the archive" in e.fault


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (["X_11.708_13.970.flac", "X_13.970_15.2.flac"], ["X_11.708_13.970", "X_13.970_15.2"]),
        (
            ["x/T 2.0 (C).json", "x/T 2.0 (C).mp3", "x/T 2.1.json", "x/T 2.1.mp3"],
            ["x/T 2.0 (C) {}", "x/T 2.1 {}"],
        ),
        (["1.normalized.txt", "1.original.txt", "1.wav"], ["1 1.normalized.txt 1.original.txt"]),
        (["1.original.txt", "1.wav"], ["1 1.original.txt"]),
        (["1.a.flac", "1.meta.json"], ["1 {}"]),
        (["1.5.flac", "1.5.txt", "1.7.txt"], ["1.5 1.5.txt", "1.7! 1.7.txt"]),
    ],
)
def test_names_with_dots(tmp_path, members, expected):
    path = write_tar(tmp_path / "a.tar", [(name, {} if ".json" in name else name) for name in members])
    found = []
    for item in utterances(path):
        words = [item.id + "!" * (item.fault is not None), item.text, item.extra.get("original_text")]
        has_json = any(name.endswith(".json") for name in members)
        found.append(" ".join([*filter(None, words), *(["{}"] if has_json and not item.text else [])]))
    assert found == expected


def test_a_pipe_is_no_archive(tmp_path):
    os.mkfifo(tmp_path / "a.tar")
    write_tar(tmp_path / "b.tar", [("b.wav", b"1")])
    assert "is a named pipe, not a tar archive" in faults(tmp_path)["a.tar"]
    with pytest.raises(DatasetError, match="is a pipe or a device; a corpus is a regular file or a folder"):
        read_corpus(tmp_path / "a.tar")


def test_what_is_wrong_is_quarantined(tmp_path, write_corpus):
    audio = write_corpus(tmp_path / "audio", {"a.wav": 0.3}) / "a.wav"
    members = [("a.txt", "x"), ("b.txt", "y"), ("b.wav", audio.read_bytes()), ("c.wav", audio.read_bytes())]
    content = write_tar(tmp_path / "a.tar", members).read_bytes()
    (tmp_path / "a.tar").write_bytes(content[:14_000])
    out = tmp_path / "out"
    for segment in (None, "fixed"):
        settings = JobSettings(segment=segment)
        report = tokenize_corpus(
            tmp_path / "a.tar", out / str(segment), settings=settings, run=RunSettings(workers=1)
        )
        assert (report.rows, report.quarantined) == (1, 3)
        rows = pq.read_table(next((out / str(segment) / "quarantine").glob("*.parquet"))).to_pylist()
        assert [(row["id"], row["stage"], row["error"]) for row in rows] == [
            (name, "read", "DatasetError") for name in ("a", "c", "a.tar")
        ]
        again = tokenize_corpus(
            tmp_path / "a.tar", out / str(segment), settings=settings, run=RunSettings(workers=1)
        )
        assert (again.shards_made, again.quarantined) == (0, 3)
        assert "plan:fault" not in TokenDataset(out / str(segment)).columns
