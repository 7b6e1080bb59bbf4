"""How many codes of a tokenizer change with the precision, or with what else is in a batch."""

import torch

from speechtok.tokenizers.base import SpeechTokenizer
from tests.goldens import recipe


def describe_differences(quick: SpeechTokenizer, exact: SpeechTokenizer, least: int) -> str:
    """Return one line: the codes of `quick` that differ from `exact`, and between alone and batched.

    Args:
        quick: the tokenizer in question.
        exact: the same one in float64.
        least: how many codes to compare, or a few more.
    """
    codes = different = batched = 0
    seed, rate = 100, quick.sample_rate
    while codes < least:
        rows = [
            torch.from_numpy(recipe.speechlike(48_000 + 1_777 * i, rate, seed=seed + i)) for i in range(4)
        ]
        together = quick.encode([row.float() for row in rows])
        for row, mine in zip(rows, together, strict=True):
            alone, true = quick.encode(row.float()).codes, exact.encode(row).codes
            codes += true.numel()
            different += int((alone != true).sum())
            batched += int((alone != mine.codes).sum())
        seed += 4
    return (
        f"{quick.name}: {different} of {codes} {quick.dtype} codes differ from float64 "
        f"({100 * different / codes:.3f} %), {batched} between alone and batched"
    )
