"""What every tokenizer promises, on small networks with recipe weights in float64."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import speechtok
from speechtok.errors import AudioError, TokensError
from speechtok.tokenizers.funcodec.convert import folded_weights
from speechtok.tokenizers.funcodec.segments import level_codes, levels_of, overlap_add
from speechtok.tokenizers.funcodec.tokenizer import FuncodecTokenizer
from tests.tokenizers.funcodec.published import signal, write_small_folder

KINDS = {
    "time": {},
    "causal": {"causal": True},
    "weight_norm": {"norm": "weight_norm", "seq_model": "none", "n_residual_layers": 2},
    "spectral_norm": {"norm": "spectral_norm"},
    "segments": {"segments": (0.05, 0.3)},
    "segments_much": {"segments": (0.05, 0.9)},
    "freq": {},
    "freq_causal": {"causal": True, "conv_group_ratio": 1, "n_filters": 4},
}
QUICK = settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
Loader = Callable[[str], FuncodecTokenizer]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Loader:
    made: dict[str, FuncodecTokenizer] = {}

    def loader(kind: str) -> FuncodecTokenizer:
        if kind not in made:
            folder = write_small_folder(
                tmp_path_factory.mktemp(kind), kind.split("_")[0] if "freq" in kind else "time", **KINDS[kind]
            )
            made[kind] = speechtok.load_tokenizer(folder, dtype=torch.float64)
        return made[kind]

    return loader


def lengths(tokenizer: FuncodecTokenizer) -> st.SearchStrategy[list[int]]:
    least = tokenizer.min_samples
    return st.lists(
        st.one_of(st.integers(least, least + 40), st.integers(least, 4000)), min_size=2, max_size=4
    )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "segments" not in kind])
@pytest.mark.parametrize("padded", [False, True])
def test_batch_equals_single(load: Loader, kind: str, padded: bool) -> None:
    tokenizer = load(kind)

    @QUICK
    @given(lengths(tokenizer), st.integers(0, 9))
    def check(sizes: list[int], seed: int) -> None:
        items = [signal(n, seed + i) for i, n in enumerate(sizes)]
        batch = torch.nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=0.5)
        together = tokenizer.codec.encode(batch, torch.tensor(sizes), padded=padded)
        waves = tokenizer.codec.decode(together.codes, together.num_frames, together.scale, padded=padded)
        for row, item in enumerate(items):
            alone = tokenizer.encode(item)
            frames = int(alone.num_frames["acoustic"])
            assert frames == int(together.num_frames[row]) == tokenizer.num_frames(len(item))
            assert torch.equal(together.codes[row, :, :frames], alone["acoustic"][0])
            assert not together.codes[row, :, frames:].any()
            wave = tokenizer.decode(alone)[0]
            shared = min(len(wave), len(waves[row]))
            assert torch.allclose(waves[row][:shared], wave[:shared], rtol=0, atol=1e-10)

    check()


@pytest.mark.parametrize("kind", ["time", "freq", "segments"])
def test_order_and_padding_do_not_matter(load: Loader, kind: str) -> None:
    tokenizer = load(kind)
    items = [signal(n, n) for n in (4000, 257, 1999, 3201)]
    first = tokenizer.encode(items)
    again = tokenizer.encode(items[::-1])
    for i, tokens in enumerate(first):
        assert tokens.equals(again[len(items) - 1 - i])
    padded = torch.nn.utils.rnn.pad_sequence(items, batch_first=True)
    assert tokenizer.encode(padded, [len(item) for item in items]).equals(first)
    assert _one_by_one(tokenizer, items).equals(first)


def _one_by_one(tokenizer: FuncodecTokenizer, items: list[torch.Tensor]) -> speechtok.SpeechTokens:
    return speechtok.SpeechTokens.cat([tokenizer.encode(item) for item in items])


@pytest.mark.parametrize("kind", KINDS)
def test_lengths(load: Loader, kind: str) -> None:
    tokenizer = load(kind)
    hop = tokenizer.streams[0].hop_length
    jumps = "segments" in kind  # where two segments gain a frame at one length
    for samples in {
        *range(tokenizer.min_samples, tokenizer.min_samples + 5),
        640,
        641,
        1279,
        15 * hop - 1,
        15 * hop,
    }:
        if samples < tokenizer.min_samples:
            continue
        tokens = tokenizer.encode(signal(samples, 4))
        assert tokenizer.decode(tokens).shape == (1, samples)
        frames = int(tokens.num_frames["acoustic"])
        most = tokenizer.num_samples(frames)
        assert tokenizer.num_frames(samples) == tokenizer.num_frames(most) == frames
        after = tokenizer.num_frames(most + 1)
        assert after > frames if jumps else after == frames + 1


@pytest.mark.parametrize("kind", ["time", "segments"])
def test_chunk_seconds_changes_nothing(load: Loader, kind: str) -> None:
    tokenizer = load(kind)
    x = signal(5000, 1)
    whole = tokenizer.encode(x)
    assert tokenizer.encode(x, chunk_seconds=0.05).equals(whole)
    assert tokenizer.encode_blocks([x[:300].numpy(), x[300:].numpy()]).equals(whole)


def test_a_stream_without_end_is_refused(load: Loader) -> None:
    minute = np.zeros(60 * 16_000, np.float32)

    def blocks() -> Iterator[np.ndarray]:
        while True:
            yield minute

    with pytest.raises(AudioError, match="cut it into utterances first, as `--segment silence` does"):
        load("time").encode_blocks(blocks())


def test_codebooks_by_number_and_by_rate(load: Loader) -> None:
    tokenizer = load("time")  # 4 codebooks of 64 codes at 1600 Hz: 9600 bit/s each
    x = signal(3000, 2)
    whole = tokenizer.encode(x)
    for options, kept in (
        ({"num_codebooks": 2}, 2),
        ({"bandwidth": 9600 * 3 - 1}, 2),
        ({"bit_width": 9600 * 3}, 3),
        ({"bandwidth": 1}, 1),
        ({"bandwidth": 0}, 4),
        ({"bandwidth": 1e9}, 4),
        ({}, 4),
    ):
        some = tokenizer.encode(x, **options)
        assert torch.equal(some["acoustic"], whole["acoustic"][:, :kept])
        assert torch.equal(tokenizer.decode(some), tokenizer.decode(whole, **options))
    with pytest.raises(ValueError, match="say the same thing; give one of them"):
        tokenizer.encode(x, num_codebooks=2, bandwidth=100)
    with pytest.raises(ValueError, match="`num_codebooks` must be from 1 to 4"):
        tokenizer.encode(x, num_codebooks=5)


def test_level_is_kept_and_restored(load: Loader) -> None:
    tokenizer = load("time")
    x = signal(3000, 2)
    loud, quiet = tokenizer.encode(x), tokenizer.encode(0.01 * x)
    assert torch.equal(loud["acoustic"], quiet["acoustic"])
    assert loud.scale is not None
    assert torch.allclose(loud.scale, x.square().mean().sqrt() + 1e-8)
    assert torch.allclose(0.01 * tokenizer.decode(loud), tokenizer.decode(quiet), rtol=1e-5)
    assert not tokenizer.decode(tokenizer.encode(torch.zeros(500))).abs().max() > 1e-6
    with pytest.warns(UserWarning, match="decoded at about unit level"):
        unit = tokenizer.decode(replace(loud, scale=None))
    assert torch.allclose(unit * loud.scale, tokenizer.decode(loud))


def test_embeddings(load: Loader) -> None:
    tokenizer = load("time")
    tokens = tokenizer.encode([signal(3000, 2), signal(95, 3)])
    embedding = tokenizer.embed(tokens)
    assert embedding.shape == (2, 16, 300)
    assert not embedding[1, :, 10:].any()
    books = dict(tokenizer.codec.named_parameters())["quantizer.rq.model.embed"]
    frame = sum(books[q, tokens["acoustic"][0, q, 7]] for q in range(4))
    assert torch.allclose(embedding[0, :, 7], frame)
    assert torch.equal(embedding, tokenizer.embed(tokens, "acoustic"))
    with pytest.raises(TokensError, match="has no stream 'content'"):
        tokenizer.embed(tokens, "content")


def test_too_short_for_freqcodec(load: Loader) -> None:
    with pytest.raises(AudioError, match="needs at least 257"):
        load("freq").encode(np.zeros(256, np.float32))


def test_tokens_of_another_model_are_refused(load: Loader, tmp_path: Path) -> None:
    other = speechtok.load_tokenizer(write_small_folder(tmp_path / "other", seed=2))
    tokens = other.encode(signal(1000, 1).float())
    with pytest.raises(TokensError, match="Load the tokenizer that made them"):
        load("time").decode(tokens)


def test_float32_agrees(load: Loader, tmp_path: Path) -> None:
    exact = load("time")
    quick = speechtok.load_tokenizer(write_small_folder(tmp_path / "same"))
    x = [signal(4000, seed) for seed in range(4)]
    same = exact.encode(x)["acoustic"] == quick.encode([item.float() for item in x])["acoustic"]
    assert float(same.double().mean()) > 0.9999


def test_another_dtype_starts_from_the_stored_weights(tmp_path: Path) -> None:
    folder = write_small_folder(tmp_path / "same")
    exact = speechtok.load_tokenizer(folder, dtype=torch.float64)
    moved = speechtok.load_tokenizer(folder).to(dtype=torch.float64)
    x = signal(2000, 1)
    assert moved.encode(x).equals(exact.encode(x))
    assert torch.equal(moved.embed(moved.encode(x)), exact.embed(exact.encode(x)))


@pytest.mark.parametrize("samples", [1, 559, 560, 561, 800, 4000, 33_333])
def test_segments_are_utterances_of_their_own(load: Loader, samples: int) -> None:
    tokenizer, alone = load("segments"), load("time")
    x = signal(samples, 5) * torch.linspace(0.1, 1, samples)
    tokens = tokenizer.encode(x)
    spans = [(start, min(start + 800, samples)) for start in range(0, samples, 560)]
    parts = [alone.encode(x[start:stop]) for start, stop in spans]
    assert torch.equal(tokens["acoustic"], torch.cat([part["acoustic"] for part in parts], dim=2))
    scales = torch.cat([part.scale for part in parts])  # type: ignore[misc]
    assert torch.equal(levels_of(tokens["level"][0]), scales.float())
    assert tokens.scale is None
    assert tokenizer.decode(tokens).shape == (1, samples)


def test_levels_of_segments(load: Loader) -> None:
    tokenizer = load("segments")
    x = signal(3000, 2)
    tokens = tokenizer.encode(x)
    assert tokens["level"].shape == (1, 2, 6)
    assert torch.allclose(
        0.01 * tokenizer.decode(tokens), tokenizer.decode(tokenizer.encode(0.01 * x)), rtol=1e-4
    )
    coarse = tokenizer.encode(x, num_codebooks=1)
    assert coarse["level"].shape == (1, 1, 6)
    rough, exact = levels_of(coarse["level"][0]), levels_of(tokens["level"][0])
    assert torch.allclose(rough, exact, rtol=1 / 128)
    assert not torch.equal(rough, exact)
    with pytest.warns(UserWarning, match="decoded at about unit level"):
        tokenizer.decode(tokens.select("acoustic"))
    with pytest.raises(TokensError, match="such tokens cannot be cut by time"):
        tokens.slice_seconds(0, 0.1)
    short = replace(tokens, num_samples=torch.tensor([2000]))
    with pytest.raises(TokensError, match="has 416 frames, but the segments of its 2000 samples have 272"):
        tokenizer.decode(short)


def test_a_segment_that_ends_before_the_one_before_it() -> None:
    waves = [torch.ones(12), 2 * torch.ones(12), 3 * torch.ones(1)]
    joined = overlap_add(waves, 10)
    assert len(joined) == 22
    assert joined[:10].tolist() == [1] * 10
    assert 2 < float(joined[20]) < 3
    assert float(joined[21]) == 2


@given(st.floats(min_value=0, width=32, allow_nan=False, allow_infinity=False))
def test_levels_are_kept_to_the_bit(level: float) -> None:
    codes = level_codes(torch.tensor([level]))
    assert levels_of(codes).tolist() == [level]
    assert 0 <= int(codes.min()) <= int(codes.max()) < 65_536


def test_phones(tmp_path: Path) -> None:
    folder = write_small_folder(tmp_path / "phones", phones=True)
    tokenizer = speechtok.load_tokenizer(folder, dtype=torch.float64)
    items = [signal(400, 1), signal(95, 2), signal(3, 3)]
    labels = [[i % 86 for i in range(-(-len(x) // 5))] for x in items]
    tokens = tokenizer.encode(items, phones=labels)
    assert [stream.name for stream in tokenizer.streams] == ["acoustic", "phones"]
    assert tokens["phones"].shape == (3, 1, 80)
    for index, (x, row) in enumerate(zip(items, labels, strict=True)):
        alone = tokenizer.encode(x, phones=np.array(row))
        assert tokens[index].equals(alone)
        wave = tokenizer.decode(alone)
        assert torch.allclose(tokenizer.decode(tokens)[index, : len(x)], wave[0], rtol=0, atol=1e-10)
        other = tokenizer.encode(x, phones=[85] * len(row))
        assert torch.equal(other["acoustic"], alone["acoustic"])
        assert not torch.allclose(tokenizer.decode(other), wave)
    for phones, sentence in (
        (None, "`phones` must hold the phone labels of each utterance, one for every 5 samples"),
        ([0, 1], r"`phones` must hold \[80\] labels, got \[2\]"),
        ([0.5] * 80, "`phones` of utterance 0 must be whole numbers"),
        ([86] * 80, r"`phones` of utterance 0 must lie in \[0, 86\), got 86 to 86"),
    ):
        with pytest.raises(ValueError, match=sentence):
            tokenizer.encode(items[0], phones=phones)
    with pytest.raises(TokensError, match="These tokens lack the stream 'phones'; they have: acoustic"):
        tokenizer.decode(tokens.select("acoustic"))


def test_phones_are_refused_where_nothing_reads_them(load: Loader) -> None:
    with pytest.raises(ValueError, match="`phones` are for models with semantic augmentation"):
        load("time").encode(signal(100, 1), phones=[1])


def test_spectral_norm_is_torch_s() -> None:
    for kind in (torch.nn.Conv1d, torch.nn.ConvTranspose1d):
        layer = torch.nn.utils.spectral_norm(kind(3, 5, 4).double())
        layer.train()(torch.randn(1, 3, 20).double())
        layer.eval()(torch.randn(1, 3, 20).double())  # computes the weight without another step
        parent = "x.conv.conv" if kind is torch.nn.Conv1d else "x.convtr.convtr"
        folded = folded_weights({f"{parent}.{name}": value for name, value in layer.state_dict().items()})
        assert sorted(folded) == [f"{parent}.bias", f"{parent}.weight"]
        assert torch.allclose(folded[f"{parent}.weight"], layer.weight, rtol=1e-12)


def test_options_reach_a_recording_that_is_read_in_pieces(load: Loader, tmp_path: Path) -> None:
    tokenizer, waveform = load("time"), signal(9000, 0).float().numpy()
    soundfile.write(tmp_path / "a.wav", waveform, 16_000, subtype="FLOAT")
    want = tokenizer.encode(waveform, bandwidth=20_000)
    found = tokenizer.encode(tmp_path / "a.wav", bandwidth=20_000, chunk_seconds=0.2)
    assert found["acoustic"].shape[1] < tokenizer.streams[0].num_codebooks
    assert torch.equal(found["acoustic"], want["acoustic"])
