"""Published folders: what is accepted, what is refused and in which sentence."""

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import speechtok
from speechtok.cards import find_card, list_tokenizers
from speechtok.cards.yaml_file import read_yaml
from speechtok.errors import CardError, CheckpointError, SpeechtokError
from speechtok.tokenizers.funcodec.convert import published_shapes
from speechtok.tokenizers.funcodec.published_config import parse_config
from tests.tokenizers.funcodec.published import (
    GOLDENS,
    config_of,
    recipe_weights,
    signal,
    small_config,
    write_folder,
    write_small_folder,
)

NAME = "funcodec_en_libritts_16k_nq32ds640"
RATES = {"ds640": (25.0, 640), "ds320": (50.0, 320)}


def load(folder: Path, **options: Any) -> speechtok.SpeechTokenizer:
    return speechtok.load_tokenizer(NAME, checkpoint=folder, **options)


def test_six_cards() -> None:
    names = [name for name in list_tokenizers() if name.startswith("funcodec_")]
    assert len(names) == 6
    for name in names:
        card, _ = find_card(name)
        stream = card.streams[0]
        assert (stream.name, stream.num_codebooks, stream.codebook_size) == ("acoustic", 32, 1024)
        assert (stream.frame_rate, stream.hop_length) == RATES[name[-5:]]
        assert card.has_scale
        assert [file.path for file in card.files] == ["config.yaml", "model.pth"]


