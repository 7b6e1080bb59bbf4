"""What somebody has who installs the wheel: types, cards, and a README that an index can show."""

import re
import subprocess
import sys
import sysconfig
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
USER = """
from pathlib import Path

import torch

import speechtok


def shape(name: str, audio: torch.Tensor) -> torch.Size:
    tokenizer = speechtok.load_tokenizer(name, device="cpu", dtype=torch.float64)
    tokens: speechtok.SpeechTokens = tokenizer.encode(audio, sample_rate=16000, resample=True)
    spoken: torch.Tensor = tokenizer.decode(tokens)
    stream: speechtok.StreamInfo = tokenizer.streams[0]
    rate: float = float(stream.frame_rate)
    assert rate
    return spoken.shape


def job(corpus: Path) -> int:
    settings = speechtok.JobSettings(shard_seconds=60.0, num_codebooks=2)
    result: speechtok.RunResult = speechtok.tokenize(
        corpus, "tokens", tokenizer="dmel_16k", settings=settings, run=speechtok.RunSettings(workers=1, max_errors="1%")
    )
    found: speechtok.Verification = speechtok.verify("tokens")
    dataset = speechtok.TokenDataset("tokens", split="train")
    waveform: torch.Tensor = speechtok.load_tokenizer("dmel_16k").decode(dataset.tokens([0]))
    pushed: speechtok.Pushed = speechtok.push("tokens", "anna/tokens", private=True)
    back: speechtok.Verification = speechtok.pull("anna/tokens", "back")
    assert pushed.commit and not back.problems
    return result.rows + found.rows + len(waveform)
"""
MISTAKES = """
import speechtok

speechtok.tokenise
speechtok.tokenize("corpus", "tokens", executer="local")
rows: str = speechtok.verify("tokens").rows
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as file:
        yield file


def test_contents(wheel):
    names = set(wheel.namelist())
    assert "speechtok/py.typed" in names
    for folder, suffix in (("tokenizers", "*.yaml"), ("pipelines", "*.yaml")):
        for path in (ROOT / folder).glob(suffix):
            assert f"speechtok/cards/{folder}/{path.name}" in names
    assert not [name for name in names if not name.startswith("speechtok")]


def test_an_index_shows_the_readme(wheel):
    from readme_renderer.markdown import render

    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = message_from_bytes(wheel.read(name))
    assert metadata["Description-Content-Type"] == "text/markdown"
    page = render(metadata.get_payload(decode=True).decode())
    assert page is not None
    assert "<pre" in page
    assert "Quick start" in page
    targets = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []


@pytest.mark.types
def test_types_of_the_installed_wheel(wheel, tmp_path):
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True, timeout=120
    )
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    wheel.extractall(packages)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    python = str(tmp_path / "venv" / "bin" / "python")
    cache = ROOT / ".mypy_cache" / "wheel"  # of torch, above all
    options = ["--strict", "--cache-dir", str(cache), "--python-executable", python]
    command = [sys.executable, "-m", "mypy", *options, "user.py", "mistakes.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=550, check=False)
    found = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert [line.split(":")[:2] for line in found] == [["mistakes.py", str(row)] for row in (4, 5, 6)], (
        done.stdout + done.stderr
    )
