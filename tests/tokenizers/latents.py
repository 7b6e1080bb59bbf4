"""What latents promise, on any tokenizer that has them; load it in float64."""

from dataclasses import replace

import torch
from torch import Tensor

from speechtok.tokenizers.base import SpeechTokenizer


def assert_latents(tokenizer: SpeechTokenizer, waveforms: list[Tensor]) -> None:
    """Fail unless latents of a batch are those of its items, speak as tokens do, and pass gradients."""
    assert tokenizer.has_latents
    close = {"rtol": 1e-6, "atol": 1e-8}
    tokens, latents = tokenizer.encode(waveforms), tokenizer.encode_latents(waveforms)
    embedded = tokenizer.embed(tokens)
    assert latents.values.shape == embedded.shape
    assert latents.num_samples.tolist() == [len(waveform) for waveform in waveforms]
    for side in ("speaker_embedding", "scale"):
        expected, found = getattr(tokens, side), getattr(latents, side)
        assert (expected is None) == (found is None)
        if expected is not None:
            torch.testing.assert_close(found, expected, **close)
    spoken = tokenizer.decode_latents(replace(latents, values=embedded))
    if tokenizer.card.family != "snac":  # whose noise follows from codes
        torch.testing.assert_close(spoken, tokenizer.decode(tokens), **close)
    assert spoken.shape == (len(waveforms), max(map(len, waveforms)))
    for index, waveform in enumerate(waveforms):
        alone, frames = tokenizer.encode_latents(waveform), int(latents.num_frames[index])
        torch.testing.assert_close(latents.values[index, :, :frames], alone.values[0], **close)
        assert not latents.values[index, :, frames:].any()
        assert not spoken[index, len(waveform) :].any()
    x = waveforms[0].clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        made = tokenizer.encode_latents(x)
        speech = tokenizer.decode_latents(made)
    assert speech.dtype == torch.float64
    torch.testing.assert_close(made.values, tokenizer.encode_latents(waveforms[0]).values, **close)
    speech.square().sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
    assert float(x.grad.abs().max()) > 0
    step = 1e-5 * torch.sign(x.grad)
    with torch.no_grad():
        sums = [
            float(tokenizer.decode_latents(tokenizer.encode_latents(x + sign * step)).square().sum())
            for sign in (1, -1)
        ]
    slope, expected_slope = sums[0] - sums[1], 2e-5 * float(x.grad.abs().sum())
    assert abs(slope - expected_slope) < 0.02 * expected_slope
    assert not tokenizer.encode(x).streams[tokenizer.streams[0].name].requires_grad
