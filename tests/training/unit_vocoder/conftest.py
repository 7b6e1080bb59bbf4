from pathlib import Path

import pytest

from tests.training.unit_vocoder.small import make_tokens


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A token dataset, and the folder of its tokenizer."""
    return make_tokens(tmp_path_factory.mktemp("unit-vocoder"))
