"""Published FAcodec files rebuilt: recipe weights under the published names."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch

from tests.goldens import recipe

GOLDENS = Path(__file__).parent
INVENTORY = json.loads((GOLDENS / "state_dict.json").read_text())
SEEDS = {"facodec": 0, "redecoder": 1}
GAINS = {
    "facodec": {
        "encoder.block.5.": 2.0,
        "encoder.block.": 0.75,
        "decoder.model.7.": 0.8,
        "decoder.model.1.": 1.5,
        "decoder.model.": 0.6,
        "quantizer.melspec_encoder.": 2.0,
    },
    "redecoder": {
        "encoder.content_embed.": 20.0,
        "encoder.prosody_embed.": 20.0,
        "encoder.encoder.cond_layer.": 0.5,
        "decoder.model.6.": 0.8,
        "decoder.model.": 0.6,
    },
}
"""First prefix that fits, in order."""
CONFIGS = {
    "facodec": """\
preprocess_params:
  sr: 24000
  spect_params: {n_fft: 2048, win_length: 1200, hop_length: 300}
model_params:
  causal: True
  lstm: 2
  norm_f0: True
  separate_prosody_encoder: True
  n_c_codebooks: 2
  timbre_norm: True
  DAC:
    encoder_dim: 64
    encoder_rates: [2, 5, 5, 6]
    decoder_dim: 1536
    decoder_rates: [6, 5, 5, 2]
    sr: 24000
""",
    "redecoder": """\
preprocess_params:
  sr: 24000
  spect_params: {n_fft: 2048, win_length: 1200, hop_length: 300}
model_params:
  n_p_codebooks: 1
  n_c_codebooks: 2
  wavenet_embed_dim: 512
  decoder_causal: False
  decoder_lstm: 0
  DAC: {encoder_dim: 64, encoder_rates: [2, 5, 5, 6], decoder_dim: 1536, decoder_rates: [6, 5, 5, 2], sr: 24000}
""",
}
"""The values of the repositories' `config.yml`."""
FOLDERS = {"facodec": "FAcodec", "redecoder": "FAcodec-redecoder"}
UNUSED = ("discriminator", "fa_predictors")


def recipe_tensor(model: str, key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return one entry, named `<module>.<key>`, of a published file with recipe weights."""
    if ".to_mel." in key:
        kind = "mel_window" if key.endswith("window") else "mel_fb"
        return torch.from_numpy(np.load(GOLDENS / "main.npz")[kind].reshape(shape))
    gain = next((gain for prefix, gain in GAINS[model].items() if key.startswith(prefix)), 1.0)
    return torch.from_numpy(recipe.tensor(key, shape, seed=SEEDS[model], gain=gain))


@cache
def published_weights(model: str, module: str) -> dict[str, torch.Tensor]:
    """Return one module of a published file with recipe weights."""
    start = f"{module}."
    return {
        key.removeprefix(start): recipe_tensor(model, key, tuple(shape))
        for key, shape in INVENTORY[model].items()
        if key.startswith(start)
    }


def nested_weights(model: str, *, empty: bool = False) -> dict[str, dict[str, torch.Tensor]]:
    """Return a whole file; what only training uses, or everything, is zeros that take no memory."""
    content: dict[str, dict[str, torch.Tensor]] = {}
    for key, shape in INVENTORY[model].items():
        module, name = key.split(".", 1)
        if empty or module in UNUSED:
            value = torch.zeros(1).expand(shape)
        else:
            value = published_weights(model, module)[name]
        content.setdefault(module, {})[name] = value
    return content


def write_published(folder: Path, model: str, *, empty: bool = False) -> Path:
    """Write one published folder, `FAcodec` or `FAcodec-redecoder`, with recipe weights; return it."""
    target = folder / FOLDERS[model]
    target.mkdir(parents=True)
    (target / "config.yml").write_text(CONFIGS[model])
    torch.save(nested_weights(model, empty=empty), target / "pytorch_model.bin")
    return target
