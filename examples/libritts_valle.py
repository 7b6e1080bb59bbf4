"""VALL-E on LibriTTS: codes, phones and prompts of other utterances of the speaker, in batches of a stream.

    speechtok run libritts_valle --corpus LibriTTS --output OUT --checkpoint FUNCODEC
    python examples/libritts_valle.py OUT

Source: Wang et al. 2023, VALL-E, arXiv:2301.02111.
"""

import argparse
from pathlib import Path

import torch
from models import Valle, learn

import speechtok
from speechtok.lm import SpeakerPrompts, ValleCollator, Vocabulary, phone_set


def batches(place: Path, max_tokens: int, *, workers: int = 0, split: str | None = "train.clean.100"):
    """Return a loader of batches, and their vocabulary."""
    dataset = speechtok.TokenDataset(place, split=split, filter="phones is not null and duration <= 20")
    vocabulary = Vocabulary.of(dataset.info, text=phone_set(dataset))
    prompts = SpeakerPrompts(dataset)
    print(f"{len(dataset)} utterances with phones, {prompts.num_alone} of speakers without another one")
    stream = dataset.stream(max_tokens=max_tokens, count_text="phones", seed=0)
    collator = ValleCollator(vocabulary=vocabulary, prompts=prompts, prompt_seconds=(1.0, 3.0))
    return stream.loader(num_workers=workers, collate_fn=collator), vocabulary


def train(place: Path, *, steps: int = 30, max_tokens: int = 2000, **reading) -> list[float]:
    """Return the loss of each step."""
    torch.manual_seed(0)
    loader, vocabulary = batches(place, max_tokens, **reading)
    return learn(Valle(vocabulary), loader, steps)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, help="token dataset of the recipe libritts_valle")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--max-tokens", type=int, default=2000, help="frames and phones of a batch")
    parser.add_argument("--split", default="train.clean.100", help="part of LibriTTS")
    parser.add_argument("--workers", type=int, default=0, help="processes that read ahead")
    given = parser.parse_args()
    reading = {"split": given.split, "workers": given.workers}
    train(given.dataset, steps=given.steps, max_tokens=given.max_tokens, **reading)
