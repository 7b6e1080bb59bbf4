"""FAcodec through the public door: cards, published files, errors."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import speechtok
from speechtok import load_tokenizer
from speechtok.cards import find_card
from speechtok.errors import AudioError, CardError, CheckpointError, TokensError
from speechtok.tokenizers.facodec_24k.codec import WINDOW
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.facodec_24k.convert import Source
from speechtok.tokens import SpeechTokens
from tests.goldens.facodec_24k.weights import CONFIGS, write_published
from tests.tokenizers.latents import assert_latents
from tests.tokenizers.surroundings import assert_surroundings_change_nothing


def test_the_published_files_fit_entry_for_entry(tmp_path) -> None:
    for model, role in (("facodec", "codec"), ("redecoder", "redecoder")):
        path = write_published(tmp_path, model, empty=True) / "pytorch_model.bin"
        Source(Facodec24kConfig(), role, path)


def test_card_and_config_of_the_published_networks() -> None:
    card, _ = find_card("facodec_24k")
    config = Facodec24kConfig(**card.architecture)
    assert card.speaker_embedding_dim == config.latent_channels == 1024
    assert [stream.num_codebooks for stream in card.streams] == list(config.codebooks.values())
    assert {stream.hop_length for stream in card.streams} == {config.hop_length} == {300}


def test_surroundings_change_nothing(load, signal) -> None:
    assert_surroundings_change_nothing(load(torch.float32), signal(3, 6000).float())


def test_length_law_and_factors(load, signal) -> None:
    tokenizer = load()
    for length in (65, 100, 1000, 1023):
        tokens = tokenizer.encode(signal(0, length))
        assert tokenizer.decode(tokens).shape == (1, length)
    whole = tokenizer.embed(tokens)
    assert whole.shape == (1, 16, 42)
    parts = [tokenizer.embed(tokens, stream) for stream in ("prosody", "content", "residual")]
    torch.testing.assert_close(sum(parts), whole)
    kept = tokens.select("prosody", "content")
    torch.testing.assert_close(tokenizer.decode(kept), tokenizer.decode(tokens, use_residual=False))
    assert tokens.select("content").codes.shape == (1, 2, 42)
    frames = tokenizer.num_frames(1000)
    assert frames == 41
    assert tokenizer.num_frames(tokenizer.num_samples(frames)) == frames
    assert tokenizer.num_frames(tokenizer.num_samples(frames) + 1) == frames + 1


def test_fewer_codebooks(load, signal) -> None:
    tokenizer, x = load(), signal(0, 2000)
    tokens, coarse = tokenizer.encode(x), tokenizer.encode(x, num_codebooks=1)
    assert coarse.codes.shape[1] == 3
    assert torch.equal(coarse["content"], tokens["content"][:, :1])
    one = tokenizer.encode(x, num_content=1)
    assert one.codes.shape[1] == 5
    assert torch.equal(one["content"], coarse["content"])
    assert not torch.equal(one["residual"], tokens["residual"])
    assert torch.equal(one["residual"][:, :1], coarse["residual"])
    assert tokenizer.decode(one).shape == (1, 2000)
    with pytest.raises(ValueError, match="`num_content` must be from 1 to 2 for 'small', got 3"):
        tokenizer.encode(x, num_content=3)


def test_blocks_and_chunks(load, signal) -> None:
    tokenizer, x = load(), signal(4, 9000)
    want = tokenizer.encode(x)
    assert torch.equal(tokenizer.encode(x, chunk_seconds=0.1).codes, want.codes)
    blocks = tokenizer.encode_blocks((block.numpy() for block in x.split(1600)), chunk_seconds=0.05)
    assert torch.equal(blocks.codes, want.codes)
    assert torch.equal(blocks.num_samples, want.num_samples)
    one = tokenizer.encode_blocks([x.numpy()], num_content=1)
    assert torch.equal(one.codes, tokenizer.encode(x, num_content=1).codes)


@pytest.mark.parametrize("chunk_seconds", [None, 0.1])
def test_stream(load, signal, chunk_seconds) -> None:
    tokenizer, x = load(), signal(4, 9000)
    want = tokenizer.encode(x, num_content=1)
    stream = tokenizer.stream(chunk_seconds=chunk_seconds, num_content=1)
    cuts = (0, 24, 24, 2500, 2524, 2600, 8000, 9000)
    pieces = [stream.feed(x[start:stop]) for start, stop in pairwise(cuts)]
    assert sum(int(piece.num_frames["content"]) for piece in pieces) >= 300
    found = speechtok.SpeechTokens.join([*pieces, stream.finish()])
    assert torch.equal(found.codes, want.codes)
    assert torch.equal(found.num_samples, want.num_samples)
    torch.testing.assert_close(found.speaker_embedding, want.speaker_embedding, rtol=1e-10, atol=1e-10)


def test_a_long_chunk_is_not_computed_at_once(load, signal, monkeypatch) -> None:
    tokenizer, x = load(), signal(4, 9000)
    want, lengths = tokenizer.encode(x), list[int]()
    analyse = tokenizer.codec.encoder.analyse

    def spy(waveform: torch.Tensor) -> torch.Tensor:
        lengths.append(waveform.shape[1])
        return analyse(waveform)

    monkeypatch.setattr(tokenizer.codec.encoder, "analyse", spy)
    blocks = [x.numpy()]
    assert torch.equal(tokenizer.encode_blocks(blocks, chunk_seconds=60).codes, want.codes)
    assert max(lengths) == (WINDOW + tokenizer.config.encoder_context) * tokenizer.config.hop_length


def test_float32_gives_the_same_codes(load, signal) -> None:
    for seed in range(3):
        x = signal(seed, 4000)
        single, double = load(torch.float32).encode(x.float()), load().encode(x)
        assert (single.codes != double.codes).float().mean() < 0.01
        wave = load(torch.float32).decode(single)
        torch.testing.assert_close(wave.double(), load().decode(single), rtol=1e-3, atol=1e-4)


def test_conversion(load, signal) -> None:
    tokenizer = load()
    source, target = tokenizer.encode(signal(0, 3000)), tokenizer.encode(signal(1, 2000))
    swapped = tokenizer.convert_voice(source, target)
    assert torch.equal(swapped, tokenizer.convert_voice(source, target.speaker_embedding[0], method="swap"))
    assert torch.equal(tokenizer.convert_voice(source, source), tokenizer.decode(source, use_residual=False))
    whole = tokenizer.convert_voice(source, source, use_residual=True)
    assert torch.equal(whole, tokenizer.decode(source))
    redone = tokenizer.convert_voice(source, target, method="redecoder")
    assert redone.shape == swapped.shape == (1, 3000)
    only_content = tokenizer.convert_voice(source.select("content"), target, method="redecoder")
    assert torch.equal(only_content, redone)
    with pytest.raises(ValueError, match="no conversion method 'magic'; it has: swap, redecoder"):
        tokenizer.convert_voice(source, target, method="magic")
    with pytest.raises(ValueError, match="`use_residual` goes with method 'swap'"):
        tokenizer.convert_voice(source, target, method="redecoder", use_residual=True)
    with pytest.raises(TokensError, match="lack the stream 'prosody'"):
        tokenizer.convert_voice(source.select("content"), target)
    with pytest.raises(TypeError, match="no table of speakers"):
        tokenizer.convert_voice(source, "ada")
    with pytest.raises(ValueError, match="1 or 1 vectors of 16 channels"):
        tokenizer.convert_voice(source, torch.zeros(3))


def test_without_the_redecoder(checkpoint, tmp_path, signal) -> None:
    shutil.copytree(checkpoint / "FAcodec", tmp_path / "FAcodec")
    tokenizer = load_tokenizer(checkpoint / "small.yaml", checkpoint=tmp_path)
    tokens = tokenizer.encode(signal(0, 1000).float())
    assert tokenizer.convert_voice(tokens, tokens).shape == (1, 1000)
    with pytest.raises(CheckpointError, match=r"was loaded without the redecoder\. Put pytorch_model\.bin"):
        tokenizer.convert_voice(tokens, tokens, method="redecoder")
    tokenizer.save_pretrained(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    assert torch.equal(again.encode(signal(0, 1000).float()).codes, tokens.codes)


def test_saved_tokenizer_is_the_same(load, signal, tmp_path) -> None:
    tokenizer = load()
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path, dtype=torch.float64)
    assert again.fingerprint == tokenizer.fingerprint == load(torch.float32).fingerprint
    assert again.config == tokenizer.config
    tokens = tokenizer.encode(signal(0, 2000))
    assert again.encode(signal(0, 2000)).equals(tokens)
    assert torch.equal(again.decode(tokens), tokenizer.decode(tokens))
    for method in tokenizer.conversion_methods:
        want = tokenizer.convert_voice(tokens, tokens, method=method)
        assert torch.equal(again.convert_voice(tokens, tokens, method=method), want)


def test_stored_tokens_decode_alone(checkpoint, load, signal) -> None:
    tokens = load().encode(signal(2, 3000))
    fresh = load_tokenizer(checkpoint / "small.yaml", checkpoint=checkpoint, dtype=torch.float64)
    assert torch.equal(fresh.decode(tokens), load().decode(tokens))


def test_another_dtype_starts_from_the_stored_weights(checkpoint, load, signal) -> None:
    tokenizer = load_tokenizer(checkpoint / "small.yaml", checkpoint=checkpoint)
    tokens = tokenizer.encode(signal(0, 2000).float())
    assert tokenizer.decode(tokens).dtype == torch.float32
    tokenizer.to(dtype=torch.float64)
    assert torch.equal(tokenizer.decode(tokens), load().decode(tokens))


def test_too_short(load) -> None:
    for encode in (load().encode, lambda x: load().encode_blocks([x.numpy()])):
        with pytest.raises(AudioError, match=r"has 64 samples .* needs at least 65"):
            encode(torch.zeros(64))
    with pytest.raises(AudioError, match=r"has 0 samples .* needs at least 65"):
        load().encode_blocks([])


def test_tokens_without_a_voice(load, signal) -> None:
    tokens = load().encode(signal(0, 1000))
    mute = SpeechTokens(
        streams=tokens.streams, num_frames=tokens.num_frames, num_samples=tokens.num_samples, info=tokens.info
    )
    with pytest.raises(TokensError, match="hold no `speaker_embedding`"):
        load().decode(mute)


@pytest.fixture
def changed(checkpoint, tmp_path):
    """Return a function that loads the checkpoint with one file changed."""

    def load(change_weights=None, config=None, dtype=torch.float64):
        target = tmp_path / "FAcodec"
        shutil.copytree(checkpoint / "FAcodec", target)
        if config is not None:
            text = (target / "config.yml").read_text()
            (target / "config.yml").write_text(config(text))
        if change_weights is not None:
            weights = torch.load(target / "pytorch_model.bin")
            torch.save(change_weights(weights) or weights, target / "pytorch_model.bin")
        return load_tokenizer(checkpoint / "small.yaml", checkpoint=tmp_path, dtype=dtype)

    return load


def test_self_trained_files_are_the_same(changed, load) -> None:
    def nested(weights):
        net = {module: {f"module.{k}": v for k, v in keys.items()} for module, keys in weights.items()}
        return {
            "net": net,
            "optimizer": {"encoder": {"state": {0: {"step": torch.ones(1)}}}},
            "iters": 7,
            "epoch": 1,
        }

    assert changed(nested).fingerprint == load().fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w["encoder"].__delitem__("block.0.conv.conv.bias"),
            r"lacks entry 'encoder\.block\.0\.conv\.conv\.bias'",
        ),
        (
            lambda w: w["decoder"].update({"model.99.alpha": torch.ones(1)}),
            r"has unexpected entry 'decoder\.model\.99\.alpha'",
        ),
        (
            lambda w: w["quantizer"].update({"timbre_linear.bias": torch.ones(3)}),
            r"'quantizer\.timbre_linear\.bias' \(has \(3,\), needs \(32,\)\)",
        ),
        (lambda w: {"state_dict": w}, "lacks entries"),
    ],
)
def test_other_entries_are_refused(changed, change, message) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        changed(change)
    assert "FAcodec/pytorch_model.bin" in str(caught.value)


class RunsCode:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def test_a_file_that_would_run_code_is_refused(changed, tmp_path) -> None:
    marker = tmp_path / "ran"
    with pytest.raises(CheckpointError, match="would run code"):
        changed(lambda w: w.update({"x": RunsCode(marker)}))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("causal: True", "causal: False", "has causal False; only networks with True are known"),
        ("lstm: 2", "timbre_norm: False", "has timbre_norm False; only networks with True"),
        ("lstm: 2", "lstm: two", "has lstm 'two', which must be a whole number above 0"),
        ("[2, 3, 4]", "24", "has encoder_rates 24, which must be a list of whole numbers above 0"),
        ("[4, 3, 2]", "[4, 3]", "`decoder_strides`.* must make 24 samples"),
        ("hop_length: 24", "hop_length: 25", "has hop_length 25, but its encoder_rates make 24"),
        ("decoder_dim: 16", "decoder_dim: 16, sr: 16000", "has both 24000 and 16000 for sr"),
        ("win_length: 96", "win_length: 960", "`window_length` must not exceed `fft_length` 128"),
    ],
)
def test_other_configurations_are_refused(changed, old, new, message) -> None:
    if "sr: 16000" in new:
        change = lambda text: text.replace(", sr: 24000}\n", "}\n").replace(old, new)  # noqa: E731
    else:
        change = lambda text: text.replace(old, new)  # noqa: E731
    with pytest.raises(CardError, match=message) as caught:
        changed(config=change)
    assert "config.yml" in str(caught.value)


def test_the_published_configuration_is_the_default(tmp_path) -> None:
    from speechtok.tokenizers.facodec_24k.published_config import read_codec_config, read_redecoder_config

    for model, read in (("facodec", read_codec_config), ("redecoder", read_redecoder_config)):
        path = tmp_path / f"{model}.yml"
        path.write_text(CONFIGS[model])
        other = Facodec24kConfig(encoder_channels=8, redecoder_channels=8)
        got = read(other, path)
        assert (got.encoder_channels, got.redecoder_channels) == ((64, 8) if model == "facodec" else (8, 512))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("decoder_lstm: 0", "decoder_lstm: 2", "has decoder_lstm 2; only networks with 0 are known"),
        ("[4, 3, 2]", "[4, 3]", "decoder_rates that make 12 samples of a frame, but frames have 24"),
    ],
)
def test_the_redecoder_s_configuration_counts(checkpoint, tmp_path, old, new, message) -> None:
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "FAcodec-redecoder" / "config.yml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(CardError, match=message):
        load_tokenizer(tmp_path / "small.yaml", checkpoint=tmp_path)


def test_a_missing_file_is_named(checkpoint, tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"needs the file FAcodec/config\.yml in"):
        load_tokenizer("facodec_24k", checkpoint=tmp_path)


def test_unusable_cards_are_named(checkpoint, tmp_path) -> None:
    card, _ = find_card(checkpoint / "small.yaml")
    for change, message in (
        ({"architecture": {"depth": 3}}, "The architecture of card '.*' has the unknown field depth"),
        ({"files": card.to_dict()["files"][:1]}, r"must name FAcodec/pytorch_model\.bin"),
    ):
        path = tmp_path / "card.yaml"
        path.write_text(json.dumps({**card.to_dict(), "name": "card", **change}))
        with pytest.raises(CardError, match=message):
            load_tokenizer(path, checkpoint=checkpoint)


def test_numpy_in_and_files_in(load, signal, tmp_path) -> None:
    soundfile = pytest.importorskip("soundfile")
    x = signal(0, 3000)
    soundfile.write(tmp_path / "x.wav", x.numpy(), 24_000, subtype="DOUBLE")
    want = load().encode(x.numpy().astype(np.float64))
    assert torch.equal(load().encode(tmp_path / "x.wav", chunk_seconds=0.03).codes, want.codes)


def test_latents(load, signal) -> None:
    tokenizer = load()
    assert_latents(tokenizer, [signal(3, 1500), signal(4, 2011)])
    latents = tokenizer.encode_latents(signal(3, 1500))
    with pytest.raises(ValueError, match="speaks with a timbre; pass `speaker_embedding`"):
        tokenizer.decode_latents(latents.values)
    found = tokenizer.codec.quantizer.stream("content").encode(latents.values.transpose(1, 2))
    assert torch.equal(found, tokenizer.encode(signal(3, 1500))["content"])


def test_num_content_reaches_every_path(load, signal) -> None:
    tokenizer, waveform = load(), signal(3, 3000)
    expected = tokenizer.encode(waveform, num_content=1)
    assert expected["content"].shape[1] == 1
    stream = tokenizer.stream(num_content=1)
    pieces = [stream.feed(block) for block in waveform.split(700)]
    for found in (
        tokenizer.encode(waveform, num_content=1, chunk_seconds=0.05),
        tokenizer.encode_blocks([block.numpy() for block in waveform.split(700)], num_content=1),
        SpeechTokens.join([*pieces, stream.finish()]),
    ):
        assert all(torch.equal(found[name], codes) for name, codes in expected.streams.items())
