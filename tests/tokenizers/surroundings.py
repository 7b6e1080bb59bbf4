"""What a caller may have set around a tokenizer, none of which changes codes."""

import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch

from speechtok.tokenizers.base import SpeechTokenizer
from speechtok.tokens import SpeechTokens


@contextmanager
def precision(value: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(value)
    try:
        yield
        assert torch.get_float32_matmul_precision() == value
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
        assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)


@contextmanager
def convolutions(value: str) -> Iterator[None]:
    before = torch.backends.mkldnn.conv.fp32_precision
    torch.backends.mkldnn.conv.fp32_precision = value
    try:
        yield
        assert torch.backends.mkldnn.conv.fp32_precision == value
    finally:
        torch.backends.mkldnn.conv.fp32_precision = before


SURROUNDINGS: dict[str, Callable[[], tuple[AbstractContextManager[Any], ...]]] = {
    "autocast": lambda: (torch.autocast("cpu", torch.bfloat16), threads(1)),
    "low precision": lambda: (precision("medium"), convolutions("bf16")),
    "high precision": lambda: (precision("high"), torch.autocast("cpu", torch.float16), threads(2)),
}


def results(tokenizer: SpeechTokenizer, waveform: torch.Tensor) -> tuple[SpeechTokens, list[torch.Tensor]]:
    """Tokens, and what is made of them."""
    tokens = tokenizer.encode(waveform)
    voice = tokenizer.voice_options(next(iter(tokenizer.voices), None))
    made = [tokenizer.decode(tokens, **voice)] if tokenizer.can_decode else []
    return tokens, made + ([] if tokenizer.name == "dmel_16k" else [tokenizer.embed(tokens)])


def assert_surroundings_change_nothing(tokenizer: SpeechTokenizer, waveform: torch.Tensor) -> None:
    """Fail unless codes, speech and latents are the same in all surroundings, and after pickling."""
    plain, made = results(tokenizer, waveform)
    for name, surrounding in SURROUNDINGS.items():
        with ExitStack() as stack:
            for context in surrounding():
                stack.enter_context(context)
            tokens, here = results(tokenizer, waveform)
        for stream, codes in plain.streams.items():
            assert torch.equal(tokens[stream], codes), name
        for ours, other in zip(made, here, strict=True):
            assert other.dtype == ours.dtype
            torch.testing.assert_close(
                other, ours, rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
            )
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again.fingerprint == tokenizer.fingerprint
    tokens, here = results(again, waveform)
    for stream, codes in plain.streams.items():
        assert torch.equal(tokens[stream], codes)
    for ours, other in zip(made, here, strict=True):
        assert torch.equal(other, ours)
