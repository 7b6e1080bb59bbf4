"""Tokenizers are modules that stand beside a model: they go with it, and are no part of what it trains, saves or casts."""

import copy
from typing import Self

import datasets
import pytest
import torch
from torch import nn

from speechtok.tokenizers.bystander import Bystander
from tests.tokenizers.small import load_small
from tests.tokenizers.surroundings import threads

KINDS = ["dmel", "hubert", "time", "mimi", "spectral"]


class Model(nn.Module):
    def __init__(self, tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.projection = nn.Linear(2, 3)


class Moved(Bystander):
    """Tells where it is moved."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.network, self.places = nn.Linear(2, 2), []

    def to(self, device=None, dtype=None) -> Self:
        self.places.append(device)
        self.device = device
        return self


def same(tokens, others) -> bool:
    return all(torch.equal(codes, others[name]) for name, codes in tokens.streams.items())


@pytest.mark.parametrize("kind", KINDS)
def test_part_of_a_model(kind, speech, tmp_path) -> None:
    tokenizer = load_small(kind, tmp_path)
    waveform = torch.from_numpy(speech(0.5, rate=tokenizer.sample_rate)).float()
    tokens = tokenizer.encode(waveform)
    model = Model(tokenizer)
    assert [name for name, _ in model.named_parameters()] == ["projection.weight", "projection.bias"]
    assert list(model.state_dict()) == ["projection.weight", "projection.bias"]
    model.load_state_dict(model.state_dict())
    model.train().half().to("cpu")
    assert model.projection.weight.dtype == torch.float16
    assert tokenizer.dtype == torch.float32
    assert not tokenizer.training
    assert same(tokens, model.tokenizer(waveform))
    assert same(tokens, copy.deepcopy(model).tokenizer.encode(waveform))
    assert tokenizer.fingerprint in str(model)


@pytest.mark.parametrize("kind", KINDS)
def test_cast_by_itself(kind, speech, tmp_path) -> None:
    tokenizer = load_small(kind, tmp_path)
    waveform = torch.from_numpy(speech(0.5, rate=tokenizer.sample_rate)).float()
    tokens = tokenizer.encode(waveform)
    assert tokenizer.double().dtype == torch.float64
    exactly = tokenizer.encode(waveform)
    assert tokenizer.to(torch.float32).dtype == torch.float32
    assert same(tokens, tokenizer.encode(waveform))
    assert same(exactly, tokenizer.to("cpu", torch.float64)(waveform))


def test_it_goes_where_a_model_goes() -> None:
    part = Moved()
    model = nn.Sequential(part, nn.Linear(2, 2))
    model.to("cpu").double()
    assert part.places == []
    model.to("meta")
    assert part.places == [torch.device("meta")]
    assert list(part.parameters()) == []


@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("kind", ["dmel", "hubert", "time", "mimi"])
def test_map_of_datasets_in_two_processes(kind, speech, tmp_path) -> None:
    tokenizer = load_small(kind, tmp_path / "folder")
    rows = [speech(seconds, rate=tokenizer.sample_rate).tolist() for seconds in (0.5, 0.7, 0.6, 0.4)]
    stream = tokenizer.streams[0].name

    def encode(row: dict) -> dict:
        return {"codes": tokenizer.encode(torch.tensor(row["samples"]))[stream][0].tolist()}

    with threads(2):
        torch.nn.functional.gelu(torch.randn(4_000_000))  # the parent has computed in several threads
        want = [encode({"samples": row})["codes"] for row in rows]
        mapped = datasets.Dataset.from_dict({"samples": rows}).map(encode, num_proc=2)
    assert mapped["codes"] == want
