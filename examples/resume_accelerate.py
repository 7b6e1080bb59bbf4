"""Training with several processes, stopped in the middle and resumed with the identical batches.

    torchrun --nproc_per_node 2 examples/resume_accelerate.py out --steps 12 --stop-after 5
    torchrun --nproc_per_node 2 examples/resume_accelerate.py out --steps 12

The second command goes on where the first stopped. `out/log-RANK.jsonl` lists the utterances and the loss of each step;
it is the same as without the stop.
"""

import argparse
import json
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

import speechtok
from speechtok.commands.tokenize import tokenize_corpus
from speechtok.demo.demonstration import CORPUS
from speechtok.engine.settings import JobSettings, RunSettings
from speechtok.lm import DelayCollator, Vocabulary

CODEBOOKS = 4


class GridModel(nn.Module):
    """Predicts the next step of all codebooks from the last one."""

    def __init__(self, vocabulary: Vocabulary, channels: int = 32) -> None:
        super().__init__()
        self.inputs = nn.ModuleList(nn.Embedding(vocabulary.head_size, channels) for _ in range(CODEBOOKS))
        self.memory = nn.GRU(channels, channels, batch_first=True)
        self.outputs = nn.ModuleList(nn.Linear(channels, vocabulary.head_size) for _ in range(CODEBOOKS))

    def forward(self, ids, labels):
        """Return the mean cross entropy of all codebooks."""
        features, _ = self.memory(sum(embed(ids[:, k]) for k, embed in enumerate(self.inputs)))
        logits = torch.stack([output(features) for output in self.outputs], dim=1)
        return nn.functional.cross_entropy(logits[:, :, :-1].flatten(0, 2), labels[:, :, 1:].flatten())


class WithIds:
    """A collator that keeps the rows' ids beside the batch, for the log."""

    def __init__(self, collator) -> None:
        self.collator = collator

    def __call__(self, batch):
        return batch["id"], self.collator(batch)


def train(output: Path, *, steps: int, stop_after: int | None) -> None:
    """Train until `steps`, or stop after some steps of this run, leaving a checkpoint."""
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True)
    with accelerator.main_process_first():
        settings = JobSettings(num_codebooks=CODEBOOKS)
        tokenize_corpus(CORPUS, output / "grid_tokens", settings=settings, run=RunSettings(workers=1))
    dataset = speechtok.TokenDataset(output / "grid_tokens", columns=["id", "mel"])
    vocabulary = Vocabulary.of(dataset.info)
    # Ranks wait for each other in every step, so all must get equally many batches.
    stream = dataset.stream(batch_size=2, seed=3, drop_last=True)
    collate = WithIds(DelayCollator(vocabulary=vocabulary))
    loader = stream.loader(num_workers=1, collate_fn=collate, multiprocessing_context="fork")
    model = GridModel(vocabulary)
    # The stream deals out its batches itself: the loader does not go through `prepare`.
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=3e-3))
    step, checkpoint = 0, output / "checkpoint"
    if checkpoint.exists():
        accelerator.load_state(str(checkpoint))
        state = json.loads((checkpoint / "stream.json").read_text())
        step = state["step"]
        stream.load_state_dict(state["stream"])
        accelerator.print(f"resumed after step {step}")
    first = step
    log = (output / f"log-{accelerator.process_index}.jsonl").open("a")
    done = False
    while not done:
        for names, batch in loader:
            loss = model(batch["input_ids"], batch["labels"])
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            step += 1
            log.write(
                json.dumps({"step": step, "epoch": stream.epoch, "ids": names, "loss": loss.item()}) + "\n"
            )
            done = step == steps or step - first == stop_after
            if done:
                break
    log.close()
    accelerator.save_state(str(checkpoint))
    if accelerator.is_main_process:  # one state is good for all ranks
        (checkpoint / "stream.json").write_text(json.dumps({"step": step, "stream": stream.state_dict()}))
    accelerator.wait_for_everyone()
    accelerator.print(f"stopped after step {step} of {steps}")
    accelerator.end_training()


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="folder for tokens, log and checkpoint")
    parser.add_argument("--steps", type=int, default=12, help="steps of the whole training")
    parser.add_argument("--stop-after", type=int, help="steps of this run")
    arguments = parser.parse_args()
    train(arguments.output, steps=arguments.steps, stop_after=arguments.stop_after)


if __name__ == "__main__":
    main()
