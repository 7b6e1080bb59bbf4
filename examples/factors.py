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
from torch import nn

import speechtok
from speechtok.demo.run import CORPUS
from speechtok.lm import FactorCollator, Vocabulary, codebook_losses
from speechtok.lm.layouts.factors import stages_of


class MaskedModel(nn.Module):
    """All codebooks of a frame in, all codebooks out; it sees the whole utterance."""

    def __init__(self, vocabulary: Vocabulary, channels: int = 64) -> None:
        super().__init__()
        books = vocabulary.num_codebooks
        self.inputs = nn.ModuleList(nn.Embedding(vocabulary.head_size, channels) for _ in range(books))
        self.text = nn.Embedding(len(vocabulary), channels)
        self.stages = nn.Embedding(books, channels)
        block = nn.TransformerEncoderLayer(channels, 4, 128, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.outputs = nn.ModuleList(nn.Linear(channels, vocabulary.head_size) for _ in range(books))

    def forward(self, batch):
        """Return logits `(batch, codebooks, frames, head size)`."""
        frames = sum(embed(batch["input_ids"][:, k]) for k, embed in enumerate(self.inputs))
        features = (
            torch.cat([self.text(batch["text_ids"]), frames], dim=1) + self.stages(batch["stage"])[:, None]
        )
        mask = torch.cat([batch["text_mask"], batch["attention_mask"]], dim=1)
        features = self.layers(features, src_key_padding_mask=mask == 0)[:, -frames.shape[1] :]
        return torch.stack([output(features) for output in self.outputs], dim=1)


def examples_of(output: Path, tokenizer: str, checkpoint: Path | None, clips: int):
    """Return clips as tokens beside their text; they are kept in a file for the next run."""
    loaded = speechtok.load_tokenizer(tokenizer, checkpoint=checkpoint)
    options = {"num_codebooks": 6} if tokenizer == "dmel_16k" else {}
    lines = [line.split("\t") for line in CORPUS.read_text(encoding="utf-8").splitlines()[1 : clips + 1]]
    cache = output / f"{loaded.fingerprint}-{clips}.pt"
    if not cache.exists():
        output.mkdir(parents=True, exist_ok=True)
        codes = [
            dict(loaded.encode(CORPUS.parent / audio, resample=True, **options).streams)
            for audio, *_ in lines
        ]
        torch.save(codes, cache)
    rows = torch.load(cache, weights_only=True)
    return loaded.info, [
        {**{name: item[0] for name, item in codes.items()}, "text": text}
        for codes, (_, text, *_) in zip(rows, lines, strict=True)
    ]


def train(
    output: Path,
    *,
    tokenizer: str = "dmel_16k",
    checkpoint: Path | None = None,
    steps: int = 30,
    clips: int = 8,
) -> list[float]:
    """Return the loss of each step."""
    torch.manual_seed(0)
    info, rows = examples_of(output, tokenizer, checkpoint, clips)
    if tokenizer == "dmel_16k":
        info = speechtok.tokens.with_codebooks(info, 6)
    vocabulary = Vocabulary.of(info, text=sorted({letter for row in rows for letter in row["text"]}))
    print("stages:", ", ".join(f"{name} {book}" for name, book in stages_of(vocabulary.streams)))
    model = MaskedModel(vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history = []
    for step in range(steps):
        # another seed, other masks and stages; they depend on nothing else
        collator = FactorCollator(vocabulary=vocabulary, text=True, prompt_frames=(10, 40), seed=step)
        batch = collator(rows)
        losses = codebook_losses(model(batch), batch["labels"], batch["loss_masks"], shift=False)
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
