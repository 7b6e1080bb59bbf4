"""The laws are checked on any tokenizer, also on one of another package, and what breaks one is found."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import speechtok
from speechtok.laws import assert_laws, check_laws
from speechtok.tokenizers.dmel.tokenizer import DMelTokenizer
from tests.test_docs import ROOT, blocks_of
from tests.tokenizers.transformers_codecs.folders import write_folder


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_dmel(dtype: torch.dtype) -> None:
    results = list(check_laws(speechtok.load_tokenizer("dmel_16k", dtype=dtype)))
    assert [result.law for result in results] == [
        "batch", "chunk", "stream", "length", "stored", "identity", "saved", "context",
    ]  # fmt: skip
    assert all(result.holds for result in results), results


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["encodec", "dac", "mimi"])
def test_codecs_of_transformers(kind: str, tmp_path: Path) -> None:
    tokenizer = speechtok.load_tokenizer(write_folder(tmp_path, kind), dtype=torch.float64)
    random = np.random.default_rng(0)
    assert_laws(tokenizer, [0.1 * random.standard_normal(n) for n in (1, 2321, 5000)])


# --- tokenizers that break one law each ---


class Batched(DMelTokenizer):
    """Hears its neighbours."""

    def _encode(
        self, waveform: torch.Tensor, num_samples: torch.Tensor, **options: Any
    ) -> speechtok.SpeechTokens:
        return super()._encode(waveform + waveform.mean(), num_samples, **options)


class Forgetful(DMelTokenizer):
    """Loses the last block."""

    def encode_blocks(self, blocks: Any, **options: Any) -> speechtok.SpeechTokens:
        return super().encode_blocks(list(blocks)[:-1], **options)


class Late(DMelTokenizer):
    """Gives all tokens of a stream at its end."""

    def _coder(self, *arguments: Any, **options: Any) -> Any:
        coder = super()._coder(*arguments, **options)
        held: list[Any] = []
        feed, finish = coder.feed, coder.finish
        coder.feed = lambda samples: held.append(feed(samples)) or {"mel": held[0]["mel"][:, :0]}

        def last() -> Any:
            held.append(finish()[0])
            return {"mel": torch.cat([codes["mel"] for codes in held], dim=1)}, None

        coder.finish = last
        return coder


class Long(DMelTokenizer):
    """Decodes a sample more."""

    def _decode(self, tokens: speechtok.SpeechTokens) -> torch.Tensor:
        return torch.nn.functional.pad(super()._decode(tokens), (0, 1))


class Restless(DMelTokenizer):
    """Decodes otherwise each time."""

    def _decode(self, tokens: speechtok.SpeechTokens) -> torch.Tensor:
        return super()._decode(tokens) + torch.rand(())


class Trusting(DMelTokenizer):
    """Takes any tokens."""

    def check_tokens(self, tokens: speechtok.SpeechTokens, *, accept_from: str | None = None) -> None:
        pass


class Unsaved(DMelTokenizer):
    """Writes another tokenizer."""

    def save_pretrained(self, folder: str | Path) -> None:
        self.card = replace(self.card, architecture={"max_db": -1.0})
        super().save_pretrained(folder)


class Threaded(DMelTokenizer):
    """Looks at the number of threads."""

    def _encode(
        self, waveform: torch.Tensor, num_samples: torch.Tensor, **options: Any
    ) -> speechtok.SpeechTokens:
        return super()._encode(waveform * torch.get_num_threads(), num_samples, **options)


BREAKING: dict[str, Callable[..., DMelTokenizer]] = {
    "batch": Batched,
    "chunk": Forgetful,
    "stream": Late,
    "length": Long,
    "stored": Restless,
    "identity": Trusting,
    "saved": Unsaved,
    "context": Threaded,
}


@pytest.mark.parametrize("law", BREAKING)
def test_what_breaks_a_law_is_named(law: str) -> None:
    tokenizer = BREAKING[law](speechtok.load_tokenizer("dmel_16k").card)
    with pytest.raises(AssertionError, match=f"(?m)^{law}: "):
        assert_laws(tokenizer)


def test_one_utterance_is_not_enough() -> None:
    with pytest.raises(ValueError, match="at least two, of unequal length"):
        assert_laws(speechtok.load_tokenizer("dmel_16k"), [np.zeros(500), np.ones(500)])


# --- a family in a package of its own ---


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The family that `docs/how-to/add-a-tokenizer.md` builds, installed as another package is."""
    site = tmp_path_factory.mktemp("site")
    titled = {
        block.title: block.text for block in blocks_of(ROOT / "docs/how-to/add-a-tokenizer.md") if block.title
    }
    for title, text in titled.items():
        folder, _, name = title.rpartition("/")
        if folder == "speechtok/tokenizers/mulaw":
            path = site / "mulaw_codec" / name
        elif title == "tokenizers/mulaw_16k.yaml":
            path = site / "mulaw_codec" / "cards" / name
        else:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text.replace("speechtok.tokenizers.mulaw", "mulaw_codec"))
    described = site / "mulaw_codec-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: mulaw_codec\nVersion: 1.0\n")
    groups = tomllib.loads(titled["pyproject.toml"])["project"]["entry-points"]
    points = [
        f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in named.items()) for group, named in groups.items()
    ]
    (described / "entry_points.txt").write_text("\n".join(points))
    return site


def run(package: Path, folder: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from speechtok.cli.main import main; main()", *words],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_family_of_another_package(package: Path, tmp_path: Path) -> None:
    assert "mulaw_16k" in run(package, tmp_path, "tokenizers")
    printed = run(package, tmp_path, "check", "mulaw_16k", "--laws")
    assert printed.count("holds") == 16
    assert "BROKEN" not in printed


@pytest.mark.slow
@pytest.mark.ray
def test_a_job_with_a_family_of_another_package(package: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    for name, seconds in (("a", 0.5), ("b", 0.8)):
        samples = 0.1 * np.random.default_rng(0).standard_normal(int(16000 * seconds))
        soundfile.write(tmp_path / "corpus" / f"{name}.wav", samples, 16000)
    assert "2 utterances" in run(
        package, tmp_path, "tokenize", "corpus", "tokens", "--tokenizer", "mulaw_16k"
    )
    assert "tokens is intact" in run(package, tmp_path, "verify", "tokens")


def test_two_families_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = tmp_path / "other-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[speechtok.tokenizers]\ndmel = other.tokenizer:Other\n")
    words = "import speechtok; speechtok.load_tokenizer('dmel_16k')"
    done = subprocess.run(
        [sys.executable, "-c", words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "The family 'dmel' is claimed twice" in done.stderr
