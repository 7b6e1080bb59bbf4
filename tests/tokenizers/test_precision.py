"""Codes do not depend on what the caller set for the rest of the program."""

import pickle
import shutil
import threading

import pytest
import torch

import speechtok
from speechtok.errors import AudioError, CheckpointError
from speechtok.nets.precision import exact, exact_fast_matmul
from tests.tokenizers.small import load_small
from tests.tokenizers.surroundings import assert_surroundings_change_nothing, precision, results

CPU = torch.device("cpu")


KINDS = (
    "dmel",
    "time",
    "freq",
    "hubert",
    "cpc",
    "logmel",
    "vqvae",
    "snac",
    "encodec",
    "dac",
    "mimi",
    "spectral",
)


@pytest.mark.parametrize("kind", KINDS)
def test_codes_in_all_surroundings(kind, speech, tmp_path) -> None:
    if kind == "snac":
        pytest.importorskip("snac")
    tokenizer = load_small(kind, tmp_path)
    waveform = torch.from_numpy(speech(0.5, rate=tokenizer.sample_rate)).float()
    assert_surroundings_change_nothing(tokenizer, waveform)


@pytest.mark.parametrize("kind", ["time", "hubert", "encodec"])
def test_a_pickled_tokenizer_needs_no_files(kind, speech, tmp_path) -> None:
    tokenizer = load_small(kind, tmp_path / "files")
    waveform = torch.from_numpy(speech(0.3, rate=tokenizer.sample_rate)).float()
    tokens, made = results(tokenizer, waveform)
    content = pickle.dumps(tokenizer)
    shutil.rmtree(tmp_path / "files")
    again, here = results(pickle.loads(content), waveform)
    assert all(torch.equal(again[name], codes) for name, codes in tokens.streams.items())
    assert all(torch.equal(ours, other) for ours, other in zip(made, here, strict=True))
    with pytest.raises(CheckpointError, match="file"):
        pickle.loads(content).save_pretrained(tmp_path / "saved")


@pytest.fixture
def chosen():
    """What the caller chose for the rest of the program."""
    with precision("high"):
        yield


def switches():
    backends = torch.backends
    return (
        torch.get_float32_matmul_precision(),
        backends.cuda.matmul.allow_tf32,
        backends.cudnn.allow_tf32,
        backends.mkldnn.matmul.fp32_precision,
        backends.mkldnn.conv.fp32_precision,
    )


def test_an_error_brings_back_what_was_set(chosen) -> None:
    before = switches()
    tokenizer = speechtok.load_tokenizer("dmel_16k")
    for wrong in ([float("nan")], "no such file", [0.1] * 8):
        with pytest.raises((AudioError, TypeError)):
            tokenizer.encode(wrong, **({"no_such_option": 1} if isinstance(wrong, list) else {}))
        assert switches() == before


def test_the_last_one_out_brings_back_what_was_set(chosen) -> None:
    before = switches()
    inside, leave = threading.Barrier(2, timeout=60), threading.Event()

    def stay() -> None:
        with exact(CPU), exact_fast_matmul(CPU, torch.float32):
            inside.wait()
            leave.wait(60)

    other = threading.Thread(target=stay)
    try:
        with exact(CPU):
            other.start()
            inside.wait()
        assert switches() != before  # the other one still computes
    finally:
        leave.set()
        other.join(60)
    assert switches() == before


def test_precision_that_was_set_in_several_ways_is_brought_back() -> None:
    products = torch.backends.mkldnn.matmul
    before = switches()
    products.fp32_precision = "bf16"  # and the old switch says "highest"
    try:
        with exact(CPU):
            assert products.fp32_precision == "ieee"
            assert torch.get_float32_matmul_precision() == "highest"
        assert products.fp32_precision == "bf16"
    finally:
        products.fp32_precision = before[3]
    assert switches() == before
