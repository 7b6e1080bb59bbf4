"""Reading k-means centres, and refusing files that would run code."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from speechtok.errors import CheckpointError
from speechtok.tokenizers.units.kmeans import KMeans, read_centers

GOLDENS = Path(__file__).parents[2] / "goldens" / "units"


@pytest.fixture
def centers() -> np.ndarray:
    return np.load(GOLDENS / "kmeans.npy")


@pytest.mark.parametrize(
    "name", ["kmeans_joblib.bin", "kmeans_joblib_zlib.bin", "kmeans_array.bin", "kmeans.npy"]
)
def test_files_of_scikit_learn(centers, name: str) -> None:
    got = read_centers(GOLDENS / name)
    assert got.dtype == torch.float32
    assert np.array_equal(got, centers)


def test_safetensors(centers, tmp_path) -> None:
    save_file({"cluster_centers_": torch.from_numpy(centers)}, tmp_path / "km.safetensors")
    assert np.array_equal(read_centers(tmp_path / "km.safetensors"), centers)


class _Runs:
    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self):
        return (Path.touch, (self.ran,))


def test_a_pickle_that_would_run_code_is_refused(tmp_path) -> None:
    (tmp_path / "km.bin").write_bytes(pickle.dumps({"cluster_centers_": _Runs(tmp_path / "ran")}))
    with pytest.raises(CheckpointError, match=r"is refused because it is a pickle that names pathlib"):
        read_centers(tmp_path / "km.bin")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
    ],
)
def test_other_names_are_refused(tmp_path, content: bytes) -> None:
    (tmp_path / "km.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match="is refused because it is a pickle that names"):
        read_centers(tmp_path / "km.bin")


def test_objects_in_arrays_are_refused(tmp_path) -> None:
    (tmp_path / "km.bin").write_bytes(pickle.dumps(np.array([{}, 1], dtype=object)))
    with pytest.raises(CheckpointError, match="an array of Python objects"):
        read_centers(tmp_path / "km.bin")
    np.save(tmp_path / "km.npy", np.array([{}, 1], dtype=object))
    with pytest.raises(CheckpointError, match=r"is not a plain \.npy array"):
        read_centers(tmp_path / "km.npy")


def test_damaged_and_missing(tmp_path, centers) -> None:
    with pytest.raises(CheckpointError, match="There is no k-means file"):
        read_centers(tmp_path / "km.bin")
    whole = (GOLDENS / "kmeans_joblib.bin").read_bytes()
    for size in (1, 40, len(whole) // 2):
        (tmp_path / "cut.bin").write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"damaged or not a joblib file|is refused"):
            read_centers(tmp_path / "cut.bin")
    np.save(tmp_path / "flat.npy", centers[0])
    with pytest.raises(CheckpointError, match="holds no k-means centres"):
        read_centers(tmp_path / "flat.npy")


def test_ties_go_to_the_lowest_unit() -> None:
    kmeans = KMeans(3, 2)
    kmeans.load_state_dict({"cluster_centers_": torch.tensor([[5.0, 5.0], [1.0, 0.0], [1.0, 0.0]])})
    assert kmeans(torch.tensor([[[0.0, 0.0]]])).tolist() == [[1]]
