"""Published folders: what is accepted, what is refused and in which sentence."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import speechtok
from speechtok.cards import find_card, list_tokenizers, read_tokenizer_card
from speechtok.cards.yaml_file import read_yaml
from speechtok.errors import CardError, CheckpointError, SpeechtokError
from speechtok.tokenizers.funcodec.convert import published_shapes
from speechtok.tokenizers.funcodec.published_config import parse_config
from tests.tokenizers.funcodec.published import (
    GOLDENS,
    config_of,
    published_config,
    recipe_weights,
    semantic_config,
    signal,
    small_config,
    write_card,
    write_folder,
    write_small_folder,
)

NAME = "funcodec_en_libritts_16k_nq32ds640"
RATES = {"ds640": (25.0, 640), "ds320": (50.0, 320)}


def load(folder: Path, **options: Any) -> speechtok.SpeechTokenizer:
    return speechtok.load_tokenizer(folder, **options)


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


def test_a_model_of_ones_own_loads_by_a_card_of_its_own(tmp_path: Path) -> None:
    content = small_config()
    content["model_conf"] = content["model_conf"] | {"target_sample_hz": 48_000}
    folder = write_small_folder(tmp_path / "small")
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    write_card(folder, content)
    tokenizer = load(folder)
    assert (tokenizer.name, tokenizer.sample_rate) == ("funcodec_small", 48_000)
    assert (tokenizer.streams[0].hop_length, tokenizer.streams[0].frame_rate) == (10, 4800.0)
    with pytest.raises(CheckpointError) as caught:
        speechtok.load_tokenizer(NAME, checkpoint=folder)
    assert str(caught.value) == (
        f"{folder / 'config.yaml'} is not that of '{NAME}': it gives acoustic at 4800.0 Hz (4 codebooks of 64, "
        "10 samples per frame), not acoustic at 25.0 Hz (32 codebooks of 1024, 640 samples per frame); fetch the files "
        "of the card, or load it by a card of its own: a tokenizer.yaml with these streams in its folder, and that "
        "folder as the name."
    )


def test_another_sample_rate_is_no_published_card(tmp_path: Path) -> None:
    content = published_config("encodec_nq32ds640")
    content["model_conf"] = content["model_conf"] | {"target_sample_hz": 24_000}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "model.pth").write_bytes(b"unread")
    with pytest.raises(
        CheckpointError, match=r"it gives acoustic at 37\.5 Hz .* or load it by a card of its own"
    ):
        speechtok.load_tokenizer(NAME, checkpoint=tmp_path)


def test_files_of_another_card_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(published_config("encodec_nq32ds320")))
    (tmp_path / "model.pth").write_bytes(b"unread")
    with pytest.raises(
        CheckpointError,
        match=r"is not that of 'funcodec_en_libritts_16k_nq32ds640': it gives acoustic at 50.0 Hz .* or load it as "
        "funcodec_en_libritts_16k_nq32ds320 or funcodec_freqcodec",
    ):
        speechtok.load_tokenizer(NAME, checkpoint=tmp_path)


def test_a_card_that_states_no_level(tmp_path: Path) -> None:
    folder = write_small_folder(tmp_path / "small")
    card = read_tokenizer_card(folder / "tokenizer.yaml")
    replace(card, has_scale=not card.has_scale).write(folder / "tokenizer.yaml")
    with pytest.raises(
        CheckpointError,
        match=r"is not that of 'funcodec_small': it gives .*, with the level of a recording, not .*, has_scale: false; fetch",
    ):
        load(folder)


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
    assert [(entry["path"], entry["origin"]) for entry in first] == [
        ("config.yaml", "local"),
        ("model.pth", "local"),
    ]
    assert first[0] == second[0]
    for folder, entries in (("one", first), ("two", second)):
        for entry in entries:
            content = (tmp_path / folder / entry["path"]).read_bytes()
            assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    assert first[1]["sha256"] != second[1]["sha256"]


def test_provenance_of_the_hub_is_where_the_files_lie_and_not_what_the_card_says(tmp_path: Path) -> None:
    commit = "0123456789" * 4
    cache = tmp_path / "models--alibaba-damo--another-model" / "snapshots" / commit
    cached = load(write_small_folder(cache))
    assert cached.fingerprint == load(write_small_folder(tmp_path / "one")).fingerprint
    entry = cached.card.architecture["source"][1]
    assert entry.pop("sha256")
    assert entry == {
        "path": "model.pth",
        "origin": "huggingface",
        "repository": "alibaba-damo/another-model",
        "revision": commit,
    }
    cached.save_pretrained(tmp_path / "saved")
    saved = speechtok.load_tokenizer(tmp_path / "saved")
    assert saved.card.architecture["source"] == cached.card.architecture["source"]


def test_a_change_of_what_inference_reads_changes_the_fingerprint(tmp_path: Path) -> None:
    one = load(write_small_folder(tmp_path / "one"))
    folder = write_small_folder(tmp_path / "two")
    entries = torch.load(folder / "model.pth", weights_only=True)
    entries["decoder.model.0.conv.conv.weight"][0, 0, 0] += 1e-9
    torch.save(entries, folder / "model.pth")
    assert load(folder).fingerprint != one.fingerprint


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


def _semantic(content: dict[str, Any], **changes: Any) -> dict[str, Any]:
    content.update(semantic_config(content, **changes))
    return content


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
        _config(lambda c: c.update(model="laura")),
        CardError,
        "must be 'encodec' or 'freq_codec'",
    ),
    "phones": (
        _config(lambda c: c.update(model="codec_semantic_aug")),
        CardError,
        "None in field model_conf.ppg_conf, which must be a mapping with ppg_dim",
    ),
    "phone mode": (
        _config(lambda c: _semantic(c, ppg_usage_mod="residual")),
        CardError,
        "not supported: FunCodec itself cannot encode or decode with it",
    ),
    "phone segments": (
        _config(lambda c: _semantic(c)["model_conf"].update(segment_dur=1.0)),
        CardError,
        "not supported: how phones are shared among segments",
    ),
    "phone rate": (
        _config(lambda c: _semantic(c, ppg_ds_rate=3)),
        CardError,
        "ppg_ds_rate, which must be a divisor of the hop 10",
    ),
    "unknown quantizer": (
        _config(lambda c: c.update(quantizer="fsq")),
        CardError,
        "must be 'costume_quantizer'",
    ),
    "unknown norm": (
        _config(lambda c: c["encoder_conf"].update(norm="batch_norm")),
        CardError,
        "encoder_conf.norm, which must be 'none'",
    ),
    "layer norm": (
        _config(lambda c: c["encoder_conf"].update(norm="layer_norm")),
        CardError,
        "not supported: over which axes it runs is not documented",
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
        "not supported: its layers are not documented",
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
    "segment": (
        _config(lambda c: c["model_conf"].update(segment_dur=0)),
        CardError,
        "segment_dur, which must be seconds above 0, or null",
    ),
    "segment sample": (
        _config(lambda c: c["model_conf"].update(segment_dur=1e-6)),
        CardError,
        "segment_dur, which must be at least one sample",
    ),
    "overlap": (
        _config(lambda c: c["model_conf"].update(segment_dur=1.0, overlap_ratio=1.0)),
        CardError,
        "overlap_ratio, which must be at least 0 and below 1",
    ),
    "bypass": (
        _config(lambda c: c["model_conf"].update(bypass_quantizer=True)),
        CardError,
        "there would be no codes",
    ),
    "domain": (
        _config(lambda c: c["model_conf"].update(codec_domain="wavelet")),
        CardError,
        "must be 'time'",
    ),
    "spectra": (
        _config(lambda c: c["model_conf"].update(codec_domain="stft")),
        CardError,
        "not supported: how a waveform is made from it is not documented",
    ),
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
        (
            {"model_conf": {"segment_dur": None, "codec_domain": ["time", "mag"]}},
            "'mag_phase' or 'mag_angle'",
        ),
        (
            {"model_conf": {"segment_dur": None, "codec_domain": ["mel", "mel"]}},
            "not supported: how a waveform",
        ),
        (
            {"model_conf": {"segment_dur": None, "codec_domain": ["mag_phase", "mag_oracle_phase"]}},
            "not supported: decoding needs the phase of the recording",
        ),
        (
            {"model_conf": {"segment_dur": 1.0, "codec_domain": ["mag_phase", "mag_phase"]}},
            "not supported: the last segment of an utterance can be too short",
        ),
        ({"encoder": "encodec_seanet_encoder"}, "must be two-dimensional"),
        ({"encoder_conf": {"conv_group_ratio": 64}}, "impossible network"),
    ):
        folder = write_small_folder(tmp_path / "folder", "freq")
        (folder / "config.yaml").write_text(yaml.safe_dump(small_config("freq") | change))
        with pytest.raises(CardError, match=sentence):
            load(folder)
