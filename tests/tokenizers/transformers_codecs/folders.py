"""Published folders of codecs in small: the architectures of transformers with weights that hold nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
import yaml

HUBERT = {
    "model_type": "hubert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
DAC = {"encoder_hidden_size": 4, "decoder_hidden_size": 32, "hop_length": 320, "codebook_size": 64}
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "encodec": ("Encodec", {"num_filters": 4, "hidden_size": 16, "codebook_dim": 16}),
    "dac": (
        "Dac",
        {**DAC, "downsampling_ratios": [2, 4, 5, 8], "upsampling_ratios": [8, 5, 4, 2], "n_codebooks": 4},
    ),
    "mimi": (
        "Mimi",
        {
            "num_filters": 4,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "codebook_size": 64,
            "codebook_dim": 16,
            "vector_quantization_hidden_dimension": 16,
            "num_quantizers": 8,
            "upsample_groups": 32,
            "sliding_window": 20,
        },
    ),
    "xcodec": (
        "Xcodec",
        {
            "semantic_model_config": HUBERT,
            "acoustic_model_config": {
                "model_type": "dac",
                **DAC,
                "hidden_size": 16,
                "downsampling_ratios": [8, 5, 4, 2],
                "upsampling_ratios": [8, 5, 4, 2],
            },
        },
    ),
    "wavtokenizer": (
        "WavTokenizer",
        {
            "num_filters": 4,
            "hidden_size": 32,
            "codebook_dim": 32,
            "codebook_size": 64,
            "decoder_hidden_size": 64,
            "decoder_intermediate_size": 96,
            "decoder_num_layers": 2,
            "decoder_attention_num_groups": 4,
        },
    ),
    "xcodec2": (
        "Xcodec2",
        {
            "encoder_hidden_size": 4,
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "quantization_dim": 96,
            "semantic_model_config": {
                "model_type": "wav2vec2-bert",
                "hidden_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 64,
                "output_hidden_size": 32,
            },
        },
    ),
}
SMALL["neucodec"] = ("NeuCodec", SMALL["xcodec2"][1])
"""`model_type` → the beginning of its classes' names, and what its configuration has instead of the published sizes."""


def random_model(kind: str, **changes: Any) -> Any:
    """Return a small model of transformers whose weights and codebooks are drawn from a fixed seed."""
    name, sizes = SMALL[kind]
    config = getattr(transformers, f"{name}Config")(**{**sizes, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}Model")(config).eval()
        for value in model.parameters():
            torch.nn.init.normal_(value, std=value[0].numel() ** -0.5 if value.ndim > 1 else 0.1)
        for entry, value in model.named_buffers():
            if entry.endswith(("embed", "embed_sum")):
                torch.nn.init.normal_(value, std=0.3)
            if entry.endswith(("cluster_usage", "cluster_size")):
                torch.nn.init.ones_(value)
        if kind == "wavtokenizer":  # a single codebook far from all features would give one code only
            encoder = model.encoder_model
            with torch.no_grad():
                encoder.quantizer.codebook.embed.copy_(
                    encoder.encoder(0.1 * torch.randn(1, 1, 64 * 600))[0].T
                )
    return model


STREAMS: dict[str, tuple[int, dict[str, Any]]] = {
    "encodec": (24000, {"num_codebooks": 32, "codebook_size": 1024, "frame_rate": 75.0, "hop_length": 320}),
    "dac": (16000, {"num_codebooks": 4, "codebook_size": 64, "frame_rate": 50.0, "hop_length": 320}),
    "mimi": (24000, {"num_codebooks": 8, "codebook_size": 64, "frame_rate": 12.5, "hop_length": 1920}),
    "xcodec": (16000, {"num_codebooks": 8, "codebook_size": 1024, "frame_rate": 50.0, "hop_length": 320}),
    "wavtokenizer": (24000, {"num_codebooks": 1, "codebook_size": 64, "frame_rate": 40.0, "hop_length": 600}),
    "xcodec2": (16000, {"num_codebooks": 1, "codebook_size": 65536, "frame_rate": 50.0, "hop_length": 320}),
}
STREAMS["neucodec"] = STREAMS["xcodec2"]
"""`model_type` → sample rate and stream of the small model."""


def write_folder(folder: Path, kind: str, *, model: Any = None, **changes: Any) -> Path:
    """Write the published folder of a small model and a card beside it; return the card's path."""
    (random_model(kind, **changes) if model is None else model).save_pretrained(folder)
    sample_rate, stream = STREAMS[kind]
    card = {
        "name": f"small_{kind}",
        "family": "transformers_codecs",
        "description": f"A small {kind} with weights that hold nothing.",
        "sample_rate": sample_rate,
        "streams": [{"name": "acoustic", **stream}],
        "architecture": {"model_type": kind},
        "files": [{"path": "config.json"}, {"path": "model.safetensors"}],
        "licence_code": "Apache-2.0",
        "licence_weights": "Apache-2.0",
        "citation": "none",
    }
    path = folder / "tokenizer.yaml"
    path.write_text(yaml.safe_dump(card))
    return path
