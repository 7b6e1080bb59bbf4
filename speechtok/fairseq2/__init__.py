"""speechtok inside fairseq2: token datasets as a dataset family, tokenizers as asset cards.

fairseq2 calls `setup_fairseq2_extension` by itself, through the entry point "fairseq2.extension", when it is
initialized. It needs an environment of its own, since it is built for one version of torch:
`pip install 'speechtok[fairseq2]'`.

Contents: `SpeechTokenDataset`, `SpeechTokenDatasetConfig`, `get_speech_token_dataset_hub`, `TokenDataReader`,
`load_speech_tokenizer`, `setup_fairseq2_extension`.
"""

from __future__ import annotations

from fairseq2.composition import register_dataset_family, register_in_memory_assets
from fairseq2.runtime.dependency import DependencyContainer

from speechtok.fairseq2.cards import load_speech_tokenizer, tokenizer_assets
from speechtok.fairseq2.dataset import (
    FAMILY,
    SpeechTokenDataset,
    SpeechTokenDatasetConfig,
    TokenDataReader,
    get_speech_token_dataset_hub,
    open_speech_token_dataset,
)

__all__ = [
    "FAMILY",
    "SpeechTokenDataset",
    "SpeechTokenDatasetConfig",
    "TokenDataReader",
    "get_speech_token_dataset_hub",
    "load_speech_tokenizer",
    "setup_fairseq2_extension",
]


def setup_fairseq2_extension(container: DependencyContainer) -> None:
    """Register the dataset family "speechtok" and a card for each tokenizer."""
    register_dataset_family(
        container,
        FAMILY,
        SpeechTokenDataset,
        SpeechTokenDatasetConfig,
        opener=open_speech_token_dataset,
    )
    register_in_memory_assets(container, "package:speechtok", tokenizer_assets())
