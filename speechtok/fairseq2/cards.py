"""Tokenizer cards among fairseq2's asset cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairseq2.assets import AssetCard, AssetCardError, AssetStore
from fairseq2.runtime.dependency import get_dependency_resolver

from speechtok.cards import find_card, list_tokenizers
from speechtok.errors import SpeechtokError
from speechtok.loading import load_tokenizer
from speechtok.tokenizers.base import SpeechTokenizer

FIELD = "speechtok_tokenizer"
"""Field of an asset card that names the tokenizer."""


def tokenizer_assets() -> list[dict[str, object]]:
    """Return the metadata of one asset for each tokenizer card, named like it."""
    assets: list[dict[str, object]] = []
    for name in list_tokenizers():
        card, _ = find_card(name)
        assets.append(
            {
                "name": name,
                FIELD: name,
                "family": card.family,
                "sample_rate": card.sample_rate,
                "streams": card.to_dict()["streams"],
            }
        )
    return assets


def load_speech_tokenizer(card: AssetCard | str, **options: Any) -> SpeechTokenizer:
    """Return the tokenizer of an asset card.

    A card of one's own names another as its base and says where the published files lie:

        name: my_facodec
        base: facodec
        checkpoint: /models/naturalspeech3_facodec

    Args:
        card: an asset card, or the name of one.
        options: as for `speechtok.load_tokenizer`; `checkpoint` goes before that of the card.

    Raises:
        AssetCardError: when the card is no tokenizer's, or the tokenizer cannot be loaded.
    """
    if isinstance(card, str):
        card = get_dependency_resolver().resolve(AssetStore).retrieve_card(card)
    name = str(card.field(FIELD).as_(str))
    checkpoint = card.maybe_get_field("checkpoint")
    if checkpoint is not None:
        options.setdefault("checkpoint", Path(str(checkpoint.as_(str))))
    try:
        return load_tokenizer(name, **options)
    except SpeechtokError as error:
        raise AssetCardError(card.name, str(error)) from error
