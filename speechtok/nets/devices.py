"""Devices and float types, tried before anything is put on them or made of them."""

from __future__ import annotations

import torch


def usable_device(device: torch.device | str) -> torch.device:
    """Return a device that can hold tensors here.

    Raises:
        ValueError: when there is no such device on this machine, or this torch cannot use it.
    """
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).item()  # which those without memory refuse
    except (
        RuntimeError,
        AssertionError,
        TypeError,
    ) as error:  # of many kinds; the first sentence says enough
        reason = str(error).strip().splitlines()[0].split(". ")[0].rstrip(".")
        raise ValueError(
            f"`device` '{device}' cannot be used here: {reason}; use another, such as 'cpu'."
        ) from error
    return found


def usable_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return a type that networks compute in.

    Raises:
        ValueError: when it is none of torch's float types.
    """
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"`dtype` must be a float type of torch, such as torch.float32, got {dtype!r}.")
    return dtype
