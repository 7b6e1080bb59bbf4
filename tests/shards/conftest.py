import numpy as np
import pytest

from speechtok.tokens import StreamInfo, TokenizerInfo


@pytest.fixture(scope="session")
def toy_info():
    """A tokenizer with every kind of column: two streams, speaker vector, scale."""
    return TokenizerInfo(
        name="toy",
        fingerprint="f00d",
        sample_rate=16000,
        streams=(
            StreamInfo(name="content", num_codebooks=1, codebook_size=500, frame_rate=50.0, hop_length=320),
            StreamInfo(
                name="residual", num_codebooks=3, codebook_size=65536, frame_rate=100.0, hop_length=160
            ),
        ),
        speaker_embedding_dim=4,
        has_scale=True,
    )


@pytest.fixture(scope="session")
def toy_row(toy_info):
    """Return a function that makes one row of random codes for a number of samples."""

    def make(name, samples, seed=0, **columns):
        random = np.random.default_rng(seed)
        codes = {
            stream.name: random.integers(
                0, stream.codebook_size, (stream.num_codebooks, -(-samples // stream.hop_length))
            ).astype(np.uint16)
            for stream in toy_info.streams
        }
        row = {
            "id": name,
            "num_samples": samples,
            "duration": samples / toy_info.sample_rate,
            "speaker_embedding": random.standard_normal(4).astype(np.float32),
            "scale": 0.5,
            "audio": f"{name}.wav",
            "source_sample_rate": 8000,
            "text": None,
            "speaker": "s",
            "language": None,
        }
        return {**row, **codes, **columns}

    return make
