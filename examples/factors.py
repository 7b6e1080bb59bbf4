"""NaturalSpeech 3 in small: one masked model that learns a factor after the other.

    python examples/factors.py out
    python examples/factors.py out --tokenizer facodec --checkpoint naturalspeech3_facodec

With FACodec the stages are prosody, content (2 codebooks) and residual detail (3). Without its weights the
example uses dMel, whose first six codebooks then stand for six stages.
Source: Ju et al. 2024, NaturalSpeech 3, arXiv:2403.03100.
"""

import argparse
from pathlib import Path

import torch
from models import MaskedModel

import speechtok
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.demo.demonstration import CORPUS
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.lm import FactorCollator, Vocabulary
from speechtok.lm.layouts.factors import stages_of


def stored_rows(output: Path, tokenizer: str, checkpoint: Path | None):
    """Return a token dataset of the clips that come with speechtok."""
    settings = JobSettings(num_codebooks=6) if tokenizer == "dmel_16k" else None
    place = output / f"{tokenizer}_tokens"
    tokenize_corpus(
        CORPUS,
        place,
        tokenizer=tokenizer,
        checkpoint=checkpoint,
        settings=settings,
        run=RunSettings(workers=1),
    )
    return speechtok.TokenDataset(place)


def train(
    output: Path,
    *,
    tokenizer: str = "dmel_16k",
    checkpoint: Path | None = None,
    steps: int = 30,
    rows: int = 8,
) -> list[float]:
    """Return the loss of each step, on the first rows."""
    torch.manual_seed(0)
    dataset = stored_rows(output, tokenizer, checkpoint)
    batch_rows = [dataset[index] for index in range(rows)]
    letters = sorted({letter for row in batch_rows for letter in row["text"]})
    vocabulary = Vocabulary.of(dataset.info, text=letters)
    print("stages:", ", ".join(f"{name} {book}" for name, book in stages_of(vocabulary.streams)))
    model = MaskedModel(vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history = []
    for step in range(steps):
        # another seed, other masks and stages; they depend on nothing else
        collator = FactorCollator(vocabulary=vocabulary, text=True, prompt_seconds=(0.125, 0.5), seed=step)
        batch = collator(batch_rows)
        losses = model.losses(batch)
        loss = losses.nanmean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
        if step % 10 == 9:
            shown = ", ".join("–" if value.isnan() else f"{value.item():.2f}" for value in losses)
            print(f"step {step + 1}: loss of each codebook {shown}")
    return history


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="folder for the tokens")
    parser.add_argument("--tokenizer", default="dmel_16k")
    parser.add_argument("--checkpoint", type=Path, help="folder with the tokenizer's published files")
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()
    train(
        arguments.output,
        tokenizer=arguments.tokenizer,
        checkpoint=arguments.checkpoint,
        steps=arguments.steps,
    )


if __name__ == "__main__":
    main()
