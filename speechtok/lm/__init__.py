"""From raw codes to what speech language models read, and back.

    tokens or rows → Vocabulary (ids) → layouts (order) → collators (batches)

Names are imported when they are first used; torch only when tensors are made.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechtok.lm.collate.batch import IGNORE, codebook_losses
    from speechtok.lm.collate.flat import FlatCollator, InterleavedCollator, UnitCollator
    from speechtok.lm.collate.grid import DelayCollator, FactorCollator
    from speechtok.lm.collate.valle import ValleCollator
    from speechtok.lm.examples import Example, read_examples, tokens_from_codes
    from speechtok.lm.phones import phone_set
    from speechtok.lm.prompts import SpeakerPrompts
    from speechtok.lm.vocabulary import Vocabulary

_HOMES = {
    "DelayCollator": "collate.grid",
    "Example": "examples",
    "FactorCollator": "collate.grid",
    "FlatCollator": "collate.flat",
    "IGNORE": "collate.batch",
    "InterleavedCollator": "collate.flat",
    "SpeakerPrompts": "prompts",
    "UnitCollator": "collate.flat",
    "ValleCollator": "collate.valle",
    "Vocabulary": "vocabulary",
    "codebook_losses": "collate.batch",
    "phone_set": "phones",
    "read_examples": "examples",
    "tokens_from_codes": "examples",
}

__all__ = [
    "IGNORE",
    "DelayCollator",
    "Example",
    "FactorCollator",
    "FlatCollator",
    "InterleavedCollator",
    "SpeakerPrompts",
    "UnitCollator",
    "ValleCollator",
    "Vocabulary",
    "codebook_losses",
    "phone_set",
    "read_examples",
    "tokens_from_codes",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"speechtok.lm.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'speechtok.lm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
