"""Content features and units against numbers of the published implementations, in float64."""

import argparse
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from speechtok import load_tokenizer
from speechtok.cards import find_card
from speechtok.errors import CheckpointError
from speechtok.tokenizers.units import convert
from speechtok.tokenizers.units.components import read_reader
from speechtok.tokenizers.units.config import UnitConfig
from speechtok.tokenizers.units.cpc import CpcSettings
from speechtok.tokenizers.units.hubert_config import Shown, complete_statement, read_statement
from speechtok.tokenizers.units.hubert_extractor import HubertSettings
from speechtok.tokenizers.units.logmel import LogMel
from speechtok.tokenizers.units.sources import find_files, find_sources
from tests.goldens import recipe
from tests.tokenizers.units.conftest import (
    INVENTORY,
    build_hubert,
    build_kmeans,
    hubert_weights,
    recipe_centers,
    recipe_weights,
)
from tests.tokenizers.units.forms import LARGE, SMALL, fairseq_file

TOLERANCE = 1e-9


def close(ours: torch.Tensor, want: np.ndarray, tolerance: float = TOLERANCE) -> None:
    np.testing.assert_allclose(ours.numpy(), want, rtol=tolerance, atol=tolerance)


@torch.no_grad()
def run(network: torch.nn.Module, *signals: torch.Tensor) -> torch.Tensor:
    lengths = torch.tensor([len(signal) for signal in signals])
    batch = torch.nn.utils.rnn.pad_sequence(list(signals), batch_first=True)
    return network(batch.to(next(network.parameters(), batch).dtype), lengths)


@pytest.mark.parametrize("layer", [6, pytest.param(9, marks=pytest.mark.slow)])
def test_hubert_alone(golden, signal, layer: int) -> None:
    want, network = golden("hubert_base"), build_hubert(layer)
    for name, about in json.loads(str(want["meta"]))["signals"].items():
        features = run(network, about["scale"] * signal(about["seed"], about["samples"]))[0]
        assert features.shape == (network.num_frames(about["samples"]), 768)
        close(features[::4, ::8], want[f"{name}_h{layer}"])
        if layer == 6:
            close(features.mean(dim=1), want[f"{name}_h6_frame_mean"])
            close(features.norm(dim=1), want[f"{name}_h6_frame_norm"])
        for size in (100, 500):
            kmeans = build_kmeans(recipe_centers(size, want[f"kmeans_mu_{layer}"]))
            assert np.array_equal(kmeans(features), want[f"{name}_units_l{layer}_k{size}"])


def test_hubert_before_the_first_layer(golden, signal) -> None:
    want, network = golden("hubert_base"), build_hubert(6)
    seen = {}
    handle = network.encoder.layer_norm.register_forward_hook(lambda m, i, out: seen.update(out=out))
    run(network, signal(1, 20011))
    handle.remove()
    close(seen["out"][0, ::8, ::16], want["odd_h0"])


@pytest.mark.parametrize("layer", [6, pytest.param(9, marks=pytest.mark.slow)])
def test_hubert_batch(golden, signal, layer: int) -> None:
    want, network = golden("hubert_batch"), build_hubert(layer)
    batch = json.loads(str(want["meta"]))["batch"]
    kmeans = build_kmeans(recipe_centers(100, want[f"kmeans_mu_{layer}"]))
    features = run(network, *(signal(item["seed"], item["samples"]) for item in batch))
    for index, item in enumerate(batch):
        own = features[index, : network.num_frames(item["samples"])]
        close(own[::4, ::8], want[f"item{index}_h{layer}"])
        assert np.array_equal(kmeans(own), want[f"item{index}_units_l{layer}_k100"])


@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(400, 9000), min_size=2, max_size=4), st.integers(0, 99))
def test_hubert_batch_is_each_alone(lengths: list[int], seed: int) -> None:
    network = build_hubert(2)
    signals = [torch.from_numpy(recipe.speechlike(n, seed=seed + i)) for i, n in enumerate(lengths)]
    together = run(network, *signals)
    for index, signal in enumerate(signals):
        close(together[index, : network.num_frames(len(signal))], run(network, signal)[0].numpy(), 1e-10)


def test_hubert_float32_units(golden, signal) -> None:
    want, network = golden("hubert_base"), build_hubert(6, torch.float32)
    kmeans = build_kmeans(recipe_centers(100, want["kmeans_mu_6"]), torch.float32)
    features = run(network, signal(0, 48000))[0]
    close(features[::4, ::8].double(), want["a_h6"], 2e-5)
    assert np.array_equal(kmeans(features), want["a_units_l6_k100"])


def test_normalized_waveforms_do_not_depend_on_level(signal) -> None:
    weights = hubert_weights(2)
    network = convert.build_hubert(
        HubertSettings(num_layers=2), weights, normalize=True, dtype=torch.float64, source="x"
    )
    loud, quiet = signal(0, 6000), 0.2 * signal(0, 6000)
    batch = run(network, quiet, signal(1, 8000))
    close(batch[0, : network.num_frames(6000)], run(network, loud)[0].numpy(), 1e-2)
    close(batch[0, : network.num_frames(6000)], run(network, quiet)[0].numpy(), 1e-10)


