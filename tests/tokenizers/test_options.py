"""Options of a family reach every path on which audio is encoded."""

import numpy as np
import pytest
import soundfile
import torch

from tests.tokenizers.small import load_small


@pytest.mark.parametrize(
    "option", [{"bandwidth": 6 * 1600.0}, {"bit_width": 12 * 1600.0}, {"num_codebooks": 2}]
)
def test_funcodec_rates(option, speech, tmp_path):
    tokenizer = load_small("time", tmp_path, dtype=torch.float64)
    waveform = (speech(0.2) * 32767).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", waveform, 16_000)
    expected = tokenizer.encode(waveform, **option)
    assert expected["acoustic"].shape[1] < tokenizer.streams[0].num_codebooks
    blocks = np.array_split(waveform / 32768, 3)
    for found in (
        tokenizer.encode([waveform], **option),
        tokenizer.encode(waveform, chunk_seconds=0.1, **option),
        tokenizer.encode(tmp_path / "a.wav", **option),
        tokenizer.encode(tmp_path / "a.wav", chunk_seconds=0.1, **option),
        tokenizer.encode_blocks(blocks, **option),
        tokenizer.encode_blocks(blocks, chunk_seconds=0.1, **option),
    ):
        assert found.equals(expected)