def test_a_published_folder_with_training_entries(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_folder(tmp_path / "ds320", "encodec_nq32ds320", 12)
    with caplog.at_level(logging.WARNING):
        tokenizer = speechtok.load_tokenizer("funcodec_en_libritts_16k_nq32ds320", checkpoint=folder)
    assert not caplog.records
    assert tokenizer.encode(signal(4000, 1).float())["acoustic"].shape == (1, 32, 13)


def test_the_folder_decides_the_network(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = small_config()
    content["model_conf"] = content["model_conf"] | {"target_sample_hz": 48_000}
    folder = write_small_folder(tmp_path / "small")
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    with caplog.at_level(logging.WARNING):
        tokenizer = load(folder)
    assert "gives the stream" in caplog.text
    assert tokenizer.sample_rate == 48_000
    assert (tokenizer.streams[0].hop_length, tokenizer.streams[0].frame_rate) == (10, 4800.0)


def test_a_config_as_funcodec_writes_it() -> None:
    example = parse_config(read_yaml(GOLDENS / "example_files" / "config.yaml"), "example")
    assert example == config_of("encodec_nq32ds320")
    assert (example.hop_length, example.sample_rate, example.num_codebooks) == (320, 16_000, 32)


def test_saved_folder_gives_the_same_tokenizer(tmp_path: Path) -> None:
    for kind, changes in (("time", {}), ("freq", {}), ("time", {"norm": "weight_norm"})):
        folder = write_small_folder(tmp_path / f"{kind}{len(changes)}", kind, **changes)
        first = load(folder, dtype=torch.float64)
        first.save_pretrained(tmp_path / "saved")
        again = speechtok.load_tokenizer(tmp_path / "saved", dtype=torch.float64)
        assert again.fingerprint == first.fingerprint
        tokens = first.encode(signal(2000, 1))
        assert again.encode(signal(2000, 1)).equals(tokens)
        assert torch.equal(again.decode(tokens), first.decode(tokens))
        assert again.card.architecture == first.card.architecture
        again.save_pretrained(tmp_path / "saved")
        assert speechtok.load_tokenizer(tmp_path / "saved").fingerprint == first.fingerprint


def test_provenance(tmp_path: Path) -> None:
    one = load(write_small_folder(tmp_path / "one"))
    two = load(write_small_folder(tmp_path / "two", seed=2))
    assert one.fingerprint != two.fingerprint
    first, second = (item.card.architecture["source"] for item in (one, two))
    assert [entry["path"] for entry in first] == ["config.yaml", "model.pth"]
    assert first[0] == second[0]
    assert first[1]["sha256"] != second[1]["sha256"]
    commit = "0123456789" * 4
    cached = load(write_small_folder(tmp_path / "snapshots" / commit))
    assert cached.card.architecture["source"][1]["revision"] == commit
    assert cached.card.architecture["source"][1]["repository"].startswith("alibaba-damo/audio_codec-")
    assert cached.fingerprint == one.fingerprint


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/speechtok-was-here",)


def _edit(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        entries = recipe_weights(small_config(), dtype="float64")
        change(entries)
        torch.save(entries, folder / "model.pth")

    return edit


def _config(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = small_config()
        change(content)
        (folder / "config.yaml").write_text(yaml.safe_dump(content))

    return edit


def _truncate(folder: Path) -> None:
    data = (folder / "model.pth").read_bytes()
    (folder / "model.pth").write_bytes(data[: len(data) // 2])


KEY = "encoder.model.3.conv.conv.weight"
BAD_FOLDERS: dict[str, tuple[Callable[[Path], None], type[SpeechtokError], str]] = {
    "no yaml": (lambda f: (f / "config.yaml").unlink(), CheckpointError, "needs the file config.yaml"),
    "no weights": (lambda f: (f / "model.pth").unlink(), CheckpointError, "needs the file model.pth"),
    "not yaml": (
        lambda f: f.joinpath("config.yaml").write_text("a: [1"),
        CardError,
        "cannot be read as YAML",
    ),
    "code in yaml": (
        lambda f: f.joinpath("config.yaml").write_text("model: !!python/object/apply:os.system ['true']"),
        CardError,
        "cannot be read as YAML",
    ),
    "truncated": (_truncate, CheckpointError, "damaged or not a torch weights file"),
    "code in weights": (
        lambda f: torch.save({"a": Evil()}, f / "model.pth"),
        CheckpointError,
        "refused because it is a pickle that would run code",
    ),
    "misshaped": (
        _edit(lambda e: e.update({KEY: torch.zeros(8, 4, 5)})),
        CheckpointError,
        f"another shape for entry '{KEY}'",
    ),
    "missing": (_edit(lambda e: e.pop(KEY)), CheckpointError, f"lacks entry '{KEY}'"),
    "unexpected": (
        _edit(lambda e: e.update(surplus=torch.zeros(1))),
        CheckpointError,
        "unexpected entry 'surplus'",
    ),
    "never fitted": (
        _edit(lambda e: e["quantizer.rq.model.inited"].zero_()),
        CheckpointError,
        "has a codebook that was never fitted",
    ),
    "unknown encoder": (
        _config(lambda c: c.update(encoder="conformer")),
        CardError,
        "'conformer' in field encoder, which must be",
    ),
    "unknown model": (
        _config(lambda c: c.update(model="codec_semantic_aug")),
        CardError,
        "must be 'encodec' or 'freq_codec'",
    ),
    "unknown quantizer": (
        _config(lambda c: c.update(quantizer="fsq")),
        CardError,
        "must be 'costume_quantizer'",
    ),
    "unknown norm": (
        _config(lambda c: c["encoder_conf"].update(norm="layer_norm")),
        CardError,
        "encoder_conf.norm, which must be 'none'",
    ),
    "unknown field": (
        _config(lambda c: c["decoder_conf"].update(wobble=3)),
        CardError,
        "unknown field decoder_conf.wobble; its meaning cannot be guessed",
    ),
    "norm params": (
        _config(lambda c: c["encoder_conf"].update(norm_params={"eps": 0.1})),
        CardError,
        "must be a mapping with num_groups alone",
    ),
    "transformer": (
        _config(lambda c: c["encoder_conf"].update(seq_model="transformer")),
        CardError,
        "'lstm' or 'none'",
    ),
    "activation": (
        _config(lambda c: c["encoder_conf"].update(activation="ReLU")),
        CardError,
        "must be 'ELU'",
    ),
    "hop": (
        _config(lambda c: c["quantizer_conf"].update(encoder_hop_length=320)),
        CardError,
        "encoder_hop_length, which must be 10, as the ratios say",
    ),
    "ratios": (
        _config(lambda c: c["decoder_conf"].update(ratios=[2, 5])),
        CardError,
        "must be those of the encoder",
    ),
    "ratio type": (
        _config(lambda c: c["encoder_conf"].update(ratios=["a"])),
        CardError,
        "whole number of at least 1",
    ),
    "segments": (
        _config(lambda c: c["model_conf"].update(segment_dur=1.0)),
        CardError,
        "utterances are encoded whole",
    ),
    "segments by default": (
        _config(lambda c: c["model_conf"].pop("segment_dur")),
        CardError,
        "utterances are encoded whole",
    ),
    "bypass": (
        _config(lambda c: c["model_conf"].update(bypass_quantizer=True)),
        CardError,
        "there would be no codes",
    ),
    "domain": (_config(lambda c: c["model_conf"].update(codec_domain="stft")), CardError, "must be 'time'"),
    "flag": (_config(lambda c: c["encoder_conf"].update(causal="yes")), CardError, "must be true or false"),
    "section": (_config(lambda c: c.update(encoder_conf=[1])), CardError, "must be a mapping"),
    "input size": (_config(lambda c: c.update(input_size=3)), CardError, "must be 1 for the domain 'time'"),
    "axes": (
        _config(lambda c: c["encoder_conf"].update(kernel_size=[7, 7])),
        CardError,
        "one number for each of 1 axes",
    ),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_a_bad_folder_is_one_sentence(tmp_path: Path, case: str) -> None:
    damage, kind, sentence = BAD_FOLDERS[case]
    folder = write_small_folder(tmp_path / "folder")
    damage(folder)
    with pytest.raises(kind) as caught:
        load(folder)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("/tmp/speechtok-was-here").exists()


@pytest.mark.parametrize("kind", ["time", "freq"])
@pytest.mark.parametrize("value", [None, -1, 0, 1.5, "x", [], [[]], {}, {"a": 1}, [1, "b"], True])
def test_any_value_anywhere_is_read_or_refused(kind: str, value: Any) -> None:
    plain = small_config(kind)
    for field in plain:
        for inner in plain[field] if isinstance(plain[field], dict) else [None]:
            content = small_config(kind)
            if inner is None:
                content[field] = value
            else:
                content[field] = plain[field] | {inner: value}
            with contextlib.suppress(CardError):
                published_shapes(parse_config(content, "test"))


def test_bad_freqcodec_settings(tmp_path: Path) -> None:
    for change, sentence in (
        ({"model_conf": {"segment_dur": None}}, "a pair of domains"),
        ({"model_conf": {"segment_dur": None, "codec_domain": ["mag", "mag"]}}, "'mag_phase' or 'mag_angle'"),
        ({"encoder": "encodec_seanet_encoder"}, "must be two-dimensional"),
        ({"encoder_conf": {"conv_group_ratio": 64}}, "impossible network"),
    ):
        folder = write_small_folder(tmp_path / "folder", "freq")
        (folder / "config.yaml").write_text(yaml.safe_dump(small_config("freq") | change))
        with pytest.raises(CardError, match=sentence):
            load(folder)
