import os

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
    assert ids(tmp_path) == ["a/to_b/y.wav", "a/x.wav", "b/to_a/x.wav", "b/y.wav"]


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
