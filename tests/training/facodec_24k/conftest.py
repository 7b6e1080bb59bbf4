from pathlib import Path

import pytest

from speechtok.cli.main import run
from speechtok.tokenizers.facodec_24k.saving import codec_entries, own_card
from speechtok.tokenizers.writing import write_tokenizer
from speechtok.training.facodec_24k.networks import PARTS, TrainedCodec
from tests.training.facodec_24k.small import SETTINGS, make_corpus


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a small corpus."""
    return make_corpus(tmp_path_factory.mktemp("facodec"))


@pytest.fixture(scope="session")
def tokens(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A token dataset of the small corpus, and the codec that made it, with first values."""
    folder = tmp_path_factory.mktemp("tokens")
    codec = TrainedCodec(SETTINGS.codec)
    entries = codec_entries({name: codec.part(name) for name in PARTS})
    write_tokenizer(folder / "codec", own_card("codec", SETTINGS.codec), entries)
    words = ["tokenize", str(manifest), str(folder / "tokens"), "--tokenizer", str(folder / "codec")]
    assert run([*words, "--executor", "local"]) == 0
    return folder / "tokens", folder / "codec"
