from pathlib import Path

import pytest

from speechtok.cli.main import run
from tests.training.facodec_24k.small import SETTINGS, make_corpus, write_codec


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a small corpus."""
    return make_corpus(tmp_path_factory.mktemp("facodec"))


@pytest.fixture(scope="session")
def tokens(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A token dataset of the small corpus, and the codec that made it, with first values."""
    folder = tmp_path_factory.mktemp("tokens")
    write_codec(folder / "codec", SETTINGS.codec)
    words = ["tokenize", str(manifest), str(folder / "tokens"), "--tokenizer", str(folder / "codec")]
    assert run([*words, "--workers", "1"]) == 0
    return folder / "tokens", folder / "codec"
