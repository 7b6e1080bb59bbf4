"""Wrong arguments end in one sentence that names them, never in an error from deep inside."""

import os

import numpy as np
import pytest
import torch

from speechtok import SpeechTokens, load_tokenizer
from speechtok.errors import SpeechtokError, TokensError

NAN, INF = float("nan"), float("inf")
SECOND = np.zeros(16_000, np.float32)


@pytest.fixture(scope="module")
def dmel():
    return load_tokenizer("dmel_16k")


@pytest.mark.parametrize("seconds", [0, -1, NAN, INF, 1e308, 10**400, "x", [1]])
@pytest.mark.parametrize("is_path", [False, True])
def test_chunk_seconds(dmel, seconds, is_path, tmp_path):
    waveform = tmp_path / "unread.wav" if is_path else SECOND
    with pytest.raises(ValueError, match=r"`chunk_seconds` must be more than 0 and at most 1e\+08, got"):
        dmel.encode(waveform, chunk_seconds=seconds)
    with pytest.raises(ValueError, match=r"`chunk_seconds` must be more than 0 and at most 1e\+08, got"):
        dmel.encode_blocks([SECOND], chunk_seconds=seconds)


@pytest.mark.parametrize(
    "lengths",
    [
        5,
        "abc",
        [1.5],
        [NAN],
        [INF],
        [[5]],
        [-1],
        [16_001],
        ["5"],
        [None],
        torch.tensor(5),
        np.array([9.5]),
        [9, 9],
    ],
)
def test_num_samples(dmel, lengths):
    with pytest.raises(ValueError, match=r"`num_samples` must hold 1 lengths in \[0, 16000\], got"):
        dmel.encode(SECOND[None], lengths)


@pytest.mark.parametrize("lengths", [[8000], [8000.0], torch.tensor([8000]), np.array([8000], np.uint16)])
def test_num_samples_of_any_kind(dmel, lengths):
    assert dmel.encode(SECOND[None], lengths).num_samples.tolist() == [8000]


@pytest.mark.parametrize("count", [0, 1.5, NAN, "x", [1]])
def test_num_codebooks(dmel, count):
    with pytest.raises(ValueError, match="`num_codebooks` must be from 1 to 80"):
        dmel.encode(SECOND, num_codebooks=count)
    with pytest.raises(ValueError, match="`num_codebooks` must be from 1 to 80"):
        dmel.encode_blocks([SECOND], num_codebooks=count)


@pytest.mark.parametrize("name", ["9" * 5000, "x" * 5000, "²", ""])
def test_voice(dmel, name):
    with pytest.raises(
        ValueError, match=r"'dmel_16k' has no voice '.*'; it has no table of voices"
    ) as caught:
        dmel.find_voice(name)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("rate", [0, -1, NAN])
def test_sample_rate(dmel, rate):
    with pytest.raises((ValueError, TypeError, SpeechtokError), match="rate"):
        dmel.encode(SECOND, sample_rate=rate, resample=True)


@pytest.mark.parametrize("dtype", ["float32", "foo", torch.int64, np.float32, 5, ""])
def test_dtype(dmel, dtype):
    for use in (lambda: load_tokenizer("dmel_16k", dtype=dtype), lambda: dmel.to(dtype=dtype)):
        with pytest.raises(ValueError, match="`dtype` must be a float type of torch, such as"):
            use()


@pytest.mark.parametrize("device", ["", "foo", "meta", None, [1]])
def test_device(device):
    with pytest.raises(ValueError, match="cannot be used here: ") as caught:
        load_tokenizer("dmel_16k", device=device)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "what", ["nul", "long", "long/long", "long.yaml", "pipe.yaml", "folder.yaml", "pipe", "surrogate"]
)
def test_names_and_checkpoints(what, tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    os.mkfifo(tmp_path / "pipe" / "tokenizer.yaml")
    name = {
        "nul": "a\0b",
        "long": 5000 * "x",
        "long/long": "x/" + 5000 * "x",
        "long.yaml": 5000 * "x" + ".yaml",
        "surrogate": "\ud800",
    }.get(what, str(tmp_path / what))
    for use in (
        lambda: load_tokenizer(name),
        lambda: load_tokenizer("facodec", checkpoint=name),
        lambda: load_tokenizer("hubert_base_l6_km100", checkpoint=name),
    ):
        with pytest.raises(SpeechtokError):
            use()


WRONG = {
    "no streams": {"streams": None},
    "a list": {"streams": {"mel": [[[1]]]}},
    "an array": {"streams": {"mel": np.zeros((1, 80, 5), np.int64)}},
    "a list of frames": {"num_frames": {"mel": [5]}},
    "no frames": {"num_frames": None},
    "a list of lengths": {"num_samples": [5]},
    "one length": {"num_samples": 5},
    "no lengths": {"num_samples": None},
    "a negative length": {"num_samples": torch.tensor([-1])},
    "no info": {"info": None},
    "info as values": {"info": {}},
    "a speaker's name": {"speaker_embedding": "ada"},
    "a vector without batch": {"speaker_embedding": torch.zeros(1)},
    "a list of levels": {"scale": [1.0]},
    "levels of two axes": {"scale": torch.ones(1, 1)},
    "a level without batch": {"scale": torch.tensor(1.0)},
}


@pytest.mark.parametrize("case", WRONG)
def test_tokens(dmel, case):
    tokens = dmel.encode(SECOND)
    fields = {name: getattr(tokens, name) for name in ("streams", "num_frames", "num_samples", "info")}
    with pytest.raises(TokensError, match="must "):
        SpeechTokens(**fields | WRONG[case])


@pytest.mark.parametrize("start", [2, 1e308, 10**300])
def test_nothing_is_left_behind_the_end(dmel, start):
    with pytest.raises(TokensError, match="Utterance 0 has no frame between"):
        dmel.encode(SECOND).slice_seconds(start, INF)


@pytest.mark.parametrize("tokens", [None, torch.zeros(1, 80, 5, dtype=torch.int64)])
def test_only_tokens_are_decoded(dmel, tokens):
    with pytest.raises(TypeError, match="`tokens` must be SpeechTokens, as `encode` gives them, got"):
        dmel.decode(tokens)
