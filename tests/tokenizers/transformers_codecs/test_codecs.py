"""What every codec of transformers promises, on small networks in float64; transformers itself is the oracle."""

import json
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import speechtok
from speechtok.errors import AudioError, CardError, CheckpointError, TokensError
from speechtok.tokenizers.transformers_codecs.tokenizer import TransformersCodecTokenizer
from tests.tokenizers.transformers_codecs.folders import SMALL, random_model, write_folder

KINDS = list(SMALL)
PIECEWISE = ["dac", "encodec", "mimi"]
"""Codecs whose codes do not change when long audio is encoded in pieces."""
QUICK = settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
Loader = Callable[..., TransformersCodecTokenizer]


def signal(samples: int, seed: int) -> torch.Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(0.1 * random.standard_normal(samples))


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Loader:
    made: dict[Any, TransformersCodecTokenizer] = {}

    def loader(kind: str, dtype: torch.dtype = torch.float64) -> TransformersCodecTokenizer:
        if (kind, dtype) not in made:
            card = write_folder(tmp_path_factory.mktemp(kind), kind)
            made[kind, dtype] = speechtok.load_tokenizer(card, dtype=dtype)
        return made[kind, dtype]

    return loader


def by_transformers(kind: str, model: Any, x: torch.Tensor) -> torch.Tensor:
    """Return the codes of one utterance as somebody who calls extractor and model of transformers gets them."""
    hop = {"mimi": 1920, "wavtokenizer": 600}.get(kind, 320)
    if kind in (
        "xcodec2",
        "neucodec",
    ):  # their extractors need torchaudio; the older one has the same features
        padded = torch.nn.functional.pad(x, (0, hop - len(x) % hop))
        margin = hop // 2 if kind == "xcodec2" else 0
        extract = transformers.SeamlessM4TFeatureExtractor()
        features = extract(
            torch.nn.functional.pad(padded, (margin, margin)).numpy(),
            sampling_rate=16000,
            return_tensors="pt",
        )["input_features"].to(padded)
        return model.encode(padded[None, None], input_features=features).audio_codes[0].long()
    if kind in ("dac", "xcodec"):
        extract = transformers.DacFeatureExtractor(sampling_rate=16000, hop_length=hop)
    elif kind == "wavtokenizer":
        extract = None
    else:
        extract = transformers.EncodecFeatureExtractor(sampling_rate=24000)
    values = x[None, None]
    if extract is not None:  # extractors round to float32; only the length is theirs
        rate = 16000 if kind in ("dac", "xcodec") else 24000
        filled = extract(x.numpy(), sampling_rate=rate, return_tensors="pt")["input_values"]
        values = torch.nn.functional.pad(values, (0, filled.shape[-1] - len(x)))
        assert torch.equal(values.float(), filled.float())
    options = {"encodec": {"bandwidth": 24.0}, "xcodec": {"bandwidth": 4}}.get(kind, {})
    codes = model.encode(values, **options).audio_codes
    return codes.reshape(codes.shape[-2:])


@pytest.mark.parametrize("kind", KINDS)
def test_equals_transformers(load: Loader, kind: str) -> None:
    tokenizer, model = load(kind), random_model(kind).double()
    hop = tokenizer.streams[0].hop_length
    for seed, samples in enumerate((tokenizer.min_samples, hop, hop + 1, 9301)):
        x = signal(samples, seed)
        with torch.no_grad():
            codes = by_transformers(kind, model, x)
            decoded = (
                model.decode(codes[None, None], [None])
                if kind == "encodec"
                else model.decode(audio_codes=codes[None])
            ).audio_values.reshape(-1)
        tokens = tokenizer.encode(x)
        assert torch.equal(tokens["acoustic"][0], codes)
        assert codes.shape[1] == tokenizer.num_frames(samples)
        waveform = tokenizer.decode(tokens)[0]
        expected = samples * 3 // 2 if kind == "neucodec" else samples
        assert waveform.shape == (expected,) == (tokenizer.output_samples(samples),)
        length = min(expected, len(decoded))
        assert expected - length <= (478 if kind == "neucodec" else 8)
        torch.testing.assert_close(waveform[:length], decoded[:length], rtol=1e-6, atol=1e-9)
    assert len(codes.unique()) > 3


