"""VALL-E in small: an autoregressive model for the first codebook, a non-autoregressive one for the others.

    python examples/valle.py out                 tokens from a token dataset
    python examples/valle.py out --on-the-fly    tokens from the recordings, encoded as they are read

Both give the same losses, to the last bit: a collator neither knows nor cares where tokens come from.
Source: Wang et al. 2023, VALL-E, arXiv:2301.02111.
"""

import argparse
from pathlib import Path

import torch
from torch import nn

import speechtok
from speechtok.audio.io import read_waveform
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.demo.demonstration import CORPUS
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.lm import ValleCollator, Vocabulary, codebook_losses

CODEBOOKS = 4
"""Kept of dMel's 80, to stay small; a codec such as FunCodec has 8 to 32."""


class Model(nn.Module):
    """A Transformer over embeddings, causal or not, with positions and one output layer."""

    def __init__(self, size: int, channels: int = 64, layers: int = 2) -> None:
        super().__init__()
        block = nn.TransformerEncoderLayer(
            channels, 4, 4 * channels, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.positions = nn.Embedding(4096, channels)
        self.output = nn.Linear(channels, size)

    def forward(self, features, mask, *, causal):
        steps = features.shape[1]
        features = features + self.positions(torch.arange(steps))
        ahead = torch.ones(steps, steps, dtype=torch.bool).triu(1) if causal else None
        return self.output(self.layers(features, mask=ahead, src_key_padding_mask=mask == 0))


class Valle(nn.Module):
    """The two models with their embeddings."""

    def __init__(self, vocabulary: Vocabulary, channels: int = 64) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.ids = nn.Embedding(len(vocabulary), channels)
        self.codes = nn.ModuleList(nn.Embedding(vocabulary.head_size, channels) for _ in range(CODEBOOKS))
        self.levels = nn.Embedding(CODEBOOKS, channels)
        self.ar = Model(len(vocabulary), channels)
        self.nar = Model(vocabulary.head_size, channels)

    def losses(self, batch):
        """Return the AR loss, and the NAR loss of each codebook."""
        logits = self.ar(self.ids(batch["input_ids"]), batch["attention_mask"], causal=True)
        ar = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
        parts = [self.ids(batch["text_ids"]), self._sum(batch["prompt_codes"]), self._sum(batch["codes"])]
        masks = [batch["text_mask"], batch["prompt_mask"], batch["nar_mask"]]
        features = torch.cat(parts, dim=1) + self.levels(batch["level"])[:, None]
        logits = self.nar(features, torch.cat(masks, dim=1), causal=False)[:, -batch["codes"].shape[2] :]
        levels = batch["nar_labels"][:, None].expand(-1, CODEBOOKS, -1)
        levels = levels.where(batch["loss_masks"], -100)
        heads = logits[:, None].expand(-1, CODEBOOKS, -1, -1)
        return ar, codebook_losses(heads, levels, batch["loss_masks"], shift=False)

    def _sum(self, codes):
        return sum(embed(codes[:, k]) for k, embed in enumerate(self.codes))


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
    model = Valle(vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history: list[float] = []
    while len(history) < steps:
        for batch in loader:
            ar, levels = model.losses(batch)
            loss = ar + levels.nanmean()  # levels that nobody drew are NaN
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append(loss.item())
            if len(history) % 10 == 0:
                print(f"step {len(history)}: AR {ar.item():.3f}, NAR {levels.nanmean().item():.3f}")
            if len(history) == steps:
                break
    return history


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
