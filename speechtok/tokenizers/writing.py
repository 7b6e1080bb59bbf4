"""Writing the folder of a tokenizer, each file whole or not at all.

Contents: `write_tokenizer`, `WEIGHTS_FILE`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from speechtok.cards import CARD_FILE, CardFile, TokenizerCard
from speechtok.storage import flush

WEIGHTS_FILE = "model.safetensors"
"""Name of the weights inside a folder that `save_pretrained` wrote."""


def write_tokenizer(
    folder: Path, card: TokenizerCard, entries: Mapping[str, Tensor], texts: Mapping[str, str] | None = None
) -> None:
    """Write weights, texts and card, so that `load_tokenizer(folder)` gives the tokenizer; what is there is replaced.

    Args:
        folder: where to write.
        card: what was released; the files it names become those that are written.
        entries: name → tensor; no file of weights is written without any.
        texts: name of a file → what it holds.

    Raises:
        OSError: when it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = texts or {}
    for name, text in texts.items():
        with _whole(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if entries:
        values = {name: value.detach().cpu().contiguous() for name, value in entries.items()}
        with _whole(folder / WEIGHTS_FILE) as temporary:
            temporary.touch()
            mode = temporary.stat().st_mode  # safetensors lets nobody else read what it writes
            try:
                save_file(values, temporary)
                temporary.chmod(mode)
            except SafetensorError as error:  # what a full disk becomes in safetensors
                raise OSError(str(error)) from error
    names = (*texts, WEIGHTS_FILE) if entries else tuple(texts)
    with _whole(folder / CARD_FILE) as temporary:
        card.with_files(tuple(CardFile(path=name) for name in names)).write(temporary)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Give the temporary name that a file is written under, and rename it at the end."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
