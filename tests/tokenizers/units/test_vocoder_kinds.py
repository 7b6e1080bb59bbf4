"""Vocoders with a predictor of durations, as those of S2ST, and with styles, as those of Expresso."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from transformers.models.seamless_m4t.modeling_seamless_m4t import SeamlessM4TVariancePredictor

from speechtok import load_tokenizer
from speechtok.errors import CheckpointError
from speechtok.tokenizers.units.durations import DurationPredictor
from speechtok.tokenizers.units.vocoder import UnitVocoder, VocoderSettings
from tests.goldens import recipe
from tests.tokenizers.units.folder import fill, make_folder, save

S2ST = VocoderSettings(num_units=20, channels=32, f0=None, speaker=None, duration_hidden=24)
EXPRESSO = VocoderSettings(num_units=20, channels=32, f0=None, voices=7, styles=3)


def make(folder: Path, settings: VocoderSettings, name: str, *, prefix: str = "generator") -> Path:
    """A checkpoint folder with a vocoder of that kind."""
    make_folder(folder, speaker=None)
    weights = fill(UnitVocoder(settings))
    save(folder, "vocoder", name, {prefix: weights} if prefix else weights)
    (folder / "vocoder" / "config.json").write_text(json.dumps({"f0": False, "f0_stats": "elsewhere.pth"}))
    if settings.styles:
        (folder / "vocoder" / "speakers.txt").write_text("ex01\nex02\nlj\n")
        (folder / "vocoder" / "styles.txt").write_text("read-default\nread-happy\nread-sad\n")
    return folder


def load(folder: Path, **changed: object):
    if changed:
        text = (folder / "tokenizer.yaml").read_text()
        fields = "".join(f", {name}: {value}" for name, value in changed.items())
        (folder / "tokenizer.yaml").write_text(text.replace("layer: 2", f"layer: 2{fields}"))
    return load_tokenizer(folder / "tokenizer.yaml", checkpoint=folder, dtype=torch.float64)


@pytest.fixture
def signals() -> list[torch.Tensor]:
    return [torch.from_numpy(recipe.speechlike(n, seed=n)) for n in (9000, 16000)]


def test_durations_of_transformers() -> None:
    torch.manual_seed(0)
    config = transformers.SeamlessM4TConfig(unit_embed_dim=16, variance_predictor_kernel_size=3)
    theirs = SeamlessM4TVariancePredictor(config).double().eval()
    stored = {
        name.replace("conv1.", "conv1.0.").replace("conv2.", "conv2.0."): value
        for name, value in theirs.state_dict().items()
    }
    ours = DurationPredictor(16, stored["ln1.weight"].shape[0], 3).double()
    ours.load_state_dict(stored)
    x = 9 * torch.randn(2, 50, 16, dtype=torch.float64)
    with torch.no_grad():
        ours.proj.weight *= 3
        theirs.proj.weight.copy_(ours.proj.weight)
        want = torch.clamp(torch.round(torch.expm1(theirs(x))).long(), min=1)
        got = ours(x)
    assert torch.equal(got, want)
    assert got.unique().numel() > 3


@pytest.mark.parametrize(
    ("name", "prefix"), [("model.pt", "generator"), ("g_00500000", "generator"), ("a.pt", "")]
)
def test_predicted_durations(tmp_path, signals, name: str, prefix: str) -> None:
    tokenizer = load(make(tmp_path, S2ST, name, prefix=prefix))
    tokens = tokenizer.encode(signals)
    spoken = tokenizer.predict_durations(tokens)
    for index in range(2):
        frames = int(spoken.num_frames["content"][index])
        ours, given = spoken["content"][index, 0, :frames], tokens[index]["content"][0, 0]
        runs, lengths = torch.unique_consecutive(ours, return_counts=True)
        assert torch.equal(runs, torch.unique_consecutive(given[: int(tokens.num_frames["content"][index])]))
        predictor = tokenizer.parts.vocoder.dur_predictor
        assert torch.equal(lengths, predictor(tokenizer.parts.vocoder.dict(runs[None]))[0])
        assert int(spoken.num_samples[index]) == 320 * frames
    assert tokenizer.decode(spoken).shape == (2, int(spoken.num_samples.max()))
    runs = tokens.deduplicated()
    one_each = replace(tokens, streams=runs.streams, num_frames=runs.num_runs)
    assert tokenizer.predict_durations(one_each).equals(spoken)


def test_durations_without_a_predictor(tmp_path, signals) -> None:
    tokenizer = load(make(tmp_path, EXPRESSO, "generator.pt"))
    with pytest.raises(
        CheckpointError, match="has no vocoder with a predictor of durations and without pitch"
    ):
        tokenizer.predict_durations(tokenizer.encode(signals))


@pytest.mark.parametrize("prefix", ["generator", ""])
def test_styles_and_voices_by_name_and_row(tmp_path, signals, prefix: str) -> None:
    tokenizer = load(make(tmp_path / "parts", EXPRESSO, "generator.pt", prefix=prefix))
    assert (tokenizer.num_voices, tokenizer.voices) == (7, ("ex01", "ex02", "lj"))
    tokens = tokenizer.encode(signals[0])
    happy = tokenizer.decode(tokens, speaker="ex02", style="read-happy")
    assert torch.equal(tokenizer.decode(tokens, speaker=1, style=1), happy)
    assert torch.equal(tokenizer.convert_voice(tokens, "ex02", style=1), happy)
    assert not torch.equal(tokenizer.decode(tokens, speaker=1, style=2), happy)
    vocoder = tokenizer.parts.vocoder
    with torch.inference_mode():
        tables = [vocoder.dict(tokens["content"][:, 0])]
        tables += [
            table.weight[1].expand(1, tables[0].shape[1], -1) for table in (vocoder.spkr, vocoder.style)
        ]
        want = vocoder.generate(torch.cat(tables, dim=2))
    torch.testing.assert_close(happy[:, : want.shape[1]], want, rtol=1e-9, atol=1e-12)
    for style, message in (
        (None, "needs a style; pass style="),
        ("sad", "has no style 'sad'"),
        (3, "rows 0 to 2"),
    ):
        with pytest.raises(ValueError, match=message):
            tokenizer.decode(tokens, speaker=1, style=style)
    with pytest.raises(ValueError, match="has no speaker 7"):
        tokenizer.decode(tokens, speaker=7, style=0)
    tokenizer.save_pretrained(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved", dtype=torch.float64)
    assert again.fingerprint == tokenizer.fingerprint
    assert torch.equal(again.decode(tokens, speaker="ex02", style="read-happy"), happy)


def test_statistics_of_any_row_of_a_large_table(tmp_path, signals) -> None:
    settings = VocoderSettings(num_units=20, channels=32, f0=None, voices=300, has_statistics=True)
    folder = make(tmp_path, settings, "generator.pt")
    save(folder, "vocoder", "f0_stats.pth", {"f0_mean": 142.0, "f0_std": 20.0})
    tokenizer = load(folder)
    assert tokenizer.num_voices == 300
    tokens = tokenizer.encode(signals[0])
    assert not torch.equal(tokenizer.decode(tokens, speaker=299), tokenizer.decode(tokens, speaker=0))
    with pytest.raises(ValueError, match="has no speaker 300"):
        tokenizer.decode(tokens, speaker=300)


def test_a_card_may_state_the_style(tmp_path, signals) -> None:
    folder = make(tmp_path, EXPRESSO, "generator.pt")
    plain = load(folder)
    stated = load(folder, style="read-sad")
    assert stated.fingerprint == plain.fingerprint
    tokens = plain.encode(signals[0])
    assert torch.equal(stated.decode(tokens, speaker=0), plain.decode(tokens, speaker=0, style=2))


def test_no_style_for_other_vocoders(tmp_path, signals) -> None:
    tokenizer = load(make(tmp_path, S2ST, "model.pt"))
    with pytest.raises(ValueError, match="has a vocoder without styles, so it takes no style="):
        tokenizer.decode(tokenizer.encode(signals[0]), style=0)


@pytest.mark.parametrize("text", ["", "a\n\nb\n", "a\na\n", " a\n"])
def test_lists_of_names_are_checked(tmp_path, text: str) -> None:
    folder = make(tmp_path, EXPRESSO, "generator.pt")
    (folder / "vocoder" / "styles.txt").write_text(text)
    with pytest.raises(CheckpointError, match=r"styles\.txt' must hold one name a line, each once"):
        load(folder)


def test_a_predictor_of_another_kind(tmp_path) -> None:
    folder = make_folder(tmp_path, speaker=None)
    weights = fill(UnitVocoder(S2ST))
    weights["dur_predictor.conv1.0.weight"] = torch.zeros(24, 128, 4)
    save(folder, "vocoder", "model.pt", {"generator": weights})
    with pytest.raises(CheckpointError, match="convolutions see 4 frames; an odd number is needed"):
        load(folder)