def test_every_published_form_gives_the_same_network(tmp_path) -> None:
    names = INVENTORY["hubert_base_hf_to_fairseq_key"]
    stored = recipe_weights(
        "hubert_base_hf", wanted=lambda k: not k.startswith("encoder.layers.") or ".layers.0." in k
    )
    legacy = {
        k.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): v
        for k, v in stored.items()
    }
    forms = {
        "hf.bin": legacy,
        "head.bin": {f"hubert.{k}": v for k, v in stored.items()} | {"lm_head.weight": torch.zeros(2, 2)},
        "fairseq.pt": {
            "args": argparse.Namespace(seed=1),
            "cfg": {"task": {"normalize": False}},
            "model": {names[k]: v for k, v in stored.items()}
            | {"final_proj.weight": torch.zeros(256, 768), "label_embs_concat": torch.zeros(504, 256)},
        },
    }
    want = None
    for name, content in forms.items():
        torch.save(content, tmp_path / name)
        sizes, weights = convert.read_hubert(tmp_path / name, 1)
        assert sizes == HubertSettings(num_layers=1)
        network = convert.build_hubert(sizes, weights, normalize=False, dtype=torch.float32, source=name)
        state = network.state_dict()
        assert want is None or all(torch.equal(state[key], want[key]) for key in want)
        want = state


def test_a_layer_the_file_does_not_have(tmp_path) -> None:
    stored = recipe_weights(
        "hubert_base_hf", wanted=lambda k: not k.startswith("encoder.layers.") or ".layers.0." in k
    )
    torch.save(stored, tmp_path / "model.bin")
    with pytest.raises(CheckpointError, match="has layers 1 to 1, but layer 6 is to be read"):
        convert.read_hubert(tmp_path / "model.bin", 6)
    torch.save({"x": torch.zeros(2)}, tmp_path / "other.bin")
    with pytest.raises(CheckpointError, match=r"is not a HuBERT or wav2vec 2\.0 network"):
        convert.read_hubert(tmp_path / "other.bin", 6)


def test_logmel(golden, signal) -> None:
    want = golden("logmel")
    for name, about in json.loads(str(want["meta"]))["cases"].items():
        features = run(LogMel(), signal(about["seed"], about["samples"]))[0]
        assert len(features) == LogMel().num_frames(about["samples"])
        close(features[:: about["row_stride"]], want[name])
    assert float(run(LogMel(), torch.zeros(400, dtype=torch.float64)).max()) == pytest.approx(
        -15.9424, abs=1e-4
    )


def test_cpc(golden, signal, tmp_path) -> None:
    want = golden("cpc")
    stored = recipe_weights("cpc_2_level", gains={"gAR.": 2.0})
    torch.save({"weights": stored, "config": {"hiddenGar": 512}}, tmp_path / "cpc.pt")
    sizes, weights = convert.read_cpc(tmp_path / "cpc.pt", 2)
    for name, about in json.loads(str(want["meta"]))["cases"].items():
        sizes = CpcSettings(channels=512, hidden=512, chunk_samples=about["max_chunk"])
        network = convert.build_cpc(sizes, weights, dtype=torch.float64, source="cpc.pt")
        features = run(network, signal(about["seed"], about["samples"]), signal(9, 24000))
        features = features[0, : network.num_frames(about["samples"])]
        assert len(features) == about["frames"]
        close(features[::7, ::8], want[name])
        close(features.norm(dim=1), want[f"{name}_frame_norm"])


NETWORKS = {
    "base": {},
    "large": LARGE,
    "many heads": {"num_attention_heads": 8},
    "wide heads": {"hidden_size": 160} | LARGE,  # 80 channels a head, as the largest ones have
    "norms after": LARGE | {"do_stable_layer_norm": False},
    "norms first": {"do_stable_layer_norm": True},
    "epsilon": {"layer_norm_eps": 0.1},
    "activation": {"hidden_act": "relu"},
    "strides": {"conv_kernel": (8, 4, 4), "conv_stride": (4, 4, 2), "conv_dim": (32,) * 3},
}


