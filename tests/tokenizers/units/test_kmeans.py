"""Reading k-means centres, and refusing files that would run code."""

import pickle
import struct
import sys
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


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["KMeans", "MiniBatchKMeans"])
@pytest.mark.parametrize("write", ["pickle", "joblib", "joblib, compressed"])
def test_estimators_that_the_installed_scikit_learn_writes(
    tmp_path, protocol: int, kind: str, write: str
) -> None:
    joblib, cluster = pytest.importorskip("joblib"), pytest.importorskip("sklearn.cluster")
    frames = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    estimator = getattr(cluster, kind)(3, random_state=np.random.RandomState(0), n_init=1).fit(frames)
    if write == "pickle":
        (tmp_path / "km.bin").write_bytes(pickle.dumps(estimator, protocol=protocol))
    else:
        joblib.dump(estimator, tmp_path / "km.bin", compress=3 * (write != "joblib"), protocol=protocol)
    assert np.array_equal(read_centers(tmp_path / "km.bin"), estimator.cluster_centers_)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_pickled_arrays_and_dictionaries(centers, tmp_path, protocol: int, order: str) -> None:
    array = np.array(centers, order=order)
    for content in (array, {"cluster_centers_": array, "counts": np.ones(3)}, {"centroids": array}):
        (tmp_path / "km.bin").write_bytes(pickle.dumps(content, protocol=protocol))
        assert np.array_equal(read_centers(tmp_path / "km.bin"), centers)


@pytest.mark.parametrize("name", ["km.pt", "km.pth"])
def test_torch_files(centers, tmp_path, name: str) -> None:
    tensor, counts = torch.from_numpy(centers), torch.ones(3, dtype=torch.int64)
    forms = [
        tensor,
        {"cluster_centers_": tensor, "other": tensor[:2]},
        {"centers": tensor, "n": 3, "counts": counts},
    ]
    forms.append({"n_features_in_": 4, "_n_threads": 1, "cluster_centers_": centers})
    for content in forms:
        for is_zip in (True, False):
            torch.save(content, tmp_path / name, _use_new_zipfile_serialization=is_zip)
            assert np.array_equal(read_centers(tmp_path / name), centers)
    torch.save({"a": tensor, "b": tensor}, tmp_path / name)
    with pytest.raises(CheckpointError, match="holds no k-means centres"):
        read_centers(tmp_path / name)
    torch.save({"cluster_centers_": _Runs(tmp_path / "ran")}, tmp_path / name)
    with pytest.raises(CheckpointError, match="is a pickle that would run code"):
        read_centers(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_several_arrays_of_numpy(centers, tmp_path, save) -> None:
    path = tmp_path / "km.npz"
    for arrays in ({"cluster_centers_": centers, "b": centers}, {"km": centers, "n": np.ones(3)}):
        save(path, **arrays)
        assert np.array_equal(read_centers(path), centers)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(CheckpointError, match=r"is damaged or not a \.npz file of plain arrays"):
        read_centers(path)
    save(path, a=np.array([None]))
    with pytest.raises(CheckpointError, match=r"not a \.npz file of plain arrays .*not plain numbers"):
        read_centers(path)
    np.savez_compressed(path, a=np.zeros(40_000_000))
    with pytest.raises(CheckpointError, match="inflates to more than is believed"):
        read_centers(path)


def test_an_index_of_faiss(centers, tmp_path) -> None:
    faiss = pytest.importorskip("faiss")
    path, table = tmp_path / "km.index", np.ascontiguousarray(centers, dtype=np.float32)
    for kind, message in (
        (faiss.IndexFlatL2, None),
        (faiss.IndexFlatIP, "by another measure than distance"),
        (lambda width: faiss.IndexIDMap(faiss.IndexFlatL2(width)), "does not hold its vectors as they are"),
    ):
        faiss.write_index(kind(table.shape[1]), str(path))
        index = faiss.read_index(str(path))
        index.add_with_ids(table, np.arange(len(table))) if message and "hold" in message else index.add(
            table
        )
        faiss.write_index(index, str(path))
        if message is None:
            assert np.array_equal(read_centers(path), centers)
        else:
            with pytest.raises(CheckpointError, match=message):
                read_centers(path)
    faiss.write_index(faiss.IndexFlatL2(4), str(path))
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(CheckpointError, match="is damaged or no index of faiss"):
        read_centers(path)


@pytest.mark.parametrize("floats", [2**33, 31, 29, 2**64 - 1])
def test_an_index_that_states_more_than_it_holds(tmp_path, floats) -> None:
    head = struct.pack("<4siqqq?iQ", b"IxF2", 6, floats // 6, 1 << 20, 1 << 20, True, 1, floats)
    (tmp_path / "km.index").write_bytes(head + bytes(30 * 4))
    with pytest.raises(CheckpointError, match=r"no index of faiss \(its size is not the one it states\)"):
        read_centers(tmp_path / "km.index")


def test_an_index_without_faiss(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    (tmp_path / "km.index").write_bytes(b"IxF2" + bytes(41))
    with pytest.raises(
        CheckpointError, match=r"faiss, which is not installed: pip install faiss-cpu, or give .*\.npy"
    ):
        read_centers(tmp_path / "km.index")


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
