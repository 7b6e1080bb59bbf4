import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from speechtok.checkpoints.read import load_strict, read_shapes, read_state_dict, read_values
from speechtok.errors import CheckpointError


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    return {
        "weight": torch.randn(3, 2, dtype=torch.float64),
        "bias": torch.randn(3),
        "head.weight": torch.randn(5, 5),
        "steps": torch.tensor(7),
    }


class RunsCode:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_reads_every_form_exactly(tmp_path: Path, tensors: dict[str, torch.Tensor], form: str) -> None:
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.bin")
    if form == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=form == "zip")
    read = read_state_dict(path)
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[k], v) and read[k].dtype == v.dtype for k, v in tensors.items())
    assert read_shapes(path) == {k: tuple(v.shape) for k, v in tensors.items()}
    double = read_state_dict(path, wanted=lambda name: "head" not in name, dtype=torch.float64)
    assert set(double) == {"weight", "bias", "steps"}
    assert torch.equal(double["weight"], tensors["weight"])
    assert double["bias"].dtype == torch.float64
    assert double["steps"].dtype == torch.int64


def test_nested_dictionaries_are_flattened(tmp_path: Path) -> None:
    torch.save({"model": {"a.weight": torch.ones(2)}, "epoch": 3}, tmp_path / "w.pt")
    assert list(read_state_dict(tmp_path / "w.pt")) == ["model.a.weight"]


def test_result_is_independent_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    torch.save({"a": torch.ones(1000)}, path)
    read = read_state_dict(path)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert torch.equal(read["a"], torch.ones(1000))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(
    tmp_path: Path, legacy: bool, nested: bool
) -> None:
    marker = tmp_path / "ran"
    bad: object = RunsCode(marker)
    if nested:
        bad = {"weight": torch.ones(2), "extra": bad}
    torch.save(bad, tmp_path / "bad.bin", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="refused because it is a pickle that would run code"):
        read_state_dict(tmp_path / "bad.bin")
    assert not marker.exists()


def test_plain_pickle_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "bad.bin").write_bytes(pickle.dumps(RunsCode(marker)))
    with pytest.raises(CheckpointError, match=r"bad\.bin"):
        read_state_dict(tmp_path / "bad.bin")
    assert not marker.exists()


@pytest.mark.parametrize("name", ["w.bin", "w.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"<html>", b"PK\x03\x04oops"]
)
def test_other_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name) as caught:
        read_state_dict(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["w.bin", "w.safetensors"])
def test_truncated_files_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "w.bin":
        torch.save({"a": torch.ones(4096)}, path)
    else:
        save_file({"a": torch.ones(4096)}, path)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(CheckpointError, match=name):
        read_state_dict(path)


def test_missing_file_and_empty_content(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no weights file"):
        read_state_dict(tmp_path / "none.bin")
    torch.save({"epoch": 1}, tmp_path / "empty.bin")
    with pytest.raises(CheckpointError, match="holds no tensors"):
        read_state_dict(tmp_path / "empty.bin")


def test_load_strict_fills_a_meta_module_and_drops_heads() -> None:
    with torch.device("meta"):
        module = nn.Linear(2, 3)
    state = {
        "weight": torch.randn(3, 2).double(),
        "bias": torch.randn(3).double(),
        "head.weight": torch.ones(1),
    }
    load_strict(module, state, ignored_prefixes=["head."])
    assert torch.equal(module.weight, state["weight"])
    assert not module.weight.requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias": None}, r"f.bin does not fit the network: it lacks entry 'bias'\."),
        ({"more": torch.ones(1)}, "it has unexpected entry 'more'"),
        ({"weight": torch.ones(2, 3)}, r"another shape for entry 'weight' \(has \(2, 3\), needs \(3, 2\)\)"),
        ({f"x{i}": torch.ones(1) for i in range(9)}, "entries 'x0', 'x1', 'x2', 'x3' and 5 more"),
        ({"bias": None, "more": torch.ones(1)}, "it lacks entry 'bias'; it has unexpected entry 'more'"),
    ],
)
def test_load_strict_names_what_is_wrong(change: dict[str, torch.Tensor | None], message: str) -> None:
    state = {"weight": torch.ones(3, 2), "bias": torch.ones(3), **change}
    with pytest.raises(CheckpointError, match=message):
        load_strict(nn.Linear(2, 3), {k: v for k, v in state.items() if v is not None}, source="f.bin")


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A list of two files, and its content."""
    save_file({"a": torch.ones(2), "b": torch.zeros(3)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"c": torch.full((1, 2), 3.0)}, tmp_path / "model-00002-of-00002.safetensors")
    places = dict.fromkeys("ab", "model-00001-of-00002.safetensors") | {
        "c": "model-00002-of-00002.safetensors"
    }
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 28}, "weight_map": places}))
    return index


def test_several_files_are_one(shards: Path) -> None:
    assert read_shapes(shards) == {"a": (2,), "b": (3,), "c": (1, 2)}
    found = read_state_dict(shards, wanted=lambda name: name != "a", dtype=torch.float64)
    assert list(found) == ["b", "c"]
    assert torch.equal(found["c"], torch.full((1, 2), 3.0, dtype=torch.float64))
    assert read_values(shards, ("cfg",)) == {}


def test_files_that_do_not_belong_to_their_list(shards: Path) -> None:
    second = shards.with_name("model-00002-of-00002.safetensors")
    save_file({"d": torch.ones(1)}, second)
    with pytest.raises(
        CheckpointError, match=r"does not belong to '.*00002.safetensors': it has an entry .*'c'"
    ):
        read_shapes(shards)
    save_file({"c": torch.ones(1), "d": torch.ones(1)}, second)
    with pytest.raises(CheckpointError, match=r"it lacks an entry that it has \('d'\)"):
        read_shapes(shards)
    second.write_bytes(b"no weights, " * 9)
    with pytest.raises(CheckpointError, match=r"00002.safetensors' is damaged or not a safetensors file"):
        read_shapes(shards)
    second.unlink()
    with pytest.raises(CheckpointError, match=r"00002.safetensors"):
        read_shapes(shards)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "must have a `weight_map`"),
        ({"weight_map": {"a": 1}}, "must have a `weight_map`"),
        ({"weight_map": {}}, "names 0 files and 0 entries"),
        ({"weight_map": {str(i): f"{i}.safetensors" for i in range(1001)}}, "names 1001 files"),
        ({"weight_map": {"a": "../a.safetensors"}}, "files lie beside it"),
        ({"weight_map": {"a": "/etc/a.safetensors"}}, "files lie beside it"),
        ({"weight_map": {"a": "a.bin"}}, "files lie beside it and end in .safetensors"),
        ({"weight_map": {"a": "a.safetensors\n"}}, "files lie beside it"),
    ],
)
def test_lists_of_files_are_checked(tmp_path: Path, content: object, message: str) -> None:
    (tmp_path / "x.safetensors.index.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message):
        read_state_dict(tmp_path / "x.safetensors.index.json")