@pytest.mark.parametrize("kind", KINDS)
def test_batch_equals_single(load: Loader, kind: str) -> None:
    tokenizer = load(kind)
    least = tokenizer.min_samples
    size = st.one_of(st.integers(least, least + 40), st.integers(least, 7000))
    sizes = st.lists(size, min_size=2, max_size=3)

    @QUICK
    @given(sizes, st.integers(0, 9))
    def check(lengths: list[int], seed: int) -> None:
        items = [signal(n, seed + i) for i, n in enumerate(lengths)]
        together = tokenizer.encode(torch.nn.utils.rnn.pad_sequence(items, batch_first=True), lengths)
        waveforms, latents = tokenizer.decode(together), tokenizer.embed(together)
        for row, item in enumerate(items):
            alone = tokenizer.encode(item)
            assert together[row].equals(alone)
            torch.testing.assert_close(
                waveforms[row, : tokenizer.output_samples(len(item))],
                tokenizer.decode(alone)[0],
                rtol=0,
                atol=1e-12,
            )
            assert not waveforms[row, tokenizer.output_samples(len(item)) :].any()
            frames = alone["acoustic"].shape[2]
            torch.testing.assert_close(
                latents[row, :, :frames], tokenizer.embed(alone)[0], rtol=0, atol=1e-12
            )
            assert not latents[row, :, frames:].any()

    check()


def test_xcodec_with_wavlm(tmp_path: Path) -> None:
    semantic = {**SMALL["xcodec"][1]["semantic_model_config"], "model_type": "wavlm"}
    card = write_folder(tmp_path, "xcodec", semantic_model_config=semantic)
    tokenizer = speechtok.load_tokenizer(card, dtype=torch.float64)
    x = signal(5000, 1)
    with torch.no_grad():
        model = random_model("xcodec", semantic_model_config=semantic).double()
        codes = by_transformers("xcodec", model, x)
    assert torch.equal(tokenizer.encode([x, signal(900, 2)])["acoustic"][0], codes)


@pytest.mark.parametrize("kind", PIECEWISE)
def test_pieces_equal_the_whole(load: Loader, kind: str) -> None:
    tokenizer, model = load(kind), random_model(kind).double()

    @QUICK
    @given(
        st.integers(1, 60_000), st.floats(0.01, 1.5), st.lists(st.integers(1, 9000), min_size=1, max_size=5)
    )
    def check(samples: int, seconds: float, sizes: list[int]) -> None:
        x = signal(samples, samples)
        with torch.no_grad():
            whole = by_transformers(kind, model, x)
        assert torch.equal(tokenizer.encode(x, chunk_seconds=seconds)["acoustic"][0], whole)
        cuts = [0, *(n for n in np.cumsum(sizes).tolist() if n < samples), samples]
        blocks = [x[start:stop].numpy() for start, stop in pairwise(cuts)]
        tokens = tokenizer.encode_blocks(iter(blocks), chunk_seconds=seconds)
        assert torch.equal(tokens["acoustic"][0], whole)
        assert tokens.num_samples.tolist() == [samples]

    check()


@pytest.mark.parametrize("kind", PIECEWISE)
def test_streams_equal_the_whole(load: Loader, kind: str) -> None:
    tokenizer = load(kind)
    ahead = tokenizer.codec.context if kind == "dac" else 0  # frames

    @QUICK
    @given(
        st.integers(1, 60_000),
        st.one_of(st.none(), st.floats(0.01, 0.5)),
        st.lists(st.integers(0, 9000), min_size=1, max_size=5),
    )
    def check(samples: int, seconds: float | None, sizes: list[int]) -> None:
        x = signal(samples, samples)
        stream = tokenizer.stream(chunk_seconds=seconds, num_codebooks=3)
        cuts = [0, *(n for n in np.cumsum(sizes).tolist() if n < samples), samples]
        pieces = [stream.feed(x[start:stop]) for start, stop in pairwise(cuts)]
        if seconds is None and samples >= 3200:  # what is final has come
            held = stream.num_samples - sum(int(piece.num_samples) for piece in pieces)
            assert ahead <= held / tokenizer.streams[0].hop_length < ahead + 1
        found = speechtok.SpeechTokens.join([*pieces, stream.finish()])
        assert found.equals(tokenizer.encode(x, num_codebooks=3))

    check()


def test_neucodec_speaks_at_another_rate(load: Loader) -> None:
    tokenizer = load("neucodec")
    assert (tokenizer.sample_rate, tokenizer.output_sample_rate) == (16000, 24000)
    with pytest.raises(AudioError, match=r"has 319 samples .* needs at least 320"):
        tokenizer.encode(torch.zeros(319))


def test_the_others_have_no_stream(load: Loader) -> None:
    assert [kind for kind in KINDS if load(kind).can_stream] == ["encodec", "dac", "mimi"]
    with pytest.raises(TypeError, match="'small_xcodec' has no stream"):
        load("xcodec").stream()


@pytest.mark.parametrize("kind", KINDS)
def test_float32_agrees(load: Loader, kind: str) -> None:
    x = [signal(9000, seed) for seed in range(3)]
    exact = load(kind).encode(x)["acoustic"]
    quick = load(kind, torch.float32).encode([item.float() for item in x])["acoustic"]
    assert float((exact != quick).double().mean()) < 2e-3  # random codebooks lie closer than trained ones


