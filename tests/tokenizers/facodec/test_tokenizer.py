"""FACodec through the public door: cards, published files, errors."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import speechtok
from speechtok import load_tokenizer
from speechtok.errors import AudioError, CardError, CheckpointError, TokensError
from speechtok.tokens import SpeechTokens
from tests.tokenizers.latents import assert_latents
from tests.tokenizers.surroundings import assert_surroundings_change_nothing

NAMES = pytest.mark.parametrize("name", ["facodec", "facodec_v2"])


@pytest.fixture(scope="module")
def load(checkpoint):
    made = {}

    def load(name="facodec", dtype=torch.float64):
        if (name, dtype) not in made:
            made[name, dtype] = load_tokenizer(name, checkpoint=checkpoint, dtype=dtype)
        return made[name, dtype]

    return load


def test_published_numbers_through_the_front_door(load, golden, signal) -> None:
    want, tokenizer = golden("v1_redecoder_vc"), load()
    a, b = tokenizer.encode(signal(0, 16000)), tokenizer.encode(signal(1, 12345).numpy())
    assert np.array_equal(a.codes[0], want["codes_a"][:, 0])
    np.testing.assert_allclose(a.speaker_embedding, want["spk_a"], rtol=1e-6)
    np.testing.assert_allclose(tokenizer.convert_voice(a, b)[0], want["wav_a_to_b"], rtol=1e-6, atol=1e-9)
    both = tokenizer.encode([signal(1, 12345), signal(0, 16000)])
    assert both[1].equals(a) or torch.equal(both[1].codes, a.codes)
    np.testing.assert_allclose(tokenizer.decode(a), golden("v1_full_1s")["wav"][None], rtol=1e-6, atol=1e-9)


def test_published_numbers_of_version_2(load, golden, signal) -> None:
    want, tokenizer = golden("v2_full"), load("facodec_v2")
    a, b = tokenizer.encode(signal(0, 16000)), tokenizer.encode(signal(1, 12345))
    assert np.array_equal(a.codes[0], want["codes_a"][:, 0])
    converted = tokenizer.convert_voice(a, b.speaker_embedding[0])
    np.testing.assert_allclose(converted[0], want["wav_a_to_b"], rtol=1e-6, atol=1e-9)


@NAMES
def test_length_law_and_factors(load, signal, name) -> None:
    tokenizer = load(name)
    for length in (1000, 1151, 1199):
        tokens = tokenizer.encode(signal(0, length))
        assert tokenizer.decode(tokens).shape == (1, length)
    assert [stream.num_codebooks for stream in tokenizer.streams] == [1, 2, 3]
    whole = tokenizer.embed(tokens)
    assert whole.shape == (1, 256, int(tokens.num_frames["content"][0]))
    parts = [tokenizer.embed(tokens, stream) for stream in ("prosody", "content", "residual")]
    torch.testing.assert_close(sum(parts), whole)
    kept = tokens.select("prosody", "content")
    plain = tokenizer.decode(tokens, use_residual=False)
    torch.testing.assert_close(tokenizer.decode(kept), plain)
    torch.testing.assert_close(tokenizer.embed(kept), parts[0] + parts[1])
    few = tokenizer.encode(signal(0, 1000), num_codebooks=1)
    assert few.codes.shape[1] == 3
    assert tokenizer.decode(few).shape == (1, 1000)
    frames = int(tokenizer.encode(signal(0, 1000)).num_frames["content"][0])
    assert tokenizer.num_frames(1000) == frames
    assert tokenizer.num_frames(tokenizer.num_samples(frames)) == frames
    assert tokenizer.num_frames(tokenizer.num_samples(frames) + 1) == frames + 1


@NAMES
def test_blocks_and_chunks(load, signal, name) -> None:
    tokenizer, x = load(name), signal(4, 9000)
    want = tokenizer.encode(x)
    assert torch.equal(tokenizer.encode(x, chunk_seconds=0.2).codes, want.codes)
    blocks = tokenizer.encode_blocks((block.numpy() for block in x.split(1600)), chunk_seconds=0.2)
    assert torch.equal(blocks.codes, want.codes)
    assert torch.equal(blocks.num_samples, want.num_samples)


def test_stream(load, signal) -> None:
    tokenizer, x = load(), signal(4, 30_000)
    want, stream = tokenizer.encode(x), tokenizer.stream(num_codebooks=2)
    pieces = [
        stream.feed(x[start:stop]) for start, stop in ((0, 16), (16, 16), (16, 21_000), (21_000, 30_000))
    ]
    assert [int(piece.num_frames["content"]) for piece in pieces] == [0, 0, 79, 45]
    assert pieces[-1].speaker_embedding is None
    found = speechtok.SpeechTokens.join([*pieces, stream.finish()])
    assert torch.equal(found["residual"], want["residual"][:, :2])
    assert torch.equal(found.num_samples, want.num_samples)
    torch.testing.assert_close(found.speaker_embedding, want.speaker_embedding, rtol=1e-10, atol=1e-10)
    with pytest.raises(
        TypeError, match="'facodec_v2' has no stream: its codes depend on the whole utterance"
    ):
        load("facodec_v2").stream()


@NAMES
def test_saved_tokenizer_is_the_same(load, signal, tmp_path, name) -> None:
    tokenizer = load(name)
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path, dtype=torch.float64)
    assert again.fingerprint == tokenizer.fingerprint == load(name, torch.float32).fingerprint
    tokens = tokenizer.encode(signal(0, 2000))
    assert again.encode(signal(0, 2000)).equals(tokens)
    assert torch.equal(again.decode(tokens), tokenizer.decode(tokens))
    assert torch.equal(again.convert_voice(tokens, tokens), tokenizer.convert_voice(tokens, tokens))


def test_versions_are_not_mixed(load, signal) -> None:
    tokens = load("facodec_v2").encode(signal(0, 1000))
    with pytest.raises(TokensError, match="made by 'facodec_v2'"):
        load().decode(tokens)


@pytest.mark.slow
@NAMES
def test_surroundings_change_nothing(name, load, signal) -> None:
    assert_surroundings_change_nothing(load(name, torch.float32), signal(3, 4000).float())


def test_another_dtype_starts_from_the_stored_weights(checkpoint, load, signal) -> None:
    tokenizer = load_tokenizer("facodec", checkpoint=checkpoint)
    tokens = tokenizer.encode(signal(0, 2000).float())
    assert tokenizer.decode(tokens).dtype == torch.float32
    tokenizer.to(dtype=torch.float64)
    assert torch.equal(tokenizer.decode(tokens), load().decode(tokens))


def test_stored_tokens_decode_alone(checkpoint, load, signal) -> None:
    tokens = load().encode(signal(2, 3000))
    fresh = load_tokenizer("facodec", checkpoint=checkpoint, dtype=torch.float64)
    assert torch.equal(fresh.decode(tokens), load().decode(tokens))


@pytest.mark.parametrize(("name", "length"), [("facodec", 151), ("facodec_v2", 412)])
def test_too_short(load, name, length) -> None:
    with pytest.raises(AudioError, match=f"has {length} samples .* needs at least {length + 1}"):
        load(name).encode(torch.zeros(length))
    with pytest.raises(AudioError, match=f"needs at least {length + 1}"):
        load(name).encode_blocks([np.zeros(length)])


def test_hours_are_not_held(load) -> None:
    block = np.zeros(2**20, np.float32)
    with pytest.raises(
        AudioError, match=r"longer than 4\.7 hours, .* but 'facodec_v2' needs .* `--segment silence` does"
    ):
        load("facodec_v2").encode_blocks(block for _ in range(2**8 + 1))


def test_what_a_voice_needs(load, signal) -> None:
    tokenizer = load()
    tokens = tokenizer.encode(signal(0, 1000))
    mute = SpeechTokens(
        streams=tokens.streams, num_frames=tokens.num_frames, num_samples=tokens.num_samples, info=tokens.info
    )
    with pytest.raises(TokensError, match="hold no `speaker_embedding`"):
        tokenizer.decode(mute)
    with pytest.raises(TokensError, match="lack the stream 'content'"):
        tokenizer.convert_voice(tokens.select("prosody"), tokens)
    with pytest.raises(TokensError, match="lack the stream 'residual'"):
        tokenizer.embed(tokens.select("prosody"), "residual")
    with pytest.raises(ValueError, match="1 or 1 vectors of 256 channels"):
        tokenizer.convert_voice(tokens, torch.zeros(2, 256))
    assert tokenizer.convert_voice(tokens, torch.zeros(256)).shape == (1, 1000)


@pytest.fixture
def broken(checkpoint, tmp_path):
    """Return a function that writes the checkpoint with one changed file."""

    def write(file: str, change) -> Path:
        for path in checkpoint.iterdir():
            if path.name != file:
                (tmp_path / path.name).symlink_to(path)
        weights = torch.load(checkpoint / file)
        torch.save(change(weights) or weights, tmp_path / file)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "decoder",
            lambda w: {k: v for k, v in w.items() if k != "model.6.bias"},
            r"lacks entry 'model\.6\.bias'",
        ),
        (
            "encoder",
            lambda w: w.update({"block.9.bias": torch.ones(1)}),
            r"has unexpected entry 'block\.9\.bias'",
        ),
        (
            "redecoder",
            lambda w: w.update({"timbre_linear.bias": torch.ones(3)}),
            r"'timbre_linear\.bias' \(has \(3,\), needs \(512,\)\)",
        ),
        ("decoder", lambda w: {"state_dict": w}, "lacks entries"),
    ],
)
def test_other_entries_are_refused(broken, file, change, message) -> None:
    folder = broken(f"ns3_facodec_{file}.bin", change)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_tokenizer("facodec", checkpoint=folder)
    assert f"ns3_facodec_{file}.bin" in str(caught.value)


class RunsCode:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def test_a_file_that_would_run_code_is_refused(broken, tmp_path) -> None:
    marker = tmp_path / "ran"
    folder = broken("ns3_facodec_decoder.bin", lambda w: w.update({"x": RunsCode(marker)}))
    with pytest.raises(CheckpointError, match="would run code"):
        load_tokenizer("facodec", checkpoint=folder)
    assert not marker.exists()


def test_a_missing_file_is_named(checkpoint, tmp_path) -> None:
    shutil.copy(checkpoint / "ns3_facodec_encoder.bin", tmp_path)
    with pytest.raises(CheckpointError, match=r"ns3_facodec_decoder\.bin"):
        load_tokenizer("facodec", checkpoint=tmp_path)


def test_unusable_cards_are_named(checkpoint, tmp_path) -> None:
    card = load_tokenizer("facodec", checkpoint=checkpoint).card
    for change, message in (
        ({"architecture": {"version": 3}}, "`version` of a FACodec must be 1 or 2, got 3"),
        ({"architecture": {"depth": 3}}, "The architecture of card '.*' has the unknown field depth"),
        ({"files": card.to_dict()["files"][:2]}, "must name one file each for encoder, decoder, redecoder"),
    ):
        path = tmp_path / "card.yaml"
        path.write_text(json.dumps({**card.to_dict(), **change}))
        with pytest.raises(CardError, match=message):
            load_tokenizer(path, checkpoint=checkpoint)


@pytest.mark.slow
@NAMES
def test_latents(name, load, signal) -> None:
    assert_latents(load(name), [signal(3, 2400), signal(4, 3011)])
