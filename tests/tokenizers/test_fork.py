"""A tokenizer works in processes that `fork` made after their parent computed in several threads."""

import multiprocessing
import queue

import pytest
import torch

from tests.tokenizers.small import load_small
from tests.tokenizers.surroundings import threads

SECONDS = 120


def encode(tokenizer, waveform, answers) -> None:
    codes = next(iter(tokenizer.encode(waveform).streams.values()))
    answers.put((codes.tolist(), torch.get_num_threads()))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("kind", ["dmel", "hubert", "cpc", "time", "freq", "encodec", "mimi", "spectral"])
def test_a_child_encodes_after_its_parent_used_threads(kind, speech, tmp_path) -> None:
    tokenizer = load_small(kind, tmp_path)
    waveform = torch.from_numpy(speech(0.5, rate=tokenizer.sample_rate)).float()
    with threads(2):
        large = torch.randn(600, 600)
        large @ large  # OpenMP now has threads, which a child of `fork` lacks
        torch.nn.functional.gelu(torch.randn(4_000_000))
        want = next(iter(tokenizer.encode(waveform).streams.values())).tolist()
        fork = multiprocessing.get_context("fork")
        answers = fork.Queue()
        child = fork.Process(target=encode, args=(tokenizer, waveform, answers))
        child.start()
        try:
            codes, count = answers.get(timeout=SECONDS)
        except queue.Empty:
            pytest.fail("The child did not answer.")
        finally:
            child.kill()
            child.join()
    assert codes == want
    assert count == 1
