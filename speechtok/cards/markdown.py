"""READMEs with a YAML head, in which programs and people write side by side.

Contents: `with_head`, `split_head`, `merge`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from speechtok.cards.yaml_file import dump_yaml, parse_yaml
from speechtok.errors import CardError


def with_head(head: Mapping[str, Any], body: str) -> str:
    """Return a README of a YAML head and Markdown."""
    return f"---\n{dump_yaml(head)}---\n\n{body}"


def split_head(text: str) -> tuple[dict[str, Any], str]:
    """Return head and body of a README; without a head, or with one that is no YAML mapping, all is body."""
    found = re.match(r"---\n(.*?)^---\n\n?", text, flags=re.DOTALL | re.MULTILINE)
    if found is None:
        return {}, text
    try:
        head = parse_yaml(found[1], "The head of the README")
    except CardError:
        return {}, text
    if not isinstance(head, dict) or not all(isinstance(name, str) for name in head):
        return {}, text
    return head, text[found.end() :]


def merge(text: str, old: str, stale: Collection[str] = ()) -> str:
    """Return a README together with what only an older one says: fields of its head, tags, and sections (`## …`).

    Args:
        text: what is true now.
        old: what stood there before.
        stale: names of fields and sections of the old one that are no longer true.
    """
    (head, body), (old_head, old_body) = split_head(text), split_head(old)
    fields = {name: value for name, value in old_head.items() if name not in head and name not in stale}
    tags = [*head.get("tags", []), *(old_tags if isinstance(old_tags := old_head.get("tags"), list) else [])]
    head |= fields | ({"tags": list(dict.fromkeys(tags))} if tags else {})
    ours = {title for title, _ in _sections(body)}
    others = [part for title, part in _sections(old_body) if title not in ours and title not in stale]
    return with_head(head, "\n".join(part.rstrip("\n") + "\n" for part in (body, *others)))


def _sections(body: str) -> list[tuple[str, str]]:
    """Return title and text of each section; what stands before the first one is left out."""
    parts: list[tuple[str, str]] = []
    in_code = False
    for line in body.splitlines(keepends=True):
        in_code ^= line.startswith("```")
        if line.startswith("## ") and not in_code:
            parts.append((line[3:].strip(), line))
        elif parts:
            title, text = parts[-1]
            parts[-1] = (title, text + line)
    return parts
