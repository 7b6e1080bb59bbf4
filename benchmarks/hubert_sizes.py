"""Units of a network of its published size, all layers, against `transformers`: `python benchmarks/hubert_sizes.py SIZE`.

Weights are random. One after the other is in memory, so that the largest takes twice its weights in `--dtype`.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
import transformers
from machine import describe_machine

from speechtok.tokenizers.units import convert
from speechtok.tokenizers.units.hubert_config import read_statement
from speechtok.tokenizers.units.kmeans import KMeans
from speechtok.tokenizers.units.sources import find_files, find_sources

LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
SIZES = {
    "base": ("Hubert", 768, 12, 12, {}),
    "large": ("Hubert", 1024, 16, 24, LARGE),
    "xlarge": ("Hubert", 1280, 16, 48, LARGE),
    "xls-r-1b": ("Wav2Vec2", 1280, 16, 48, LARGE),
    "xls-r-2b": ("Wav2Vec2", 1920, 16, 48, LARGE),
}
"""Name → kind, channels, attention heads, layers, and what differs from the base network."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dtype = getattr(torch, arguments.dtype)
    kind, channels, heads, layers, changed = SIZES[arguments.size]
    samples = int(16_000 * arguments.seconds)
    signals = [0.1 * torch.randn(count, dtype=dtype) for count in (samples, samples * 2 // 3)]
    layer = layers - 1  # the state behind the last one has a norm that is no part of its features
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        config = getattr(transformers, f"{kind}Config")(
            hidden_size=channels,
            num_attention_heads=heads,
            intermediate_size=4 * channels,
            num_hidden_layers=layers,
            **changed,
        )
        theirs = getattr(transformers, f"{kind}Model")(config).eval()
        theirs.save_pretrained(Path(folder) / "features", max_shard_size="2GB")
        theirs.to(dtype)
        want = [theirs(s[None], output_hidden_states=True).hidden_states[layer][0] for s in signals]
        parameters = sum(value.numel() for value in theirs.parameters())
        del theirs
        files = find_files(Path(folder))
        source = find_sources(files)["features"].path
        sizes, weights = convert.read_hubert(source, layer, stated=read_statement(files))
        ours = convert.build_hubert(sizes, weights, normalize=False, dtype=dtype, source=str(source))
        del weights
        batch = torch.nn.utils.rnn.pad_sequence(signals, batch_first=True)
        got = ours(batch, torch.tensor([len(signal) for signal in signals]))
        kmeans = KMeans(100, channels).to(dtype)
        kmeans.cluster_centers_.copy_(
            torch.cat(want)[torch.linspace(0, len(torch.cat(want)) - 1, 100).long()]
        )
        pairs = list(zip(got, want, strict=True))
        differing = sum(int((kmeans(g[: len(w)]) != kmeans(w)).sum()) for g, w in pairs)
        error = max(float((g[: len(w)] - w).abs().max() / w.abs().max()) for g, w in pairs)
    result = {
        **describe_machine(),
        "transformers": transformers.__version__,
        "size": arguments.size,
        "parameters": parameters,
        "layer": layer,
        "dtype": arguments.dtype,
        "units": sum(len(w) for w in want),
        "units_that_differ": differing,
        "largest_relative_difference": error,
        "cpu_seconds": round(time.process_time() - begin, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