@pytest.mark.parametrize("kind", ["encodec", "dac", "mimi", "xcodec"])
def test_first_codebooks(load: Loader, kind: str) -> None:
    tokenizer = load(kind)
    x = signal(5000, 1)
    whole, some = tokenizer.encode(x), tokenizer.encode(x, num_codebooks=2)
    assert torch.equal(some["acoustic"], whole["acoustic"][:, :2])
    assert tokenizer.decode(some).shape == (1, 5000)
    assert not torch.allclose(tokenizer.decode(some), tokenizer.decode(whole))


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded(load: Loader, kind: str, tmp_path: Path) -> None:
    tokenizer = load(kind)
    tokenizer.save_pretrained(tmp_path)
    again = speechtok.load_tokenizer(tmp_path, dtype=torch.float64)
    assert again.fingerprint == tokenizer.fingerprint
    tokens = tokenizer.encode(signal(3000, 2))
    assert again.encode(signal(3000, 2)).equals(tokens)
    assert torch.equal(again.decode(tokens), tokenizer.decode(tokens))


def test_fingerprint_follows_weights_and_settings(load: Loader, tmp_path: Path) -> None:
    known = {load("mimi").fingerprint}
    other = random_model("mimi")
    with torch.no_grad():
        next(other.decoder.parameters()).add_(1)
    card = write_folder(tmp_path / "decoder", "mimi", model=other)
    assert speechtok.load_tokenizer(card).fingerprint in known  # what a code sounds like is not what it means
    with torch.no_grad():
        next(other.encoder.parameters()).add_(1)
    card = write_folder(tmp_path / "encoder", "mimi", model=other)
    known.add(speechtok.load_tokenizer(card).fingerprint)
    card = write_folder(tmp_path / "window", "mimi", sliding_window=10)
    known.add(speechtok.load_tokenizer(card).fingerprint)
    assert len(known) == 3


def test_tokens_of_another_codec_are_refused(load: Loader) -> None:
    tokens = load("dac").encode(signal(1000, 1))
    with pytest.raises(TokensError, match="Load the tokenizer that made them"):
        load("mimi").decode(tokens)


# --- folders that are not what they should be ---


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_type": "dac"}, "describes a model of type 'dac', but 'small_mimi' is a 'mimi'"),
        ({"hidden_act": "os.system"}, "a value for `hidden_act` that no codec has: 'os.system'"),
        ({"num_hidden_layers": 10**9}, "a value for `num_hidden_layers` that no codec has"),
        ({"intermediate_size": 900_000}, "describes a network of"),
        ({"intermediate_size": 65}, "has another shape for"),
        ({"num_hidden_layers": 3}, "it lacks"),
        ({"num_hidden_layers": 1}, r"it holds 134 entries where the network has 1\d\d"),
        ({"num_attention_heads": 0}, "cannot make the network"),
    ],
)
def test_a_configuration_that_does_not_fit(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    card = write_folder(tmp_path, "mimi")
    change_config(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=sentence):
        speechtok.load_tokenizer(card)


def test_streams_that_do_not_fit(tmp_path: Path) -> None:
    card = write_folder(tmp_path, "mimi")
    card.write_text(card.read_text().replace("num_codebooks: 8", "num_codebooks: 32"))
    with pytest.raises(CardError, match="but its network has"):
        speechtok.load_tokenizer(card)


def test_what_would_run_code_is_left_out(tmp_path: Path, load: Loader) -> None:
    card = write_folder(tmp_path, "mimi")
    change_config(
        tmp_path,
        attn_implementation="somebody/kernel",
        _attn_implementation="somebody/kernel",
        auto_map={"AutoModel": "somebody/code--modeling.Model"},
        quantization_config={"quant_method": "somebody"},
        _name_or_path="somebody/model",
    )
    tokenizer = speechtok.load_tokenizer(card, dtype=torch.float64)
    assert tokenizer.fingerprint == load("mimi").fingerprint
    assert tokenizer.encode(signal(3000, 1)).equals(load("mimi").encode(signal(3000, 1)))


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, '{"model_type": "mimi", "x": "\udcff"}'])
def test_a_configuration_that_is_none(tmp_path: Path, content: str) -> None:
    card = write_folder(tmp_path, "mimi")
    (tmp_path / "config.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match=r"config\.json'"):
        speechtok.load_tokenizer(card)


def test_an_older_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = write_folder(tmp_path, "wavtokenizer")
    monkeypatch.setattr(
        sys.modules["transformers"], "WavTokenizerModel", None
    )  # it replaces itself when imported
    with pytest.raises(CheckpointError, match=r"needs transformers 5\.24 or newer"):
        speechtok.load_tokenizer(card)


def test_without_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = write_folder(tmp_path, "mimi")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(CheckpointError, match=r"pip install 'speechtok\[transformers\]'"):
        speechtok.load_tokenizer(card)
