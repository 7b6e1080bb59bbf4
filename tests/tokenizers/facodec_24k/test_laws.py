"""Batches, windows and blocks change nothing: zero differing codes in float64."""

import pytest
import torch
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from speechtok.nets.windows import JoinedBlocks
from speechtok.tokenizers.facodec_24k import codec as codec_module

few = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
LEAST, HOP = 65, 24


def encode(codec, *signals, block=None, **options):
    return codec.encode([JoinedBlocks(x.split(block or len(x))) for x in signals], **options)


def assert_same(got, item, want) -> None:
    frames = int(want.num_frames[0])
    assert int(got.num_frames[item]) == frames
    for name, codes in want.codes.items():
        assert torch.equal(got.codes[name][item, :, :frames], codes[0, :, :frames])
        assert not got.codes[name][item, :, frames:].any()
    torch.testing.assert_close(got.speaker_embedding[item], want.speaker_embedding[0], rtol=1e-10, atol=1e-10)


def speak(codec, got, length, **options):
    codes = {name: values[:1, :, : int(got.num_frames[0])] for name, values in got.codes.items()}
    return codec.decode(codes, got.num_frames[:1], got.speaker_embedding[:1], torch.tensor([length]))[0]


def whole(monkeypatch):
    monkeypatch.setattr(codec_module, "WINDOW", 10**6)


@pytest.mark.parametrize("windows_per_pass", [1, 3])
@example(lengths=[65, 3000, 71, 400], window=11, seed=0)
@given(
    lengths=st.lists(st.one_of(st.integers(LEAST, 400), st.integers(LEAST, 6000)), min_size=2, max_size=5),
    window=st.integers(1, 120),
    seed=st.integers(0, 99),
)
@few
def test_a_batch_equals_each_alone(
    small, signal, monkeypatch, windows_per_pass, lengths, window, seed
) -> None:
    rows = [signal(seed + i, length) for i, length in enumerate(lengths)]
    alone = [encode(small, row, window=10**6) for row in rows]
    monkeypatch.setattr(small, "windows_per_pass", windows_per_pass)
    got = encode(small, *rows, window=window)
    for item, want in enumerate(alone):
        assert_same(got, item, want)
    samples = torch.tensor(lengths)
    waves = small.decode(got.codes, got.num_frames, got.speaker_embedding, samples)
    content = {"content": got.codes["content"][:, :1]}
    converted = small.redecode(content, got.num_frames, got.speaker_embedding.flip(0), samples)
    for item, (want, length) in enumerate(zip(alone, lengths, strict=True)):
        torch.testing.assert_close(waves[item, :length], speak(small, want, length), rtol=1e-10, atol=1e-10)
        first = {"content": want.codes["content"][:, :1]}
        voice = got.speaker_embedding.flip(0)[item : item + 1]
        single = small.redecode(first, want.num_frames, voice, torch.tensor([length]))[0]
        torch.testing.assert_close(converted[item, :length], single, rtol=1e-10, atol=1e-10)
        assert not waves[item, length:].any()
        assert not converted[item, length:].any()


@example(length=4000, window=1, block=7, seed=3)
@given(
    length=st.integers(LEAST, 9000),
    window=st.integers(1, 200),
    block=st.integers(1, 4000),
    seed=st.integers(0, 99),
)
@few
def test_windows_and_blocks_equal_the_whole(small, signal, length, window, block, seed) -> None:
    x = signal(seed, length)
    want = encode(small, x, window=10**6)
    assert_same(encode(small, x, window=window, block=block), 0, want)
    with torch.no_grad():  # and the whole is what the networks say without any windows
        mel = small.quantizer.to_mel(x[None])
        latent, prosody = small.encoder(x[None])[:, : mel.shape[1]], small.quantizer.prosody_features(mel)
        plain = small.quantizer.encode(latent, prosody, small.config.codebooks)
        timbre = small.quantizer.timbre_encoder(mel)
    assert all(torch.equal(codes, want.codes[name]) for name, codes in plain.items())
    torch.testing.assert_close(timbre, want.speaker_embedding)


@given(frames=st.integers(2, 300), window=st.integers(15, 150), seed=st.integers(0, 99))
@few
def test_generation_in_windows_equals_the_whole(small, monkeypatch, frames, window, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    codes = {
        name: torch.randint(32, (1, count, frames), generator=generator)
        for name, count in small.config.codebooks.items()
    }
    speaker = torch.randn(1, 16, dtype=torch.float64, generator=generator)
    counts, samples = torch.tensor([frames]), torch.tensor([frames * HOP])
    monkeypatch.setattr(codec_module, "WINDOW", window)
    with torch.no_grad():
        want = small.decoder(small.quantizer.inject(small.quantized(codes), speaker))
        torch.testing.assert_close(
            small.decode(codes, counts, speaker, samples), want, rtol=1e-10, atol=1e-10
        )
        del codes["residual"]
        want = small.redecoder(codes, speaker)
        got = small.redecode(codes, counts, speaker, samples)
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_contexts_are_those_of_the_real_networks(codec, small) -> None:
    """What the receptive fields of the released networks were measured to be, and no more frames."""
    assert (codec.config.encoder_context, codec.config.decoder_context) == (18, 18)
    assert (codec.config.mel_context, codec.config.least_frames) == (32, 11)
    assert codec.config.redecoder_context == 45
    assert codec.config.min_samples == 1025
    assert small.config.min_samples == LEAST


def test_real_networks_in_windows(codec, signal) -> None:
    x = signal(5, 16_123)
    want, got = encode(codec, x, window=10**6), encode(codec, x, window=17, block=1000)
    assert_same(got, 0, want)


def test_no_state_survives_a_call(small, signal) -> None:
    x = signal(1, 3000)
    want = encode(small, x)
    encode(small, signal(2, 5000))
    assert_same(encode(small, x), 0, want)


def test_long_timbre_is_averaged_by_length(small, signal, monkeypatch) -> None:
    x = signal(4, 50 * HOP)
    monkeypatch.setattr(codec_module, "TIMBRE_FRAMES", 20)
    got = encode(small, x, window=11).speaker_embedding
    with torch.no_grad():
        parts = small.quantizer.to_mel(x[None]).split(20, dim=1)
        vectors = [small.quantizer.timbre_encoder(part) * part.shape[1] for part in parts]
    torch.testing.assert_close(got, sum(vectors) / 50)
