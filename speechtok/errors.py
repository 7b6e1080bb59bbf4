"""Everything speechtok raises on purpose, besides `ValueError` and `TypeError` for wrong arguments.

    SpeechtokError
    ├── CardError         a tokenizer card or recipe is missing, malformed or unknown
    │   └── RequestError  what was asked for is not there: a card, a recipe, or a field of one
    ├── CheckpointError   published weights are missing, damaged or of another shape
    ├── AudioError        a recording cannot be used: unreadable, empty, NaN, too short
    ├── TokensError       tokens do not fit together, or not with this tokenizer
    ├── DatasetError      a token dataset or a corpus is missing, damaged or inconsistent
    ├── AnnotationError   an annotation cannot be made: of one row, or at all
    ├── JobError          a tokenization job cannot start or go on
    ├── StorageError      an object store cannot be reached, refuses, or lacks what is named
    └── HubError          a transfer to or from the Hugging Face Hub failed

Each message is one sentence or two: what, where, what was found, and the next step.
"""


class SpeechtokError(Exception):
    """Root of all errors that speechtok raises about its inputs and surroundings."""


class CardError(SpeechtokError):
    """A tokenizer card or recipe is missing, malformed or unknown."""


class RequestError(CardError, ValueError):
    """A card, a recipe or a field of one was asked for that there is not; a wrong argument."""


class CheckpointError(SpeechtokError):
    """Published weights are missing, damaged or do not fit the network."""


class AudioError(SpeechtokError):
    """A recording cannot be used; the message names it and the reason."""


class TokensError(SpeechtokError):
    """Tokens do not fit together, or not with the tokenizer they are given to."""


class DatasetError(SpeechtokError):
    """A token dataset or a corpus is missing, damaged or inconsistent."""


class AnnotationError(SpeechtokError):
    """An annotation has no value for a row, or cannot be made at all."""


class JobError(SpeechtokError):
    """A tokenization job cannot start or cannot go on."""


class HubError(SpeechtokError):
    """A transfer to or from the Hugging Face Hub failed."""


class StorageError(SpeechtokError):
    """An object store cannot be reached, refuses, or lacks what is named."""
