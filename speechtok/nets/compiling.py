"""Staying out of `torch.compile`, without loading it: its import takes a second and 75 MB.

Contents: `uncompiled`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
_DISABLED: dict[Callable[..., Any], Callable[..., Any]] = {}


def uncompiled(function: Function) -> Function:
    """Have a function run as written where the program around it is compiled, and all that it calls.

    It is one break in the graph; where nothing is compiled, nothing happens.
    """

    @functools.wraps(function)
    def run(*args: Any, **options: Any) -> Any:
        if "torch._dynamo" not in sys.modules:
            return function(*args, **options)
        if function not in _DISABLED:
            import torch

            _DISABLED[function] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
        return _DISABLED[function](*args, **options)

    run._torchdynamo_disable = True  # type: ignore[attr-defined] # how `torch.compiler.disable` marks functions
    return run  # type: ignore[return-value]
