"""Lists of tokens as a Hugging Face tokenizer, or inside one. The door to tokenizers and transformers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from speechtok.errors import TokensError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROLES = ("pad", "bos", "eos", "mask")
"""Specials that a Hugging Face tokenizer knows as `pad_token` and so on."""


def build_tokenizer(
    tokens: Sequence[str], *, specials: Sequence[str], numbered: Sequence[str], words: Sequence[str]
) -> PreTrainedTokenizerBase:
    """Return a word-level `PreTrainedTokenizerFast` in which a token's id is its place in the list.

    It reads strings of tokens without spaces between them, such as `<bos>hi<speech><content_0_17>`.

    Args:
        tokens: all of them.
        specials: those among them with a meaning of their own.
        numbered: what tokens with numbers are called, such as "content" for `<content_0_17>`.
        words: the other tokens, as they are written; the longest that fits is read.
    """
    from transformers import PreTrainedTokenizerFast

    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    longest_first = sorted(words, key=len, reverse=True)
    names = "|".join(map(re.escape, numbered))
    one = "|".join([rf"<(?:{names})(?:_\d+)+>", *map(re.escape, longest_first)])
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(one), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([f"<{name}>" for name in specials])
    roles = {f"{name}_token": f"<{name}>" for name in ROLES}
    fast: Any = PreTrainedTokenizerFast  # untyped
    built: PreTrainedTokenizerBase = fast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **roles
    )
    return built


def add_tokens(
    tokenizer: PreTrainedTokenizerBase, specials: Sequence[str], tokens: Sequence[str]
) -> tuple[int, dict[str, int]]:
    """Add specials and other tokens to a tokenizer, with consecutive ids.

    Returns:
        The id of the first token added, and the ids of specials the tokenizer had already.

    Raises:
        TokensError: when the tokenizer has some of the tokens, but not one after the other.
    """
    from tokenizers import AddedToken

    borrowed = _known_specials(tokenizer, specials, tokens[0])
    own = [f"<{name}>" for name in specials if name not in borrowed]
    before = len(tokenizer)
    tokenizer.add_tokens(
        [AddedToken(token, normalized=False, special=True) for token in own], special_tokens=True
    )
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in tokens])
    ids: list[Any] = [tokenizer.convert_tokens_to_ids(token) for token in (*own, *tokens)]
    first = ids[0]
    wrong = [index for index, token_id in enumerate(ids) if token_id != first + index]
    if wrong or (first < before and len(tokenizer) != before):
        token = (*own, *tokens)[wrong[0] if wrong else 0]
        raise TokensError(
            f"The tokenizer has the token {token} already, with an id that does not follow the one before; "
            "add the vocabulary to the original tokenizer."
        )
    return first, borrowed


def _known_specials(
    tokenizer: PreTrainedTokenizerBase, specials: Sequence[str], follows: str
) -> dict[str, int]:
    """Return the specials that a tokenizer has already, by role or under the same name, unless we added them.

    Where they were added before, they end right before the token `follows`.
    """
    known: dict[str, int] = {}
    words = tokenizer.get_vocab()
    expected = words.get(follows, 0) - 1
    for name in reversed(specials):
        found = getattr(tokenizer, f"{name}_token_id", None) if name in ROLES else None
        found = words.get(f"<{name}>") if found is None else found
        if found is not None and found == expected:
            expected -= 1
        elif found is not None:
            known[name] = int(found)
    return dict(reversed(known.items()))
