"""What is refused, and what is not said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.errors import StorageError
from speechtok.storage import as_path, is_store, is_uri, redact

SECRETS = {
    "s3://AKIA:sesame@bucket/a.wav": "s3://…@bucket/a.wav",
    "https://h/b/a.wav?X-Amz-Signature=sesame&x=1": "https://h/b/a.wav?X-Amz-Signature=…&x=1",
    "gs://b/a.wav?GoogleAccessId=me&Signature=sesame": "gs://b/a.wav?GoogleAccessId=…&Signature=…",
    "see https://h/x?sig=sesame, or s3://u:sesame@b/c": "see https://h/x?sig=… or s3://…@b/c",
}


@pytest.mark.parametrize(("text", "shown"), SECRETS.items())
def test_redact(text, shown):
    assert redact(text).replace(",", "") == shown.replace(",", "")
    assert "sesame" not in redact(text)


@given(st.text("abcdefgh/._-#ü ", min_size=1))
def test_redact_leaves_the_rest(text):
    assert redact(f"s3://bucket/{text}") == f"s3://bucket/{text}"


@pytest.mark.parametrize("text", ["s3://k:sesame@b/a", "s3://b/a?X-Amz-Signature=sesame"])
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
