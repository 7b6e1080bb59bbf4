"""`torch.compile` of a program around a tokenizer changes no code, and meets it as one break in the graph."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from tests.tokenizers.small import load_small

KINDS = ["dmel", "hubert", "cpc", "time", "freq", "encodec", "mimi", "spectral"]


class Model(nn.Module):
    def __init__(self, tokenizer) -> None:
        super().__init__()
        self.tokenizer, self.embedding = tokenizer, nn.Embedding(8192, 4)

    def forward(self, waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        codes = next(iter(self.tokenizer(waveform * 1.0).streams.values()))
        return self.embedding(codes).sum(), codes


@pytest.mark.parametrize("kind", KINDS)
def test_a_compiled_model_has_the_codes_of_the_tokenizer(kind, speech, tmp_path) -> None:
    tokenizer = load_small(kind, tmp_path)
    waveform = torch.from_numpy(speech(0.4, rate=tokenizer.sample_rate)).float()[None]
    want = next(iter(tokenizer.encode(waveform).streams.values()))
    model = Model(tokenizer)
    torch.compiler.reset()
    _, codes = torch.compile(model, backend="eager")(waveform)
    assert torch.equal(codes, want)
    for called in (tokenizer, tokenizer.encode):
        compiled = torch.compile(called, backend="eager")
        assert torch.equal(next(iter(compiled(waveform).streams.values())), want)
    assert torch._dynamo.explain(model)(waveform).graph_break_count == 1
    torch.compiler.reset()


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor:UserWarning"
)  # which the compiler looks at
def test_latents_in_a_compiled_model(speech, tmp_path) -> None:
    tokenizer = load_small("time", tmp_path, dtype=torch.float64)
    waveform = torch.from_numpy(speech(0.2)).double()[None].requires_grad_()
    torch.compiler.reset()

    def loss(x: torch.Tensor) -> torch.Tensor:
        return tokenizer.encode_latents(2 * x).values.square().sum()

    (want,) = torch.autograd.grad(loss(waveform), waveform)
    (found,) = torch.autograd.grad(torch.compile(loss, backend="eager")(waveform), waveform)
    torch.testing.assert_close(found, want)
    torch.compiler.reset()


def test_nothing_is_loaded_for_it() -> None:
    code = "import sys, torch, speechtok; speechtok.load_tokenizer('dmel_16k').encode(torch.zeros(999)); sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
