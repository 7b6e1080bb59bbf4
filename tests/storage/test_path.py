"""`StorePath` against a real S3 server."""

import pytest


def test_objects(s3):
    path = s3 / "a" / "b.txt"
    assert not path.exists()
    assert path.put(b"one") is not None
    assert path.read_bytes() == b"one"
    assert path.is_file()
    assert not path.is_dir()
    assert (s3 / "a").is_dir()
    assert path.stat().st_size == 3
    path.unlink()
    path.unlink()
    assert not path.is_file()
    with pytest.raises(FileNotFoundError):
        path.read_bytes()
    with pytest.raises(FileNotFoundError):
        path.open("rb")
