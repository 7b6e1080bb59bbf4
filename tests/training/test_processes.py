"""Trainers in two processes: they stay alike, and learn what one process does where losses are means over examples."""

import pytest
import torch

from tests.training.facodec_24k import small as facodec
from tests.training.processes import float64, in_two_processes
from tests.training.spectral import small as spectral
from tests.training.states import state
from tests.training.unit_vocoder import small as vocoder


def assert_the_same(alone, both, step) -> None:
    (tensors, _), (others, _) = state(alone, step), state(both, step)
    assert tensors.keys() == others.keys()
    assert any(value.dtype == torch.float64 for value in tensors.values())
    for name, value in tensors.items():
        torch.testing.assert_close(others[name], value, rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.slow
def test_the_spectral_codec(tmp_path) -> None:
    corpus = str(spectral.make_corpus(tmp_path / "corpus"))
    with float64():
        spectral.run(tmp_path / "alone", corpus, "1")
    in_two_processes("tests.training.spectral.small:run", tmp_path / "both", corpus, "1")
    assert_the_same(tmp_path / "alone", tmp_path / "both", 6)


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", ["1", "2"])
def test_facodec_stays_alike(accumulation, tmp_path) -> None:
    """Its focal loss is of the mean over a process's examples, so two processes learn something else than one."""
    (tmp_path / "corpus").mkdir()
    manifest = str(facodec.make_corpus(tmp_path / "corpus"))
    in_two_processes("tests.training.facodec_24k.small:run", tmp_path / "both", manifest, accumulation)
    tensors, told = state(tmp_path / "both", 4)  # which is saved only where the processes are alike
    assert all(value.isfinite().all() for value in tensors.values() if value.is_floating_point())
    assert [point["step"] for point in told["history"] if point["split"] == "training"] == [2, 4]


@pytest.mark.slow
def test_the_unit_vocoder(tmp_path) -> None:
    tokens, tokenizer = map(str, vocoder.make_tokens(tmp_path / "made"))
    with float64():
        vocoder.train_in_parts(tmp_path / "alone", tokens, tokenizer, "1")
    words = ("tests.training.unit_vocoder.small:train_in_parts", tmp_path / "both", tokens, tokenizer, "1")
    in_two_processes(*words)
    assert_the_same(tmp_path / "alone", tmp_path / "both", 4)
