"""A vocabulary as a Hugging Face tokenizer, or inside one. The door to tokenizers and transformers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from speechtok.errors import TokensError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from speechtok.lm.vocabulary import Vocabulary

ROLES = ("pad", "bos", "eos", "mask")
"""Specials that a Hugging Face tokenizer knows as `pad_token` and so on."""


def build_tokenizer(vocabulary: Vocabulary) -> PreTrainedTokenizerBase:
    """Return a word-level `PreTrainedTokenizerFast` with the vocabulary's ids.

    It reads strings of tokens without spaces between them, such as `<bos>hi<speech><content_0_17>`.
    """
    from transformers import PreTrainedTokenizerFast

    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    if vocabulary.first_id or vocabulary.borrowed:
        raise ValueError("This vocabulary extends a tokenizer; save that one, which has its tokens too.")
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(vocabulary.tokens)}))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_pattern(vocabulary)), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([f"<{name}>" for name in vocabulary.specials])
    roles = {f"{name}_token": f"<{name}>" for name in ROLES}
    fast: Any = PreTrainedTokenizerFast  # untyped
    built: PreTrainedTokenizerBase = fast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **roles
    )
    return built


def add_tokens(vocabulary: Vocabulary, tokenizer: PreTrainedTokenizerBase) -> tuple[int, dict[str, int]]:
    """Add the tokens of a vocabulary to a tokenizer.

    Returns:
        The id of the first token added, and the ids of specials the tokenizer had already.
    """
    from tokenizers import AddedToken

    if vocabulary.text:
        raise ValueError(
            "A vocabulary with text symbols cannot be added to a tokenizer, which has its own text; leave out `text`."
        )
    borrowed = _known_specials(vocabulary, tokenizer)
    own = [f"<{name}>" for name in vocabulary.specials if name not in borrowed]
    others = vocabulary.tokens[len(vocabulary.blocks["specials"]) :]
    before = len(tokenizer)
    tokenizer.add_tokens(
        [AddedToken(token, normalized=False, special=True) for token in own], special_tokens=True
    )
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in others])
    ids: list[Any] = [tokenizer.convert_tokens_to_ids(token) for token in (*own, *others)]
    first = ids[0]
    wrong = [index for index, token_id in enumerate(ids) if token_id != first + index]
    if wrong or (first < before and len(tokenizer) != before):
        token = (*own, *others)[wrong[0] if wrong else 0]
        raise TokensError(
            f"The tokenizer has the token {token} already, with an id that does not follow the one before; "
            "add the vocabulary to the original tokenizer."
        )
    return first, borrowed


def _known_specials(vocabulary: Vocabulary, tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Return the specials that a tokenizer has already, by role or under the same name, unless we added them."""
    words = tokenizer.get_vocab()
    known: dict[str, int] = {}
    # When the vocabulary was added before, its own specials end right before its other tokens.
    expected = words.get(vocabulary.tokens[len(vocabulary.blocks["specials"])], 0) - 1
    for name in reversed(vocabulary.specials):
        found = getattr(tokenizer, f"{name}_token_id", None) if name in ROLES else None
        found = words.get(f"<{name}>") if found is None else found
        if found is not None and found == expected:
            expected -= 1
        elif found is not None:
            known[name] = int(found)
    return dict(reversed(known.items()))


def _pattern(vocabulary: Vocabulary) -> str:
    """Return a regular expression that matches one token: codes and names first, then the longest symbol."""
    names = [re.escape(f"<speaker_{name}>") for name in vocabulary.speakers]
    streams = "|".join(re.escape(stream.name) for stream in vocabulary.streams)
    symbols = [re.escape(symbol) for symbol in sorted(vocabulary.text, key=len, reverse=True)]
    return "|".join([rf"<(?:{streams})_\d+_\d+>", r"<duration_\d+>", *names, *symbols])
