"""Units: the nearest k-means centre of each feature frame.

Source: Lakhotia et al. 2021, GSLM, arXiv:2102.01192, section 2; Hsu et al. 2021, HuBERT, arXiv:2106.07447,
section 3.1. The published quantizers are scikit-learn estimators saved with joblib.

Contents: `KMeans`, `read_centers`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechtok.checkpoints.read import load_content, read_state_dict
from speechtok.errors import CheckpointError
from speechtok.limits import require_regular_file
from speechtok.nets.precision import exact_fast_matmul
from speechtok.nets.vector_quantizer import half_norms_of, nearest
from speechtok.tokenizers.units.joblib_file import read_arrays

ENTRY = "cluster_centers_"
"""Name of the centres in an estimator and in safetensors files."""
_TORCH = (".pt", ".pth")
_FLAT = (b"IxF2", b"IxFl", b"IxFI")
"""First bytes of the indices of faiss that hold their vectors as they are: by distance, by any measure, by product."""
_FLAT_HEAD = 49
"""Bytes before the vectors: kind, width, count, two that are unused, flag, measure (and its parameter), floats."""


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
        with exact_fast_matmul(features.device, features.dtype):
            return nearest(features, centers.T, half_norms_of(centers))


def read_centers(path: str | Path) -> Tensor:
    """Return the centres in a file of scikit-learn, NumPy, torch or faiss.

    Args:
        path: a name that ends in `.safetensors`, `.pt` or `.pth` is read as such; any other by its first bytes: an index of
            faiss by that package, a `.npy` or `.npz` file, or a pickle of joblib or Python by a reader that admits arrays
            and the estimator's plain attributes and nothing that could run.

    Returns:
        `(num_units, channels)`, float, in the stored type.

    Raises:
        CheckpointError: if the file is missing, damaged, holds no centres, is a pickle that would run code, or an index of
            faiss while that package is not installed.
    """
    path = Path(path)
    require_regular_file(path, "k-means file", error=CheckpointError)
    if path.suffix in (".safetensors", *_TORCH):
        stored = dict(read_state_dict(path)) if path.suffix == ".safetensors" else _of_torch(path)
        arrays = {name: value.numpy() for name, value in stored.items() if value.dtype != torch.bfloat16}
    elif kind := _faiss_kind(path):
        arrays = {"": _of_faiss(path, kind)}
    else:
        arrays = dict(read_arrays(path))
    tables = [array for array in arrays.values() if array.ndim == 2 and array.dtype.kind == "f"]
    centers = arrays.get(ENTRY, tables[0] if len(tables) == 1 else None)
    if centers is None or centers.ndim != 2 or centers.dtype.kind != "f" or not np.isfinite(centers).all():
        raise CheckpointError(
            f"'{path}' holds no k-means centres: a finite float array (num_units, channels) is needed, alone, or as "
            f"`{ENTRY}` of an estimator or beside others."
        )
    native = centers.astype(centers.dtype.newbyteorder("="), order="C", copy=True)
    return torch.from_numpy(native)


def _of_torch(path: Path) -> dict[str, Tensor]:
    """Return the tensors and arrays of a torch file by name; one alone as ""."""
    content = load_content(path)
    values = content if isinstance(content, dict) else {"": content}
    found: dict[str, Tensor] = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            found[str(name)] = value
        elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
            found[str(name)] = torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))
    return found


def _faiss_kind(path: Path) -> bytes:
    """Return the first four bytes of an index of faiss, "Ix" or "Iw" and two more letters or digits; else b""."""
    with path.open("rb") as file:
        start = file.read(4)
    return start if start[:2] in (b"Ix", b"Iw") and start.isalnum() else b""


def _of_faiss(path: Path, kind: bytes) -> np.ndarray[Any, Any]:
    """Return the vectors of an index that holds them as they are and looks for the nearest by squared distance."""
    if kind not in _FLAT:  # faiss ends the process when others are asked for their vectors
        raise CheckpointError(
            f"'{path}' is an index of faiss that does not hold its vectors as they are; give a flat index by distance "
            "(IndexFlatL2), or the centres as .npy."
        )
    with path.open("rb") as file:
        head = file.read(_FLAT_HEAD)
    before = (
        37 if int.from_bytes(head[33:37], "little") <= 1 else 41
    )  # measures of their own have a parameter
    stored = 4 * int.from_bytes(head[before : before + 8], "little")
    if before + 8 + stored != path.stat().st_size:  # faiss would make room for what is stated
        raise CheckpointError(
            f"'{path}' is damaged or no index of faiss (its size is not the one it states)."
        )
    try:
        import faiss
    except ImportError as error:
        raise CheckpointError(
            f"'{path}' is an index of faiss, which is not installed: pip install faiss-cpu, or give the centres as .npy."
        ) from error
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"'{path}' is damaged or no index of faiss ({reason}).") from error
    if index.metric_type != faiss.METRIC_L2:
        raise CheckpointError(f"'{path}' is an index by another measure than distance, so it is no k-means.")
    centers: np.ndarray[Any, Any] = index.reconstruct_n(0, index.ntotal)
    return centers
