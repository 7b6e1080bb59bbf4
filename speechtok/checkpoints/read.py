"""Reading published weights: safetensors and torch files, without ever running code from a file.

Conventions: a *state dict* maps flat entry names to tensors. A torch file that nests dictionaries
(`{"model": {...}}`) is flattened with dots, so `wanted` and the caller see one level of names; values
that are not tensors are skipped. Reading is lazy: safetensors and zip-form torch files are
memory-mapped, so an entry nobody wants is never brought into memory. Old torch files (before torch
1.6) have no such form and are read whole.

Contents: `read_state_dict`, `read_shapes`, `load_plain`, `load_strict`, `check_entries`.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from speechtok.errors import CheckpointError

_INERT = ("argparse.Namespace", "fairseq.data.dictionary.Dictionary")
"""Classes of harmless objects that published files hold beside their tensors; empty shells stand in for them."""
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
        path: File to read; a name that ends in `.safetensors` is read as such, any other as a torch file.
        wanted: Chooses entries by name; None takes all.
        dtype: Floating-point type of the result; None keeps the stored one.

    Returns:
        Entry name → tensor, in the order of the file.

    Raises:
        CheckpointError: If the file is missing, damaged, of another kind, or a pickle that would run code.
    """
    with _Entries(path) as entries:
        names = [name for name in entries.names if wanted is None or wanted(name)]
        return {name: _owned(entries.tensor(name), dtype) for name in names}


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
    """Return the dictionary a small torch file holds: numbers, strings, lists, tensors.

    Args:
        path: File to read.

    Raises:
        CheckpointError: As in `read_state_dict`, or if the file does not hold a dictionary.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no file '{path}'. Check the checkpoint directory.")
    content = _torch_load(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"'{path}' must hold a dictionary, but holds {type(content).__name__}.")
    return content


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
        self._safe: Any = None
        self._tensors: dict[str, Tensor] = {}
        if not self._path.is_file():
            raise CheckpointError(f"There is no weights file '{self._path}'. Check the checkpoint directory.")
        if self._path.suffix == ".safetensors":
            try:
                self._safe = safe_open(str(self._path), framework="pt", device="cpu")
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"'{self._path}' is not a safetensors file ({error}).") from error
            self.names: list[str] = list(self._safe.keys())
        else:
            self._tensors = dict(_flat(_torch_load(self._path)))
            self.names = list(self._tensors)
        if not self.names:
            raise CheckpointError(f"'{self._path}' holds no tensors, so it is not a weights file.")

    def __enter__(self) -> _Entries:
        return self

    def __exit__(self, *_: object) -> None:
        self._tensors = {}
        self._safe = None

    def tensor(self, name: str) -> Tensor:
        if self._safe is None:
            return self._tensors[name]
        value: Tensor = self._safe.get_tensor(name)
        return value

    def shape(self, name: str) -> tuple[int, ...]:
        if self._safe is None:
            return tuple(self._tensors[name].shape)
        return tuple(self._safe.get_slice(name).get_shape())


def _flat(value: object, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield prefix, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))


class _Shell:
    """Takes the place of an object and keeps nothing of it."""

    def __setstate__(self, state: object) -> None:
        pass


def _torch_load(path: Path) -> object:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([(_Shell, name) for name in _INERT]):
            warnings.simplefilter("ignore", UserWarning)  # newer pickle protocols are reported that way
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError as error:
                if "mmap" not in str(error):
                    raise
                return torch.load(path, map_location="cpu", weights_only=True)  # the form before torch 1.6
    except (pickle.UnpicklingError, AttributeError, ModuleNotFoundError) as error:
        raise CheckpointError(_refusal(path, error)) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, OSError) as error:
        reason = re.split(r"\n|\. ", str(error), maxsplit=1)[0].rstrip(".") or type(error).__name__
        raise CheckpointError(
            f"'{path}' is damaged or not a torch weights file ({reason}); get it anew."
        ) from error


def _refusal(path: Path, error: Exception) -> str:
    """Tell a pickle that names functions or classes from a file that is no pickle at all."""
    if "Unsupported global" in str(error) or "Unsupported class" in str(error) or "GLOBAL" in str(error):
        return (
            f"'{path}' is refused because it is a pickle that would run code, not plain tensors. "
            "Use the published file or a safetensors copy."
        )
    return (
        f"'{path}' is not a torch weights file but maybe a text page or a Git LFS pointer; download it again."
    )
