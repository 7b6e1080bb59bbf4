"""Train the pitch quantizer on a corpus.

Source: Polyak et al. 2021, arXiv:2104.00355, section 2.2; Dhariwal et al. 2020, Jukebox, arXiv:2005.00341, section
3.1 and appendix B.1 (codebook by moving averages, unused codes restarted). Settings are those of the released
`facebookresearch/speech-resynthesis`.

Contents: `F0VqSettings`, `MovingCodebook`, `F0VqTraining`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from speechtok.audio.pitch import extract_pitch
from speechtok.checkpoints.read import load_plain
from speechtok.errors import DatasetError
from speechtok.nets.threads import one_thread
from speechtok.storage import AnyPath
from speechtok.tokenizers.units.jukebox import F0VqVae, VqVaeSettings
from speechtok.tokenizers.units.pitch import normalize_pitch
from speechtok.training.audio import read_utterances

STATISTICS_UTTERANCES = 200
"""Utterances whose voiced frames give the mean and deviation of pitch."""


@dataclass(frozen=True, kw_only=True)
class F0VqSettings:
    """How the quantizer is trained."""

    steps: int = 400_000
    """Batches."""
    batch_size: int = 16
    """Segments per batch."""
    segment_samples: int = 16_640
    """Audio per segment: 13 codes."""
    learning_rate: float = 2e-4
    """Of AdamW."""
    commit_weight: float = 0.02
    """Weight of the distance between features and their codes."""
    momentum: float = 0.99
    """Of the moving averages that are the codebook."""
    save_every: int = 1000
    """Batches after which the state is saved, so that a run that was stopped goes on from there."""
    seed: int = 1234
    """Decides everything random."""


class MovingCodebook:
    """The codebook's moving averages: sums and counts of the features each code was given."""

    def __init__(self, vectors: Tensor, *, momentum: float = 0.99, threshold: float = 1.0) -> None:
        self.sums, self.counts = vectors.clone(), torch.ones(len(vectors), dtype=vectors.dtype)
        self.momentum, self.threshold = momentum, threshold

    @staticmethod
    def first_vectors(features: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """Return random rows of the first features `(frames, channels)`; repeated with noise when too few."""
        if len(features) < size:
            times = -(-size // len(features))
            noise = 0.01 / features.shape[1] ** 0.5
            features = features.repeat(times, 1)
            features = features + noise * torch.randn(
                features.shape, generator=generator, dtype=features.dtype
            )
        return features[torch.randperm(len(features), generator=generator)[:size]].clone()

    def update(self, features: Tensor, codes: Tensor, generator: torch.Generator) -> Tensor:
        """Return the new codebook after a batch.

        Args:
            features: `(frames, channels)`.
            codes: `(frames,)`, the code each was given.
            generator: draws the features that codes in disuse restart from.
        """
        chosen = functional.one_hot(codes, len(self.sums)).to(features.dtype)
        self.sums = self.momentum * self.sums + (1 - self.momentum) * chosen.T @ features
        self.counts = self.momentum * self.counts + (1 - self.momentum) * chosen.sum(dim=0)
        random = self.first_vectors(features, len(self.sums), generator)
        used = (self.counts >= self.threshold)[:, None]
        return torch.where(used, self.sums / self.counts.clamp(min=1e-12)[:, None], random)


class F0VqTraining:
    """A run that can be saved and taken up again, the state of the codebook and of all random draws included.

    Args:
        corpus: as for `read_corpus`.
        output: folder; `f0/g_XXXXXXXX` and `f0/f0_stats.pth` are written below it.
        settings: how to train.
    """

    def __init__(self, corpus: str | AnyPath, output: str | Path, settings: F0VqSettings) -> None:
        self.corpus, self.folder, self.settings = corpus, Path(output) / "f0", settings
        torch.manual_seed(settings.seed)
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.network = F0VqVae(VqVaeSettings())
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, betas=(0.8, 0.99)
        )
        self.codebook: MovingCodebook | None = None
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.mean_hz, self.std_hz = 0.0, 1.0
        self._saved: Path | None = None

    @one_thread()  # the networks are small
    def run(self, on_step: Callable[[int, dict[str, float]], None] | None = None) -> None:
        """Train to the last step; save it, and on the way the latest state of every `save_every` steps."""
        if not self._resume():
            self._measure_pitch()
        batches = self._batches()
        while self.step < self.settings.steps:
            metrics = self.train_batch(next(batches))
            self.history.append(metrics)
            if on_step is not None:
                on_step(self.step, metrics)
            if self.step % self.settings.save_every == 0 or self.step == self.settings.steps:
                self.save()

    def train_batch(self, contours: Tensor) -> dict[str, float]:
        """Take one step on normalised contours `(batch, frames)` and return its losses and code usage."""
        hidden = self.network.encoder(contours[:, None])
        rows = hidden.detach().transpose(1, 2).reshape(-1, hidden.shape[1])
        vectors = self.network.vq.level_blocks[0]
        if self.codebook is None:
            vectors.k.copy_(MovingCodebook.first_vectors(rows, len(vectors.k), self.generator))
            self.codebook = MovingCodebook(vectors.k, momentum=self.settings.momentum)
        codes = self.network.vq.encode(hidden.detach())
        chosen = self.network.vq.decode(codes).clone()
        commit = functional.mse_loss(hidden, chosen)
        straight = hidden + (chosen - hidden).detach()
        reconstruction = functional.mse_loss(self.network.decoder(straight)[:, 0], contours)
        loss = reconstruction + self.settings.commit_weight * commit
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        vectors.k.copy_(self.codebook.update(rows, codes.flatten(), self.generator))
        self.step += 1
        share = torch.bincount(codes.flatten(), minlength=len(vectors.k)).double() / codes.numel()
        entropy = float(-(share * (share + 1e-8).log2()).sum())
        return {
            "reconstruction": float(reconstruction.detach()),
            "commit": float(commit.detach()),
            "used": float((share > 0).sum()),
            "entropy_bits": entropy,
        }

    def save(self) -> None:
        """Write the published form of the checkpoint, with what resuming needs beside it."""
        assert self.codebook is not None  # noqa: S101 - there has been a step
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "generator": self.network.state_dict(),
            "optim_g": self.optimizer.state_dict(),
            "steps": self.step,
            "epoch": 0,
            "codebook": {"sums": self.codebook.sums, "counts": self.codebook.counts},
            "random": self.generator.get_state(),
        }
        torch.save({"f0_mean": self.mean_hz, "f0_std": self.std_hz}, self.folder / "f0_stats.pth")
        path = self.folder / f"g_{self.step:08d}"
        temporary = path.with_name(f".{path.name}.tmp")
        torch.save(content, temporary)
        temporary.replace(path)
        if self._saved is not None and self._saved != path:
            self._saved.unlink(missing_ok=True)  # the state before, written by this run
        self._saved = path

    def _resume(self) -> bool:
        found = sorted(self.folder.glob("g_*"))
        if not found:
            return False
        state: Any = load_plain(found[-1])
        self.network.load_state_dict(state["generator"])
        self.optimizer.load_state_dict(state["optim_g"])
        self.step = int(state["steps"])
        self.codebook = MovingCodebook(self.network.vq.vectors.clone(), momentum=self.settings.momentum)
        self.codebook.sums, self.codebook.counts = state["codebook"]["sums"], state["codebook"]["counts"]
        self.generator.set_state(state["random"])
        statistics = load_plain(self.folder / "f0_stats.pth")
        self.mean_hz, self.std_hz = float(statistics["f0_mean"]), float(statistics["f0_std"])
        return True

    def _measure_pitch(self) -> None:
        voiced = []
        for index, samples in enumerate(read_utterances(self.corpus, seed=self.settings.seed)):
            contour = extract_pitch(samples[: 10 * 16_000].astype(np.float64))
            voiced.append(contour[contour > 0])
            if index + 1 >= STATISTICS_UTTERANCES:
                break
        pitch = np.concatenate(voiced)
        if len(pitch) < 2:
            raise DatasetError(f"{self.corpus} has no voiced speech to learn pitch from.")
        self.mean_hz, self.std_hz = float(pitch.mean()), float(pitch.std()) or 1.0

    def _batches(self) -> Iterator[Tensor]:
        """Yield `(batch, frames)` contours of random segments; short audio is repeated to a segment's length."""
        random = np.random.default_rng([self.settings.seed, self.step])
        size = self.settings.segment_samples
        seed = int(random.integers(2**31))
        rows: list[Tensor] = []
        for samples in read_utterances(self.corpus, seed=seed, repeat=True):
            audio = np.tile(samples, -(-size // len(samples))).astype(np.float64)
            start = int(random.integers(len(audio) - size + 1))
            contour = extract_pitch(audio[start : start + size])
            normal = normalize_pitch(contour, self.mean_hz, self.std_hz)
            rows.append(torch.from_numpy(normal).float())
            if len(rows) == self.settings.batch_size:
                yield torch.stack(rows)
                rows = []
