"""Writing the folder of a tokenizer, each file whole or not at all.

Contents: `write_tokenizer`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from speechtok.cards import CARD_FILE, TokenizerCard
from speechtok.storage import flush
from speechtok.tokenizers.base import WEIGHTS_FILE


def write_tokenizer(folder: Path, card: TokenizerCard, entries: Mapping[str, Tensor]) -> None:
    """Write weights and card, so that `load_tokenizer(folder)` gives the tokenizer; what is there is replaced.

    Args:
        folder: where to write.
        card: names the file of weights.
        entries: name → tensor.

    Raises:
        OSError: when it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{WEIGHTS_FILE}.{uuid.uuid4().hex}"
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in entries.items()}, temporary)
        flush(temporary)
        temporary.replace(folder / WEIGHTS_FILE)
    except SafetensorError as error:  # what a full disk becomes in safetensors
        raise OSError(str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)
    temporary = folder / f".{CARD_FILE}.{uuid.uuid4().hex}"
    card.write(temporary)
    temporary.replace(folder / CARD_FILE)
