"""Reading published weights: safetensors and torch files, without ever running code from a file.

Conventions: a *state dict* maps flat entry names to tensors. A torch file that nests dictionaries
(`{"model": {...}}`) is flattened with dots, so `wanted` and the caller see one level of names; values
that are not tensors are skipped. Reading is lazy: an entry nobody wants is never brought into memory. What a
file claims is compared with its length before memory is taken.

Contents: `INDEX`, `read_state_dict`, `read_shapes`, `load_plain`, `load_content`, `read_index`, `read_values`, `load_strict`, `check_entries`.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from speechtok.checkpoints.pickles import ForeignNameError, Made, Name, Pointer
from speechtok.checkpoints.torch_file import StoredTensor, TorchFile
from speechtok.errors import CheckpointError
from speechtok.limits import (
    ARCHIVE_LIST_BYTES,
    ENTRY_NAME,
    PICKLE_STEPS,
    TENSOR_REUSE,
    WEIGHT_ENTRIES,
    inflated_bytes,
    read_json,
    require_regular_file,
)
from speechtok.wording import size_text

INDEX = ".safetensors.index.json"
"""End of the name of a list that says which of several files holds which entry."""
_SHARDS = 1_000
"""Files that such a list may name."""
_DEPTH = 32
"""Levels of lists and dictionaries in a small torch file."""
_NAMED = 4
"""How many entries a message names before it only counts the rest."""


def read_state_dict(
    path: str | Path,
    *,
    wanted: Callable[[str], bool] | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """Return the tensors of a safetensors or torch file, on the CPU, in memory of their own.

    Only entries for which `wanted` is true are read. Floating-point entries go from their stored
    type straight to `dtype`, so a float64 file read at float64 stays exact; other types are kept.

    Args:
        path: File to read; a name that ends in `.safetensors` is read as such, one that ends in `.safetensors.index.json` as
            the list of several such files beside it, any other as a torch file.
        wanted: Chooses entries by name; None takes all.
        dtype: Floating-point type of the result; None keeps the stored one.

    Returns:
        Entry name → tensor, in the order of the file.

    Raises:
        CheckpointError: If the file is missing, damaged, of another kind, or a pickle that would run code.
    """
    with _Entries(path) as entries:
        names = [name for name in entries.names if wanted is None or wanted(name)]
        return {name: _owned(value, dtype) for name, value in entries.tensors(names)}


def read_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Return entry name → shape of a weights file, touching no tensor data.

    Args:
        path: As in `read_state_dict`.

    Raises:
        CheckpointError: As in `read_state_dict`.
    """
    with _Entries(path) as entries:
        return {name: entries.shape(name) for name in entries.names}


def load_plain(path: str | Path) -> Mapping[Any, Any]:
    """Return the dictionary a small torch file holds: numbers, strings, lists, tensors, arrays; other objects are None.

    Args:
        path: File to read.

    Raises:
        CheckpointError: As in `read_state_dict`, or if the file does not hold a dictionary.
    """
    content = load_content(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"'{path}' must hold a dictionary, but holds something else.")
    return content


def load_content(path: str | Path) -> Any:
    """Return whatever a small torch file holds, such as one tensor; plain values as in `load_plain`.

    Args:
        path: File to read.

    Raises:
        CheckpointError: As in `read_state_dict`.
    """
    path = Path(path)
    require_regular_file(path, "file", error=CheckpointError)
    with _refusing(path), TorchFile(path) as file:
        return _plain(file.content, file, _Budget(file.size))


def read_values(path: str | Path, names: Sequence[str]) -> dict[str, Any]:
    """Return what the dictionary of a torch file holds beside its tensors, under some names.

    Args:
        path: As in `read_state_dict`; a safetensors file holds nothing of the kind.
        names: Keys at the top.

    Returns:
        Name → number, string, list or dictionary, an object being the dictionary of its attributes; tensors are None.

    Raises:
        CheckpointError: As in `read_state_dict`.
    """
    path = Path(path)
    require_regular_file(path, "weights file", error=CheckpointError)
    if path.name.endswith((".safetensors", INDEX)):
        return {}
    with _refusing(path), TorchFile(path) as file:
        content = file.content if isinstance(file.content, dict) else {}
        budget = _Budget(file.size)
        return {name: _plain(content[name], None, budget) for name in names if name in content}


