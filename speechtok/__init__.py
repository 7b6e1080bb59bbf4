"""Speech to tokens for speech language models, and tokens back to speech.

    >>> import speechtok
    >>> "dmel_16k" in speechtok.list_tokenizers()
    True

Names are imported when they are first used, so that `import speechtok` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from speechtok.version import __version__

if TYPE_CHECKING:
    from speechtok import errors, lm
    from speechtok.cards import list_tokenizers
    from speechtok.loading import load_tokenizer
    from speechtok.shards.reader import TokenDataset
    from speechtok.tokenizers.base import SpeechTokenizer
    from speechtok.tokens import RunLengthTokens, SpeechTokens, StreamInfo, TokenizerInfo

__all__ = [
    "RunLengthTokens",
    "SpeechTokenizer",
    "SpeechTokens",
    "StreamInfo",
    "TokenDataset",
    "TokenizerInfo",
    "__version__",
    "errors",
    "list_tokenizers",
    "lm",
    "load_tokenizer",
]

_HOMES = {
    "RunLengthTokens": "speechtok.tokens",
    "SpeechTokenizer": "speechtok.tokenizers.base",
    "SpeechTokens": "speechtok.tokens",
    "StreamInfo": "speechtok.tokens",
    "TokenDataset": "speechtok.shards.reader",
    "TokenizerInfo": "speechtok.tokens",
    "list_tokenizers": "speechtok.cards",
    "load_tokenizer": "speechtok.loading",
}


def __getattr__(name: str) -> Any:
    if name in ("errors", "lm"):
        return import_module(f"speechtok.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'speechtok' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
