"""Units: the nearest k-means centre of each feature frame.

Source: Lakhotia et al. 2021, GSLM, arXiv:2102.01192, section 2; Hsu et al. 2021, HuBERT, arXiv:2106.07447,
section 3.1. The published quantizers are scikit-learn estimators saved with joblib.

Contents: `KMeans`, `read_centers`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from speechtok.checkpoints.read import read_state_dict
from speechtok.errors import CheckpointError
from speechtok.limits import require_regular_file
from speechtok.nets.precision import exact_fast_matmul
from speechtok.tokenizers.units.joblib_file import read_arrays

ENTRY = "cluster_centers_"
"""Name of the centres in an estimator and in safetensors files."""


class KMeans(nn.Module):
    """Assign frames to centres. Entry: `cluster_centers_` `(num_units, channels)`."""

    cluster_centers_: Tensor

    def __init__(self, num_units: int, channels: int) -> None:
        super().__init__()
        self.register_buffer(ENTRY, torch.zeros(num_units, channels))

    def forward(self, features: Tensor) -> Tensor:
        """Return the index of the nearest centre of each frame, the lowest one when several are as near.

        Args:
            features: `(..., channels)`.

        Returns:
            `(...)`, int64, in [0, num_units).
        """
        centers = self.cluster_centers_
        # ‖x‖² is the same for every centre and is left out.
        with exact_fast_matmul(features.device, features.dtype):
            distance = centers.square().sum(dim=1) - 2 * features @ centers.T
        return distance.argmin(dim=-1)


def read_centers(path: str | Path) -> Tensor:
    """Return the centres in a joblib pickle of scikit-learn, a `.npy` or a safetensors file.

    Args:
        path: a name ending in `.safetensors` is read as such, any other as `.npy` or a joblib pickle by its first
            bytes, by a reader that admits arrays and the estimator's plain attributes and nothing that could run.

    Returns:
        `(num_units, channels)`, float, in the stored type.

    Raises:
        CheckpointError: if the file is missing, damaged, holds no centres, or is a pickle that would run code.
    """
    path = Path(path)
    require_regular_file(path, "k-means file", error=CheckpointError)
    if path.suffix == ".safetensors":
        stored = read_state_dict(path)
        found = stored.get(ENTRY, next(iter(stored.values())) if len(stored) == 1 else None)
        centers = found.numpy() if found is not None and found.dtype != torch.bfloat16 else None
    else:
        arrays = read_arrays(path)
        centers = arrays.get("", arrays.get(ENTRY))
    if centers is None or centers.ndim != 2 or centers.dtype.kind != "f" or not np.isfinite(centers).all():
        raise CheckpointError(
            f"'{path}' holds no k-means centres: a finite float array (num_units, channels) is needed, or an "
            f"estimator that has one as `{ENTRY}`."
        )
    native = centers.astype(centers.dtype.newbyteorder("="), order="C", copy=True)
    return torch.from_numpy(native)
