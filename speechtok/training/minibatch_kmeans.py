"""k-means in small batches.

Source: Sculley 2010, Web-scale k-means clustering, WWW, algorithm 1; Arthur and Vassilvitskii 2007, k-means++: the
advantages of careful seeding, SODA. Defaults are those the published speech units were fitted with (Lakhotia et al.
2021, GSLM): 20 seedings, 150 passes, batches of 10,000 frames, and small clusters moved as long as they hold less
than half of the largest.

Contents: `KMeansSettings`, `fit_kmeans`, `nearest_centers`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class KMeansSettings:
    """How k-means is fitted."""

    num_clusters: int = 100
    """Number of centres."""
    seedings: int = 20
    """Starts that are tried; the best on its seeding sample is kept."""
    passes: int = 150
    """Passes over the features, at most."""
    batch_size: int = 10_000
    """Frames per batch."""
    patience: int = 100
    """Batches without a better smoothed inertia after which fitting ends."""
    reassignment_ratio: float = 0.5
    """Clusters with less than this part of the largest one's frames are moved to random frames."""
    seed: int = 1369
    """Decides everything random."""


def fit_kmeans(
    features: Array, settings: KMeansSettings, *, on_batch: Callable[[int, float], None] | None = None
) -> Array:
    """Return the centres of features.

    Args:
        features: `(frames, channels)` float32, at least as many frames as clusters.
        settings: how to fit.
        on_batch: is told the batch's number and the mean squared distance of its frames.

    Returns:
        `(num_clusters, channels)` float32.

    Raises:
        ValueError: when there are fewer frames than clusters.
    """
    s = settings
    if len(features) < s.num_clusters:
        raise ValueError(
            f"{s.num_clusters} clusters need at least as many frames, but there are {len(features)}."
        )
    random = np.random.default_rng(s.seed)
    sample = features[random.permutation(len(features))[: 3 * s.batch_size]]
    centers = min(
        (
            _seeded(sample[: max(s.num_clusters, s.batch_size)], s.num_clusters, random)
            for _ in range(s.seedings)
        ),
        key=lambda start: float(nearest_centers(sample, start)[1].mean()),
    )
    counts = np.zeros(s.num_clusters)
    smooth, best, waited, since_move, number = np.inf, np.inf, 0, 0, 0
    rate = min(1.0, 2.0 * s.batch_size / (len(features) + 1))
    for _ in range(s.passes):
        order = random.permutation(len(features))
        for first in range(0, len(order), s.batch_size):
            batch = features[order[first : first + s.batch_size]]
            since_move += len(batch)
            if since_move >= 10 * s.num_clusters:
                since_move = 0
                _move_small(centers, counts, batch, s.reassignment_ratio, random)
            labels, distance = nearest_centers(batch, centers)
            inertia = float(distance.mean())
            _update(centers, counts, batch, labels)
            number += 1
            if on_batch is not None:
                on_batch(number, inertia)
            smooth = inertia if np.isinf(smooth) else smooth * (1 - rate) + inertia * rate
            best, waited = (smooth, 0) if smooth < best else (best, waited + 1)
            if waited >= s.patience:
                return centers
    return centers


def nearest_centers(features: Array, centers: Array) -> tuple[Array, Array]:
    """Return the nearest centre of each frame and the squared distance to it."""
    distance = (centers * centers).sum(axis=1) - 2 * features @ centers.T
    labels = distance.argmin(axis=1)
    own = distance[np.arange(len(features)), labels] + (features * features).sum(axis=1)
    return labels, np.maximum(own, 0)


def _seeded(sample: Array, count: int, random: np.random.Generator) -> Array:
    """Return k-means++ centres: each new one drawn in proportion to the squared distance from those before."""
    centers = np.empty((count, sample.shape[1]), dtype=sample.dtype)
    centers[0] = sample[random.integers(len(sample))]
    distance = ((sample - centers[0]) ** 2).sum(axis=1).astype(np.float64)
    for index in range(1, count):
        total = distance.sum()
        chosen = random.choice(len(sample), p=distance / total) if total > 0 else random.integers(len(sample))
        centers[index] = sample[chosen]
        distance = np.minimum(distance, ((sample - centers[index]) ** 2).sum(axis=1))
    return centers


def _update(centers: Array, counts: Array, batch: Array, labels: Array) -> None:
    """Move each centre to the mean of all frames it was ever given."""
    added = np.bincount(labels, minlength=len(centers))
    sums = np.zeros_like(centers, dtype=np.float64)
    np.add.at(sums, labels, batch)
    counts += added
    hit = added > 0
    step = (sums[hit] - added[hit, None] * centers[hit]) / counts[hit, None]
    centers[hit] += step.astype(centers.dtype)


def _move_small(
    centers: Array, counts: Array, batch: Array, ratio: float, random: np.random.Generator
) -> None:
    small = counts < ratio * counts.max()
    most = len(batch) // 2
    if small.sum() > most:
        kept = np.argsort(counts, kind="stable")[most:]
        small[kept] = False
    if small.any():
        centers[small] = batch[random.choice(len(batch), int(small.sum()), replace=False)]
        counts[small] = counts[~small].min()
