import os
from itertools import pairwise

import pytest

from speechtok.corpora import read_corpus
from speechtok.errors import DatasetError


def ids(path):
    return [item.id for item in read_corpus(path).utterances]


def test_tree(tmp_path, write_corpus):
    names = [
        "b/2.wav",
        "b/1.flac",
        "a.wav",
        "B.WAV",
        "no suffix",
        "b.txt",
        "b/notes.txt",
        ".hidden.wav",
        ".git/x.wav",
    ]
    write_corpus(tmp_path / "corpus", {name: b"fLaC" if " " in name else b"x" for name in names})
    corpus = read_corpus(tmp_path / "corpus")
    assert corpus.kind == "folder"
    assert corpus.name == "corpus"
    assert corpus.root == tmp_path / "corpus"
    assert [item.id for item in corpus.utterances] == ["B.WAV", "a.wav", "b/1.flac", "b/2.wav", "no suffix"]
    assert all(item.audio == item.id and item.segment_seconds is None for item in corpus.utterances)
    assert corpus.ignored == {".txt": 2}


@pytest.mark.parametrize(
    "name", ["-rf.wav", "a b.wav", "zwei\nZeilen.wav", "日本語.wav", "a'b\"c.wav", "$HOME.wav", "%s.wav"]
)
def test_odd_names(tmp_path, write_corpus, name):
    write_corpus(tmp_path, {name: 0.1, f"-d/{name}": 0.1})
    assert ids(tmp_path) == sorted([name, f"-d/{name}"])


def test_name_that_is_no_text(tmp_path, write_corpus):
    write_corpus(tmp_path, {"a.wav": b"x"})
    (tmp_path / "a.wav").rename(tmp_path / "\udcff.wav")
    with pytest.raises(
        DatasetError, match=r"has the name '\\udcff.wav', which is no valid Unicode; rename it"
    ):
        ids(tmp_path)


def test_links(tmp_path, write_corpus):
    """Links are followed, loops are not, and a dangling link is left for the job to report."""
    write_corpus(tmp_path, {"in/a.wav": b"x", "elsewhere/b.wav": b"x"})
    corpus = tmp_path / "in"
    (corpus / "there").symlink_to(tmp_path / "elsewhere")
    (corpus / "loop").symlink_to(corpus)
    (corpus / "up").symlink_to("..")
    (tmp_path / "elsewhere" / "self").symlink_to(".")
    (corpus / "dangling.wav").symlink_to("nowhere.wav")
    assert ids(corpus) == ["a.wav", "dangling.wav", "there/b.wav"]


def test_mutual_links_end(tmp_path, write_corpus):
    write_corpus(tmp_path, {"a/x.wav": b"x", "b/y.wav": b"x"})
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")
    assert ids(tmp_path) == ["a/x.wav", "b/y.wav"]


def test_a_graph_of_links_is_gone_through_once(tmp_path, write_corpus):
    """Of 22 folders, each with two links to the next, which makes 2 ** 22 ways."""
    folders = [tmp_path / "outside" / str(number) for number in range(23)]
    for one, other in pairwise(folders):
        other.mkdir(parents=True)
        one.mkdir(parents=True, exist_ok=True)
        (one / "left").symlink_to(other)
        (one / "right").symlink_to(other)
    write_corpus(folders[-1], {"x.wav": b"x"})
    write_corpus(tmp_path / "in" / ".hidden", {"y.wav": b"x"})
    (tmp_path / "in" / "graph").symlink_to(folders[0])
    (tmp_path / "in" / "seen").symlink_to(".hidden")
    assert ids(tmp_path / "in") == [f"graph/{'left/' * 22}x.wav", "seen/y.wav"]


def test_deep_folders(tmp_path, write_corpus, run_python):
    """Deeper than the stack may be."""
    write_corpus(tmp_path, {f"{'d/' * 400}x.wav": b"x"})
    script = """
import sys
from speechtok.corpora import read_corpus
corpus = read_corpus(sys.argv[1])
sys.setrecursionlimit(300)
print([item.id for item in corpus.utterances][0].count("d/"))
"""
    assert run_python(script, tmp_path).strip() == "400"


def test_texts_beside_recordings(tmp_path, write_corpus):
    names = {
        "a.wav": b"x",
        "a.txt": "\ufeffgood\r\nmorning \n".encode(),
        "a-1.flac": b"x",
        "a-1.lab": b"good evening",
        "b/1.2.wav": b"x",
        "b/1.2.normalized.txt": b"mister",
        "b/1.2.original.txt": b"Mr.",
        "b/2.wav": b"x",
        "b/2.lab": b"0 1000 sil\n1000 2000 g\n",
        "c.wav": b"x",
        "c.txt": b"\xff",
        "d.wav": b"x",
        "e.wav": b"x",
        "readme.txt": b"about",
    }
    write_corpus(tmp_path, names)
    os.mkfifo(tmp_path / "d.txt")
    (tmp_path / "e.lab").write_bytes(b"a" * 2_000_000)
    corpus = read_corpus(tmp_path)
    assert {item.id: item.text for item in corpus.utterances} == {
        "a.wav": "good morning",
        "a-1.flac": "good evening",
        "b/1.2.wav": "mister",
        "b/2.wav": None,
        "c.wav": None,
        "d.wav": None,
        "e.wav": None,
    }
    assert corpus.ignored == {".txt": 2, "transcripts that cannot be read": 3}


def test_no_audio(tmp_path, write_corpus):
    with pytest.raises(DatasetError, match=r"holds no audio file; found: nothing\."):
        ids(tmp_path)
    write_corpus(tmp_path, {"a.txt": b"", "b.txt": b"", "c": b""})
    with pytest.raises(DatasetError, match=r"holds no audio file; found: 2 .txt, 1 no suffix\."):
        ids(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_unreadable_folder(tmp_path, write_corpus):
    write_corpus(tmp_path, {"a.wav": b"x", "b/c.wav": b"x"})
    (tmp_path / "b").chmod(0)
    try:
        with pytest.raises(DatasetError, match="b cannot be read: Permission denied"):
            ids(tmp_path)
    finally:
        (tmp_path / "b").chmod(0o700)


def test_folder_that_vanishes(tmp_path, write_corpus, monkeypatch):
    """As any folder that cannot be listed: its recordings must not go missing in silence."""
    write_corpus(tmp_path, {"a.wav": b"x", "b/c.wav": b"x"})
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("b"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DatasetError, match="b cannot be read: Permission denied"):
        ids(tmp_path)


# --- telling formats apart ---


def test_nothing_there(tmp_path):
    with pytest.raises(DatasetError, match=f"There is no corpus at {tmp_path / 'no'}"):
        read_corpus(tmp_path / "no")


def test_unknown_format(tmp_path):
    (tmp_path / "list.txt").write_text("a.wav\n")
    with pytest.raises(DatasetError, match=r"list\.txt is no corpus format known here; give a folder"):
        read_corpus(tmp_path / "list.txt")


def test_columns_are_for_manifests(tmp_path, write_corpus):
    with pytest.raises(
        DatasetError, match="of the format folder, whose columns have no names that could be changed"
    ):
        read_corpus(write_corpus(tmp_path, {"a.wav": b"x"}), columns={"audio": "path"})
