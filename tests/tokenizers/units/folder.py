"""Checkpoint folders of small compositions, with recipe weights."""

import json
from pathlib import Path

import numpy as np
import torch

from speechtok.tokenizers.units.cpc import Cpc, CpcSettings
from speechtok.tokenizers.units.hubert import Hubert
from speechtok.tokenizers.units.hubert_extractor import HubertSettings
from speechtok.tokenizers.units.jukebox import VqVaeSettings
from speechtok.tokenizers.units.vocoder import UnitVocoder, VocoderSettings
from speechtok.tokenizers.units.vqvae_units import VqVaeUnits
from speechtok.tokenizers.units.xvector import XVector
from tests.goldens import recipe

SMALL = HubertSettings(
    num_layers=2,
    channels=128,
    num_heads=2,
    hidden=64,
    conv_channels=16,
    position_kernel=16,
    position_groups=4,
)
CARD = """
name: test_units
family: units
description: A small composition.
sample_rate: 16000
streams:
  - {{name: content, num_codebooks: 1, codebook_size: {units}, frame_rate: {rate}, hop_length: {hop}}}
architecture: {{features: {features}, layer: 2, num_units: {units}, hop_length: {hop}}}
licence_code: Apache-2.0
citation: none
"""


def fill(network: torch.nn.Module, gain: float = 1.0) -> dict[str, torch.Tensor]:
    """Recipe weights for any network."""
    return {
        name: torch.from_numpy(np.array(recipe.tensor(name, tuple(v.shape), str(v.dtype)[6:], gain=gain)))
        for name, v in network.state_dict().items()
    }


def save(folder: Path, part: str, name: str, content: object) -> None:
    (folder / part).mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / part / name)


def make_folder(
    folder: Path, *, speaker: str | None = "table", features: str = "hubert", units: int = 20
) -> Path:
    """A checkpoint folder with small networks; without a speaker kind there is only content."""
    hop = 320 if features == "hubert" else 160
    channels = {"hubert": 128, "cpc": 24, "logmel": 80, "vqvae": 0}[features]
    if features == "hubert":
        save(folder, "features", "pytorch_model.bin", fill(Hubert(SMALL)))
        stated = {
            "model_type": "hubert",
            "hidden_size": SMALL.channels,
            "num_attention_heads": SMALL.num_heads,
        }
        (folder / "features" / "config.json").write_text(json.dumps(stated))
    if features == "cpc":
        save(folder, "features", "cpc.pt", {"weights": fill(Cpc(CpcSettings(channels=24, hidden=24)))})
    learned = VqVaeSettings(strides=(2, 2, 2, 2, 2, 5), codebook_size=units)
    if features == "vqvae":
        save(folder, "features", "g_00000010", {"generator": fill(VqVaeUnits(learned))})
    else:
        (folder / "kmeans").mkdir(parents=True)
        # log-mel centres lie at all levels, so that units change as speech swells
        offset = np.linspace(-15, 0, units)[:, None] if features == "logmel" else 0
        centers = (offset + np.random.default_rng(0).standard_normal((units, channels))).astype("float32")
        np.save(folder / "kmeans" / "km.npy", centers)
    if speaker is not None:
        rates = {} if hop == 320 else {"rates": (5, 4, 2, 2, 2), "kernels": (11, 8, 4, 4, 4)}
        vocoder = UnitVocoder(VocoderSettings(num_units=units, channels=32, speaker=speaker, **rates))
        save(folder, "vocoder", "g_00000002", {"generator": fill(vocoder), "steps": 2})
        save(folder, "f0", "f0_stats.pth", {"f0_mean": 142.0, "f0_std": 20.0})
    if speaker == "table":
        (folder / "vocoder" / "speakers.json").write_text(json.dumps({"p225": 0, "p226": 1}))
    if speaker == "xvector":
        save(folder, "speaker", "embedding_model.ckpt", fill(XVector()))
    card = folder / "tokenizer.yaml"
    card.write_text(CARD.format(units=units, hop=hop, rate=16000 / hop, features=features))
    return folder
