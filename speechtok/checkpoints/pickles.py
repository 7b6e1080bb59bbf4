"""Pickles as plain values: nothing a file names is looked up, called or built.

A pickle is a program for a small machine with a stack. Python's own machine imports what the program names and calls
it; this one keeps names as names (`Name`), and what the program would have made as a note (`Made`) of the name and
its arguments. Numbers, strings, bytes, lists, tuples and dictionaries are themselves.

Conventions: dictionaries keep the entries whose keys are strings or small integers; those of others are passed over,
since hashing what a file holds (nested tuples, chosen integers) can take all time or all stack. Sets are lists.
The number of steps is bounded, and so are the bytes that one step reads, so that memory stays near that of the file.

Contents: `read_pickle`, `Name`, `Made`, `Pointer`, `ForeignNameError`, `numpy_type`, `plain_array`.
"""

from __future__ import annotations

import math
import pickletools
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from speechtok.limits import PICKLE_STEPS, PICKLED_BYTES

_KEY_RANGE = 2**32
"""Integers below it have hashes of their own."""
_SHOWN = 80
"""Characters of a name that a message shows."""
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_PLAIN = {
    code.name
    for code in pickletools.opcodes
    if re.fullmatch(r"(SHORT_|LONG_)?(BIN)?(INT|LONG|FLOAT|STRING|BYTES|UNICODE|BYTEARRAY)\d?", code.name)
}
"""Steps that push the value they carry."""
_TYPES = {
    code: np.dtype(code) for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
}
"""Types of arrays and scalars that are read."""
_ORDERS = ("<", ">", "=", "|")
_NO_FIELDS = (None, None, None, -1, -1, 0)
"""The end of the state of a type that is plain numbers: no sub-array, names, fields, size or alignment."""
_DIMENSIONS = 32
_MARK = object()


class ForeignNameError(ValueError):
    """A pickle names, or would call, what it must not; the text says what."""


@dataclass(frozen=True)
class Name:
    """A class or function, as a pickle names it."""

    module: str
    name: str

    def __str__(self) -> str:
        text = ascii(f"{self.module}.{self.name}")[1:-1]
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


@dataclass(eq=False)
class Made:
    """What a pickle would have made by calling `name` with `arguments`, and its state."""

    name: Name
    arguments: tuple[Any, ...]
    state: Any = None
    value: Any = None
    """What the reader of the file took from it, such as an array."""


@dataclass(frozen=True)
class Pointer:
    """What a pickle points at outside of itself."""

    target: Any


def read_pickle(
    stream: BinaryIO,
    *,
    admits: Callable[[Name], bool],
    make: Callable[[Name, tuple[Any, ...]], Any] = Made,
    built: Callable[[Made], None] = lambda made: None,
) -> Any:
    """Return the value of a pickle; the stream is left behind its last byte.

    Args:
        stream: Where it begins.
        admits: Tells whether a pickle may hold a name.
        make: Returns the plain value for a call of a name with arguments.
        built: Told of each object that was given its state, while the stream is behind that step.

    Raises:
        ForeignNameError: For a name that is not admitted, or a call of what is no name.
        ValueError: For a damaged pickle, or one beyond the bounds.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # strings of old pickles with escapes of their own
        return _Machine(stream, admits, make, built).run()


class _Short:
    """A stream whose single reads are bounded, as `pickletools` wants one."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.tell = stream.tell
        self._left = PICKLED_BYTES

    def read(self, size: int) -> bytes:
        if size > self._left:
            raise ValueError("it holds too many bytes beside its tensors")
        content = self._stream.read(size)
        self._left -= len(content)
        return content

    def readline(self) -> bytes:
        content = self._stream.readline(self._left + 1)
        self._left -= len(content)
        if self._left < 0:
            raise ValueError("it holds too many bytes beside its tensors")
        return content


