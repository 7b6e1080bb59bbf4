import io
import json
import tarfile

import pytest

from speechtok.audio.location import Location, location_of
from speechtok.corpora import read_corpus
from speechtok.errors import DatasetError


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
        ([("a.txt", "x")], r"a.tar must have one recording for 'a', but has: none"),
        ([("a.json", "{"), ("a.wav", b"1")], r"has the member 'a.json', which is no JSON: Expecting"),
        ([("a.json", "[1]"), ("a.wav", b"1")], r"has the member 'a.json', which must hold a JSON object"),
        ([("a.txt", b"\xff"), ("a.wav", b"1")], r"has the member 'a.txt', which is no TXT: 'utf-8'"),
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
    whole = write_tar(tmp_path / "b.tar", [("a.wav", b"1" * 30000)]).read_bytes()
    path.write_bytes(whole[:9000])
    with pytest.raises(DatasetError, match=r"a.tar cannot be read as a tar archive \(unexpected end of data"):
        utterances(path)
