"""FAcodec networks with recipe weights, built once per session."""

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from speechtok import load_tokenizer
from speechtok.cards import find_card
from speechtok.cards.yaml_file import dump_yaml
from speechtok.checkpoints.build import build_network, entry_shapes
from speechtok.tokenizers.facodec_24k.codec import Codec
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.facodec_24k.convert import BUILDERS, FILE_PARTS
from speechtok.tokenizers.facodec_24k.tokenizer import Facodec24kTokenizer
from speechtok.tokenizers.factors import factor_streams
from tests.goldens import recipe
from tests.goldens.facodec_24k.weights import FOLDERS, GOLDENS, published_weights

STATED = (
    "strides",
    "encoder_channels",
    "decoder_strides",
    "decoder_channels",
    "fft_length",
    "window_length",
    "redecoder_channels",
    "redecoder_decoder_channels",
    "redecoder_decoder_strides",
)
"""What `config.yml` says, so that a card need not."""

SMALL = {
    "strides": [2, 3, 4],
    "encoder_channels": 2,
    "decoder_strides": [4, 3, 2],
    "decoder_channels": 16,
    "codebook_size": 32,
    "codebook_dim": 4,
    "fft_length": 128,
    "window_length": 96,
    "num_mels": 12,
    "prosody_mels": 5,
    "prosody_channels": 8,
    "prosody_layers": 3,
    "timbre_channels": 8,
    "redecoder_channels": 8,
    "redecoder_layers": 3,
    "redecoder_decoder_channels": 16,
    "redecoder_decoder_strides": [4, 3, 2],
}
"""A network of the same build, hop 24, that computes a second of speech in milliseconds."""


SMALL_YML = """\
preprocess_params: {sr: 24000, spect_params: {n_fft: 128, win_length: 96, hop_length: 24}}
model_params:
  causal: True
  lstm: 2
  n_c_codebooks: 2
  DAC: {encoder_dim: 2, encoder_rates: [2, 3, 4], decoder_dim: 16, decoder_rates: [4, 3, 2], sr: 24000}
"""
SMALL_REDECODER_YML = """\
model_params:
  wavenet_embed_dim: 8
  decoder_causal: False
  decoder_lstm: 0
  DAC: {decoder_dim: 16, decoder_rates: [4, 3, 2]}
"""


def build_codec(config: Facodec24kConfig, read: Callable[[str, str], dict[str, torch.Tensor]]) -> Codec:
    """Return all networks in float64; `read(role, module)` gives the weights of a published module."""
    parts = {name: {**read("facodec", name)} for name in ("encoder", "quantizer", "decoder")} | {
        "redecoder": {
            f"{module}.{key}": value
            for module in ("encoder", "decoder")
            for key, value in read("redecoder", module).items()
        }
    }
    return Codec(
        config,
        {
            name: build_network(
                lambda name=name: BUILDERS[name](config), weights, dtype=torch.float64, source=name
            )
            for name, weights in parts.items()
        },
    )


def small_weights(role: str) -> dict[str, dict[str, torch.Tensor]]:
    """Return a small file's content: module → entries."""
    config = Facodec24kConfig(**SMALL)
    content: dict[str, dict[str, torch.Tensor]] = {}
    for part in FILE_PARTS["codec" if role == "facodec" else role]:
        for name, shape in entry_shapes(lambda part=part: BUILDERS[part](config)).items():
            module, _, key = (name if part == "redecoder" else f"{part}.{name}").partition(".")
            value = torch.from_numpy(
                recipe.tensor(f"{module}.{key}", shape, gain=1.5 if "lstm" in key else 1.0)
            )
            if key == "to_mel.spectrogram.window":
                value = torch.hann_window(*shape)
            elif key == "to_mel.mel_scale.fb":
                value = torch.rand(shape, generator=torch.Generator().manual_seed(0))
            content.setdefault(module, {})[key] = value
    return content


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def codec() -> Codec:
    """The real networks."""
    return build_codec(Facodec24kConfig(), published_weights)


@pytest.fixture(scope="session")
def small() -> Codec:
    """Small networks of the same build."""
    weights = {role: small_weights(role) for role in ("facodec", "redecoder")}
    return build_codec(Facodec24kConfig(**SMALL), lambda role, module: weights[role][module])


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder of small networks in the published form, and their card."""
    folder = tmp_path_factory.mktemp("checkpoint")
    for role, yml in (("facodec", SMALL_YML), ("redecoder", SMALL_REDECODER_YML)):
        target = folder / FOLDERS[role]
        target.mkdir()
        (target / "config.yml").write_text(yml)
        unused = {"discriminator": {"weight": torch.ones(3)}, "fa_predictors": {"weight": torch.ones(3)}}
        torch.save({**small_weights(role), **unused}, target / "pytorch_model.bin")
    card, _ = find_card("facodec_24k")
    config = Facodec24kConfig(**SMALL)
    stated = {
        **card.to_dict(),
        "name": "small",
        "streams": [asdict(stream) for stream in factor_streams(config)],
        "speaker_embedding_dim": config.latent_channels,
        "architecture": {name: value for name, value in SMALL.items() if name not in STATED},
    }
    (folder / "small.yaml").write_text(dump_yaml(stated))
    return folder


@pytest.fixture(scope="session")
def load(checkpoint: Path) -> Callable[..., Facodec24kTokenizer]:
    return cache(
        lambda dtype=torch.float64: load_tokenizer(
            checkpoint / "small.yaml", checkpoint=checkpoint, dtype=dtype
        )
    )


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    return cache(lambda name: dict(np.load(GOLDENS / f"{name}.npz")))


@pytest.fixture(scope="session")
def signal() -> Callable[[int, int], torch.Tensor]:
    return lambda seed, samples: torch.from_numpy(recipe.speechlike(samples, 24_000, seed=seed))
