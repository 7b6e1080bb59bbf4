"""A unit language model: k-means units of one's own, a causal model of transformers, new units out of it.

    python examples/unit_lm.py out

Sources: Lakhotia et al. 2021, GSLM, arXiv:2102.01192; Kharitonov et al. 2021, pGSLM, arXiv:2109.03264 (durations).
"""

import argparse
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import speechtok
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.demo.demonstration import CORPUS
from speechtok.engine.settings import RunSettings
from speechtok.lm import UnitCollator, Vocabulary
from speechtok.training.minibatch_kmeans import KMeansSettings
from speechtok.training.units import train_kmeans

UNITS = 50


def unit_dataset(output: Path):
    """Fit units on the clips that come with speechtok, and tokenize the clips with them."""
    train_kmeans(CORPUS, output / "units", features="logmel", settings=KMeansSettings(num_clusters=UNITS))
    tokenize_corpus(
        CORPUS, output / "unit_tokens", tokenizer=str(output / "units"), run=RunSettings(workers=1)
    )
    return speechtok.TokenDataset(output / "unit_tokens")


def train(output: Path, *, steps: int = 40) -> tuple[list[float], torch.Tensor]:
    """Return the loss of each step, and the units `(1, frames)` of one generated utterance."""
    torch.manual_seed(0)
    dataset = unit_dataset(output)
    vocabulary = Vocabulary.of(dataset.info, num_durations=20)
    collator = UnitCollator(vocabulary=vocabulary, durations="tokens")
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            pad_token_id=vocabulary.pad_id,
            bos_token_id=vocabulary.bos_id,
            eos_token_id=vocabulary.eos_id,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    stream, history = dataset.stream(batch_size=4, seed=0), []
    while len(history) < steps:
        for batch in stream.loader(collate_fn=collator):
            loss = model(**batch).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append(loss.item())
            if len(history) % 10 == 0:
                print(f"step {len(history)}: loss {loss.item():.3f}")
            if len(history) == steps:
                break
    model.eval()
    start = torch.tensor([[vocabulary.bos_id]])
    ids = model.generate(start, attention_mask=torch.ones_like(start), do_sample=True, max_new_tokens=60)
    units = torch.from_numpy(collator.restore(ids[0]))
    print(f"generated {units.shape[1]} frames: {units[0, :12].tolist()} …")
    return history, units


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="folder for units and tokens")
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    train(arguments.output, steps=arguments.steps)


if __name__ == "__main__":
    main()
