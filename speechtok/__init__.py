"""Speech to tokens for speech language models, and tokens back to speech.

    >>> import speechtok
    >>> "dmel_16k" in speechtok.list_tokenizers()
    True

Names are imported when they are first used, so that `import speechtok` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from speechtok.version import __version__

if TYPE_CHECKING:
    from speechtok import errors, lm
    from speechtok.cards import list_tokenizers
    from speechtok.commands.annotate import AnnotateResult
    from speechtok.commands.annotate import annotate_dataset as annotate
    from speechtok.commands.derived import Derived
    from speechtok.commands.derived import join_columns as join
    from speechtok.commands.derived import merge_datasets as merge
    from speechtok.commands.derived import select_rows as select
    from speechtok.commands.filtering import filter_rows as filter
    from speechtok.commands.tokenize import tokenize_corpus as tokenize
    from speechtok.commands.update import UpdateResult
    from speechtok.commands.update import update_dataset as update
    from speechtok.engine.observer import Observer, Progress
    from speechtok.engine.settings import JobSettings, RunResult, RunSettings
    from speechtok.hub import Pushed
    from speechtok.loading import load_tokenizer
    from speechtok.publish.dataset import pull_dataset as pull
    from speechtok.publish.dataset import push_dataset as push
    from speechtok.shards.mixture import TokenMixture
    from speechtok.shards.reader import TokenDataset
    from speechtok.shards.verify import Verification, verify
    from speechtok.tokenizers.base import SpeechTokenizer
    from speechtok.tokens import RunLengthTokens, SpeechTokens, StreamInfo, TokenizerInfo

__all__ = [
    "AnnotateResult",
    "Derived",
    "JobSettings",
    "Observer",
    "Progress",
    "Pushed",
    "RunLengthTokens",
    "RunResult",
    "RunSettings",
    "SpeechTokenizer",
    "SpeechTokens",
    "StreamInfo",
    "TokenDataset",
    "TokenMixture",
    "TokenizerInfo",
    "UpdateResult",
    "Verification",
    "__version__",
    "annotate",
    "errors",
    "filter",
    "join",
    "list_tokenizers",
    "lm",
    "load_tokenizer",
    "merge",
    "pull",
    "push",
    "select",
    "tokenize",
    "update",
    "verify",
]

_HOMES = {
    "AnnotateResult": "speechtok.commands.annotate:AnnotateResult",
    "Derived": "speechtok.commands.derived:Derived",
    "JobSettings": "speechtok.engine.settings:JobSettings",
    "Observer": "speechtok.engine.observer:Observer",
    "Progress": "speechtok.engine.observer:Progress",
    "Pushed": "speechtok.hub:Pushed",
    "RunLengthTokens": "speechtok.tokens:RunLengthTokens",
    "RunResult": "speechtok.engine.settings:RunResult",
    "RunSettings": "speechtok.engine.settings:RunSettings",
    "SpeechTokenizer": "speechtok.tokenizers.base:SpeechTokenizer",
    "SpeechTokens": "speechtok.tokens:SpeechTokens",
    "StreamInfo": "speechtok.tokens:StreamInfo",
    "TokenDataset": "speechtok.shards.reader:TokenDataset",
    "TokenMixture": "speechtok.shards.mixture:TokenMixture",
    "TokenizerInfo": "speechtok.tokens:TokenizerInfo",
    "UpdateResult": "speechtok.commands.update:UpdateResult",
    "Verification": "speechtok.shards.verify:Verification",
    "annotate": "speechtok.commands.annotate:annotate_dataset",
    "errors": "speechtok.errors",
    "filter": "speechtok.commands.filtering:filter_rows",
    "join": "speechtok.commands.derived:join_columns",
    "list_tokenizers": "speechtok.cards:list_tokenizers",
    "lm": "speechtok.lm",
    "load_tokenizer": "speechtok.loading:load_tokenizer",
    "merge": "speechtok.commands.derived:merge_datasets",
    "pull": "speechtok.publish.dataset:pull_dataset",
    "push": "speechtok.publish.dataset:push_dataset",
    "select": "speechtok.commands.derived:select_rows",
    "tokenize": "speechtok.commands.tokenize:tokenize_corpus",
    "update": "speechtok.commands.update:update_dataset",
    "verify": "speechtok.shards.verify:verify",
}


if not TYPE_CHECKING:  # type checkers read the imports above, and know the names that are not there

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'speechtok' has no attribute {name!r}")
        module, _, attribute = _HOMES[name].partition(":")
        home = import_module(module)
        return getattr(home, attribute) if attribute else home


def __dir__() -> list[str]:
    return __all__