@pytest.mark.parametrize("kind", ["Hubert", "Wav2Vec2"])
@pytest.mark.parametrize("network", NETWORKS)
def test_same_as_transformers(tmp_path, kind: str, network: str) -> None:
    config = getattr(transformers, f"{kind}Config")(**SMALL | NETWORKS[network])
    torch.manual_seed(0)
    theirs = getattr(transformers, f"{kind}Model")(config).double().eval()
    forms = [tmp_path / "hf", tmp_path / "bin"]
    theirs.save_pretrained(forms[0] / "features")  # config.json and model.safetensors
    (forms[1] / "features").mkdir(parents=True)
    shutil.copy(forms[0] / "features" / "config.json", forms[1] / "features")
    torch.save(theirs.state_dict(), forms[1] / "features" / "pytorch_model.bin")
    if network != "epsilon":  # which fairseq does not state
        for tuned in (False, True):
            forms.append(tmp_path / f"fairseq {tuned}")
            (forms[-1] / "features").mkdir(parents=True)
            torch.save(fairseq_file(theirs, tuned=tuned), forms[-1] / "features" / "model.pt")
    signals = [torch.from_numpy(recipe.speechlike(n, seed=n)) for n in (5000, 3210)]
    # Where norms go first, the last hidden state has one that is no part of the features of the last layer.
    for layer in (1, 2) if config.do_stable_layer_norm else (1, 3):
        with torch.no_grad():
            states = [theirs(signal[None], output_hidden_states=True).hidden_states for signal in signals]
        for form in forms:
            files = find_files(form)
            sizes, weights = convert.read_hubert(
                find_sources(files)["features"].path, layer, stated=read_statement(files)
            )
            ours = convert.build_hubert(sizes, weights, normalize=False, dtype=torch.float64, source="x")
            together = run(ours, *signals)
            for got, state in zip(together, states, strict=True):
                want = state[layer][0]
                close(got[: len(want)], want.numpy())


@pytest.mark.parametrize(
    "size", [(768, 12, "group"), (1024, 16, "group"), (1280, 16, "layer"), (1920, 16, "layer")]
)
def test_published_sizes_need_no_config(size) -> None:
    channels, heads, norm = size
    shown = Shown(channels=channels, layer_norm=norm == "layer", kernels=(10, 3, 3, 3, 3, 2, 2))
    found = complete_statement({}, shown, source="x")
    assert found["num_heads"] == heads
    assert found["norm_first"] == (norm == "layer")


@pytest.fixture
def small_folder(tmp_path):
    """Return a function that writes a network with something changed in its config, or without one."""

    def write(**changed):
        model = transformers.HubertModel(transformers.HubertConfig(**SMALL))
        model.save_pretrained(tmp_path / "features")
        path = tmp_path / "features" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))
        return tmp_path

    return write


def test_a_size_of_its_own_needs_a_statement(small_folder) -> None:
    folder = small_folder()
    (folder / "features" / "config.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"has 128 channels, which no published HuBERT or wav2vec 2.0 has.*config\.json"
    ):
        read_reader(UnitConfig(layer=2), folder)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_attention_heads": 5}, "does not fit its weights: num_heads"),
        ({"num_attention_heads": "2"}, "does not fit its weights: num_heads"),
        ({"num_attention_heads": 10**9}, "does not fit its weights: num_heads"),
        ({"hidden_size": 768}, "does not fit its weights: channels"),
        ({"feat_extract_norm": "layer"}, "does not fit its weights: layer_norm"),
        ({"feat_extract_norm": "none"}, "feat_extract_norm as 'group' or 'layer'"),
        ({"conv_stride": [5, 2]}, "does not fit its weights: strides"),
        ({"conv_kernel": [10] * 7}, "does not fit its weights: kernels"),
        ({"layer_norm_eps": -1.0}, "does not fit its weights: epsilon"),
        ({"do_stable_layer_norm": "no"}, "does not fit its weights: norm_first"),
        ({"hidden_act": "mish"}, "names the activation 'mish'"),
        ({"model_type": "wavlm"}, "of the type hubert or wav2vec2, got 'wavlm'"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(small_folder, changed, message) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_reader(UnitConfig(layer=2), small_folder(**changed))


def test_what_is_stated_counts_and_is_kept(small_folder, tmp_path, speech) -> None:
    folder = small_folder(num_attention_heads=4)
    (folder / "kmeans").mkdir()
    centers = np.random.default_rng(0).standard_normal((100, 128)).astype(np.float32)
    np.save(folder / "kmeans" / "km.npy", centers)
    card = replace(find_card("hubert_base_l6_km100")[0], architecture={"layer": 2})
    card.write(tmp_path / "card.yaml")
    four = load_tokenizer(tmp_path / "card.yaml", checkpoint=folder)
    four.save_pretrained(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    assert again.fingerprint == four.fingerprint
    assert torch.equal(again.encode(speech(1.0))["content"], four.encode(speech(1.0))["content"])
    two = load_tokenizer(tmp_path / "card.yaml", checkpoint=small_folder(num_attention_heads=2))
    assert two.fingerprint != four.fingerprint


def test_a_hugging_face_folder_makes_units(tmp_path) -> None:
    transformers.HubertModel(
        transformers.HubertConfig(
            hidden_size=128,
            num_attention_heads=2,
            intermediate_size=96,
            num_hidden_layers=7,
            conv_dim=(32,) * 7,
        )
    ).save_pretrained(tmp_path / "features")
    (tmp_path / "kmeans").mkdir()
    np.save(tmp_path / "kmeans" / "km.npy", np.zeros((100, 128), np.float32))
    tokenizer = load_tokenizer("hubert_base_l6_km100", checkpoint=tmp_path)
    assert tokenizer.encode(np.zeros(16000, np.float32))["content"].shape == (1, 1, 49)
