from pathlib import Path

import pytest
import soundfile
import torch

from speechtok.cli import main
from tests.goldens.facodec.weights import write_published


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def facodec(tmp_path_factory) -> Path:
    """A folder with the published files of FACodec, version 1, recipe weights in them."""
    folder = tmp_path_factory.mktemp("naturalspeech3_facodec")
    for model in ("encoder", "decoder", "redecoder"):
        write_published(folder, model)
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory, speech) -> list[Path]:
    """Two short recordings: 16 kHz mono, 44.1 kHz stereo."""
    folder = tmp_path_factory.mktemp("clips")
    soundfile.write(folder / "a.wav", speech(1.0, 16000, 0), 16000)
    stereo = [speech(0.8, 44100, seed) for seed in (1, 2)]
    soundfile.write(folder / "b.flac", list(zip(*stereo, strict=True)), 44100)
    return [folder / "a.wav", folder / "b.flac"]


@pytest.fixture
def speechtok(capsys):
    """Run a command line; return exit code, standard output and standard error."""

    def run(*arguments):
        code = main.run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run
