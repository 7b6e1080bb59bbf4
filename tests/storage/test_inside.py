"""Names that others chose never lead out of the folder they are meant for."""

import pytest

from speechtok.errors import StorageError
from speechtok.storage import download_folder, inside
from tests.s3 import put_key

HOSTILE = [
    "../out",
    "a/../../out",
    "..",
    ".",
    "",
    "/etc/out",
    "a//out",
    "a/./out",
    "a/",
    "C:/out",
    "c:out",
    "a\\..\\..\\out",
    "\\\\host\\share\\out",
    "a\0b",
    "a\nb",
    "a\x1b[2Jb",
    "a\x85b",
    "a\ud800b",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_are_refused(tmp_path, name):
    for follow_links in (False, True):
        with pytest.raises(StorageError, match="only plain paths below it are taken; rename it") as caught:
            inside(tmp_path / "folder", name, follow_links=follow_links)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "name", ["a", "a b/ü.bin", "..a", "a..b/...", ".git/config", "音/è\u3000x", "a'b\"c$(d)"]
)
def test_names_that_are_taken(tmp_path, name):
    assert inside(tmp_path, name) == tmp_path / name


def test_links_are_not_followed_out(tmp_path):
    folder, outside = tmp_path / "real", tmp_path / "outside"
    for place in (folder / "sub", outside):
        place.mkdir(parents=True)
    (tmp_path / "folder").symlink_to(folder)
    for link, target in {
        "file": outside / "x",
        "dir": outside,
        "sub/up": "../..",
        "loop": "loop",
        "within": "sub",
    }.items():
        (folder / link).symlink_to(target)
    for name in ("file", "dir/x", "dir", "sub/up/x", "loop/x"):
        with pytest.raises(StorageError, match=r"through a link that leads out of .*; remove the link"):
            inside(tmp_path / "folder", name)
    assert inside(tmp_path / "folder", "within/x") == tmp_path / "folder" / "within" / "x"
    assert inside(folder, "file", follow_links=True) == folder / "file"


@pytest.mark.parametrize("name", ["../out", "a/../../../out", "a\\..\\out", "C:/out", "bell\x07"])
def test_keys_of_a_store_stay_in_the_copy(s3, tmp_path, name):
    """All names are looked at before the first object is fetched."""
    folder = s3 / "some" / "weights"
    (folder / "a.bin").put(b"good")
    put_key(folder, name, b"bad")
    with pytest.raises(StorageError, match="only plain paths below it are taken") as caught:
        download_folder(folder)
    assert repr(name)[1:-1] in str(caught.value)
    assert str(caught.value).isprintable()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_links_in_the_kept_copy(s3, tmp_path):
    folder, outside = s3 / "weights", tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_bytes(b"mine")
    (folder / "sub" / "a.bin").put(b"1")
    copy = download_folder(folder)
    for link, target in {
        "sub/a.bin": outside / "x",
        "sub/.a.bin.version": outside / "x",
        "sub": outside,
    }.items():
        for path in sorted(copy.rglob("*"), reverse=True):
            path.unlink() if path.is_symlink() or path.is_file() else path.rmdir()
        (copy / link).parent.mkdir(exist_ok=True)
        (copy / link).symlink_to(target)
        with pytest.raises(StorageError, match="through a link that leads out of"):
            download_folder(folder)
        assert [(path.name, path.read_bytes()) for path in outside.iterdir()] == [("x", b"mine")]


def test_names_that_no_disk_can_hold(s3):
    folder = s3 / "weights"
    (folder / "a").put(b"1")
    (folder / "a" / "b").put(b"2")
    with pytest.raises(
        StorageError, match=r"could not be copied to .* names in the store can be those of files"
    ):
        download_folder(folder)
    (s3 / "long" / ("x" * 300)).put(b"1")
    with pytest.raises(StorageError, match=r"could not be copied to .*File name too long"):
        download_folder(s3 / "long")


def test_a_store_that_lists_what_was_not_asked(s3, monkeypatch):
    listed = {"path": "elsewhere/a.wav", "size": 1, "e_tag": "x", "version": None}
    monkeypatch.setattr("obstore.list", lambda *arguments, **options: [[listed]])
    with pytest.raises(
        StorageError, match=r"could not be listed: the store names '\w+/elsewhere/a\.wav', which lies"
    ):
        list((s3 / "corpus").files())
