"""HuBERT in its sizes and its kin against `transformers` with random weights, in float64."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from speechtok import StreamInfo, load_tokenizer
from speechtok.cards import find_card
from speechtok.errors import CheckpointError
from speechtok.tokenizers.units.components import read_reader
from speechtok.tokenizers.units.config import UnitConfig
from speechtok.tokenizers.units.hubert_attention import GatedAttention
from speechtok.tokenizers.units.hubert_extractor import HubertSettings
from speechtok.tokenizers.units.sources import find_files
from tests.goldens import recipe
from tests.tokenizers.units.forms import LARGE, SMALL, fairseq_file

BATCH_NORMED = {"conv_pos_batch_norm": True}
VARIANTS = {
    "contentvec": ("hubert", "Hubert", {}),
    "xlarge": ("hubert", "Hubert", {"hidden_size": 160} | LARGE),
    "mhubert 25 Hz": (
        "hubert",
        "Hubert",
        BATCH_NORMED | {"conv_kernel": (10, 3, 3, 3, 3, 2, 2, 2), "conv_stride": (5, *[2] * 7)},
    ),
    "batch norm, norms first": ("hubert", "Hubert", BATCH_NORMED | LARGE),
    "distilhubert": ("hubert", "Hubert", {"feat_proj_layer_norm": False, "num_hidden_layers": 2}),
    "wavlm base": ("wavlm", "WavLM", {"num_buckets": 32, "max_bucket_distance": 13}),
    "wavlm large": ("wavlm", "WavLM", {"num_attention_heads": 8} | LARGE),
    "data2vec": (
        "data2vec",
        "Data2VecAudio",
        {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 7, "conv_bias": False},
    ),
    "data2vec, one convolution": (
        "data2vec",
        "Data2VecAudio",
        {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 8},
    ),
}


def unsettled(model) -> None:
    """Move what a fresh network has at 0 or 1, so that leaving it out shows."""
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if value.is_floating_point() and ("norm" in name or name.endswith(("bias", "const"))):
            value.data += 0.3 * torch.rand_like(value)


@pytest.mark.parametrize("variant", VARIANTS)
def test_units_of_transformers_from_both_forms(tmp_path, variant: str) -> None:
    kind, network, changed = VARIANTS[variant]
    convolutions = len(changed.get("conv_kernel", [0] * 7))
    assert_same_units(
        make(network, SMALL | changed | {"conv_dim": (32,) * convolutions}), kind, tmp_path, (1, 2)
    )


def wide(channels: int) -> dict:
    return {"hidden_size": channels, "num_attention_heads": 16, "intermediate_size": 4 * channels} | LARGE


WIDTHS = {
    "HuBERT large": ("hubert", "Hubert", wide(1024)),
    "HuBERT xlarge": ("hubert", "Hubert", wide(1280)),
    "XLS-R and MMS 1B": ("wav2vec2", "Wav2Vec2", wide(1280)),
    "XLS-R 2B": ("wav2vec2", "Wav2Vec2", wide(1920)),
    "WavLM large": ("wavlm", "WavLM", wide(1024)),
}


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_units_of_transformers_at_published_widths(tmp_path, width: str) -> None:
    kind, network, sizes = WIDTHS[width]
    assert_same_units(make(network, sizes | {"num_hidden_layers": 2}), kind, tmp_path, (1,), saves=False)


def make(network: str, sizes: dict) -> torch.nn.Module:
    """A network with random weights, none of which is where a fresh one has it."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{network}Config")(**sizes)
    model = getattr(transformers, f"{network}Model")(config).eval()
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if value.is_floating_point() and ("norm" in name or name.endswith(("bias", "const"))):
            value.data += 0.3 * torch.rand_like(value)
    return model.double()  # of numbers that a float32 file holds


def assert_same_units(theirs, kind: str, folder, layers, *, saves: bool = True) -> None:
    """Compare units of a batch of unequal lengths, from both forms of a network, with those of each alone."""
    theirs.float().save_pretrained(folder / "hf" / "features")
    (folder / "fairseq" / "features").mkdir(parents=True)
    torch.save(fairseq_file(theirs, tuned=False), folder / "fairseq" / "features" / "model.pt")
    theirs.double()
    signals = [torch.from_numpy(recipe.speechlike(n, seed=n)) for n in (16000, 9000, 32000)]
    hop = math.prod(theirs.config.conv_stride)
    for layer in layers:
        with torch.no_grad():
            wanted = [theirs(s[None], output_hidden_states=True).hidden_states[layer][0] for s in signals]
        centers = torch.cat(wanted)[::7].float()
        fingerprints = set()
        for form in ("hf", "fairseq"):
            (folder / form / "kmeans").mkdir(exist_ok=True)
            np.save(folder / form / "kmeans" / "km.npy", centers.numpy())
            card = replace(
                find_card("hubert_base_l6_km100")[0],
                architecture={"features": kind, "layer": layer, "num_units": len(centers), "hop_length": hop},
                streams=(
                    StreamInfo(
                        name="content",
                        num_codebooks=1,
                        codebook_size=len(centers),
                        frame_rate=16000 / hop,
                        hop_length=hop,
                    ),
                ),
            )
            card.write(folder / "card.yaml")
            ours = load_tokenizer(folder / "card.yaml", checkpoint=folder / form, dtype=torch.float64)
            together = features_of(ours, signals)
            units = ours.encode(signals)["content"]
            for got, codes, want in zip(together, units, wanted, strict=True):
                torch.testing.assert_close(got[: len(want)], want, rtol=1e-9, atol=1e-9)
                nearest = torch.cdist(
                    want, centers.double(), compute_mode="donot_use_mm_for_euclid_dist"
                ).argmin(dim=1)
                assert torch.equal(codes[0, : len(want)], nearest)
            fingerprints.add(ours.fingerprint)
            if saves:
                ours.save_pretrained(folder / "saved")
                again = load_tokenizer(folder / "saved", dtype=torch.float64)
                assert again.fingerprint == ours.fingerprint
                assert torch.equal(again.encode(signals)["content"], units)
        assert len(fingerprints) == 1


