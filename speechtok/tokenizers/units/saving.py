"""Writing a unit tokenizer with a vocoder that was trained for it.

Contents: `save_with_vocoder`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from speechtok.cards import CARD_FILE, CardFile
from speechtok.storage import flush
from speechtok.tokenizers.base import WEIGHTS_FILE
from speechtok.tokenizers.units.components import stored_entries, with_own_quantizer
from speechtok.tokenizers.units.tokenizer import UnitTokenizer
from speechtok.tokenizers.units.vocoder import UnitVocoder


def save_with_vocoder(
    tokenizer: UnitTokenizer, vocoder: UnitVocoder, folder: Path, *, speakers: Mapping[str, int]
) -> None:
    """Write a tokenizer with another vocoder, so that `load_tokenizer(folder)` gives both; whole or not at all.

    Its tokens are those of the tokenizer: the fingerprint stays.

    Args:
        tokenizer: gives everything else.
        vocoder: with its weight norm; it holds the tokenizer's pitch quantizer where it takes pitch.
        folder: where to write; what is there is replaced.
        speakers: name → row of the vocoder's table; empty for one voice and for vectors.

    Raises:
        OSError: when it cannot be written.
    """
    others = ("vocoder.", "f0.") if vocoder.settings.f0 is not None else ("vocoder.",)
    entries = {
        name: value
        for name, value in with_own_quantizer(stored_entries(tokenizer.config, tokenizer.sources)).items()
        if not name.startswith(others)
    }
    entries |= {f"vocoder.{name}": value.detach().cpu() for name, value in vocoder.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{WEIGHTS_FILE}.{uuid.uuid4().hex}"
    try:
        save_file({name: value.contiguous() for name, value in entries.items()}, temporary)
        flush(temporary)
        temporary.replace(folder / WEIGHTS_FILE)
    except SafetensorError as error:  # what a full disk becomes in safetensors
        raise OSError(str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)
    config = replace(tokenizer.config, speakers=dict(speakers))
    card = replace(tokenizer.card, architecture=asdict(config), files=(CardFile(path=WEIGHTS_FILE),))
    temporary = folder / f".{CARD_FILE}.{uuid.uuid4().hex}"
    card.write(temporary)
    temporary.replace(folder / CARD_FILE)
