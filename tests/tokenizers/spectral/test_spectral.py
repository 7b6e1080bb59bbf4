"""The spectral codec on small networks with random weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import speechtok
from speechtok.errors import CheckpointError
from speechtok.laws import assert_laws
from speechtok.tokenizers.spectral.config import SpectralConfig
from speechtok.tokenizers.spectral.network import Codec, Decoder
from speechtok.tokenizers.spectral.storing import SCALE, pack, unpack
from tests.goldens import recipe
from tests.tokenizers.latents import assert_latents
from tests.tokenizers.small import SPECTRAL, write_spectral


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_spectral(tmp_path_factory.mktemp("spectral"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    return speechtok.load_tokenizer(folder, dtype=torch.float64)


def signal(samples: int) -> torch.Tensor:
    return torch.from_numpy(recipe.speechlike(samples, 16000, seed=samples))


def test_the_laws(tokenizer):
    assert_laws(tokenizer, [signal(n) for n in (1, 320, 3001, 9000)])
    assert tokenizer.can_stream


def test_latents(tokenizer):
    assert_latents(tokenizer, [signal(n) for n in (3000, 5001)])


def test_windows_change_nothing(tokenizer, monkeypatch):
    x = signal(40_000)
    tokens = tokenizer.encode(x)
    speech = tokenizer.decode(tokens)
    monkeypatch.setattr("speechtok.tokenizers.spectral.tokenizer.WINDOW_FRAMES", 7)
    assert tokenizer.encode(x).equals(tokens)
    torch.testing.assert_close(tokenizer.decode(tokens), speech, rtol=0, atol=1e-12)


@pytest.mark.parametrize("blocks", [1, 3])
def test_contexts_are_what_is_stated(blocks, tmp_path):
    changes = dict.fromkeys(("encoder_blocks", "frame_blocks", "spectrum_blocks"), blocks)
    tokenizer = speechtok.load_tokenizer(write_spectral(tmp_path, **changes), dtype=torch.float64)
    config, hop, frame = tokenizer.config, 320, 60
    x = signal(hop * 120)
    waveform = x.clone().requires_grad_()
    tokenizer.codec.encoder(waveform[None])[0, frame].sum().backward()
    seen = waveform.grad.nonzero().flatten()
    assert hop * (frame - config.encoder_context) <= seen.min()
    assert seen.max() < hop * (frame + 1 + config.encoder_context)
    assert seen.min() < hop * (frame - config.encoder_context + 1)  # and no wider than it must be
    latents = tokenizer.codec.encoder(x[None]).detach().requires_grad_()
    tokenizer.codec.decoder(latents)[0, hop * frame : hop * (frame + 1)].sum().backward()
    seen = latents.grad[0].abs().sum(dim=1).nonzero().flatten()
    assert frame - seen.min() == config.decoder_context
    assert seen.max() - frame <= config.decoder_context


def test_speech_of_true_spectra_is_the_speech():
    decoder = Decoder(SpectralConfig()).double()
    decoder.fold_constants()
    x = signal(8000).double()[None] * 0.1
    filled = torch.nn.functional.pad(x, (240, 240))
    spectra = torch.fft.rfft(filled.unfold(1, 640, 160) * decoder.window)
    features = torch.cat([spectra.abs().log(), spectra.angle()], dim=2)
    spoken = decoder._overlap(features)
    torch.testing.assert_close(spoken[:, 480:-480], x[:, 480 : spoken.shape[1] - 480], rtol=0, atol=1e-9)


@given(
    shape=st.sampled_from([(3,), (4, 5), (2, 3, 7)]),
    scale=st.floats(1e-6, 1e3),
    seed=st.integers(0, 99),
)
@settings(max_examples=50, deadline=None)
def test_stored_weights_are_near_and_exact_in_every_type(shape, scale, seed):
    weight = scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    stored = pack({"a": weight})
    again = unpack(stored)["a"]
    assert again.dtype == torch.float32
    if len(shape) == 1:
        torch.testing.assert_close(again, weight, rtol=1e-3, atol=1e-7)
        return
    assert stored["a"].dtype == torch.int8
    step = stored["a" + SCALE].double().view(-1, *[1] * (len(shape) - 1))
    assert torch.equal(again.double(), stored["a"].double() * step)
    assert ((again - weight).abs() <= 0.51 * step + 0.07 * step).all()


def test_codebooks_keep_sixteen_bits():
    stored = pack(Codec(SpectralConfig(**SPECTRAL)).state_dict())
    assert stored["codebooks.embed"].dtype == torch.float16
    assert stored["decoder.head.weight"].dtype == torch.int8


def test_the_shipped_size_is_small():
    stored = pack(Codec(SpectralConfig()).state_dict())
    assert sum(value.numel() * value.element_size() for value in stored.values()) < 4_000_000


def test_what_is_refused(folder, tmp_path):
    card = (folder / "tokenizer.yaml").read_text()
    (tmp_path / "tokenizer.yaml").write_text(card.replace("frame_blocks: 1", "frame_blocks: 2"))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(
        CheckpointError, match=r"does not fit the network: it lacks entries 'decoder.frame_blocks.1"
    ):
        speechtok.load_tokenizer(tmp_path)
    head = card[: card.index("files:")] + "files: []\n" + card[card.index("published:") :]
    (tmp_path / "tokenizer.yaml").write_text(head)
    with pytest.raises(CheckpointError, match="needs one file of weights, got: none"):
        speechtok.load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"hop_length": 321}, "`hop_length` must be even"),
        ({"fft_length": 1024}, "twice `hop_length`"),
        ({"kernel_size": 4}, "`kernel_size` must be odd"),
    ],
)
def test_sizes_that_do_not_go_together(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        SpectralConfig(**change)


def test_everybody_may_read_what_was_written(folder):
    assert (folder / "model.safetensors").stat().st_mode == (folder / "tokenizer.yaml").stat().st_mode
