from pathlib import Path

import pytest

from tests.training.facodec_24k.small import make_corpus


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a small corpus."""
    return make_corpus(tmp_path_factory.mktemp("facodec"))
