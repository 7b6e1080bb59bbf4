"""Secrets stay out of whatever is printed, logged or written; where one stood, its name stands.

A secret is

- the value of an environment variable whose name says so (`HF_TOKEN`, `AWS_SECRET_ACCESS_KEY`, `DB_PASSWORD`, …), the
  password in an address that a variable holds (a proxy, an endpoint), and what `remember` was told;
- what looks like one: user names and passwords in addresses, signatures behind them, access tokens of the Hub,
  key ids of AWS, `Bearer …`, `password=…`.

Those known by value are found percent-encoded too, and in base64 or hexadecimal. Long ones are also found where only a
part is left of them, or where other characters stand between theirs.

Contents: `redact`, `redact_all`, `without_credentials`, `without_secrets`, `is_secret`, `remember`, `guard_log`.
"""

from __future__ import annotations

import base64
import logging
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus, unquote

SHORTEST = 6
"""Shorter values are words that messages need."""
LONG = 16
"""Letters and digits from which a secret is found in parts …"""
PART = 8
"""… of so many of them."""
MAX_LOOKED_THROUGH = 100_000
"""Characters of an error's text; a longer one is what a server sent, and no cause to show."""

_WORDS = ("TOKEN", "KEY", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "PASS", "PWD", "JWT")
_PLACES = ("PATH", "FILE", "DIR", "SOCK")
_USERINFO = re.compile(
    r"(?<![A-Za-z0-9+.-])(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,20}://)"
    r"(?:[^/\s'\"]{0,500}|[^/:\s@'\"]{1,200}:[^\s'\"]{0,500})@"
)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s:@/]*:(?P<password>\S+)@[^\s@]*")
_SIGNED = re.compile(
    r"(?P<name>[?&](?:X-(?:Amz|Goog)-[A-Za-z-]+|AWSAccessKeyId|GoogleAccessId|Signature|Expires|Key-Pair-Id|Policy"
    r"|sig|se|sp|sv|token|access_token|key|secret))=[^&\s'\"]*",
    re.IGNORECASE,
)
_LOOKS = (
    (re.compile(r"\b(?:hf|api)_(?!transfer\b)[A-Za-z0-9]{8,}|\beyJ[\w-]{10,}\.[\w.-]+"), "hf_…"),
    (re.compile(r"((?:Bearer|Basic) )(?!\$)[^\s'\",]{8,}"), r"\1…"),
    (re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{12,}"), r"\1…"),
    (
        re.compile(
            r"((?:passw(?:or)?d|secret(?:_access_key)?|session_token|access_token|api_?key)['\"]?[=:] ?)(?!['\"]?[$…])"
            r"(?:'[^']{0,500}'|\"[^\"]{0,500}\"|[^\s,;&)}\]'\"]+)",
            re.IGNORECASE,
        ),
        r"\1…",
    ),
)
_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})|\\u00([0-9A-Fa-f]{2})|\\x([0-9A-Fa-f]{2})|(.)", re.DOTALL)
_remembered: dict[str, str] = {}
"""Secrets that no variable holds → what stands for them."""


def redact(text: str) -> str:
    """Return a text without secrets."""
    short, long = _spellings(tuple(_secrets()))
    for spelling, name in short:
        text = text.replace(spelling, name)
    if long:
        text = _without_parts(text, long)
    for pattern, shown in _LOOKS:
        text = pattern.sub(shown, text)
    return without_credentials(text)


def redact_all(value: Any) -> Any:
    """Return plain values (dictionaries, lists, texts, numbers) without secrets in their texts."""
    if isinstance(value, Mapping):
        return {name: redact_all(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(item) for item in value]
    return redact(value) if isinstance(value, str) else value


def without_credentials(text: str) -> str:
    """Return a text without what addresses in it may hold of credentials: user names, keys, signatures."""
    return _SIGNED.sub(r"\g<name>=…", _USERINFO.sub(r"\g<scheme>…@", text))


def without_secrets(error: BaseException) -> BaseException | None:
    """Return an error to show as a cause; None when it, or what led to it, tells a secret."""
    link: BaseException | None = error
    while link is not None:
        if len(text := str(link)) > MAX_LOOKED_THROUGH or redact(text) != text:
            return None
        link = link.__cause__ or link.__context__
    return error


@lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Return whether the name of an environment variable says that its value is a secret."""
    words = name.upper().split("_")
    return (
        name not in ("PWD", "OLDPWD")
        and words[-1] not in _PLACES
        and any(word.endswith(_WORDS) for word in words)
    )


def remember(secret: str | None, name: str) -> None:
    """Keep a secret that no environment variable holds out of everything from now on; `name` stands for it."""
    if secret and len(secret) >= SHORTEST:
        _remembered[secret] = name


def guard_log(name: str) -> None:
    """Let what a library logs pass through `redact`."""
    for handler in logging.getLogger(name).handlers:
        if _redact_record not in handler.filters:
            handler.addFilter(_redact_record)


def _redact_record(record: logging.LogRecord) -> bool:
    record.msg, record.args = redact(record.getMessage()), None
    return True


def _secrets() -> Iterator[tuple[str, str]]:
    """Yield secrets known by value, and what stands for each; the names of variables last, since they say more."""
    yield from _remembered.items()
    for name, value in os.environ.items():
        if match := _ADDRESS.fullmatch(value):
            for spelling in {match["password"], unquote(match["password"])}:
                if len(spelling) >= SHORTEST:
                    yield spelling, f"${name}"
        elif is_secret(name) and len(value) >= SHORTEST:
            yield value, f"${name}"


@lru_cache(maxsize=8)
def _spellings(
    secrets: tuple[tuple[str, str], ...],
) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Return what to replace as it stands, the longest first, and parts of long secrets, each with its name."""
    short, long = dict[str, str](), dict[str, str]()
    for secret, name in secrets:
        content = secret.encode(errors="surrogateescape")
        coded = [content.hex(), *(_base64_core(content, before) for before in range(3))]
        for spelling in (secret, quote(secret, safe=""), quote_plus(secret), *coded):
            if len(spelling) >= SHORTEST:
                short[spelling] = name
        for spelling in (secret, *coded):
            plain = "".join(char.lower() for char in spelling if char.isalnum())
            if len(plain) >= LONG:
                long |= {plain[at : at + PART]: name for at in range(len(plain) - PART + 1)}
    return sorted(short.items(), key=lambda item: -len(item[0])), long


def _base64_core(content: bytes, before: int) -> str:
    """Return what base64 makes of a content behind so many other bytes, whatever these and those after it are."""
    coded = base64.b64encode(bytes(before) + content).decode().rstrip("=")
    return coded[-(-8 * before // 6) : 8 * (before + len(content)) // 6]


def _without_parts(text: str, parts: dict[str, str]) -> str:
    """Return a text without pieces of which the letters and digits, whatever is between them, are parts of secrets."""
    letters, spans = [], []
    for match in _ESCAPED.finditer(text):
        code = match[1] or match[2] or match[3]
        letter = (chr(int(code, 16)) if code else match[4]).lower()
        if len(letter) == 1 and letter.isalnum():
            letters.append(letter)
            spans.append(match.span())
    plain = "".join(letters)
    shown, end, stop = [], 0, -1
    for at in range(len(plain) - PART + 1):
        name = parts.get(plain[at : at + PART])
        if name is None:
            continue
        if at > stop:
            shown += [text[end : spans[at][0]], name]
        stop = at + PART - 1
        end = spans[stop][1]
    return "".join([*shown, text[end:]])
