"""Where the files of a tokenizer came from: what its card, and so each dataset made with it, records.

Contents: `provenance`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from speechtok.hub.download import origin_of
from speechtok.storage import file_sha256


def provenance(files: Mapping[str, Path]) -> list[dict[str, str]]:
    """Return what is known of each file, read from the file itself and from where it lies.

    Each entry has `path`, `sha256` and `origin`: "huggingface" with `repository` and `revision` (the commit)
    for a file of the Hub's cache, "local" for any other.

    Args:
        files: local path by published path.
    """
    entries = []
    for name, path in files.items():
        entry = {"path": name, "sha256": file_sha256(path)}
        if (found := origin_of(path)) is None:
            entry["origin"] = "local"
        else:
            entry |= {"origin": "huggingface", "repository": found[0], "revision": found[1]}
        entries.append(entry)
    return entries
