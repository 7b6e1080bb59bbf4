"""Read arrays from joblib pickles and `.npy` files without running anything a file says.

Conventions: joblib writes an object as a pickle in which each array is a small description, followed in the
stream by the array's bytes (with a count byte and so many bytes of alignment before them, in newer files).
A whole file may be compressed with zlib, gzip, bz2, xz or lzma.

The pickle is read as plain values (`checkpoints/pickles.py`) and may name arrays, their types, and classes of
scikit-learn and NumPy's random generators alone. NumPy sees type, shape and bytes after they were checked.

Contents: `read_arrays`.
"""

from __future__ import annotations

import ast
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from speechtok.checkpoints.pickles import ForeignNameError, Made, Name, numpy_type, plain_array, read_pickle
from speechtok.checkpoints.torch_file import open_archive
from speechtok.errors import CheckpointError
from speechtok.limits import CENTRES_BYTES, MIB, inflate, inflated_bytes, read_bytes

_WRAPPERS = {
    Name("joblib.numpy_pickle", "NumpyArrayWrapper"),
    Name("sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper"),
}
"""Descriptions of arrays whose bytes follow."""
_RECONSTRUCTED = {Name(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
"""Arrays whose bytes are in their state."""
_FROM_BUFFER = {Name(f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")}
"""Arrays of protocol 5, whose bytes are their first argument."""
_ENCODE = Name("_codecs", "encode")
"""How protocol 2 writes bytes: as text in which each character is a byte."""
_ADMITTED = {
    *_WRAPPERS,
    *_RECONSTRUCTED,
    *_FROM_BUFFER,
    _ENCODE,
    *(Name(f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    Name("numpy", "ndarray"),
    Name("numpy", "dtype"),
}
_NPY = b"\x93NUMPY"
_ZIP = b"PK\3\4"
_LONGEST_HEADER = 10_000
"""Bytes of the description in a `.npy` file, as NumPy bounds it."""


def read_arrays(path: Path) -> Mapping[str, np.ndarray[Any, Any]]:
    """Return the arrays of a pickle of joblib or Python, a `.npy` or `.npz` file.

    Those of an estimator, a dictionary or a `.npz` file come by name, a single one as "".

    Args:
        path: The file; its first bytes tell which it is.

    Raises:
        CheckpointError: If the file is damaged, too large, or names anything but arrays and estimators.
    """
    data = read_bytes(path, CENTRES_BYTES, "k-means file", error=CheckpointError)
    if data.startswith(_NPY) or path.suffix == ".npy":
        try:
            return {"": _npy(data)}
        except ValueError as error:
            raise CheckpointError(f"'{path}' is not a plain .npy array ({error}).") from error
    if data.startswith(_ZIP):
        return _npz(data, path)
    try:
        stream = io.BytesIO(inflate(data, min(CENTRES_BYTES, inflated_bytes(len(data)))))
        content = read_pickle(
            stream, admits=_admits, make=_make, built=lambda made: _read_array(made, stream)
        )
    except ForeignNameError as error:
        raise CheckpointError(
            f"'{path}' is refused because it is a pickle that names {error}, not only arrays. "
            "Use the published file, or its centres as .npy."
        ) from error
    except ValueError as error:
        raise CheckpointError(f"'{path}' is damaged or not a joblib file ({error}).") from error
    if isinstance(content, Made) and isinstance(content.value, np.ndarray):
        return {"": content.value}
    attributes = content.state if isinstance(content, Made) else content
    return {
        name: item.value
        for name, item in (attributes if isinstance(attributes, dict) else {}).items()
        if isinstance(name, str) and isinstance(item, Made) and isinstance(item.value, np.ndarray)
    }


def _admits(name: Name) -> bool:
    top = name.module.split(".")[0]
    estimator = top == "sklearn" and "joblib" not in name.module
    return estimator or name in _ADMITTED or name.module.startswith("numpy.random")


def _make(name: Name, arguments: tuple[Any, ...]) -> Any:
    """Return what stands for a call: bytes, an array's note with its value, or a note."""
    if name == _ENCODE:
        if (
            len(arguments) != 2
            or not isinstance(arguments[0], str)
            or arguments[1] not in ("latin1", "latin-1")
        ):
            raise ForeignNameError("_codecs.encode of other than bytes")
        try:
            return arguments[0].encode("latin-1")
        except UnicodeEncodeError:
            raise ValueError("it holds an array without bytes") from None
    made = Made(name, arguments)
    if name in _FROM_BUFFER:
        content, dtype, shape, order, *axes = arguments
        _refuse_objects(dtype)
        if not isinstance(content, bytes | bytearray) or order not in ("C", "F") or axes not in ([], [None]):
            raise ValueError("it holds an array that is not understood")
        made.value = plain_array(numpy_type(dtype), shape, bytes(content), fortran=order == "F")
    return made


def _read_array(made: Made, stream: io.BytesIO) -> None:
    """Take an array once its description is whole."""
    if made.name in _WRAPPERS and isinstance(made.state, dict):
        about = made.state
        _refuse_objects(about.get("dtype"))
        if about.get("numpy_array_alignment_bytes") is not None:
            stream.read(int.from_bytes(stream.read(1)))
        code, shape, fortran = numpy_type(about.get("dtype")), about.get("shape"), about.get("order") == "F"
        made.value = plain_array(code, shape, stream.read, fortran=fortran)
    elif made.name in _RECONSTRUCTED and isinstance(made.state, tuple) and len(made.state) == 5:
        _, shape, dtype, fortran, content = made.state
        _refuse_objects(dtype)
        if not isinstance(content, bytes):
            raise ValueError("it holds an array without bytes")
        made.value = plain_array(numpy_type(dtype), shape, content, fortran=fortran is True)


def _refuse_objects(dtype: object) -> None:
    if isinstance(dtype, Made) and dtype.arguments[:1] in (("O",), ("O8",)):
        raise ForeignNameError("an array of Python objects")


def _npz(data: bytes, path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays of a `.npz` file by name.

    Raises:
        CheckpointError: If the file is damaged, holds other than plain numbers, or inflates beyond what is believed.
    """
    left, arrays = min(CENTRES_BYTES, inflated_bytes(len(data))), {}
    try:
        with open_archive(io.BytesIO(data)) as archive:
            for record in archive.infolist():
                content = bytearray()
                with archive.open(record) as stream:
                    while piece := stream.read(MIB):
                        left -= len(piece)
                        if left < 0:
                            raise ValueError("it inflates to more than is believed")
                        content += piece
                arrays[record.filename.removesuffix(".npy")] = _npy(bytes(content))
    except (ValueError, RuntimeError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"'{path}' is damaged or not a .npz file of plain arrays ({error}).") from error
    return arrays


def _npy(data: bytes) -> np.ndarray[Any, Any]:
    """Return the array of a `.npy` file: a magic string, a version, the length of a description, and bytes.

    Raises:
        ValueError: If the file is damaged or holds other than plain numbers.
    """
    if not data.startswith(_NPY):
        raise ValueError("its first bytes are others")
    width = 2 if data[6:7] == b"\1" else 4
    start = 8 + width + int.from_bytes(data[8 : 8 + width], "little")
    if start > _LONGEST_HEADER or start > len(data):
        raise ValueError("its description is damaged")
    try:
        # Safe because it builds plain values from the syntax tree of a short text: names and calls are refused.
        about = ast.literal_eval(data[8 + width : start].decode("latin-1").strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ValueError("its description is damaged") from None
    if not isinstance(about, dict):
        raise ValueError("its description is damaged")
    code, fortran = about.get("descr"), about.get("fortran_order") is True
    return plain_array(code, about.get("shape"), data[start:], fortran=fortran)