def load_strict(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    *,
    ignored_prefixes: Sequence[str] = (),
    source: str = "the checkpoint",
) -> None:
    """Put a state dict into a module whose entries must match one to one.

    The tensors become the module's own (no second copy), so a module built on the meta device needs no
    initialisation first; the module takes the dtype of the tensors.

    Args:
        module: Network to fill, in place.
        state_dict: Entry name → tensor.
        ignored_prefixes: Entries whose name starts with one of these are dropped, e.g. training-only heads.
        source: What the messages call the origin of the weights, usually a file name.

    Raises:
        CheckpointError: If an entry is missing, unexpected or of another shape; the message names it.
    """
    kept = {name: value for name, value in state_dict.items() if not name.startswith(tuple(ignored_prefixes))}
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    check_entries(expected, {name: tuple(value.shape) for name, value in kept.items()}, source=source)
    module.load_state_dict(kept, strict=True, assign=True)
    module.requires_grad_(False)


def check_entries(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], *, source: str
) -> None:
    """Compare the entries of a network with those of a file.

    Args:
        expected: Entry name → shape, as the network has it.
        found: Entry name → shape, as the file has it.
        source: What the message calls the file.

    Raises:
        CheckpointError: If an entry is missing, unexpected or of another shape.
    """
    problems = []
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    misshaped = [
        f"'{name}' (has {found[name]}, needs {shape})"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if missing:
        problems.append(f"lacks {_listed([repr(name) for name in missing])}")
    if unexpected:
        problems.append(f"has unexpected {_listed([repr(name) for name in unexpected])}")
    if misshaped:
        problems.append(f"has another shape for {_listed(misshaped)}")
    if problems:
        raise CheckpointError(
            f"{source} does not fit the network: it {'; it '.join(problems)}. "
            "Check that it is the file of this tokenizer."
        )


def _listed(items: list[str]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return ("entries " if len(items) > 1 else "entry ") + ", ".join(items[:_NAMED]) + more


def _owned(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Copy out of the memory map, so that a file replaced later cannot change the network."""
    target = dtype if dtype is not None and value.is_floating_point() else value.dtype
    return value.to(target, copy=True).contiguous()


class _Entries:
    """The entries of one open weights file: names now, tensors when asked for."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._safe: dict[str, Any] = {}
        """Entry → the open safetensors file that holds it."""
        self._torch: TorchFile | None = None
        self._tensors: dict[str, StoredTensor] = {}
        require_regular_file(self._path, "weights file", error=CheckpointError)
        with _refusing(self._path):
            try:
                self.names = self._open()
                if not self.names:
                    raise CheckpointError(f"'{self._path}' holds no tensors, so it is not a weights file.")
            except BaseException:
                self.__exit__()
                raise

    def _open(self) -> list[str]:
        if self._path.name.endswith(INDEX):
            for shard, names in read_index(self._path).items():
                self._open_shard(shard, names)
        elif self._path.suffix == ".safetensors":
            handle = _open_safetensors(self._path)
            self._safe = dict.fromkeys(handle.keys(), handle)
        else:
            self._torch = TorchFile(self._path)
            self._tensors = dict(_flat(self._torch.content))
        return list(self._safe or self._tensors)

    def _open_shard(self, shard: Path, names: Sequence[str]) -> None:
        require_regular_file(shard, "weights file", error=CheckpointError)
        with _refusing(shard):
            handle = _open_safetensors(shard)
            held = set(handle.keys())
        if held != set(names):
            name = sorted(held.symmetric_difference(names))[0]
            what = "has an entry that it lacks" if name in names else "lacks an entry that it has"
            raise CheckpointError(
                f"'{self._path}' does not belong to '{shard}': it {what} ({name[:80]!a}); get the whole folder anew."
            )
        self._safe |= dict.fromkeys(names, handle)

    def __enter__(self) -> _Entries:
        return self

    def __exit__(self, *_: object) -> None:
        self._safe = {}
        if self._torch is not None:
            self._torch.close()

    def tensors(self, names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        with _refusing(self._path):
            budget = _Budget(self._path.stat().st_size)  # of torch files, whose tensors may share numbers
            for name in names:
                if self._torch is None:
                    yield name, self._safe[name].get_tensor(name)
                else:
                    budget.spend(self._tensors[name])
                    yield name, self._torch.read(self._tensors[name])

    def shape(self, name: str) -> tuple[int, ...]:
        if self._torch is not None:
            return self._tensors[name].shape
        return tuple(self._safe[name].get_slice(name).get_shape())


def read_index(path: Path) -> dict[Path, list[str]]:
    """Return what a list of several safetensors files says: file beside it → names of its entries.

    Args:
        path: a name that ends in `INDEX`.

    Raises:
        CheckpointError: When it is damaged, or names a file elsewhere.
    """
    content = read_json(path, "list of weights files", error=CheckpointError)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"'{path}' must have a `weight_map` from entries to files.")
    shards: dict[Path, list[str]] = {}
    for name, file in places.items():
        if not re.fullmatch(r"[\w.-]{1,200}\.safetensors", file, re.ASCII):
            raise CheckpointError(
                f"'{path}' names the file {file[:80]!a}, but files lie beside it and end in .safetensors."
            )
        shards.setdefault(path.parent / file, []).append(name)
    if not 0 < len(shards) <= _SHARDS or len(places) > WEIGHT_ENTRIES:
        raise CheckpointError(
            f"'{path}' names {len(shards)} files and {len(places)} entries, too few or too many."
        )
    return shards


def _open_safetensors(path: Path) -> Any:
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if ARCHIVE_LIST_BYTES < header < path.stat().st_size:
        raise ValueError(f"its list of tensors takes {size_text(header)}")
    return safe_open(str(path), framework="pt", device="cpu")


class _Budget:
    """The memory that the tensors of a file may take together."""

    def __init__(self, stored: int) -> None:
        self._left = max(TENSOR_REUSE * stored, inflated_bytes(0))
        self._values = PICKLE_STEPS

    def count(self) -> None:
        """Count a value, again on each path that leads to it."""
        self._values -= 1
        if self._values < 0:
            raise ValueError("it has too many values")

    def spend(self, tensor: StoredTensor) -> None:
        """Count the bytes of a tensor."""
        self._left -= tensor.num_bytes
        if self._left < 0:
            raise ValueError("its tensors claim far more numbers than it holds")


def _flat(content: object) -> Iterator[tuple[str, StoredTensor]]:
    """Yield the tensors of nested dictionaries, names joined with dots.

    Raises:
        ValueError: When there are too many paths to them, or a path is too long.
    """
    waiting: list[tuple[str, object]] = [("", content)]
    seen = 0
    while waiting:
        name, value = waiting.pop()
        seen += 1
        if seen > WEIGHT_ENTRIES or len(name) > ENTRY_NAME:
            raise ValueError("it has too many entries, or names that are too long")
        if isinstance(value, StoredTensor):
            yield name, value
        elif isinstance(value, dict):
            inner = [(f"{name}.{key}" if name else str(key), item) for key, item in value.items()]
            waiting += reversed([(key, item) for key, item in inner if isinstance(item, StoredTensor | dict)])


def _plain(value: object, file: TorchFile | None, budget: _Budget, depth: int = 0) -> Any:
    """Return a value with its tensors read; an object that is none of ours is None.

    Without a file, tensors are None, an object is the dictionary of its attributes, and an enumeration its value.
    """
    if depth > _DEPTH:
        raise ValueError("it is nested too deeply")
    budget.count()
    if isinstance(value, StoredTensor):
        if file is None:
            return None
        budget.spend(value)
        return file.read(value).contiguous()
    if isinstance(value, Made) and file is None:
        simple = len(value.arguments) == 1 and isinstance(value.arguments[0], str | int)  # an enumeration
        value = value.state if isinstance(value.state, dict) else value.arguments[0] if simple else None
    if isinstance(value, Made | Name | Pointer):
        return value.value if isinstance(value, Made) else None
    if isinstance(value, dict):
        return {key: _plain(item, file, budget, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item, file, budget, depth + 1) for item in value)
    return value


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn what reading a damaged or foreign file raises into one sentence that names it."""
    try:
        yield
    except ForeignNameError as error:
        raise CheckpointError(
            f"'{path}' is refused because it is a pickle that would run code, not plain tensors ({error}). "
            "Use the published file or a safetensors copy."
        ) from error
    except (
        SafetensorError,
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        OSError,
    ) as error:
        with path.open("rb") as file:
            start = file.read(16).lstrip()
        if start.startswith((b"version https", b"<")) or not start:
            raise CheckpointError(
                f"'{path}' is not a weights file but maybe a text page or a Git LFS pointer; download it again."
            ) from error
        kind = "a safetensors" if path.suffix == ".safetensors" else "a torch weights"
        reason = " ".join(str(error).split()).partition(". ")[0].rstrip(".") or type(error).__name__
        raise CheckpointError(f"'{path}' is damaged or not {kind} file ({reason}); get it anew.") from error
