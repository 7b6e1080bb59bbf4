"""Writing a unit tokenizer with a vocoder that was trained for it.

Contents: `save_with_vocoder`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from speechtok.tokenizers.units.components import stored_entries, with_own_quantizer
from speechtok.tokenizers.units.tokenizer import UnitTokenizer
from speechtok.tokenizers.units.vocoder import UnitVocoder
from speechtok.tokenizers.writing import write_tokenizer


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
    config = replace(tokenizer.config, speakers=dict(speakers))
    card = replace(tokenizer.card, architecture=asdict(config))
    write_tokenizer(folder, card, entries)
