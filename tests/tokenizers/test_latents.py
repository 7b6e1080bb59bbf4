"""Latents of the families that have them, and sentences of those that have none."""

import pytest
import torch

from tests.tokenizers.latents import assert_latents
from tests.tokenizers.small import load_small


@pytest.mark.parametrize("kind", ["time", "freq", "snac"])
def test_latents(kind, speech, tmp_path):
    if kind == "snac":
        pytest.importorskip("snac")
    tokenizer = load_small(kind, tmp_path, dtype=torch.float64)
    seconds = (0.2, 0.31)
    assert_latents(
        tokenizer, [torch.from_numpy(speech(s, rate=tokenizer.sample_rate)).double() for s in seconds]
    )


def test_the_nearest_codes_of_latents_are_the_codes(speech, tmp_path):
    tokenizer = load_small("time", tmp_path, dtype=torch.float64)
    waveform = speech(0.3)
    latents = tokenizer.encode_latents(waveform).values.transpose(1, 2)
    assert torch.equal(tokenizer.codec.quantizer.encode(latents), tokenizer.encode(waveform)["acoustic"])


def test_what_is_refused(speech, tmp_path):
    dmel = load_small("dmel", tmp_path)
    assert not dmel.has_latents
    with pytest.raises(
        TypeError, match="of the family 'dmel', which has no latents; take one of a family that has"
    ):
        dmel.encode_latents(speech(0.1))
    tokenizer = load_small("time", tmp_path / "time")
    latents = tokenizer.encode_latents(speech(0.1))
    with pytest.raises(ValueError, match="must be of 1 utterances, as `latents` are"):
        tokenizer.decode_latents(latents, [1, 2])
    assert tokenizer.decode_latents(latents.values).shape == (1, latents.values.shape[2] * 10)