def features_of(tokenizer, signals) -> torch.Tensor:
    """`(batch, frames, channels)` of all signals in one batch, as a GPU takes them."""
    lengths = torch.tensor([len(signal) for signal in signals])
    waveform = torch.nn.utils.rnn.pad_sequence(signals, batch_first=True)
    with torch.inference_mode():
        return tokenizer.parts.reader(waveform, lengths)


@pytest.mark.parametrize("variant", ["mhubert 25 Hz", "distilhubert", "wavlm base", "data2vec"])
def test_without_a_statement_it_is_refused(tmp_path, variant: str) -> None:
    kind, network, changed = VARIANTS[variant]
    convolutions = len(changed.get("conv_kernel", [0] * 7))
    folder = tmp_path / "features"
    make(network, SMALL | changed | {"conv_dim": (32,) * convolutions}).save_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"cannot be told; put the config\.json of the model beside it"):
        read_reader(UnitConfig(features=kind, layer=2), tmp_path)


@pytest.mark.parametrize(
    ("features", "variant", "changed", "message"),
    [
        (
            "hubert",
            "wavlm base",
            {},
            r"of the type hubert or wav2vec2, got 'wavlm'; load it with a card whose",
        ),
        ("wavlm", "contentvec", {}, "of the type wavlm, got 'hubert'"),
        ("wavlm", "wavlm base", {"num_buckets": 10}, "does not fit its weights: buckets"),
        ("wavlm", "wavlm base", {"num_buckets": "32"}, "does not fit its weights: buckets"),
        ("wavlm", "wavlm base", {"max_bucket_distance": 8}, "does not fit its weights: buckets"),
        (
            "wavlm",
            "wavlm base",
            {"num_buckets": 64, "max_bucket_distance": 99},
            "has another shape for entry",
        ),
        ("data2vec", "data2vec", {"num_conv_pos_embeddings": 5}, "does not fit its weights: position_layers"),
        (
            "hubert",
            "mhubert 25 Hz",
            {"conv_pos_batch_norm": False},
            "does not fit its weights: position_norm",
        ),
        (
            "hubert",
            "distilhubert",
            {"feat_proj_layer_norm": True},
            "does not fit its weights: projection_norm",
        ),
    ],
)
def test_a_config_that_does_not_fit(tmp_path, features: str, variant: str, changed, message: str) -> None:
    _, network, sizes = VARIANTS[variant]
    convolutions = len(sizes.get("conv_kernel", [0] * 7))
    make(network, SMALL | sizes | {"conv_dim": (32,) * convolutions}).save_pretrained(tmp_path / "features")
    path = tmp_path / "features" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(CheckpointError, match=message):
        read_reader(UnitConfig(features=features, layer=2), tmp_path)


def test_a_file_of_another_kind_is_refused(tmp_path) -> None:
    (tmp_path / "features").mkdir()
    wavlm = fairseq_file(make("WavLM", SMALL), tuned=False)
    torch.save(wavlm, tmp_path / "features" / "model.pt")
    with pytest.raises(CheckpointError, match="of the type hubert or wav2vec2, got 'wavlm'"):
        read_reader(UnitConfig(layer=2), tmp_path)
    wavlm["cfg"]["gru_rel_pos"] = False
    torch.save(wavlm, tmp_path / "features" / "model.pt")
    with pytest.raises(CheckpointError, match="states relative positions without gates"):
        read_reader(UnitConfig(features="wavlm", layer=2), tmp_path)


def test_far_and_many_frames_have_the_biases_of_transformers() -> None:
    """Across the blocks of queries and the bucket that all far distances share."""
    theirs = make("WavLM", SMALL | {"num_hidden_layers": 1, "max_bucket_distance": 700})
    attention = theirs.encoder.layers[0].attention
    settings = HubertSettings(channels=128, num_heads=2, buckets=320, max_distance=700)
    ours = GatedAttention(settings, has_table=True).double()
    ours.load_state_dict(attention.state_dict())
    x = torch.randn(1, 1100, 128, dtype=torch.float64)
    with torch.no_grad():
        want = attention(x)[0]
        got = ours(x, None, ours.biases(1100))
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_weights_in_several_files(tmp_path) -> None:
    model = make("Hubert", SMALL)
    model.save_pretrained(tmp_path / "one" / "features")
    model.save_pretrained(tmp_path / "many" / "features", max_shard_size="200KB")
    assert len(list((tmp_path / "many" / "features").glob("*.safetensors"))) > 2
    one, many = (read_reader(UnitConfig(layer=2), tmp_path / name).state_dict() for name in ("one", "many"))
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)
    model.save_pretrained(tmp_path / "many" / "features" / "new")  # one file goes before a list
    whole = tmp_path / "many" / "features" / "new" / "model.safetensors"
    assert "features/model.safetensors.index.json" in find_files(tmp_path / "many")
    whole.rename(tmp_path / "many" / "features" / "model.safetensors")
    assert list(find_files(tmp_path / "many")) == ["features/model.safetensors", "features/config.json"]
