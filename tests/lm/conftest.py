import numpy as np
import pytest

from speechtok.tokens import SpeechTokens, StreamInfo, TokenizerInfo

FACTORS = (
    StreamInfo(name="prosody", num_codebooks=1, codebook_size=8, frame_rate=80.0, hop_length=200),
    StreamInfo(name="content", num_codebooks=2, codebook_size=8, frame_rate=80.0, hop_length=200),
    StreamInfo(name="residual", num_codebooks=3, codebook_size=8, frame_rate=80.0, hop_length=200),
)
UNITS = (
    StreamInfo(name="content", num_codebooks=1, codebook_size=10, frame_rate=50.0, hop_length=320),
    StreamInfo(name="pitch", num_codebooks=1, codebook_size=4, frame_rate=12.5, hop_length=1280),
)


@pytest.fixture(scope="session")
def factors():
    """A small FACodec: six codebooks of 8 codes in three streams."""
    return TokenizerInfo(name="factors", fingerprint="f00d", sample_rate=16000, streams=FACTORS)


@pytest.fixture(scope="session")
def units():
    """Units at 50 Hz and pitch at 12.5 Hz."""
    return TokenizerInfo(name="units", fingerprint="beef", sample_rate=16000, streams=UNITS)


@pytest.fixture(scope="session")
def draw():
    """Return a function that draws a row of random codes for so many samples."""

    def row(info, samples, seed=0, **columns):
        random = np.random.default_rng(seed)
        codes = {
            s.name: random.integers(0, s.codebook_size, (s.num_codebooks, -(-samples // s.hop_length)))
            for s in info.streams
        }
        return {"id": f"u{seed}", "num_samples": samples, **codes, **columns}

    return row


@pytest.fixture(scope="session")
def as_tokens():
    """Return a function that turns rows into one padded batch of tokens."""
    from speechtok.shards.rows import row_to_tokens

    return lambda rows, info: SpeechTokens.cat([row_to_tokens(row, info) for row in rows])
