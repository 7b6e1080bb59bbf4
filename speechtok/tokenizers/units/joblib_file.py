"""Read arrays from joblib pickles without running anything a file says.

Conventions: joblib writes an object as a pickle in which each array is a small description, followed in the
stream by the array's bytes (with a count byte and so many bytes of alignment before them, in newer files).
A whole file may be compressed with zlib, gzip, bz2 or lzma.

Here the pickle can only name arrays, their types, and classes of scikit-learn and numpy's random generators; the
latter become inert bags of attributes. Every other name is refused.

Contents: `load_joblib`, `Bag`.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import pickle
import zlib
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.lib.format import read_array

from speechtok.errors import CheckpointError

_COMPRESSED = {
    b"\x1f\x8b": gzip.decompress,
    b"BZ": bz2.decompress,
    b"\xfd7zXZ": lzma.decompress,
    b"]\x00": lzma.decompress,
    b"\x78": zlib.decompress,
}
"""First bytes of a compressed file → what undoes it. A plain pickle starts with 0x80."""


class Bag:
    """Stands in for an object of a known harmless class: keeps its attributes, does nothing."""

    attributes: dict[str, Any]

    def __new__(cls, *arguments: Any) -> Self:
        """Make one however a pickle chooses to: with or without a call of `__init__`."""
        bag = super().__new__(cls)
        bag.attributes = {"arguments": arguments}
        return bag

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.attributes |= {str(name): value for name, value in state.items()}


class _Wrapper(Bag):
    """Stands in for the description of an array whose bytes follow."""


def _empty_array(*arguments: Any) -> np.ndarray[Any, Any]:
    """Stand in for numpy's reconstruction of an array; its state fills it."""
    return np.ndarray.__new__(np.ndarray, (0,), np.dtype("b"))


def _scalar(dtype: Any, content: bytes) -> Any:
    """Stand in for numpy's scalar; object scalars would hold a pickle and are refused."""
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise pickle.UnpicklingError("a numpy scalar of type object")
    return np.frombuffer(content, dtype=dtype)[0]


def _array_type(*arguments: Any, **options: Any) -> Any:
    """Stand in for `numpy.dtype`; types that hold Python objects are refused."""
    dtype = np.dtype(*arguments, **options)
    if dtype.hasobject:
        raise pickle.UnpicklingError("an array of Python objects")
    return dtype


_ADMITTED: dict[tuple[str, str], Any] = {
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _Wrapper,
    ("sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper"): _Wrapper,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _array_type,
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _ADMITTED[_module, "_reconstruct"] = _empty_array
    _ADMITTED[_module, "scalar"] = _scalar


_Unpickler: Any = pickle._Unpickler
"""The pure-Python unpickler, whose steps can be overridden one by one."""


class _Reader(_Unpickler):  # type: ignore[misc]
    """The unpickler with its names restricted and arrays read after their descriptions."""

    dispatch: ClassVar[dict[int, Any]] = dict(_Unpickler.dispatch)

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.stream = stream

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ADMITTED:
            return _ADMITTED[module, name]
        if module.split(".")[0] == "sklearn" and "joblib" not in module:
            return Bag
        if module.startswith("numpy.random"):
            return Bag
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("a persistent id")

    def load_build(self) -> None:
        super().load_build()
        if isinstance(self.stack[-1], _Wrapper):
            self.stack[-1] = self._array(self.stack[-1].attributes)

    dispatch[pickle.BUILD[0]] = load_build

    def _array(self, about: dict[str, Any]) -> np.ndarray[Any, Any]:
        dtype, shape = about["dtype"], tuple(int(size) for size in about["shape"])
        if not isinstance(dtype, np.dtype) or dtype.hasobject:
            raise pickle.UnpicklingError("an array of Python objects")
        if about.get("numpy_array_alignment_bytes") is not None:
            self.stream.read(self.stream.read(1)[0])
        size = math.prod(shape) * dtype.itemsize
        content = self.stream.read(size)
        if len(content) != size:
            raise EOFError("an array is cut short")
        order = "F" if about.get("order") == "F" else "C"
        return np.frombuffer(content, dtype=dtype).reshape(shape, order=order)  # type: ignore[call-overload,no-any-return]


def load_joblib(path: Path) -> Any:
    """Return the content of a joblib file: plain values, arrays, and `Bag`s for objects.

    Args:
        path: The file.

    Raises:
        CheckpointError: If the file is damaged or names anything but arrays and estimators.
    """
    data = path.read_bytes()
    if data[:6] == b"\x93NUMPY":
        return read_array(io.BytesIO(data), allow_pickle=False)
    try:
        for start, undo in _COMPRESSED.items():
            if data.startswith(start):
                data = undo(data)  # type: ignore[operator]
                break
        return _Reader(io.BytesIO(data)).load()
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"'{path}' is refused because it is a pickle that names {error}, not only arrays. "
            "Use the published file, or its centres as .npy."
        ) from error
    except Exception as error:  # a damaged pickle can fail in any way
        raise CheckpointError(f"'{path}' is damaged or not a joblib file ({error}).") from error
