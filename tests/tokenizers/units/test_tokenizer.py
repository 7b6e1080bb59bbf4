"""The composed tokenizer: published chains, laws, files and error sentences."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechtok import load_tokenizer
from speechtok.audio.pitch import extract_pitch, fill_gaps
from speechtok.cards import find_card
from speechtok.errors import AudioError, CardError, CheckpointError, TokensError
from speechtok.tokenizers.units.pitch import normalize_pitch, read_statistics
from speechtok.tokenizers.units.vocoder import UnitVocoder, VocoderSettings
from tests.goldens import recipe
from tests.tokenizers.units.conftest import GOLDENS, hubert_weights, recipe_centers, recipe_weights
from tests.tokenizers.units.folder import fill, make_folder, save

CARDS = Path(__file__).parents[3] / "tokenizers"


def load(folder: Path, dtype: torch.dtype = torch.float64):
    return load_tokenizer(folder / "tokenizer.yaml", checkpoint=folder, dtype=dtype)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return load(make_folder(tmp_path_factory.mktemp("table")))


@pytest.fixture(scope="module")
def xvector(tmp_path_factory):
    return load(make_folder(tmp_path_factory.mktemp("xvector"), speaker="xvector"))


def speech(seed: int, samples: int) -> torch.Tensor:
    return torch.from_numpy(recipe.speechlike(samples, seed=seed))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chain_fb", "chain_xvector_short"])
def test_published_chain(name: str, tmp_path) -> None:
    want = dict(np.load(GOLDENS / f"{name}.npz"))
    meta = json.loads(str(want["meta"]))
    save(tmp_path, "features", "pytorch_model.bin", hubert_weights(6))
    (tmp_path / "kmeans").mkdir()
    np.save(tmp_path / "kmeans" / "km.npy", recipe_centers(100, want["kmeans_mu"]))
    model = (
        "code_generator_fb_vctk_hubert100" if name == "chain_fb" else "code_generator_xvector_vctk_hubert100"
    )
    weights = recipe_weights(
        model, seed=meta["decoder"]["recipe_seed"], gains=meta["decoder"]["gain_by_key_prefix"]
    )
    save(tmp_path, "vocoder", "g_00400000", {"generator": weights})
    save(tmp_path, "f0", "f0_stats.pth", {f"f0_{k}": v for k, v in meta["stats"].items()})
    tokenizer = load_tokenizer("hubert_base_l6_km100", checkpoint=tmp_path, dtype=torch.float64)
    signal = np.pad(
        recipe.speechlike(meta["signal"]["samples"], seed=meta["signal"]["seed"]),
        (0, meta["padded_samples"] - meta["signal"]["samples"]),
    )
    tokens = tokenizer.encode(signal)
    assert np.array_equal(tokens["content"][0, 0], want["units_all"])
    assert np.array_equal(tokens["pitch"][0, 0], want["f0_codes"])
    speakers = [28, 29]
    if name != "chain_fb":
        speakers = [np.random.RandomState(s).standard_normal((1, 512)) for s in (5, 6)]
    waves = [tokenizer.decode(tokens, speaker=s)[0] for s in speakers]
    used = meta["samples_out"]
    assert waves[0].shape == (meta["padded_samples"],)
    assert not waves[0][used:].any()
    for ours, stored in (
        (waves[0][:1500], "wave_first"),
        (waves[0][used - 1500 : used], "wave_last"),
        (waves[0][:used:7], "wave_strided"),
        (waves[1][:used:11], "wave_other_speaker_strided"),
    ):
        np.testing.assert_allclose(ours.numpy(), want[stored], rtol=1e-8, atol=1e-8)


@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(400, 9000), min_size=2, max_size=4), seed=st.integers(0, 99))
def test_batch_changes_nothing(xvector, lengths: list[int], seed: int) -> None:
    signals = [speech(seed + index, samples) for index, samples in enumerate(lengths)]
    together = xvector.encode(signals)
    for index, signal in enumerate(signals):
        alone = xvector.encode(signal)
        assert together[index].select("content", "pitch").streams.keys() == alone.streams.keys()
        for name, codes in alone.streams.items():
            assert torch.equal(together[index][name], codes)
            assert alone.num_frames[name] == xvector.num_frames(len(signal), name)
        torch.testing.assert_close(
            together[index].speaker_embedding, alone.speaker_embedding, rtol=1e-9, atol=1e-9
        )
        got, want = xvector.decode(together[index]), xvector.decode(alone)
        assert want.shape == (1, len(signal))
        torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("features", ["hubert", "cpc", "logmel", "vqvae"])
@pytest.mark.parametrize("samples", [400, 1279, 1280, 5432, 16000])
def test_lengths(tmp_path_factory, features: str, samples: int) -> None:
    folder = tmp_path_factory.getbasetemp() / f"lengths_{features}"
    tokenizer = load(folder if folder.exists() else make_folder(folder, features=features))
    tokens = tokenizer.encode(speech(1, samples))
    for name in ("content", "pitch"):
        assert tokens[name].shape[2] == tokenizer.num_frames(samples, name)
        most = tokenizer.num_samples(tokenizer.num_frames(samples, name), name)
        assert most >= samples
        assert tokenizer.num_frames(most, name) == tokenizer.num_frames(samples, name)
        assert tokenizer.num_frames(most + 1, name) > tokenizer.num_frames(samples, name)
    for tail in ("reference", "keep"):
        assert tokenizer.decode(tokens, speaker="p226", tail=tail).shape == (1, samples)


def test_the_tail_is_kept_on_request(table) -> None:
    tokens = table.encode(speech(0, 5000))
    cut, kept = (table.decode(tokens, speaker=0, tail=tail)[0] for tail in ("reference", "keep"))
    used = 1280 * tokens["pitch"].shape[2]
    assert not cut[used:].any()
    assert kept[used:].all()
    with pytest.raises(ValueError, match="`tail` must be 'reference' or 'keep', got 'cut'"):
        table.decode(tokens, speaker=0, tail="cut")


def test_long_audio_goes_in_segments(table) -> None:
    signal = speech(0, 40000)
    whole = table.encode(signal, chunk="never")
    segments = table.encode(signal, chunk_seconds=0.7)
    assert segments["content"].shape == whole["content"].shape
    assert torch.equal(segments["pitch"], whole["pitch"])
    assert torch.equal(table.encode(signal)["content"], whole["content"])
    reference = table.encode(signal, chunk="reference", chunk_seconds=1.0)
    alone = [table.encode(signal[start : start + 16000])["content"] for start in (0, 16000, 32000)]
    assert torch.equal(reference["content"], torch.cat(alone, dim=2))
    with pytest.raises(ValueError, match="`chunk` must be 'silence', 'reference' or 'never'"):
        table.encode(signal, chunk="x")


def test_silence_around_the_audio(tmp_path) -> None:
    """With 40 samples on each side there are as many units as whole hops, those of audio that had the silence itself."""
    folder = make_folder(tmp_path / "parts")
    plain = load(folder)
    text = (
        (folder / "tokenizer.yaml").read_text().replace("features: hubert", "features: hubert, padding: 40")
    )
    (tmp_path / "padded.yaml").write_text(text)
    padded = load_tokenizer(tmp_path / "padded.yaml", checkpoint=folder, dtype=torch.float64)
    assert padded.fingerprint != plain.fingerprint
    signals = [speech(1, 6400), speech(2, 9999), speech(3, 320)]
    by_hand = [torch.nn.functional.pad(signal, (40, 40)) for signal in signals]
    tokens, want = padded.encode(signals), plain.encode(by_hand)
    assert (
        tokens.num_frames["content"].tolist() == [20, 31, 1] == [padded.num_frames(len(s)) for s in signals]
    )
    assert torch.equal(tokens["content"], want["content"])
    assert tokens.num_samples.tolist() == [6400, 9999, 320]
    assert padded.num_samples(20) == 6719
    with torch.inference_mode():
        features = padded.parts.reader(
            torch.nn.utils.rnn.pad_sequence(by_hand, batch_first=True),
            torch.tensor([len(s) for s in by_hand]),
        )
    units = padded.parts.kmeans(features)  # as one batch
    assert torch.equal(units[1, :31], tokens["content"][1, 0])
    long = speech(4, 16000 * 3)
    assert padded.encode(long, chunk_seconds=1.0).num_frames["content"].tolist() == [150]
    padded.save_pretrained(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved", dtype=torch.float64)
    assert again.fingerprint == padded.fingerprint
    assert torch.equal(again.encode(signals)["content"], tokens["content"])
    with pytest.raises(AudioError, match="needs at least 320"):
        padded.encode(speech(5, 319))


@pytest.mark.parametrize("fields", ["features: logmel, padding: 40", "features: hubert, padding: -1"])
def test_silence_goes_with_networks_of_that_kind(tmp_path, fields: str) -> None:
    folder = make_folder(tmp_path / "parts")
    text = (folder / "tokenizer.yaml").read_text().replace("features: hubert", fields)
    (tmp_path / "card.yaml").write_text(text)
    with pytest.raises(CardError, match="`padding` must be from 0 to"):
        load_tokenizer(tmp_path / "card.yaml", checkpoint=folder)


def test_hours_are_not_held(table) -> None:
    block = np.zeros(2**20, np.float32)
    with pytest.raises(AudioError, match=r"longer than 4\.7 hours, .* `--segment silence` does"):
        table.encode_blocks(block for _ in range(2**8 + 1))
    with pytest.raises(AudioError, match="holds no sample"):
        table.encode_blocks([])


def test_saved_tokenizer_is_the_same(xvector, tmp_path) -> None:
    xvector.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path, dtype=torch.float64)
    assert again.fingerprint == xvector.fingerprint
    assert again.info == xvector.info
    tokens = again.encode(speech(3, 5000))
    assert tokens.equals(xvector.encode(speech(3, 5000)))
    torch.testing.assert_close(again.decode(tokens), xvector.decode(tokens))


def test_voices_by_name_row_vector_tokens_and_recording(table, xvector, tmp_path) -> None:
    tokens = table.encode(speech(0, 4000))
    assert torch.equal(table.convert_voice(tokens, "p226"), table.convert_voice(tokens, 1))
    assert not torch.equal(table.convert_voice(tokens, "p225"), table.convert_voice(tokens, 1))
    with pytest.raises(ValueError, match=r"has no speaker 'p999'; it has: p225, p226\."):
        table.convert_voice(tokens, "p999")
    with pytest.raises(ValueError, match="has 2 voices; pass speaker="):
        table.decode(tokens)
    source, target = xvector.encode(speech(0, 4000)), xvector.encode(speech(1, 6000))
    by_tokens = xvector.convert_voice(source, target)
    assert torch.equal(by_tokens, xvector.convert_voice(source, target.speaker_embedding[0]))
    import soundfile

    soundfile.write(tmp_path / "target.wav", speech(1, 6000).numpy(), 16000, subtype="DOUBLE")
    torch.testing.assert_close(
        by_tokens, xvector.convert_voice(source, str(tmp_path / "target.wav")), rtol=1e-4, atol=1e-5
    )
    with pytest.raises(ValueError, match="must hold 1 or 1 vectors of 512 channels"):
        xvector.convert_voice(source, torch.zeros(3))


def test_voices_are_the_rows_of_the_table(table, xvector, tmp_path) -> None:
    folder = make_folder(tmp_path)
    vocoder = UnitVocoder(VocoderSettings(num_units=20, channels=32, speaker="table", voices=7))
    save(folder, "vocoder", "g_00000003", {"generator": fill(vocoder)})
    few = load(folder)
    assert [tokenizer.num_voices for tokenizer in (few, table, xvector)] == [7, 200, 0]
    assert few.find_voice("6") == 6
    with pytest.raises(ValueError, match="rows 0 to 6"):
        few.find_voice("7")


def test_vectors_of_codes(table) -> None:
    tokens = table.encode([speech(0, 4000), speech(1, 2500)])
    content = table.embed(tokens)
    assert content.shape == (2, 128, tokens["content"].shape[2])
    assert not content[1, :, int(tokens.num_frames["content"][1]) :].any()
    assert table.embed(tokens, "pitch").shape == (2, 128, tokens["pitch"].shape[2])


def test_units_alone(tmp_path) -> None:
    tokenizer = load(make_folder(tmp_path, speaker=None))
    assert [stream.name for stream in tokenizer.streams] == ["content"]
    assert tokenizer.speaker_embedding_dim is None
    tokens = tokenizer.encode(speech(0, 4000))
    assert tokens.deduplicated().expanded().equals(tokens)
    with pytest.raises(CheckpointError, match="was loaded without the part 'vocoder', so it cannot decode"):
        tokenizer.decode(tokens)


def test_parts_that_do_not_belong_together(tmp_path) -> None:
    folder = make_folder(tmp_path)
    centers = np.zeros((20, 99), np.float32)
    np.save(folder / "kmeans" / "km.npy", centers)
    with pytest.raises(CheckpointError, match="centres have 99 channels, but the features have 128"):
        load(folder)
    np.save(folder / "kmeans" / "km.npy", np.zeros((30, 128), np.float32))
    with pytest.raises(CheckpointError, match="has 30 units, but the card says 20"):
        load(folder)
    card = (folder / "tokenizer.yaml").read_text()
    (folder / "tokenizer.yaml").write_text(
        card.replace("20", "30").replace("1630", "16000").replace("330", "320")
    )
    with pytest.raises(CheckpointError, match="The vocoder speaks 20 units, but the k-means makes 30"):
        load(folder)
    (folder / "kmeans" / "km.npy").unlink()
    with pytest.raises(CheckpointError, match="lacks the part 'kmeans'"):
        load(folder)


def test_cards_of_the_family() -> None:
    with pytest.raises(CheckpointError, match="give a checkpoint folder with features/ and kmeans/"):
        load_tokenizer("hubert_base_l6_km100")
    with pytest.raises(CheckpointError, match="There is no checkpoint folder"):
        load_tokenizer("hubert_base_l6_km100", checkpoint="/nowhere")
    with pytest.raises(CardError, match="There is no tokenizer 'hubert_base_l6_km101'; did you mean"):
        load_tokenizer("hubert_base_l6_km101")


@pytest.mark.parametrize("name", sorted(path.stem for path in CARDS.glob("*_km*.yaml")))
def test_cards_name_where_each_file_lies(name: str) -> None:
    card = find_card(name)[0]
    published = card.published or ""
    assert re.search(r"kmeans/ holds https://\S+\.(bin|pt)\b", published)
    if card.architecture["features"] != "logmel":
        assert re.search(r"features/ holds (https://\S+\.pt\b|\S+/\S+ of the Hugging Face Hub)", published)
    stated = (card.architecture["num_units"], card.architecture["hop_length"])
    assert stated == (card.streams[0].codebook_size, card.streams[0].hop_length)


def test_a_stream_is_missing(table) -> None:
    tokens = table.encode(speech(0, 4000)).select("content")
    with pytest.raises(TokensError, match="These tokens lack the stream 'pitch'; they have: content"):
        table.decode(tokens, speaker=0)


def test_silence_and_noise(table) -> None:
    for signal in (torch.zeros(8000), torch.randn(8000, generator=torch.Generator().manual_seed(0))):
        tokens = table.encode(signal.double())
        assert torch.isfinite(table.decode(tokens, speaker=0)).all()


def test_another_dtype_starts_from_the_stored_weights(tmp_path) -> None:
    folder = make_folder(tmp_path)
    moved = load(folder, torch.float32).to(dtype=torch.float64)
    fresh = load(folder)
    tokens = fresh.encode(speech(0, 4000))
    assert moved.encode(speech(0, 4000)).equals(tokens)
    assert torch.equal(moved.decode(tokens, speaker=0), fresh.decode(tokens, speaker=0))


def wavlm_folder(folder: Path, *, level: bool) -> tuple[Path, torch.nn.Module]:
    """A composition with a small WavLM as its speaker network, as `transformers` saves it."""
    from transformers import WavLMConfig, WavLMForXVector

    make_folder(folder, speaker="xvector")
    shutil.rmtree(folder / "speaker")
    torch.manual_seed(0)
    config = WavLMConfig(
        hidden_size=32,
        num_attention_heads=2,
        intermediate_size=48,
        num_hidden_layers=2,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        tdnn_dim=(16, 16, 16, 16, 24),
        xvector_output_dim=512,
        num_labels=3,
    )
    model = WavLMForXVector(config).eval()
    model.save_pretrained(folder / "speaker")
    (folder / "speaker" / "preprocessor_config.json").write_text(json.dumps({"do_normalize": level}))
    return folder, model.double()


@pytest.mark.parametrize("level", [False, True])
def test_speaker_vectors_of_wavlm(tmp_path, level: bool) -> None:
    folder, model = wavlm_folder(tmp_path / "all", level=level)
    tokenizer = load(folder)
    signals = [speech(0, 9000), speech(1, 7000)]
    tokens = tokenizer.encode(signals)
    for index, signal in enumerate(signals):
        loud = signal * 0.95 / signal.abs().max()
        if level:
            loud = (loud - loud.mean()) / (loud.var(unbiased=False) + 1e-7).sqrt()
        with torch.no_grad():
            want = model(loud[None]).embeddings[0]
        torch.testing.assert_close(tokens.speaker_embedding[index], want, rtol=1e-9, atol=1e-9)
    assert tokenizer.encode(speech(0, 500)).speaker_embedding.isfinite().all()
    tokenizer.save_pretrained(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved", dtype=torch.float64)
    assert again.encode(signals).equals(tokens)
    assert torch.equal(again.decode(tokens), tokenizer.decode(tokens))


def test_other_speaker_networks(tmp_path, monkeypatch) -> None:
    folder, _ = wavlm_folder(tmp_path / "all", level=False)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(CheckpointError, match=r"needs transformers: pip install 'speechtok\[transformers\]'"):
        load(folder)
    (folder / "speaker" / "config.json").write_text('{"model_type": "ecapa"}')
    with pytest.raises(CheckpointError, match=r"a config\.json of the kind 'ecapa', but only 'wavlm'"):
        load(folder)
    (folder / "speaker" / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"config\.json' must hold a JSON object"):
        load(folder)
    (folder / "speaker" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json' cannot be read as JSON"):
        load(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_hidden_layers", 10**9),
        ("hidden_size", 10**9),
        ("hidden_size", -1),
        ("num_hidden_layers", "12"),
        ("num_hidden_layers", True),
        ("conv_dim", [16] * 100_000),
        ("conv_kernel", [10**6]),
        ("tdnn_kernel", "555"),
        ("hidden_act", "os.system"),
        ("layer_norm_eps", "x"),
        ("add_adapter", True),
        ("id2label", {str(k): "x" for k in range(100_001)}),
        ("conv_stride", []),
        ("hidden_size", 33),
    ],
)
def test_speaker_configs_are_checked_before_a_network_is_made(
    tmp_path_factory, field: str, value: object
) -> None:
    base = tmp_path_factory.getbasetemp() / "hostile_speaker"
    folder = base if base.is_dir() else wavlm_folder(base, level=False)[0]
    path = folder / "speaker" / "config.json"
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | {field: value}))
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    path.write_text(before)
    assert "speaker" in str(caught.value)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    "fields",
    [
        {"attn_implementation": "someone/kernel", "_attn_implementation": "someone/kernel"},
        {"auto_map": {"AutoModel": "evil.Model"}, "architectures": ["Evil"]},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
        {"dtype": "float16", "torch_dtype": "os.system", "_name_or_path": "/etc"},
        {"use_return_dict": False, "output_attentions": True, "return_dict": False},
        {"name_of_nothing": [[[]]]},
    ],
)
def test_speaker_configs_choose_sizes_alone(tmp_path_factory, fields: dict[str, object]) -> None:
    base = tmp_path_factory.getbasetemp() / "foreign_speaker"
    folder = base if base.is_dir() else wavlm_folder(base, level=False)[0]
    path = folder / "speaker" / "config.json"
    before = path.read_text()
    expected = load(folder).encode(speech(0, 9000)).speaker_embedding
    path.write_text(json.dumps(json.loads(before) | fields))
    got = load(folder).encode(speech(0, 9000)).speaker_embedding
    path.write_text(before)
    assert torch.equal(got, expected)


@pytest.mark.parametrize("part", ["f0", "vocoder"])
def test_pitch_statistics_under_the_name_that_a_config_states(tmp_path, table, part: str) -> None:
    folder = make_folder(tmp_path)
    statistics = {"f0_mean": np.float64(142.0), "f0_std": np.float64(20.0)}
    (folder / "f0" / "f0_stats.pth").unlink()
    config = {"f0_stats": "datasets/LJSpeech/lj_f0.th", "f0_normalize": True, "f0_median": None}
    (folder / "vocoder" / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        CheckpointError, match=r"asks for the pitch statistics 'lj_f0\.th', which are not there"
    ):
        load(folder)
    save(folder, part, "lj_f0.th", statistics)
    signal = speech(0, 16000)
    assert load(folder).encode(signal).equals(table.encode(signal))
    (folder / part / "lj_f0.th").rename(folder / part / "f0_stats.th")
    assert load(folder).encode(signal).equals(table.encode(signal))


@pytest.mark.parametrize(
    "content",
    [
        {"f0_mean": 142.0},
        {"f0_mean": float("nan"), "f0_std": 20.0},
        {"f0_mean": 142.0, "f0_std": 0.0},
        {"f0_mean": 10**400, "f0_std": 1.0},
        {"0": {"f0_mean": 142.0, "f0_std": "x"}},
        {"0": 5.0},
        {"a": {"f0_mean": 142.0, "f0_std": 20.0}},
        {"f0_mean": torch.ones(2), "f0_std": torch.ones(2)},
        {"f0_mean": Path(), "f0_std": 1.0},
    ],
)
def test_other_pitch_statistics_are_refused(tmp_path, content: dict[str, object]) -> None:
    save(tmp_path, "f0", "f0_stats.pth", content)
    with pytest.raises(CheckpointError, match=r"f0_stats\.pth' holds no pitch statistics"):
        read_statistics(tmp_path / "f0" / "f0_stats.pth")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("vocoder/config.json", "[" * 100_000),
        ("vocoder/config.json", '{"f0_normalize": "no"}'),
        ("vocoder/config.json", '{"f0_stats": ["a"]}'),
        ("vocoder/config.json", '{"f0_normalize": NaN}'),
        ("vocoder/speakers.json", '{"a": 1.5}'),
        ("vocoder/speakers.json", '{"a": -1}'),
        ("vocoder/speakers.json", '{"a": 1e400}'),
        ("vocoder/speakers.json", '{"a": ' + "9" * 5000 + "}"),
        ("vocoder/speakers.json", '{"a": "b"}'),
    ],
)
def test_settings_beside_weights_are_checked(tmp_path, name: str, text: str) -> None:
    folder = make_folder(tmp_path)
    (folder / name).write_text(text)
    with pytest.raises(CheckpointError, match=Path(name).name):
        load(folder)


def test_any_callable_makes_speaker_vectors(xvector) -> None:
    before = xvector.speaker_encoder
    xvector.speaker_encoder = lambda waveform, num_samples: torch.ones(len(waveform), 512).double()
    try:
        assert (xvector.encode(speech(0, 4000)).speaker_embedding == 1).all()
    finally:
        xvector.speaker_encoder = before


@pytest.mark.parametrize("flags", [{"f0_median": True}, {"f0_interp": True}, {"f0_normalize": False}])
def test_pitch_modes_of_a_published_config(tmp_path, table, flags) -> None:
    folder = make_folder(tmp_path)
    (folder / "vocoder" / "config.json").write_text(json.dumps({"num_embeddings": 20, **flags}))
    tokenizer, signal = load(folder), speech(0, 16000)
    assert tokenizer.fingerprint != table.fingerprint
    contour = extract_pitch(signal[: 15680 // 320 * 320].numpy())
    contour = contour[: len(contour) // 16 * 16]
    if "f0_median" in flags:
        want = normalize_pitch(contour, 142.0, 20.0, fill_unvoiced=True)
    elif "f0_interp" in flags:
        want = (fill_gaps(contour) - 142.0) / 20.0
    else:
        want = contour
    codes = tokenizer.parts.f0.encode(torch.from_numpy(want)[None])
    assert torch.equal(tokenizer.encode(signal)["pitch"][0], codes)
    assert tokenizer.encode(torch.zeros(8000).double())["pitch"].shape[2] > 0


def test_a_vocoder_that_takes_pitch_statistics(tmp_path) -> None:
    folder = make_folder(tmp_path)
    vocoder = UnitVocoder(VocoderSettings(num_units=20, channels=32, has_statistics=True))
    save(folder, "vocoder", "g_00000002", {"generator": fill(vocoder)})
    tokenizer = load(folder)
    tokens = tokenizer.encode(speech(0, 6000))
    assert tokenizer.parts.vocoder.settings.has_statistics
    first = tokenizer.decode(tokens, speaker="p225")
    save(
        folder,
        "f0",
        "f0_stats.pth",
        {0: {"f0_mean": 142.0, "f0_std": 20.0}, 1: {"f0_mean": 90.0, "f0_std": 9.0}},
    )
    by_speaker = load(folder)
    torch.testing.assert_close(by_speaker.decode(tokens, speaker=0, accept_from="test_units"), first)
    other = by_speaker.decode(tokens, speaker=1, accept_from="test_units")
    assert not torch.allclose(other, tokenizer.decode(tokens, speaker=1))
    with pytest.raises(ValueError, match="speaks with the mean and deviation of pitch, but none are known"):
        by_speaker.decode(tokens, speaker=2, accept_from="test_units")


def test_options_reach_a_recording_that_is_read_in_pieces(tmp_path, speech) -> None:
    folder = make_folder(tmp_path, speaker=None)
    tokenizer = load_tokenizer(folder / "tokenizer.yaml", checkpoint=folder)
    waveform = speech(4.0).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", waveform, 16_000, subtype="FLOAT")
    want = tokenizer.encode(waveform, chunk_seconds=1.5, chunk="reference")
    found = tokenizer.encode(tmp_path / "a.wav", chunk_seconds=1.5, chunk="reference")
    assert torch.equal(found["content"], want["content"])
    assert found["content"].shape != tokenizer.encode(waveform, chunk_seconds=1.5)["content"].shape
