"""Deterministic weights and test signals for the reference goldens.

The published checkpoints cannot travel with a repository, so every golden here was
computed with weights made by this recipe instead: each tensor is a pure function of
(seed, state-dict key, shape), so an implementation that exposes the same state-dict
keys and shapes rebuilds the very same model and must produce the same numbers.

`numpy.random.RandomState` is used on purpose: NumPy guarantees its stream never changes.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np


def _rng(seed: int, name: str) -> np.random.RandomState:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.RandomState(int.from_bytes(digest[:4], "little"))


def tensor(
    key: str, shape: tuple[int, ...], dtype: str = "float32", *, seed: int = 0, gain: float = 1.0
) -> np.ndarray:
    """Value of the state-dict entry `key`.

    The rule is picked by the last component of the key and the number of dimensions:

    ==========================================  =========================================
    entry                                       value (n = standard normal of `shape`)
    ==========================================  =========================================
    integer or bool dtype                       ones for bool / ``init*`` keys, else zeros
    ``weight_g`` / ``original0`` (weight norm)  gain * (1 + 0.1 |n|)
    ``running_var``                             1 + 0.1 |n|
    ``running_mean``, ``bias*``, ``*_bias``     0.1 n
    ``alpha``, ``beta`` (snake activations)     0.1 n
    ``embed``, ``codebook``, ``embed_avg``      n
    ``cluster_size``                            1 + |n|
    one dimension, anything else                1 + 0.1 n
    two or more dimensions                      gain * n / sqrt(fan_in), fan_in = prod(shape[1:])
    ==========================================  =========================================
    """
    kind = np.dtype(dtype)
    last = key.rsplit(".", 1)[-1]
    if kind.kind in "iub":
        one = kind.kind == "b" or last.startswith("init")
        return np.full(shape, 1 if one else 0, dtype=kind)
    n = _rng(seed, key).standard_normal(size=shape)
    if last in ("weight_g", "original0"):
        value = gain * (1.0 + 0.1 * np.abs(n))
    elif last == "running_var":
        value = 1.0 + 0.1 * np.abs(n)
    elif last.startswith("init"):
        value = np.ones(shape)
    elif (
        last == "running_mean"
        or last.startswith("bias")
        or last.endswith("_bias")
        or last in ("alpha", "beta")
    ):
        value = 0.1 * n
    elif last in ("embed", "codebook", "embed_avg"):
        value = n
    elif last == "cluster_size":
        value = 1.0 + np.abs(n)
    elif len(shape) <= 1:
        value = 1.0 + 0.1 * n
    else:
        value = gain * n / math.sqrt(math.prod(shape[1:]))
    return np.asarray(value, dtype=np.float64).astype(kind)


def speechlike(samples: int, sample_rate: int = 16_000, *, seed: int = 0) -> np.ndarray:
    """A float64 signal in [-0.9, 0.9], shape (samples,), with voiced, unvoiced and silent stretches."""
    r = _rng(seed, "signal")
    t = np.arange(samples) / sample_rate
    f0 = 120.0 + 60.0 * r.rand() + 30.0 * np.sin(2 * np.pi * (1.5 + r.rand()) * t + 6.28 * r.rand())
    phase = 2 * np.pi * np.cumsum(f0) / sample_rate
    voiced = sum(np.sin(k * phase + 6.28 * r.rand()) / k for k in range(1, 25))
    noise = r.standard_normal(samples)
    gate = 0.5 + 0.5 * np.sign(np.sin(2 * np.pi * 2.3 * t + 6.28 * r.rand()))
    pause = (np.sin(2 * np.pi * 0.7 * t + 6.28 * r.rand()) > -0.8).astype(np.float64)
    x = pause * (gate * voiced + (1.0 - gate) * 0.3 * noise) + 1e-3 * noise
    return 0.9 * x / np.abs(x).max()
