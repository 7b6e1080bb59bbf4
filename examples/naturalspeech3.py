"""NaturalSpeech 3 on LibriTTS: factors of FACodec, phones with durations, prompts of other utterances of the speaker.

    speechtok run libritts_naturalspeech3 --corpus LibriTTS --output OUT --checkpoint FACODEC
    python examples/naturalspeech3.py OUT

One model learns prosody, content and residual detail, a codebook at a time, as diffusion over masks.
Source: Ju et al. 2024, NaturalSpeech 3, arXiv:2403.03100.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from models import MaskedModel

import speechtok
from speechtok.lm import FactorCollator, SpeakerPrompts, Vocabulary, phone_set
from speechtok.lm.layouts.factors import stages_of


def batches(place: Path, max_tokens: int, split: str | None = "train.clean.100"):
    """Return a stream, and the collator of its batches."""
    dataset = speechtok.TokenDataset(place, split=split, filter="phone is not null and duration <= 20")
    aligned = dataset.info.streams[-1].name  # the streams of FACodec have the same frames
    vocabulary = Vocabulary.of(dataset.info, text=phone_set(dataset, "phone"))
    prompts = SpeakerPrompts(dataset)
    print(f"{len(dataset)} aligned utterances, {prompts.num_alone} of speakers without another one")
    print("stages:", ", ".join(f"{name} {book}" for name, book in stages_of(vocabulary.streams)))
    collator = FactorCollator(
        vocabulary=vocabulary, text=True, aligned_stream=aligned, prompts=prompts, prompt_seconds=(0.5, 1.0)
    )
    return dataset.stream(max_tokens=max_tokens, seed=0), collator


def train(
    place: Path, *, steps: int = 30, max_tokens: int = 2000, split: str | None = "train.clean.100"
) -> list[float]:
    """Return the loss of each step."""
    torch.manual_seed(0)
    stream, collator = batches(place, max_tokens, split)
    model = MaskedModel(collator.vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history: list[float] = []
    epoch = 0
    while len(history) < steps:
        # another seed, other masks, stages and prompts; they depend on nothing else
        for batch in stream.loader(collate_fn=replace(collator, seed=epoch)):
            losses = model.losses(batch)
            loss = losses.nanmean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append(loss.item())
            if len(history) % 10 == 0:
                shown = ", ".join("–" if value.isnan() else f"{value.item():.2f}" for value in losses)
                print(f"step {len(history)}: loss of each codebook {shown}")
            if len(history) == steps:
                break
        epoch += 1
    return history


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, help="token dataset of the recipe libritts_naturalspeech3")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--max-tokens", type=int, default=2000, help="frames of a batch")
    parser.add_argument("--split", default="train.clean.100", help="part of LibriTTS")
    given = parser.parse_args()
    train(given.dataset, steps=given.steps, max_tokens=given.max_tokens, split=given.split)
