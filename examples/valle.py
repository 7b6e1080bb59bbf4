"""VALL-E in small: an autoregressive model for the first codebook, a non-autoregressive one for the others.

    python examples/valle.py out                 tokens from a token dataset
    python examples/valle.py out --on-the-fly    tokens from the recordings, encoded as they are read

Both give the same losses, to the last bit: a collator neither knows nor cares where tokens come from.
Source: Wang et al. 2023, VALL-E, arXiv:2301.02111.
"""

import argparse
from pathlib import Path

import torch
from models import Valle, learn

import speechtok
from speechtok.audio.io import read_waveform
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.demo.demonstration import CORPUS
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.lm import ValleCollator, Vocabulary

CODEBOOKS = 4
"""Kept of dMel's 80, to stay small; a codec such as FunCodec has 8 to 32."""


def stored_rows(output: Path):
    """Return a token dataset of the clips that come with speechtok."""
    settings = JobSettings(num_codebooks=CODEBOOKS, dtype="float64")
    tokenize_corpus(CORPUS, output / "valle_tokens", settings=settings, run=RunSettings(workers=1))
    return speechtok.TokenDataset(output / "valle_tokens")


class Recordings(torch.utils.data.Dataset):
    """The same utterances, encoded when they are asked for."""

    def __init__(self, rows) -> None:
        self.rows = rows
        self.tokenizer = speechtok.load_tokenizer("dmel_16k", dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index):
        row = self.rows[index]
        recording = read_waveform(
            CORPUS.parent / row["audio"], sample_rate=self.tokenizer.sample_rate, channels="mean"
        )
        tokens = self.tokenizer.encode(recording.samples, num_codebooks=CODEBOOKS)
        return {"tokens": tokens, "text": row["text"]}


def train(output: Path, *, on_the_fly: bool, steps: int = 30, batch_size: int = 4) -> list[float]:
    """Return the loss of each step."""
    torch.manual_seed(0)
    dataset = stored_rows(output)
    letters = sorted({letter for row in dataset for letter in row["text"]})
    vocabulary = Vocabulary.of(dataset.info, text=letters)
    loader = torch.utils.data.DataLoader(
        Recordings(dataset) if on_the_fly else dataset,
        batch_size=batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(0),
        collate_fn=ValleCollator(vocabulary=vocabulary, prompt_seconds=(1.0, 3.0)),
    )
    return learn(Valle(vocabulary), loader, steps)


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="folder for the tokens")
    parser.add_argument("--on-the-fly", action="store_true", help="encode the recordings as they are read")
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()
    train(arguments.output, on_the_fly=arguments.on_the_fly, steps=arguments.steps)


if __name__ == "__main__":
    main()
