"""Tokenizers of every family with small networks, from published folders that hold nothing."""

import json
from pathlib import Path

import speechtok
from tests.tokenizers.funcodec.published import write_small_folder
from tests.tokenizers.transformers_codecs.folders import write_folder
from tests.tokenizers.units.folder import make_folder

UNITS = ("hubert", "cpc", "logmel", "vqvae")
CODECS = ("encodec", "dac", "mimi")
SNAC = {
    "sampling_rate": 24000, "encoder_dim": 4, "encoder_rates": [2, 4, 8, 8], "decoder_dim": 32,
    "decoder_rates": [8, 8, 4, 2], "attn_window_size": None, "codebook_size": 64, "codebook_dim": 8,
    "vq_strides": [4, 2, 1], "noise": True, "depthwise": True,
}  # fmt: skip


def load_small(kind: str, folder: Path, **options):
    """Load one from a folder that is written for it."""
    if kind == "dmel":
        return speechtok.load_tokenizer("dmel_16k", **options)
    if kind in ("time", "freq"):
        return speechtok.load_tokenizer(write_small_folder(folder, kind), **options)
    if kind in CODECS:
        return speechtok.load_tokenizer(write_folder(folder, kind), **options)
    if kind == "spectral":
        return speechtok.load_tokenizer(write_spectral(folder), **options)
    if kind == "snac":
        return speechtok.load_tokenizer(write_snac(folder), **options)
    speaker = "table" if kind == "hubert" else None
    folder = make_folder(folder, speaker=speaker, features=kind)
    return speechtok.load_tokenizer(folder / "tokenizer.yaml", checkpoint=folder, **options)


def write_snac(folder: Path) -> Path:
    """The published folder of a small SNAC, its card beside it."""
    import snac
    import torch
    import yaml

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = snac.SNAC(**SNAC).double().eval()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(SNAC))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    card = yaml.safe_load((Path(__file__).parents[2] / "tokenizers/snac_24khz.yaml").read_text())
    card["name"] = "small_snac"
    for stream in card["streams"]:
        stream["codebook_size"] = 64
    card["files"] = [{"path": "config.json"}, {"path": "pytorch_model.bin"}]
    (folder / "tokenizer.yaml").write_text(yaml.safe_dump(card))
    return folder


SPECTRAL = {
    "encoder_channels": 16, "encoder_blocks": 1, "decoder_channels": 16, "frame_blocks": 1, "spectrum_blocks": 1,
    "latent_channels": 8, "num_codebooks": 4, "codebook_size": 64,
}  # fmt: skip


def write_spectral(folder: Path, **changes: int) -> Path:
    """The folder of a small spectral codec."""
    import torch

    from speechtok.tokenizers.spectral.config import SpectralConfig
    from speechtok.tokenizers.spectral.network import Codec
    from speechtok.tokenizers.spectral.writing import write_codec

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = SpectralConfig(**{**SPECTRAL, **changes})
        codec = Codec(config)
        for stage, codebook in enumerate(codec.codebooks.embed):
            torch.nn.init.normal_(codebook, std=0.5**stage)
        write_codec(folder, "small_spectral", config, codec)
    return folder
