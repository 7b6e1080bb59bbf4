"""Weights files made to harm, and harmless objects in files that are not: neither runs, hangs or takes all memory."""

import argparse
import collections
import enum
import json
import os
import pathlib
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from speechtok.checkpoints.read import load_plain, read_shapes, read_state_dict
from speechtok.errors import CheckpointError


class Colour(enum.Enum):
    RED = 1


def _tensor(
    *, numel: int, offset: int = 0, shape: tuple[int, ...] = (2,), stride: tuple[int, ...] = (1,)
) -> bytes:
    """Return a tensor as a pickle of torch describes it, of storage 0."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"L%dL\n" % value for value in values) + b"t"

    pointer = (
        b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + b"L%dL\ntQ" % numel
    )
    where = pointer + b"L%dL\n" % offset + numbers(shape) + numbers(stride)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + where + b"I00\nccollections\nOrderedDict\n)RtR"


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _entry(value: bytes, key: str = "a") -> bytes:
    return b"}" + _text(key) + value + b"s"


def _write(
    path: Path, pickled: bytes, *, numbers: bytes = bytes(8), method: int = zipfile.ZIP_STORED
) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pickled + b".", compress_type=method)
        archive.writestr("archive/data/0", numbers, compress_type=method)
    return path


def _shared(levels: int) -> bytes:
    """Return a dictionary in which each level holds the next one twice."""
    inner = _entry(_tensor(numel=2))
    for level in range(levels):
        inner = (
            inner + b"q%c" % level + b"0}(" + _text("a") + b"h%c" % level + _text("b") + b"h%c" % level + b"u"
        )
    return inner


ATTACKS = {
    "a stride of nothing": _entry(_tensor(numel=1, shape=(10**12,), stride=(0,))),
    "strides of nothing": _entry(_tensor(numel=1, shape=(10**6, 10**6), stride=(0, 0))),
    "more numbers than there are": _entry(_tensor(numel=10**12, shape=(10**12,))),
    "a storage longer than its record": _entry(_tensor(numel=4, shape=(4,))),
    "an offset outside": _entry(_tensor(numel=2, offset=2**61)),
    "an offset below": _entry(_tensor(numel=2, offset=-1)),
    "a stride below": _entry(_tensor(numel=2, offset=1, stride=(-1,))),
    "a stride outside": _entry(_tensor(numel=2, stride=(2**60,))),
    "a size below": _entry(_tensor(numel=2, shape=(-2,))),
    "other strides than sizes": _entry(_tensor(numel=2, shape=(1, 2))),
    "a thousand axes": _entry(_tensor(numel=2, shape=(1,) * 1000, stride=(1,) * 1000)),
    "shared dictionaries": _shared(40),
    "a name without end": _entry(_entry(_tensor(numel=2), "b" * 2000)),
    "a dictionary inside itself": b"}q\0" + _text("a") + b"h\0s",
    "nested dictionaries": b"}" + (_text("a") + b"}") * 50_000 + b"s" * 50_000,
    "nested tuples as a key": b"}" + b")" + b"\x85" * 200_000 + b"Ns",
    "a module": _entry(b"cmy.models\nNetwork\n)R}b"),
    "no storage": _entry(b"ctorch._utils\n_rebuild_tensor_v2\n(NI0\n(I2\nt(I1\ntI00\n}tR"),
    "too few arguments": _entry(b"ctorch._utils\n_rebuild_tensor_v2\n)R"),
    "nothing": b"",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_end_in_a_sentence(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / "w.pt", ATTACKS[name])
    with pytest.raises(CheckpointError, match=r"w\.pt") as caught:
        read_state_dict(path)
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        b"cos\nsystem\n(" + _text("true") + b"tR",
        b"c__builtin__\neval\n(" + _text("1") + b"tR",
        b"cbuiltins\ngetattr\n(cpathlib\nPath\n" + _text("touch") + b"tR(" + _text("x") + b"tR",
        b"ctorch.hub\nload\n(" + _text("x") + b"tR",
        b"cnumpy\nload\n(" + _text("x") + b"tR",
        b"csomething.evil\nrun\n)R",
        b"ios\nsystem\n",
        b"\x82\x01",
    ],
)
def test_calls_are_refused(tmp_path: Path, call: bytes) -> None:
    path = _write(tmp_path / "w.pt", _entry(_tensor(numel=2)) + _text("b") + call + b"s")
    with pytest.raises(
        CheckpointError, match=r"w\.pt' is (refused because it is a pickle that would run|damaged)"
    ):
        read_state_dict(path)


def test_a_pickle_that_inflates_without_end_is_refused(tmp_path: Path) -> None:
    pickled = b"}" + b"B" + struct.pack("<I", 2**26 + 1) + bytes(2**26 + 1) + b"0"
    path = _write(tmp_path / "w.pt", pickled, method=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**20
    with pytest.raises(CheckpointError, match=r"data\.pkl' is too long"):
        read_state_dict(path)


def test_tensors_that_are_compressed_are_refused(tmp_path: Path) -> None:
    pickled = _entry(_tensor(numel=2**24, shape=(2**24,)))
    path = _write(tmp_path / "w.pt", pickled, numbers=bytes(2**26), method=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="its tensors are compressed"):
        read_state_dict(path)


def test_a_list_of_records_without_end_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "w.pt", _entry(_tensor(numel=2)))
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\5\6")
    start = struct.unpack("<I", content[end + 16 : end + 20])[0]
    path.write_bytes(
        bytes(2**24) + content[:end] + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, 2**24, start, 0)
    )
    path.write_bytes(b"PK\3\4" + path.read_bytes())
    with pytest.raises(CheckpointError, match="its list of records is too long"):
        read_state_dict(path)


def test_safetensors_with_a_million_entries_are_refused(tmp_path: Path) -> None:
    header = json.dumps(
        {f"e{k}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for k in range(150_000)}
    )
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode())
    with pytest.raises(CheckpointError, match=r"w\.safetensors' is damaged .*its list of tensors takes"):
        read_state_dict(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "entry",
    [
        '"F32", "shape": [1000000000000], "data_offsets": [0, 4000000000000]',
        '"F32", "shape": [2], "data_offsets": [8, 0]',
        '"F32", "shape": [-2], "data_offsets": [0, 8]',
        '"F32", "shape": [4294967296, 4294967296, 4294967296], "data_offsets": [0, 8]',
        '"I3", "shape": [2], "data_offsets": [0, 8]',
        '"F32", "shape": ' + "[" * 5000 + "]" * 5000 + ', "data_offsets": [0, 8]',
    ],
)
def test_safetensors_that_lie_are_refused(tmp_path: Path, entry: str) -> None:
    header = f'{{"a": {{"dtype": {entry}}}}}'.encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(CheckpointError, match=r"w\.safetensors"):
        read_state_dict(tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    for read in (read_state_dict, read_shapes, load_plain):
        with pytest.raises(CheckpointError, match=f"{name}' is a named pipe"):
            read(tmp_path / name)


@pytest.mark.parametrize("legacy", [False, True])
def test_harmless_objects_are_passed_over(tmp_path: Path, legacy: bool) -> None:
    base = torch.arange(10.0)
    model = {
        "part": base[2:5],
        "turned": torch.arange(6).view(2, 3).t(),
        "flags": torch.tensor([True, False]),
    }
    model |= {"one": torch.tensor(3.0), "none": torch.empty(0, 3), "same": torch.ones(1, 1).expand(2, 5)}
    model |= {"short": torch.randn(3).bfloat16(), "own": torch.nn.Parameter(torch.ones(2))}
    if not legacy:
        model |= {"unsigned": torch.tensor([1, 2], dtype=torch.uint16)}
    content = {
        "model": collections.OrderedDict(model),
        "moments": {0: {"step": torch.tensor(1.0)}},
        "path": pathlib.PurePosixPath("a/b"),
        "settings": argparse.Namespace(rate=1),
        "colour": Colour.RED,
        "lists": collections.defaultdict(list, {"a": [1, 2]}),
        "random": (random.getstate(), torch.get_rng_state(), np.random.default_rng(0)),
        "mean": np.float64(209.5),
        "count": np.int64(3),
        "levels": np.arange(3.0),
        "type": torch.float32,
        "device": torch.device("cpu"),
        "size": torch.Size([2, 3]),
    }
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    read = read_state_dict(tmp_path / "w.pt")
    assert list(read) == [*(f"model.{name}" for name in model), "moments.0.step"]
    for name, value in model.items():
        assert torch.equal(read[f"model.{name}"], value)
        assert read[f"model.{name}"].dtype == value.dtype
        assert read[f"model.{name}"].is_contiguous()
    plain = load_plain(tmp_path / "w.pt")
    assert (plain["mean"], plain["count"], plain["size"]) == (209.5, 3, (2, 3))
    assert type(plain["mean"]) is float
    assert plain["lists"] == {"a": [1, 2]}
    assert plain["levels"].tolist() == [0.0, 1.0, 2.0]
    assert torch.equal(plain["random"][1], content["random"][1])  # type: ignore[index]
    assert plain["path"] is plain["settings"] is plain["colour"] is plain["device"] is None


def _forms(folder: Path) -> dict[str, bytes]:
    tensors: dict[str, Tensor] = {"a.weight": torch.ones(3, 2), "b": torch.arange(4)}
    torch.save(tensors, folder / "zip.pt")
    torch.save(tensors, folder / "row.pt", _use_new_zipfile_serialization=False)
    torch.save({"f0_mean": np.float64(1.5)}, folder / "plain.pt")
    save_file(tensors, folder / "safe.safetensors")
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_files_end_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    name, whole = data.draw(st.sampled_from(sorted(_forms(folder).items())))
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged)))
        damaged[place : place + data.draw(st.sampled_from([0, 1, 1, 4]))] = data.draw(st.binary(max_size=4))
    (folder / name).write_bytes(damaged)
    readers: list[Callable[[Path], Any]] = [read_state_dict, read_shapes, load_plain]
    for read in readers:
        refusal = name
        try:
            read(folder / name)
        except CheckpointError as error:
            refusal = str(error)
        assert name in refusal


def test_a_plain_pickle_is_no_weights_file(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match=r"w\.pt' is damaged or not a torch weights file"):
        read_state_dict(tmp_path / "w.pt")
