"""Secrets stay out of texts, however they are spelled; other texts stay as they are."""

import base64
import logging
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechtok.redaction import guard_log, is_secret, redact, redact_all, remember, without_secrets

TOKEN = "hf_QwErTyUiOpAsDfGhJkLzXcVbNm12345678"
PLAIN = {
    "s3://AKIA:sesame@bucket/a.wav": "s3://…@bucket/a.wav",
    "http://me:se/sam@e@proxy:80/x": "http://…@proxy:80/x",
    "https://sesame@host/x": "https://…@host/x",
    "https://h/b/a.wav?X-Amz-Signature=sesame&x=1": "https://h/b/a.wav?X-Amz-Signature=…&x=1",
    "gs://b/a.wav?GoogleAccessId=me&Signature=sesame": "gs://b/a.wav?GoogleAccessId=…&Signature=…",
    "see https://h/x?sig=sesame or s3://u:sesame@b/c": "see https://h/x?sig=… or s3://…@b/c",
    "Authorization: Bearer sesame123": "Authorization: Bearer …",
    "Basic c2VzYW1lOng= said": "Basic … said",
    "key AKIASESAMEQ7W2E9R4T5": "key AKIA…",
    "hf_abcdefghijkl at x": "hf_… at x",
    "password=sesame, x": "password=…, x",
    "{'aws_secret_access_key': 'sesame x'}": "{'aws_secret_access_key': …}",
}


@pytest.fixture
def secrets(monkeypatch):
    values = {
        "HF_TOKEN": TOKEN,
        "DB_PASSWORD": "se/same",
        "https_proxy": "http://me:pa%40ss%2Fword@proxy:80",
        "PGPASSWORD": "hunter2",
        "TOKENIZERS_PARALLELISM": "false",
        "SSL_KEY_FILE": "/etc/ssl/keys",
        "MY_KEY": "x",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(("text", "shown"), PLAIN.items())
def test_what_looks_like_a_secret(text, shown):
    assert redact(text) == shown
    assert redact(shown) == shown


@given(st.text("abcdefgh/._-#ü @:", min_size=1))
def test_addresses_without_secrets_stay(text):
    address = f"s3://bucket/{text}"
    assert redact(address) == address
    assert redact("hf://datasets/me/set@v1/data") == "hf://datasets/me/set@v1/data"


SPELLINGS = {
    "whole": TOKEN,
    "in a sentence": f"<{TOKEN}>",
    "begin": TOKEN[:12],
    "middle": TOKEN[9:20],
    "spaced": " ".join(TOKEN),
    "with zero width": "\u200b".join(TOKEN),
    "dashed": "-".join(TOKEN),
    "in lines": "\n".join(TOKEN[at : at + 5] for at in range(0, len(TOKEN), 5)),
    "percent": "".join(f"%{byte:02X}" for byte in TOKEN.encode()),
    "escaped": "".join(f"\\x{byte:02x}" for byte in TOKEN.encode()),
    "hexadecimal": TOKEN.encode().hex(),
    "lower": TOKEN.lower(),
    **{f"base64 {n}": base64.b64encode(b"u" * n + b":" + TOKEN.encode() + b"z").decode() for n in range(3)},
    "password": "se/same",
    "quoted": quote("se/same", safe=""),
    "Basic": base64.b64encode(b"user:hunter2").decode(),
    "of a proxy": "pa%40ss%2Fword",
    "of a proxy, read": "pa@ss/word",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_the_environment_holds(secrets, spelling):
    text = SPELLINGS[spelling]
    shown = redact(f"before {text} after")
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert "$" in shown
    assert not [
        at for at in range(len(text) - 7) if text[at : at + 8] in shown and text[at : at + 8].strip("<>")
    ]
    assert redact(shown) == shown


def test_other_texts_stay(secrets):
    for text in (
        "x false /etc/ssl/keys",
        "these same hunters",
        "the token is odd",
        "hf_transfer is missing",
        "a/b",
        "",
    ):
        assert redact(text) == text


def test_values_in_structures(secrets):
    given = {"a": [f"x {TOKEN}", 1, None, ("hunter2",)], "b": {"c": True}}
    assert redact_all(given) == {"a": ["x $HF_TOKEN", 1, None, ["$PGPASSWORD"]], "b": {"c": True}}


def test_names():
    secret = (
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "db_password",
        "PGPASSWORD",
        "API_KEY",
        "APIKEY",
        "MY_PWD",
        "RAY_AUTH_TOKEN",
    )
    other = (
        "PWD",
        "OLDPWD",
        "HOME",
        "TOKENIZERS_PARALLELISM",
        "HF_TOKEN_PATH",
        "SSH_AUTH_SOCK",
        "KEYBOARD",
        "PATH",
    )
    assert [is_secret(name) for name in (*secret, *other)] == [True] * len(secret) + [False] * len(other)


def test_remembered_and_logged(monkeypatch):
    remember("from-a-file-9876543210", "hf_…")
    remember(None, "x")
    remember("a", "x")
    log, handler = logging.getLogger("some.library"), logging.Handler()
    lines = []
    handler.emit = lambda record: lines.append(record.getMessage())
    monkeypatch.setattr(log, "handlers", [handler])
    for _ in range(2):
        guard_log("some.library")
    log.warning("sent %s to %d", "from-a-file-9876543210", 5)
    assert lines == ["sent hf_… to 5"]
    assert len(handler.filters) == 1


def test_causes(secrets):
    def chained(*texts):
        error = None
        for text in texts:
            link = ValueError(text)
            link.__cause__, error = error, link
        return error

    assert without_secrets(chained("a", "b")) is not None
    assert without_secrets(chained(TOKEN, "a", "b")) is None
    assert without_secrets(chained("a", f"b {TOKEN[:20]}")) is None
    assert without_secrets(chained("a" * 200_000)) is None


def test_long_texts_take_no_long_time(secrets):
    """The work grows with the text, not with its square; the bound leaves room for a busy machine."""
    used = time.process_time()
    for text in ("a" * 50_000, "a://" * 12_500, "a:" * 25_000, "password='" * 5_000, "s3://a:b" * 6_000):
        redact(text)
    assert time.process_time() - used < 60
