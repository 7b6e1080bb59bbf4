"""Files of `torch.save`, read as plain values and descriptions of tensors, each brought into memory when asked for.

Conventions: since torch 1.6 such a file is a zip archive, in which `NAME/data.pkl` is a pickle of the whole object
and each `NAME/data/KEY` holds the numbers of one storage, not compressed. Before, it was a row of pickles (a magic
number, a version, facts of the system, the object, the keys) and then, for each key, a count and the numbers. Either
pickle is read by `checkpoints/pickles.py`, so nothing a file names is looked up or called. Harmless objects beside
the tensors (paths, enumerations, settings, states of random generators) are passed over.

Contents: `TorchFile`, `StoredTensor`, `open_archive`.
"""

from __future__ import annotations

import io
import math
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from speechtok.checkpoints.pickles import (
    ForeignNameError,
    Made,
    Name,
    Pointer,
    numpy_type,
    plain_array,
    read_pickle,
)
from speechtok.limits import ARCHIVE_LIST_BYTES, INFLATED_BYTES

_MAGIC = 0x1950A86A20F9469CFC6C
_DIMENSIONS = 32
_LOCAL_HEADER = 30
"""Bytes before the name of a zip record."""
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
_DTYPES = {
    name: getattr(torch, name)
    for name in ("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2", "float32", "bfloat16")
}
"""Types that are named beside an untyped storage."""
_DATA_CLASSES = {
    "_codecs": {"encode"},
    "argparse": {"Namespace"},
    "builtins": {"getattr", "set", "frozenset", "bytearray", "slice", "range", "complex", "object"},
    "collections": {"OrderedDict", "defaultdict", "Counter", "deque"},
    "copyreg": {"_reconstructor"},
    "datetime": {"date", "datetime", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "pathlib": {
        *("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"),
    },
    "random": {"Random"},
    "types": {"SimpleNamespace"},
    "uuid": {"UUID"},
}
"""Names of the standard library that published files hold for data; any other of it has no business there."""
_OLD_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg", "pathlib._local": "pathlib"}
_PLAIN_BUILTINS = {"int", "float", "str", "bool", "bytes", "list", "dict", "tuple", "complex", "type"}
_DICTIONARIES = {("collections", "OrderedDict"), ("collections", "defaultdict"), ("collections", "Counter")}
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")


@dataclass(frozen=True)
class StoredTensor:
    """Where the numbers of a tensor lie, checked to lie inside its storage."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    key: str
    """Which storage."""
    offset: int
    """Its first number there."""
    count: int
    """Numbers from the first to the last it uses."""

    @property
    def num_bytes(self) -> int:
        """Bytes of the tensor in memory."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class _Storage:
    dtype: torch.dtype
    key: str
    numel: int
    start: int = 0


class TorchFile:
    """An open file of `torch.save`.

    Attributes:
        content: Its object: plain values, with a `StoredTensor` for each tensor and a `Made` for each other object.
        size: Bytes of the file.

    Raises:
        ForeignNameError: When its pickle names what runs code.
        ValueError: When it is damaged or of another kind; also OSError, EOFError and errors of `zipfile`.
    """

    content: Any
    size: int

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        try:
            self.size = path.stat().st_size
            self._places: dict[str, tuple[int, int]] = {}
            """Storage → first byte and length, of the forms that state them."""
            self._records: dict[str, zipfile.ZipInfo] = {}
            start = self._file.read(4)
            self._file.seek(0)
            if start == b"PK\3\4":
                self._open_archive()
            else:
                self._open_row()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> TorchFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; tensors that were read stay."""
        self._file.close()

    def read(self, stored: StoredTensor) -> Tensor:
        """Return a tensor in memory of its own, on the CPU.

        Raises:
            ValueError: When the file does not hold its numbers.
        """
        start, length = self._place(stored.key)
        first, size = stored.offset * stored.dtype.itemsize, stored.count * stored.dtype.itemsize
        if first + size > length or start + length > self.size:
            raise ValueError("a tensor reaches beyond the file")
        numbers = torch.empty(size, dtype=torch.uint8)
        if size:
            self._file.seek(start + first)
            if self._file.readinto(numbers.numpy().data) != size:
                raise ValueError("it is cut short")
        typed = numbers.ne(0) if stored.dtype == torch.bool else numbers.view(stored.dtype)
        return typed.as_strided(stored.shape, stored.stride)

    def _open_archive(self) -> None:
        with open_archive(self._file) as archive:
            records = {record.filename: record for record in archive.infolist()}
            name = next((name for name in records if name.rpartition("/")[2] == "data.pkl"), None)
            if name is None:
                raise ValueError("it is a zip archive without data.pkl")
            folder = name.removesuffix("data.pkl")
            order = records.get(f"{folder}byteorder")
            if order is not None and self._record(archive, order, 16) != sys.byteorder.encode():
                raise ValueError("its numbers are stored in another byte order")
            pickled = self._record(archive, records[name], INFLATED_BYTES)
        inside = f"{folder}data/"
        self._records = {
            key.removeprefix(inside): item for key, item in records.items() if key.startswith(inside)
        }
        self.content = _read(io.BytesIO(pickled), {})

    @staticmethod
    def _record(archive: zipfile.ZipFile, record: zipfile.ZipInfo, limit: int) -> bytes:
        try:
            with archive.open(record) as stream:
                content = stream.read(limit + 1)
        except (RuntimeError, zlib.error) as error:  # a method of compression, a password
            raise ValueError(f"its record {ascii(record.filename)[:80]} cannot be read") from error
        if len(content) > limit:
            raise ValueError(f"its record {ascii(record.filename)[:80]} is too long")
        return content

    def _open_row(self) -> None:
        if read_pickle(self._file, admits=_admits) != _MAGIC:
            raise ValueError("it does not begin as one")
        read_pickle(self._file, admits=_admits)
        system = read_pickle(self._file, admits=_admits)
        if not isinstance(system, dict) or system.get("little_endian") is not (sys.byteorder == "little"):
            raise ValueError("its numbers are stored in another byte order")
        storages: dict[str, _Storage] = {}
        self.content = _read(self._file, storages)
        keys = read_pickle(self._file, admits=_admits)
        for key in keys if isinstance(keys, list) else []:
            storage = storages.get(key) if isinstance(key, str) else None
            count = int.from_bytes(self._file.read(8), "little")
            if storage is None or count * storage.dtype.itemsize > self.size:
                raise ValueError("its list of storages is damaged")
            self._places[storage.key] = (self._file.tell(), count * storage.dtype.itemsize)
            self._file.seek(count * storage.dtype.itemsize, io.SEEK_CUR)

    def _place(self, key: str) -> tuple[int, int]:
        if key in self._places:
            return self._places[key]
        record = self._records.get(key)
        if record is None:
            raise ValueError("it lacks the numbers of a tensor")
        if record.compress_type != zipfile.ZIP_STORED:
            raise ValueError("its tensors are compressed, which torch never does")
        self._file.seek(record.header_offset)
        head = self._file.read(_LOCAL_HEADER)
        if len(head) != _LOCAL_HEADER or not head.startswith(b"PK\3\4"):
            raise ValueError("its list of records is damaged")
        behind = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
        self._places[key] = (record.header_offset + _LOCAL_HEADER + behind, record.file_size)
        return self._places[key]


def open_archive(file: BinaryIO) -> zipfile.ZipFile:
    """Open a zip archive whose list of records is of a believable length; read its records in pieces below that length.

    Raises:
        ValueError: When the list is longer; also `zipfile.BadZipFile`.
    """
    return zipfile.ZipFile(_ListBounded(file))


class _ListBounded(io.RawIOBase):
    """A file for `zipfile`, which reads the list of records in one piece; it must not be too long."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(place, whence)

    def read(self, size: int = -1) -> bytes:
        if size > ARCHIVE_LIST_BYTES:
            raise ValueError("its list of records is too long")
        return self._file.read(size)


def _read(stream: BinaryIO, storages: dict[str, _Storage]) -> Any:
    """Return the object of a pickle; storages it points at are noted by key."""

    def make(name: Name, arguments: tuple[Any, ...]) -> Any:
        return _make(name, arguments, storages)

    return read_pickle(stream, admits=_admits, make=make, built=_built)


def _admits(name: Name) -> bool:
    module = _OLD_NAMES.get(name.module, name.module)
    top = module.split(".")[0]
    if top not in sys.stdlib_module_names:
        return True  # nothing is looked up; what may be called is told in `_make`
    return name.name in _DATA_CLASSES.get(module, ()) or (
        module == "builtins" and name.name in _PLAIN_BUILTINS
    )


def _make(name: Name, arguments: tuple[Any, ...], storages: dict[str, _Storage]) -> Any:
    """Return what stands for a call: a tensor's description, a plain value, or a note."""
    module = _OLD_NAMES.get(name.module, name.module)
    if module == "torch._utils" and name.name in (
        "_rebuild_tensor",
        "_rebuild_tensor_v2",
        "_rebuild_tensor_v3",
    ):
        dtype = arguments[6] if name.name.endswith("3") else None
        pointer, offset, shape, stride = arguments[:4]
        return _tensor(pointer, offset, shape, stride, dtype, storages)
    if module == "torch._utils" and name.name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
        return arguments[0]
    if (module, name.name) == ("torch._tensor", "_rebuild_from_type_v2") and arguments[
        0
    ].module == "torch._utils":
        return _make(arguments[0], arguments[2], storages)
    if (module, name.name) in _DICTIONARIES:
        pairs = arguments[0] if arguments and isinstance(arguments[0], list) else []
        return {pair[0]: pair[1] for pair in pairs if isinstance(pair[0], str)}
    if (module, name.name) == ("torch", "Size"):
        return tuple(arguments[0])
    if (module, name.name) == ("_codecs", "encode"):
        return arguments[0].encode("latin-1") if arguments[1:] in (("latin1",), ("latin-1",)) else b""
    if module in _MULTIARRAY and name.name == "scalar":
        code = numpy_type(arguments[0])
        if code is None or not isinstance(arguments[1], bytes):
            return Made(name, arguments)
        return plain_array(code, (1,), arguments[1]).tolist()[0]
    if not _is_data(module, name.name):
        raise ForeignNameError(str(name))
    return Made(name, arguments)


def _is_data(module: str, name: str) -> bool:
    """Tell whether a call of a name makes data, as far as one can see: a class, or a known maker of values."""
    top = module.split(".")[0]
    if top in sys.stdlib_module_names:
        return True
    if top in ("numpy", "torch"):
        private = name.startswith("_") or module.startswith("numpy.random")
        return private or name[:1].isupper() or name in ("dtype", "ndarray", "device", "scalar")
    return name.rpartition(".")[2].lstrip("_")[:1].isupper()


def _built(made: Made) -> None:
    """Take a NumPy array once its state is there."""
    if made.name.module in _MULTIARRAY and isinstance(made.state, tuple) and len(made.state) == 5:
        _, shape, dtype, fortran, content = made.state
        code = numpy_type(dtype)
        if code is not None and isinstance(content, bytes):
            array: np.ndarray[Any, Any] = plain_array(code, shape, content, fortran=fortran is True)
            made.value = array


def _tensor(
    pointer: Any, offset: Any, shape: Any, stride: Any, named: Any, storages: dict[str, _Storage]
) -> StoredTensor:
    """Return where a tensor lies, after checking that it does so inside its storage.

    Raises:
        ValueError: When it does not.
    """
    storage = _storage(pointer, storages)
    dtype = _DTYPES.get(named.name) if isinstance(named, Name) else storage.dtype
    if dtype is None or not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise ValueError("a tensor is of an unknown type or shape")
    numbers = [offset, *shape, *stride]
    if not len(shape) == len(stride) <= _DIMENSIONS or not all(
        type(item) is int and 0 <= item < 2**62 for item in numbers
    ):
        raise ValueError("a tensor has an impossible shape")
    count = 0 if 0 in shape else 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if (offset + count) * dtype.itemsize > storage.numel * storage.dtype.itemsize:
        raise ValueError("a tensor reaches beyond its storage")
    start = storage.start * storage.dtype.itemsize // dtype.itemsize
    return StoredTensor(dtype, shape, stride, storage.key, start + offset, count)


def _storage(pointer: Any, storages: dict[str, _Storage]) -> _Storage:
    """Return the storage that a pickle points at: ("storage", type, key, place, numbers, view of another or None)."""
    target = pointer.target if isinstance(pointer, Pointer) else ()
    if not isinstance(target, tuple) or len(target) not in (5, 6) or target[0] != "storage":
        raise ValueError("a tensor has no storage")
    _, kind, key, _, numel, *view = target
    dtype = _STORAGES.get(kind.name) if isinstance(kind, Name) and kind.module.startswith("torch") else None
    if dtype is None or not isinstance(key, str) or type(numel) is not int or not 0 <= numel < 2**62:
        raise ValueError("a tensor has an unknown storage")
    root = storages.setdefault(key, _Storage(dtype, key, numel))
    if root.dtype.itemsize != dtype.itemsize:
        raise ValueError("a storage is named with two types")
    if not view or view[0] is None:
        return _Storage(dtype, key, numel)
    _, first, length = view[0]
    if not all(type(item) is int and item >= 0 for item in (first, length)) or first + length > numel:
        raise ValueError("a storage reaches beyond another")
    return _Storage(dtype, key, length, first)
