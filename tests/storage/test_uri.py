"""What is refused, and what is not said."""

import pytest

from speechtok.errors import StorageError
from speechtok.storage import as_path, is_store, is_uri


@pytest.mark.parametrize(
    "text", ["s3://k:sesame@b/a", "s3://k:se/sesame@b/a", "s3://b/a?X-Amz-Signature=sesame"]
)
def test_credentials_are_refused(text):
    with pytest.raises(StorageError, match=r"holds credentials, .* give them in the environment") as caught:
        as_path(text)
    assert "sesame" not in str(caught.value)


def test_hub_revisions_are_no_credentials():
    assert str(as_path("hf://datasets/me/set@v1/data")) == "hf://datasets/me/set@v1/data"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "ftp://host/a",
            "ftp://host/a is of a kind unknown here; use s3://, gs://, hf://, file:// or a path",
        ),
        ("s3://", "s3:// names no bucket"),
        ("file://", "file:// names no file"),
    ],
)
def test_errors(text, message):
    with pytest.raises(StorageError, match=message):
        as_path(text)


def test_kinds(tmp_path):
    assert is_uri("s3://b")
    assert not is_uri("/a/s3:/b")
    assert is_store("S3://b/c")
    assert not is_store("file:///a")
    assert as_path(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
    assert as_path(str(tmp_path)) == as_path(tmp_path) == tmp_path
