"""From weights to a network that is ready for inference.

Contents: `build_network`, `making`, `entry_shapes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from speechtok.checkpoints.read import load_strict
from speechtok.errors import CheckpointError
from speechtok.nets.weight_norm import fold


def build_network(
    make: Callable[[], nn.Module], weights: Mapping[str, Tensor], *, dtype: torch.dtype, source: str
) -> nn.Module:
    """Return a network in evaluation mode, its constants folded.

    Args:
        make: Makes the network; called where tensors take no memory.
        weights: Its entries.
        dtype: Floating-point type of the network; entries go to it straight from their own.
        source: What messages call the origin of the weights.

    Raises:
        CheckpointError: If an entry is missing, unexpected or of another shape.
    """
    with making(source):
        module = make()
    load_strict(module, {name: value.to(dtype) for name, value in weights.items()}, source=source)
    for name, buffer in module.named_buffers():
        if buffer.is_meta:  # constants that `fold` is about to compute
            module.get_submodule(name.rpartition(".")[0]).register_buffer(
                name.rpartition(".")[2], torch.empty(0, dtype=dtype), persistent=False
            )
    fold(module)
    return module.eval()


@contextmanager
def making(source: str) -> Iterator[None]:
    """Make networks where tensors take no memory, and name `source` when they cannot be made.

    Raises:
        CheckpointError: For sizes that no network has, such as a stride of 0.
    """
    try:
        with torch.device("meta"):
            yield
    except (
        RuntimeError,
        ValueError,
        TypeError,
        ArithmeticError,
        LookupError,
        MemoryError,
        AssertionError,
    ) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"No network has the sizes that {source} states ({reason}).") from error


def entry_shapes(make: Callable[[], nn.Module], source: str = "its config") -> dict[str, tuple[int, ...]]:
    """Return entry name → shape of a network, without making its tensors.

    Raises:
        CheckpointError: As in `making`.
    """
    with making(source):
        module = make()
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}
