"""What every stream does, on the tokenizers that are quick: order, ends, wrong blocks, memory."""

import numpy as np
import pytest

import speechtok
from speechtok.errors import AudioError, TokensError
from speechtok.tokens import SpeechTokens


@pytest.fixture(scope="module")
def tokenizer():
    return speechtok.load_tokenizer("dmel_16k")


def test_tokens_come_as_soon_as_they_are_final(tokenizer, speech):
    x = speech(2)
    stream = tokenizer.stream()
    pieces = [stream.feed(block) for block in np.split(x, range(160, len(x), 160))]
    hop, window = tokenizer.config.hop_length, tokenizer.config.window_length
    counts = np.cumsum([int(piece.num_frames["mel"]) for piece in pieces])
    ahead = (window - hop) // 2
    assert counts.tolist() == [max(0, (160 * (i + 1) - ahead) // hop) for i in range(len(pieces))]
    assert SpeechTokens.join([*pieces, stream.finish()]).equals(tokenizer.encode(x))
    assert stream.num_samples == len(x)


def test_int16_lists_and_empty_blocks(tokenizer, speech):
    x = (speech(1) * 32767).astype(np.int16)
    stream = tokenizer.stream(num_codebooks=4)
    pieces = [stream.feed(x[:5000]), stream.feed(np.zeros(0)), stream.feed(x[5000:])]
    assert pieces[1]["mel"].shape == (1, 4, 0)
    assert SpeechTokens.join([*pieces, stream.finish()]).equals(tokenizer.encode(x, num_codebooks=4))


def test_what_is_refused(tokenizer):
    stream = tokenizer.stream()
    with pytest.raises(AudioError, match=r"must be mono, of shape \(samples,\), got \(2, 100\)"):
        stream.feed(np.zeros((2, 100)))
    with pytest.raises(AudioError, match="holds NaN"):
        stream.feed(np.full(100, np.nan))
    with pytest.raises(AudioError, match="needs at least 1"):
        stream.finish()
    stream.feed(np.zeros(100))
    stream.finish()
    with pytest.raises(ValueError, match="The stream has ended"):
        stream.feed(np.zeros(100))
    with pytest.raises(ValueError, match="`chunk_seconds` must be more than 0"):
        tokenizer.stream(chunk_seconds=0)
    with pytest.raises(ValueError, match="`num_codebooks` must be from 1 to 80"):
        tokenizer.stream(num_codebooks=81)


def test_only_pieces_of_one_utterance_are_joined(tokenizer, speech):
    one, some = tokenizer.encode(speech(1)), tokenizer.encode(speech(1), num_codebooks=3)
    for pieces in ([one, some], [SpeechTokens.cat([one, one])]):
        with pytest.raises(TokensError, match="pieces of one utterance"):
            SpeechTokens.join(pieces)
    with pytest.raises(ValueError, match="at least one piece"):
        SpeechTokens.join([])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seconds"), [("dmel_16k", 3600), ("mimi", 600)])
def test_memory_is_flat(run_python, tmp_path, name, seconds):
    if name == "mimi":
        from tests.tokenizers.transformers_codecs.folders import write_folder

        name = str(write_folder(tmp_path, "mimi"))
    script = f"""
import resource, numpy as np, speechtok
tokenizer = speechtok.load_tokenizer({name!r})
stream = tokenizer.stream(chunk_seconds=2)
block = np.random.default_rng(0).standard_normal(tokenizer.sample_rate).astype(np.float32) / 10
for second in range({seconds}):
    stream.feed(block)
    if second == 200:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
stream.finish()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    assert float(run_python(script)) < 8  # MB
