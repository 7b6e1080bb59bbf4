"""Every example of the family's page runs, in order."""

import re
import shlex
from pathlib import Path

import pytest
import soundfile
import torch

from speechtok.cards import read_tokenizer_card
from speechtok.cli.main import run
from tests.tokenizers.funcodec.published import signal, write_folder

PAGE = Path(__file__).parents[3] / "docs" / "families" / "funcodec.md"


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "funcodec", "encodec_nq32ds320", 12)
    (tmp_path / "corpus").mkdir()
    for seed, name in enumerate(("speech", "target", "corpus/one")):
        soundfile.write(
            tmp_path / f"{name}.wav", signal(8_000 + 999 * seed, seed).numpy(), 16_000, subtype="FLOAT"
        )
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    text = PAGE.read_text()
    examples = re.findall(r"```python notest\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 6
    for example in examples:
        exec(example, names)
    assert names["waveform"].shape == names["rough"].shape == (1, 8_000)
    assert torch.equal(names["few"]["acoustic"], names["same"]["acoustic"])
    assert names["latents"].shape == (1, 128, 25)
    assert names["vectors"].shape == (1, 32, 128, 25)
    commands = re.findall(r"^\$ speechtok (.*)$", text, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["tokenize", "export", "import"]
    for command in commands:
        more = {
            "tokenize": ["--workers", "1", "--checkpoint", "funcodec"],
            "import": ["--checkpoint", "funcodec"],
        }
        assert run([*shlex.split(command), *more.get(command.split()[0], [])]) == 0
    assert run(["verify", "again"]) == 0


def test_the_card_of_ones_own_is_read(tmp_path: Path) -> None:
    card = tmp_path / "tokenizer.yaml"
    card.write_text(re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)[0])
    assert read_tokenizer_card(card).info("a").streams[0].frame_rate == 75
