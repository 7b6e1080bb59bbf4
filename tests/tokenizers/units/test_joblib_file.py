"""Joblib and `.npy` files made to harm: each ends in one sentence, in little time and memory."""

import pickle
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechtok.errors import CheckpointError
from speechtok.tokenizers.units.joblib_file import read_arrays

GOLDENS = Path(__file__).parents[2] / "goldens" / "units"
WRAPPER = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81"
DTYPE = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f8I0\nI1\ntR"


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _wrapped(dtype: bytes, shape: bytes) -> bytes:
    """Return a joblib description of an array, of which nothing follows."""
    state = b"}(" + _text("dtype") + dtype + _text("shape") + shape + _text("order") + _text("C") + b"u"
    return WRAPPER + state + b"b"


def _reconstructed(dtype: bytes, shape: bytes, content: bytes = b"N") -> bytes:
    """Return an array as NumPy pickles it."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\nt" + _text("b") + b"tR"
        b"(I1\n" + shape + dtype + b"I00\n" + content + b"tb"
    )


FIELDS = b"(I3\n" + _text("<") + b"N(" + _text("a") + b"t}" + _text("a") + b"(" + DTYPE + b"I99999999\nts"
ATTACKS = {
    "a type given fields outside of its size": _reconstructed(
        DTYPE + FIELDS + b"I8\nI1\nI0\ntb", b"(I4\nt", b"C\x20" + bytes(32)
    ),
    "a type given another size": _reconstructed(
        DTYPE + b"(I3\n" + _text(">") + b"NNNI1000000\nI1\nI0\ntb", b"(I4\nt", b"C\x20" + bytes(32)
    ),
    "a state of an array that is none": _reconstructed(DTYPE, b"I5\n", b"C\x20" + bytes(32)),
    "an array whose state is an array": _reconstructed(DTYPE, b"(I4\nt", _reconstructed(DTYPE, b"(I1\nt")),
    "a shape of 10^18": _wrapped(DTYPE, b"(L1000000000000000000L\nt"),
    "a shape below nothing": _wrapped(DTYPE, b"(I-1\nI-8\nt"),
    "a shape of names": _wrapped(DTYPE, b"(cnumpy\ndtype\nt"),
    "a thousand axes": _wrapped(DTYPE, b"(" + b"I1\n" * 1000 + b"t"),
    "records": _wrapped(b"cnumpy\ndtype\n(X\x03\x00\x00\x00V99I0\nI1\ntR", b"(I1\nt"),
    "names as types": _wrapped(b"cnumpy\nndarray\n", b"(I1\nt"),
    "items set in an array": _reconstructed(DTYPE, b"(I1\nt", b"C\x08" + bytes(8)) + b"I0\nI5000\ns",
    "nested tuples as a key": b"}" + b")" + b"\x85" * 300_000 + b"Ns",
    "integers of one hash as keys": b"}("
    + b"".join(b"\x8a\x0c" + (k * (2**61 - 1)).to_bytes(12, "little") + b"N" for k in range(50_000))
    + b"u",
    "nested lists": b"]" * 300_000 + b"a" * 299_999,
    "an integer of 5,000 digits": b"L" + b"9" * 5000 + b"L\n",
    "a long string that is none": b"B\xff\xff\xff\x7f",
    "a long frame": b"\x95" + b"\xff" * 8,
    "a memo at the end of all": b"Nr\xff\xff\xff\xff",
    "steps without end": b"N0" * 500_001 + b"N",
    "an empty stack": b"0000",
    "a mark on top": b"(b",
    "a persistent name": b"Pabc\n",
    "a buffer outside": b"\x97",
    "an extension": b"\x82\x01",
    "a call of a value": b"N)R",
    "a call without arguments": b"cnumpy\ndtype\nNR",
    "a call of what was made": b"cnumpy\ndtype\n)R)R",
}


def _arrays(path: Path) -> Mapping[str, np.ndarray]:
    """Return the arrays of a file, none when it is refused in a sentence that names it."""
    refusal = ""
    try:
        return read_arrays(path)
    except CheckpointError as error:
        refusal = str(error)
    assert path.name in refusal
    assert len(refusal) < 1000
    return {}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_end_in_a_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / "km.bin"
    path.write_bytes(b"\x80\x04" + ATTACKS[name] + b".")
    assert name == "items set in an array" or not _arrays(path)


def test_a_file_that_inflates_without_end_is_refused(tmp_path: Path) -> None:
    packer = zlib.compressobj(1)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    (tmp_path / "km.bin").write_bytes(head + block * 5)
    with pytest.raises(CheckpointError, match=r"km\.bin.*inflates to more than"):
        read_arrays(tmp_path / "km.bin")


def test_names_are_shown_cut_and_escaped(tmp_path: Path) -> None:
    (tmp_path / "km.bin").write_bytes(b"cevil\x1b[31m\n" + b"x" * 5000 + b"\n.")
    with pytest.raises(CheckpointError, match=r"names evil\\x1b\[31m\.x+…, not only arrays"):
        read_arrays(tmp_path / "km.bin")


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 8)}",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 8)}",
        b"{'descr': [('a', '<f8', (2147483647,))], 'fortran_order': False, 'shape': (1,)}",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        b"{'descr': '', 'fortran_order': False, 'shape': (1,)}",
        b"(" * 5000,
        b"[1]",
        b"__import__('os')",
    ],
)
def test_descriptions_of_arrays_are_checked(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "km.npy"
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(64))
    with pytest.raises(CheckpointError, match=r"km\.npy' is not a plain \.npy array"):
        read_arrays(path)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "<i8", "|u1", "|b1"])
@pytest.mark.parametrize("protocol", [3, 4])
def test_what_numpy_writes_is_read(tmp_path: Path, order: Any, dtype: str, protocol: int) -> None:
    array = np.asarray(np.arange(12).reshape(3, 4) % 2, dtype=dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    (tmp_path / "a.bin").write_bytes(pickle.dumps(array, protocol=protocol))
    for name in ("a.npy", "a.bin"):
        got = read_arrays(tmp_path / name)[""]
        assert got.dtype == array.dtype
        assert np.array_equal(got, array)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_end_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(["kmeans_joblib.bin", "kmeans_array.bin", "kmeans.npy"]))
    whole = bytearray((GOLDENS / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(whole), 1000) - 1))
        size = data.draw(st.sampled_from([0, 1, 1, 1, 4]))
        whole[place : place + size] = data.draw(st.binary(min_size=0, max_size=4))
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(whole)
    _arrays(path)


def test_a_scan_of_short_pickles(tmp_path: Path) -> None:
    """Random steps of a pickle, on arrays and types."""
    random = np.random.default_rng(0)
    parts = [
        *ATTACKS.values(),
        b"0",
        b"2",
        b"(",
        b"b",
        b"R",
        b"t",
        b"a",
        b"s",
        b"u",
        b"e",
        b"\x85",
        b"q\1",
        b"h\1",
    ]
    parts = [part for part in parts if len(part) < 1000]
    for _ in range(500):
        chosen = random.integers(len(parts), size=6)
        (tmp_path / "km.bin").write_bytes(b"".join(parts[int(k)] for k in chosen) + b".")
        _arrays(tmp_path / "km.bin")
