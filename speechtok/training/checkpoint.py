"""Saved states of a run: a folder for each, of safetensors and JSON, there as a whole or not at all.

Conventions: `step-XXXXXXXX/` holds `networks.safetensors` (entries under the network's name and a dot),
`optimizers.safetensors` (entries `NAME.PARAMETER.ENTRY`), and `state.json` (step, curves, settings, learning rates).
What is random follows from seed and step, so no generator's state is needed.

Contents: `Checkpoint`, `write_checkpoint`, `find_checkpoint`, `read_checkpoint`.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from speechtok.checkpoints.read import check_entries, read_state_dict
from speechtok.errors import CheckpointError
from speechtok.limits import require_regular_file
from speechtok.storage import flush

NETWORKS, OPTIMIZERS, STATE = "networks.safetensors", "optimizers.safetensors", "state.json"
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RuntimeError, ArithmeticError)
"""What values of another kind than were written raise; RecursionError is a RuntimeError."""
_NAME = re.compile(r"step-(\d{8,})$")


@dataclass(kw_only=True)
class Checkpoint:
    """What goes into a saved state besides tensors."""

    step: int = 0
    """Steps that were taken."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What decides the run, plain."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Points of the curves: `step`, `split` and values."""
    pending: list[dict[str, float]] = field(default_factory=list)
    """What the steps since the last point gave."""


def write_checkpoint(
    folder: Path,
    state: Checkpoint,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    schedules: Mapping[str, LRScheduler],
    *,
    keep: int | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write a state into `folder`, and remove the oldest beyond `keep` once it is there.

    Args:
        folder: where states lie.
        state: step, settings and curves.
        networks: by name.
        optimizers: by name.
        schedules: by name.
        keep: states that are kept; None keeps all.
        extra: more plain values for `state.json`.

    Raises:
        OSError: when it cannot be written; nothing of it is left, and older states are as they were.
    """
    path = folder / f"step-{state.step:08d}"
    temporary = folder / f".{path.name}.{uuid.uuid4().hex}"
    temporary.mkdir(parents=True)
    try:
        save_file(_network_entries(networks), temporary / NETWORKS)
        save_file(_optimizer_entries(optimizers), temporary / OPTIMIZERS)
        content = {
            "step": state.step,
            "settings": dict(state.settings),
            "optimizers": {
                name: optimizer.state_dict()["param_groups"] for name, optimizer in optimizers.items()
            },
            "schedules": {name: schedule.state_dict() for name, schedule in schedules.items()},
            "history": state.history,
            "pending": state.pending,
            **(extra or {}),
        }
        (temporary / STATE).write_text(json.dumps(content), encoding="utf-8")
        for file in temporary.iterdir():
            flush(file)
        flush(temporary)
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
        flush(folder)
    except SafetensorError as error:  # what a full disk becomes in safetensors
        raise OSError(str(error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in _saved(folder)[: -keep if keep else 0]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def find_checkpoint(folder: Path) -> Path | None:
    """Return the latest state in a folder; what an interrupted writer left behind is removed."""
    for remains in folder.glob(".step-*"):
        shutil.rmtree(remains, ignore_errors=True)
    saved = _saved(folder)
    return saved[-1] if saved else None


def read_checkpoint(
    path: Path,
    settings: Mapping[str, Any],
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    schedules: Mapping[str, LRScheduler],
) -> Checkpoint:
    """Put a saved state into networks, optimizers and schedules, and return the rest of it.

    Args:
        path: from `find_checkpoint`.
        settings: what the run that goes on is told; must be those of the state.
        networks: by name.
        optimizers: by name.
        schedules: by name.

    Raises:
        CheckpointError: when the state is damaged, or is one of other settings or networks.
    """
    try:
        require_regular_file(path / STATE, error=CheckpointError)
        content = json.loads((path / STATE).read_text(encoding="utf-8"))
        step, saved, history = int(content["step"]), content["settings"], content["history"]
        groups, rates = content["optimizers"], content["schedules"]
        pending = content["pending"]
    except (CheckpointError, OSError, *_DAMAGE) as error:
        raise _damaged(path, STATE, error) from error
    _check_settings(path, saved, settings)
    stored = read_state_dict(path / NETWORKS)
    own = {name: network.state_dict() for name, network in networks.items()}
    expected = {
        f"{name}.{key}": tuple(value.shape) for name, part in own.items() for key, value in part.items()
    }
    check_entries(expected, {key: tuple(value.shape) for key, value in stored.items()}, source=f"'{path}'")
    for name, network in networks.items():
        network.load_state_dict({key: stored[f"{name}.{key}"] for key in own[name]})
    moments = read_state_dict(path / OPTIMIZERS) if optimizers else {}
    try:
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict({"state": _moments_of(moments, name), "param_groups": groups[name]})
        for name, schedule in schedules.items():
            schedule.load_state_dict(rates[name])
    except _DAMAGE as error:
        raise _damaged(path, OPTIMIZERS, error) from error
    return Checkpoint(step=step, settings=settings, history=history, pending=pending)


def _damaged(path: Path, name: str, error: Exception) -> CheckpointError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return CheckpointError(
        f"{path / name} is damaged ({reason}); remove {path} to go on from the state before."
    )


def _saved(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if _NAME.search(path.name))


def _network_entries(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.detach().cpu().contiguous().clone()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }


def _optimizer_entries(optimizers: Mapping[str, Optimizer]) -> dict[str, Tensor]:
    return {
        f"{name}.{number}.{entry}": torch.as_tensor(value).detach().cpu().contiguous().clone()
        for name, optimizer in optimizers.items()
        for number, values in optimizer.state_dict()["state"].items()
        for entry, value in values.items()
    } or {"none": torch.zeros(1)}


def _moments_of(stored: Mapping[str, Tensor], optimizer: str) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in stored.items():
        name, _, rest = key.partition(".")
        if name == optimizer:
            number, _, entry = rest.partition(".")
            state.setdefault(int(number), {})[entry] = value
    return state


def _check_settings(path: Path, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    plain = json.loads(json.dumps(dict(wanted)))
    for name in sorted({*saved, *plain}):
        if saved.get(name) != plain.get(name):
            raise CheckpointError(
                f"{path.parent.parent} was begun with {name}={saved.get(name)!r}, not {plain.get(name)!r}; "
                "repeat the first command, or use another output folder."
            )