class _Machine:
    def __init__(
        self,
        stream: BinaryIO,
        admits: Callable[[Name], bool],
        make: Callable[[Name, tuple[Any, ...]], Any],
        built: Callable[[Made], None],
    ) -> None:
        self.stream, self.admits, self.make, self.built = _Short(stream), admits, make, built
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        try:
            for steps, (code, argument, _) in enumerate(pickletools.genops(self.stream)):  # type: ignore[arg-type]
                if steps >= PICKLE_STEPS:
                    raise ValueError("its pickle has too many steps")
                if code.name == "STOP":
                    return self.pop()
                self.step(code.name, argument)
        except (IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"its pickle is damaged ({type(error).__name__})") from error
        raise ValueError("its pickle is cut short")

    def step(self, code: str, argument: Any) -> None:
        stack = self.stack
        if code in _PLAIN:
            stack.append(argument)
        elif code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = self.top()
        elif code == "MEMOIZE":
            self.memo[len(self.memo)] = self.top()
        elif code in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[argument])
        elif code == "MARK":
            stack.append(_MARK)
        elif code in ("EMPTY_LIST", "EMPTY_SET"):
            stack.append([])
        elif code == "EMPTY_DICT":
            stack.append({})
        elif code in ("TUPLE1", "TUPLE2", "TUPLE3"):
            items = [self.pop() for _ in range(int(code[-1]))]
            stack.append(tuple(reversed(items)))
        elif code == "TUPLE":
            stack.append(tuple(self.marked()))
        elif code in ("LIST", "FROZENSET"):
            stack.append(self.marked())
        elif code == "DICT":
            stack.append(_filled({}, self.marked()))
        elif code in ("APPEND", "APPENDS", "ADDITEMS"):
            items = [self.pop()] if code == "APPEND" else self.marked()
            if isinstance(self.top(), list):
                self.top().extend(items)
        elif code in ("SETITEM", "SETITEMS"):
            items = [self.pop(), self.pop()][::-1] if code == "SETITEM" else self.marked()
            if isinstance(self.top(), dict):
                _filled(self.top(), items)
        elif code == "POP":
            stack.pop()
        elif code == "POP_MARK":
            self.marked()
        elif code == "DUP":
            stack.append(self.top())
        elif code == "GLOBAL":
            stack.append(self.named(*argument.split(" ", 1)))
        elif code == "STACK_GLOBAL":
            name, module = self.pop(), self.pop()
            stack.append(self.named(module, name))
        elif code in ("REDUCE", "NEWOBJ"):
            arguments, target = self.pop(), self.pop()
            stack.append(self.called(target, arguments))
        elif code == "NEWOBJ_EX":
            _, arguments, target = self.pop(), self.pop(), self.pop()
            stack.append(self.called(target, arguments))
        elif code == "OBJ":
            target, *arguments = self.marked()
            stack.append(self.called(target, tuple(arguments)))
        elif code == "INST":
            arguments = self.marked()
            stack.append(self.called(self.named(*argument.split(" ", 1)), tuple(arguments)))
        elif code == "BUILD":
            state = self.pop()
            if isinstance(self.top(), Made):
                self.top().state = state
                self.built(self.top())
        elif code == "BINPERSID":
            stack.append(Pointer(self.pop()))
        elif code not in ("PROTO", "FRAME"):
            raise ForeignNameError(f"the step {code}")

    def top(self) -> Any:
        if self.stack[-1] is _MARK:
            raise ValueError("its pickle is damaged")
        return self.stack[-1]

    def pop(self) -> Any:
        self.top()
        return self.stack.pop()

    def marked(self) -> list[Any]:
        """Take what lies above the last mark, and the mark."""
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def named(self, module: Any, name: Any) -> Name:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("its pickle is damaged")
        found = Name(module, name)
        if not self.admits(found):
            raise ForeignNameError(str(found))
        return found

    def called(self, target: Any, arguments: Any) -> Any:
        if not isinstance(target, Name):
            raise ForeignNameError("a call of what it made itself")
        if not isinstance(arguments, tuple):
            raise ValueError("its pickle is damaged")
        return self.make(target, arguments)


def numpy_type(made: object) -> str | None:
    """Return the type a pickled `numpy.dtype` stands for, as NumPy writes it, or None for what is none."""
    if not isinstance(made, Made) or made.name != Name("numpy", "dtype") or not made.arguments:
        return None
    code, state = made.arguments[0], made.state
    if state is None:
        return code if isinstance(code, str) else None
    if not isinstance(code, str) or not isinstance(state, tuple) or state[2:] != _NO_FIELDS:
        return None
    return f"{state[1]}{code}" if state[1] in _ORDERS else None


def plain_array(
    code: object, shape: object, content: bytes | Callable[[int], bytes], *, fortran: bool = False
) -> np.ndarray[Any, Any]:
    """Return an array of a plain type, from values that were read as values.

    Args:
        code: Type as NumPy writes it, such as "<f4"; one of floats, integers and booleans.
        shape: Sizes.
        content: Its bytes, or what returns as many as it is asked for, or fewer at the end of a file.
        fortran: Whether the first axis runs fastest.

    Raises:
        ValueError: For another type, a shape that is none, or bytes that are too few or too many.
    """
    order, kind = (code[0], code[1:]) if isinstance(code, str) and code.startswith(_ORDERS) else ("=", code)
    if not isinstance(kind, str) or kind not in _TYPES:
        raise ValueError("it holds an array of a type that is not plain numbers")
    if not isinstance(shape, tuple) or len(shape) > _DIMENSIONS:
        raise ValueError("it holds an array without a shape")
    if not all(type(size) is int and 0 <= size < 2**62 for size in shape):
        raise ValueError("it holds an array without a shape")
    size = math.prod(shape) * _TYPES[kind].itemsize
    if size == 0:
        return np.zeros(0, dtype=kind)
    data = content if isinstance(content, bytes) else content(size)
    if len(data) != size:
        raise ValueError("it holds an array of another length than stated")
    flat = np.frombuffer(data, dtype=_TYPES[kind].newbyteorder("=" if order == "|" else order))  # type: ignore[arg-type]
    return flat.reshape(shape, order="F" if fortran else "C")


def _filled(target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    """Put keys and values, in turns, into a dictionary, where the key is plain."""
    if len(items) % 2:
        raise ValueError("its pickle is damaged")
    pairs = zip(items[::2], items[1::2], strict=True)
    target.update((key, value) for key, value in pairs if _is_plain_key(key))
    return target


def _is_plain_key(key: object) -> bool:
    return isinstance(key, str) or (type(key) is int and abs(key) < _KEY_RANGE)
