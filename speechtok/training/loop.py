"""The training loop of every trainer, on accelerate: one CPU, one GPU or many.

What a run leaves in its folder: `checkpoints/` (see `training.checkpoint`), `tensorboard/`, `examples/` (the same few
utterances after each validation), and `report.html`.

Contents: `Watcher`, `train`.
"""

from __future__ import annotations

import math
import random
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from speechtok.errors import JobError
from speechtok.training.batches import Batches
from speechtok.training.checkpoint import Checkpoint, find_checkpoint, read_checkpoint, write_checkpoint
from speechtok.training.log import RunLog
from speechtok.training.processes import are_alike, average_gradients, averaged, from_first
from speechtok.training.settings import FREE, LoopSettings
from speechtok.training.task import Batch, Networks, Task, Turn

if TYPE_CHECKING:
    from accelerate import Accelerator

CHECKPOINTS = "checkpoints"
Metrics = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Watcher:
    """Who is told how a run goes on; every field may be left out."""

    started: Callable[[int], None] = lambda step: None
    """With the number of steps that were taken before."""
    stepped: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None
    """After each step."""
    validated: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None
    """After each validation."""
    unusable: Callable[[str], None] = lambda reason: None
    """With what is wrong with an utterance, once; another takes its place."""


def train(
    task: Task, folder: Path, settings: LoopSettings, *, device: str = "cpu", watcher: Watcher | None = None
) -> list[dict[str, Any]]:
    """Train to the last step, going on from the latest state in `folder` if there is one.

    Ctrl-C and SIGTERM end the run after the step in progress, with its state saved.

    Args:
        task: what is trained. Its networks must have been made from `settings.seed`.
        folder: where the run's files are written.
        settings: how to train.
        device: "cpu", or "cuda" for the GPU of this process.
        watcher: is told of progress.

    Returns:
        The points of all curves, of earlier runs in the folder too.

    Raises:
        CheckpointError: when the state in the folder is of other settings, or damaged.
        DatasetError: when the speech cannot be trained on.
        JobError: when a loss or gradient is not finite, a state cannot be written, or the folder is in use.
    """
    accelerator = _accelerator(settings, device)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if accelerator.is_main_process:
            try:
                stack.enter_context(FileLock(folder / ".lock", timeout=0))
            except Timeout:
                raise JobError(
                    f"{folder} is in use by another training run; wait for it, or use another output folder."
                ) from None
        return _Run(task, folder, settings, accelerator, watcher or Watcher()).run()


