"""SNAC on a small network in float64; the package itself is the oracle, one utterance at a time."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import speechtok
from speechtok.errors import CheckpointError
from speechtok.laws import assert_laws
from speechtok.lm.layouts.align import align, unalign
from tests.goldens import recipe
from tests.tokenizers.small import SNAC, write_snac

snac = pytest.importorskip("snac")


def random_model() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return snac.SNAC(**SNAC).double().eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_snac(tmp_path_factory.mktemp("snac"))


def signal(samples: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(recipe.speechlike(samples, 24000, seed=seed))


def test_equals_the_package(folder: Path) -> None:
    tokenizer, model = speechtok.load_tokenizer(folder, dtype=torch.float64), random_model()
    for samples in (1, 2048, 2049, 9301):
        x = signal(samples, samples)
        tokens = tokenizer.encode([signal(5000, 3), x])[1]
        with torch.no_grad():
            codes = model.encode(x[None, None])
            latents = model.quantizer.from_codes(codes)
        for found, expected in zip(tokens.streams.values(), codes, strict=True):
            assert torch.equal(found[:, 0], expected)
        torch.testing.assert_close(tokenizer.embed(tokens), latents, rtol=0, atol=1e-12)
        assert [tokenizer.num_frames(samples, item.name) for item in tokenizer.streams] == [
            part.shape[1] for part in codes
        ]


def test_decodes_as_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, model = speechtok.load_tokenizer(folder, dtype=torch.float64), random_model()
    monkeypatch.setattr(torch, "randn", lambda shape, **options: torch.full(shape, 0.5, **options))
    x = signal(5000, 1)
    with torch.no_grad():
        expected = model.decode(model.encode(x[None, None]))[0, 0, :5000]
    torch.testing.assert_close(tokenizer.decode(tokenizer.encode(x))[0], expected, rtol=1e-6, atol=1e-9)


def test_the_laws(folder: Path) -> None:
    tokenizer = speechtok.load_tokenizer(folder, dtype=torch.float64)
    assert_laws(tokenizer, [signal(n, n) for n in (1, 3000, 9000)])
    assert not tokenizer.can_stream


def test_tokens_decide_the_noise(folder: Path) -> None:
    tokenizer = speechtok.load_tokenizer(folder, dtype=torch.float64)
    tokens = tokenizer.encode(signal(4000, 1))
    torch.manual_seed(1)
    first, drawn = tokenizer.decode(tokens), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)  # the program's own numbers are left alone
    assert torch.equal(tokenizer.decode(tokens), first)


def test_streams_are_laid_out_together(folder: Path) -> None:
    tokenizer = speechtok.load_tokenizer(folder, dtype=torch.float64)
    tokens = tokenizer.encode(signal(9000, 1))
    assert [int(frames) for frames in tokens.num_frames.values()] == [5, 10, 20]
    codes = {name: found[0].numpy() for name, found in tokens.streams.items()}
    grid = align(codes, tokenizer.streams, fill=-1)
    assert grid.shape == (7, 5)  # 1, 2 and 4 codes of each stream in a frame of the coarsest
    for name, found in unalign(grid, tokenizer.streams).items():
        assert (found == codes[name]).all()
    part = tokens.slice_seconds(0.1, 0.2)
    assert tokenizer.decode(part).shape == (1, int(part.num_samples))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"encoder_dim": 10**9}, "a value for `encoder_dim` that no SNAC has"),
        ({"vq_strides": 4}, "a value for `vq_strides` that no SNAC has"),
        ({"encoder_dim": 512}, "describes a network of"),
        ({"codebook_size": 65}, "does not fit the network"),
        ({"encoder_rates": None}, "a value for `encoder_rates`"),
    ],
)
def test_a_configuration_that_does_not_fit(
    folder: Path, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    for name in ("pytorch_model.bin", "tokenizer.yaml"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({**SNAC, **changes}))
    with pytest.raises(CheckpointError, match=sentence):
        speechtok.load_tokenizer(tmp_path)