class _Run:
    def __init__(
        self, task: Task, folder: Path, settings: LoopSettings, accelerator: Accelerator, watcher: Watcher
    ) -> None:
        self.task, self.folder, self.settings, self.watcher = task, folder, settings, watcher
        self.accelerator = accelerator
        count = self.accelerator.num_processes
        self.batches = Batches(
            task.examples,
            size=settings.batch_size,
            seed=settings.seed,
            parts=settings.accumulation,
            rank=self.accelerator.process_index,
            world_size=count,
        )
        decisive = {name: value for name, value in asdict(settings).items() if name not in FREE}
        identity = {**decisive, **task.identity}
        path = find_checkpoint(folder / CHECKPOINTS)
        self.state = Checkpoint(settings=identity)
        for network in task.networks.values():
            network.to(self.accelerator.device)
        if path is not None:
            self.state = read_checkpoint(path, identity, task.networks, task.optimizers, task.schedules)
        for network in task.networks.values():
            from_first(network)
        # in reduced precision where that is asked for; gradients are averaged here, once per turn
        self.networks: Networks = {
            name: self.accelerator.prepare_model(network, evaluation_mode=True)
            if _is_trained(network)
            else network
            for name, network in task.networks.items()
        }
        self.is_main = self.accelerator.is_main_process
        self.saved_step = self.state.step

    def run(self) -> list[dict[str, Any]]:
        settings, state = self.settings, self.state
        self.watcher.started(state.step)
        with ExitStack() as stack:
            log = RunLog(self.folder, state, settings) if self.is_main else None
            if log is not None:
                stack.callback(log.close)
            stop = stack.enter_context(_stopping())
            steps = (state.step, settings.steps)
            for parts in self.batches.load(*steps, settings.workers, self.watcher.unusable):
                metrics = self._step(parts)
                state.pending.append(metrics)
                if log is not None and state.step % settings.log_every == 0:
                    self._writing("the curves", log.add_point)
                self.watcher.stepped(state.step, metrics)
                is_last = state.step == settings.steps
                is_stopped = self._agreed(stop.is_wanted)
                if is_last or state.step % settings.validate_every == 0:
                    self._validate(log)
                if is_last or is_stopped or state.step % settings.save_every == 0:
                    self._save()
                if is_stopped:
                    break
        stop.obey()
        return state.history

    def _step(self, parts: list[Batch]) -> Metrics:
        step, task = self.state.step, self.task
        _seed(self.settings.seed, step, self.accelerator.process_index)
        parts = [{name: value.to(self.accelerator.device) for name, value in part.items()} for part in parts]
        for network in task.networks.values():
            network.train(_is_trained(network))
        metrics: Metrics = {}
        turns = [turn for turn in task.turns if step >= turn.first_step]
        for turn in turns:
            metrics |= self._turn(turn, parts)
        self.state.step += 1
        if self.state.step % task.schedule_steps == 0:
            moved = [task.optimizers[turn.optimizer] for turn in turns]
            for schedule in task.schedules.values():
                if any(schedule.optimizer is optimizer for optimizer in moved):
                    schedule.step()
        return metrics

    def _turn(self, turn: Turn, parts: list[Batch]) -> Metrics:
        optimizer = self.task.optimizers[turn.optimizer]
        optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for part in parts:
            loss, shown = turn.loss(part, self.networks)
            self.accelerator.backward(loss / len(parts))
            for name, value in shown.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach() / len(parts)
        average_gradients([item for group in optimizer.param_groups for item in group["params"]])
        metrics = {name: float(value) for name, value in averaged(sums).items()}
        most = turn.max_gradient_norm or self.settings.max_gradient_norm
        for group in optimizer.param_groups:
            name = f"gradient norm, {group.get('name', turn.optimizer)}"
            metrics[name] = self._gradient_norm(group["params"], most)
        if self._agreed(not all(math.isfinite(value) for value in metrics.values())):
            self._give_up(metrics)
        optimizer.step()
        return metrics

    def _agreed(self, is_so: bool) -> bool:
        """Return whether it is so in any process, in all of them."""
        if self.accelerator.num_processes == 1:
            return is_so
        flag = torch.tensor([float(is_so)], device=self.accelerator.device)
        return bool(self.accelerator.gather(flag).sum() > 0)

    def _gradient_norm(self, parameters: list[nn.Parameter], most: float | None) -> float:
        if most is not None:
            return float(self.accelerator.clip_grad_norm_(parameters, most))
        gradients = [item.grad for item in parameters if item.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))

    def _give_up(self, metrics: Metrics) -> None:
        """Save networks and optimizers as they are, the names of the batch with them, and say so."""
        step = self.state.step
        odd = ", ".join(name for name, value in metrics.items() if not math.isfinite(value))
        names = self.batches.names(step)
        where = self.folder / "failed"
        if self.is_main:
            shown = {name: repr(value) for name, value in metrics.items()}
            extra = {"batch": names, "metrics": shown}
            write_checkpoint(where, self.state, *self._parts(), keep=1, extra=extra)
        raise JobError(
            f"Training stopped at step {step + 1}: not finite is {odd}, for the batch {', '.join(names[:8])}"
            f"{' …' if len(names) > 8 else ''}; the state before that update is in {where}, "
            f"and step {self.saved_step} is what the next run goes on from: lower the learning rate, or look at those recordings."
        )

    def _validate(self, log: RunLog | None) -> None:
        if log is not None:
            _seed(self.settings.seed)
            for network in self.task.networks.values():
                network.eval()
            with torch.no_grad():
                found = self.task.validate()
            self.watcher.validated(self.state.step, found.metrics)
            self._writing("the report", lambda: log.add_validation(found))
            self._writing("the model", self.task.export)
        self.accelerator.wait_for_everyone()

    def _save(self) -> None:
        if not are_alike(self.task.networks.values()):
            raise JobError(
                f"After step {self.state.step} the processes of the run have different weights, so what they learn no longer adds up; "
                f"step {self.saved_step} is what the next run goes on from. Run it in one process, and report how it was started."
            )
        if self.is_main:
            keep = self.settings.keep_checkpoints
            self._writing(
                "the state",
                lambda: write_checkpoint(self.folder / CHECKPOINTS, self.state, *self._parts(), keep=keep),
            )
        self.saved_step = self.state.step
        self.accelerator.wait_for_everyone()

    def _writing(self, what: str, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            raise JobError(
                f"After step {self.state.step} {what} could not be written to {self.folder}: {error.strerror or error}. "
                f"The state of step {self.saved_step} is kept; make room, and the same command goes on from there."
            ) from error

    def _parts(self) -> tuple[Any, Any, Any]:
        return self.task.networks, self.task.optimizers, self.task.schedules


class _Stop:
    """Remembers a signal until the step in progress is done."""

    def __init__(self) -> None:
        self.is_wanted = False
        self._signal: int | None = None
        self.before: dict[signal.Signals, Any] = {}

    def remember(self, number: int, frame: FrameType | None) -> None:
        if self.is_wanted:  # the second time at once
            self._act(number)
        self.is_wanted, self._signal = True, number

    def obey(self) -> None:
        """Do what the signal would have done."""
        if self._signal is not None:
            self._act(self._signal)

    def _act(self, number: int) -> None:
        before = self.before.get(signal.Signals(number))
        if callable(before):
            before(number, None)
        raise KeyboardInterrupt


@contextmanager
def _stopping() -> Iterator[_Stop]:
    stop = _Stop()
    is_main = threading.current_thread() is threading.main_thread()
    try:
        for number in (signal.SIGINT, signal.SIGTERM) if is_main else ():
            stop.before[number] = signal.signal(number, stop.remember)
        yield stop
    finally:
        for number, before in stop.before.items():
            signal.signal(number, before)


def _accelerator(settings: LoopSettings, device: str) -> Accelerator:
    try:
        import tensorboard  # noqa: F401
        from accelerate import Accelerator
    except ImportError as error:
        raise JobError(f"Training needs the package {error.name}: pip install 'speechtok[train]'.") from None
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"`device` must be 'cpu', or 'cuda' where there is a GPU, got '{device}'.")
    precision = "bf16" if settings.precision == "bfloat16" else "no"
    return Accelerator(cpu=device == "cpu", mixed_precision=precision)


def _is_trained(network: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in network.parameters())


def _seed(*numbers: int) -> None:
    """Let everything random follow from a few numbers."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what libraries draw from
    torch.manual_seed(seed)
